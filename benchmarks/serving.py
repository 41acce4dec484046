"""Load table of `theworld serve`, and the cost of refused requests: seconds and memory until the refusal.

`python -m benchmarks.serving` prints two Markdown tables; `python -m benchmarks serving` only the figures with a goal.
"""

import base64
import http.client
import io
import json
import os
import re
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.figures import Figure

CHAT = "/v1/chat/completions"
NUM_CLIENTS = (1, 8, 32)
NUM_REQUESTS = 64
"""Requests of all clients of a row together; with one client a quarter of them."""
MOST_SECONDS, MOST_MB = 2.0, 200.0
"""Goal: no request costs more before it is refused."""
CHEAP_SECONDS = 0.5
"""Goal: the longest wait of a cheap request behind large pictures."""


class ServerProcess:
    """A server in another process.

    Args:
        command: `serve` or `app`.
        options: further arguments.
        source: `src` folder of another version; None: this one.
    """

    def __init__(self, command: str, *options: str, source: str | None = None) -> None:
        model = ["tiny-foresight"] if command == "serve" else ["--model", "tiny-foresight"]
        arguments = [sys.executable, "-m", "theworld", command, *model, "--port", "0", *options]
        environment = os.environ | ({"PYTHONPATH": source} if source else {})
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        assert self.process.stdout is not None
        address = re.search(r"127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        assert address is not None, "the server did not start"
        self.port = int(address[1])

    def end(self) -> None:
        """Stop the server."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def processor_seconds(self) -> float:
        """Return the processor time of all threads of the server."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Return the resident memory of the server and its children."""
        total = 0
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
                if self.process.pid in (int(lines["Pid"]), int(lines["PPid"])) and "VmRSS" in lines:
                    total += int(lines["VmRSS"].split()[0])
        return total / 1000

    def post(self, content: bytes, path: str = CHAT, connection: http.client.HTTPConnection | None = None) -> int:
        """Send a body; return the status of the whole response, 0 if the server closes the connection instead."""
        client = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            client.request("POST", path, content, {"Content-Type": "application/json"})
            response = client.getresponse()
            response.read()
        except (BrokenPipeError, ConnectionResetError):
            return 0
        finally:
            if connection is None:
                client.close()
        return response.status


@contextmanager
def running(command: str, *options: str, source: str | None = None) -> Iterator[ServerProcess]:
    """Run a server inside the block; see `ServerProcess`."""
    server = ServerProcess(command, *options, source=source)
    try:
        yield server
    finally:
        server.end()


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """Return a picture file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def chat(text: str = "In which bin does the ball come to rest?", *files: bytes, **fields: Any) -> bytes:
    """Return the body of a chat completion."""
    urls = [f"data:image/png;base64,{base64.b64encode(content).decode()}" for content in files]
    parts: list[Any] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    parts.append({"type": "text", "text": text})
    return json.dumps({"messages": [{"role": "user", "content": parts}], "max_tokens": 8, **fields}).encode()


# --- load ------------------------------------------------------------------------------------------------------


def load(server: ServerProcess, content: bytes, num_clients: int) -> tuple[float, float, float]:
    """Return median and 95th percentile of the seconds per request, and requests per second."""
    each = max(2, NUM_REQUESTS // num_clients) if num_clients > 1 else NUM_REQUESTS // 4

    def ask(_: int) -> list[float]:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
        seconds = []
        for _ in range(each):
            started = time.perf_counter()
            status = server.post(content, connection=client)
            assert status == 200, status
            seconds.append(time.perf_counter() - started)
        client.close()
        return seconds

    started = time.perf_counter()
    with ThreadPoolExecutor(num_clients) as clients:
        seconds = sorted(second for several in clients.map(ask, range(num_clients)) for second in several)
    elapsed = time.perf_counter() - started
    return statistics.median(seconds), seconds[int(0.95 * (len(seconds) - 1))], len(seconds) / elapsed


def load_table(server: ServerProcess) -> Iterator[str]:
    """Yield the lines of the load table."""
    yield "| clients | text: p50, p95 (s) | text: requests/s | picture: p50, p95 (s) | picture: requests/s |"
    yield "|---|---|---|---|---|"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    bodies = (chat(), chat("In which bin?", encoded(Image.fromarray(noise))))
    for content in bodies:
        server.post(content)  # warm
    for num_clients in NUM_CLIENTS:
        cells = []
        for content in bodies:
            median, high, rate = load(server, content, num_clients)
            cells += [f"{median:.2f}, {high:.2f}", f"{rate:.1f}"]
        yield f"| {num_clients} | {' | '.join(cells)} |"


# --- attacks ---------------------------------------------------------------------------------------------------


def png(width: int, height: int, *chunks: tuple[bytes, bytes], pixels: bytes = b"") -> bytes:
    """Return a PNG file with this header, these chunks, and compressed pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(pixels or b"\0")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def gif_bomb() -> bytes:
    """Return an animation of 2,000 frames, of which the first claims 60,000 pixels a side."""
    frames = [Image.new("P", (8, 8), number % 2) for number in range(2000)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], optimize=False)
    content = bytearray(file.getvalue())
    content[6:10] = struct.pack("<HH", 60_000, 60_000)
    return bytes(content)


def turns(count: int, text: str) -> bytes:
    """Return a conversation of this many messages."""
    pair = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    return json.dumps({"messages": pair * (count // 2)}).encode()


def bodies() -> dict[str, tuple[bytes, int]]:
    """Return the bodies to refuse, each with the number of clients that send it at once."""
    small = encoded(Image.new("RGB", (64, 64)))
    zeros = zlib.compress(bytes(200_000_000), 9)
    bombs = png(64, 64, (b"zTXt", b"a\0\0" + zeros), pixels=bytes(64 * (1 + 3 * 64)))
    return {
        **{f"K = 1e{power}": (chat("x", small, num_world_steps=10**power), 1) for power in (6, 9, 12, 19)},
        "270,000 messages": (turns(270_000, ""), 1),
        "50,000 messages of a letter": (turns(50_000, "a"), 1),
        "17 MB of text": (chat("word " * 3_400_000), 1),
        "8 times 17 MB of text": (chat("word " * 3_400_000), 8),
        "a body of 33 MB": (chat("a" * 33_000_000), 1),
        "30 MB of empty lists": (b'{"metadata": [' + b"[]," * 10_000_000 + b"1]}", 1),
        "200,000 emoji": (chat("\U0001f3b1" * 200_000), 1),
        "a picture of 30,000 x 30,000": (chat("x", png(30_000, 30_000)), 1),
        "8 pictures of 5,001 x 5,000": (chat("x", *[png(5001, 5000)] * 8), 8),
        "a GIF of 60,000 x 60,000, 2,000 frames": (chat("x", gif_bomb()), 1),
        "a zTXt chunk of 200 MB": (chat("x", bombs), 1),
        "10 MB that are no picture": (chat("x", bytes(9_900_000)), 1),
    }


class Peak:
    """Watches the memory of a server inside a block."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.over_mb = 0.0
        """Peak over the memory before."""

    def __enter__(self) -> "Peak":
        self._before, self._ended = self.server.memory_mb(), threading.Event()
        self._watching = threading.Thread(target=self._watch)
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watching.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.over_mb = max(self.over_mb, self.server.memory_mb() - self._before)


def cost(server: ServerProcess, content: bytes, num_clients: int, path: str = CHAT) -> tuple[list[int], float, float]:
    """Return the statuses, the seconds until the last refusal, and the peak memory over that before, MB."""
    with Peak(server) as peak, ThreadPoolExecutor(num_clients) as clients:
        started = time.perf_counter()
        statuses = list(clients.map(lambda _: server.post(content, path), range(num_clients)))
        seconds = time.perf_counter() - started
        time.sleep(0.05)
    return sorted(set(statuses)), seconds, peak.over_mb


def held_open(server: ServerProcess, count: int, text: str) -> tuple[float, float]:
    """Hold connections that send no more than `text`; return the seconds of another client's answer, and the memory."""
    with Peak(server) as peak:
        connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
        for connection in connections:
            connection.sendall(text.encode())
        time.sleep(0.5)
        started = time.perf_counter()
        status = server.post(chat("x", max_tokens=1))
        seconds = time.perf_counter() - started
        assert status == 200, status
    for connection in connections:
        connection.close()
    return seconds, peak.over_mb


def attacks() -> Iterator[tuple[str, str, float, float]]:
    """Yield name, statuses, seconds and MB of each attack."""
    with running("serve") as server:
        server.post(chat("x", encoded(Image.new("RGB", (64, 64)))))  # warm
        for name, (content, num_clients) in bodies().items():
            statuses, seconds, megabytes = cost(server, content, num_clients)
            yield name, ", ".join(map(str, statuses)), seconds, megabytes
        head = f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        slow = held_open(server, 32, f"{head}content-length: 100\r\n\r\n{{")
        yield "32 slow bodies: another client", "200", *slow
        yield "1,500 half heads: another client", "200", *held_open(server, 1500, head)
    with running("app") as page:
        picture = json.dumps({"files": [base64.b64encode(encoded(Image.new("RGB", (64, 64)))).decode()]}).encode()
        client = http.client.HTTPConnection("127.0.0.1", page.port, timeout=600)
        client.request("POST", "/picture", picture, {"Content-Type": "application/json"})
        picture_id = json.loads(client.getresponse().read())["picture_id"]
        client.close()
        question = json.dumps({"picture_id": picture_id, "question": "\U0001f3b1" * 1000}).encode()
        statuses, seconds, megabytes = cost(page, question, 1, "/ask")
        yield "page: a question of 1,000 emoji", ", ".join(map(str, statuses)), seconds, megabytes


def behind_pictures() -> dict[str, float]:
    """Return the longest wait of cheap requests, while 8 clients send pictures of 20 megapixels, seconds."""
    gradient = np.linspace(0, 255, 5000).astype(np.uint8)
    large = encoded(Image.fromarray(np.broadcast_to(gradient[None, :, None], (4000, 5000, 3)).copy()), "JPEG")
    ended = threading.Event()

    def send(server: ServerProcess) -> None:
        while not ended.is_set():
            server.post(chat("x", large, max_tokens=1))

    cheap: dict[str, Callable[[ServerProcess], int]] = {
        "a bad request": lambda server: server.post(b'{"messages": 1}'),
        "no picture": lambda server: server.post(chat("x", b"no picture")),
        "health": lambda server: server.post(b"", "/health"),
    }
    worst = dict.fromkeys(cheap, 0.0)
    with running("serve") as server, ThreadPoolExecutor(8) as senders:
        for _ in range(8):
            senders.submit(send, server)
        time.sleep(2)
        for _ in range(20):
            for name, call in cheap.items():
                started = time.perf_counter()
                call(server)
                worst[name] = max(worst[name], time.perf_counter() - started)
            time.sleep(0.1)
        ended.set()
    return worst


def figures() -> Iterator[Figure]:
    """Return the largest cost of a refusal, and the longest waits behind large pictures."""
    rows = list(attacks())
    yield Figure("refusal_seconds", max(seconds for *_, seconds, _ in rows), MOST_SECONDS, "s")
    yield Figure("refusal_memory", max(megabytes for *_, megabytes in rows), MOST_MB, "MB")
    for name, seconds in behind_pictures().items():
        yield Figure(f"{name.replace(' ', '_')}_behind_pictures", seconds, CHEAP_SECONDS, "s")


def main(arguments: Sequence[str] = ()) -> None:
    """Print the tables: `load`, `attacks`, `cheap`, or all of them."""
    wanted = arguments or ("load", "attacks", "cheap")
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores\n")
    if "load" in wanted:
        with running("serve") as server:
            print(*load_table(server), "", sep="\n", flush=True)
    if "attacks" in wanted:
        print(f"| request | status | seconds (goal {MOST_SECONDS:g}) | peak MB (goal {MOST_MB:g}) |\n|---|---|---|---|")
        for name, statuses, seconds, megabytes in attacks():
            print(f"| {name} | {statuses} | {seconds:.2f} | {megabytes:.0f} |", flush=True)
        print()
    if "cheap" in wanted:
        print(f"| behind 8 clients with 20-megapixel pictures | longest wait, s (goal {CHEAP_SECONDS:g}) |\n|---|---|")
        for name, seconds in behind_pictures().items():
            print(f"| {name} | {seconds:.2f} |")
    print(f"\nload average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
