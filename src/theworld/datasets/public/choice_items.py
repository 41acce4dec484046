"""Multiple-choice items about pictures and videos, the common form of the benchmarks about the future.

A reader makes `ChoiceItem`s without opening a picture; `ChoiceSamples` asks them, in one or several orders of options.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal

from theworld.datasets.errors import ImageError, RecordError
from theworld.datasets.records import distinct_ids, short
from theworld.datasets.sample import Sample, question
from theworld.io import unique_names

if TYPE_CHECKING:
    from theworld.datasets.video import ClipRule

LETTERS: Final = "ABCDEFGH"
BY_LETTER: Final = "Answer with the letter of the right option."

OptionOrder = Literal["stored", "shuffled", "circular"]

_FILMS: Final = frozenset({".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v"})


@dataclass(frozen=True)
class ChoiceItem:
    """A question with options, and the files that it is about."""

    id: str
    question: str
    """Text before the options; without `ending` and options, the whole prompt."""
    options: tuple[str, ...]
    """Texts of the options, in the order of the file."""
    answer: str | None
    """The right one of `options`; None: withheld; empty: the file has an answer, and it is empty."""
    media: tuple[Any, ...]
    """Paths and contents of pictures, paths of videos, in order; an ImageError in the place of an invalid one."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its rows, `benchmark` among them."""
    ending: str = BY_LETTER
    """Last line of the prompt."""
    form: Literal["letters", "texts", "listed"] = "letters"
    """letters: the prompt lists the options with letters, which are the choices; texts: it quotes them, and they are
    the choices themselves; listed: the question lists or names them already, and the choices are the options."""

    def prompt(self, order: Sequence[int]) -> str:
        """Return the text of the question with its options in an order."""
        texts = [self.options[place] for place in order]
        parts = [self.question, self.ending]
        if self.form == "letters":
            parts.insert(1, "\n".join(f"({letter}) {text}" for letter, text in zip(LETTERS, texts, strict=False)))
        elif self.form == "texts":
            quoted = " and ".join(f'"{text}"' for text in texts)
            parts.insert(1, f"Choose between {quoted}.")
        return "\n".join(filter(None, parts))

    def choices(self, order: Sequence[int]) -> tuple[str, ...]:
        """Return the answers to choose from."""
        return tuple(LETTERS[: len(order)]) if self.form == "letters" else tuple(self.options[place] for place in order)

    def right(self, order: Sequence[int]) -> str | None:
        """Return the right one of `choices`; None: withheld."""
        if not self.answer:
            return None
        return self.choices(order)[order.index(self.options.index(self.answer))]


@dataclass(frozen=True)
class Asked:
    """An item in one order of its options."""

    item: ChoiceItem
    id: str
    order: tuple[int, ...]
    fields: Mapping[str, Any]


def asked(items: Sequence[ChoiceItem], option_order: OptionOrder = "stored", num_orders: int = 1) -> list[Asked]:
    """Return the items in the orders of their options; several orders of one item share the field `item`.

    Args:
        items: with distinct ids.
        option_order: stored; shuffled, by a seed of each item or pair; or circular, each item once for every rotation.
        num_orders: number of shuffled orders.
    """
    result = []
    for item in items:
        orders = _orders(item, option_order, num_orders)
        for number, order in enumerate(orders):
            more = {"item": item.id, "order": number} if len(orders) > 1 else {}
            name = f"{item.id}@{number}" if more else item.id
            result.append(Asked(item, name, order, {**item.fields, **more}))
    return result


def _orders(item: ChoiceItem, option_order: OptionOrder, num_orders: int) -> list[tuple[int, ...]]:
    places = tuple(range(len(item.options)))
    if option_order == "circular":
        return [places[number:] + places[:number] for number in places]
    if option_order == "stored":
        return [places]
    seed = item.fields.get("pair", item.id)  # both rows of a pair list their options in one order
    orders = []
    for number in range(num_orders):
        shuffled = list(places)
        Random(f"{seed}/{number}").shuffle(shuffled)
        orders.append(tuple(shuffled))
    return orders


class ChoiceSamples:
    """Samples of multiple-choice items; items whose answer is empty are left out.

    Args:
        items: of a reader.
        rule: frames of a video that the models see; None: the defaults.
        size: number of items, from the first; None: all.
        option_order: as `asked`.
        num_orders: as `asked`.
        num_video_frames: frames of a video for Gemma, evenly spaced from first to last; None: as the rule says.
    """

    def __init__(
        self,
        items: Sequence[ChoiceItem],
        rule: "ClipRule | None" = None,
        size: int | None = None,
        *,
        option_order: OptionOrder = "stored",
        num_orders: int = 1,
        num_video_frames: int | None = None,
    ) -> None:
        self.rule, self.num_video_frames = rule, num_video_frames
        answered = [item for item in items if item.answer != ""]
        self.items = asked(answered[:size], option_order, num_orders)
        self._ids = distinct_ids(item.id for item in self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        entry = self.items[index]
        images, clips = self._seen(entry.item.media)
        return question(
            self._ids[index],
            images,
            entry.item.prompt(entry.order),
            entry.item.right(entry.order),
            clips=clips,
            fields={**entry.fields, "choices": entry.item.choices(entry.order)},
        )

    def _seen(self, media: Sequence[Any]) -> tuple[list[Any], tuple[Any, ...] | None]:
        """Return the pictures for Gemma, and the clips for the world model: None if there is no video."""
        if not any(is_film_file(source) for source in media):
            return list(media), None
        from theworld.datasets.video import ClipRule, read_clip

        rule = ClipRule() if self.rule is None else self.rule
        images: list[Any] = []
        clips: list[Any] = []
        for source in media:
            if not is_film_file(source):  # a still clip, since all clips of a sample have one length
                images.append(source)
                clips.append((source,) * rule.num_frames)
                continue
            try:
                clip = read_clip(source, rule)
                images += clip.shown if self.num_video_frames is None else _spread(source, self.num_video_frames)
                clips.append(clip.frames)
            except ImageError as error:  # on access, so that it is a missing item
                images.append(error)
                clips.append((error,) * rule.num_frames)
        return images, tuple(clips)


def _spread(source: Any, num_frames: int) -> list[Any]:
    """Return frames of a video, evenly spaced from the first to the last; each once if it is shorter."""
    import numpy as np

    from theworld.datasets.video import open_video

    with open_video(source) as video:
        places = np.linspace(0, video.num_frames - 1, min(num_frames, video.num_frames)).round().astype(int)
        return video.pictures(places.tolist())


def is_film_file(source: Any) -> bool:
    """Return True for the path of a video."""
    return isinstance(source, Path) and source.suffix.lower() in _FILMS


def json_object(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Read the object of a JSON file.

    Raises:
        RecordError: malformed, with the file, for other content or a missing key.
    """
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=unique_names)
    except (ValueError, RecursionError) as error:
        raise RecordError("malformed", f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecordError("malformed", f"{path}: {short(content)}: expected an object with {', '.join(keys)}")
    missing = [key for key in keys if key not in content]
    if missing:
        raise RecordError("malformed", f"{path}: no {', '.join(missing)}; it has {', '.join(content) or 'nothing'}")
    return content


def lettered(value: Any, answer: Any, name: str) -> tuple[tuple[str, ...], str]:
    """Return the texts of options that are stored by letter, and the right one of them.

    Args:
        value: object of texts under A, B, C, ...
        answer: letter of the right one, in any case.
        name: of the record, for messages.

    Raises:
        RecordError: malformed for anything else.
    """
    letters = LETTERS[: len(value)] if isinstance(value, Mapping) else ""
    texts = [value.get(letter) for letter in letters] if letters else []
    if not 2 <= len(texts) <= len(LETTERS) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise RecordError("malformed", f"{name}: options {short(value)}: expected texts under A, B, C, ...")
    letter = answer.strip().upper() if isinstance(answer, str) else ""
    if len(letter) != 1 or letter not in letters:
        raise RecordError("malformed", f"{name}: answer {short(answer)}: expected one of {', '.join(letters)}")
    options = tuple(str(text).strip() for text in texts)
    if len(set(options)) < len(options):
        raise RecordError("malformed", f"{name}: options {short(list(options))}: expected all different")
    return options, options[letters.index(letter)]


def numbered(paths: Sequence[Path]) -> list[Path]:
    """Return paths in the order of the numbers in their names."""
    return sorted(paths, key=lambda path: [int(part) if part.isdigit() else part for part in _parts(path.name)])


def _parts(name: str) -> list[str]:
    return re.split(r"(\d+)", name)
