"""The command `theworld`: what all verbs share, and the small ones, each a thin call."""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import theworld
from theworld.verbs import VERBS, Verb

if TYPE_CHECKING:
    from theworld.config import AskSettings
    from theworld.config.benchmarks import Scoring
    from theworld.config.judge import SpatialRGPTJudging
    from theworld.config.planning import DoctorSettings, PlanSettings
    from theworld.config.serving import ServeSettings
    from theworld.config.slurm import SlurmSettings
    from theworld.config.verbs import CacheArguments, CompareArguments, ForesightArguments, ReportArguments
    from theworld.report.tables import Table

OK, FAULT, REFUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done; `doctor` found a fault; the input was refused, with one message; interrupted (128 + SIGINT)."""


_FUTURE_SIDE_PX = 512
"""Side of animations of the future, about."""


def ask(settings: "AskSettings") -> dict[str, Any]:
    """Answer a question about a picture twice: with the world, and by the same model without it.

    Raises:
        ValueError: for a picture that cannot be read, a K that the tap cannot serve, or a future that it does not show.
    """
    from theworld.datasets.images import to_image
    from theworld.modeling import TheWorld
    from theworld.modeling.imagining import imagine
    from theworld.modeling.opening import on_this_machine, to_be_asked
    from theworld.report.animation import write_gif

    picture = to_image(settings.picture)  # first: it is cheap, and may be refused
    name = to_be_asked(settings.model)
    options = {"max_new_tokens": settings.max_new_tokens}
    model = TheWorld.from_pretrained(name, **on_this_machine())
    found = {}
    if settings.show_future is not None:
        steps = model.config.num_world_steps if settings.num_world_steps is None else settings.num_world_steps
        frames = imagine(model, picture, steps).numpy()
        write_gif(frames, settings.show_future, model.config.frame_rate_hz, _FUTURE_SIDE_PX // frames.shape[1] or 1)
        found["future"] = str(settings.show_future)
    seen = model.generate(picture, settings.question, num_world_steps=settings.num_world_steps, **options)
    plain = TheWorld.from_pretrained(name, enable_world=False, **on_this_machine())
    guessed = plain.generate(picture, settings.question, **options)
    return {"question": settings.question, "without the world": guessed, "with the world": seen, **found}


def serve(settings: "ServeSettings") -> dict[str, Any]:
    """Serve a model over HTTP until SIGTERM or SIGINT; how much was answered."""
    from theworld.serving import require_extra

    require_extra()
    from theworld.serving import server

    return server.serve(settings, lambda address: print(f"serving {settings.model} at {address}", flush=True))


def compare(arguments: "CompareArguments") -> dict[str, Any]:
    """Print the tables of a comparison as Markdown.

    Returns:
        The same as values.
    """
    from theworld.evaluation import comparison, predictions, rules

    found = comparison.compare(
        {str(path): predictions.read_predictions(path) for path in arguments.files},
        baseline=None if arguments.baseline is None else str(arguments.baseline),
        group_by=arguments.group_by,
        cluster_by=arguments.cluster_by,
        scorer=rules.score,
    )
    print(comparison.to_markdown(found))
    return found.to_dict()


def score(settings: "Scoring") -> dict[str, Any]:
    """Print the tables of saved replies to a public benchmark, and return the same as values."""
    from theworld.report.scores import scored

    return _show(*scored(settings))


def plan(settings: "PlanSettings") -> dict[str, Any]:
    """Print the tables of a run's plan, and return the same as values."""
    from theworld.report.planned import planned

    return _show(*planned(settings))


def doctor(settings: "DoctorSettings") -> dict[str, Any]:
    """Print what was looked at before a run, a line each, and return the same.

    Raises:
        SystemExit: with code 1 if there is a fault, when all has been said.
    """
    from theworld.planning.doctor import examine

    findings = []
    for finding in examine(settings):
        print(f"{finding.state:<8} {finding.what}: {finding.found}", flush=True)
        findings.append(finding._asdict())
    found = {"num_faults": sum(one["state"] == "fault" for one in findings), "findings": findings}
    if found["num_faults"]:
        emit(found)
        raise SystemExit(FAULT)
    return found


def judge(settings: "SpatialRGPTJudging") -> dict[str, Any]:
    """Have saved replies judged by a language model, print the tables of its verdicts, and return their values."""
    from theworld.report.judged import judged

    return _show(*judged(settings))


def _show(tables: "list[Table]", found: dict[str, Any]) -> dict[str, Any]:
    from theworld.report.tables import to_markdown

    for table in tables:
        print(f"## {table.heading}\n\n{to_markdown(table)}\n")
        if table.note:
            print(f"{table.note}\n")
    return found


def foresight(arguments: "ForesightArguments") -> dict[str, Any]:
    """Draw a grid of scenes, or write the items that are shipped; where they were written."""
    if arguments.write_scenes is not None:
        from theworld.foresight.shipping import write_scenes

        return {"scenes": [str(path) for path in write_scenes(arguments.write_scenes)]}
    from theworld.foresight.preview import preview

    preview(arguments.preview, arguments.split, arguments.rows, arguments.image_size_px, arguments.task)
    return {"preview": str(arguments.preview)}


def verify_cache(arguments: "CacheArguments") -> dict[str, Any]:
    """Say what a feature store holds, and read all of it against its checksums.

    Raises:
        StoreDamagedError: names every damaged file, and the remedy.
    """
    from theworld.world.store import FeatureStore, stored_fingerprint

    store = FeatureStore(arguments.store, stored_fingerprint(arguments.store))
    found = store.verify()
    found.raise_if_damaged()
    print(f"{arguments.store}: {found.num_features:,} features, {found.num_bytes:,} bytes, all as they were written")
    return {
        "store": str(arguments.store),
        "fingerprint": store.fingerprint,
        "num_features": found.num_features,
        "num_bytes": found.num_bytes,
    }


def report(arguments: "ReportArguments") -> dict[str, Any]:
    """Write the report of a folder; where it was written."""
    from theworld.report.page import write_report

    return {"report": str(write_report(arguments.run, arguments.title))}


def slurm(settings: "SlurmSettings") -> dict[str, Any] | None:
    """Submit a training run to Slurm, or show the script that would be submitted."""
    from theworld.slurm import job_script, submit

    if not settings.dry_run:
        return submit(settings)
    print(job_script(settings), end="")


_OPTIONS = """\
options, anywhere on the line:
  -h, --help       show this, or the help of a verb
  -v, --verbose    say more; twice: everything
  --debug          show the traceback of an error (or set THEWORLD_DEBUG=1)
  --version        show the version"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Bad input (`ValueError`, `OSError`) ends with one message on standard error and exit code 2. Any other exception
    is a fault of this program, and passes with its traceback.

    Args:
        argv: arguments without the program's name; None: those of this process.

    Returns:
        The exit code: 0 done, 2 refused, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbosity = sum({"-v": 1, "--verbose": 1, "-vv": 2}.get(argument, 0) for argument in arguments)
    debug = "--debug" in arguments or os.environ.get("THEWORLD_DEBUG") == "1"
    arguments = [argument for argument in arguments if argument not in ("-v", "--verbose", "-vv", "--debug")]
    if not arguments:
        print(_overview(), file=sys.stderr)
        return REFUSED
    if arguments[0] in ("-h", "--help"):
        print(_overview())
        return OK
    if arguments[0] == "--version":
        print(f"theworld {theworld.__version__}")
        return OK
    verb, rest = _named_verb(arguments)
    if verb is None:
        return _refuse("theworld", _unknown_verb(arguments))
    name = verb.name
    _set_up_logging(verbosity)
    try:
        result = _run(verb, rest)
        if result is not None and os.environ.get("RANK", "0") == "0":  # several processes found it: one says so
            emit(result)
    except KeyboardInterrupt:
        print(f"theworld {name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError) as error:
        if debug:
            _show_traceback()
        return _refuse(f"theworld {name}", _sentence(error))
    return OK


def emit(result: dict[str, Any]) -> None:
    """Print what a verb found as one line of JSON: the last line of standard output, for programs to read."""
    import json

    print(json.dumps(result, allow_nan=False, default=str), flush=True)


def _run(verb: Verb, arguments: list[str]) -> dict[str, Any] | None:
    from theworld import settings

    cls = _named(verb.settings)
    if "-h" in arguments or "--help" in arguments:
        program = f"theworld {verb.name}" + (" [FILE]" if verb.reads_file else "")
        settings.show_help(cls, program, verb.summary, positional=not verb.reads_file)
        return None
    path = None
    if verb.reads_file and arguments and not arguments[0].startswith("-"):
        path = Path(arguments.pop(0))
    chosen = settings.load(cls, path, arguments, positional=not verb.reads_file)
    return _named(verb.target)(chosen)  # imported only now: bad settings are refused before anything heavy loads


def _named(address: str) -> Any:
    module, _, name = address.partition(":")
    return getattr(importlib.import_module(module), name)


def _overview() -> str:
    width = max((len(verb.name) for verb in VERBS), default=0)
    verbs = "\n".join(f"  {verb.name:<{width}}  {verb.summary}" for verb in VERBS)
    purpose = (theworld.__doc__ or "").strip()
    return f"usage: theworld VERB [ARGUMENT ...]\n\n{purpose}\n\nverbs:\n{verbs}\n\n{_OPTIONS}"


def _named_verb(arguments: Sequence[str]) -> tuple[Verb | None, list[str]]:
    """The verb that a line begins with, of two words or of one, and what follows it."""
    verbs = {verb.name: verb for verb in VERBS}
    for num_words in (2, 1):
        verb = verbs.get(" ".join(arguments[:num_words]))
        if verb is not None:
            return verb, list(arguments[num_words:])
    return None, list(arguments)


def _unknown_verb(arguments: Sequence[str]) -> str:
    import difflib

    given, names = arguments[0], [verb.name for verb in VERBS]
    beginning = [name for name in names if name.startswith(f"{given} ")]
    if beginning:  # the second word is at fault
        given, names = " ".join(arguments[:2]), beginning
    close = difflib.get_close_matches(given, names, n=1) if " " in given or not beginning else []
    remedy = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(names)}"
    return f"unknown verb {given!r}; {remedy}"


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError):  # libraries wrap theirs over several lines
        return " ".join(str(error).split())
    return str(error) or type(error).__name__


def _refuse(who: str, message: str) -> int:
    print(f"{who}: {message}", file=sys.stderr)
    return REFUSED


def _show_traceback() -> None:
    import traceback

    traceback.print_exc()


def _set_up_logging(verbosity: int) -> None:
    import logging

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    logging.getLogger("theworld").setLevel(levels[min(verbosity, 2)])
