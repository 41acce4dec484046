"""What the commands call: each does its work and says what a reader is told of it; heavy imports wait until then."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from theworld.cli.console import FAULT, OK, Told, announce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from theworld.config import AskSettings, AuditSettings, DemoSettings, EvaluationConfig
    from theworld.config.commands import (
        CacheSettings,
        CompareSettings,
        DoctorSettings,
        ForesightSettings,
        PlanSettings,
        PreviewSettings,
        ReportSettings,
    )
    from theworld.config.evaluation import Scoring, SpatialRGPTJudgeSettings
    from theworld.config.experiments import ArmsSettings, ProbeSettings
    from theworld.config.serving import AppSettings, ServeSettings
    from theworld.config.training import SlurmSettings
    from theworld.report.tables import Table

_FUTURE_SIDE_PX = 512
"""Side of animations of the future, about."""


def demo(settings: "DemoSettings") -> Told:
    """The demo: its table of arms, one question, the audit's line, and where the report lies."""
    from theworld.experiments.demo import run_demo

    found = run_demo(settings)
    asked = found["asked"]
    said = [
        f"Asked: {asked['question']} (true: {asked['answer']})",
        f"- without the world: {asked['without the world']}\n- with the world: {asked['with the world']}",
        f"Audit: {found['audit']}",
        f"The report: {found['report']}",
    ]
    return Told(found, "\n\n".join([_tables_of(settings.output_dir), *said]))


def ask(settings: "AskSettings") -> dict[str, Any]:
    """Answer a question about a picture twice: with the world, and by the same model without it.

    Raises:
        ValueError: for a picture that cannot be read, a K that the tap cannot serve, or a future that it does not show.
    """
    from theworld.datasets.images import to_image
    from theworld.modeling import TheWorld
    from theworld.modeling.factory import on_this_machine, to_be_asked
    from theworld.modeling.introspection import imagine
    from theworld.report.figures import write_gif

    picture = to_image(settings.picture)  # first: it is cheap, and may be refused
    options = {"max_new_tokens": settings.max_new_tokens}
    model = TheWorld.from_pretrained(to_be_asked(settings.model), **on_this_machine(settings.dtype))
    found = {}
    if settings.show_future is not None:
        steps = model.config.num_world_steps if settings.num_world_steps is None else settings.num_world_steps
        frames = imagine(model, picture, steps).numpy()
        write_gif(frames, settings.show_future, model.config.frame_rate_hz, _FUTURE_SIDE_PX // frames.shape[1] or 1)
        found["future"] = str(settings.show_future)
    answer = model.generate(picture, settings.question, num_world_steps=settings.num_world_steps, **options)
    with model.without_world():
        plain = model.generate(picture, settings.question, **options)
    return {"question": settings.question, "without the world": plain, "with the world": answer, **found}


def serve(settings: "ServeSettings") -> dict[str, Any]:
    """Serve a model over HTTP until SIGTERM or SIGINT; how much was answered."""
    from theworld.serving import require_extra

    require_extra()
    from theworld.serving import server

    return server.serve(settings, lambda address: announce(f"serving {settings.model} at {address}"))


def app(settings: "AppSettings") -> dict[str, Any]:
    """Show a page in the browser until SIGTERM or SIGINT; how many questions were answered."""
    from theworld.serving.web import require_extra

    require_extra()
    from theworld.serving.web import server

    return server.show(settings, lambda address: announce(f"showing {settings.model} at {address}"))


def preview(config: "PreviewSettings") -> dict[str, Any]:
    """Read some of a run's data as training would, and write a page that shows it; no weights are loaded.

    Returns:
        The page, how many samples there are, were read and were left out by cause, and the median and largest length.

    Raises:
        ValueError: for data that cannot be had, or of which no record that was read gives a sample.
    """
    from collections import Counter
    from statistics import median

    from theworld.io import write_whole
    from theworld.report.preview_page import page
    from theworld.training.preview import look

    found = look(config)
    write_whole(config.page, page(found))
    totals = [lengths.total for lengths in found.lengths]
    return {
        "page": str(config.page),
        "num_samples": found.num_samples,
        "num_read": found.num_read,
        "left_out": dict(Counter(record.cause for record in found.left_out)),
        "tokens": {"median": median(totals), "largest": max(totals)},
    }


def evaluate(settings: "EvaluationConfig") -> Told:
    """An evaluation: its tables; where answers are withheld, the files to submit."""
    from theworld.evaluation.run import evaluate

    found = evaluate(settings)
    if "submissions" in found:
        return Told(found, "\n".join(f"- {arm}: {path}" for arm, path in found["submissions"].items()))
    return Told(found, f"{_tables_of(settings.output_dir)}\n\nAll of it: {settings.output_dir / 'results.json'}")


def audit(settings: "AuditSettings") -> Told:
    """An audit: its verdict and its table."""
    from theworld.evaluation.run_audit import audit
    from theworld.report.folder import read_run
    from theworld.report.tables import audit_table

    found = audit(settings)
    table = audit_table(read_run(settings.output_dir))
    return Told(found, f"{found['line']}\n\n{_markdown([table] if table else [])}")


def arms(settings: "ArmsSettings") -> Told:
    """A comparison of arms: its tables."""
    from theworld.experiments.arms.table import compare_arms

    return Told(compare_arms(settings), (settings.output_dir / "arms.md").read_text())


def probe(settings: "ProbeSettings") -> Told:
    """Probes: their tables."""
    from theworld.experiments.probe.report import run_probes

    return Told(run_probes(settings), (settings.output_dir / "probe.md").read_text())


def compare(arguments: "CompareSettings") -> Told:
    """A comparison of files of predictions: its tables."""
    from theworld.evaluation import comparison, predictions
    from theworld.evaluation.benchmarks import dispatch

    found = comparison.compare(
        {str(path): predictions.read_predictions(path) for path in arguments.files},
        baseline=None if arguments.baseline is None else str(arguments.baseline),
        group_by=arguments.group_by,
        cluster_by=arguments.cluster_by,
        scorer=dispatch.score,
    )
    return Told(found.to_dict(), comparison.to_markdown(found))


def score(settings: "Scoring") -> Told:
    """The scores of saved replies to a public benchmark: its tables."""
    from theworld.report.benchmarks import scored

    tables, found = scored(settings)
    return Told(found, _markdown(tables))


def judge(settings: "SpatialRGPTJudgeSettings") -> Told:
    """What a language model makes of saved replies: tables of its verdicts."""
    from theworld.evaluation.judges.run import judge_spatial_rgpt
    from theworld.report.benchmarks import judged_tables

    result, seconds = judge_spatial_rgpt(settings)
    name = settings.judge.model or str(settings.judge.checkpoint)
    values = {
        "benchmark": "spatial-rgpt",
        "judge": name,
        "output_dir": str(settings.output_dir),
        "seconds_of_this_run": round(seconds, 3),
        **result.to_dict(),
    }
    return Told(values, _markdown(judged_tables(result, name)))


def plan(settings: "PlanSettings") -> Told:
    """The plan of a run: its tables."""
    from theworld.planning.plan import planned

    tables, found = planned(settings)
    return Told(found, _markdown(tables))


def doctor(settings: "DoctorSettings") -> Told:
    """What was looked at before a run, a row each; exit code 1 if there is a fault."""
    from theworld.planning.doctor import examine
    from theworld.report.tables import Table

    findings = list(examine(settings))
    num_faults = sum(one.state == "fault" for one in findings)
    table = Table("Before the run", ("state", "what", "found"), tuple(map(tuple, findings)), num_text_columns=3)
    found = {"num_faults": num_faults, "findings": [one._asdict() for one in findings]}
    return Told(found, _markdown([table]), FAULT if num_faults else OK)


def foresight(arguments: "ForesightSettings") -> dict[str, Any]:
    """Draw a grid of scenes, or write the items that are shipped; where they were written."""
    if arguments.write_scenes is not None:
        from theworld.datasets.foresight.export import write_scenes

        return {"scenes": [str(path) for path in write_scenes(arguments.write_scenes)]}
    from theworld.datasets.foresight.export import preview

    preview(arguments.preview, arguments.split, arguments.rows, arguments.image_size_px, arguments.task)
    return {"preview": str(arguments.preview)}


def verify_cache(arguments: "CacheSettings") -> Told:
    """Say what a feature store holds, and read all of it against its checksums.

    Raises:
        StoreDamagedError: names every damaged file, and the remedy.
    """
    from theworld.world.store import FeatureStore, stored_fingerprint

    store = FeatureStore(arguments.store, stored_fingerprint(arguments.store))
    verified = store.verify()
    verified.raise_if_damaged()
    found = {
        "store": str(arguments.store),
        "fingerprint": store.fingerprint,
        "num_features": verified.num_features,
        "num_bytes": verified.num_bytes,
    }
    counts = f"{verified.num_features:,} features, {verified.num_bytes:,} bytes"
    return Told(found, f"{arguments.store}: {counts}, all as they were written")


def report(arguments: "ReportSettings") -> dict[str, Any]:
    """Write the report of a folder; where it was written."""
    from theworld.report.page import write_report

    return {"report": str(write_report(arguments.run, arguments.title))}


def slurm(settings: "SlurmSettings") -> dict[str, Any]:
    """Submit a training run to Slurm, or show the script that would be submitted."""
    from theworld.training.slurm import job_script, submit

    return {"script": job_script(settings)} if settings.dry_run else submit(settings)


def _tables_of(folder: Path) -> str:
    """The tables of a folder that arms were asked in: each arm, the differences, a benchmark's own numbers, by kind."""
    from theworld.report.benchmarks import benchmark_tables
    from theworld.report.folder import read_run
    from theworld.report.tables import arms_table, differences_table, group_tables

    run = read_run(folder)
    tables = [arms_table(run), differences_table(run), *benchmark_tables(run), *group_tables(run)]
    return _markdown([table for table in tables if table is not None])


def _markdown(tables: "Sequence[Table]") -> str:
    from theworld.report.tables import to_markdown

    parts = [part for table in tables for part in (f"## {table.heading}", to_markdown(table), table.note)]
    return "\n\n".join(part for part in parts if part)
