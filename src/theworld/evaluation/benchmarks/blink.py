"""BLINK: option letters in the official extraction order, accuracy per task, macro and micro mean."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from theworld.config.evaluation import BlinkScoreSettings
from theworld.evaluation import scoring
from theworld.evaluation.benchmarks.saved_replies import (
    RATE_COLUMNS,
    RATE_NOTE,
    Rate,
    Record,
    prediction,
    rate,
    read_object,
)
from theworld.evaluation.parsing.choices import chosen_letter
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score
from theworld.evaluation.statistics import Interval, balanced_accuracy, bootstrap_balanced_accuracy
from theworld.tables import Table, percent, percent_range, table_of

NUM_CHOICES = {
    "Art_Style": 2,
    "Counting": 4,
    "Forensic_Detection": 4,
    "Functional_Correspondence": 4,
    "IQ_Test": 4,
    "Jigsaw": 2,
    "Multi-view_Reasoning": 2,
    "Object_Localization": 2,
    "Relative_Depth": 2,
    "Relative_Reflectance": 3,
    "Semantic_Correspondence": 4,
    "Spatial_Relation": 2,
    "Visual_Correspondence": 4,
    "Visual_Similarity": 2,
}
"""The 14 tasks (arXiv 2404.12390) and the number of options of their questions."""

_ID = re.compile(r"(val|test)_(.+)_(\d+)")


@dataclass(frozen=True)
class BlinkScores:
    """Scores of BLINK."""

    macro: float
    """Mean of the tasks' accuracies, which the benchmark calls Total. Missing replies count as wrong."""
    macro_bootstrap: Interval
    micro: Rate
    tasks: dict[str, Rate]
    is_whole: bool
    """True if all 14 tasks are present."""
    num_stored: int
    """Items with a stored letter, which was read when the reply was saved."""
    num_stored_same: int
    """Of these, items with the same letter as read here; (Z), no letter, equals unparsed."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def tables(self) -> list[Table]:
        """Show each task, then the mean over tasks and over items."""
        macro = {
            "task": "macro mean",
            "n": f"{self.micro.num_items:,}",
            "right, %": percent(self.macro),
            "95 % bootstrap": percent_range(self.macro_bootstrap),
        }
        records = [
            *({"task": task, **rate.cells()} for task, rate in self.tasks.items()),
            macro,
            {"task": "micro mean", **self.micro.cells()},
        ]
        note = f"{RATE_NOTE} The macro mean is the benchmark's Total; there a missing reply counts as wrong."
        if not self.is_whole:
            note += f" Not the whole benchmark: {len(self.tasks)} of {len(NUM_CHOICES)} tasks."
        if self.num_stored:
            same = percent(self.num_stored_same / self.num_stored)
            note += f" The letters in the files are the same in {same} % of {self.num_stored:,} items."
        return [table_of("BLINK", ("task", *RATE_COLUMNS), records, note)]


def score(row: Prediction) -> Score:
    """Score a row whose choices are `(A)`, `(B)`, ...

    Raises:
        ValueError: for a row without choices or without an answer.
    """
    if row.choices is None or row.answer is None:
        raise ValueError(f"sample {row.sample_id!r}: expected choices and an answer")
    if row.log_likelihoods is not None:
        return scoring.score(row)
    if row.prediction is None:
        return Score(row.sample_id, "missing", None, row.answer)
    letter = chosen_letter(row.prediction, len(row.choices))
    state = "unparsed" if letter is None else "right" if letter == row.answer else "wrong"
    return Score(row.sample_id, state, letter, row.answer)


def submission(rows: Sequence[Prediction]) -> dict[str, str]:
    """Return letters by id in EvalAI's format for the test split; `(Z)`, as in the official script, if none was read.

    Raises:
        ValueError: for a row without choices.
    """
    letters = {}
    for row in rows:
        if row.choices is None:
            raise ValueError(f"sample {row.sample_id!r}: expected the choices (A), (B), ...")
        if row.log_likelihoods is not None:
            letter = scoring.likeliest_choice(row)
        else:
            letter = None if row.prediction is None else chosen_letter(row.prediction, len(row.choices))
        letters[row.sample_id] = letter or "(Z)"
    return letters


def evaluate(rows: Sequence[Prediction], stored: Mapping[str, str | None] | None = None) -> BlinkScores:
    """Score rows, which have the field `task`.

    Args:
        rows: one per item.
        stored: by sample id, letters that were read when the replies were saved.

    Raises:
        ValueError: without rows, or as `score`.
    """
    scores = [score(row) for row in rows]
    labels = [str(row.fields["task"]) for row in rows]
    values = [int(item.state == "right") for item in scores]
    by_task: dict[str, list[Score]] = {}
    for label, item in zip(labels, scores, strict=True):
        by_task.setdefault(label, []).append(item)
    known = [(item.reading, stored[item.sample_id]) for item in scores if stored and item.sample_id in stored]
    return BlinkScores(
        # the mean accuracy over tasks is balanced accuracy with the task in place of the answer
        macro=balanced_accuracy(labels, values),
        macro_bootstrap=bootstrap_balanced_accuracy(labels, values),
        micro=rate(scores),
        tasks={task: rate(by_task[task]) for task in sorted(by_task)},
        is_whole=set(by_task) == set(NUM_CHOICES),
        num_stored=len(known),
        num_stored_same=sum(ours == (None if theirs in (None, "(Z)") else theirs) for ours, theirs in known),
    )


def evaluate_files(settings: BlinkScoreSettings) -> BlinkScores:
    """Score saved replies.

    Raises:
        OSError: if a file cannot be read.
        ValueError: as `read`.
    """
    return evaluate(*read(settings.answers, settings.predictions))


def read(answers: Path, predictions: Path) -> tuple[list[Prediction], dict[str, str | None]]:
    """Read saved replies as rows with the benchmark's answers, and the stored letters by sample id.

    Args:
        answers: `eval/val_answers.json` of the benchmark's repository: `{"val_Counting_1": "(D)"}`.
        predictions: a folder as its `eval/saved_outputs/MODEL`, one file per task, spaces or underscores in its name,
            each `{"val": [{"idx", "full_prediction", "prediction"}]}`; or a file `{"val_Counting_1": reply}`.

    Raises:
        OSError: if a file cannot be read.
        ValueError: names the file: no JSON, keys that are missing, an unknown id, ids of a task that are not there,
            a repeated id, a folder without the files of a task.
    """
    true = _answers(answers)
    replies: dict[str, str | None] = {}
    stored: dict[str, str | None] = {}
    for sample_id, record, key in _records(predictions):
        if sample_id not in true:
            raise record.error(f"{sample_id!r} is no item of {answers}")
        if sample_id in replies:
            raise record.error(f"{sample_id!r} comes twice")
        replies[sample_id] = record.reply(key)
        if "prediction" in record.content and key != "prediction":
            stored[sample_id] = record.reply("prediction")
    if not replies:
        raise ValueError(f"{predictions}: no replies in it")
    tasks = {_task(sample_id) for sample_id in replies}
    absent = [sample_id for sample_id in true if _task(sample_id) in tasks and sample_id not in replies]
    if absent:
        shown = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        raise ValueError(f"{predictions}: no reply to {len(absent)} items of its tasks: {shown}")
    return [_row(sample_id, true[sample_id], reply) for sample_id, reply in replies.items()], stored


def _row(sample_id: str, answer: str, reply: str | None) -> Prediction:
    task = _task(sample_id)
    choices = tuple(f"({letter})" for letter in "ABCDE"[: NUM_CHOICES[task]])
    return prediction(sample_id, reply, answer, choices=choices, fields={"task": task})


def _answers(path: Path) -> dict[str, str]:
    content = read_object(path)
    for sample_id, answer in content.items():
        task = _task(sample_id)
        if task not in NUM_CHOICES:
            raise ValueError(f"{path}: {sample_id!r}: expected ids such as 'val_Relative_Depth_1'")
        letters = [f"({letter})" for letter in "ABCDE"[: NUM_CHOICES[task]]]
        if answer not in letters:
            raise ValueError(f"{path}: {sample_id!r}: {answer!r}; expected one of {', '.join(letters)}")
    if not content:
        raise ValueError(f"{path}: no answers in it")
    return content


def _task(sample_id: str) -> str:
    match = _ID.fullmatch(sample_id)
    return match[2] if match else ""


def _records(path: Path) -> Iterator[tuple[str, Record, str]]:
    """Yield the id of each item, the record with its reply, and the key of the reply."""
    if not path.is_dir():
        for sample_id, reply in read_object(path).items():
            yield sample_id, Record({sample_id: reply}, str(path)), sample_id
        return
    names = {file: file.stem.replace(" ", "_") for file in sorted(path.glob("*.json"))}
    files = {file: task for file, task in names.items() if task in NUM_CHOICES}
    if not files:
        raise ValueError(f"{path}: no file of a task, such as Relative_Depth.json")
    for file, task in files.items():
        content = read_object(file)
        items = content.get("val")
        if not isinstance(items, list):
            raise ValueError(f"{file}: no list under 'val'; expected {{'val': [{{'idx', 'full_prediction'}}, ...]}}")
        for number, item in enumerate(items):
            record = Record(item, f"{file}, val[{number}]")
            sample_id = record.text("idx")
            if _task(sample_id) != task:
                raise record.error(f"idx: {sample_id!r}; expected an item of {task}")
            yield sample_id, record, "full_prediction"
