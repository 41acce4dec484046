"""Keys of your own rows: which one is the picture or video, the question and the answer, by their usual names."""

import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Final, NamedTuple

from theworld.datasets.errors import RecordError
from theworld.datasets.records import short
from theworld.datasets.row_videos import looks_like_video, names_video, seconds_of

SCHEMA: Final = '{"image": "pictures/1.png", "question": "What falls?", "answer": "the cup"}'
"""A row in the form that needs no guess."""

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "image": (
        *("image", "images", "image_path", "image_paths", "image_file", "image_files", "image_name", "img", "imgs"),
        *("img_path", "img_file", "picture", "pictures", "picture_path", "photo", "photos", "file_name", "filename"),
        *("file", "files", "file_path", "filepath", "path"),
    ),
    "video": (
        *("video", "videos", "video_path", "video_paths", "video_file", "video_files", "video_name", "vid", "vids"),
        *("clip", "clips", "clip_path", "clip_file", "clip_name", "film", "movie", "frames"),
    ),
    "question": ("question", "text", "prompt", "query", "instruction", "input"),
    "answer": (
        *("answer", "answers", "label", "output", "response", "target", "reply", "solution", "ground_truth", "gt"),
        *("gold", "correct_answer", "caption"),
    ),
    "conversation": ("conversations", "conversation", "messages", "turns"),
    "choices": ("choices", "options", "candidates"),
    "id": ("id", "question_id", "sample_id", "uid", "qid"),
    "category": ("category", "kind", "task", "question_type"),
    "start": (
        *("start", "start_s", "start_sec", "start_second", "start_seconds", "start_time", "video_start", "clip_start"),
        *("begin", "timestamp", "timestamps", "segment", "span"),
    ),
    "end": ("end", "end_s", "end_sec", "end_second", "end_seconds", "end_time", "video_end", "clip_end", "stop"),
    "frame_rate": ("frame_rate", "frame_rate_hz", "fps"),
}
"""By role, the usual names of its key, the usual one first; case, spaces and hyphens do not matter."""

_SIDE_ROLES: Final = ("choices", "id", "category", "start", "end", "frame_rate")
"""Roles that a row need not have; of several keys the first one is taken."""
_OF_VIDEOS: Final = ("start", "end", "frame_rate")


class RowKeys(NamedTuple):
    """The keys of each role; several hold the same in different rows, such as `image` and `images`."""

    of: Mapping[str, tuple[str, ...]]

    def value(self, row: Mapping[str, Any], role: str, name: str) -> Any:
        """Return the value of a role in a row; None if it has none.

        Args:
            row: the row.
            role: such as `image`.
            name: of the row, for messages.

        Raises:
            RecordError: malformed for two keys of the role that hold different values.
        """
        values = [row[key] for key in self.of.get(role, ()) if not _is_absent(row.get(key))]
        if any(value != values[0] for value in values):
            raise RecordError("malformed", f"{name}: other values in {' and '.join(self.of[role])}: keep one of them")
        return values[0] if values else None

    def __str__(self) -> str:
        return ", ".join(f"{role} from {'/'.join(map(repr, keys))}" for role, keys in self.of.items() if keys)


def guessed_keys(rows: Sequence[Mapping[str, Any]], given: Sequence[str], source: str) -> RowKeys:
    """Find the keys of each role in the first rows of a file.

    Args:
        rows: the first rows.
        given: ROLE=KEY, for keys that the names do not tell.
        source: name of the file, for messages.

    Raises:
        ValueError: on one line, for a role that no key or several keys may have, or a given key that no row has; it
            shows the expected row.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row if isinstance(key, str)))
    if not keys:
        raise ValueError(f"{source}: no rows; expected rows like {SCHEMA}")
    chosen = _given(given, keys, source)
    free = [key for key in keys if (key,) not in chosen.values()]
    for role, names in NAMES.items():
        if role not in chosen:
            fitting = sorted((key for key in free if _plain(key) in names), key=lambda key: names.index(_plain(key)))
            held = tuple(key for key in fitting if any(_may_be(role, row.get(key)) for row in rows))
            chosen[role] = held[:1] if role in _SIDE_ROLES else held
    named = {pair.partition("=")[0] for pair in given}
    _divide_media(rows, chosen, keys, named)
    if named & {"question", "answer"}:
        chosen["conversation"] = ()
    if chosen["conversation"] and chosen["question"] and chosen["answer"] and "conversation" not in named:
        _refuse(source, "question", (*chosen["question"], *chosen["conversation"]))
    if chosen["conversation"]:
        chosen |= {"question": (), "answer": ()}
    _check_media(rows, chosen, keys, source)
    words = ("conversation",) if chosen["conversation"] else ("question", "answer")
    for role in ("image", "video", *words):
        if not chosen[role] and role in words:
            raise ValueError(
                f"{source}: no {role} among the keys {_listed(keys)}; expected rows like {SCHEMA}, or"
                f" name the key: --data.keys {role}=KEY"
            )
        if any(_differ([row.get(key) for key in chosen[role]]) for row in rows):
            _refuse(source, role, chosen[role])
    return RowKeys({role: chosen[role] for role in NAMES})


def _check_media(
    rows: Sequence[Mapping[str, Any]], chosen: Mapping[str, tuple[str, ...]], keys: Sequence[str], source: str
) -> None:
    if not chosen["image"] and not chosen["video"]:
        raise ValueError(
            f"{source}: no image among the keys {_listed(keys)}, and no video; expected rows like {SCHEMA}, or name the"
            " key: --data.keys image=KEY or video=KEY"
        )
    if all(_holds(row, chosen["image"]) and _holds(row, chosen["video"]) for row in rows):
        image, video = chosen["image"][0], chosen["video"][0]
        raise ValueError(
            f"{source}: every row has a picture in {image!r} and a video in {video!r}; say which to read: --data.keys"
            f" image={image} or video={video}"
        )


def _may_be(role: str, value: Any) -> bool:
    """Return whether a value may have a role, as far as it tells."""
    if _is_absent(value):
        return False
    if role == "video":
        return looks_like_video(value)
    if role in _OF_VIDEOS:
        return seconds_of(value) is not None or _is_number(value) or (isinstance(value, list) and len(value) == 2)
    return True


def _is_number(value: Any) -> bool:
    """Return whether a value is a number or the text of one, also a negative one, which is refused by its row."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return seconds_of(value.strip().removeprefix("-")) is not None
        return True
    return isinstance(value, Real) and not isinstance(value, bool)


def _divide_media(
    rows: Sequence[Mapping[str, Any]], chosen: dict[str, tuple[str, ...]], keys: Sequence[str], named: set[str]
) -> None:
    """Decide which keys hold pictures and which hold videos: `file_name`, `path` and others may hold either."""
    for role, other in (("image", "video"), ("video", "image")):
        if role in named and other not in named:
            chosen[other] = ()
    films = tuple(key for key in chosen["image"] if all(_is_absent(row.get(key)) or _film(row[key]) for row in rows))
    chosen["image"] = tuple(key for key in chosen["image"] if key not in films)
    chosen["video"] += films
    if not chosen["image"] and not chosen["video"]:  # a path without a known ending: the name of its key tells
        chosen["video"] = tuple(
            key for key in keys if _named_video(key) and any(_is_text(row.get(key)) for row in rows)
        )
    if not chosen["video"] and not any(_film(row.get(key)) for row in rows for key in chosen["image"]):
        chosen |= dict.fromkeys(_OF_VIDEOS, ())


def _named_video(key: str) -> bool:
    return _plain(key).startswith("video") and _plain(key) in NAMES["video"]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _film(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(map(names_video, names))


def _holds(row: Mapping[str, Any], keys: Sequence[str]) -> bool:
    return any(not _is_absent(row.get(key)) for key in keys)


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(map(repr, keys[:12]))


def _given(given: Sequence[str], keys: Sequence[str], source: str) -> dict[str, tuple[str, ...]]:
    chosen = {}
    for pair in given:
        role, _, key = pair.partition("=")
        if key not in keys:
            raise ValueError(f"{source}: no key {key!r} for {role}; its rows have {', '.join(map(repr, keys[:12]))}")
        chosen[role] = (key,)
    return chosen


def _refuse(source: str, role: str, keys: Sequence[str]) -> None:
    words = " and ".join(map(repr, keys))
    first = role.partition(" ")[0]
    raise ValueError(
        f"{source}: {words} may each be the {role}; say which: --data.keys {first}={keys[0]} (rows like {SCHEMA})"
    )


def _plain(key: str) -> str:
    return re.sub(r"[\s-]+", "_", key.strip().lower())


def _is_absent(value: Any) -> bool:
    return value is None or value == "" or value == []


def _differ(values: Sequence[Any]) -> bool:
    held = [value for value in values if not _is_absent(value)]
    return any(value != held[0] for value in held)


def choices_of(value: Any, name: str) -> tuple[str, ...] | None:
    """Return the choices of a row: a list, an object of letters and choices, or a text with `|` between them.

    Raises:
        RecordError: malformed for anything else, for fewer than two, or for two equal ones.
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = value.split("|")
    listed = list(value.values()) if isinstance(value, Mapping) else value
    if isinstance(listed, list) and all(isinstance(item, str | int | float) for item in listed):
        texts = tuple(str(item).strip() for item in listed)
        if len(set(texts)) == len(texts) > 1 and all(texts):
            return texts
    raise RecordError("malformed", f"{name}: {short(value)} as the choices: expected a list of different texts")


def chosen_answer(answer: str, choices: Sequence[str], name: str) -> str:
    """Return the choice that an answer is, in any case, or names by its letter.

    Raises:
        RecordError: malformed if it is none of them; a number could count from 0 or from 1.
    """
    folded = [choice.casefold() for choice in choices]
    if (text := answer.strip().casefold()) in folded:
        return choices[folded.index(text)]
    letter = re.fullmatch(r"\(?([a-z])[).]?", text)
    place = ord(letter[1]) - ord("a") if letter else len(choices)
    if place >= len(choices):
        raise RecordError("malformed", f"{name}: the answer {short(answer)} is none of its choices {short(choices)}")
    return choices[place]
