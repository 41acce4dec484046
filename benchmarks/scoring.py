"""Time to score saved replies, and to compare files of predictions."""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from benchmarks.figures import Figure
from theworld.config.evaluation import SpatialRGPTScoreSettings
from theworld.evaluation.benchmarks.dispatch import evaluate_files
from theworld.evaluation.comparison import compare, to_markdown
from theworld.evaluation.predictions import Prediction, PredictionWriter, RunIdentity, read_predictions

NUM_REPLIES, NUM_FILES, NUM_ROWS = 100_000, 10, 10_000

_QUESTIONS = (
    (
        "above_predicate",
        "qualitative",
        "Yes, Region [0] is above Region [1].",
        "Actually, Region [0] is below Region [1].",
    ),
    ("tall_choice", "qualitative", "Region [1] is taller.", "Between the two, **Region [1]** has more height."),
    (
        "width_data",
        "quantitative",
        "Region [0] is 30.05 inches wide.",
        "It is about 1.5 to 2 feet wide, {} cm at most.",
    ),
    ("direction", "quantitative", "Region [1] is at 2 o'clock.", "I would say at {} o'clock."),
)


def figures() -> Iterator[Figure]:
    """Time a rescoring (read, score, intervals, tables), and a comparison of every pair of files."""
    with tempfile.TemporaryDirectory() as folder:
        replies = Path(folder) / "replies.jsonl"
        _write_replies(replies)
        start = time.perf_counter()
        _, scores = evaluate_files(SpatialRGPTScoreSettings(file=replies))
        scores.tables()
        yield Figure("rescoring_100000_replies", time.perf_counter() - start, 10.0, unit="s")
        files = {
            f"run-{number}": _write_rows(Path(folder) / f"run-{number}.jsonl", number) for number in range(NUM_FILES)
        }
        start = time.perf_counter()
        to_markdown(compare({name: read_predictions(path) for name, path in files.items()}))
        yield Figure("comparison_of_10_files_of_10000_rows", time.perf_counter() - start, 5.0, unit="s")


def _write_replies(path: Path) -> None:
    rng = Random(0)
    with path.open("w") as file:
        for number in range(NUM_REPLIES):
            category, kind, answer, reply = _QUESTIONS[number % len(_QUESTIONS)]
            row = {
                "id": f"{kind}_{number}",
                "question": "Is Region [0] above Region [1]?",
                "ground_truth": answer,
                "prediction": reply.format(rng.randint(1, 12)),
                "qa_type": kind,
                "qa_category": category,
            }
            file.write(json.dumps(row) + "\n")


def _write_rows(path: Path, seed: int) -> Path:
    rng = Random(seed)
    with PredictionWriter(path, RunIdentity(settings_hash=str(seed), checkpoint="none")) as writer:
        writer.append(
            Prediction(
                sample_id=f"item-{number}",
                question="Which?",
                answer=("left", "right", "none")[number % 3],
                prediction=rng.choice(("left", "right", "none", "hard to say")),
                choices=("left", "right", "none"),
                fields={"task": "topple"},
                prompt_hash="",
            )
            for number in range(NUM_ROWS)
        )
    return path
