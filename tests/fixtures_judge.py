"""An endpoint for chat completions on this machine that misbehaves as it is told, and replies to be judged."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Behaviour = Callable[["BaseHTTPRequestHandler"], None]

RECORDS = (
    ("above_predicate", "Is Region [0] above Region [1]?", "No.", "Region [0] is below Region [1]."),
    ("left_choice", "Which is more to the left?", "Region [1] is.", "Region [0]."),
    ("width_data", "How wide is Region [0]?", "2.0 meters", "It is 1.8 m wide."),
    ("height_data", "How tall is Region [0]?", "Region [0] is 10 feet tall.", "About a house high."),
    ("direction", "Where is Region [1]?", "Region [1] is at 11 o'clock.", "At 12 o'clock."),
)
"""Category, question, answer, reply: right, wrong, right, unparsed, right."""

VERDICTS = {
    "Region [0] is below Region [1].": {"your_mark": 1},
    "Region [0].": {"your_mark": 0},
    "It is 1.8 m wide.": {"answer_in_meters": 2.0, "response_in_meters": 1.8},
    "About a house high.": {"answer_in_meters": 3.048, "response_in_meters": None},
    "At 12 o'clock.": {"answer_direction": 11, "response_direction": 12},
}
"""What a good judge says about each."""


def asked(user: str) -> dict[str, str]:
    """The item of a prompt."""
    return json.JSONDecoder().raw_decode(user.rpartition("Now this one:\n\n")[2])[0]


def verdict_on(user: str) -> str:
    """What a good judge says to a prompt."""
    return json.dumps(VERDICTS.get(asked(user)["response"], {"your_mark": 1}))


def save_replies(path: Path, *categories: str, copies: int = 1) -> Path:
    """A file of replies: `RECORDS`, or those of some categories, several times over."""
    rows = [
        {
            "id": f"{category}_{copy}",
            "question": question,
            "ground_truth": answer,
            "prediction": reply,
            "qa_type": "quantitative" if category == "direction" or category.endswith("_data") else "qualitative",
            "qa_category": category,
        }
        for copy in range(copies)
        for category, question, answer, reply in RECORDS
        if not categories or category in categories
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(status: int, body: str | bytes = b"", **headers: str) -> Behaviour:
    """A response of this status, whatever is asked."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        content = body.encode() if isinstance(body, str) else body
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return act


def says(text: Any, usage: Any = None) -> Behaviour:
    """A chat completion with this text."""
    return answers(200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}))


def cuts(handler: BaseHTTPRequestHandler) -> None:
    """Promise a long response, and go away in the middle of it."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices"')
    handler.close_connection = True


class StubEndpoint:
    """Serves on a port of 127.0.0.1; judges well unless its script has something else to do next."""

    def __init__(self) -> None:
        self.script: deque[Behaviour] = deque()
        self.default: Behaviour | None = None
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.most_at_a_time = 0
        self.over = threading.Event()
        """What slow responses wait for."""
        self._now = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.01), daemon=True)
        self._thread.start()

    def waits(self, handler: BaseHTTPRequestHandler) -> None:
        """Say nothing until the test is over."""
        self.over.wait(60)
        handler.close_connection = True

    def trickles(self, handler: BaseHTTPRequestHandler) -> None:
        """Send a byte now and then, never all of them."""
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not self.over.wait(0.02):
            handler.wfile.write(b" ")

    def judges(self, handler: BaseHTTPRequestHandler) -> None:
        """Judge well."""
        user = handler.user  # pyright: ignore[reportAttributeAccessIssue]
        says(verdict_on(user), {"prompt_tokens": 100, "completion_tokens": 10})(handler)

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def _act(self, handler: Any) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        handler.user = body["messages"][1]["content"]
        with self._lock:
            self.requests.append({"path": handler.path, **body})
            self.keys.append(handler.headers["Authorization"])
            behave = self.script.popleft() if self.script else self.default or self.judges
            self._now += 1
            self.most_at_a_time = max(self.most_at_a_time, self._now)
        try:
            behave(handler)
        except (BrokenPipeError, ConnectionResetError):  # whoever asked has gone
            handler.close_connection = True
        finally:
            with self._lock:
                self._now -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        act = self._act

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                act(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubEndpoint]:
    """A good judge on this machine, and no key in the environment."""
    for name in ("THEWORLD_JUDGE_API_KEY", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    stub = StubEndpoint()
    yield stub
    stub.close()
