"""A judging: from saved replies to verdicts and scores; started again, it goes on where it stopped."""

import asyncio
import json
import time
from importlib.metadata import version
from typing import Any

from theworld.config.judge import JudgeSettings, SpatialRGPTJudging
from theworld.evaluation.benchmarks.spatial_rgpt import read
from theworld.evaluation.claims import claim_folder
from theworld.evaluation.judges.asking import Persistence, judge_all
from theworld.evaluation.judges.judge import Judge
from theworld.evaluation.judges.questions import PROMPT_VERSION
from theworld.evaluation.judges.scoring import Judged, evaluate
from theworld.evaluation.judges.verdicts import JudgingIdentity, VerdictWriter, read_verdicts
from theworld.evaluation.predictions import Prediction
from theworld.files import fingerprint, write_whole


def judge_spatial_rgpt(settings: SpatialRGPTJudging, persistence: Persistence | None = None) -> tuple[Judged, float]:
    """Have saved replies judged, and score them by the verdicts.

        output_dir/
          config.json             resolved settings
          environment.json        versions, commit, machine
          verdicts.jsonl          a row per item and run, and verdicts.run.json: which judging they belong to
          results.json            scores, agreement with the readings of `theworld score`, cost

    Args:
        persistence: default: as the settings say.

    Returns:
        The scores, and the seconds that this run took.

    Raises:
        OSError: if the file of replies cannot be read.
        ValueError: for replies or a folder that cannot be used, or a judge that cannot.
    """
    started = time.perf_counter()
    rows, _ = read(settings.file)
    claim_folder(settings)
    own = settings.judge
    persistence = persistence or Persistence(own.max_attempts, own.max_wait_seconds)
    path = settings.output_dir / "verdicts.jsonl"
    if own.endpoint is not None:
        asyncio.run(_ask_endpoint(own, rows, path, persistence))
    else:
        from theworld.evaluation.judges.local import LocalJudge  # torch and a model: only where they are asked for

        judge = LocalJudge(own.checkpoint or "", own.max_new_tokens, own.dtype)
        with VerdictWriter(path, _identify(judge.name, own, rows, ("torch", "transformers"))) as writer:
            asyncio.run(judge_all(judge, rows, writer, 1, persistence))
    found = evaluate(rows, read_verdicts(path))
    seconds = time.perf_counter() - started
    write_whole(settings.output_dir / "results.json", json.dumps(found.to_dict(), indent=2))
    return found, seconds


async def _ask_endpoint(settings: JudgeSettings, rows: list[Prediction], path: Any, persistence: Persistence) -> None:
    from theworld.evaluation.judges.endpoint import EndpointJudge

    async with EndpointJudge(settings) as judge:
        assert isinstance(judge, Judge)
        name = f"{settings.model} at {settings.endpoint}"
        with VerdictWriter(path, _identify(name, settings, rows)) as writer:
            await judge_all(judge, rows, writer, settings.num_concurrent, persistence)


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
