"""The routes of the page: their responses, their refusals, and the queue of visitors."""

import base64
import io
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

pytest.importorskip("av", reason="the extra `app` is not installed")

from fixtures_model import picture
from theworld import TheWorld
from theworld.config.serving import AppSettings
from theworld.serving.refusals import RequestError
from theworld.serving.server import Server
from theworld.serving.web.about import verdict_of
from theworld.serving.web.page_api import PageApi


class Page:
    """A page in a thread of the test, with the requests of a browser."""

    def __init__(self, model: TheWorld, **limits: Any) -> None:
        settings = AppSettings(model="test", port=0, max_new_tokens=4, **{"max_seconds": 600.0, **limits})
        self.api = PageApi(model, settings, verdict_of(model, "test"))
        self.server = Server(self.api, settings.max_seconds)
        self.listening = socket.create_server(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.client = httpx2.Client(base_url=address, timeout=600)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(self.listening,))
        self.thread.start()

    def send(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        reply = self.client.post(path, json=body)
        return reply.status_code, reply.json()

    def show(self, seed: int = 1) -> str:
        """Upload a picture; return its id."""
        file = io.BytesIO()
        picture(seed).save(file, "PNG")
        status, reply = self.send("/picture", files=[base64.b64encode(file.getvalue()).decode()])
        assert status == 200
        return reply["picture_id"]

    def ask(self, picture_id: str, question: str = "Which bin?", steps: int = 0) -> list[dict[str, Any]]:
        """Return all events of a question."""
        body = {"picture_id": picture_id, "question": question, "num_world_steps": steps}
        reply = self.client.post("/ask", json=body)
        assert reply.status_code == 200, reply.text
        return [json.loads(part.removeprefix("data: ")) for part in reply.text.split("\n\n") if part]

    def end(self) -> None:
        self.client.close()
        self.server.stop()
        self.thread.join(60)
        self.listening.close()
        assert not self.thread.is_alive()


@pytest.fixture
def opened(fused: TheWorld) -> Iterator[Any]:
    """Return a function that opens pages; end them after the test."""
    pages: list[Page] = []

    def open_page(**limits: Any) -> Page:
        pages.append(Page(fused, **limits))
        return pages[-1]

    yield open_page
    for page in pages:
        page.end()


@pytest.fixture(scope="module")
def page(fused: TheWorld) -> Iterator[Page]:
    """A page for tests that do not change it."""
    running = Page(fused)
    yield running
    running.end()


def test_a_picture_is_sent_and_asked_about(page: Page):
    events = page.ask(page.show())
    assert [event["side"] for event in events if event["is"] == "answer"] == ["without", "with"]
    assert events[-1]["is"] == "done"


def test_a_scene_comes_with_its_question(page: Page):
    status, reply = page.send("/scene", task="drop", number=1)
    assert status == 200
    assert reply["questions"][0]["text"].startswith("In which bin does the ball come to rest")
    assert page.ask(reply["picture_id"])[-1]["is"] == "done"


def test_the_page_may_load_from_its_own_server_alone(page: Page):
    for path in ("/", "/app.js", "/app.css", "/house.css", "/about", "/nothing"):
        policy = page.client.get(path).headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "http" not in policy


def test_the_page_describes_the_loaded_model(page: Page):
    about = page.client.get("/about").json()
    assert (about["model"], about["tap"], about["fusion"], about["gate"]) == ("test", "vae", "tokens", None)
    assert about["steps"] == {"least": 0, "most": 0, "usual": 0, "most_frames": 5}
    assert about["verdict"]["finding"] == "not audited"


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/scene", {"task": "fly", "number": 1}, 400, "The field task: should be 'drop', 'topple'"),
        ("/scene", {"task": "drop", "number": 601}, 400, "The field number: should be less than or equal to 600."),
        ("/picture", {"files": []}, 400, "No file: choose a picture, a video, or several pictures."),
        ("/picture", {"files": ["%"]}, 400, "A file that is not base64"),
        ("/picture", {"files": [base64.b64encode(b"x").decode()]}, 400, "Not a readable picture or video"),
        ("/picture", {"folder": "/etc"}, 400, "The field files: missing."),
        ("/ask", {"picture_id": "gone", "question": "Why?"}, 410, "The server no longer keeps"),
        ("/ask", {"picture_id": "gone", "question": " "}, 400, "No question: write one."),
        ("/ask", {"picture_id": "gone", "question": "a" * 1001}, 400, "A question of 1,001 characters: expected at"),
        ("/ask", {"picture_id": "gone", "question": "a" * 200_000}, 413, "A request of too many bytes: write less."),
        ("/ask", {"picture_id": 1, "question": "Why?"}, 400, "The field picture_id: should be a valid string."),
        ("/ask", {"picture_id": "a", "question": "b", "num_world_steps": True}, 400, "The field num_world_steps: sh"),
        ("/ask", {"question": "Why?"}, 400, "The field picture_id: missing."),
        ("/picture", {"files": [1]}, 400, "The field files.0: should be a valid string."),
        ("/picture", {"files": [""] * 20_000}, 400, "A body of 20,001 commas and brackets: expected at most 10,000"),
        ("/nothing", {}, 404, "POST /nothing: Not Found."),
    ],
)
def test_a_wrong_request_is_refused_with_a_sentence(page: Page, path: str, body: Any, status: int, sentence: str):
    found, reply = page.send(path, **body)
    assert found == status
    assert reply["sentence"].startswith(sentence)


def test_more_steps_than_the_model_supports_are_refused(page: Page):
    found = page.send("/ask", picture_id=page.show(), question="Why?", num_world_steps=1)
    assert found == (400, {"sentence": "1 steps ahead: expected 0 to 0."})


def test_a_request_that_other_sites_can_send_is_refused(page: Page):
    reply = page.client.post("/ask", content=b"{}", headers={"content-type": "text/plain"})
    assert (reply.status_code, reply.json()) == (
        415,
        {"sentence": "Content-type 'text/plain': expected application/json."},
    )


def test_a_media_type_may_have_parameters(page: Page):
    body = json.dumps({"task": "drop", "number": 1})
    reply = page.client.post("/scene", content=body, headers={"content-type": "application/json; charset=utf-8"})
    assert reply.status_code == 200


def test_more_bytes_than_allowed_are_not_read_to_their_end(opened: Any):
    status, reply = opened(max_request_bytes=1000).send("/picture", files=["A" * 200_000])
    assert (status, reply["sentence"]) == (413, "Larger than 0.001 MB: send a smaller picture or a shorter clip.")


def test_the_number_of_concurrent_uploads_is_limited(opened: Any, monkeypatch: pytest.MonkeyPatch):
    page = opened(max_queue=1)
    begun, may_go_on = threading.Event(), threading.Event()

    def wait(*arguments: Any) -> None:
        begun.set()
        assert may_go_on.wait(60)
        raise RequestError("no picture")

    monkeypatch.setattr("theworld.serving.web.page_api.read_files", wait)
    first = threading.Thread(target=page.send, args=("/picture",), kwargs={"files": ["AAAA"]})
    first.start()
    assert begun.wait(60)
    refused = page.send("/picture", files=["AAAA"])
    may_go_on.set()
    first.join(60)
    assert refused == (429, {"sentence": "The server is reading many pictures; send this one again in a moment."})
    assert page.send("/picture", files=["AAAA"]) == (400, {"sentence": "No picture."})


def test_a_question_at_the_length_limit_is_accepted_in_any_encoding(opened: Any):
    page = opened(max_question_characters=30_000)
    body = json.dumps({"picture_id": "gone", "question": "\U0001f3b1" * 30_000})  # twelve bytes each, as escapes
    reply = page.client.post("/ask", content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["sentence"][:26]) == (410, "The server no longer keeps")


def test_a_question_of_too_many_tokens_is_refused_before_the_model_works(page: Page):
    status, reply = page.send("/ask", picture_id=page.show(), question="\U0001f3b1" * 1000)
    assert (status, reply["sentence"]) == (
        400,
        "A question of 4,000 tokens: expected at most 1,000; write less.",
    )


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"picture_id": "a", "question": "b", "question": "c"}', "'question' twice in one object: give it once."),
        (b'{"picture_id": "a", "question": NaN}', "The body is not JSON"),
        (b'{"picture_id": "a", "question": "b", "num_world_steps": 1e999}', "The field num_world_steps: sho"),
        (b"[" * 9_000, "The body is not JSON"),
        (b"[]", "The body is no JSON object"),
    ],
)
def test_an_odd_body_is_refused_as_by_the_server(page: Page, body: bytes, sentence: str):
    reply = page.client.post("/ask", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["sentence"].startswith(sentence)


def test_kept_pictures_have_a_limit_in_bytes(opened: Any):
    page = opened(max_kept_bytes=2 * 3 * picture(1).width * picture(1).height)
    first, *others = [page.show(seed) for seed in (1, 2, 3)]
    assert page.send("/ask", picture_id=first, question="Why?")[0] == 410
    assert all(page.ask(other)[-1]["is"] == "done" for other in others)


def test_a_picture_larger_than_the_limit_in_bytes_is_kept_alone(opened: Any):
    page = opened(max_kept_bytes=1)
    assert page.ask(page.show())[-1]["is"] == "done"


def test_the_oldest_picture_is_dropped(opened: Any):
    page = opened(num_pictures=2)
    first, *others = [page.show(seed) for seed in (1, 2, 3)]
    assert page.send("/ask", picture_id=first, question="Why?")[0] == 410
    assert all(page.ask(other)[-1]["is"] == "done" for other in others)


def test_visitors_wait_for_each_other_and_a_full_queue_refuses(opened: Any, monkeypatch: pytest.MonkeyPatch):
    page = opened(max_queue=1)
    begun, may_go_on = threading.Event(), threading.Event()
    answer = page.api._answers.answer

    def wait_and_answer(question: Any) -> None:
        begun.set()
        assert may_go_on.wait(60)
        answer(question)

    monkeypatch.setattr(page.api._answers, "answer", wait_and_answer)
    shown = page.show()
    answers: dict[str, list[dict[str, Any]]] = {}
    visitors = [threading.Thread(target=lambda name=name: answers.update({name: page.ask(shown)})) for name in "ab"]
    visitors[0].start()
    assert begun.wait(60)
    visitors[1].start()
    while not page.api.engine.num_waiting:
        threading.Event().wait(0.02)
    status, refused = page.send("/ask", picture_id=shown, question="Why?")
    may_go_on.set()
    for visitor in visitors:
        visitor.join(60)
    assert (status, refused["sentence"]) == (429, "1 requests are waiting already; ask later.")
    assert [events[-1]["is"] for events in answers.values()] == ["done", "done"]


def test_an_answer_that_takes_too_long_is_given_up(opened: Any, monkeypatch: pytest.MonkeyPatch):
    page, given_up = opened(max_seconds=0.2), threading.Event()

    def wait(question: Any) -> None:
        for _ in range(600):
            if question.cancelled:
                given_up.set()
                return
            threading.Event().wait(0.05)

    monkeypatch.setattr(page.api._answers, "answer", wait)
    assert page.ask(page.show())[-1]["sentence"].startswith("No whole answer within 0.2 s")
    assert given_up.wait(60)
