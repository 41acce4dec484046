"""Cost of pictures in `theworld serve`: a second question about one, many clients with one each, texts beside them.

`python -m benchmarks.picture_serving [TABLE ...]` prints the tables `second`, `clients`, `texts`, or all of them. Each
compares two servers in turn: this version, and the one whose `src` folder is in the environment variable OTHER; by
default this version with `--max-kept-bytes 0`. Seconds of the processor leave other programs of the machine out.
"""

import http.client
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count

import numpy as np
from PIL import Image

from benchmarks.figures import Figure, Ratio
from benchmarks.serving import ServerProcess, chat, encoded, running

LEAST_SPEEDUP = 3.0
"""Goal: rate of second questions over that of first ones, and of many clients over the other server."""
MOST_SLOWDOWN = 2.0
"""Goal: 95th percentile of texts beside pictures over that without."""
NUM_CLIENTS, NUM_QUESTIONS = 32, 8
NUM_PICTURES = 8
NUM_TEXTS = 20
_SEEDS = count(int(time.time()) << 16)


def new_picture() -> bytes:
    """Return a picture that no request showed before."""
    pixels = np.random.default_rng(next(_SEEDS)).integers(0, 256, (64, 64, 3), np.uint8)
    return encoded(Image.fromarray(pixels))


def question(number: int, *pictures: bytes) -> bytes:
    """Return the body of one of several questions."""
    return chat(f"In which bin does the ball number {number % 10} come to rest?", *pictures)


def ask(server: ServerProcess, bodies: Sequence[bytes]) -> list[float]:
    """Send requests over one connection; return the seconds of each."""
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    seconds = []
    for content in bodies:
        started = time.perf_counter()
        status = server.post(content, connection=client)
        assert status == 200, status
        seconds.append(time.perf_counter() - started)
    client.close()
    return seconds


def cost(server: ServerProcess, work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of some work by the clock, and by the server's processor."""
    began, used = time.perf_counter(), server.processor_seconds()
    work()
    return time.perf_counter() - began, server.processor_seconds() - used


def second_questions(server: ServerProcess) -> tuple[Ratio, Ratio]:
    """Return the cost of a first question over that of a second one, by the clock and by the processor."""
    ratios = []
    for _ in range(NUM_PICTURES):
        bodies = [question(number, picture) for picture in (new_picture(),) for number in (1, 2)]
        first, second = (cost(server, partial(ask, server, [content])) for content in bodies)
        ratios.append((first[0] / second[0], first[1] / second[1]))
    by_clock, by_processor = zip(*ratios, strict=True)
    return Ratio(by_clock), Ratio(by_processor)


def rates(server: ServerProcess, kind: str) -> tuple[float, float]:
    """Return the requests of all clients per second, by the clock and by the processor.

    Args:
        server: to ask.
        kind: "own": each client asks about a picture of its own; "shared": all ask about one; "new": each request has
            another one.
    """
    shared = new_picture()
    clients = [_bodies(kind, shared) for _ in range(NUM_CLIENTS)]
    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        seconds = cost(server, lambda: list(pool.map(lambda bodies: ask(server, bodies), clients)))
    return NUM_CLIENTS * NUM_QUESTIONS / seconds[0], NUM_CLIENTS * NUM_QUESTIONS / seconds[1]


def _bodies(kind: str, shared: bytes) -> list[bytes]:
    own = new_picture()
    pictures = {"own": lambda: own, "new": new_picture, "shared": lambda: shared}[kind]
    return [question(number, pictures()) for number in range(NUM_QUESTIONS)]


@contextmanager
def picture_load(server: ServerProcess, num_clients: int) -> Iterator[None]:
    """Let clients send new pictures within the block, each one request after the other."""
    ended = threading.Event()

    def send(number: int) -> None:
        while not ended.is_set():
            ask(server, [question(number, new_picture())])

    with ThreadPoolExecutor(num_clients) as pool:
        futures = [pool.submit(send, number) for number in range(num_clients)]
        time.sleep(1)
        try:
            yield
        finally:
            ended.set()
    for future in futures:
        future.result()


def texts_beside(server: ServerProcess, num_clients: int = 8) -> tuple[float, float]:
    """Return the 95th percentile of the seconds of texts alone, and beside clients with new pictures."""
    bodies = [question(number) for number in range(NUM_TEXTS)]
    alone = ask(server, bodies)
    with picture_load(server, num_clients):
        beside = ask(server, bodies)
    return _high(alone), _high(beside)


def _high(seconds: Sequence[float]) -> float:
    return sorted(seconds)[int(0.95 * (len(seconds) - 1))]


def in_words(ratio: Ratio) -> str:
    """Return the median of ratios with its quartiles."""
    return f"{ratio:.2f} ({ratio.quartiles[0]:.2f} to {ratio.quartiles[1]:.2f})"


def second_table(servers: dict[str, ServerProcess]) -> Iterator[str]:
    """Yield the table of second questions."""
    yield "| first over second question | by the clock | by the processor |\n|---|---|---|"
    for name, server in servers.items():
        by_clock, by_processor = second_questions(server)
        yield f"| {name} | {in_words(by_clock)} | {in_words(by_processor)} |"


def clients_table(servers: dict[str, ServerProcess], num_pairs: int, kinds: Sequence[str]) -> Iterator[str]:
    """Yield the table of many clients."""
    title = f"{NUM_CLIENTS} clients, {NUM_QUESTIONS} questions each"
    yield f"| {title} | other, 1/s | this, 1/s | ratio, clock | ratio, processor |"
    yield "|---|---|---|---|---|"
    for kind in kinds:
        pairs = [(rates(servers["other"], kind), rates(servers["this"], kind)) for _ in range(num_pairs)]
        other, this = (statistics.median(rate[0] for rate in column) for column in zip(*pairs, strict=True))
        ratios = [in_words(Ratio([b[clock] / a[clock] for a, b in pairs])) for clock in (0, 1)]
        yield f"| {kind} picture | {other:.1f} | {this:.1f} | {' | '.join(ratios)} |"


def texts_table(servers: dict[str, ServerProcess], num_pairs: int) -> Iterator[str]:
    """Yield the table of texts beside pictures."""
    yield "| texts beside 8 clients with new pictures | p95 alone, s | p95 beside, s | ratio |\n|---|---|---|---|"
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
    for _ in range(num_pairs):
        for name, server in servers.items():
            measured[name].append(texts_beside(server))
    for name, pairs in measured.items():
        alone, beside = (statistics.median(column) for column in zip(*pairs, strict=True))
        yield f"| {name} | {alone:.3f} | {beside:.3f} | {in_words(Ratio([b / a for a, b in pairs]))} |"


@contextmanager
def both() -> Iterator[dict[str, ServerProcess]]:
    """Run the two servers within the block."""
    source = os.environ.get("OTHER")
    options = () if source else ("--max-kept-bytes", "0")
    with running("serve", *options, source=source) as other, running("serve") as server:
        servers = {"other": other, "this": server}
        for each in servers.values():
            ask(each, [question(1), question(1, new_picture())])  # warm
        yield servers


def figures() -> Iterator[Figure]:
    """Return the speed of second questions and of many clients, and the slowdown of texts."""
    with both() as servers:
        this, other = servers["this"], servers["other"]
        yield Figure("second_question_rate", second_questions(this)[1], LEAST_SPEEDUP, at_least=True)
        speedups = Ratio([rates(this, "own")[1] / rates(other, "own")[1] for _ in range(2)])
        yield Figure("clients_with_pictures_rate", speedups, LEAST_SPEEDUP, at_least=True)
        slowdowns = [beside / alone for alone, beside in (texts_beside(this) for _ in range(3))]
        yield Figure("texts_beside_pictures", Ratio(slowdowns), MOST_SLOWDOWN)


def main(arguments: Sequence[str] = ()) -> None:
    """Print the named tables, or all of them."""
    wanted = arguments or ("second", "clients", "texts")
    num_pairs = int(os.environ.get("PAIRS", "3"))
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores\n")
    with both() as servers:
        kinds = [name for name in ("own", "shared", "new") if "clients" in wanted or name in wanted]
        tables = {
            "second": lambda: second_table(servers),
            "clients": lambda: clients_table(servers, num_pairs, kinds),
            "texts": lambda: texts_table(servers, num_pairs),
        }
        for name, table in tables.items():
            if name in wanted or (name == "clients" and kinds):
                for line in table():
                    print(line, flush=True)
                print()
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
