"""Answers of a TheWorld in batches, with a count of the clips that the world model read."""

import errno
import hashlib
import statistics
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import LogitsProcessor, LogitsProcessorList

from theworld.datasets.collator import Collator
from theworld.datasets.sample import Sample, Turn
from theworld.evaluation.jsonl import error_text
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.shared_pictures import Sharing, choice_inputs, fits_window, reply_inputs, sharing_of
from theworld.modeling import TheWorld
from theworld.modeling.generation import place, refuse_overlong
from theworld.modeling.world_gate import log_likelihoods
from theworld.world.store_files import StoreError

FeatureReader = Callable[[Tensor, int], Tensor]
"""Function (frames, K) -> features: the model's own world, or a feature store."""

FAILURES = (ValueError, OSError, RuntimeError)
"""Errors of a single item (its picture, memory), which become error rows. Any other error is a bug and ends the run,
and so does an error of the machine (see `is_of_the_machine`)."""

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class BatchAnswerer:
    """Answers batches of samples; a failed batch is tried again one by one, and a failed sample gets an error row."""

    model: Any

    def __call__(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Return a prediction per sample."""
        started = time.perf_counter()
        try:
            rows = self._answer(samples)
        except FAILURES as error:
            if is_of_the_machine(error):
                raise
            if len(samples) > 1:
                return [row for sample in samples for row in self([sample])]
            rows = [row_of(samples[0], error=error_text(error))]
        seconds = (time.perf_counter() - started) / len(samples)
        return [Prediction(**row, seconds=seconds) for row in rows]

    @abstractmethod
    def _answer(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        """Return the values of a row per sample."""


class Answerer(BatchAnswerer):
    """Answers samples with one model under one set of options.

    Questions of a batch about the same pictures share one prefill of them, and so do the choices of a question: see
    `shared_pictures`.

    Args:
        model: a TheWorld.
        num_world_steps: K; None: the model's own.
        max_new_tokens: longest reply, tokens.
        score_choices: compute the log-likelihood of every choice of `sample.fields["choices"]`, end of turn included,
            instead of generating a reply.
        read_features: source of world features; None: the model's own world.
        decoding: options of transformers' `generate` beyond the length (`do_sample`, `temperature`, `num_beams`, ...);
            None: greedy.
        first_token: let rows of generated replies keep the log-probability of the first token (`first_log_prob`), and
            its lead over the second-best one (`first_margin`), among their fields.
    """

    shares_pictures = True
    """False: each sample has its own features, even if another shows the same pictures."""

    def __init__(
        self,
        model: Any,
        *,
        num_world_steps: int | None = None,
        max_new_tokens: int = 16,
        score_choices: bool = False,
        read_features: FeatureReader | None = None,
        decoding: Mapping[str, Any] | None = None,
        first_token: bool = False,
    ) -> None:
        self.model = model
        self.num_world_steps = num_world_steps
        self.max_new_tokens = max_new_tokens
        self.score_choices = score_choices
        self.decoding = {"do_sample": False, **(decoding or {})}
        self.first_token = first_token
        self.clips_read = 0
        """Clips that the world model has read."""
        self._source: FeatureReader = read_features or model.read_world
        self._enabled = model.config.enable_world
        self._has_one_reply_a_row = self.decoding.get("num_beams", 1) == 1
        self._prompts = Collator(
            model.processor,
            supervise=False,
            num_world_steps=num_world_steps,
            read_features=self._read if self._enabled else None,
        )
        self._candidates = Collator(model.processor, supervise=True, num_world_steps=num_world_steps)

    def _read(self, frames: Tensor, num_world_steps: int) -> Tensor:
        features = self._source(frames, num_world_steps)
        self.clips_read += len(frames)
        return features

    @torch.no_grad()
    def _answer(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        before = self.clips_read
        sharing = self._sharing(samples)
        answers = (self._weigh if self.score_choices else self._write)(samples, sharing)
        read = samples if sharing is None else sharing.firsts
        expected = sum(sample.num_clips for sample in read) if self._enabled else 0
        if self.clips_read - before != expected:
            raise RuntimeError(f"{self.clips_read - before} clips were read from the world; expected {expected}")
        counts = [sample.num_clips if self._enabled else 0 for sample in samples]
        rows = []
        for sample, count, answer in zip(samples, counts, answers, strict=True):
            more = answer.pop("fields", {})
            row = row_of(sample, world_read=count, **answer)
            rows.append({**row, "fields": {**row["fields"], **more}})
        return rows

    def _sharing(self, samples: Sequence[Sample]) -> Sharing | None:
        """Group samples of one picture, if a prefill for each group saves anything and changes no answer."""
        sharing = sharing_of(self.model, samples, self.shares_pictures)
        if sharing is None or self.score_choices:
            return sharing
        pays = len(sharing.firsts) < len(samples) and self._has_one_reply_a_row
        return sharing if pays and fits_window(self.model, self._prompts, samples, self.max_new_tokens) else None

    def _write(self, samples: Sequence[Sample], sharing: Sharing | None) -> list[dict[str, Any]]:
        if sharing is None:
            inputs = place(self.model, self._prompts(samples))
        else:
            inputs = reply_inputs(self.model, self._prompts, samples, sharing)
        refuse_overlong(self.model, inputs["input_ids"].shape[1])
        first = FirstToken()
        watched = {"logits_processor": LogitsProcessorList([first])} if self.first_token else {}
        output = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, **watched, **self.decoding)
        replies = output[:, inputs["input_ids"].shape[1] :]
        texts = self.model.processor.batch_decode(replies, skip_special_tokens=True)
        answers = [{"prediction": text.strip()} for text in texts]
        if len(first.best) == len(answers):
            for answer, (best, second) in zip(answers, first.best, strict=True):
                answer["fields"] = {"first_log_prob": best, "first_margin": best - second}
        return answers

    def _weigh(self, samples: Sequence[Sample], sharing: Sharing | None) -> list[dict[str, Any]]:
        """Compute the log-likelihood of each choice as the answer; read each clip once for all choices."""
        choices = [choices_of(sample) for sample in samples]
        candidates = [
            _answered(sample, choice) for sample, options in zip(samples, choices, strict=True) for choice in options
        ]
        if sharing is not None:
            groups = [group for group, options in zip(sharing.groups, choices, strict=True) for _ in options]
            inputs, labels = choice_inputs(
                self.model, self._prompts, self._candidates, candidates, groups, sharing.firsts
            )
        else:
            inputs, labels = self._whole(candidates, [len(options) for options in choices], samples)
        weights = iter(log_likelihoods(self.model, inputs, labels).tolist())
        return [{"log_likelihoods": {choice: next(weights) for choice in options}} for options in choices]

    def _whole(
        self, candidates: Sequence[Sample], num_choices: Sequence[int], samples: Sequence[Sample]
    ) -> tuple[dict[str, Any], Tensor]:
        """Return the inputs of candidates with their pictures, and their labels."""
        batch = self._candidates(candidates)
        labels = batch.pop("labels")
        if "world_pixels" in batch:
            pixels, steps = batch.pop("world_pixels"), batch["num_world_steps"]
            first, copies = _first_of_each(num_choices, [sample.num_clips for sample in samples])
            batch["world_features"] = self._read(pixels[first], steps)[copies]
        inputs = place(self.model, batch)
        refuse_overlong(self.model, inputs["input_ids"].shape[1])
        return inputs, labels


class FirstToken(LogitsProcessor):
    """Notes the two largest log-probabilities of the first generated token of each row; it changes nothing."""

    def __init__(self) -> None:
        self.best: list[list[float]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Note the first call, and return the scores as they are."""
        if not self.best:
            self.best = torch.log_softmax(scores.float(), -1).topk(2).values.tolist()
        return scores


def is_of_the_machine(error: BaseException) -> bool:
    """Return True for an error that every item would meet: a damaged feature store, a full disk."""
    return isinstance(error, StoreError) or (isinstance(error, OSError) and error.errno in _FULL_DISK)


def row_of(sample: Sample, **answer: Any) -> dict[str, Any]:
    """Return the values of a row of predictions, from the sample and the answer."""
    fields = {name: value for name, value in sample.fields.items() if isinstance(value, str | int | float | bool)}
    choices = sample.fields.get("choices")
    prompt = "\n".join(f"{turn.role}: {turn.text}" for turn in sample.prompt)
    return {
        "sample_id": sample.id,
        "question": sample.prompt[-1].text,
        "answer": sample.answer,
        "prediction": None,
        "choices": None if choices is None else tuple(choices),
        "fields": fields,
        "prompt_hash": hashlib.sha256(f"{len(sample.images)} pictures\n{prompt}".encode()).hexdigest()[:16],
        **answer,
    }


def choices_of(sample: Sample) -> tuple[str, ...]:
    """Return the choices of a sample.

    Raises:
        ValueError: if it has none.
    """
    choices = sample.fields.get("choices")
    if not choices:
        raise ValueError(f"sample {sample.id!r} has no choices to weigh: write a reply instead")
    return tuple(choices)


def _answered(sample: Sample, answer: str) -> Sample:
    """Replace the sample's answer; its true answer has no influence."""
    return replace(sample, turns=(*sample.prompt, Turn("assistant", answer)))


def _first_of_each(num_choices: Sequence[int], num_clips: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the clips of the expanded batch to read, and the positions of their features.

    Two samples of one clip, three and two choices:  clips a a a b b  ->  first [0, 3], copies [0, 0, 0, 1, 1].
    """
    first: list[int] = []
    copies: list[int] = []
    position = 0
    for choices, clips in zip(num_choices, num_clips, strict=True):
        start = len(first)
        first.extend(range(position, position + clips))
        copies.extend(list(range(start, start + clips)) * choices)
        position += choices * clips
    return first, copies


_NUM_TIMED = 3


@dataclass(frozen=True)
class Cost:
    """Cost of one sample in a batch."""

    seconds: float
    """Wall time on this machine, the median of three runs."""
    gflops: float
    """Billions of floating-point operations in matrix products, convolutions and attention."""


def measure_cost(model: TheWorld, samples: Sequence[Sample], max_new_tokens: int) -> Cost:
    """Answer a batch a few times; read the world anew each time and store nothing.

    Args:
        model: a TheWorld with its world loaded.
        samples: a batch of one shape.
        max_new_tokens: longest reply.
    """
    return measure(Answerer(model, max_new_tokens=max_new_tokens), samples)


def measure(answerer: BatchAnswerer, samples: Sequence[Sample]) -> Cost:
    """Measure an answer of any answerer: it answers a batch of one shape a few times."""
    with FlopCounterMode(display=False) as counter:
        answerer(samples)
    seconds: list[float] = []
    for _ in range(_NUM_TIMED):
        started = time.perf_counter()
        answerer(samples)
        seconds.append(time.perf_counter() - started)
    return Cost(statistics.median(seconds) / len(samples), counter.get_total_flops() / len(samples) / 1e9)
