"""Row: one request inside the model, from its inputs to the last piece of its answer."""

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from tokenizers.decoders import DecodeStream
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from theworld.serving.protocol import RequestError


class Piece(NamedTuple):
    """More of the answer."""

    text: str


class Finished(NamedTuple):
    """The end of an answer."""

    rest: str
    """What was not yet sent as a piece."""
    text: str
    """The whole answer."""
    reason: Literal["stop", "length"]
    num_tokens: int


Event = Piece | Finished | RequestError


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an answer is written."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()


class AnswerText:
    """The text of an answer while it is written: what may be shown of it already, and whether a stop text ended it.

    What was shown is never taken back: white space at the end, half a character, and what may become a stop text wait.

    Args:
        tokenizer: the model's, for this use alone: decoding runs in the model's thread.
        stops: texts that end the answer.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._decoder = DecodeStream([], skip_special_tokens=True)
        self._stops = stops
        self._text = ""
        self._shown = ""
        self.stopped = False

    def add(self, token_id: int) -> str:
        """One more token; what can now be shown."""
        before = len(self._text)
        self._text += self._decoder.step(self._tokenizer.backend_tokenizer, token_id) or ""
        for stop in self._stops:
            found = self._text.find(stop, max(0, before - len(stop) + 1))
            if found >= 0:
                self._text, self.stopped = self._text[:found], True
        waiting = 0 if self.stopped else self._may_become_stop()
        ready = self._text[: len(self._text) - waiting].strip()
        piece = ready[len(self._shown) :]
        self._shown += piece
        return piece

    def _may_become_stop(self) -> int:
        """Length of the longest end of the text with which a stop text begins."""
        text = self._text
        lengths = (length for stop in self._stops for length in range(1, len(stop)) if text.endswith(stop[:length]))
        return max(lengths, default=0)

    def end(self, token_ids: Sequence[int]) -> tuple[str, str]:
        """(what was not yet shown, the whole text), once the last token has come."""
        text = self._text if self.stopped else self._tokenizer.decode(token_ids, skip_special_tokens=True)
        text = text.strip()
        if not text.startswith(self._shown):  # a decoder that takes back what it said: what was shown stays
            text = self._shown
        return text[len(self._shown) :], text


class Row:
    """One request inside the model.

    Args:
        inputs: what the processor gave for it, a batch of one.
        world: whether it is answered with the world.
        options: how the answer is written.
        text: takes the tokens of the answer.
        end_ids: tokens that end an answer.
        emit: called, in the model's thread, with each event; the last is Finished or a RequestError.
    """

    def __init__(
        self,
        inputs: dict[str, Any],
        *,
        world: bool,
        options: Options,
        text: AnswerText,
        end_ids: Collection[int],
        emit: Callable[[Event], None],
    ) -> None:
        self.inputs = inputs
        self.options = options
        self.world = world
        self.tokens: list[int] = []
        self.done = False
        self.cancelled = False
        """Set, from any thread, when nobody waits for the answer any more."""
        self._text = text
        self._end_ids = end_ids
        self._emit = emit
        self._dice = _dice(options) if options.temperature else None

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt; image and world tokens count."""
        return self.inputs["input_ids"].shape[1]

    @property
    def num_clips(self) -> int:
        """Clips that the world model reads for it."""
        return len(self.inputs.get("world_pixels", ()))

    @property
    def num_world_steps(self) -> int | None:
        """K, where the world is read."""
        return self.inputs.get("num_world_steps") if self.num_clips else None

    def take(self, token_id: int) -> None:
        """One more token of the answer."""
        if self.cancelled:
            self.done = True
        if self.done:
            return
        self.tokens.append(token_id)
        ended = token_id in self._end_ids
        piece = "" if ended else self._text.add(token_id)
        if piece:
            self._emit(Piece(piece))
        if ended or self._text.stopped or len(self.tokens) >= self.options.max_new_tokens:
            self.done = True
            rest, text = self._text.end(self.tokens)
            reason = "stop" if ended or self._text.stopped else "length"
            self._emit(Finished(rest, text, reason, len(self.tokens)))

    def fail(self, error: RequestError) -> None:
        """End without an answer."""
        if not self.done:
            self.done = True
            self._emit(error)

    def draw(self, scores: Tensor) -> Tensor:
        """Scores (V,) whose largest is a draw from the distribution that the row asked for (the Gumbel-max trick).

        The noise comes from the row's own generator on the CPU: neither the device nor the other rows play a part.
        """
        if self._dice is None:
            return scores
        warpers, generator = self._dice
        no_ids: Any = torch.empty(1, 0, dtype=torch.long)  # neither warper looks at them
        warped = warpers(no_ids, scores[None])[0]
        noise = torch.empty(len(scores), dtype=torch.float64).exponential_(generator=generator).log_().neg_()
        return (warped.double() + noise.to(scores.device)).to(scores.dtype)


def _dice(options: Options) -> tuple[LogitsProcessorList, torch.Generator]:
    seed = secrets.randbits(63) if options.seed is None else options.seed
    warpers = LogitsProcessorList([TemperatureLogitsWarper(float(options.temperature))])
    if options.top_p < 1:
        warpers.append(TopPLogitsWarper(float(options.top_p)))
    return warpers, torch.Generator().manual_seed(seed)


class RowEnds(StoppingCriteria):
    """Hands each row its new token, and tells `generate` which rows are done: each ends by its own measure."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        for row, token_id in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
            row.take(token_id)
        return torch.tensor([row.done for row in self.rows], device=input_ids.device)


class RowDraws(LogitsProcessor):
    """Lets every row choose its next token in its own way; `generate` itself always takes the likeliest."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.stack([row.draw(one) for row, one in zip(self.rows, scores, strict=True)])


def join(rows: Sequence[Row], pad_token_id: int) -> dict[str, Any]:
    """One batch of rows, padded on the left; pictures and clips of all of them in row order.

    ids     [pad, pad, bos, what, ...]
            [bos, IMG, IMG, what, ...]
    """
    length = max(row.num_prompt_tokens for row in rows)
    batch: dict[str, Any] = {}
    for name, padding in (("input_ids", pad_token_id), ("attention_mask", 0), ("token_type_ids", 0)):
        padded = [F.pad(row.inputs[name], (length - row.num_prompt_tokens, 0), value=padding) for row in rows]
        batch[name] = torch.cat(padded)
    for name in ("pixel_values", "world_pixels"):
        found = [row.inputs[name] for row in rows if name in row.inputs]
        if found:
            batch[name] = torch.cat(found)
    steps = {row.num_world_steps for row in rows} - {None}
    assert len(steps) <= 1, steps
    if steps:
        batch["num_world_steps"] = steps.pop()
    return batch
