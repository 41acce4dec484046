"""Foresight as a task of lmms-eval: scenes are simulated and drawn on demand, without a download."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from theworld.config import ForesightData
from theworld.config.data import CONVERSATION_NAMES
from theworld.datasets.factory import open_samples
from theworld.datasets.images import to_image, to_pictures
from theworld.datasets.sample import Sample, Samples
from theworld.evaluation.benchmarks.saved_replies import prediction
from theworld.evaluation.lmms_eval.requests import only_reply, packed, unpacked
from theworld.evaluation.summary import Accuracy, Summary, summarise

if TYPE_CHECKING:
    import datasets

_SETTINGS: Final = TypeAdapter(ForesightData)
_SMALL_SIDE_PX: Final = 16
"""Side of pictures that are not used, if only text is needed."""


def questions(rows: "datasets.Dataset") -> "datasets.Dataset":
    """Return the questions of a data file with one row of settings, those of `theworld evaluate --data.*`.

    Raises:
        ValueError: for several rows, unknown settings, or settings of conversations or several pictures.
    """
    import datasets

    if len(rows) != 1:
        raise ValueError(f"{len(rows)} rows of settings for Foresight: expected one")
    text = json.dumps(rows[0])
    settings = _SETTINGS.validate_json(text)
    if settings.questions in CONVERSATION_NAMES or settings.images != "current":
        raise ValueError(
            f"questions={settings.questions!r}, images={settings.images!r}: expected single questions about the"
            " current picture"
        )
    places = range(len(_samples(text, None)))
    return datasets.Dataset.from_dict({"settings": [text] * len(places), "place": list(places)})


def messages(doc: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the question about a scene with its picture, or with the clip of a task about motion."""
    sample = _sample(doc["settings"], doc["place"], None)
    if sample.clips is None:
        seen: dict[str, Any] = {"type": "image", "url": to_image(sample.images[0])}
    else:
        seen = {"type": "video", "url": to_pictures(list(sample.clips[0]))}
    content = [seen, {"type": "text", "text": question(doc)}]
    return [{"role": "user", "content": content, "num_world_steps": sample.num_world_steps}]


def pictures(doc: Mapping[str, Any]) -> list[Any]:
    """Return the current picture, for lmms-eval's simple models."""
    return [to_image(_sample(doc["settings"], doc["place"], None).images[0])]


def question(doc: Mapping[str, Any]) -> str:
    """Return the question."""
    return _words(doc).prompt[-1].text


def answer(doc: Mapping[str, Any]) -> str:
    """Return the true answer."""
    return _words(doc).answer or ""


def results(doc: Mapping[str, Any], replies: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the row of a reply, for all scenes and for its task."""
    sample = _words(doc)
    row = prediction(
        sample.id,
        only_reply(replies),
        answer(doc),
        question=question(doc),
        choices=tuple(sample.fields["choices"]),
        fields={name: value for name, value in sample.fields.items() if isinstance(value, str | int)},
    )
    return packed(row, "accuracy", "balanced_accuracy", "unparsed", sample.fields["task"])


def accuracy(items: Sequence[Mapping[str, Any]]) -> float:
    """Compute the share of right replies."""
    return _accuracy(_summary(items)).value


def balanced_accuracy(items: Sequence[Mapping[str, Any]]) -> float:
    """Compute the mean accuracy over the true answers."""
    return _accuracy(_summary(items)).balanced


def unparsed(items: Sequence[Mapping[str, Any]]) -> float:
    """Compute the share of replies that name no choice, or several."""
    summary = _summary(items)
    return summary.num_unparsed / summary.num_items


def _summary(items: Sequence[Mapping[str, Any]]) -> Summary:
    return summarise(unpacked(items))


def _accuracy(summary: Summary) -> Accuracy:
    assert summary.accuracy is not None  # every item has a reply
    return summary.accuracy


@lru_cache(maxsize=8)
def _samples(settings: str, side_px: int | None) -> Samples:
    fields = json.loads(settings) | ({} if side_px is None else {"image_size_px": side_px})
    data = _SETTINGS.validate_json(json.dumps(fields))
    return open_samples(data, data.validation_split, data.num_validation)


@lru_cache(maxsize=4096)
def _small(settings: str, place: int) -> Sample:
    return _sample(settings, place, _SMALL_SIDE_PX)


def _words(doc: Mapping[str, Any]) -> Sample:
    """Return the sample of a document with a tiny picture, which is fast to draw; its text is the same."""
    return _small(doc["settings"], doc["place"])


def _sample(settings: str, place: int, side_px: int | None) -> Sample:
    return _samples(settings, side_px)[place]
