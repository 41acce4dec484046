"""Statements: a picture, and after it what it shows as bare questions with answers; no chat, no lists of choices.

They ask the same as conversations in a third of the tokens. A small Gemma learns to see from them within minutes, where
conversations leave it with the prior of the questions for an hour.
"""

from random import Random

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Gemma3Processor

from theworld.constants import IGNORE_INDEX
from theworld.foresight.facts import Question
from theworld.tiny.recipes.pictures import PicturePool


class StatementBatches(Dataset):
    """Batches of pictures, each with all its facts in an order of its own; an element is a whole batch.

    Args:
        pool: what is asked about.
        processor: its tokenizer makes the rows.
        num_batches: of the data set.
        batch_size: pictures of a batch.
        seed: of which pictures are shown and in what order their facts are asked.
    """

    def __init__(
        self, pool: PicturePool, processor: Gemma3Processor, num_batches: int, batch_size: int, seed: int
    ) -> None:
        self._pool = pool
        self._num_batches = num_batches
        self._batch_size = batch_size
        self._seed = seed
        self._tokenizer = processor.tokenizer
        self._end = self._tokenizer.convert_tokens_to_ids("<end_of_turn>")
        self._head = [self._tokenizer.bos_token_id, *self._ids(processor.full_image_sequence.strip())]
        self._cache: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = Random(f"tiny/statements/{self._seed}/{index}")
        places = rng.sample(range(len(self._pool.pictures)), self._batch_size)
        rows = [self._row(place, rng) for place in places]
        longest = max(len(ids) for ids, _ in rows)
        input_ids = torch.zeros(len(rows), longest, dtype=torch.long)  # 0 is <pad>
        labels = torch.full((len(rows), longest), IGNORE_INDEX)
        for row, (ids, supervised) in enumerate(rows):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            labels[row, : len(ids)] = torch.tensor(supervised)
        return {"input_ids": input_ids, "labels": labels, "pictures": torch.tensor(places)}

    def _row(self, place: int, rng: Random) -> tuple[list[int], list[int]]:
        """Tokens, and the same with all but answers and their ends ignored."""
        facts = list(self._pool.pictures[place].facts)
        rng.shuffle(facts)
        ids, supervised = list(self._head), [IGNORE_INDEX] * len(self._head)
        for fact in facts:
            asked, answer = self._known(words_of(fact)), [*self._known(fact.answer), self._end]
            ids += [*asked, *answer]
            supervised += [*[IGNORE_INDEX] * len(asked), *answer]
        return ids, supervised

    def _known(self, text: str) -> list[int]:
        if text not in self._cache:
            self._cache[text] = self._ids(text)
        return self._cache[text]

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False).input_ids


def words_of(question: Question) -> str:
    """A question without its choices and without how to answer."""
    return question.text.partition("?")[0].partition(":")[0] + "?"
