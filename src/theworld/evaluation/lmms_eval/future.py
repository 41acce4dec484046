"""Benchmarks about the future as tasks of lmms-eval: from their unpacked files, with our readers and scorers."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from theworld.config import FutureData
from theworld.datasets.images import to_image
from theworld.datasets.public.choice_items import Asked, is_film_file
from theworld.datasets.public.future_sets import SPLITS, open_choices
from theworld.datasets.video import ClipRule
from theworld.evaluation.benchmarks.choice_scores import RULES, ChoiceScores, evaluate
from theworld.evaluation.benchmarks.saved_replies import prediction
from theworld.evaluation.lmms_eval.requests import only_reply, packed, unpacked

if TYPE_CHECKING:
    import datasets

_SETTINGS: Final = TypeAdapter(FutureData)


def questions(rows: "datasets.Dataset") -> "datasets.Dataset":
    """Return the questions of a data file with one row of settings, those of `theworld evaluate --data.*`.

    A relative `source` starts from the folder where the command runs.

    Raises:
        ValueError: for several rows, unknown settings, files that are missing or malformed, or withheld answers.
    """
    import datasets

    if len(rows) != 1:
        raise ValueError(f"{len(rows)} rows of settings for a benchmark about the future: expected one")
    text = json.dumps({name: value for name, value in rows[0].items() if value is not None})
    entries = _asked(text)
    withheld = next((entry for entry in entries if entry.item.answer is None), None)
    if withheld is not None:
        raise ValueError(
            f"{withheld.id!r}: its answer is withheld, so lmms-eval cannot score it: name another validation_split, or"
            " let `theworld evaluate` write the file to submit"
        )
    return datasets.Dataset.from_dict({"settings": [text] * len(entries), "place": list(range(len(entries)))})


def messages(doc: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the question with its pictures and videos before it; each model reads a video in its own way."""
    media = [{"type": "video" if isinstance(seen, str) else "image", "url": seen} for seen in media_of(doc)]
    return [{"role": "user", "content": [*media, {"type": "text", "text": question(doc)}]}]


def media_of(doc: Mapping[str, Any]) -> list[Any]:
    """Return the pictures and the paths of videos of a question, in order; also for lmms-eval's simple models.

    Raises:
        ImageError: for a picture that is missing or damaged.
    """
    sources = _entry(doc).item.media
    return [str(source) if is_film_file(source) else to_image(_or_raise(source)) for source in sources]


def question(doc: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> str:
    """Return the prompt; `options` have no effect."""
    entry = _entry(doc)
    return entry.item.prompt(entry.order)


def answer(doc: Mapping[str, Any]) -> str:
    """Return the true answer, one of the choices."""
    entry = _entry(doc)
    return entry.item.right(entry.order) or ""


def results(doc: Mapping[str, Any], replies: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the row of a reply."""
    entry = _entry(doc)
    row = prediction(
        entry.id,
        only_reply(replies),
        answer(doc),
        question=question(doc),
        choices=entry.item.choices(entry.order),
        fields=dict(entry.fields),
    )
    return packed(row, "accuracy", "published", "unparsed", *(["pairs"] if "pair" in entry.fields else []))


def accuracy(items: Sequence[Mapping[str, Any]]) -> float:
    """Compute the share of right replies, as TheWorld reads them."""
    value = _scores(items).overall.value
    assert value is not None  # every item has a reply
    return value


def published(items: Sequence[Mapping[str, Any]]) -> float:
    """Compute the share of replies that the published script reads as right."""
    value = _scores(items).official
    assert value is not None  # replies are words
    return value


def unparsed(items: Sequence[Mapping[str, Any]]) -> float:
    """Compute the share of replies that name no choice, or several."""
    overall = _scores(items).overall
    return overall.num_unparsed / overall.num_items


def pairs(items: Sequence[Mapping[str, Any]]) -> float:
    """Compute the share of pairs of which both replies are right; 0 if `--limit` left no pair whole."""
    return _scores(items).pairs["all"].value or 0.0


def _scores(items: Sequence[Mapping[str, Any]]) -> ChoiceScores:
    rows = unpacked(items)
    return evaluate(rows, RULES[str(rows[0].fields["benchmark"])])


@lru_cache(maxsize=8)
def _asked(settings: str) -> list[Asked]:
    data = _SETTINGS.validate_json(settings)
    return open_choices(data, SPLITS[data.dataset][data.validation_split], data.num_validation, ClipRule()).items


def _entry(doc: Mapping[str, Any]) -> Asked:
    return _asked(doc["settings"])[doc["place"]]


def _or_raise(source: Any) -> Any:
    """Return a source, or raise the error in its place."""
    if isinstance(source, Exception):
        raise source
    return source
