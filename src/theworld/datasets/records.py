"""Fields of records of any type: texts, answers and ids, or the reason why they are none."""

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, Final

from theworld.datasets.errors import RecordError

MEDIA_KEYS: Final = (
    *("img", "imgs", "image_file", "image_files", "image_path", "image_paths", "image_url", "image_urls"),
    *("picture", "pictures", "video_file", "video_path", "video_paths", "video_url", "audio", "audios"),
)
"""Names of pictures, videos and sounds in public data sets, besides `image`, `images`, `video` and `videos`."""


def short(value: Any) -> str:
    """Return the start of a value, for messages; also of numbers with thousands of digits."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**15:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, list | tuple):
        inner = ", ".join(short(item) for item in value[:4])
        return f"[{inner}{', ...' if len(value) > 4 else ''}]"
    if isinstance(value, Mapping):
        return f"an object of {len(value)} keys"
    text = repr(value[:50]) if isinstance(value, str | bytes) else repr(value)
    if text.startswith("<"):  # an object of Python, whose address tells nothing
        return f"an object of the type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_encodable(text: str) -> bool:
    """Return whether a text has no half of a surrogate pair, which no tokenizer and no file accepts."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_of(record: Mapping[str, Any], key: str, name: str) -> str:
    """Return the text of a key.

    Args:
        record: the record.
        key: of the text.
        name: of the record, for messages.

    Raises:
        RecordError: malformed if the value is not a text, is blank, or has half a surrogate pair.
    """
    value = record.get(key)
    if not isinstance(value, str) or not value.strip() or not is_encodable(value):
        raise RecordError("malformed", f"{name}: {key} {short(value)}: expected a text")
    return str(value)


def answer_text(value: Any, name: str) -> str | None:
    """Return an answer as text; None if it is withheld.

    Raises:
        RecordError: empty answer for NaN and for empty lists; malformed for lists, structs and other objects, which
            have several answers or none.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Real | Decimal):
        if math.isnan(value):
            raise RecordError("empty answer", f"{name}: NaN as the answer")
        if math.isfinite(value):
            return str(value)
    elif type(value).__name__ == "NAType":  # of pandas, which need not be installed
        raise RecordError("empty answer", f"{name}: NA as the answer")
    elif isinstance(value, Sequence | Mapping) and not isinstance(value, bytes | bytearray) and not value:
        raise RecordError("empty answer", f"{name}: an empty {type(value).__name__} as the answer")
    elif type(value).__name__ in ("bool", "bool_"):
        return str(value)
    raise RecordError(
        "malformed",
        f"{name}: {short(value)} as the answer: an answer is a text or a number; choose one of several before",
    )


def media_keys(record: Mapping[str, Any]) -> list[str]:
    """Return the keys of a record that hold media under names of other formats."""
    return [key for key in MEDIA_KEYS if key in record and _holds(record[key])]


def id_of(value: Any, place: int | str) -> str:
    """Return the id of a record: a text or a number; its place for null, NaN, blank and all others."""
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number and not (isinstance(value, str) and value.strip()):
        value = place
    return str(value).encode("utf-8", "replace").decode()


def distinct_ids(values: Iterable[Any]) -> list[str]:
    """Return the ids of records, each once: later records of an id get `ID#2`, `ID#3`, and so on."""
    ids = [id_of(value, place) for place, value in enumerate(values)]
    taken = set(ids)
    counts: dict[str, int] = {}
    for place, id in enumerate(ids):
        counts[id] = counts.get(id, 0) + 1
        if counts[id] > 1:
            name = f"{id}#{counts[id]}"
            while name in taken:
                name += f"@{place}"
            taken.add(name)
            ids[place] = name
    return ids


def _holds(value: Any) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    return bool(value) if isinstance(value, str | Sequence | Mapping) else True
