"""Pictures are fetched from a server that misbehaves: whole files or none, and what is not there is listed."""

import io
import json
import os
import signal
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from theworld.config.commands import OpenImagesSettings
from theworld.datasets.public import openimages
from theworld.datasets.public.openimages import ServerUnreachableError, download, read_ids


def jpeg(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


GOOD = jpeg()


def answer(handler: BaseHTTPRequestHandler, content: bytes, status: int = 200, length: int | None = None) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content)


class Server:
    """A local server; `answers` says by picture what happens to its first, second, ... request; then all is good."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Callable[[BaseHTTPRequestHandler], None]]] = {}
        self.asked: list[str] = []
        self.leave = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                waiting = server.answers.get(Path(self.path).stem, [])
                (waiting.pop(0) if waiting else lambda handler: answer(handler, GOOD))(self)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(openimages, "_FIRST_PAUSE_S", 0.001)
    one = Server()
    yield one
    one.leave.set()
    one.http.shutdown()
    one.http.server_close()


def name(number: int) -> str:
    return f"{number:016x}"


@pytest.fixture
def fetch(server: Server, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(*lines: str, **changes: Any) -> dict[str, Any]:
        (tmp_path / "ids.txt").write_text("\n".join(lines) + "\n")
        fields: dict[str, Any] = {
            "ids": tmp_path / "ids.txt",
            "out": tmp_path / "out",
            "base_url": server.url,
            "num_attempts": 3,
            "concurrency": 4,
        }
        return download(OpenImagesSettings(**{**fields, **changes}))

    return run


def fails(status: int) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: answer(handler, b"no", status)


def cut(handler: BaseHTTPRequestHandler) -> None:
    answer(handler, GOOD[:50], length=len(GOOD))
    handler.close_connection = True


def counts(result: dict[str, Any]) -> dict[str, int]:
    return {word: result[word] for word in ("asked", "fetched", "already_there", "missing", "failed")}


def test_pictures_are_fetched_by_split_and_id_and_written_flat(
    fetch: Callable[..., dict[str, Any]], server: Server, tmp_path: Path
) -> None:
    result = fetch("# from a list", f"train/{name(1)}", "", f"validation/{name(2)}.jpg  # why", name(3), name(1))

    assert sorted(server.asked) == [f"/train/{name(1)}.jpg", f"/train/{name(3)}.jpg", f"/validation/{name(2)}.jpg"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{name(i)}.jpg" for i in (1, 2, 3)]
    assert (tmp_path / "out" / f"{name(1)}.jpg").read_bytes() == GOOD
    assert counts(result) == {"asked": 3, "fetched": 3, "already_there": 0, "missing": 0, "failed": 0}
    assert result["bytes"] == 3 * len(GOOD)


@pytest.mark.parametrize(
    "first",
    [fails(500), fails(503), fails(429), cut, lambda handler: answer(handler, b"<html>busy</html>")],
    ids=["500", "503", "429", "cut", "wrong bytes"],
)
def test_what_passes_is_tried_again(
    first: Callable[[BaseHTTPRequestHandler], None], fetch: Callable[..., dict[str, Any]], server: Server
) -> None:
    server.answers = {name(1): [first, first]}

    assert fetch(name(1))["fetched"] == 1
    assert len(server.asked) == 3


def test_a_picture_cut_off_within_its_announced_length_is_no_picture(
    fetch: Callable[..., dict[str, Any]], server: Server
) -> None:
    server.answers = {name(1): [lambda handler: answer(handler, GOOD[: len(GOOD) // 2])]}

    assert fetch(name(1))["fetched"] == 1
    assert len(server.asked) == 2


def test_a_slow_answer_is_given_up_and_asked_for_again(fetch: Callable[..., dict[str, Any]], server: Server) -> None:
    server.answers = {name(1): [lambda handler: server.leave.wait(5)]}

    assert fetch(name(1), timeout_s=0.3)["fetched"] == 1
    assert len(server.asked) == 2


def test_what_the_server_does_not_have_is_listed_and_asked_for_once(
    fetch: Callable[..., dict[str, Any]], server: Server, tmp_path: Path
) -> None:
    server.answers = {name(2): [fails(404)], name(3): [fails(404)]}

    result = fetch(name(1), name(2), f"test/{name(3)}")

    assert counts(result) == {"asked": 3, "fetched": 1, "already_there": 0, "missing": 2, "failed": 0}
    assert (tmp_path / "out" / "missing.txt").read_text() == f"test/{name(3)}\ntrain/{name(2)}\n"
    assert len(server.asked) == 3


def test_what_fails_to_the_end_leaves_no_file_and_is_listed_with_its_reason(
    fetch: Callable[..., dict[str, Any]], server: Server, tmp_path: Path
) -> None:
    server.answers = {name(1): [fails(500)] * 3, name(2): [fails(403)], name(3): [cut] * 3}

    result = fetch(name(1), name(2), name(3))

    assert counts(result) == {"asked": 3, "fetched": 0, "already_there": 0, "missing": 0, "failed": 3}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["failed.txt"]
    reasons = (tmp_path / "out" / "failed.txt").read_text().splitlines()
    assert reasons[:2] == [f"train/{name(1)}\tstatus 500", f"train/{name(2)}\tstatus 403"]
    assert server.asked.count(f"/train/{name(2)}.jpg") == 1
    assert fetch(name(1), name(2), name(3))["fetched"] == 3
    assert not (tmp_path / "out" / "failed.txt").exists()


def test_a_redirect_is_followed(fetch: Callable[..., dict[str, Any]], server: Server) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{server.url}/mirror/{name(1)}.jpg")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.answers = {name(1): [elsewhere]}

    assert fetch(name(1))["fetched"] == 1
    assert server.asked[-1] == f"/mirror/{name(1)}.jpg"


def test_a_file_too_large_for_a_picture_is_not_read_to_its_end(
    fetch: Callable[..., dict[str, Any]], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openimages, "MAX_BYTES", 100)

    assert fetch(name(1))["failed"] == 1
    assert "more than 100 bytes" in (tmp_path / "out" / "failed.txt").read_text()
    assert len(server.asked) == 1


def test_a_second_run_fetches_what_is_not_there_or_not_whole(
    fetch: Callable[..., dict[str, Any]], server: Server, tmp_path: Path
) -> None:
    fetch(name(1), name(2))
    (tmp_path / "out" / f"{name(2)}.jpg").write_bytes(GOOD[:100])
    (tmp_path / "out" / f"{name(3)}.jpg").write_bytes(b"")
    server.asked.clear()

    result = fetch(name(1), name(2), name(3), name(4))

    assert counts(result) == {"asked": 4, "fetched": 3, "already_there": 1, "missing": 0, "failed": 0}
    assert sorted(server.asked) == [f"/train/{name(i)}.jpg" for i in (2, 3, 4)]


@pytest.fixture
def heeds_interrupts() -> Iterator[None]:
    """As at a terminal; what a shell starts in the background ignores SIGINT, the tests included."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_interrupts")
def test_a_run_that_is_interrupted_leaves_whole_files_and_its_list(
    fetch: Callable[..., dict[str, Any]], server: Server, tmp_path: Path
) -> None:
    def interrupt(handler: BaseHTTPRequestHandler) -> None:
        answer(handler, GOOD[:50], length=len(GOOD))  # amid a picture
        handler.wfile.flush()
        os.kill(os.getpid(), signal.SIGINT)
        server.leave.wait(5)

    server.answers = {name(2): [fails(404)], name(5): [interrupt]}

    with pytest.raises(KeyboardInterrupt):
        fetch(*(name(number) for number in range(20)), concurrency=1)

    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == [f"{name(i)}.jpg" for i in (0, 1, 3, 4)] + ["missing.txt"]
    assert all((tmp_path / "out" / file).read_bytes() == GOOD for file in files[:-1])
    assert fetch(*(name(number) for number in range(20)))["already_there"] == 4


def test_a_server_out_of_reach_ends_the_run(
    fetch: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setattr(openimages, "MAX_FAILED_IN_A_ROW", 5)

    with pytest.raises(ServerUnreachableError, match="5 pictures failed one after the other, the last: ConnectError"):
        fetch(*(name(number) for number in range(50)), base_url="http://127.0.0.1:9", num_attempts=1)


def test_lines_that_are_no_ids_are_refused_before_anything_is_fetched(
    fetch: Callable[..., dict[str, Any]], server: Server
) -> None:
    with pytest.raises(ValueError, match=r"2 lines are no ids of OpenImages, line 2: 'train/xyz'; line 4: '\.\./\.\."):
        fetch(name(1), "train/xyz", "# fine", "../../etc/passwd")

    assert server.asked == []


def test_a_file_without_ids_or_no_file_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n")

    with pytest.raises(ValueError, match="no ids; expected one a line"):
        read_ids(tmp_path / "empty.txt", "train")
    with pytest.raises(ValueError, match="not a file of ids that can be read"):
        read_ids(tmp_path / "none.txt", "train")


ROWS = [
    {"filename": "0a1b2c3d4e5f6071", "conversations": [{"from": "human", "value": "\u2028 ]"}], "bbox": [[1, 2, 3, 4]]},
    {"filename": "0a1b2c3d4e5f6072.jpg"},
    {"filename": "0a1b2c3d4e5f6071"},
    {"filename": "validation/0a1b2c3d4e5f6073"},
]


def test_ids_come_straight_from_the_rows_of_open_spatial_dataset(tmp_path: Path) -> None:
    path = tmp_path / "result_10_depth_convs.json"
    path.write_text(json.dumps(ROWS))

    assert read_ids(path, "train") == [
        "train/0a1b2c3d4e5f6071",
        "train/0a1b2c3d4e5f6072",
        "validation/0a1b2c3d4e5f6073",
    ]


def test_a_json_list_of_ids_is_read_and_rows_without_one_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ids.json"
    path.write_text(json.dumps(["0a1b2c3d4e5f6071", "cat.jpg", None, {"image": "x"}, {"filename": 5}]))

    assert read_ids(path, "test") == ["test/0a1b2c3d4e5f6071"]
    assert "4 of 5 rows have no id of OpenImages" in caplog.text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "none of 0 rows has an id"),
        ('[{"filename": "cat.jpg"}]', "none of 1 rows has an id"),
        ('{"filename": "0a1b2c3d4e5f6071"}', "not a JSON array of ids or rows"),
        ('[{"filename": "0a1b2c3d4e5f6071"}, {"file', "parse error: Unterminated string"),
    ],
)
def test_json_without_ids_is_refused_in_one_line(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "ids.json"
    path.write_text(text)

    with pytest.raises(ValueError, match=reason):
        read_ids(path, "train")


def test_a_large_file_of_rows_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    row = json.dumps({"filename": "0a1b2c3d4e5f6071", "text": "x" * 100_000})
    path.write_text("[" + ",".join([row] * 300) + "]")  # 30 MB

    tracemalloc.start()
    read_ids(path, "train")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 3_000_000
