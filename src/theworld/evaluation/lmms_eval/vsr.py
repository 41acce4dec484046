"""VSR as a task of lmms-eval: is a statement about a picture true?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from theworld.datasets.images import to_image
from theworld.datasets.public.vsr import picture_path, question_about
from theworld.evaluation.benchmarks.saved_replies import Record
from theworld.evaluation.benchmarks.vsr import VsrScores, annotated, evaluate, score
from theworld.evaluation.lmms_eval.packed_rows import only_reply, packed, unpacked
from theworld.evaluation.summary import Accuracy


def pictures(doc: Mapping[str, Any], options: Mapping[str, Any]) -> list[Any]:
    """The picture of a statement; annotations name it, and `images_dir` holds it.

    Raises:
        ValueError: if it is not there.
    """
    path = picture_path(doc, Path(options["images_dir"]))
    if not path.is_file():
        raise ValueError(
            f"{path}: no such picture; unpack the benchmark's vsr_images.zip, or COCO 2017, and name its folder as"
            " images_dir under lmms_eval_specific_kwargs of a task file that includes this one"
        )
    return [to_image(path)]


def question(doc: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> str:
    """What is asked; `options` change nothing."""
    return question_about(doc["caption"])


def answer(doc: Mapping[str, Any]) -> str:
    """What is right."""
    return "true" if doc["label"] else "false"


def results(doc: Mapping[str, Any], replies: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The row of a reply."""
    row = annotated(Record(dict(doc), "VSR"), only_reply(replies))
    return packed(row, "accuracy", "balanced_accuracy", "said_true", "unparsed")


def accuracy(items: Sequence[Mapping[str, Any]]) -> float:
    """Share that is right."""
    return _accuracy(_scores(items)).value


def balanced_accuracy(items: Sequence[Mapping[str, Any]]) -> float:
    """Mean of the shares that are right among the true and among the false statements."""
    return _accuracy(_scores(items)).balanced


def said_true(items: Sequence[Mapping[str, Any]]) -> float:
    """Share of statements that the model calls true."""
    readings = [score(row).reading for row in unpacked(items)]
    return readings.count("true") / len(readings)


def unparsed(items: Sequence[Mapping[str, Any]]) -> float:
    """Share of replies that say neither."""
    overall = _scores(items).overall
    return overall.num_unparsed / overall.num_items


def _scores(items: Sequence[Mapping[str, Any]]) -> VsrScores:
    return evaluate(unpacked(items))


def _accuracy(scores: VsrScores) -> Accuracy:
    assert scores.overall.accuracy is not None  # every item has a reply
    return scores.overall.accuracy
