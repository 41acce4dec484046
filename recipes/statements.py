"""Statements: rows of pictures followed by bare questions and answers about them, without a chat template.

They ask the same questions as conversations in a third of the tokens. A small Gemma learns to see from them within
minutes; after 700 steps of conversations alone it answered with the prior of the questions.
"""

from dataclasses import replace
from random import Random
from typing import Final

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Gemma3Processor

from recipes.chat_rows import MOST_PICTURES, SHARE_CHOICE, about_picture
from recipes.pools import FRAMES_PER_SCENE, PicturePool
from theworld.constants import IGNORE_INDEX
from theworld.datasets.foresight.ground_truth import Question
from theworld.datasets.foresight.questions import BY_LETTER, multiple_choice
from theworld.datasets.foresight.scene import TASKS

ROWS_VERSION: Final = 2
"""Version of the rows of several pictures; a phase that began with others is not continued."""
_SHARE_SEVERAL: Final = 0.6
_MOST_FACTS: Final = 12


class StatementBatches(Dataset):
    """Batches of rows: pictures, and facts about them in random order; an element is a whole batch.

    Args:
        pool: the pictures and their facts.
        processor: its tokenizer makes the rows.
        num_batches: length of the data set.
        batch_size: rows of a batch.
        mixed: False: one picture and all its facts, as open questions without choices; True: one to five pictures, and
            a third of the questions in multiple choice.
        seed: chooses the pictures and the order of their facts.
    """

    def __init__(
        self,
        pool: PicturePool,
        processor: Gemma3Processor,
        num_batches: int,
        batch_size: int,
        *,
        mixed: bool,
        seed: int,
    ) -> None:
        self._pool = pool
        self._num_batches = num_batches
        self._batch_size = batch_size
        self._mixed = mixed
        self._seed = seed
        self._tokenizer = processor.tokenizer
        self._end = self._tokenizer.convert_tokens_to_ids("<end_of_turn>")
        self._picture = self._ids(processor.full_image_sequence.strip())
        self._cache: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = Random(f"tiny/statements/{self._seed}/{index}")
        several = self._mixed and rng.random() < _SHARE_SEVERAL
        number = rng.randint(2, MOST_PICTURES) if several else 1  # the same for all rows, to save padding
        chosen = [self._choose(number, rng) for _ in range(self._batch_size)]
        rows = [self._row(places, rng) for places in chosen]
        longest = max(len(ids) for ids, _ in rows)
        input_ids = torch.zeros(len(rows), longest, dtype=torch.long)  # 0 is <pad>
        labels = torch.full((len(rows), longest), IGNORE_INDEX)
        for row, (ids, supervised) in enumerate(rows):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            labels[row, : len(ids)] = torch.tensor(supervised)
        return {
            "input_ids": input_ids,
            "labels": labels,
            "pictures": torch.tensor([place for places in chosen for place in places]),
        }

    def _choose(self, number: int, rng: Random) -> list[int]:
        """Return pictures of different scenes; several are of one task, where only their number tells them apart."""
        if number == 1:
            return [rng.randrange(len(self._pool.pictures))]
        task = rng.choice(TASKS)
        scenes = rng.sample(range(self._pool.num_scenes), number)
        return [self._pool.find(task, scene, rng.randrange(FRAMES_PER_SCENE)) for scene in scenes]

    def _row(self, places: list[int], rng: Random) -> tuple[list[int], list[int]]:
        """Return the tokens of a row, and its labels, which ignore all tokens but the answers and their ends."""
        ids = [self._tokenizer.bos_token_id, *self._picture * len(places)]
        supervised = [IGNORE_INDEX] * len(ids)
        facts = [(number, fact) for number, place in enumerate(places) for fact in self._pool.pictures[place].facts]
        rng.shuffle(facts)
        for number, fact in facts[:_MOST_FACTS]:
            lettered = self._mixed and rng.random() < SHARE_CHOICE
            question = multiple_choice(fact, str(rng.random())) if lettered else fact
            words = question.text.removesuffix(f" {BY_LETTER}") if lettered else words_of(question)
            if len(places) > 1:
                words = about_picture(number, replace(question, text=words)).text
            asking, answering = self._cached_ids(words), [*self._cached_ids(question.answer), self._end]
            ids += [*asking, *answering]
            supervised += [*[IGNORE_INDEX] * len(asking), *answering]
        return ids, supervised

    def _cached_ids(self, text: str) -> list[int]:
        if text not in self._cache:
            self._cache[text] = self._ids(text)
        return self._cache[text]

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False).input_ids


def words_of(question: Question) -> str:
    """Return the text of a question without its choices and without the instruction how to answer."""
    return question.text.partition("?")[0].partition(":")[0] + "?"
