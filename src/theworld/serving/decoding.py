"""Decoding of answers: rows with their own lengths, sampling and stop texts, in batches of one `generate` call."""

import copy
import logging
import secrets
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from theworld.config.thresholds import Threshold
from theworld.evaluation.generation import FAILURES, is_of_the_machine
from theworld.modeling import TheWorld
from theworld.modeling.generation import place
from theworld.modeling.world_gate import AutoAnswer, decide
from theworld.serving.answer_text import AnswerText
from theworld.serving.engine import Job
from theworld.serving.pauses import layers_of, pausing
from theworld.serving.reading import BatchReader
from theworld.serving.refusals import RequestError
from theworld.serving.reuse import Content, content_of

if TYPE_CHECKING:  # the web page runs without the library for metrics
    from theworld.serving.metrics import Metrics

logger = logging.getLogger(__name__)


class Piece(NamedTuple):
    """A piece of the answer."""

    text: str


class Finished(NamedTuple):
    """The end of an answer."""

    rest: str
    """The end of the text, which no piece has."""
    text: str
    """The whole answer."""
    reason: Literal["stop", "length"]
    num_tokens: int


Event = Piece | Finished | RequestError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Length, sampling and stop texts of an answer."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()


class Row(Job):
    """One request inside the model: a row of a batch.

    Args:
        inputs: the processor's output for the request, a batch of one.
        world: True: answer with the world.
        options: length, sampling and stop texts.
        text: collects the tokens of the answer.
        end_ids: tokens that end an answer.
        emit: called in the model thread with each event; the last is Finished or a RequestError.
        prefix_length: tokens until the end of the last picture, whose keys other rows can share; 0: none.
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
        prefix_length: int = 0,
    ) -> None:
        super().__init__(emit)
        self.inputs = inputs
        self.prefix_length = prefix_length
        self._content: Content | None = None
        self.options = options
        self.world = world
        self.tokens: list[int] = []
        self.done = False
        self._text = text
        self._end_ids = end_ids
        self._sampling = _sampling(options) if options.temperature else None

    @property
    def batch_key(self) -> Hashable:
        """(world, K, frames of a clip, pictures or none): equal for all rows of a batch."""
        return self.world, self.num_world_steps, self.num_frames, "pixel_values" in self.inputs

    @property
    def is_quick(self) -> bool:
        """True for a text without pictures."""
        return "pixel_values" not in self.inputs and "world_pixels" not in self.inputs

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt with its image and world tokens."""
        return self.inputs["input_ids"].shape[1]

    @property
    def content(self) -> Content:
        """Hashes of its pictures and clips, and of its prefix, computed once."""
        if self._content is None:
            self._content = content_of(self.inputs, world=self.world, prefix_length=self.prefix_length)
        return self._content

    @property
    def num_clips(self) -> int:
        """Number of clips that the world model reads."""
        return len(self.inputs.get("world_pixels", ()))

    @property
    def num_frames(self) -> int | None:
        """Frames of each clip: more than one for a video; None: no clip."""
        return self.inputs["world_pixels"].shape[1] if self.num_clips else None

    @property
    def num_world_steps(self) -> int | None:
        """K; None: no clip, so no world."""
        return self.inputs.get("num_world_steps") if self.num_clips else None

    @property
    def world_report(self) -> dict[str, Any]:
        """The world's part in the answer."""
        return {"clips_read": self.num_clips, "num_world_steps": self.num_world_steps}

    def take(self, token_id: int) -> None:
        """Add a token to the answer."""
        if self.cancelled:
            self.done = True
        if self.done:
            return
        self.tokens.append(token_id)
        ended = token_id in self._end_ids
        piece = "" if ended else self._text.add(token_id)
        if piece:
            self.emit(Piece(piece))
        if ended or self._text.stopped or len(self.tokens) >= self.options.max_new_tokens:
            self.done = True
            rest, text = self._text.end(self.tokens)
            reason = "stop" if ended or self._text.stopped else "length"
            self.emit(Finished(rest, text, reason, len(self.tokens)))

    def fail(self, error: RequestError) -> None:
        """End the row without an answer, unless it has ended already."""
        if not self.done:
            self.done = True
            super().fail(error)

    def draw(self, scores: Tensor) -> Tensor:
        """Return scores (V,) whose largest entry is a sample from the row's distribution (the Gumbel-max trick).

        The noise comes from the row's own generator on the CPU, so a seed gives the same answer on every device and in
        every batch.
        """
        if self._sampling is None:
            return scores
        warpers, generator = self._sampling
        no_ids: Any = torch.empty(1, 0, dtype=torch.long)  # neither warper reads them
        warped = warpers(no_ids, scores[None])[0]
        noise = torch.empty(len(scores), dtype=torch.float64).exponential_(generator=generator).log_().neg_()
        return (warped.double() + noise.to(scores.device)).to(scores.dtype)


class ChoiceRow(Row):
    """One request for the likeliest of some choices, which asks the world only where the answer without it is unsure.

    Args:
        plain_inputs: the processor's output without the world; `inputs` is that with it.
        choices: texts, each with its tokens.
        threshold: margin, nats, below which the world is asked, or "always".
        most_at_once: most choices in one forward pass.
        options: of `Row`.
    """

    def __init__(
        self,
        inputs: dict[str, Any],
        plain_inputs: dict[str, Any],
        *,
        choices: Mapping[str, Sequence[int]],
        threshold: Threshold,
        most_at_once: int,
        **options: Any,
    ) -> None:
        super().__init__(inputs, world=True, **options)
        self.plain_inputs = plain_inputs
        self.choices = choices
        self.threshold: Threshold = threshold
        self.most_at_once = most_at_once
        self.answer: AutoAnswer | None = None

    @property
    def batch_key(self) -> Hashable:
        """A key of its own: its choices are a batch."""
        return id(self)

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt; before the answer, of the longer one, with the world."""
        asked = self.answer is None or self.answer.imagined
        return (self.inputs if asked else self.plain_inputs)["input_ids"].shape[1]

    @property
    def world_report(self) -> dict[str, Any]:
        """The world's part in the answer: no clip, unless it was asked."""
        assert self.answer is not None
        report = super().world_report if self.answer.imagined else {"clips_read": 0, "num_world_steps": None}
        return {**report, "imagined": self.answer.imagined, "margin": self.answer.margin}

    def choose(self, reader: BatchReader) -> None:
        """Answer, and emit the end."""
        if self.cancelled:
            self.done = True
            return

        model, metrics = reader.model, reader.metrics
        plain = place(model, self.plain_inputs)
        with_world = partial(reader.world_inputs, self)
        self.answer = decide(model, self.choices, self.threshold, plain, with_world, self.most_at_once)
        text = self.answer.answer
        metrics.prompt_tokens.inc(self.num_prompt_tokens)
        metrics.completion_tokens.inc(len(self.choices[text]))
        self.done = True
        self.emit(Finished(text, text, "stop", len(self.choices[text])))


def _sampling(options: Options) -> tuple[LogitsProcessorList, torch.Generator]:
    seed = secrets.randbits(63) if options.seed is None else options.seed
    warpers = LogitsProcessorList([TemperatureLogitsWarper(float(options.temperature))])
    if options.top_p < 1:
        warpers.append(TopPLogitsWarper(float(options.top_p)))
    return warpers, torch.Generator().manual_seed(seed)


class RowEnds(StoppingCriteria):
    """Gives each row its new token, and reports the finished rows to `generate`."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        for row, token_id in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
            row.take(token_id)
        return torch.tensor([row.done for row in self.rows], device=input_ids.device)


class RowDraws(LogitsProcessor):
    """Samples the next token of each row by the row's own options; `generate` then takes the largest score."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.stack([row.draw(row_scores) for row, row_scores in zip(self.rows, scores, strict=True)])


def greedy(model: TheWorld, **options: Any) -> GenerationConfig:
    """Return the model's generation config without sampling, with other `options` in place."""
    config = copy.deepcopy(model.generation_config)
    config.update(do_sample=False, temperature=None, top_p=None, top_k=None, **options)
    return config


def end_ids(model: TheWorld) -> frozenset[int]:
    """Return the tokens that end an answer of the model."""
    ids = model.generation_config.eos_token_id
    return frozenset([ids] if isinstance(ids, int) else ids or ())


class BatchDecoder:
    """Answers batches of rows with one model; call it in the model thread.

    A row ends at its own stop, or when its client leaves; the batch goes on for the others.

    Args:
        model: the model.
        metrics: counts batches and tokens.
        max_kept_bytes: most memory of features that are kept for further questions about a picture, bytes.
    """

    def __init__(self, model: TheWorld, metrics: "Metrics", max_kept_bytes: int = 0) -> None:
        self.model = model.eval()
        self.metrics = metrics
        self.pause: Callable[[], None] | None = None
        """Called between the layers of a batch with pictures; it may answer a batch of texts."""
        self._reader = BatchReader(model, metrics, max_kept_bytes)
        self._layers = layers_of(model)

    def __call__(self, rows: Sequence[Row]) -> None:
        """Answer a batch of rows with the same `batch_key`."""
        is_slow = not all(row.is_quick for row in rows)
        self.metrics.running.inc(len(rows))
        with pausing(self.model, self._layers, self.pause) if self.pause and is_slow else nullcontext():
            self._answer(rows)
        self.metrics.running.dec(len(rows))

    def _answer(self, rows: Sequence[Row]) -> None:
        """Answer a batch; if it fails, answer the rows without a token one by one."""
        try:
            self._generate(rows)
        except FAILURES as error:
            logger.error("a batch of %d failed", len(rows), exc_info=True)
            if is_of_the_machine(error):
                raise
            for row in rows:
                if len(rows) > 1 and not row.done and not row.tokens:
                    self._answer([row])
                row.fail(
                    RequestError("the model failed on this request; the server's log says why", 500, "internal_error")
                )

    @torch.no_grad()
    def _generate(self, rows: Sequence[Row]) -> None:
        self.metrics.batch_rows.observe(len(rows))
        if isinstance(first := rows[0], ChoiceRow):
            first.choose(self._reader)
            return
        self.metrics.prompt_tokens.inc(sum(row.num_prompt_tokens for row in rows))
        draws = [RowDraws(rows)] if any(row.options.temperature for row in rows) else []
        try:
            with nullcontext() if rows[0].world else self.model.without_world():
                self.model.generate(
                    **self._reader.inputs(rows),
                    generation_config=greedy(
                        self.model, max_new_tokens=max(row.options.max_new_tokens for row in rows)
                    ),
                    logits_processor=LogitsProcessorList(draws),
                    stopping_criteria=StoppingCriteriaList([RowEnds(rows)]),
                )
        finally:
            self.metrics.completion_tokens.inc(sum(len(row.tokens) for row in rows))
