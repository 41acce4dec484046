"""Download pictures of OpenImages by their ids: whole files only, and lists of missing and failed ones."""

import asyncio
import io
import logging
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from theworld.config.commands import OpenImagesSettings
from theworld.datasets.public.json_array import array_rows
from theworld.datasets.rgb import BROKEN, decode
from theworld.io import write_whole
from theworld.locks import in_use

logger = logging.getLogger(__name__)

MISSING_NAME, FAILED_NAME = "missing.txt", "failed.txt"

MAX_BYTES: Final = 20_000_000
"""Largest picture; OpenImages has at most 1,024 px a side and about 300 kB."""

MAX_FAILED_IN_A_ROW: Final = 100
"""Consecutive failures before the server counts as unreachable."""

_NAME = re.compile(r"(?:(train|validation|test)/)?([0-9a-f]{16})(?:\.jpg)?")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_PASSING = (408, 425, 429)
"""Temporary errors besides 5xx."""
_TAIL_BYTES = 1_024


class _MissingError(Exception):
    """The server has no such picture."""


class _PassingError(Exception):
    """A temporary failure: try again."""


class _LastingError(Exception):
    """A permanent failure."""


class ServerUnreachableError(ValueError):
    """Too many consecutive failures."""


def download(settings: OpenImagesSettings) -> dict[str, Any]:
    """Download pictures by id, as `OUT/ID.jpg`.

    Each file is written aside, synced and renamed, so a stopped run leaves whole files only, and the next run fetches
    the others. `OUT/missing.txt` lists pictures that the server does not have, `OUT/failed.txt` those that failed in
    all attempts, with the reason.

    Returns:
        Numbers of pictures asked, fetched, already_there, missing and failed; bytes, and seconds.

    Raises:
        ValueError: for a file of ids with other lines, or a folder in use.
        ServerUnreachableError: after `MAX_FAILED_IN_A_ROW` consecutive failures.
    """
    names = read_ids(settings.ids, settings.split)
    run = _Download(settings)
    start = time.perf_counter()
    with in_use(settings.out):
        try:
            asyncio.run(run.fetch(names))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        finally:
            run.write_lists()
    if run.failed:
        logger.warning("%d pictures failed, see %s: run again to try once more", len(run.failed), FAILED_NAME)
    return {
        "asked": len(names),
        **{word: run.counts[word] for word in ("fetched", "already_there", "missing", "failed")},
        "bytes": run.num_bytes,
        "seconds": round(time.perf_counter() - start, 3),
    }


def read_ids(path: Path, split: str) -> list[str]:
    """Read the pictures in a file of ids: `SPLIT/ID`, each once.

    Args:
        path: text of one id a line; or JSON, an array of ids or of rows with a `filename`, as OpenSpatialDataset has.
        split: of ids without one.

    Raises:
        ValueError: for a file that cannot be read, has no ids, or has other lines, with the first of them.
    """
    if path.suffix == ".json":
        return _ids_of_rows(path, split)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a file of ids that can be read ({error})") from error
    names: dict[str, None] = {}
    wrong: list[str] = []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        match = _NAME.fullmatch(text)
        if match:
            names[f"{match[1] or split}/{match[2]}"] = None
        elif text:
            wrong.append(f"line {number}: {text[:60]!r}")
    if wrong:
        raise ValueError(
            f"{path}: {len(wrong):,} lines are no ids of OpenImages, {'; '.join(wrong[:3])}: expected 16 hexadecimal"
            " digits, as in train/0a1b2c3d4e5f6071; correct them, or put # before them"
        )
    if not names:
        raise ValueError(f"{path}: no ids; expected one a line, as in train/0a1b2c3d4e5f6071")
    return list(names)


def _ids_of_rows(path: Path, split: str) -> list[str]:
    """Read the ids of a JSON array row by row, so that its size does not matter; warn of rows without one."""
    names: dict[str, None] = {}
    num_rows = num_wrong = 0
    try:
        with path.open("rb") as stream, tqdm(desc="rows of ids", unit="row") as progress:
            for row in array_rows(stream):
                text = row.get("filename") if isinstance(row, dict) else row
                match = _NAME.fullmatch(text) if isinstance(text, str) else None
                if match:
                    names[f"{match[1] or split}/{match[2]}"] = None
                num_rows, num_wrong = num_rows + 1, num_wrong + (match is None)
                progress.update()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a JSON array of ids or rows that can be read ({error})") from error
    if not names:
        raise ValueError(
            f"{path}: none of {num_rows:,} rows has an id of OpenImages; expected 16 hexadecimal digits, as `filename`"
        )
    if num_wrong:
        logger.warning("%s: %s of %s rows have no id of OpenImages", path, f"{num_wrong:,}", f"{num_rows:,}")
    return list(names)


class _Download:
    """State of one run."""

    def __init__(self, settings: OpenImagesSettings) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()
        self.num_bytes = 0
        self.missing: list[str] = []
        self.failed: dict[str, str] = {}
        self._failed_in_a_row = 0

    async def fetch(self, names: list[str]) -> None:
        limits = httpx2.Limits(max_connections=self.settings.concurrency)
        with tqdm(total=len(names), desc="pictures", unit="picture") as progress:
            async with (
                httpx2.AsyncClient(
                    follow_redirects=True,
                    max_redirects=5,
                    timeout=self.settings.timeout_s,
                    limits=limits,
                    headers={"Accept-Encoding": "identity"},
                ) as client,
                asyncio.TaskGroup() as group,
            ):
                waiting = iter(names)
                for _ in range(min(self.settings.concurrency, len(names))):
                    group.create_task(self._work(client, waiting, progress))

    async def _work(self, client: httpx2.AsyncClient, waiting: Iterator[str], progress: Any) -> None:
        for name in waiting:
            outcome = await self._fetch_picture(client, name)
            self.counts[outcome] += 1
            progress.update(1)
            self._failed_in_a_row = self._failed_in_a_row + 1 if outcome == "failed" else 0
            if self._failed_in_a_row >= MAX_FAILED_IN_A_ROW:
                raise ServerUnreachableError(
                    f"{MAX_FAILED_IN_A_ROW} pictures failed one after the other, the last: {self.failed[name]}; check"
                    f" the network and base_url={self.settings.base_url!r}, then run again: whole files are kept"
                )

    async def _fetch_picture(self, client: httpx2.AsyncClient, name: str) -> str:
        """Fetch a picture unless it is there, and return the outcome."""
        target = self.settings.out / f"{name.partition('/')[2]}.jpg"
        if await asyncio.to_thread(_is_whole, target):
            return "already_there"
        reason = ""
        for attempt in range(self.settings.num_attempts):
            if attempt:
                pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (attempt - 1))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # spread the retries
            try:
                async with asyncio.timeout(self.settings.timeout_s):
                    content = await self._attempt(client, name)
            except _MissingError:
                self.missing.append(name)
                return "missing"
            except _LastingError as error:
                reason = str(error)
                break
            except (TimeoutError, _PassingError) as error:
                reason = str(error) or f"took longer than {self.settings.timeout_s:g} s"
            else:
                await asyncio.to_thread(write_whole, target, content)
                self.num_bytes += len(content)
                return "fetched"
        self.failed[name] = reason
        return "failed"

    async def _attempt(self, client: httpx2.AsyncClient, name: str) -> bytes:
        """The bytes of a picture, checked to decode."""
        url = f"{self.settings.base_url.rstrip('/')}/{name}.jpg"
        try:
            async with client.stream("GET", url) as response:
                _check_status(response, url)
                content = bytearray()
                async for part in response.aiter_raw():
                    content += part
                    if len(content) > MAX_BYTES:
                        raise _LastingError(f"more than {MAX_BYTES:,} bytes: no picture of OpenImages")
                announced = response.headers.get("Content-Length")
        except (httpx2.TooManyRedirects, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            raise _LastingError(f"{url}: {error}") from error
        except httpx2.HTTPError as error:
            raise _PassingError(f"{type(error).__name__}: {error}") from error
        if announced is not None and announced != str(len(content)):
            raise _PassingError(f"{len(content):,} bytes of {announced}")
        await asyncio.to_thread(_check_picture, bytes(content))
        return bytes(content)

    def write_lists(self) -> None:
        """Write the lists of missing and failed pictures so far; remove empty ones."""
        lists = {
            MISSING_NAME: sorted(self.missing),
            FAILED_NAME: [f"{name}\t{reason}" for name, reason in sorted(self.failed.items())],
        }
        for name, lines in lists.items():
            if lines:
                write_whole(self.settings.out / name, "".join(f"{line}\n" for line in lines))
            else:
                (self.settings.out / name).unlink(missing_ok=True)


def _check_status(response: httpx2.Response, url: str) -> None:
    status = response.status_code
    if status in (404, 410):
        raise _MissingError
    if status >= 500 or status in _PASSING:
        raise _PassingError(f"status {status}")
    if status != 200:
        raise _LastingError(f"status {status}")
    if url.startswith("https:") and response.url.scheme != "https":
        raise _LastingError("redirected to an address without encryption")


def _check_picture(content: bytes) -> None:
    try:
        decode(content, formats=("JPEG",))
    except (*BROKEN, Image.DecompressionBombError) as error:
        # Pillow would name the stream, an object of Python.
        reason = "of another format" if isinstance(error, UnidentifiedImageError) else error
        raise _PassingError(f"{len(content):,} bytes that are no JPEG ({reason})") from error


def _is_whole(path: Path) -> bool:
    """Return whether a file begins and ends like a JPEG; files from other programs may be cut off."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        begins = stream.read(2) == b"\xff\xd8"
        stream.seek(-min(_TAIL_BYTES, path.stat().st_size), io.SEEK_END)
        return begins and b"\xff\xd9" in stream.read()
