"""Small files in the formats of public data sets, made by the tests that read them."""

import io
import json
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


def write_vsr(folder: Path, labels: list[int], split: str = "dev") -> tuple[Path, Path]:
    """VSR's annotations and a folder of their pictures, of which half lie in COCO's own folders."""
    images = folder / "images"
    (images / "train2017").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, label in enumerate(labels):
        name = f"{number:012d}.jpg"
        picture(number).save(images / ("train2017" if number % 2 else ".") / name)
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
