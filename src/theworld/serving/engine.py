"""Engine: the queue in front of the model, and the one thread in which rows are answered in batches."""

import copy
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from transformers import LogitsProcessorList, StoppingCriteriaList

from theworld.evaluation.generation import FAILURES, is_of_the_machine, place
from theworld.serving.decoding import Row, RowDraws, RowEnds, join
from theworld.serving.metrics import Metrics
from theworld.serving.protocol import RequestError, ShuttingDownError

logger = logging.getLogger(__name__)


class Engine:
    """Answers rows with one model.

    Rows that agree on the world and on K are answered together, however they choose their tokens; the one that has
    waited longest is always among the next. A row leaves its batch when its answer ends or nobody waits for it; the
    batch goes on for the others.

    Args:
        model: a TheWorld.
        max_batch_size: rows per batch.
        batch_wait_seconds: how long a first row waits for company.
        metrics: where batches and tokens are counted.
    """

    def __init__(self, model: Any, max_batch_size: int, batch_wait_seconds: float, metrics: Metrics) -> None:
        self.model = model
        self.max_batch_size = max_batch_size
        self.batch_wait_seconds = batch_wait_seconds
        self.metrics = metrics
        self._waiting: deque[Row] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._pad_token_id: int = model.processor.tokenizer.pad_token_id
        self._generation = copy.deepcopy(model.generation_config)
        self._generation.update(do_sample=False, temperature=None, top_p=None, top_k=None)  # rows throw their own dice
        model.eval()

        metrics.waiting.set_function(lambda: self.num_waiting)

    @property
    def num_waiting(self) -> int:
        """Rows that wait for their turn."""
        return len(self._waiting)

    def submit(self, row: Row) -> None:
        """Let a row wait for its turn.

        Raises:
            RequestError: after `close`.
        """
        with self._changed:
            if self._closed:
                raise ShuttingDownError
            self._waiting.append(row)
            self._changed.notify()

    def cancel(self, row: Row) -> None:
        """Forget a row that nobody waits for: at once if it waits for its turn, else at its next token."""
        with self._changed:
            row.cancelled = True
            self._waiting = deque(one for one in self._waiting if one is not row)

    def close(self) -> None:
        """Take no more rows; `run` ends when those that wait are answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def run(self) -> None:
        """Answer rows until `close`; the model's thread."""
        batch: list[Row] = []
        try:
            while True:
                batch = self._next_batch()
                if not batch and self._closed:
                    return
                if batch:  # else all of them were cancelled meanwhile
                    self.metrics.running.set(len(batch))
                    self._answer(batch)
                    self.metrics.running.set(0)
        finally:  # after a fault of this program nobody shall wait for an answer that never comes
            self.close()
            for row in (*batch, *self._waiting):
                row.fail(RequestError("the server broke down", 500, "internal_error"))

    def _next_batch(self) -> list[Row]:
        """The row that has waited longest and others that fit to it; empty when all are answered after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            until = time.monotonic() + self.batch_wait_seconds
            while len(self._waiting) < self.max_batch_size and not self._closed:
                if not self._changed.wait(max(0.0, until - time.monotonic())):
                    break
            fitting = [row for row in self._waiting if _key(row) == _key(self._waiting[0])][: self.max_batch_size]
            self._waiting = deque(row for row in self._waiting if row not in fitting)
            return fitting

    def _answer(self, rows: Sequence[Row]) -> None:
        """Answer a batch; if it fails, one by one the rows of which nothing was written yet."""
        try:
            self._write(rows)
        except FAILURES as error:
            logger.error("a batch of %d failed: %s: %s", len(rows), type(error).__name__, error)
            if is_of_the_machine(error):
                raise
            for row in rows:
                if len(rows) > 1 and not row.done and not row.tokens:
                    self._answer([row])
                row.fail(RequestError("the model failed on this request; the log says why", 500, "internal_error"))

    @torch.no_grad()
    def _write(self, rows: Sequence[Row]) -> None:
        self.metrics.batch_rows.observe(len(rows))
        self.metrics.prompt_tokens.inc(sum(row.num_prompt_tokens for row in rows))
        batch = join(rows, self._pad_token_id)
        if "world_pixels" in batch:
            pixels = batch.pop("world_pixels")
            batch["world_features"] = self.model.read_world(pixels, batch["num_world_steps"])
            self.metrics.clips_read.inc(len(pixels))
        options = copy.deepcopy(self._generation)
        options.max_new_tokens = max(row.options.max_new_tokens for row in rows)
        draws = [RowDraws(rows)] if any(row.options.temperature for row in rows) else []
        try:
            with nullcontext() if rows[0].world else self.model.without_world():
                self.model.generate(
                    **place(self.model, batch),
                    generation_config=options,
                    logits_processor=LogitsProcessorList(draws),
                    stopping_criteria=StoppingCriteriaList([RowEnds(rows)]),
                )
        finally:
            self.metrics.completion_tokens.inc(sum(len(row.tokens) for row in rows))


def _key(row: Row) -> tuple[bool, int | None]:
    """What rows of one batch must share; a row without pictures reads no world."""
    return row.world, row.num_world_steps
