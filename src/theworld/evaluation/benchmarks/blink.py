"""BLINK: option letters in the official extraction order, accuracy per task, macro and micro mean."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from theworld.config.evaluation import BlinkScoreSettings
from theworld.evaluation import scoring
from theworld.evaluation.benchmarks.saved_replies import (
    RATE_COLUMNS,
    RATE_NOTE,
    Rate,
    Record,
    own_row,
    prediction,
    rate,
    read_object,
    read_rows,
    require_distinct,
)
from theworld.evaluation.parsing.choices import chosen_letter
from theworld.evaluation.parsing.options import LETTERS, Options, options_in
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score
from theworld.evaluation.statistics import Interval, balanced_accuracy, bootstrap_balanced_accuracy
from theworld.tables import Table, percent, percent_range, table_of

_PICTURES = (("the first image",), ("the second image",), ("the third image",), ("the fourth image",))
_POINTS = (("Point A",), ("Point B",), ("Point C",), ("Point D",))

OPTIONS: dict[str, Options] = {
    "Art_Style": _PICTURES[1:3],
    "Counting": ((), (), (), ()),
    "Forensic_Detection": _PICTURES,
    "Functional_Correspondence": _POINTS,
    "IQ_Test": (("picture A",), ("picture B",), ("picture C",), ("picture D",)),
    "Jigsaw": _PICTURES[1:3],
    "Multi-view_Reasoning": (
        ("left", "leftward", "leftwards", "clockwise"),
        (
            "right",
            "rightward",
            "rightwards",
            "counter-clockwise",
            "counterclockwise",
            "counter clockwise",
            "anticlockwise",
            "anti-clockwise",
        ),
    ),
    "Object_Localization": (("Box A",), ("Box B",)),
    "Relative_Depth": (("A is closer",), ("B is closer",)),
    "Relative_Reflectance": (("A is darker",), ("B is darker",), ("About the same",)),
    "Semantic_Correspondence": _POINTS,
    "Spatial_Relation": (("yes",), ("no",)),
    "Visual_Correspondence": _POINTS,
    "Visual_Similarity": _PICTURES[1:3],
}
"""The 14 tasks (arXiv 2404.12390) and the texts of their options; those of Counting differ from item to item."""

_STORED = re.compile(r"\s*\(?([A-E])(?:\)|\W|\Z)")
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
    read: Literal["replies", "stored"]
    """Origin of the letters that are scored: the replies, or the files."""
    num_stored: int
    """Items with a stored letter, which was read when the reply was saved."""
    num_stored_same: int
    """Of these, items with the same letter as read from the reply; (Z), no letter, equals unparsed."""

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
            note += f" Not the whole benchmark: {len(self.tasks)} of {len(OPTIONS)} tasks."
        if self.num_stored:
            same = percent(self.num_stored_same / self.num_stored)
            note += (
                f" The letters in the files are those read from the replies in {same} % of {self.num_stored:,} items."
            )
        if self.read == "stored":
            note += " Scored by the letters in the files."
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
    letter = chosen_letter(row.prediction, options_of(row))
    state = "unparsed" if letter is None else "right" if letter == row.answer else "wrong"
    return Score(row.sample_id, state, letter, row.answer)


def options_of(row: Prediction) -> Options:
    """Return the texts of a row's options: those in its question, with the words of its task; `()` if unknown.

    Raises:
        ValueError: for a row without choices.
    """
    if row.choices is None:
        raise ValueError(f"sample {row.sample_id!r}: expected the choices (A), (B), ...")
    count = len(row.choices)
    of_task = OPTIONS.get(str(row.fields.get("task")), ())
    listed = options_in(row.question)
    if len(of_task) != count:
        of_task = ((),) * count
    if len(listed) != count:
        return of_task
    # "clockwise" is another word for "left" only where the option is "left"
    return tuple(
        tuple(dict.fromkeys(names + (words if words and words[0] == names[0].casefold() else ())))
        for names, words in zip(listed, of_task, strict=True)
    )


def submission(rows: Sequence[Prediction]) -> dict[str, str]:
    """Return letters by id in EvalAI's format for the test split; `(Z)`, as in the official script, if none was read.

    Raises:
        ValueError: for a row without choices.
    """
    letters = {}
    for row in rows:
        options = options_of(row)
        if row.log_likelihoods is not None:
            letter = scoring.likeliest_choice(row)
        else:
            letter = None if row.prediction is None else chosen_letter(row.prediction, options)
        letters[row.sample_id] = letter or "(Z)"
    return letters


def evaluate(
    rows: Sequence[Prediction],
    stored: Mapping[str, str | None] | None = None,
    read: Literal["replies", "stored"] = "replies",
) -> BlinkScores:
    """Score rows, which have the field `task`.

    Args:
        rows: one per item.
        stored: by sample id, letters that were read when the replies were saved.
        read: score the letters of the replies, or the stored ones, which must equal the answer to the character.

    Raises:
        ValueError: without rows; for an item without a stored letter if they are scored; or as `score`.
    """
    from_replies = [score(row) for row in rows]
    stored = stored or {}
    scores = from_replies if read == "replies" else [_score_stored(row, stored) for row in rows]
    labels = [str(row.fields["task"]) for row in rows]
    values = [int(item.state == "right") for item in scores]
    by_task: dict[str, list[Score]] = {}
    for label, item in zip(labels, scores, strict=True):
        by_task.setdefault(label, []).append(item)
    known = [(item.reading, stored[item.sample_id]) for item in from_replies if item.sample_id in stored]
    return BlinkScores(
        # the mean accuracy over tasks is balanced accuracy with the task in place of the answer
        macro=balanced_accuracy(labels, values),
        macro_bootstrap=bootstrap_balanced_accuracy(labels, values),
        micro=rate(scores),
        tasks={task: rate(by_task[task]) for task in sorted(by_task)},
        is_whole=set(by_task) == set(OPTIONS),
        read=read,
        num_stored=len(known),
        num_stored_same=sum(ours == _letter(theirs) for ours, theirs in known),
    )


def _score_stored(row: Prediction, stored: Mapping[str, str | None]) -> Score:
    """Score a stored letter as the benchmark's script does: it is right if it equals the answer."""
    if row.sample_id not in stored:
        raise ValueError(
            f"{row.sample_id!r}: no letter is stored under 'prediction' beside its 'full_prediction'; leave out --read"
            " stored to read the reply"
        )
    letter, answer = stored[row.sample_id], row.answer or ""
    if letter == answer:
        return Score(row.sample_id, "right", letter, answer)
    return Score(row.sample_id, "unparsed" if _letter(letter) is None else "wrong", _letter(letter), answer)


def _letter(stored: str | None) -> str | None:
    """Return the letter of a stored text, "(B)" of "(B) Point B"; None for "(Z)"."""
    match = _STORED.match(stored or "")
    return None if match is None else f"({match[1]})"


def evaluate_files(settings: BlinkScoreSettings) -> BlinkScores:
    """Score saved replies.

    Raises:
        OSError: if a file cannot be read.
        ValueError: as `read` and `evaluate`.
    """
    rows, stored = read(settings.answers, settings.predictions)
    if settings.questions is not None:
        rows = _with_questions(rows, settings.questions)
    return evaluate(rows, stored, settings.read)


def read(answers: Path | None, predictions: Path) -> tuple[list[Prediction], dict[str, str | None]]:
    """Read saved replies as rows with the benchmark's answers, and the stored letters by sample id.

    Args:
        answers: `eval/val_answers.json` of the benchmark's repository: `{"val_Counting_1": "(D)"}`; None: the rows hold
            their answers.
        predictions: a folder as its `eval/saved_outputs/MODEL`, one file per task, spaces or underscores in its name,
            each `{"val": [{"idx", "full_prediction", "prediction"}]}`; a file `{"val_Counting_1": reply}`; or rows
            (`.jsonl`) of `theworld evaluate` or of lmms-eval's log.

    Raises:
        OSError: if a file cannot be read.
        ValueError: names the file: no JSON, keys that are missing, an unknown id, ids of a task that are not there,
            a repeated id, a folder without the files of a task.
    """
    true = None if answers is None else _answers(answers)
    rows: dict[str, Prediction] = {}
    stored: dict[str, str | None] = {}
    for row, record in _logged_rows(predictions) if predictions.suffix == ".jsonl" else _saved_rows(predictions, true):
        sample_id = row.sample_id
        if true is not None and sample_id not in true:
            raise record.error(f"{sample_id!r} is no item of {answers}")
        if true is not None and row.answer != true[sample_id]:
            raise record.error(f"{sample_id!r}: answer {row.answer!r}; {answers} has {true[sample_id]!r}")
        require_distinct(rows, sample_id, record)
        rows[sample_id] = row
        if "full_prediction" in record.content and "prediction" in record.content:
            stored[sample_id] = record.reply("prediction")
    if not rows:
        raise ValueError(f"{predictions}: no replies in it")
    tasks = {_task(sample_id) for sample_id in rows}
    absent = [sample_id for sample_id in true or () if _task(sample_id) in tasks and sample_id not in rows]
    if absent:
        shown = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        raise ValueError(f"{predictions}: no reply to {len(absent)} items of its tasks: {shown}")
    return list(rows.values()), stored


def _saved_rows(path: Path, true: Mapping[str, str] | None) -> Iterator[tuple[Prediction, Record]]:
    """Yield rows of the benchmark's own files, with their records."""
    if true is None:
        raise ValueError(f"answers: missing; give --answers val_answers.json, since {path} does not hold the answers")
    for sample_id, record, key in _records(path):
        task = _task(sample_id)
        choices = _choices(len(OPTIONS.get(task, ((),) * 5)))
        answer = true.get(sample_id, choices[0])  # `read` refuses an unknown id
        yield prediction(sample_id, record.reply(key), answer, choices=choices, fields={"task": task}), record


def _logged_rows(path: Path) -> Iterator[tuple[Prediction, Record]]:
    """Yield rows of `theworld evaluate`, or of lmms-eval's log, with their records."""
    for record in read_rows(path):
        row = own_row(record, "blink", "task")
        yield (_of_harness(record) if row is None else row), record


def _of_harness(record: Record) -> Prediction:
    """Make a row from a line of lmms-eval's `--log_samples`: `doc` with the item, `resps` with the reply."""
    doc, replies = record.content.get("doc"), record.content.get("resps", record.content.get("filtered_resps"))
    while isinstance(replies, list) and len(replies) == 1:
        replies = replies[0]
    if not isinstance(doc, dict) or not isinstance(replies, str):
        raise record.error(
            f"the row has {', '.join(map(repr, record.content)) or 'no keys'}; expected a row of theworld evaluate"
            " --data.dataset blink, or a line of lmms-eval's log with 'doc' and one text in 'resps'"
        )
    item = Record(doc, f"{record.place}, doc")
    sample_id, answer, options = item.text("idx"), item.text("answer"), doc.get("choices")
    if not isinstance(options, list) or not all(isinstance(text, str) for text in options):
        raise item.error("choices: expected a list of texts")
    choices = _choices(len(options))
    if answer not in choices:
        raise item.error(f"answer: {answer!r}; expected one of {', '.join(choices)}")
    lines = "\n".join(f"{choice} {text}" for choice, text in zip(choices, options, strict=True))
    return prediction(sample_id, replies, answer, question=lines, choices=choices, fields={"task": _task(sample_id)})


def _with_questions(rows: Sequence[Prediction], folder: Path) -> list[Prediction]:
    """Give rows the options of the data set in a folder as their questions."""
    from theworld.datasets.public import parquet_json  # imports pyarrow

    options: dict[str, str] = {}
    for task in sorted({str(row.fields["task"]) for row in rows}):
        table = parquet_json.read_rows(str(folder), (f"{task}/val-*.parquet", f"{task}/val.jsonl"))
        texts = parquet_json.column(table, "choices")
        for sample_id, names in zip(parquet_json.column(table, "idx"), texts, strict=True):
            options[sample_id] = "\n".join(
                f"({letter}) {name}" for letter, name in zip(LETTERS, names or (), strict=False)
            )
    return [replace(row, question=options.get(row.sample_id, row.question)) for row in rows]


def _choices(count: int) -> tuple[str, ...]:
    return tuple(f"({letter})" for letter in LETTERS[:count])


def _answers(path: Path) -> dict[str, str]:
    content = read_object(path)
    for sample_id, answer in content.items():
        task = _task(sample_id)
        if task not in OPTIONS:
            raise ValueError(f"{path}: {sample_id!r}: expected ids such as 'val_Relative_Depth_1'")
        letters = _choices(len(OPTIONS[task]))
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
    files = {file: task for file, task in names.items() if task in OPTIONS}
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
