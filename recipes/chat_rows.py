"""Conversations about pictures, tokenised once by the collator of training and evaluation, in batches."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import Gemma3ForConditionalGeneration, Gemma3Processor

from recipes.pools import FRAMES_PER_SCENE, REMEDY, PicturePool, digest
from theworld.constants import IGNORE_INDEX
from theworld.datasets.collator import Collator
from theworld.datasets.foresight.ground_truth import NUMBER_WORDS, Question
from theworld.datasets.foresight.questions import multiple_choice
from theworld.datasets.foresight.scene import NUM_SLOTS, TASKS
from theworld.datasets.sample import Sample, Turn
from theworld.io import PieceFolder

MOST_QUESTIONS: Final = 6
MOST_PICTURES: Final = NUM_SLOTS
ROWS_PER_PIECE: Final = 1_000

_SHARE_SEVERAL: Final = 0.5
"""Share of conversations about several pictures."""
SHARE_CHOICE: Final = 1 / 3
"""Share of questions with lettered choices."""
_COLLATED_AT_ONCE: Final = 100
_NUM_COMPARED: Final = 20
_BATCHES_PER_WINDOW: Final = 16
"""Batches within which rows are sorted by length: this saves padding and still mixes all kinds of rows."""


@dataclass(frozen=True)
class Conversation:
    """Questions with their answers about pictures of a pool."""

    pictures: tuple[int, ...]
    """Indices in the pool."""
    questions: tuple[Question, ...]


def about_picture(number: int, question: Question) -> Question:
    """Return the question about one of several pictures, from 0, as `foresight.questions.readings` words it."""
    text = f"In picture {NUMBER_WORDS[number]}: {question.text[0].lower()}{question.text[1:]}"
    return replace(question, text=text)


def conversation(pool: PicturePool, row: int, seed: int) -> Conversation:
    """Return the conversation of a row: six questions about one picture, or about two to five of unrelated scenes.

    Rows cycle through the tasks. Facts repeat in their other form if a picture shows fewer than six.
    """
    rng = Random(f"tiny/conversations/{seed}/{row}")
    task = TASKS[row % len(TASKS)]
    num_pictures = rng.randint(2, MOST_PICTURES) if rng.random() < _SHARE_SEVERAL else 1
    scenes = rng.sample(range(pool.num_scenes), num_pictures)
    pictures = tuple(pool.find(task, scene, rng.randrange(FRAMES_PER_SCENE)) for scene in scenes)
    facts = [(number, fact) for number, place in enumerate(pictures) for fact in pool.pictures[place].facts]
    rng.shuffle(facts)
    forms = [rng.random() < SHARE_CHOICE for _ in facts]
    candidates = [*zip(facts, forms, strict=True), *((fact, not form) for fact, form in zip(facts, forms, strict=True))]
    questions = []
    for turn, ((number, fact), as_choice) in enumerate(candidates[:MOST_QUESTIONS]):
        question = multiple_choice(fact, f"{row}/{turn}") if as_choice else fact
        questions.append(about_picture(number, question) if num_pictures > 1 else question)
    return Conversation(pictures, tuple(questions))


@dataclass(frozen=True)
class Rows:
    """Tokenised conversations, concatenated."""

    ids: np.ndarray
    """uint16, all tokens of all rows."""
    supervised: np.ndarray
    """bool, True for the tokens of answers and for those that end them."""
    lengths: np.ndarray
    """Tokens of each row."""
    pictures: np.ndarray
    """(rows, 5), indices in the pool; -1: no picture."""

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return rows padded on the right: ids, labels, and the pictures in the order of their placeholders."""
        starts = np.concatenate([[0], np.cumsum(self.lengths)])
        longest = int(self.lengths[list(rows)].max())
        ids = np.zeros((len(rows), longest), np.int64)  # 0 is <pad>
        labels = np.full((len(rows), longest), IGNORE_INDEX, np.int64)
        for line, row in enumerate(rows):
            part = slice(starts[row], starts[row + 1])
            tokens = self.ids[part].astype(np.int64)
            ids[line, : len(tokens)] = tokens
            labels[line, : len(tokens)] = np.where(self.supervised[part], tokens, IGNORE_INDEX)
        pictures = self.pictures[list(rows)]
        named = {"input_ids": ids, "labels": labels, "pictures": pictures[pictures >= 0].astype(np.int64)}
        return {name: torch.from_numpy(array) for name, array in named.items()}


def tokenise(processor: Gemma3Processor, conversations: Sequence[Conversation]) -> Rows:
    """Return conversations as rows, made by the collator of training and evaluation."""
    collator = Collator(processor, supervise=True)
    blank = np.zeros((64, 64, 3), np.uint8)  # ids do not depend on the pixels
    ids, supervised, lengths = [], [], []
    for start in range(0, len(conversations), _COLLATED_AT_ONCE):
        samples = [_sample(item, blank) for item in conversations[start : start + _COLLATED_AT_ONCE]]
        batch = collator(samples)
        kept = batch["attention_mask"].bool()
        ids.append(batch["input_ids"][kept].numpy().astype(np.uint16))
        supervised.append((batch["labels"][kept] != IGNORE_INDEX).numpy())
        lengths.append(kept.sum(1).numpy())
    pictures = np.full((len(conversations), MOST_PICTURES), -1, np.int32)
    for row, item in enumerate(conversations):
        pictures[row, : len(item.pictures)] = item.pictures
    return Rows(np.concatenate(ids), np.concatenate(supervised), np.concatenate(lengths), pictures)


class ConversationBatches(Dataset):
    """Batches of conversations about a pool's pictures, tokenised on first use; an element is a whole batch.

    Args:
        folder: holds the tokenised pieces.
        pool: the pictures and their facts.
        processor: its tokenizer and chat template make the rows.
        num_rows: number of conversations.
        batch_size: rows of a batch.
        seed: chooses the questions.

    Raises:
        ValueError: if the folder holds conversations about other pictures, or of another seed or tokenizer.
    """

    def __init__(
        self, folder: Path, pool: PicturePool, processor: Gemma3Processor, num_rows: int, batch_size: int, seed: int
    ) -> None:

        def make(first: int, number: int) -> Rows:
            return tokenise(processor, [conversation(pool, row, seed) for row in range(first, first + number)])

        pieces = PieceFolder(folder, range(0, num_rows, ROWS_PER_PIECE), suffix=".npz")
        pieces.compare(lambda path: _digests(_load([path])), lambda first: _digests(make(first, _NUM_COMPARED)), REMEDY)
        pieces.fill(lambda first: {".npz": _npz_bytes(make(first, ROWS_PER_PIECE))}, "writing conversations")
        self.rows = _load(pieces.paths)
        self.batches = _cut(self.rows.lengths[:num_rows], batch_size)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.rows.batch(self.batches[index])


def _cut(lengths: np.ndarray, batch_size: int) -> list[list[int]]:
    window = batch_size * _BATCHES_PER_WINDOW
    batches = []
    for start in range(0, len(lengths), window):
        rows = sorted(range(start, min(start + window, len(lengths))), key=lambda row: lengths[row])
        batches += [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    return batches


def _sample(item: Conversation, picture: np.ndarray) -> Sample:
    pairs = ((Turn("user", question.text), Turn("assistant", question.answer)) for question in item.questions)
    return Sample(id="", turns=tuple(turn for pair in pairs for turn in pair), images=(picture,) * len(item.pictures))


def _digests(rows: Rows) -> dict[str, str]:
    """Describe the first rows of a piece."""
    lengths = rows.lengths[:_NUM_COMPARED]
    arrays = {"lengths": lengths, "ids": rows.ids[: lengths.sum()], "pictures": rows.pictures[:_NUM_COMPARED]}
    return {name: digest(array) for name, array in arrays.items()}


def _npz_bytes(rows: Rows) -> bytes:
    content = io.BytesIO()
    np.savez(content, ids=rows.ids, supervised=rows.supervised, lengths=rows.lengths, pictures=rows.pictures)
    return content.getvalue()


def _load(paths: Sequence[Path]) -> Rows:
    names = ("ids", "supervised", "lengths", "pictures")
    pieces = [np.load(path) for path in paths]
    return Rows(*(np.concatenate([piece[name] for piece in pieces]) for name in names))


def to_pixels(pictures: UInt8[np.ndarray, "N H W 3"], chosen: Int[Tensor, " n"]) -> Float[Tensor, "n 3 H W"]:
    """Return pictures in [-1, 1], as the image processor returns pictures of the right size."""
    return torch.from_numpy(pictures[chosen.numpy()]).permute(0, 3, 1, 2).float() / 127.5 - 1


def answered(
    gemma: Gemma3ForConditionalGeneration,
    input_ids: Int[Tensor, "B L"],
    labels: Int[Tensor, "B L"],
    pixel_values: Float[Tensor, "n 3 H W"],
) -> Any:
    """Return the output for a padded batch: the loss, and logits (n, V) of the supervised tokens, row by row."""
    shifted = functional.pad(labels, (0, 1), value=IGNORE_INDEX)[:, 1:]
    keep = shifted != IGNORE_INDEX
    return gemma(
        input_ids=input_ids,
        attention_mask=(input_ids != 0).long(),  # 0 is <pad>
        token_type_ids=(input_ids == gemma.config.image_token_id).long(),  # attention within a picture is bidirectional
        pixel_values=pixel_values,
        labels=labels,
        shift_labels=shifted[keep],
        logits_to_keep=keep,
    )


@torch.no_grad()
def right_answers(
    gemma: Gemma3ForConditionalGeneration, batch: dict[str, Tensor], pictures: UInt8[np.ndarray, "N H W 3"]
) -> list[bool]:
    """Return, for each question of a batch, True if greedy decoding would give exactly its answer and end there.

    The context holds the right answers of earlier turns.
    """
    labels = batch["labels"]
    logits = answered(gemma, batch["input_ids"], labels, to_pixels(pictures, batch["pictures"])).logits
    expected = labels[labels != IGNORE_INDEX]
    [*_, end] = gemma.generation_config.eos_token_id  # pyright: ignore[reportOptionalIterable, reportGeneralTypeIssues]
    marks, whole = [], True
    for equal, token in zip((logits.argmax(-1) == expected).tolist(), expected.tolist(), strict=True):
        whole = whole and equal
        if token == end:
            marks.append(whole)
            whole = True
    return marks
