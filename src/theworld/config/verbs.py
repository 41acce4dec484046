"""Settings of the small verbs: compare, foresight, cache, report, completion."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class CompareArguments:
    """Which files of predictions are held against each other, and by what."""

    files: tuple[Path, ...]
    """Files of predictions (JSONL) on the same samples."""

    baseline: Path | None = None
    """The file that all others are held against; None: every pair is tested."""

    group_by: tuple[str, ...] = ()
    """Fields of the samples to make tables by, such as task."""

    cluster_by: str | None = None
    """Field of samples that stand or fall together, such as scene: intervals are drawn over its values."""


@dataclass(frozen=True, kw_only=True)
class ForesightArguments:
    """What is shown of Foresight, the simulated physical world."""

    preview: Path = Path("foresight.png")
    """Where a picture of scenes, questions and answers is written (PNG)."""

    split: Literal["train", "validation", "test"] = "validation"
    """Which scenes."""

    task: Literal["drop", "topple", "roll", "collide", "hide"] | None = None
    """Which kind of scene; None: all in turn."""

    rows: int = 5
    """Number of scenes."""

    image_size_px: int = 128
    """Side of each frame, pixels."""

    write_scenes: Path | None = None
    """Folder that the shipped validation and test items are written to, simulated anew; nothing is drawn then."""


@dataclass(frozen=True, kw_only=True)
class CacheArguments:
    """Which feature store is looked at."""

    store: Path
    """Folder of the store."""


@dataclass(frozen=True, kw_only=True)
class ReportArguments:
    """Which folder is reported on."""

    run: Path
    """Folder of a run, an evaluation or an audit; report.html and report.md are written into it."""

    title: str = "TheWorld: report"
    """Heading of the page."""


@dataclass(frozen=True, kw_only=True)
class CompletionArguments:
    """Which shell completes."""

    shell: Literal["bash", "zsh"]
    """The shell; the script goes where it looks for such scripts."""
