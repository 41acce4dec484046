"""Train on your own pictures and questions, and evaluate the trained model."""

import json
import random
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from theworld import TrainingConfig, evaluate, train
from theworld.config import DataSettings, EvaluationConfig, ModelSettings, OptimSettings, WorldSettings

QUESTION = "Where is the disc: left or right? Answer with one word."


def main(folder: Path = Path("runs/your-own-data"), num_train: int = 160, num_steps: int = 60) -> dict[str, Any]:
    """Train on pictures, ask about others with and without the world, and return accuracies with intervals."""
    make_pictures(folder / "pictures" / "train", num_train, seed=0)
    make_pictures(folder / "pictures" / "validation", 60, seed=1)
    data = DataSettings(dataset="hf", source=str(folder / "pictures"))  # columns image, question and answer
    world = WorldSettings(tap="vae", cosmos_model_name="tiny", siglip_model_name="tiny", image_size_px=64)
    run = train(
        TrainingConfig(
            output_dir=folder / "run",
            model=ModelSettings(gemma_model_name="tiny", dtype="float32", world_grid=4, world=world),
            data=data,
            num_steps=num_steps,
            batch_size=16,
            precision="fp32",
            num_workers=0,
            log_to="none",
            optim=OptimSettings(learning_rate=1e-2, weight_decay=0.0),
        )
    )
    evaluation = EvaluationConfig(
        checkpoint=Path(run["model"]), output_dir=folder / "evaluation", arms=("world", "gemma", "majority"), data=data
    )
    arms = evaluate(evaluation)["arms"]
    for name, summary in arms.items():
        accuracy = summary["accuracy"]
        interval = accuracy["wilson"]
        print(f"{name}: {accuracy['value']:.0%} right [{interval['low']:.0%}, {interval['high']:.0%}]")
    return arms


def make_pictures(folder: Path, number: int, seed: int) -> None:
    """Write pictures in place of your own, and metadata.jsonl with a line for each, as `load_dataset` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    lines = []
    for index in range(number):
        picture = Image.new("RGB", (64, 64), (244, 243, 238))
        x, y = draw.choice([draw.uniform(8, 28), draw.uniform(36, 56)]), draw.uniform(8, 56)
        ImageDraw.Draw(picture).ellipse((x - 5, y - 5, x + 5, y + 5), fill=(40, 90, 210))
        picture.save(folder / f"{index:03}.png")
        answer = "left" if x < 32 else "right"
        lines.append(json.dumps({"file_name": f"{index:03}.png", "question": QUESTION, "answer": answer}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
