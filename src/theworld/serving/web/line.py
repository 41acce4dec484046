"""Line: visitors wait in it for the model, which answers one at a time, in one thread."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from theworld.serving.protocol import RequestError, ShuttingDownError

Event = dict[str, Any]
"""What a page is told: `{"is": "piece", ...}`."""


class Turn:
    """One visitor's question, from its place in the line to its last event.

    Args:
        work: answers it; called in the model's thread with the turn.
        emit: takes events, from any thread.
    """

    def __init__(self, work: "Callable[[Turn], None]", emit: Callable[[Event], None]) -> None:
        self.work = work
        self.emit = emit
        self.cancelled = False
        """Set, from any thread, when nobody waits for the answer any more."""


class Line:
    """Turns in the order in which they came.

    Args:
        most: turns that may wait.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._waiting: deque[Turn] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def submit(self, turn: Turn) -> None:
        """Let a turn wait.

        Raises:
            RequestError: if too many wait already, or after `close`.
        """
        with self._changed:
            if self._closed:
                raise ShuttingDownError
            if len(self._waiting) >= self.most:
                raise RequestError(f"{self.most} others are waiting already; ask again in a moment", 429, "queue_full")
            self._waiting.append(turn)
            self._tell_places()
            self._changed.notify()

    def cancel(self, turn: Turn) -> None:
        """Forget a turn that nobody waits for: at once if it waits itself, else at its next step."""
        with self._changed:
            turn.cancelled = True
            if turn in self._waiting:
                self._waiting.remove(turn)
                self._tell_places()

    def close(self) -> None:
        """Take no more turns; `run` ends when those that wait have had theirs."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def run(self) -> None:
        """Give each its turn until `close`; the model's thread."""
        turns: list[Turn] = []
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._closed)
                    if not self._waiting:
                        return
                    turns = [self._waiting.popleft()]
                    self._tell_places()
                turns[0].work(turns[0])
                turns = []
        finally:  # after a fault of this program nobody shall wait for an answer that never comes
            self.close()
            for turn in (*turns, *self._waiting):
                turn.emit({"is": "error", "sentence": "the server broke down; its log says why"})

    def _tell_places(self) -> None:
        for place, turn in enumerate(self._waiting, start=1):
            turn.emit({"is": "waiting", "place": place})
