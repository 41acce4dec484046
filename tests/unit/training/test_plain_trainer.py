"""transformers' own Trainer with TheWorld's collator and data sets."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import Trainer, TrainingArguments

from theworld import TheWorld, TheWorldDataset
from theworld.datasets.collator import Collator


def plain_trainer(folder: Path, max_steps: int, **options: Any) -> Trainer:
    torch.manual_seed(0)
    model = TheWorld.from_pretrained("tiny", dtype=torch.float32, **options)
    records = [
        {"image": Image.new("RGB", (64, 64), colour), "text": "Which colour?", "label": colour}
        for colour in ("red", "green") * 4
    ]
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=max_steps,
        lr_scheduler_type="constant",
        per_device_train_batch_size=2,
        save_steps=2,
        logging_steps=1,
        learning_rate=1e-3,
        remove_unused_columns=False,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    collator = Collator(model.processor, supervise=True)
    return Trainer(model=model, args=arguments, train_dataset=TheWorldDataset(records), data_collator=collator)  # pyright: ignore[reportArgumentType]


def losses(trainer: Trainer) -> list[float]:
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


@pytest.mark.parametrize("options", [{}, {"lora": {"targets": ["language"]}}], ids=["projector", "adapters"])
def test_it_trains_saves_and_continues_without_a_warning_of_missing_keys(
    options: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    unbroken = plain_trainer(tmp_path / "unbroken", 4, **options)
    unbroken.train()
    plain_trainer(tmp_path / "run", 2, **options).train()

    continued = plain_trainer(tmp_path / "run", 4, **options)
    continued.train(resume_from_checkpoint=True)

    assert "keys in the checkpoint" not in caplog.text
    assert losses(continued) == losses(unbroken)


def test_a_trained_tensor_that_a_state_lacks_is_missing_still() -> None:
    model = TheWorld.from_pretrained("tiny", dtype=torch.float32)
    state = model.state_dict()
    name = next(name for name in state if name.startswith("world.projector"))
    del state[name]

    assert name in model.load_state_dict(state, strict=False).missing_keys
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict({}, strict=True)
