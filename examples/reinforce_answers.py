"""Train on answers with supervision, then with rewards (TRL's GRPO), and compare both on other scenes."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportMissingImports]  # of this example alone

from theworld import TheWorld
from theworld.datasets.collator import Collator
from theworld.datasets.foresight import ForesightDataset
from theworld.evaluation.statistics import McNemar, mcnemar, wilson_interval
from theworld.training.trl_world import WithWorld

TASKS = ("drop",)
BATCH = 25


class WorldGRPOTrainer(WithWorld, GRPOTrainer):
    """GRPO that gives the model its world."""


def main(
    folder: Path = Path("runs/reinforce-answers"), num_steps: int = 30, rl_steps: int = 10, num_test: int = 200
) -> list[dict[str, Any]]:
    """Train the projector with supervision, then by rewards and, as a control, with as much more supervision.

    The reward of an answer is 1 if it is the simulator's answer, and 0 otherwise: exact, and free.

    Returns:
        A row of each model: its name, right answers, their share and its 95 % Wilson interval.
    """
    torch.manual_seed(0)
    model = TheWorld.from_pretrained("tiny", world_tap="dit", num_world_steps=4, world_grid=4)
    test = ForesightDataset("test", num_test, 64, "future", tasks=TASKS)
    num_scenes, num_prompts = 16 * num_steps, 8 * rl_steps
    train: Any = ForesightDataset("train", num_scenes + num_prompts, 64, "future", tasks=TASKS)

    right = {"before": answers(model, test)}
    supervise(model, [train[index] for index in range(num_scenes)])
    right["supervised"] = answers(model, test)
    further = [train[index] for index in range(num_scenes, num_scenes + num_prompts)]
    control = copy.deepcopy(model)
    supervise(control, further)
    right["supervised on the scenes of RL, too"] = answers(control, test)
    reinforce(model, further, folder, rl_steps)
    right["supervised, then rewards"] = answers(model, test)

    model.save_pretrained(folder / "model")
    rows = [row(name, results) for name, results in right.items()]
    text = table(rows, mcnemar(right["supervised"], right["supervised, then rewards"]))
    (folder / "table.md").write_text(text)
    (folder / "results.json").write_text(json.dumps(rows, indent=2))
    print(text)
    return rows


def supervise(model: TheWorld, samples: list[Any]) -> None:
    """Train for one epoch on true answers."""
    collate = Collator(model.processor, supervise=True)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2, weight_decay=0.0)
    model.train()
    for batch in DataLoader(samples, batch_size=16, shuffle=True, collate_fn=collate):  # pyright: ignore[reportArgumentType]
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def reinforce(model: TheWorld, samples: list[Any], folder: Path, num_steps: int) -> None:
    """Train on rewards: each step samples 4 answers to each of 8 questions."""
    rows = [
        {
            "images": [sample.images[0]],
            "prompt": [{"role": "user", "content": sample.prompt[-1].text}],
            "truth": sample.answer,
        }
        for sample in samples
    ]
    settings = GRPOConfig(
        output_dir=str(folder / "grpo"),
        max_steps=num_steps,
        per_device_train_batch_size=32,
        num_generations=4,
        max_completion_length=3,
        learning_rate=2e-3,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to="none",
        logging_steps=1,
    )
    WorldGRPOTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=model.processor,
        reward_funcs=reward,
    ).train()


def reward(completions: list[Any], truth: list[str], **_: Any) -> list[float]:
    """Return 1 for each right answer, 0 for each other."""
    return [float(turns[0]["content"].strip() == answer) for turns, answer in zip(completions, truth, strict=True)]


def answers(model: TheWorld, test: Any) -> list[bool]:
    """Ask all questions and return whether each answer is right."""
    model.eval()
    collate = Collator(model.processor, supervise=False)
    right: list[bool] = []
    for first in range(0, len(test), BATCH):
        samples = [test[index] for index in range(first, min(first + BATCH, len(test)))]
        batch = collate(samples)
        with torch.no_grad():
            ids = model.generate(**batch, max_new_tokens=3, do_sample=False)[:, batch["input_ids"].shape[1] :]
        texts = model.processor.batch_decode(ids, skip_special_tokens=True)
        right += [text.strip() == sample.answer for text, sample in zip(texts, samples, strict=True)]
    return right


def row(name: str, right: list[bool]) -> dict[str, Any]:
    """Summarise the answers of one model."""
    interval = wilson_interval(sum(right), len(right))
    share = {"accuracy": sum(right) / len(right), "low": interval.low, "high": interval.high}
    return {"model": name, "num_right": sum(right), "num_items": len(right), **share}


def table(rows: list[dict[str, Any]], test: McNemar) -> str:
    """Format the rows, and the paired test of rewards against supervision alone."""
    lines = ["| model | right | accuracy % [95 % interval] |", "|---|---|---|"]
    for entry in rows:
        share = "{accuracy:.1%} [{low:.1%}, {high:.1%}]".format(**entry).replace("%", "")
        lines.append(f"| {entry['model']} | {entry['num_right']} of {entry['num_items']} | {share} |")
    lines.append("")
    lines.append(
        f"Rewards made {test.num_second_only} answers right and {test.num_first_only} wrong that supervision alone had"
        f" not (exact McNemar p = {test.p_value:.2g})."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
