"""Visitors have their turns one after the other, and know how many are before them."""

import threading

import pytest

pytest.importorskip("starlette", reason="the extra `app` is not installed")

from theworld.serving.protocol import RequestError, ShuttingDownError
from theworld.serving.web.line import Line, Turn


class Visitor:
    def __init__(self, name: str, served: list[str]) -> None:
        self.told: list[dict] = []
        self.turn = Turn(lambda _: served.append(name), self.told.append)

    @property
    def places(self) -> list[int]:
        return [event["place"] for event in self.told if event["is"] == "waiting"]


def test_turns_are_taken_in_order_and_each_hears_its_place():
    served: list[str] = []
    line, visitors = Line(most=3), [Visitor(name, served) for name in "abc"]
    for visitor in visitors:
        line.submit(visitor.turn)
    line.close()
    line.run()
    assert served == ["a", "b", "c"]
    assert [sorted(set(visitor.places), reverse=True) for visitor in visitors] == [[1], [2, 1], [3, 2, 1]]


def test_a_full_line_takes_no_more():
    line = Line(most=1)
    line.submit(Visitor("a", []).turn)
    with pytest.raises(RequestError, match="1 others are waiting already") as refused:
        line.submit(Visitor("b", []).turn)
    assert refused.value.status == 429


def test_who_leaves_is_forgotten_and_the_others_move_up():
    served: list[str] = []
    line, (first, second) = Line(most=2), (Visitor("a", served), Visitor("b", served))
    line.submit(first.turn)
    line.submit(second.turn)
    line.cancel(first.turn)
    assert second.places == [2, 1]
    assert first.turn.cancelled
    line.close()
    line.run()
    assert served == ["b"]


def test_after_its_end_a_line_takes_nobody():
    line = Line(most=1)
    line.close()
    with pytest.raises(ShuttingDownError):
        line.submit(Visitor("a", []).turn)


def test_a_fault_ends_the_line_and_is_told_to_all_who_wait_for_an_answer():
    line, (first, second) = Line(most=2), (Visitor("a", []), Visitor("b", []))

    def fail(turn: Turn) -> None:
        raise AssertionError("a fault of this program")

    first.turn.work = fail
    line.submit(first.turn)
    line.submit(second.turn)
    with pytest.raises(AssertionError, match="a fault of this program"):
        line.run()
    for visitor in (first, second):
        assert visitor.told[-1] == {"is": "error", "sentence": "the server broke down; its log says why"}
    with pytest.raises(ShuttingDownError):
        line.submit(second.turn)


def test_one_thread_serves_while_others_come():
    served: list[str] = []
    line = Line(most=50)
    running = threading.Thread(target=line.run)
    running.start()
    for number in range(50):
        line.submit(Visitor(str(number), served).turn)
    line.close()
    running.join(30)
    assert served == [str(number) for number in range(50)]
