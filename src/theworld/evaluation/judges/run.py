"""Judging: from saved replies to verdicts and scores; a restarted run continues at the point where it stopped."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Final

from tqdm import tqdm

from theworld.config import loader
from theworld.config.evaluation import JudgeSettings, SpatialRGPTJudgeSettings
from theworld.environment import describe_environment
from theworld.evaluation.benchmarks.spatial_rgpt import read
from theworld.evaluation.jsonl import error_text
from theworld.evaluation.judges.client import CallFailedError, CallRefusedError, Judge, JudgeReply, JudgeUnusableError
from theworld.evaluation.judges.prompts import PROMPT_VERSION, REMINDER, kind_of, prompt_for
from theworld.evaluation.judges.verdicts import (
    FORMAT,
    Judged,
    JudgingIdentity,
    Verdict,
    VerdictWriter,
    evaluate,
    read_reply,
    read_verdicts,
)
from theworld.evaluation.predictions import Prediction
from theworld.io import fingerprint, write_whole
from theworld.locks import in_use

_FIRST_WAIT_SECONDS = 1.0
_VERDICTS: Final = "verdicts.jsonl"

MOST_FAILURES_IN_A_ROW = 20
"""Consecutive items without any reply that end the run: the judge is out of reach."""


@dataclass(frozen=True)
class Persistence:
    """Number of attempts, and pauses between them."""

    max_attempts: int = 6
    """Calls per item."""
    max_wait_seconds: float = 120.0
    """Longest pause; if a judge asks for a longer one, the item is left to the next run."""
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    draw: Callable[[], float] = random.random
    """Random number in [0, 1): it spreads the retries of concurrent callers."""

    def wait_seconds(self, num_failures: int, asked_for: float | None) -> float | None:
        """Compute the pause after a number of failures: 1, 2, 4, ... seconds, reduced at random by up to half.

        Args:
            num_failures: of this item, at least 1.
            asked_for: seconds that the judge asks for, which are added; None: it asks for none.

        Returns:
            Seconds; None if the judge asks for more than the longest pause.
        """
        doubled = _FIRST_WAIT_SECONDS * 2 ** min(num_failures - 1, 30)
        pause = min(doubled, self.max_wait_seconds) * (1 - self.draw() / 2)
        if asked_for is None:
            return pause
        return asked_for + pause if asked_for <= self.max_wait_seconds else None


class UnusableReplyError(ValueError):
    """A judge's reply in another form than requested."""


async def judge_one(judge: Judge, row: Prediction, persistence: Persistence) -> Verdict:
    """Ask about one reply until the judge gives a usable verdict; return an error row if it never does.

    Raises:
        JudgeUnusableError: for a failure that every item would meet.
    """
    category = str(row.fields["category"])
    prompt = prompt_for(row)
    replies: list[JudgeReply] = []
    failure: Exception | None = None
    num_calls, num_failures, seconds = 0, 0, 0.0
    while num_calls < persistence.max_attempts:
        num_calls += 1
        started = time.perf_counter()
        try:
            replies.append(await judge.ask(prompt))
        except CallRefusedError as error:
            failure = error
            break
        except CallFailedError as error:
            failure = error
            num_failures += 1
            wait = persistence.wait_seconds(num_failures, error.wait_seconds)
            if wait is None:
                break
        else:
            try:
                read_reply(replies[-1].text, kind_of(category))
            except ValueError as error:
                failure, wait = UnusableReplyError(str(error)), 0.0
                prompt = replace(prompt, user=prompt_for(row).user + REMINDER)
            else:
                failure = None
                break
        finally:
            seconds += time.perf_counter() - started
        if wait and num_calls < persistence.max_attempts:
            await persistence.sleep(wait)
    return Verdict(
        sample_id=row.sample_id,
        category=category,
        reply=replies[-1].text if replies else None,
        error=None if failure is None else error_text(failure),
        num_calls=num_calls,
        num_prompt_tokens=sum(reply.num_prompt_tokens or 0 for reply in replies),
        num_completion_tokens=sum(reply.num_completion_tokens or 0 for reply in replies),
        num_uncounted=sum(reply.num_prompt_tokens is None for reply in replies),
        seconds=seconds,
    )


async def judge_all(
    judge: Judge, rows: Sequence[Prediction], writer: VerdictWriter, num_concurrent: int, persistence: Persistence
) -> None:
    """Ask about every reply without a verdict in the writer's file, and append the verdicts.

    Raises:
        JudgeUnusableError: for a failure that every item would meet, or if many consecutive items get no reply. The
            file keeps the verdicts until then.
    """
    done = writer.done()
    waiting = [row for row in rows if row.prediction is not None and row.sample_id not in done]
    num_open = len(waiting)
    queue = iter(waiting)
    failed_in_a_row: list[str] = []
    with tqdm(total=num_open + len(done), initial=len(done), desc="judge", unit="item") as progress:

        async def work(queue: Iterator[Prediction]) -> None:
            for row in queue:  # one iterator for all: each takes the next
                verdict = await judge_one(judge, row, persistence)
                writer.append([verdict])
                progress.update(1)
                if verdict.reply is not None:
                    failed_in_a_row.clear()
                    continue
                failed_in_a_row.append(str(verdict.error))
                if len(failed_in_a_row) >= MOST_FAILURES_IN_A_ROW:
                    raise JudgeUnusableError(
                        f"{len(failed_in_a_row)} items one after another got no reply (the last:"
                        f" {failed_in_a_row[-1]}); start again when the judge can be reached: the run goes on where it"
                        " stopped"
                    )

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(num_concurrent, num_open)):
                    group.create_task(work(queue))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None


def judge_spatial_rgpt(
    settings: SpatialRGPTJudgeSettings, persistence: Persistence | None = None
) -> tuple[Judged, float]:
    """Let a judge mark saved replies, and score them by its verdicts.

        output_dir/
          config.json             resolved settings
          environment.json        versions, commit, machine
          verdicts.jsonl          a row per item and run, and verdicts.run.json, the identity of the judging
          results.json            scores, agreement with the readings of `theworld score`, cost

    Args:
        settings: replies, judge and folder.
        persistence: attempts and pauses; None: from the settings.

    Returns:
        The scores, and the duration of this run in seconds.

    Raises:
        OSError: if the file of replies cannot be read.
        ValueError: for invalid replies, a folder of another run, or an unusable judge.
    """
    started = time.perf_counter()
    rows, _ = read(settings.file)
    with in_use(settings.output_dir):
        result = _judge(settings, rows, persistence)
    return result, time.perf_counter() - started


def _judge(settings: SpatialRGPTJudgeSettings, rows: list[Prediction], persistence: Persistence | None) -> Judged:
    judging = settings.judge
    persistence = persistence or Persistence(judging.max_attempts, judging.max_wait_seconds)
    if judging.endpoint is not None:
        asyncio.run(_ask_endpoint(settings, rows, persistence))
    else:
        from theworld.evaluation.judges.local import LocalJudge  # imports torch

        judge = LocalJudge(judging.checkpoint or "", judging.max_new_tokens, judging.dtype)
        with _writer(settings, _identify(judge.name, judging, rows, ("torch", "transformers"))) as writer:
            asyncio.run(judge_all(judge, rows, writer, 1, persistence))
    result = evaluate(rows, read_verdicts(settings.output_dir / _VERDICTS))
    write_whole(settings.output_dir / "results.json", json.dumps(result.to_dict(), indent=2))
    return result


def _writer(settings: SpatialRGPTJudgeSettings, identity: JudgingIdentity) -> VerdictWriter:
    """Open the file of verdicts; the settings of another judging stay as they are."""
    path = settings.output_dir / _VERDICTS
    FORMAT.check(path, identity)
    loader.save_over_earlier(settings, settings.output_dir / "config.json")
    write_whole(settings.output_dir / "environment.json", describe_environment())
    return VerdictWriter(path, identity)


async def _ask_endpoint(settings: SpatialRGPTJudgeSettings, rows: list[Prediction], persistence: Persistence) -> None:
    from theworld.evaluation.judges.client import EndpointJudge

    judging = settings.judge
    async with EndpointJudge(judging) as judge:
        assert isinstance(judge, Judge)
        name = f"{judging.model} at {judging.endpoint}"
        with _writer(settings, _identify(name, judging, rows)) as writer:
            await judge_all(judge, rows, writer, judging.num_concurrent, persistence)


def _identify(
    judge: str, settings: JudgeSettings, rows: list[Prediction], libraries: tuple[str, ...] = ()
) -> JudgingIdentity:
    decoding = [settings.max_new_tokens]
    if settings.endpoint is not None:
        decoding += [settings.temperature, settings.json_mode]
    return JudgingIdentity(
        judge=judge,
        settings_hash=fingerprint(*decoding),
        prompts=PROMPT_VERSION,
        replies=fingerprint(
            [(row.sample_id, row.fields["category"], row.question, row.answer, row.prediction) for row in rows]
        ),
        versions={name: version(name) for name in libraries},
    )
