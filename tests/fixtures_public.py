"""Small files in the formats of public data sets, made by the tests that read them."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

RELATIONS = ("on", "left of", "touching", "among")


def picture(number: int, side_px: int = 32) -> Image.Image:
    """A picture of one colour, another for each number."""
    return Image.new("RGB", (side_px, side_px), (40 * number % 256, 90, 255 - 30 * number % 256))


def stored(image: Image.Image, kind: str = "PNG") -> dict[str, Any]:
    """A picture as Parquet files of the hub hold it."""
    content = io.BytesIO()
    image.save(content, kind)
    return {"bytes": content.getvalue(), "path": None}


def coloured(kind: int, number: int, side_px: int = 32) -> Image.Image:
    """A picture whose colour says which of four kinds it is of, with noise that is its own."""
    colour = np.array([(210, 60, 60), (60, 210, 60), (60, 60, 210), (200, 200, 60)][kind])
    noise = np.random.default_rng(number).normal(0, 12, (side_px, side_px, 3))
    return Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8))


def write_blink(folder: Path, answers: dict[str, list[str]], split: str = "val") -> Path:
    """BLINK's layout: TASK/SPLIT-00000-of-00001.parquet; of the task Jigsaw three pictures an item, else one."""
    for task, letters in answers.items():
        rows = []
        for number, letter in enumerate(letters, start=1):
            shown = [stored(picture(number + k)) for k in range(3 if task == "Jigsaw" else 1)]
            row = {f"image_{k}": shown[k - 1] if k <= len(shown) else None for k in range(1, 5)}
            row |= {
                "idx": f"{split}_{task}_{number}",
                "question": "Which is it?",
                "sub_task": task,
                "choices": ["this one", "that one"],
                "answer": letter,
                "prompt": "Which is it?\nSelect from the following choices.\n(A) this one\n(B) that one",
                "explanation": "",
            }
            rows.append(row)
        path = folder / task / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        empty = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        schema = pa.schema(
            [(f"image_{k}", empty) for k in range(1, 5)]
            + [(name, pa.string()) for name in ("idx", "question", "sub_task", "answer", "prompt", "explanation")]
            + [("choices", pa.list_(pa.string()))]
        )
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return folder


def write_vsr(
    folder: Path, labels: list[int], split: str = "dev", pictures: Mapping[int, Image.Image] | None = None
) -> tuple[Path, Path]:
    """VSR's annotations and a folder of their pictures, of which half lie in COCO's own folders.

    `pictures` are those of the statements, each with its number, in place of pictures of one colour.
    """
    shown = dict(enumerate(map(picture, range(len(labels))))) if pictures is None else pictures
    images = folder / "images"
    (images / "train2017").mkdir(parents=True, exist_ok=True)
    lines = []
    for (number, image), label in zip(shown.items(), labels, strict=True):
        name = f"{number:012d}.jpg"
        image.save(images / ("train2017" if number % 2 else ".") / name)
        row = {
            "image": name,
            "image_link": f"http://images.cocodataset.org/train2017/{name}",
            "caption": f"The cup is {RELATIONS[number % len(RELATIONS)]} the table.",
            "label": label,
            "relation": RELATIONS[number % len(RELATIONS)],
            "subj": "cup",
            "obj": "table",
            "annotator_id": 1,
            "vote_true_validator_id": "[1, 2]",
            "vote_false_validator_id": "[]",
        }
        lines.append(json.dumps(row))
    (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder, images


SPATIAL_ROWS = (
    ("left_predicate", "qualitative", "Is Region [0] to the left of Region [1]?", "Yes, Region [0] is to the left.", 2),
    ("right_predicate", "qualitative", "Is Region [0] right of Region [1]?", "No, Region [0] is not.", 2),
    ("tall_choice", "qualitative", "Who is taller?", "Region [1] is taller.", 2),
    ("height_data", "quantitative", "How tall is Region [0]?", "Region [0] is 30.05 inches in height.", 1),
    ("direction", "quantitative", "Where is Region [1]?", "Region [1] is at 2 o'clock.", 2),
)


def spatial_rows(nested: str) -> list[dict[str, Any]]:
    """Rows of SpatialRGPT-Bench; nested fields native, as JSON text or as Python's repr."""
    how = {"native": lambda value: value, "json": json.dumps, "repr": repr}[nested]
    rows = []
    for number, (category, kind, asked, answer, regions) in enumerate(SPATIAL_ROWS):
        boxes = [[4.0, 6.0, 14.0, 20.0], [18.0, 8.0, 40.0, 30.0]][:regions]  # the second leaves the picture
        rows.append(
            {
                "id": f"{kind}_{number}",
                "image_info": how({"file_path": f"some/frame.{number}.png", "height": 32, "width": 32}),
                "text_q": asked,
                "qa_info": how({"type": kind, "category": category}),
                "conversations": how([{"from": "human", "value": "<mask>?"}, {"from": "gpt", "value": answer}]),
                "bbox": how(boxes),
                "rle": how([mask_of(box) for box in boxes]),
            }
        )
    return rows


def mask_of(box: list[float]) -> dict[str, Any]:
    """The filled box as COCO's compressed run-length code, for a picture of 32 x 32 px."""
    from pycocotools import mask as coco

    filled = np.zeros((32, 32), np.uint8, order="F")
    left, top, right, bottom = (int(value) for value in box)
    filled[top:bottom, left : min(right, 32)] = 1
    packed = coco.encode(filled)
    return {"size": list(packed["size"]), "counts": packed["counts"].decode()}


def write_spatial_parquet(folder: Path) -> Path:
    """The layout of the hub today: nested fields as text, pictures in the rows."""
    rows = [{**row, "image": stored(picture(number))} for number, row in enumerate(spatial_rows("repr"))]
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "val-00000-of-00001.parquet")
    return folder


def write_spatial_json(folder: Path) -> tuple[Path, Path]:
    """The first layout: one JSON array, pictures elsewhere."""
    images = folder / "images"
    (images / "some").mkdir(parents=True, exist_ok=True)
    for number in range(len(SPATIAL_ROWS)):
        picture(number).save(images / f"some/frame.{number}.png")
    path = folder / "SpatialRGPT-Bench_v1.json"
    path.write_text(json.dumps(spatial_rows("native")))
    return path, images


def write_llava(folder: Path) -> tuple[Path, Path]:
    """LLaVA's formats in one file: a pretraining pair, instructions, text alone, and several pictures."""
    images = folder / "images"
    for number, name in enumerate(("GCC_train_002582585.jpg", "coco/train2017/000000033471.jpg", "vg/VG_100K/2.png")):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(images / name)
    rows = [
        {
            "id": "GCC_train_002582585",
            "image": "GCC_train_002582585.jpg",
            "conversations": [
                {"from": "human", "value": "Provide a brief description of the given image.\n<image>"},
                {"from": "gpt", "value": "olive oil is a healthy ingredient used liberally ."},
            ],
        },
        {
            "id": "000000033471",
            "image": "coco/train2017/000000033471.jpg",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat are the colors of the bus?"},
                {"from": "gpt", "value": "White and red."},
                {"from": "human", "value": "Is it moving?"},
                {"from": "gpt", "value": "No."},
            ],
        },
        {
            "id": 17,
            "conversations": [
                {"from": "system", "value": "Answer briefly."},
                {"from": "human", "value": "What does <image> mean in HTML?"},
                {"from": "gpt", "value": "It is no standard tag."},
            ],
        },
        {
            "id": "several",
            "image": ["vg/VG_100K/2.png", "GCC_train_002582585.jpg"],
            "conversations": [
                {"from": "human", "value": "<image>\n<image>\nWhich is darker?"},
                {"from": "gpt", "value": "The first."},
            ],
        },
    ]
    path = folder / "llava_v1_5_mix665k.json"
    path.write_text(json.dumps(rows))
    return path, images


def open_spatial_row(filename: str = "0000f2a1b2c3d4e5") -> dict[str, Any]:
    """A row of OpenSpatialDataset for a picture of 32 x 32 px: region B comes back; C has B's box, and another mask."""
    a, b = [4, 6, 14, 20], [16, 8, 30, 30]
    masks = [mask_of(a), mask_of(b), mask_of(b), mask_of([18, 10, 24, 20])]
    asked = [
        (
            "<image>\nDoes <mask> <depth> have a greater width compared to <mask> <depth>?",
            "Region [0], not Region [1].",
        ),
        ("What is the height of <mask> <depth>?", "Region [0] is 3.2 feet in height."),
        ("And what is in front of <mask> <depth>?", "Nothing is in front of Region [0]."),
    ]
    turns = [({"from": "human", "value": q}, {"from": "gpt", "value": answer}) for q, answer in asked]
    return {
        "filename": filename,
        "conversations": [message for turn in turns for message in turn],
        "bbox": [a, b, b, b],
        "rle": masks,
    }


def write_open_spatial(folder: Path, rows: list[dict[str, Any]]) -> tuple[Path, Path]:
    """The file of OpenSpatialDataset and the pictures of its rows."""
    images = folder / "openimages"
    images.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        picture(number).save(images / f"{row['filename']}.jpg")
    path = folder / "result_10_depth_convs.json"
    path.write_text(json.dumps(rows))
    return path, images
