"""A small run folder with literal numbers, and a reader of the page that it becomes."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from theworld.datasets.animation import write_gif
from theworld.evaluation.audit import audit_verdict
from theworld.evaluation.comparison import compare
from theworld.evaluation.predictions import Prediction, PredictionWriter, RunIdentity
from theworld.evaluation.scoring import score
from theworld.evaluation.summary import summarise

CHOICES = ("left", "middle", "right")
ANSWERS = ("left", "left", "left", "left", "middle", "middle", "middle", "right", "right", "right")
REPLIES: dict[str, tuple[str | None, ...]] = {
    "gemma": ("left", "left", "left", "left", "left", "left", "left", "right", "left", "left"),
    "zero": ("left", "right", "left", "left", "middle", "left", "right", "right", "left", "middle"),
    "vae": ("left", "left", "left", "right", "middle", "middle", "no idea", "right", "right", None),
}
TASKS = ("drop", "static")
NOTES = ["Nothing here was trained.", "Arm `gemma` is plain."]
LOSSES = {"zero": (2.5, 1.75, 1.5), "vae": (2.25, 1.25, 0.875)}
SECONDS = {"train": 30.0, "evaluate": 10.0}


def predictions(arm: str, replies: tuple[str | None, ...], world_read: int) -> list[Prediction]:
    return [
        Prediction(
            sample_id=str(index),
            question="Where does it land?",
            answer=answer,
            prediction=text,
            error="OSError: cut off" if text is None else None,
            choices=CHOICES,
            fields={"task": TASKS[index % 2]},
            prompt_hash="0",
            world_read=0 if text is None else world_read,
        )
        for index, (answer, text) in enumerate(zip(ANSWERS, replies, strict=True))
    ]


def write_run(
    run: Path, replies: dict[str, tuple[str | None, ...]], *, world_read: int = 1, baseline: str | None = "zero"
) -> None:
    """Predictions and results of arms; every arm but `gemma` has a world."""
    rows = {arm: predictions(arm, said, 0 if arm == "gemma" else world_read) for arm, said in replies.items()}
    (run / "predictions").mkdir(parents=True)
    for arm, some in rows.items():
        tap = None if arm == "gemma" else "tap"
        identity = RunIdentity(settings_hash="0", checkpoint="tiny", tap_fingerprint=tap)
        with PredictionWriter(run / "predictions" / f"{arm}.jsonl", identity) as writer:
            writer.append(some)
    results = {
        "arms": {arm: summarise(some, group_by=("task",)).to_dict() for arm, some in rows.items()},
        "comparison": compare(rows, baseline=baseline).to_dict(),
        "seconds": SECONDS,
        "notes": NOTES,
    }
    (run / "results.json").write_text(json.dumps(results))


def write_audit(folder: Path) -> None:
    """An audit under whose every condition 200 items got the same replies, half of them right."""
    rows = [
        Prediction(
            sample_id=str(index),
            question="Where does it land?",
            answer=("left", "right")[index % 2],
            prediction="left",
            choices=CHOICES,
            prompt_hash="0",
            world_read=1,
        )
        for index in range(200)
    ]
    conditions = ("real", "shuffle", "mean", "zero", "noise")
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    for condition in conditions:
        identity = RunIdentity(settings_hash="0", checkpoint="tiny", tap_fingerprint="tap")
        with PredictionWriter(folder / "predictions" / f"{condition}.jsonl", identity) as writer:
            writer.append(rows)
    scores = [score(row) for row in rows]
    result = audit_verdict(**dict.fromkeys(conditions, scores))
    (folder / "audit.json").write_text(json.dumps(result.to_dict()))


def write_metrics(path: Path, losses: tuple[float, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "step": 10 * (index + 1),
            "loss": loss,
            "learning_rate": 0.01,
            "grad_norm": 1.0,
            "tokens_per_second": 1000.0 + index,
            "samples_per_second": 20.5 + index,
            "peak_memory_gb": 1.25,
        }
        for index, loss in enumerate(losses)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_item(folder: Path, sample_id: str) -> None:
    """An item to show, with its pictures; the replies are in the predictions."""
    folder.mkdir(parents=True)
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    for index in range(3):
        frames[index, index : index + 2] = (200, 30, 50)
    Image.fromarray(frames[0]).save(folder / "picture.png")
    write_gif(frames, folder / "true.gif", 6.0, 2)
    write_gif(frames[::-1].copy(), folder / "imagined.gif", 6.0, 2)
    (folder / "item.json").write_text(json.dumps({"id": sample_id}))


def write_settings(run: Path) -> None:
    environment = {
        "theworld": "0.1.0",
        "commit": None,
        "date": "2026-11-30",
        "python": "3.11.2",
        "libraries": {"torch": "2.14.1", "numpy": "2.3.4"},
    }
    (run / "environment.json").write_text(json.dumps(environment))
    (run / "config.json").write_text(json.dumps({"output_dir": "runs/<b>", "optim": {"learning_rate": 0.01}}))


def write_whole_run(run: Path) -> None:
    """All that a run can hold."""
    write_run(run, REPLIES)
    for arm, losses in LOSSES.items():
        write_metrics(run / "arms" / arm / "metrics.jsonl", losses)
    write_item(run / "items" / "00", "6")
    write_item(run / "items" / "01", "9")
    write_settings(run)


VOID = {"meta", "img", "source", "br", "hr", "link", "input"}


@dataclass
class Page(HTMLParser):
    """What a page holds; complains about tags that are not closed in order."""

    text: str
    headings: list[str] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    """Rows of cells."""
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    words: str = ""
    """All text, white space as in the file."""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self.feed(self.text)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        elif tag in ("h1", "h2"):
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.words += data
        if {"th", "td"} & set(self._open):
            self.tables[-1][-1][-1] += data
        if self._open and self._open[-1] in ("h1", "h2"):
            self.headings[-1] += data

    def table(self, *columns: str) -> dict[str, dict[str, str]]:
        """The one table whose first columns are called so: row header, column, cell."""
        (found,) = [grid for grid in self.tables if tuple(grid[0][: len(columns)]) == columns]
        return {row[0]: dict(zip(found[0][1:], row[1:], strict=True)) for row in found[1:]}


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Rows of cells of each table, the rule below the header left out."""
    found: list[list[list[str]]] = []
    before = ""
    for line in text.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            cells = line.strip("|").replace("\\|", "\0").split("|")
            found[-1].append([cell.strip().replace("\0", "|").replace("&lt;", "<") for cell in cells])
        before = line
    return [[row for row in grid if not set("".join(row)) <= set("-:")] for grid in found]
