"""The queue: jobs have their turns in order, alone or in batches, and know their places."""

import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

pytest.importorskip("starlette", reason="the extra `serve` or `app` is not installed")

from theworld.serving.engine import Engine, Job
from theworld.serving.refusals import RequestError, ShuttingDownError


class Visitor(Job):
    """A job that notes its places and its failure."""

    def __init__(self, name: str, key: int = 0) -> None:
        super().__init__(lambda event: self.errors.append(event))
        self.name = name
        self.key = key
        self.places: list[int] = []
        self.errors: list[RequestError] = []

    @property
    def batch_key(self) -> int:
        return self.key

    def move_to(self, place: int) -> None:
        self.places.append(place)


class Batches:
    """Answers batches by noting the names in them."""

    def __init__(self) -> None:
        self.served: list[str] = []

    def __call__(self, visitors: Sequence[Visitor]) -> None:
        self.served.append("".join(visitor.name for visitor in visitors))


def test_jobs_are_answered_in_order_and_each_learns_its_place():
    batches, visitors = Batches(), [Visitor(name) for name in "abc"]
    engine = Engine(batches, max_queue=3)
    for visitor in visitors:
        engine.submit(visitor)
    engine.close()
    engine.run()
    assert batches.served == ["a", "b", "c"]
    assert [sorted(set(visitor.places), reverse=True) for visitor in visitors] == [[1], [2, 1], [3, 2, 1]]


def test_jobs_with_equal_keys_share_a_batch_and_the_longest_waiting_comes_first():
    batches = Batches()
    engine = Engine(batches, max_queue=5, max_batch_size=2)
    for name, key in zip("abcde", (0, 1, 0, 0, 1), strict=True):
        engine.submit(Visitor(name, key))
    engine.close()
    engine.run()
    assert batches.served == ["ac", "be", "d"]


def test_a_full_queue_takes_no_more():
    engine = Engine(Batches(), max_queue=1)
    engine.submit(Visitor("a"))
    with pytest.raises(RequestError, match="1 requests are waiting already") as refused:
        engine.submit(Visitor("b"))
    assert refused.value.status == 429


def test_accepted_jobs_on_their_way_to_the_queue_count():
    engine = Engine(Batches(), max_queue=2)
    engine.submit(Visitor("a"))
    engine.check_room()
    with pytest.raises(RequestError, match="2 requests are waiting already"):
        engine.check_room(num_coming=1)


def test_who_leaves_is_forgotten_and_the_others_move_up():
    batches, first, second = Batches(), Visitor("a"), Visitor("b")
    engine = Engine(batches, max_queue=2)
    engine.submit(first)
    engine.submit(second)
    engine.cancel(first)
    assert second.places == [2, 1]
    assert first.cancelled
    engine.close()
    engine.run()
    assert batches.served == ["b"]


def test_a_closed_queue_takes_nobody():
    engine = Engine(Batches(), max_queue=1)
    engine.close()
    with pytest.raises(ShuttingDownError):
        engine.submit(Visitor("a"))


def test_a_programming_error_ends_the_queue_and_reaches_all_who_wait():
    def fail(visitors: Sequence[Visitor]) -> None:
        raise AssertionError("a programming error")

    engine, visitors = Engine(fail, max_queue=2), [Visitor("a"), Visitor("b")]
    for visitor in visitors:
        engine.submit(visitor)
    with pytest.raises(AssertionError, match="a programming error"):
        engine.run()
    for visitor in visitors:
        assert str(visitor.errors[-1]) == "the server broke down; its log says why"
    with pytest.raises(ShuttingDownError):
        engine.submit(visitors[1])


def test_one_thread_answers_while_others_submit():
    batches = Batches()
    engine = Engine(batches, max_queue=50)
    running = threading.Thread(target=engine.run)
    running.start()
    for number in range(50):
        engine.submit(Visitor(f"{number} "))
    engine.close()
    running.join(30)
    assert "".join(batches.served).split() == [str(number) for number in range(50)]


def test_the_page_needs_no_metrics_library():
    script = "import sys; sys.modules['prometheus_client'] = None; import theworld.serving.web.page_api"
    pytest.importorskip("av", reason="the extra `app` is not installed")
    subprocess.run([sys.executable, "-c", script], check=True)
