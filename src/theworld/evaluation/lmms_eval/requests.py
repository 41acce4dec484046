"""Conversion of lmms-eval's requests to samples and decoding options, and of its results to rows of predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from theworld.datasets.sample import Sample, Turn
from theworld.datasets.video import ClipRule
from theworld.evaluation.predictions import Prediction
from theworld.modeling.chats import of_one_length, read_part, say_once

DEFAULT_MAX_NEW_TOKENS: Final = 128
"""Longest reply of tasks without a limit, tokens; the default of the harness's own models."""

_SAMPLING: Final = ("temperature", "top_p", "top_k")
_UNDERSTOOD: Final = frozenset({"max_new_tokens", "until", "do_sample", "num_beams", *_SAMPLING})


@dataclass(frozen=True)
class Decoding:
    """Decoding options; requests with the same options can share a batch."""

    max_new_tokens: int
    until: tuple[str, ...]
    """Texts that end a reply."""
    options: tuple[tuple[str, Any], ...]
    """Options of transformers' `generate`."""

    def cut(self, reply: str) -> str:
        """Cut a reply at the first of the texts that end it."""
        return reply[: min([reply.find(stop) for stop in self.until if stop in reply], default=None)].strip()


def to_decoding(kwargs: Mapping[str, Any]) -> tuple[Decoding, frozenset[str]]:
    """Read a task's `generation_kwargs`; return the decoding and the names of unknown options.

    A temperature above 0 samples, unless `do_sample` is false; a temperature of 0 is always greedy.

    Raises:
        ValueError: for stop texts that are not text.
    """
    until = kwargs.get("until") or ()
    stops = (until,) if isinstance(until, str) else tuple(until)
    if not all(isinstance(stop, str) for stop in stops):
        raise ValueError(f"until={until!r}: expected a text, or a list of texts, at which replies end")
    temperature = kwargs.get("temperature")
    options: dict[str, Any] = {"do_sample": temperature != 0 and bool(kwargs.get("do_sample", temperature is not None))}
    if options["do_sample"]:
        options |= {name: kwargs[name] for name in _SAMPLING if kwargs.get(name) is not None}
    if (kwargs.get("num_beams") or 1) > 1:
        options["num_beams"] = int(kwargs["num_beams"])
    decoding = Decoding(
        max_new_tokens=int(kwargs.get("max_new_tokens", DEFAULT_MAX_NEW_TOKENS)),
        until=tuple(stop for stop in stops if stop),
        options=tuple(options.items()),
    )
    return decoding, frozenset(kwargs) - _UNDERSTOOD


def to_sample(messages: Sequence[Mapping[str, Any]], sample_id: str, rule: ClipRule | None = None) -> Sample:
    """Convert chat messages to a sample.

    Pictures and videos come before the text, in their order. The world model sees a picture as a clip of one frame, and
    a video, whose `url` is a path, a decoder, an array or a list of frames, as the clip that the rule makes of it,
    perhaps from `start_time` to `end_time`, seconds. A system message comes before the first question, as in Gemma's
    own chat template. A user message may set `num_world_steps`, the number of world steps that its question needs.

    Args:
        messages: of lmms-eval.
        sample_id: names the sample, also in errors.
        rule: the frames of a video that the model sees; None: the defaults.

    Raises:
        ValueError: for a video that cannot be read, sound, a picture after the first question, or turns out of order.
    """
    rule = ClipRule() if rule is None else rule
    turns: list[Turn] = []
    system: list[str] = []
    images: list[Any] = []
    clips: list[Any] = []
    steps: int | None = None
    for message in messages:
        role, text = message["role"], _text(message)
        media = [part for part in _parts(message) if part["type"] != "text"]
        if media and turns:
            raise ValueError(f"{sample_id}: pictures in a later turn; expected them with the first question")
        for part in media:
            shown, clip = _seen(part, sample_id, rule)
            images += shown
            clips.append(clip)
        steps = message.get("num_world_steps", steps)
        if role == "system":
            system.append(text)
        elif turns and turns[-1].role == role:
            turns[-1] = Turn(role, f"{turns[-1].text}\n{text}")
        else:
            turns.append(Turn(role, text))
    if system and turns:
        turns[0] = Turn(turns[0].role, "\n\n".join([*system, turns[0].text]))
    return Sample(
        id=sample_id,
        turns=tuple(turns),
        images=tuple(images),
        clips=tuple(of_one_length(clips)) if any(len(clip) > 1 for clip in clips) else None,
        num_world_steps=steps,
    )


def _parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _text(message: Mapping[str, Any]) -> str:
    return "\n".join(part["text"].strip() for part in _parts(message) if part["type"] == "text").strip()


def _seen(part: Mapping[str, Any], sample_id: str, rule: ClipRule) -> tuple[list[Any], list[Any]]:
    """Return the pictures of a part for Gemma, and its clip for the world model."""
    kind, url = part["type"], part.get("url")
    if kind == "image":
        return [url], [url]
    if kind != "video":
        raise ValueError(f"{sample_id}: {kind!r} in a message; expected text, pictures and videos")
    times = {"start": part.get("start_time"), "end": part.get("end_time")}
    if isinstance(url, Mapping):  # as the harness passes a visual with times
        times = {"start": url.get("video_start"), "end": url.get("video_end")}
        names = [name for name in ("url", "path", "video") if name in url]
        if not names:
            raise ValueError(f"{sample_id}: a video given by {', '.join(map(str, url))}: expected url or path")
        url = url[names[0]]
    try:
        clip = read_part({"type": "video", "video": url, **times}, rule)
    except ValueError as error:
        raise ValueError(f"{sample_id}: {error}") from error
    if clip.note:
        say_once(clip.note)
    return list(clip.shown), list(clip.frames)


def packed(row: Prediction, *metrics: str) -> dict[str, dict[str, Any]]:
    """Return a row in the format of `process_results`: the same plain values under each of its metrics."""
    return dict.fromkeys(metrics, asdict(row))


def unpacked(items: Sequence[Mapping[str, Any]]) -> list[Prediction]:
    """Return the rows that lmms-eval collected for one metric."""
    return [Prediction(**item) for item in items]


def only_reply(results: Sequence[str]) -> str:
    """Return the reply to an item.

    Raises:
        ValueError: if there are several.
    """
    if len(results) != 1:
        raise ValueError(f"{len(results)} replies to one item: expected one; leave --repeats at 1")
    return results[0]
