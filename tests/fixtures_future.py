"""Small files in the formats of the benchmarks about the future, made by the tests that read them."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from fixtures_public import picture, stored


def write_video(path: Path, number: int = 0, num_frames: int = 12, rate_hz: int = 6) -> Path:
    """A film of a ball that crosses a picture whose colour is that of the number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        track = container.add_stream("mpeg4", rate=rate_hz)
        track.width = track.height = 64
        track.pix_fmt = "yuv420p"
        for frame in range(num_frames):
            image = picture(number, 64)
            left = 4 + 4 * frame
            ImageDraw.Draw(image).ellipse((left, 28, left + 8, 36), (250, 250, 250))
            container.mux(track.encode(av.VideoFrame.from_image(image)))
        container.mux(track.encode(None))
    return path


def write_vpct(folder: Path, buckets: Sequence[int], first: int = 9) -> Path:
    """VPCT's three files a problem; the first number is 9, so that names in the order of texts are in another one."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, bucket in enumerate(buckets, start=first):
        picture(number, 64).save(folder / f"sim_{number}_initial.png")
        result = {"duration": 5037, "simId": str(number), "finalBucket": bucket}
        (folder / f"sim_{number}_results.json").write_text(json.dumps(result))
        (folder / f"sim_{number}.json").write_text("{}")
    return folder


FUTURE_TEXTS = ("He pours water", "He leaves", "A dog runs in", "The lights go out")


def future_row(number: int, answer: str, hops: str = "hop1", inline: bool = False) -> dict[str, Any]:
    """A row of FutureBench; with its options in the question, too, as some rows have them."""
    options = dict(zip("ABCD", FUTURE_TEXTS, strict=True))
    text = f"What happens after event {number}?"
    if inline:
        text += " " + " ".join(f"{letter}) {option}" for letter, option in options.items())
    return {
        "id": f"f{number}",
        "video_path": f"/data/video_dataset/source/{number}.mp4",
        "question_type": hops,
        "qa": {"Question": text, "Options": options, "Answer": answer},
    }


def write_futurebench(folder: Path, answers: Sequence[str], hops: Sequence[str] = ("hop1", "hop2")) -> Path:
    """`futurebench.json` and the first parts of the videos; whole videos are there too, and must not be read."""
    rows = [future_row(number, answer, hops[number % len(hops)]) for number, answer in enumerate(answers)]
    for number in range(len(rows)):
        write_video(folder / "first_part_video" / "source" / f"{number}.mp4", number)
        (folder / "video_dataset" / "source").mkdir(parents=True, exist_ok=True)
        (folder / "video_dataset" / "source" / f"{number}.mp4").write_bytes(b"the future")
    (folder / "futurebench.json").write_text(json.dumps(rows))
    return folder


def write_openworldqa(folder: Path, answers: Sequence[str]) -> Path:
    """One JSON file a sample; every second one has no category, and its frame no suffix."""
    split = folder / "OpenWorldQA_split" / "test"
    split.mkdir(parents=True, exist_ok=True)
    for number, answer in enumerate(answers, start=1):
        frames = folder / "frames" / f"v{number}"
        frames.mkdir(parents=True, exist_ok=True)
        for frame in (7, 8, 9):
            picture(number + frame).save(frames / f"frame_{frame:03d}.jpg")
        category = ("C1_fit_clearance", "C10_chain_reaction")[number % 2]
        row: dict[str, Any] = {
            "sample_id": f"WLA_{category}_{number:04d}",
            "question": f"Which object tips over first in scene {number}?",
            "options": {"A": "the red cup", "B": "the book", "C": "the lamp", "D": "none"},
            "answer": answer,
            "explanation": "It stands on the edge.",
            "anchor_frame": "frame_008" if number % 2 else "frame_008.jpg",
            "video_path": f"frames/v{number}",
        }
        if number % 2:
            row |= {"category": category, "difficulty": "Easy"}
        (split / f"{row['sample_id']}.json").write_text(json.dumps(row))
    return folder


def write_vrqabench(folder: Path, answers: Sequence[str]) -> Path:
    """Questions with `correct_value`, and their pictures below the split."""
    split = folder / "VRBench-Spatial-v2" / "test"
    (split / "questions").mkdir(parents=True, exist_ok=True)
    for number, answer in enumerate(answers, start=1):
        name = f"images/maze/1/hard/images/hard_{number:04d}.png"
        (split / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(split / name)
        options = {"A": "4", "B": "7", "C": "5", "D": "6"}
        row = {
            "category": ("C1_turn_count", "C4_sokoban_push")[number % 2],
            "task_type": ("maze", "sokoban")[number % 2],
            "question": f"How many turns has the way out of maze {number}?",
            "options": options,
            "answer": answer,
            "correct_value": options[answer],
            "source_sample_id": f"maze_1_hard_{number:04d}_0",
            "input_image": name,
        }
        (split / "questions" / f"VRB_{row['category']}_{number:04d}.json").write_text(json.dumps(row))
    return folder


def write_sat(folder: Path, places: Sequence[int], key: str = "image_bytes") -> Path:
    """Rows of SAT's test in Parquet: the place of the right answer of each, two pictures a row."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = (("ego_movement", ["rotated left", "rotated right"]), ("obj_movement", ["moved up", "moved down"]))
    rows = []
    for number, place in enumerate(places):
        kind, answers = kinds[number % 2]
        rows.append(
            {
                key: [stored(picture(number + k)) for k in range(2)],
                "question": "How did the camera likely move?",
                "answers": answers,
                "question_type": kind,
                "correct_answer": answers[place],
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), folder / "SAT_test.parquet")
    return folder


PHYSBENCH_ANSWERS = (
    (0, "A", "dynamics", "collision", "prediction", "image&video"),
    (7, "B", "property", "mass", "identify", "image-only"),
    (1011, "", "relationships", "distance", "perception", "image-only"),
    (9757, "D", "dynamics", "throwing", "prediction", "general"),
)


MIXED_PHYSBENCH_ANSWERS = tuple(
    (idx, answer, "dynamics", "collision", "prediction", mode)
    for idx, answer, mode in (
        (1, "A", "image&video"),
        (2, "B", "image&video"),
        (3, "C", "image-only"),
        (4, "D", "image-only"),
    )
)
"""Questions of one kind, about videos and about pictures."""


def write_physbench(folder: Path, answers: Sequence[tuple[Any, ...]] = PHYSBENCH_ANSWERS) -> Path:
    """`test.json` with validation items, by default four, one of them with an empty answer, and one item more."""
    text = "Which one?\nA. first\nB. second\nC. third\nD. none"
    rows: list[dict[str, Any]] = []
    for idx, _, _, _, _, mode in (*answers, (5, "", "", "", "", "image-only")):
        row: dict[str, Any] = {"idx": idx, "mode": mode, "split": "val", "question": f"<image>\n{text}"}
        row["file_name"] = [f"{idx}.jpg"]
        if mode == "image&video":
            row |= {"file_name": [f"{idx}.mp4"], "question": f"<video>\n{text}"}
        if mode == "general":
            row |= {"file_name": ["first.jpg", "second.png"], "question": f"<image>\nbefore and <image>\nafter. {text}"}
        rows.append(row)
        for name in row["file_name"]:
            if name.endswith(".mp4"):
                write_video(folder / "video" / name, idx)
            else:
                (folder / "image").mkdir(parents=True, exist_ok=True)
                picture(idx).save(folder / "image" / name)
    rows[-1]["split"] = "test"
    (folder / "test.json").write_text(json.dumps(rows))
    names = ("idx", "answer", "task_type", "sub_type", "ability_type", "mode")
    right = [dict(zip(names, values, strict=True)) for values in answers]
    (folder / "val_answer.json").write_text(json.dumps(right))
    return folder


def write_mvp(folder: Path, num_pairs: int = 2, configurations: Sequence[str] = ("intuitive_physics",)) -> Path:
    """Rows of MVP in Parquet, all columns text; in each pair the first video has the first answer."""
    for configuration in configurations:
        rows = []
        for number in range(num_pairs):
            for side, answer in (("1", "the ball falls"), ("2", "the ball floats")):
                name = f"intphys/{configuration}_{number}_{side}.mp4"
                write_video(folder / "videos" / name, 2 * number + int(side))
                rows.append(
                    {
                        "video_id": f"intphys_{number}_{side}",
                        "video_path": name,
                        "question": "What does the ball do?",
                        "answer": answer,
                        "candidates": "['the ball falls', 'the ball floats']",
                        "source": "intphys",
                    }
                )
        path = folder / configuration / "mini-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
    return folder


def write_intphys2(folder: Path, num_scenes: int = 2, subset: str = "Main", generations: int = 1) -> Path:
    """`metadata.csv` with four videos a scene; of several generations of each, the later ones have no file."""
    rows = []
    for scene in range(num_scenes):
        for generation in range(generations):
            for place, kind in enumerate(("1_Possible", "1_Impossible", "2_Possible", "2_Impossible")):
                name = f"{scene}{generation}{place}".rjust(64, "a")
                if not generation:
                    write_video(folder / subset / "Videos" / f"{name}.mp4", 4 * scene + place)
                rows.append(
                    {
                        "SceneIndex": str(scene),
                        "name": name,
                        "file_name": f"Videos/{name}.mp4",
                        "type": kind,
                        "condition": ("Permanence", "Solidity")[scene % 2],
                        "Camera": "Fixed",
                        "Difficulty": ("Easy", "Hard")[scene % 2],
                    }
                )
    write_csv(folder / subset / "metadata.csv", rows)
    return folder


def write_csv(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """A table with the keys of the first row as columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def first_pixel(source: Any) -> tuple[int, ...]:
    """The colour of the corner of a picture, its path or its content."""
    image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) if not _is_image(source) else source
    return tuple(np.asarray(image.convert("RGB"))[0, 0].tolist())


def _is_image(source: Any) -> bool:
    return isinstance(source, Image.Image)
