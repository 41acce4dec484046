"""SpatialRGPT-Bench as a task of lmms-eval: questions about marked regions, scored without a judge."""

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont

from theworld.datasets.images import to_image
from theworld.evaluation.benchmarks.records import Record
from theworld.evaluation.benchmarks.spatial_rgpt import QUALITATIVE, QUANTITATIVE, answered, evaluate
from theworld.evaluation.lmms_eval.rows import only_reply, packed, unpacked

_COLOURS: Final = ((230, 40, 40), (40, 90, 230), (20, 150, 60), (200, 120, 0))
"""Of the marks of regions 0, 1, ...; then from the start again."""

_GROUPS: Final = {
    category: (kind, group.replace("/", "_").replace(" ", "_"))
    for kind, groups in (("qualitative", QUALITATIVE), ("quantitative", QUANTITATIVE))
    for group, categories in groups.items()
    for category in categories
}


def pictures(doc: Mapping[str, Any], options: Mapping[str, Any]) -> list[Image.Image]:
    """The picture, with a numbered box around each region.

    Rows without a picture in them name a file of `images_dir`.

    Raises:
        ValueError: if it is not there, or for a field that cannot be read.
    """
    picture = doc.get("image")
    if picture is None:
        picture = Path(options["images_dir"], _native(doc, "image_info")["file_path"])
    return [marked(to_image(picture), _native(doc, "bbox"))]


def question(doc: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> str:
    """What is asked; `options` change nothing."""
    return f"Regions are marked in the picture by boxes with their numbers. {doc['text_q']}"


def answer(doc: Mapping[str, Any]) -> str:
    """What the benchmark answers."""
    return _native(doc, "conversations")[1]["value"]


def results(doc: Mapping[str, Any], replies: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The row of a reply: for all items, for its kind and for its group."""
    about = _native(doc, "qa_info")
    saved = {
        "id": doc["id"],
        "question": doc["text_q"],
        "ground_truth": answer(doc),
        "prediction": only_reply(replies),
        "qa_type": about["type"],
        "qa_category": about["category"],
    }
    row = answered(Record(saved, f"SpatialRGPT-Bench, {doc['id']}"))
    return packed(row, "overall", "unparsed", *_GROUPS[about["category"]])


def success(items: Sequence[Mapping[str, Any]]) -> float:
    """Share that is right."""
    value = evaluate(unpacked(items)).overall.value
    assert value is not None  # every item has a reply
    return value


def unparsed(items: Sequence[Mapping[str, Any]]) -> float:
    """Share of replies that cannot be read."""
    overall = evaluate(unpacked(items)).overall
    return overall.num_unparsed / overall.num_items


def marked(picture: Image.Image, boxes: Sequence[Sequence[int | float]]) -> Image.Image:
    """A copy of a picture with numbered boxes.

    Args:
        boxes: left, top, right and bottom of each region, pixels; what lies outside of the picture is cut off.
    """
    picture = picture.copy()
    draw, width_px = ImageDraw.Draw(picture), max(2, min(picture.size) // 150)
    font = ImageFont.load_default(max(12, min(picture.size) // 25))
    for index, (left, top, right, bottom) in enumerate(boxes):
        colour = _COLOURS[index % len(_COLOURS)]
        left, right = sorted(min(max(value, 0), picture.width - 1) for value in (left, right))
        top, bottom = sorted(min(max(value, 0), picture.height - 1) for value in (top, bottom))
        draw.rectangle((left, top, right, bottom), outline=colour, width=width_px)
        place = draw.textbbox((left + 2 * width_px, top + width_px), str(index), font=font)
        draw.rectangle((left, top, place[2] + width_px, place[3] + width_px), fill=colour)
        draw.text((left + 2 * width_px, top + width_px), str(index), font=font, fill="white")
    return picture


def _native(doc: Mapping[str, Any], key: str) -> Any:
    """A nested field; the published tables hold it as the text of a Python or JSON value."""
    value = doc[key]
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        pass  # then it is Python's
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError) as error:
        raise ValueError(
            f"SpatialRGPT-Bench, {doc['id']}: {key}: {value[:80]!r}; expected the text of a list or an object"
        ) from error
