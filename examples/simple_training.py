"""Train in your own program: a model, samples, a collator, and a loop."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from theworld import TheWorld
from theworld.datasets.collator import Collator
from theworld.datasets.foresight import ForesightDataset


def main(folder: Path = Path("runs/simple-training"), num_epochs: int = 8) -> list[float]:
    """Train the projector of the tiny model on 16 scenes, save, reload and ask it; return the losses."""
    torch.manual_seed(0)
    model = TheWorld.from_pretrained("tiny", world_tap="dit", num_world_steps=4, world_grid=4)
    print(model.parameter_table())

    samples: Any = ForesightDataset("train", 16, 64, "future", tasks=("drop",))
    loader = DataLoader(samples, batch_size=4, shuffle=True, collate_fn=Collator(model.processor, supervise=True))
    optimizer = torch.optim.AdamW(trainable(model), lr=1e-2, weight_decay=0.0)
    losses = []
    model.train()
    for epoch in range(num_epochs):
        for batch in loader:
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {sum(losses[-len(loader) :]) / len(loader):.3f}")
    model.save_checkpoint(folder, optimizer, num_epochs)

    trained = TheWorld.from_pretrained(folder)
    sample = samples[0]
    question = sample.prompt[-1].text
    print(f"{question} {trained.generate(sample.images[0], question)} (true: {sample.answer})")
    return losses


def trainable(model: torch.nn.Module) -> Iterator[torch.nn.Parameter]:
    """Return the parameters that are not frozen."""
    return (parameter for parameter in model.parameters() if parameter.requires_grad)


if __name__ == "__main__":
    main()
