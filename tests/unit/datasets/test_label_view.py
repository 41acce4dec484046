"""A sample is shown as it is trained on: everything is there, and what is supervised is marked."""

from typing import Any

import pytest
import torch

from theworld.datasets.collator import Collator
from theworld.datasets.label_view import spans, supervised_text
from theworld.datasets.sample import Sample, Turn


@pytest.fixture(scope="module")
def batch(processor: Any) -> dict[str, Any]:
    import numpy as np

    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    turns = (
        Turn("user", "In which bin?"),
        Turn("assistant", "red"),
        Turn("user", "And now?"),
        Turn("assistant", "the blue one"),
    )
    return Collator(processor, supervise=True)([Sample(id="a", images=(picture,), turns=turns)])


def test_what_is_marked_is_each_answer_with_its_end_of_turn(batch: dict[str, Any], processor: Any) -> None:
    shown = spans(batch["input_ids"][0], batch["labels"][0], processor.tokenizer)

    assert [span.text for span in shown if span.supervised] == ["red<end_of_turn>", "the blue one<end_of_turn>"]
    text = supervised_text(batch["input_ids"][0], batch["labels"][0], processor.tokenizer)
    assert "user\nIn which bin?" not in text.partition("⟦")[2].partition("⟧")[0]
    assert "<start_of_turn>model\n⟦the blue one<end_of_turn>⟧" in text


def test_placeholders_are_counted_and_nothing_else_is_left_out(batch: dict[str, Any], processor: Any) -> None:
    ids = batch["input_ids"][0]
    text = supervised_text(ids, batch["labels"][0], processor.tokenizer)

    assert "<start_of_world><world_soft_token>×64<end_of_world>" in text
    whole = text.replace("⟦", "").replace("⟧", "").replace("<world_soft_token>×64", "<world_soft_token>" * 64)
    whole = whole.replace("<image_soft_token>×16", "<image_soft_token>" * 16)
    assert whole == processor.tokenizer.decode(ids)


def test_labels_that_are_shifted_are_refused(batch: dict[str, Any], processor: Any) -> None:
    ids, labels = batch["input_ids"][0], batch["labels"][0]

    with pytest.raises(ValueError, match="differ from the ids there"):
        spans(ids, torch.roll(labels, -1), processor.tokenizer)
