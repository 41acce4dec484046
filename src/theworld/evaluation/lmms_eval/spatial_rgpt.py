"""SpatialRGPT-Bench as a task of lmms-eval: questions about marked regions, scored without a judge."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image

from theworld.datasets.public.spatial_rgpt import marked_picture, nested
from theworld.evaluation.benchmarks.saved_replies import Record
from theworld.evaluation.benchmarks.spatial_rgpt import QUALITATIVE, QUANTITATIVE, answered, evaluate
from theworld.evaluation.lmms_eval.requests import only_reply, packed, unpacked

_GROUPS: Final = {
    category: (kind, group.replace("/", "_").replace(" ", "_"))
    for kind, groups in (("qualitative", QUALITATIVE), ("quantitative", QUANTITATIVE))
    for group, categories in groups.items()
    for category in categories
}


def pictures(doc: Mapping[str, Any], options: Mapping[str, Any]) -> list[Image.Image]:
    """Return the picture with a numbered box around each region.

    Rows without a picture name a file in `images_dir`.

    Raises:
        ValueError: if the file is missing, or for an invalid region or field.
    """
    folder = options.get("images_dir")
    return [marked_picture(doc, None if folder is None else Path(folder))]


def question(doc: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> str:
    """Return the question; `options` have no effect."""
    return doc["text_q"]


def answer(doc: Mapping[str, Any]) -> str:
    """Return the benchmark's answer."""
    return nested(doc, "conversations")[-1]["value"]


def results(doc: Mapping[str, Any], replies: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the row of a reply, for all items, its kind and its group."""
    about = nested(doc, "qa_info")
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
    """Compute the share of right replies."""
    value = evaluate(unpacked(items)).overall.value
    assert value is not None  # every item has a reply
    return value


def unparsed(items: Sequence[Mapping[str, Any]]) -> float:
    """Compute the share of unreadable replies."""
    overall = evaluate(unpacked(items)).overall
    return overall.num_unparsed / overall.num_items
