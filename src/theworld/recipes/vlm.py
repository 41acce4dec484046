"""Stage vlm: a Gemma 3 with SigLIP of 2.1 million parameters, trained on what pictures show and never on outcomes."""

import dataclasses
import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Gemma3ForConditionalGeneration, Gemma3Processor

from theworld.config.tiny import TinySettings, VlmPhase
from theworld.datasets.foresight.scene import TASKS
from theworld.io import whole_folder
from theworld.recipes.answering import answered, right_answers, to_pixels
from theworld.recipes.conversations import ConversationBatches
from theworld.recipes.halving import halve
from theworld.recipes.muon import MuonAdamW
from theworld.recipes.pictures import FIRST_HELD_OUT, PicturePool
from theworld.recipes.seeing import Asked, accuracies, current_pictures, frames, marks, table
from theworld.recipes.statements import StatementBatches
from theworld.recipes.trainer import Objective, train
from theworld.tiny.gemma import TRAINED, make_gemma, make_processor, save_gemma

logger = logging.getLogger(__name__)

_PLACE_GAIN: Final = 4.0
"""Position embeddings start so much larger than other matrices: about as large as what patches show."""
_ATTENTION_GAIN: Final = 2.0
"""Queries and keys start so much longer than Gemma's norms leave them: attention that is even picks nothing out."""


class AnswerObjective(Objective):
    """Cross-entropy of answers, and of the token that ends each; questions and pictures are given.

    Args:
        gemma: trained in place.
        pictures: that batches name by their places.
        held_out: batches that the quality is measured on.
        held_out_pictures: that those name.
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
        self._gemma = [gemma]  # in a list, it is no module of this one, and the head is not saved a second time
        self._pictures = pictures
        self._held_out = held_out
        self._held_out_pictures = held_out_pictures

    def forward(
        self, input_ids: Int[Tensor, "1 B L"], labels: Int[Tensor, "1 B L"], pictures: Int[Tensor, "1 n"]
    ) -> dict[str, Tensor]:
        """The loss of a batch, which comes as the one element of what the loader makes."""
        pixels = to_pixels(self._pictures, pictures[0])
        return {"loss": answered(self._gemma[0], input_ids[0], labels[0], pixels).loss}

    def measure(self) -> dict[str, float]:
        """Share of held-out answers that come out right, those of earlier turns given."""
        gemma = self._gemma[0]
        batches = (self._held_out[number] for number in range(len(self._held_out)))  # pyright: ignore[reportArgumentType]
        right = [mark for batch in batches for mark in right_answers(gemma, batch, self._held_out_pictures)]
        return {"accuracy": round(float(np.mean(right)), 4)}


def build_vlm(settings: TinySettings) -> dict[str, Any]:
    """Train the vision-language model and write `gemma` of the build folder.

        output_dir/pictures/       pictures and what each shows
        output_dir/conversations/  rows of tokens
        output_dir/vlm/NAME/       recipe, curves, checkpoint of a phase
        output_dir/gemma/

    Returns:
        The folder and the quality, as `verify_vlm`.
    """
    recipe = settings.vlm
    processor = make_processor()
    gemma = make_gemma(processor.tokenizer, TRAINED, settings.seed)
    _prepare(gemma)
    gemma.set_attn_implementation("eager")  # with masks and in bfloat16, a step on a CPU takes 0.7 of the time
    pool = PicturePool(settings.output_dir / "pictures", recipe.num_scenes, settings.image_size_px)
    held_out_pool = _held_out_pool(settings)
    for name in ("statements", "mixed", "conversations"):
        phase: VlmPhase = getattr(recipe, name)
        rows = _rows(name, settings, settings.output_dir, pool, processor, phase.num_steps * phase.batch_size)
        held_out = _rows(
            name, settings, settings.output_dir / "held_out", held_out_pool, processor, recipe.num_held_out_rows
        )
        objective = AnswerObjective(gemma, pool.pixels, held_out, held_out_pool.pixels)
        train(
            objective,
            rows,
            settings.output_dir / "vlm" / name,
            recipe={
                "seed": settings.seed,
                "image_size_px": settings.image_size_px,
                "num_scenes": recipe.num_scenes,
                "precision": recipe.precision,
                "warmup_steps": recipe.warmup_steps,
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
        save_gemma(gemma, processor, aside)
        halve(aside)
    return verify_vlm(settings)


def verify_vlm(settings: TinySettings) -> dict[str, Any]:
    """Measure the vision-language model of a build folder on scenes that it was not trained on.

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
    asked: list[Asked] = []
    for questions, pictures in (
        current_pictures(num_scenes * len(TASKS), settings.image_size_px),
        (list(frames(pool, num_scenes)), pool.pixels),
    ):
        asked += questions
        right += marks(gemma, processor, questions, pictures)
    kinds = accuracies(asked, right)
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
    return PicturePool(folder, settings.vlm.num_held_out_scenes, settings.image_size_px, FIRST_HELD_OUT)


@torch.no_grad()
def _prepare(gemma: Gemma3ForConditionalGeneration) -> None:
    """Set where training starts; random matrices alone learn far slower."""
    gemma.model.vision_tower.embeddings.position_embedding.weight.mul_(_PLACE_GAIN)
    for layer in gemma.model.language_model.layers:
        for norm in (layer.self_attn.q_norm, layer.self_attn.k_norm):
            norm.weight.fill_(_ATTENTION_GAIN - 1)  # Gemma's norms scale by 1 + weight


def _rows(
    form: str, settings: TinySettings, folder: Path, pool: PicturePool, processor: Gemma3Processor, num_rows: int
) -> Dataset:
    """Batches of a form about a pool."""
    recipe, seed = settings.vlm, settings.seed
    if form != "conversations":
        phase: VlmPhase = getattr(recipe, form)
        size = min(phase.batch_size, len(pool.pictures))
        return StatementBatches(pool, processor, max(num_rows // size, 1), size, mixed=form == "mixed", seed=seed)
    return ConversationBatches(
        folder / "conversations", pool, processor, num_rows, recipe.conversations.batch_size, seed
    )
