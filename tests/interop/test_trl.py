"""TRL's SFTTrainer and GRPOTrainer train a TheWorld with its processor.

Skipped where TRL is not installed; `make interop-test` makes an environment that has it.
"""

import copy
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("trl", reason="TRL is not installed: `make interop-test`")

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer  # pyright: ignore[reportMissingImports]

from fixtures_model import picture
from theworld import TheWorld
from theworld.datasets.collator import Collator
from theworld.datasets.sample import Sample, Turn
from theworld.training.trl_world import WithWorld

EXAMPLE = Path(__file__).parents[2] / "examples" / "reinforce_answers.py"
QUESTIONS = ("Which bin: red or green?", "Does the ball reach the green bin?", "Left or right?", "How far?")
ANSWERS = ("red", "yes", "left", "9 cm")
OFF = {"report_to": [], "use_cpu": True, "save_strategy": "no", "bf16": False, "gradient_checkpointing": False}


class WorldGRPOTrainer(WithWorld, GRPOTrainer):
    """As users write it."""


@pytest.fixture(scope="module")
def small() -> TheWorld:
    torch.manual_seed(0)
    return TheWorld.from_pretrained("tiny", world_grid=2)


@pytest.fixture
def model(small: TheWorld) -> TheWorld:
    return copy.deepcopy(small)


def samples() -> list[Sample]:
    return [
        Sample(str(seed), (Turn("user", question), Turn("assistant", answer)), (picture(seed),))
        for seed, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))
    ]


def rows() -> Dataset:
    """The samples in TRL's columns: a list of pictures, a prompt and a completion."""
    return Dataset.from_list(
        [
            {
                "images": [picture(seed)],
                "prompt": [{"role": "user", "content": question}],
                "completion": [{"role": "assistant", "content": answer}],
                "answer": answer,
            }
            for seed, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))
        ]
    )


def weights(model: TheWorld) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def sft(model: TheWorld, folder: Path, **options: Any) -> SFTTrainer:
    collator = options.pop("data_collator", None)
    settings = {"per_device_train_batch_size": 2, "learning_rate": 1e-2, "max_length": None, **OFF, **options}
    return SFTTrainer(
        model=model,
        args=SFTConfig(output_dir=str(folder), **settings),
        train_dataset=rows(),
        processing_class=model.processor,
        data_collator=collator,
    )


def grpo(model: TheWorld, folder: Path, kind: type = WorldGRPOTrainer, **options: Any) -> GRPOTrainer:
    """Trainer whose reward is the length of an answer, so that the answers of a group differ."""
    settings = {
        "per_device_train_batch_size": 2,
        "num_generations": 2,
        "max_completion_length": 3,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        **OFF,
        **options,
    }
    return kind(
        model=model,
        args=GRPOConfig(output_dir=str(folder), **settings),
        train_dataset=rows().remove_columns("completion"),
        processing_class=model.processor,
        reward_funcs=lambda completions, **_: [float(len(answer[0]["content"])) for answer in completions],
    )


def test_sft_with_trls_own_collator_reads_the_world_and_trains_it(model: TheWorld, tmp_path: Path) -> None:
    trainer, before = sft(model, tmp_path, max_steps=2), weights(model)
    batch = next(iter(trainer.get_train_dataloader()))
    learnt = [model.processor.tokenizer.decode(row[row != -100]) for row in batch["labels"]]

    trainer.train()

    assert batch["world_pixels"].shape == (2, 1, 3, 64, 64)
    assert set(learnt) <= {f"{answer}<end_of_turn>\n" for answer in ANSWERS}
    moved = {name for name, weight in weights(model).items() if not torch.equal(weight, before[name])}
    assert "world.projector.layers.0.weight" in moved


def test_the_loss_of_sft_is_that_of_the_model_and_depends_on_the_world(model: TheWorld, tmp_path: Path) -> None:
    batch = Collator(model.processor, supervise=True)(samples())
    with torch.no_grad():
        expected = model(**batch).loss
        trainer = sft(model, tmp_path, data_collator=Collator(model.processor, supervise=True))
        loss = trainer.compute_loss(model, dict(batch))
        other = trainer.compute_loss(model, batch | {"world_pixels": 255 - batch["world_pixels"]})

    assert loss == pytest.approx(expected.item(), abs=1e-4)
    assert abs(other - loss) > 1e-4


def test_grpo_moves_the_projector_and_reads_each_picture_once(model: TheWorld, tmp_path: Path) -> None:
    before = weights(model)

    trainer = grpo(model, tmp_path, max_steps=2, steps_per_generation=2, num_iterations=1, beta=0.1)
    trainer.train()

    assert model.tap is not None
    assert model.tap.clips_read == 2  # two questions of two answers each
    assert {"reward", "kl"} <= set().union(*trainer.state.log_history)
    after = weights(model)
    assert not torch.equal(after["world.projector.layers.0.weight"], before["world.projector.layers.0.weight"])


def test_answers_of_grpo_are_scored_with_the_world_they_were_sampled_with(model: TheWorld, tmp_path: Path) -> None:
    trainer = grpo(model, tmp_path, steps_per_generation=2)
    model.train()
    inputs = [trainer.train_dataset[index] for index in (0, 0, 1, 1)]
    batch = trainer._generate_and_score_completions(inputs)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    length = batch["completion_ids"].shape[1]
    features = torch.cat(batch["world_features"])

    with torch.no_grad():
        scored, _, _ = trainer._get_per_token_logps_and_entropies(
            model, ids, mask, length, batch_size=2, pixel_values=batch["pixel_values"], num_images=batch["num_images"]
        )
        logits = model(
            input_ids=ids, attention_mask=mask, pixel_values=batch["pixel_values"], world_features=features
        ).logits[:, -length - 1 : -1]
    expected = logits.log_softmax(-1).gather(-1, batch["completion_ids"][..., None])[..., 0]

    real = batch["completion_mask"].bool()
    assert scored[real] == pytest.approx(expected[real], abs=1e-4)
    config = model.config
    assert {config.sow_token_id, config.world_token_id} <= set(trainer.generation_config.suppress_tokens)


def test_grpo_without_the_class_before_it_is_refused_and_not_trained_without_the_world(
    model: TheWorld, tmp_path: Path
) -> None:
    with pytest.raises((TypeError, ValueError), match="num_world_steps"):
        grpo(model, tmp_path, kind=GRPOTrainer, max_steps=1).train()


def test_the_example_writes_a_table_of_supervision_and_rewards(tmp_path: Path) -> None:
    rows = runpy.run_path(str(EXAMPLE))["main"](tmp_path, num_steps=1, rl_steps=1, num_test=4)

    assert [row["num_items"] for row in rows] == [4, 4, 4, 4]
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:6]] == [f"| {row['model']}" for row in rows]
    assert TheWorld.from_pretrained(tmp_path / "model", load_world=False).config.world_tap == "dit"


def test_a_model_whose_vae_trains_is_refused(tmp_path: Path) -> None:
    model = TheWorld.from_pretrained("tiny", world_grid=2, freeze_cosmos_vae=False)

    with pytest.raises(ValueError, match="a model whose VAE trains"):
        grpo(model, tmp_path)
