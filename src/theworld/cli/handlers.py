"""Handlers of the commands: each maps settings to a call, and its result to Markdown; heavy imports are inside."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theworld.cli.console import FAULT, OK, Result, announce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from theworld.config import AuditSettings, DemoSettings, EvaluationConfig
    from theworld.config.arm_settings import ArmsSettings
    from theworld.config.commands import (
        CacheSettings,
        CompareSettings,
        ConvertSettings,
        DoctorSettings,
        ExampleSettings,
        ForesightSettings,
        ImagineSettings,
        PlanSettings,
        PreviewSettings,
        ReportSettings,
        SurpriseSettings,
    )
    from theworld.config.evaluation import Scoring, SpatialRGPTJudgeSettings
    from theworld.config.experiments import ProbeSettings
    from theworld.config.serving import AppSettings, ServeSettings
    from theworld.config.training import SlurmSettings
    from theworld.tables import Table

logger = logging.getLogger(__name__)


def demo(settings: "DemoSettings") -> Result:
    """Run the demo; show its table of arms, one question, the audit's line, and the path of the report."""
    from theworld.experiments.demo import run_demo

    values = run_demo(settings)
    item = values["asked"]
    lines = [
        f"Asked: {item['question']} (true: {item['answer']})",
        f"- without the world: {item['without the world']}\n- with the world: {item['with the world']}",
        f"Audit: {values['audit']}",
        f"Report: {values['report']}",
    ]
    return Result(values, "\n\n".join([_tables_of(settings.output_dir), *lines]))


def imagine(settings: "ImagineSettings") -> Result:
    """Imagine the future of a clip; show its errors by slot, and the path of the video."""
    from theworld.experiments.imagine import imagine_clip

    values, table = imagine_clip(settings)
    return Result(values, f"{_markdown([table])}\n\nFuture: {values['out']}")


def serve(settings: "ServeSettings") -> dict[str, Any]:
    """Serve a model over HTTP until SIGTERM or SIGINT; return the number of answers, batches and tokens."""
    from theworld.serving import require_extra

    require_extra()
    from theworld.serving import api

    return api.serve(settings, lambda address: announce(f"serving {settings.model} at {address}"))


def app(settings: "AppSettings") -> dict[str, Any]:
    """Show a page in the browser until SIGTERM or SIGINT; return the number of answered questions."""
    from theworld.serving.web import require_extra

    require_extra()
    from theworld.serving.web import page_api

    return page_api.show(settings, lambda address: announce(f"showing {settings.model} at {address}"))


def convert_config(settings: "ConvertSettings") -> Result:
    """Convert a settings file of the prototype; show the notes about it and the command that reads it."""
    from theworld.config.convert import convert_file

    values = convert_file(settings.old, settings.new)
    return Result(values, "\n".join([*(f"- {note}" for note in values["notes"]), "", f"Run it: {values['command']}"]))


def preview(config: "PreviewSettings") -> dict[str, Any]:
    """Read some of a run's data as training does, and write a page that shows it; no weights load.

    Returns:
        The page; numbers of samples in all (None: a stream), read, and left out by cause; the median and largest
        length.

    Raises:
        ValueError: for data that cannot be read, or if no record gives a sample.
    """
    from collections import Counter
    from statistics import median

    from theworld.io import write_whole
    from theworld.report.preview_page import page
    from theworld.training.preview import look

    result = look(config)
    write_whole(config.page, page(result))
    totals = [lengths.total for lengths in result.lengths]
    return {
        "page": str(config.page),
        "num_samples": result.num_samples,
        "num_read": result.num_read,
        "left_out": dict(Counter(record.cause for record in result.left_out)),
        "tokens": {"median": median(totals), "largest": max(totals)},
    }


def evaluate(settings: "EvaluationConfig") -> Result:
    """Evaluate; show the tables, or the files to submit if the data set withholds its answers."""
    from theworld.evaluation.run import evaluate

    values = evaluate(settings)
    if "submissions" in values:
        return Result(values, "\n".join(f"- {arm}: {path}" for arm, path in values["submissions"].items()))
    from theworld.config.inferred import audit_command

    place = f"All results: {settings.output_dir / 'results.json'}"
    after = (
        f"Next: `{audit_command(settings.checkpoint, settings.data)}` measures if the model uses its world;"
        f" `theworld report {settings.output_dir}` writes a page."
    )
    return Result(values, f"{_tables_of(settings.output_dir)}\n\n{place}\n\n{after}")


def audit(settings: "AuditSettings") -> Result:
    """Audit; show the verdict and its table."""
    from theworld.evaluation.run_audit import audit
    from theworld.report.folder import read_run
    from theworld.report.run_tables import audit_table

    values = audit(settings)
    table = audit_table(read_run(settings.output_dir))
    after = (
        f"Next: `theworld app --model {settings.checkpoint}` shows the model with this verdict;"
        f" `theworld report {settings.output_dir}` writes a page."
    )
    head = "\n\n".join(filter(None, (values["line"], values["reading"])))
    return Result(values, f"{head}\n\n{_markdown([table] if table else [])}\n\n{after}")


def arms(settings: "ArmsSettings") -> Result:
    """Compare arms; show the tables."""
    from theworld.experiments.arms.table import compare_arms

    return Result(compare_arms(settings), (settings.output_dir / "arms.md").read_text())


def probe(settings: "ProbeSettings") -> Result:
    """Run the probes; show their tables."""
    from theworld.experiments.probe.report import run_probes

    return Result(run_probes(settings), (settings.output_dir / "probe.md").read_text())


def surprise(settings: "SurpriseSettings") -> Result:
    """Measure the surprise of a world model; show the tables, and the path of the results."""
    from theworld.experiments.run_surprise import measure_surprise

    values, tables = measure_surprise(settings)
    return Result(values, f"{_markdown(tables)}\n\nAll results: {settings.output_dir / 'results.json'}")


def compare(arguments: "CompareSettings") -> Result:
    """Compare files of predictions; show the tables."""
    from theworld.evaluation import comparison, predictions
    from theworld.evaluation.benchmarks import dispatch

    for path in arguments.files:
        try:
            predictions.read_identity(path)
        except FileNotFoundError:
            logger.warning("%s: no %s beside it says which run made it", path, predictions.identity_path(path).name)
        except ValueError as error:
            logger.warning("%s: nothing says which run made it: %s", path, " ".join(str(error).split()))
    result = comparison.compare(
        {str(path): predictions.read_predictions(path) for path in arguments.files},
        baseline=None if arguments.baseline is None else str(arguments.baseline),
        group_by=arguments.group_by,
        cluster_by=arguments.cluster_by,
        scorer=dispatch.score,
    )
    return Result(result.to_dict(), comparison.to_markdown(result))


def score(settings: "Scoring") -> Result:
    """Score saved replies to a public benchmark; show the tables."""
    from theworld.evaluation.benchmarks.dispatch import evaluate_files

    name, scores = evaluate_files(settings)
    return Result({"benchmark": name, **scores.to_dict()}, _markdown(scores.tables()))


def judge(settings: "SpatialRGPTJudgeSettings") -> Result:
    """Judge saved replies with a language model; show tables of its verdicts."""
    from theworld.evaluation.judges.run import judge_spatial_rgpt

    result, seconds = judge_spatial_rgpt(settings)
    name = settings.judge.model or str(settings.judge.checkpoint)
    values = {
        "benchmark": "spatial-rgpt",
        "judge": name,
        "output_dir": str(settings.output_dir),
        "seconds_of_this_run": round(seconds, 3),
        **result.to_dict(),
    }
    return Result(values, _markdown(result.tables(name)))


def plan(settings: "PlanSettings") -> Result:
    """Plan a run; show the tables."""
    from theworld.planning.plan import planned

    tables, values = planned(settings)
    return Result(values, _markdown(tables))


def doctor(settings: "DoctorSettings") -> Result:
    """Check a run before it starts; show a row for each check, and exit with code 1 on a fault."""
    from theworld.planning.doctor import examine
    from theworld.tables import Table

    findings = list(examine(settings))
    num_faults = sum(finding.state == "fault" for finding in findings)
    table = Table("Before the run", ("state", "what", "found"), tuple(map(tuple, findings)), num_text_columns=3)
    values = {"num_faults": num_faults, "findings": [finding._asdict() for finding in findings]}
    return Result(values, _markdown([table]), FAULT if num_faults else OK)


def foresight(arguments: "ForesightSettings") -> "dict[str, Any] | Result":
    """Draw a grid of scenes, describe varied scenes, export scenes, or write the shipped items; return the paths."""
    if arguments.survey is not None:
        from theworld.datasets.foresight.survey import survey

        return Result(*survey(arguments.survey, arguments.num_world_clips))
    if arguments.write_scenes is not None:
        from theworld.datasets.foresight.export import write_scenes

        return {"scenes": [str(path) for path in write_scenes(arguments.write_scenes)]}
    if arguments.export is not None:
        from theworld.datasets.foresight.clevrer import write_clevrer

        written = write_clevrer(
            arguments.export_dir,
            arguments.split,
            arguments.rows,
            arguments.image_size_px,
            arguments.task,
            arguments.scenes,
        )
        return {"questions": str(written[-1]), "num_files": len(written)}
    from theworld.datasets.foresight.export import preview

    preview(
        arguments.preview,
        arguments.split,
        arguments.rows,
        arguments.image_size_px,
        arguments.task,
        arguments.scenes,
    )
    return {"preview": str(arguments.preview)}


def example(settings: "ExampleSettings") -> Result:
    """Draw pictures for an example of your own data; return its rows as the content of a file."""
    from theworld.datasets.foresight.export import write_example

    rows = write_example(settings.image_dir, settings.num_pictures)
    lines = ",\n ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return Result({"rows": rows}, f"[{lines}]", is_file=True)


def verify_cache(arguments: "CacheSettings") -> Result:
    """Describe a feature store, and check all of it against its checksums.

    Raises:
        StoreDamagedError: names every damaged file, and the remedy.
    """
    from theworld.world.store import FeatureStore, stored_fingerprint

    store = FeatureStore(arguments.store, stored_fingerprint(arguments.store))
    verified = store.verify()
    verified.raise_if_damaged()
    values = {
        "store": str(arguments.store),
        "fingerprint": store.fingerprint,
        "num_features": verified.num_features,
        "num_bytes": verified.num_bytes,
    }
    counts = f"{verified.num_features:,} features, {verified.num_bytes:,} bytes"
    return Result(values, f"{arguments.store}: {counts}, no damage")


def report(arguments: "ReportSettings") -> dict[str, Any]:
    """Write the report of a folder; return its path."""
    from theworld.report.page import write_report

    return {"report": str(write_report(arguments.run, arguments.title))}


def slurm(settings: "SlurmSettings") -> dict[str, Any]:
    """Submit a training run to Slurm, or return its script."""
    from theworld.training.slurm import job_script, submit

    return {"script": job_script(settings)} if settings.dry_run else submit(settings)


def _tables_of(folder: Path) -> str:
    """Tables of an evaluation's folder: arms, differences, a benchmark's numbers, groups."""
    from theworld.report.folder import read_run
    from theworld.report.run_tables import arms_table, benchmark_tables, differences_table, group_tables

    run = read_run(folder)
    tables = [arms_table(run), differences_table(run), *benchmark_tables(run), *group_tables(run)]
    return _markdown([table for table in tables if table is not None])


def _markdown(tables: "Sequence[Table]") -> str:
    from theworld.tables import to_markdown

    parts = [part for table in tables for part in (f"## {table.heading}", to_markdown(table), table.note)]
    return "\n\n".join(part for part in parts if part)
