"""Add your own world model as a tap: V-JEPA 2, which predicts patches of future frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import VJEPA2Config, VJEPA2Model

from theworld import TheWorld
from theworld.config import WorldSettings
from theworld.datasets.foresight import ForesightDataset
from theworld.world.custom import FeatureShape, OwnTap, register_tap

# Tiny and random here. For real use, call VJEPA2Model.from_pretrained("facebook/vjepa2-vitl-fpc64-256"), normalise the
# pixels as its processor does, and put theworld.io.fingerprint_weights of its folder into `identity`.
SIZES: dict[str, Any] = {"patch_size": 16, "crop_size": 64, "hidden_size": 48, "num_attention_heads": 4}
LAYERS: dict[str, Any] = {"num_hidden_layers": 2, "pred_hidden_size": 48, "pred_num_attention_heads": 4}


@register_tap("vjepa2")
class VJepaTap(OwnTap):
    """The encoder's patches of the last frame of each slot, then the predictor's patches of the future slots."""

    imagines = True

    def __init__(self, settings: WorldSettings, device: str | torch.device) -> None:
        super().__init__(settings, device)
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            model: Any = VJEPA2Model(VJEPA2Config(**SIZES, **LAYERS))
        self.model = model.eval().requires_grad_(False).to(self.device)

    @classmethod
    def shape(cls, settings: WorldSettings) -> FeatureShape:
        return FeatureShape(num_channels=SIZES["hidden_size"], stride_px=SIZES["patch_size"])

    @classmethod
    def identity(cls, settings: WorldSettings) -> dict[str, Any]:
        return {**SIZES, **LAYERS, "weights": f"random, seed {settings.seed}"}

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        pixels = frames[:, ::4].repeat_interleave(2, dim=1).to(self.device)  # a tubelet is two equal frames
        states = self.model.encoder(pixels.float() / 127.5 - 1).last_hidden_state  # (N, slots * h * w, C)
        side, num_given = frames.shape[-1] // SIZES["patch_size"], states.shape[1]
        if num_world_steps:
            positions = torch.arange(num_given + num_world_steps * side**2, device=self.device)
            given, future = (part.expand(len(frames), -1) for part in positions.tensor_split([num_given]))
            states = torch.cat([states, self.model.predictor(states, [given], [future]).last_hidden_state], dim=1)
        return states.unflatten(1, (-1, side, side)).permute(0, 4, 1, 2, 3)  # (N, C, T, h, w)


def main(folder: Path = Path("runs/your-own-world")) -> TheWorld:
    TheWorld.from_pretrained("tiny", world_tap="vjepa2", num_world_steps=4).save_pretrained(folder)
    model = TheWorld.from_pretrained(folder)  # with an untrained projector: see simple_training.py
    sample = ForesightDataset("train", 1, 64, "future")[0]
    question = sample.prompt[-1].text
    print(f"{question} {model.generate(sample.images[0], question)!r}, by an untrained projector")
    print(f"fingerprint of the world, by which stores and checkpoints know it: {model.config.world_fingerprint}")
    return model


if __name__ == "__main__":
    main()
