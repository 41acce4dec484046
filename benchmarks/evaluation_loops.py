"""The loop of `theworld evaluate` over that of lmms-eval: processor time for the same answers of the same model.

Run it in the environment of `make lmms-eval-test`: `.venv-lmms-eval/bin/python -m benchmarks evaluation_loops`.
Both loops begin with a loaded model and an opened task, and end with scores.
"""

import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import torch

from benchmarks.evaluation import QUESTIONS, asked_again
from benchmarks.figures import Figure, paired_ratio
from theworld.datasets.foresight import ForesightDataset
from theworld.datasets.images import to_image
from theworld.datasets.sample import Sample
from theworld.evaluation.predictions import RunIdentity, read_predictions
from theworld.evaluation.results_file import report
from theworld.evaluation.run import predict
from theworld.modeling import TheWorld
from theworld.tiny import stack

ITEMS, BATCH, MAX_NEW_TOKENS, PAIRS = 60, 12, 8, 5


@cache
def samples(asked: str) -> list[Sample]:
    """Return six questions about each of ten scenes: one about the future again and again, or those of the present."""
    num_scenes = ITEMS // QUESTIONS
    dataset = ForesightDataset("validation", num_scenes, questions=asked, tasks=("drop",))
    if asked == "future":
        return [asked_again(dataset[number // QUESTIONS], number) for number in range(ITEMS)]
    of_scenes: list[list[Sample]] = [[] for _ in range(num_scenes)]
    for index in range(len(dataset)):
        of_scenes[index * num_scenes // len(dataset)].append(dataset[index])
    return [sample for scene in of_scenes for sample in scene[:QUESTIONS]]


def _sample(doc: Mapping[str, Any]) -> Sample:
    return samples(doc["asked"])[doc["place"]]


def pictures(doc: Mapping[str, Any]) -> list[Any]:
    """Return the picture of a document, as lmms-eval's task asks for it."""
    return [to_image(_sample(doc).images[0])]


def text(doc: Mapping[str, Any]) -> str:
    """Return the question of a document."""
    return _sample(doc).prompt[-1].text


def messages(doc: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the chat of a document."""
    content = [{"type": "image", "url": pictures(doc)[0]}, {"type": "text", "text": text(doc)}]
    return [{"role": "user", "content": content, "num_world_steps": _sample(doc).num_world_steps}]


def scores(doc: Mapping[str, Any], replies: Sequence[str]) -> dict[str, float]:
    """Score the reply to a document."""
    return {"right": float(replies[0] == _sample(doc).answer)}


def mean(values: Sequence[float]) -> float:
    """Compute the share of right replies."""
    return sum(values) / len(values)


def write_task(folder: Path, asked: str) -> None:
    """Write the file of a task of lmms-eval, and its documents."""
    rows = folder / f"{asked}.jsonl"
    rows.write_text("".join(f"{json.dumps({'asked': asked, 'place': place})}\n" for place in range(ITEMS)))
    lines = [
        f"task: {asked}",
        "dataset_path: json",
        f"dataset_kwargs: {{data_files: {{test: {rows}}}, cache_dir: {folder / 'cache'}}}",
        "test_split: test",
        "output_type: generate_until",
        *(
            f"{name}: !function benchmarks.evaluation_loops.{function}"
            for name, function in (
                ("doc_to_messages", "messages"),
                ("doc_to_visual", "pictures"),
                ("doc_to_text", "text"),
                ("process_results", "scores"),
            )
        ),
        "doc_to_target: place",
        f"generation_kwargs: {{max_new_tokens: {MAX_NEW_TOKENS}, until: []}}",
        "metric_list:",
        "  - metric: right",
        "    higher_is_better: true",
        "    aggregation: !function benchmarks.evaluation_loops.mean",
    ]
    (folder / f"{asked}.yaml").write_text("\n".join(lines))


def harness_loop(lm: Any, folder: Path, asked: str) -> Callable[[], list[str]]:
    """Return lmms-eval's loop for one of its models; it returns the replies."""
    from lmms_eval.evaluator import evaluate  # pyright: ignore[reportMissingImports]
    from lmms_eval.tasks import TaskManager, get_task_dict  # pyright: ignore[reportMissingImports]

    manager = TaskManager("ERROR", include_path=str(folder), include_defaults=False)
    tasks = get_task_dict([asked], manager, "simple" if lm.is_simple else "chat")
    tasks[asked].set_config(key="num_fewshot", value=0)
    lm.task_dict[asked] = tasks[asked].dataset
    lm.clean = lambda: None  # the harness drops the weights after its first evaluation

    def loop() -> list[str]:
        answered = evaluate(lm, tasks, verbosity="ERROR", process_docs_parallel=1)["samples"][asked]
        return [row["filtered_resps"][0] for row in sorted(answered, key=lambda row: row["doc_id"])]

    return loop


def own_loop(model: TheWorld, folder: Path, asked: str) -> Callable[[], list[str]]:
    """Return the loop of `theworld evaluate` for a loaded model; it returns the replies."""
    numbers = count()

    def loop() -> list[str]:
        here = folder / f"run-{next(numbers)}"
        path = here / "predictions" / "world.jsonl"
        identity = RunIdentity(settings_hash="", checkpoint="tiny-foresight")
        predict(model, samples(asked), path, identity, title="", batch_size=BATCH, max_new_tokens=MAX_NEW_TOKENS)
        report({"world": path}, here / "results.json")
        return [row.prediction or "" for row in read_predictions(path)]

    return loop


def plain_gemma(folder: Path) -> Any:
    """Return lmms-eval's own model for a Gemma 3, in float32, with neither its system prompt nor its JPEG copies.

    Answers would differ with those: TheWorld shows Gemma the picture itself and the question alone.
    """
    from lmms_eval.models.simple.gemma3 import Gemma3  # pyright: ignore[reportMissingImports]
    from transformers import Gemma3ForConditionalGeneration

    class Plain(Gemma3):
        def _encode_image_data_url(self, image: Any) -> Any:
            return image

    lm = Plain(str(folder), device="cpu", device_map="cpu", batch_size=BATCH)
    lm._model = Gemma3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    lm.processor = _AsGiven(lm.processor)
    return lm


class _AsGiven:
    """A processor that leaves out system prompts, and whose inputs keep their number format."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def apply_chat_template(self, chats: Sequence[Sequence[Mapping[str, Any]]], **options: Any) -> "_Inputs":
        """Return the inputs of the user's turns."""
        asked = [[message for message in chat if message["role"] != "system"] for chat in chats]
        return _Inputs(self._processor.apply_chat_template(asked, **options))


class _Inputs(dict[str, Any]):
    """Inputs on the CPU in their own number format."""

    input_ids = property(lambda self: self["input_ids"])

    def to(self, *_: Any, **__: Any) -> "_Inputs":
        """Return the inputs as they are."""
        return self


def figures() -> Iterator[Figure]:
    """Compare both loops: with the adapter's model, and with lmms-eval's own one for Gemma 3.

    Raises:
        RuntimeError: if a reply differs.
    """
    if importlib.util.find_spec("lmms_eval") is None:
        print("evaluation_loops: left out, lmms-eval is not installed: `make lmms-eval-test`", file=sys.stderr)
        return
    from theworld.evaluation.lmms_eval.model import TheWorldChat

    adapted = TheWorldChat("tiny-foresight", batch_size=BATCH, device="cpu")
    gemma = stack() / "gemma"
    alone = TheWorld.from_pretrained(str(gemma), enable_world=False, dtype=torch.float32).eval()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, lm, model, asked, goal in (
            ("adapter", adapted, adapted.model, "future", 1.0),
            ("gemma3", plain_gemma(gemma), alone, "present", 1.5),
        ):
            write_task(folder, asked)
            theirs, ours = harness_loop(lm, folder, asked), own_loop(model, folder / kind, asked)
            if (replies := theirs()) != (own := ours()):
                differing = sum(a != b for a, b in zip(replies, own, strict=True))
                raise RuntimeError(f"{kind}: {differing} of {ITEMS} replies differ")
            num_distinct = len(set(own))
            print(f"{kind}: {ITEMS} equal replies, {num_distinct} of them distinct", file=sys.stderr)
            yield Figure(f"lmms_eval_{kind}_over_evaluate", paired_ratio(theirs, ours, PAIRS), goal, at_least=True)
