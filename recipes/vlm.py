"""Stage vlm: train a Gemma 3 with SigLIP of 2.1 million parameters on the content of pictures, never on outcomes."""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import Gemma3ForConditionalGeneration, Gemma3Processor

from recipes.chat_rows import (
    MOST_PICTURES,
    Conversation,
    ConversationBatches,
    about_picture,
    answered,
    right_answers,
    to_pixels,
    tokenise,
)
from recipes.pools import FIRST_HELD_OUT_SCENE, FRAMES_PER_SCENE, PicturePool
from recipes.settings import TinySettings, VlmPhase
from recipes.statements import ROWS_VERSION, StatementBatches
from recipes.trainer import MuonAdamW, Objective, halve, start_from, train_on_cpu
from theworld.datasets.foresight.dataset import ForesightDataset, Form
from theworld.datasets.foresight.ground_truth import Question
from theworld.datasets.foresight.questions import multiple_choice
from theworld.datasets.foresight.scene import TASKS, Scenes, Task
from theworld.io import whole_folder
from theworld.tiny.gemma import TRAINED, make_gemma, make_processor, save_gemma

SETTINGS: Final = ("current picture", "any frame", "several pictures")
"""Subjects of questions: the picture that evaluation shows; any of a scene's frames; one of two to five pictures."""
FORMS: Final[tuple[Form, ...]] = ("open", "choice")

_ROWS_AT_ONCE: Final = 50


@dataclass(frozen=True)
class Asked:
    """A question in the first turn, and the fields that tables group it by."""

    task: Task
    kind: str
    setting: str
    form: Form
    conversation: Conversation


def current_pictures(
    num_scenes: int, image_size_px: int, scenes: Scenes = "plain"
) -> tuple[list[Asked], UInt8[np.ndarray, "N H W 3"]]:
    """Return the controls of the split `validation` in both forms, as evaluation asks them, and the pictures."""
    questions: list[Asked] = []
    pictures: list[np.ndarray] = []
    for form in FORMS:
        samples = ForesightDataset("validation", num_scenes, image_size_px, "present", form=form, scenes=scenes)
        for sample in (samples[index] for index in range(len(samples))):
            kind, choices = sample.fields["kind"], sample.fields["choices"]
            question = Question(kind, sample.turns[0].text, choices, sample.answer or "")
            conversation = Conversation((len(pictures),), (question,))
            questions.append(Asked(sample.fields["task"], kind, SETTINGS[0], form, conversation))
            pictures.append(np.asarray(sample.images[0]))
    return questions, np.stack(pictures)


def frames(pool: PicturePool, num_scenes: int) -> Iterator[Asked]:
    """Yield all questions about a frame of each scene, in both forms: shown alone, and among unrelated frames."""
    for task in TASKS:
        for scene in range(num_scenes):
            rng = Random(f"tiny/seeing/{task}/{scene}")
            place = pool.find(task, scene, rng.randrange(FRAMES_PER_SCENE))
            for fact in pool.pictures[place].facts:
                for form in FORMS:
                    question = fact if form == "open" else multiple_choice(fact, str(place))
                    yield Asked(task, fact.kind, SETTINGS[1], form, Conversation((place,), (question,)))
                    others = rng.sample([other for other in range(num_scenes) if other != scene], MOST_PICTURES - 1)
                    shown = [pool.find(task, other, rng.randrange(FRAMES_PER_SCENE)) for other in others]
                    shown = shown[: rng.randint(1, len(shown))]
                    number = rng.randint(0, len(shown))
                    shown.insert(number, place)
                    several = Conversation(tuple(shown), (about_picture(number, question),))
                    yield Asked(task, fact.kind, SETTINGS[2], form, several)


def marks(
    gemma: Gemma3ForConditionalGeneration,
    processor: Gemma3Processor,
    questions: Sequence[Asked],
    pictures: UInt8[np.ndarray, "N H W 3"],
) -> list[bool]:
    """Return True for each question that greedy decoding answers correctly."""
    rows = tokenise(processor, [question.conversation for question in questions])
    order = sorted(range(len(questions)), key=lambda row: rows.lengths[row])
    correct = [False] * len(questions)
    for start in tqdm(range(0, len(order), _ROWS_AT_ONCE), desc="answering", unit="batch"):
        part = order[start : start + _ROWS_AT_ONCE]
        for row, right in zip(part, right_answers(gemma, rows.batch(part), pictures), strict=True):
            correct[row] = right
    return correct


def accuracies(questions: Sequence[Asked], right: Sequence[bool]) -> dict[str, dict[str, tuple[float, int]]]:
    """Return the share of right answers and the number of questions, by "task kind" and by "setting, form"."""
    groups: dict[tuple[str, str], list[bool]] = {}
    for item, mark in zip(questions, right, strict=True):
        groups.setdefault((f"{item.task} {item.kind}", f"{item.setting}, {item.form}"), []).append(mark)
    shares: dict[str, dict[str, tuple[float, int]]] = {}
    for (kind, column), group in groups.items():
        shares.setdefault(kind, {})[column] = (round(float(np.mean(group)), 4), len(group))
    return shares


def table(shares: dict[str, dict[str, tuple[float, int]]]) -> str:
    """Return percentages as lines of text: a row per kind, a column per setting and form."""
    columns = [f"{setting}, {form}" for setting in SETTINGS for form in FORMS]
    width = max(len(kind) for kind in shares)
    lines = [" " * width + "".join(f"{column:>26}" for column in columns)]
    for kind, row in sorted(shares.items()):
        cells = [f"{100 * row[column][0]:.1f} % of {row[column][1]}" if column in row else "-" for column in columns]
        lines.append(f"{kind:<{width}}" + "".join(f"{cell:>26}" for cell in cells))
    return "\n".join(lines)


logger = logging.getLogger(__name__)

_PLACE_GAIN: Final = 4.0
"""Initial scale of position embeddings over that of other matrices: about the scale of patch embeddings."""
_ATTENTION_GAIN: Final = 2.0
"""Initial scale of queries and keys over that of Gemma's norms: uniform attention selects nothing."""


class AnswerObjective(Objective):
    """Cross-entropy of answers, and of the token that ends each.

    Args:
        gemma: trained in place.
        pictures: pictures of the batches, which hold their indices.
        held_out: batches to measure the quality on.
        held_out_pictures: pictures of those batches.
    """

    def __init__(
        self,
        gemma: Gemma3ForConditionalGeneration,
        pictures: UInt8[np.ndarray, "N H W 3"],
        held_out: Dataset,
        held_out_pictures: UInt8[np.ndarray, "M H W 3"],
    ) -> None:
        super().__init__()
        self.inner = gemma.model  # holds every weight: the head is the embedding
        self._gemma = [gemma]  # a list hides it from nn.Module, which would save the head twice
        self._pictures = pictures
        self._held_out = held_out
        self._held_out_pictures = held_out_pictures

    def forward(
        self, input_ids: Int[Tensor, "1 B L"], labels: Int[Tensor, "1 B L"], pictures: Int[Tensor, "1 n"]
    ) -> dict[str, Tensor]:
        """Return the loss of a batch; the loader adds a first axis of length 1 to it."""
        pixels = to_pixels(self._pictures, pictures[0])
        return {"loss": answered(self._gemma[0], input_ids[0], labels[0], pixels).loss}

    def measure(self) -> dict[str, float]:
        """Return the share of right answers on held-out rows, given the right answers of earlier turns."""
        gemma = self._gemma[0]
        batches = (self._held_out[number] for number in range(len(self._held_out)))  # pyright: ignore[reportArgumentType]
        right = [mark for batch in batches for mark in right_answers(gemma, batch, self._held_out_pictures)]
        return {"accuracy": round(float(np.mean(right)), 4)}


def build_vlm(settings: TinySettings) -> dict[str, Any]:
    """Train the vision-language model and write `gemma` of the build folder.

        output_dir/pictures/       pictures and their facts
        output_dir/conversations/  rows of tokens
        output_dir/vlm/PHASE/      recipe, curves, checkpoint
        output_dir/gemma/

    Returns:
        The folder and the quality, as `verify_vlm`.
    """
    recipe = settings.vlm
    processor = make_processor()
    gemma = make_gemma(processor.tokenizer, TRAINED, settings.seed)
    start = start_from(settings.start_from, "gemma", gemma)
    if not start:
        _prepare(gemma)
    gemma.set_attn_implementation("eager")  # with masks and in bfloat16, a step on a CPU takes 0.7 of the time
    folder = settings.output_dir / "pictures"
    pool = PicturePool(folder, recipe.num_scenes, settings.image_size_px, scenes=settings.scenes)
    held_out_pool = _held_out_pool(settings)
    for name in recipe.phases:
        phase: VlmPhase = getattr(recipe, name)
        rows = _rows(name, settings, settings.output_dir, pool, processor, phase.num_steps * phase.batch_size)
        held_out = _rows(
            name, settings, settings.output_dir / "held_out", held_out_pool, processor, recipe.num_held_out_rows
        )
        objective = AnswerObjective(gemma, pool.pixels, held_out, held_out_pool.pixels)
        train_on_cpu(
            objective,
            rows,
            settings.output_dir / "vlm" / name,
            recipe={
                **settings.identity,
                **start,
                "num_scenes": recipe.num_scenes,
                "precision": recipe.precision,
                "warmup_steps": recipe.warmup_steps,
                **({"rows": ROWS_VERSION} if name == "mixed" else {}),
                **dataclasses.asdict(phase),
            },
            measure_steps=recipe.measure_steps,
            optimizer=MuonAdamW(objective, phase.matrix_learning_rate, phase.learning_rate),
            max_steps=phase.num_steps,
            per_device_train_batch_size=1,  # an element is a batch
            lr_scheduler_type="linear",
            warmup_steps=recipe.warmup_steps,
            max_grad_norm=1.0,
            seed=settings.seed,
        )
    gemma.set_attn_implementation("sdpa")
    with whole_folder(settings.output_dir / "gemma") as aside:
        save_gemma(gemma, make_processor(), aside)  # the one that made batches would write their padding, too
        halve(aside)
    return verify_vlm(settings)


def verify_vlm(settings: TinySettings) -> dict[str, Any]:
    """Measure the vision-language model of a build folder on held-out scenes.

    Returns:
        gemma: its folder; num_parameters; accuracy and num_questions over all; least: the worst kind and its share;
        kinds: share of right answers and number of questions by kind, and within it by setting and form.
    """
    folder = settings.output_dir / "gemma"
    gemma = Gemma3ForConditionalGeneration.from_pretrained(folder)
    processor = Gemma3Processor.from_pretrained(folder)
    pool = _held_out_pool(settings)
    num_scenes = settings.vlm.num_held_out_scenes
    right: list[bool] = []
    all_questions: list[Asked] = []
    for questions, pictures in (
        current_pictures(num_scenes * len(TASKS), settings.image_size_px, settings.scenes),
        (list(frames(pool, num_scenes)), pool.pixels),
    ):
        all_questions += questions
        right += marks(gemma, processor, questions, pictures)
    kinds = accuracies(all_questions, right)
    logger.info("static questions about held-out scenes\n%s", table(kinds))
    worst = min(((row[column][0], f"{kind}, {column}") for kind, row in kinds.items() for column in row))
    return {
        "gemma": str(folder),
        "num_parameters": gemma.num_parameters(),
        "accuracy": round(float(np.mean(right)), 4),
        "num_questions": len(right),
        "least": worst,
        "kinds": kinds,
    }


def _held_out_pool(settings: TinySettings) -> PicturePool:
    folder = settings.output_dir / "held_out" / "pictures"
    num_scenes = settings.vlm.num_held_out_scenes
    return PicturePool(folder, num_scenes, settings.image_size_px, FIRST_HELD_OUT_SCENE, settings.scenes)


@torch.no_grad()
def _prepare(gemma: Gemma3ForConditionalGeneration) -> None:
    """Scale the initial weights; plain random matrices learn far more slowly."""
    gemma.model.vision_tower.embeddings.position_embedding.weight.mul_(_PLACE_GAIN)
    for layer in gemma.model.language_model.layers:
        for norm in (layer.self_attn.q_norm, layer.self_attn.k_norm):
            norm.weight.fill_(_ATTENTION_GAIN - 1)  # Gemma's norms scale by 1 + weight


def _rows(
    form: str, settings: TinySettings, folder: Path, pool: PicturePool, processor: Gemma3Processor, num_rows: int
) -> Dataset:
    """Return batches of a form about a pool."""
    recipe, seed = settings.vlm, settings.seed
    if form != "conversations":
        phase: VlmPhase = getattr(recipe, form)
        size = min(phase.batch_size, len(pool.pictures))
        return StatementBatches(pool, processor, max(num_rows // size, 1), size, mixed=form == "mixed", seed=seed)
    return ConversationBatches(
        folder / "conversations", pool, processor, num_rows, recipe.conversations.batch_size, seed
    )
