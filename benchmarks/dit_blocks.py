"""The tap `dit` at the middle block of a denoiser of as many blocks as Cosmos-Predict2 2B, over the full forward."""

from collections.abc import Iterator

import torch
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel

from benchmarks.figures import Figure, paired_ratio
from theworld.config import WorldSettings
from theworld.tiny.cosmos import tiny_vae
from theworld.world.dit import DitTap
from theworld.world.families.table import PREDICT2

NUM_BLOCKS, BLOCK, SIDE_PX, STEPS = 28, 14, 224, 2


def figures() -> Iterator[Figure]:
    """Time the blocks up to the middle one over all blocks; encoding the frames does not count."""
    torch.manual_seed(0)
    transformer = CosmosTransformer3DModel(
        in_channels=17,  # 16 latent channels and the condition mask
        num_attention_heads=4,
        attention_head_dim=64,
        num_layers=NUM_BLOCKS,
        text_embed_dim=64,
        adaln_lora_dim=64,
        rope_scale=(1.0, 3.0, 3.0),
        extra_pos_embed_type=None,
    ).eval()
    side = SIDE_PX // 8
    latents = torch.randn(1, 16, 1 + STEPS, side, side)
    taps = [
        DitTap(
            WorldSettings(tap="dit", dit_block=block, image_size_px=SIDE_PX, dtype="float32"),
            tiny_vae(),
            transformer,
            PREDICT2,
            torch.zeros(1, 1, 64),
        )
        for block in (BLOCK, NUM_BLOCKS - 1)
    ]

    @torch.no_grad()
    def read(tap: DitTap) -> None:
        tap.states(latents, STEPS, seeds=[0])

    ratio = paired_ratio(lambda: read(taps[0]), lambda: read(taps[1]), num_pairs=7)
    yield Figure(f"dit_block_{BLOCK}_of_{NUM_BLOCKS}_over_full_forward", ratio, (BLOCK + 1) / NUM_BLOCKS + 0.05)
