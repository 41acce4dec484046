"""Engine: one queue and one model thread, shared by the API and the page."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from theworld.serving.refusals import RequestError, ShuttingDownError

_T = TypeVar("_T")
_E = TypeVar("_E")


class Job:
    """A request in the queue; the API and the page derive theirs from it.

    Args:
        emit: takes the events of the job, from any thread; the last is the end of the answer or a RequestError.
    """

    def __init__(self, emit: Callable[[Any], None]) -> None:
        self.emit = emit
        self.cancelled = False
        """True when the client no longer waits for the answer; set from any thread."""

    @property
    def batch_key(self) -> Hashable:
        """Key of the batches that can take the job: jobs with equal keys can share a batch."""
        return None

    @property
    def is_quick(self) -> bool:
        """True for a job that can be answered in a pause of a batch of others."""
        return False

    def move_to(self, place: int) -> None:
        """Take a new place in the queue; 1 is the next in line."""

    def fail(self, error: RequestError) -> None:
        """End the job without an answer."""
        self.emit(error)


_J = TypeVar("_J", bound=Job)

_QUICK_SHARE = 0.75
"""Most of the time of a batch that quick jobs in its pauses can take."""


class Engine(Generic[_J]):
    """Queue of jobs in front of the model.

    The job that has waited longest is always in the next batch. Jobs with the same `batch_key` fill the batch up. Quick
    jobs wait for the next pause of the running batch alone, if it has pauses: see `answer_quick`.

    Args:
        answer: answers a batch; called in the model thread.
        max_queue: most jobs that wait.
        max_batch_size: most jobs per batch.
        batch_wait_seconds: longest time that a first job waits for others.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[_J]], None],
        *,
        max_queue: int,
        max_batch_size: int = 1,
        batch_wait_seconds: float = 0.0,
    ) -> None:
        self.max_queue = max_queue
        self.max_batch_size = max_batch_size
        self.batch_wait_seconds = batch_wait_seconds
        self._answer = answer
        self._waiting: deque[_J] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._batch_begun = 0.0
        self._quick_seconds = 0.0
        self._pausing = False

    @property
    def num_waiting(self) -> int:
        """Number of jobs in the queue; jobs in the model do not count."""
        return len(self._waiting)

    def check_room(self, num_coming: int = 0) -> None:
        """Refuse a job for which the queue has no room.

        Args:
            num_coming: jobs that are accepted and not yet in the queue.

        Raises:
            RequestError: if the queue is full.
        """
        if num_coming + self.num_waiting >= self.max_queue:
            raise RequestError(f"{self.max_queue} requests are waiting already; ask later", 429, "queue_full")

    def submit(self, job: _J) -> None:
        """Put a job at the end of the queue.

        Raises:
            RequestError: if the queue is full, or after `close`.
        """
        with self._changed:
            if self._closed:
                raise ShuttingDownError
            self.check_room()
            self._replace([*self._waiting, job])
            self._changed.notify()

    def cancel(self, job: _J) -> None:
        """Give up a job: a waiting one leaves the queue now, a running one stops at its next token."""
        with self._changed:
            job.cancelled = True
            if job in self._waiting:
                self._replace([other for other in self._waiting if other is not job])

    def close(self) -> None:
        """Accept no more jobs; `run` returns when it has answered the waiting ones."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def run(self) -> None:
        """Answer jobs until `close`; call this once, in the model thread."""
        batch: list[_J] = []
        try:
            while True:
                batch = self._next_batch()
                if not batch and self._closed:
                    return
                if batch:  # empty: the clients left while the first job waited for others
                    self._batch_begun, self._quick_seconds = time.monotonic(), 0.0
                    self._answer(batch)
                    batch = []
        finally:  # after a programming error: no client may wait for an answer that never comes
            self.close()
            for job in (*batch, *self._waiting):
                job.fail(_broken())

    def answer_quick(self) -> None:
        """Answer a batch of waiting quick jobs in a pause of the running batch; `answer` calls this, in its thread.

        The running batch keeps a quarter of the time.
        """
        begun = time.monotonic()
        if self._pausing or self._quick_seconds > _QUICK_SHARE * (begun - self._batch_begun):
            return
        if not any(job.is_quick for job in self._waiting):  # without the lock: the queue is replaced, never changed
            return
        with self._changed:
            quick = [job for job in self._waiting if job.is_quick]
            batch = [job for job in quick if job.batch_key == quick[0].batch_key][: self.max_batch_size]
            self._replace([job for job in self._waiting if job not in batch])
        if not batch:
            return
        self._pausing, unanswered = True, batch
        try:
            self._answer(batch)
            unanswered = []
        finally:  # as in `run`
            for job in unanswered:
                job.fail(_broken())
            self._pausing = False
            self._quick_seconds += time.monotonic() - begun

    def _next_batch(self) -> list[_J]:
        """Take the next batch out of the queue; empty after `close` if no job waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            until = time.monotonic() + self.batch_wait_seconds
            while len(self._waiting) < self.max_batch_size and not self._closed:
                if not self._changed.wait(max(0.0, until - time.monotonic())):
                    break
            key = self._waiting[0].batch_key if self._waiting else None
            batch = [job for job in self._waiting if job.batch_key == key][: self.max_batch_size]
            self._replace([job for job in self._waiting if job not in batch])
            return batch

    def _replace(self, jobs: Sequence[_J]) -> None:
        """Change the queue, and give each job its new place."""
        self._waiting = deque(jobs)
        for place, job in enumerate(self._waiting, start=1):
            job.move_to(place)


def _broken() -> RequestError:
    return RequestError("the server broke down; its log says why", 500, "internal_error")


class EventQueue(Generic[_E]):
    """Events of one job, sent by the model thread and awaited in the event loop that created the queue.

    Args:
        max_seconds: longest time from now to the last event.
        remedy: advice for a client whose time is over.
    """

    def __init__(self, max_seconds: float, remedy: str) -> None:
        self._max_seconds = max_seconds
        self._remedy = remedy
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[_E | RequestError] = asyncio.Queue()
        self.started = self._loop.time()

    def emit(self, event: _E | RequestError) -> None:
        """Append an event; safe in any thread."""
        with suppress(RuntimeError):  # the loop is closed: after a forced end nobody reads
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def within_time(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Await some work on the answer.

        Raises:
            RequestError: if the time is over.
        """
        try:
            async with asyncio.timeout_at(self.started + self._max_seconds):
                return await work
        except TimeoutError:
            raise RequestError(
                f"no whole answer within {self._max_seconds:g} s; {self._remedy}", 504, "timeout"
            ) from None

    async def next(self) -> _E:
        """Await the next event.

        Raises:
            RequestError: if the job failed, or the time is over.
        """
        event = await self.within_time(self._events.get())
        if isinstance(event, RequestError):
            raise event
        return event
