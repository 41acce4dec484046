"""Recipes for varied scenes: more clips and longer phases, since looks, sizes and numbers of parts must be learned."""

import dataclasses
from typing import Any, Final

from recipes.settings import TinySettings, VaePhase, VaeRecipe, VlmPhase, VlmRecipe, WorldPhase, WorldRecipe

VAE: Final = VaeRecipe(
    num_clips=20_000,
    phases=(  # from the autoencoder of plain scenes, which knows pictures and motion
        VaePhase(num_frames=17, batch_size=4, num_steps=2_000, learning_rate=1.5e-3),
        VaePhase(num_frames=17, batch_size=8, num_steps=1_500, learning_rate=1e-3),
        VaePhase(num_frames=17, batch_size=8, num_steps=1_000, learning_rate=1e-3, decoder_only=True),
    ),
)
WORLD: Final = WorldRecipe(
    phases=(
        WorldPhase(num_clips=40_000, num_steps=5_500, log_sigma=1.0, matrix_learning_rate=3e-3, learning_rate=1e-3),
        WorldPhase(num_clips=120_000, num_steps=6_500, log_sigma=1.6, matrix_learning_rate=2e-3, learning_rate=7e-4),
    )
)
VLM: Final = VlmRecipe(
    num_scenes=4_000,
    statements=VlmPhase(num_steps=3_000, batch_size=64, matrix_learning_rate=3e-3, learning_rate=2e-3),
    mixed=VlmPhase(num_steps=3_500, batch_size=16, matrix_learning_rate=3e-3, learning_rate=2e-3),
    conversations=VlmPhase(num_steps=900, batch_size=24, matrix_learning_rate=2e-3, learning_rate=1e-3),
)


def for_scenes(settings: TinySettings) -> TinySettings:
    """Return the settings with the recipes of their scenes: each default becomes that of varied scenes."""
    if settings.scenes == "plain":
        return settings
    return dataclasses.replace(
        settings,
        vae=_with_defaults(settings.vae, VAE),
        world=_with_defaults(settings.world, WORLD),
        vlm=_with_defaults(settings.vlm, VLM),
    )


def _with_defaults(recipe: Any, varied: Any) -> Any:
    plain = type(recipe)()
    names = [field.name for field in dataclasses.fields(recipe)]
    changes = {name: getattr(varied, name) for name in names if getattr(recipe, name) == getattr(plain, name)}
    return dataclasses.replace(recipe, **changes)
