"""Recipes for varied scenes, which continue from a build on plain ones: more clips, and no phase for what it knows."""

import dataclasses
from typing import Any, Final

from recipes.settings import (
    FusionRecipe,
    SslRecipe,
    TinySettings,
    VaePhase,
    VaeRecipe,
    VlmPhase,
    VlmRecipe,
    WorldPhase,
    WorldRecipe,
)

VAE: Final = VaeRecipe(
    num_clips=16_000,
    phases=(
        VaePhase(num_frames=17, batch_size=8, num_steps=1_700, learning_rate=1.2e-3),
        VaePhase(num_frames=17, batch_size=8, num_steps=800, learning_rate=1e-3, decoder_only=True),
    ),
)
"""The package's autoencoder had two passes: the first, of 4,500 steps, took it from plain scenes."""
WORLD: Final = WorldRecipe(
    phases=(
        WorldPhase(num_clips=100_000, num_steps=7_000, log_sigma=1.6, matrix_learning_rate=2e-3, learning_rate=7e-4),
        WorldPhase(
            num_clips=100_000,
            num_steps=6_000,
            log_sigma=2.0,
            matrix_learning_rate=2e-3,
            learning_rate=7e-4,
            moving_weight=5.0,
        ),
    )
)
VLM: Final = VlmRecipe(
    num_scenes=4_000,
    statements=VlmPhase(num_steps=1_200, batch_size=64, matrix_learning_rate=3e-3, learning_rate=2e-3),
    mixed=VlmPhase(num_steps=2_000, batch_size=16, matrix_learning_rate=3e-3, learning_rate=2e-3),
    conversations=VlmPhase(num_steps=900, batch_size=24, matrix_learning_rate=2e-3, learning_rate=1e-3),
)
FUSION: Final = FusionRecipe(
    num_clips=4_000,
    imitate_steps=500,
    align_steps=1_200,
    warmup_steps=50,
    tap="dit",
    lora_rank=16,
    label_steps=3_300,
    num_labelled_plain=4_000,
)
"""States and adapters, and outcomes in every look: an alignment alone stays below 63 % (docs/tiny.md)."""
SSL: Final = SslRecipe(num_clips=100_000, num_steps=10_000)
"""As many clips as the world model, and about its cost."""


def for_scenes(settings: TinySettings) -> TinySettings:
    """Return the settings with the recipes of their scenes: each default becomes that of varied scenes."""
    if settings.scenes == "plain":
        return settings
    return dataclasses.replace(
        settings,
        vae=_with_defaults(settings.vae, VAE),
        world=_with_defaults(settings.world, WORLD),
        vlm=_with_defaults(settings.vlm, VLM),
        fusion=_with_defaults(settings.fusion, FUSION),
        ssl=_with_defaults(settings.ssl, SSL),
    )


def _with_defaults(recipe: Any, varied: Any) -> Any:
    plain = type(recipe)()
    names = [field.name for field in dataclasses.fields(recipe)]
    changes = {name: getattr(varied, name) for name in names if getattr(recipe, name) == getattr(plain, name)}
    return dataclasses.replace(recipe, **changes)
