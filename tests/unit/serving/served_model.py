"""A server in a thread of the test, with OpenAI's client, and pictures as data URLs."""

import asyncio
import base64
import faulthandler
import io
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from fixtures_model import picture


def data_url(image: Image.Image, kind: str = "PNG") -> str:
    """Encode a picture as a data URL."""
    file = io.BytesIO()
    image.save(file, kind)
    return as_url(file.getvalue(), f"image/{kind.lower()}")


def as_url(content: bytes, kind: str = "image/png") -> str:
    """Encode any bytes as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def bomb(width: int, height: int) -> str:
    """Return a data URL of a tiny PNG whose header claims this size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return as_url(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    )


def shown(*urls: str) -> list[dict[str, Any]]:
    """Return the content parts of pictures."""
    return [{"type": "image_url", "image_url": {"url": url}} for url in urls]


def asked(text: str, *seeds: int) -> list[dict[str, Any]]:
    """Return one message: pictures of random pixels, then text."""
    parts = shown(*(data_url(picture(seed)) for seed in seeds))
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def body(**fields: Any) -> bytes:
    """Return the body of a request."""
    return json.dumps({"messages": asked("Which bin?"), "max_tokens": 2, **fields}).encode()


class Served:
    """A server in a thread of the test, with the requests of a test."""

    def __init__(self, model: Any, key: str | None = None, **limits: Any) -> None:
        from theworld.config.serving import ServeSettings
        from theworld.serving.api import ChatApi
        from theworld.serving.server import Server

        settings = ServeSettings(model="test", port=0, **{"max_seconds": 600.0, "batch_wait_ms": 0, **limits})
        self.api = ChatApi(model, settings, key)
        self.server = Server(self.api, settings.max_seconds)
        self.submitted = threading.Semaphore(0)
        """Released for each submitted row."""
        self.cancelled = threading.Semaphore(0)
        """Released for each cancelled or finished row."""
        self._note("submit", self.submitted)
        self._note("cancel", self.cancelled)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(self.listening,))
        self.thread.start()

    def _note(self, name: str, semaphore: threading.Semaphore) -> None:
        call = getattr(self.api.engine, name)

        def noted(row: Any) -> None:
            call(row)
            semaphore.release()

        setattr(self.api.engine, name, noted)

    def client(self, key: str = "none", asynchronous: bool = False) -> Any:
        import openai

        kind = openai.AsyncOpenAI if asynchronous else openai.OpenAI
        return kind(base_url=f"{self.address}/v1", api_key=key, max_retries=0, timeout=600)

    def ask(self, messages: list[dict[str, Any]], **options: Any) -> Any:
        """Return the answer; with `stream`, an iterator of its chunks."""
        client = self.client()
        try:
            return client.chat.completions.create(model="test", messages=messages, **options)
        finally:
            if not options.get("stream"):
                client.close()

    def at_once(self, requests: list[dict[str, Any]]) -> list[Any]:
        """Return the answers to concurrent requests."""

        async def gather() -> list[Any]:
            async with self.client(asynchronous=True) as client:
                asking = [client.chat.completions.create(model="test", **request) for request in requests]
                return await asyncio.gather(*asking)

        return asyncio.run(gather())

    def value(self, name: str, **labels: str) -> float:
        return self.api.metrics.value(name, **labels)

    def end(self) -> None:
        self.server.stop()
        self.thread.join(60)
        self.listening.close()
        if self.thread.is_alive():
            faulthandler.dump_traceback()
            raise AssertionError(f"the server runs on with {len(self.server.server_state.connections)} connections")


@contextmanager
def served(model: Any, key: str | None = None, **limits: Any) -> Iterator[Served]:
    """Run a server with a model inside the `with` block."""
    running = Served(model, key, **limits)
    try:
        yield running
    finally:
        running.end()


class Gate:
    """A gate in front of the model: batches wait until it opens."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        """Released for each batch at the gate."""
        self.open = threading.Event()

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call behind the gate."""

        def wait_and_call(*args: Any, **kwargs: Any) -> Any:
            self.arrived.release()
            assert self.open.wait(60)
            return call(*args, **kwargs)

        return wait_and_call
