"""VSR as a task of lmms-eval: true or false statements about pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from theworld.datasets.images import to_image
from theworld.datasets.public.vsr import picture_path, question_about
from theworld.evaluation.benchmarks.saved_replies import Record
from theworld.evaluation.benchmarks.vsr import VsrScores, annotated, evaluate, score
from theworld.evaluation.lmms_eval.requests import only_reply, packed, unpacked
from theworld.evaluation.summary import Accuracy


def pictures(doc: Mapping[str, Any], options: Mapping[str, Any]) -> list[Any]:
    """Return the picture of a statement from `images_dir`.

    Raises:
        ValueError: if it is missing.
    """
    path = picture_path(doc, Path(options["images_dir"]))
    if not path.is_file():
        raise ValueError(
            f"{path}: no such picture; unpack the benchmark's vsr_images.zip, or COCO 2017, and name its folder as"
            " images_dir under lmms_eval_specific_kwargs of a task file that includes this one"
        )
    return [to_image(path)]


def question(doc: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> str:
    """Return the question; `options` have no effect."""
    return question_about(doc["caption"])


def answer(doc: Mapping[str, Any]) -> str:
    """Return the true answer."""
    return "true" if doc["label"] else "false"


def results(doc: Mapping[str, Any], replies: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the row of a reply."""
    row = annotated(Record(dict(doc), "VSR"), only_reply(replies))
    return packed(row, "accuracy", "balanced_accuracy", "said_true", "unparsed")


def accuracy(items: Sequence[Mapping[str, Any]]) -> float:
    """Compute the share of right replies."""
    return _accuracy(_scores(items)).value


def balanced_accuracy(items: Sequence[Mapping[str, Any]]) -> float:
    """Compute the mean of the accuracies on true and on false statements."""
    return _accuracy(_scores(items)).balanced


def said_true(items: Sequence[Mapping[str, Any]]) -> float:
    """Compute the share of statements that the model calls true."""
    readings = [score(row).reading for row in unpacked(items)]
    return readings.count("true") / len(readings)


def unparsed(items: Sequence[Mapping[str, Any]]) -> float:
    """Compute the share of replies that are neither true nor false."""
    overall = _scores(items).overall
    return overall.num_unparsed / overall.num_items


def _scores(items: Sequence[Mapping[str, Any]]) -> VsrScores:
    return evaluate(unpacked(items))


def _accuracy(scores: VsrScores) -> Accuracy:
    assert scores.overall.accuracy is not None  # every item has a reply
    return scores.overall.accuracy
