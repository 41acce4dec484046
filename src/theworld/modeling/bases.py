"""The table of bases: vision-language models that a world can be fused with, and the facts that differ between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Base:
    """A kind of vision-language model under the fusion."""

    kind: str
    """Its `model_type` in config.json."""
    saved_kind: str
    """The `model_type` of a saved TheWorld on it."""
    title: str
    architecture: str
    """Its class in transformers."""
    parts: Mapping[str, str]
    """Each part of its configuration to the `model_type` of that part."""
    bounds: Mapping[str, Mapping[str, tuple[int, int]]]
    """Least and greatest values of the fields that decide shapes, far beyond any model's; "" is the whole."""
    meaning: tuple[str, ...]
    """Fields of the whole configuration that decide what the weights mean."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Features of TheWorld that do not exist on this base, to the remedy."""
    former_parts: Mapping[str, str] = field(default_factory=dict)
    """Other names in published files for the `model_type` of a part."""

    def refuse(self, feature: str) -> None:
        """Raise an error for a feature that the base lacks.

        Raises:
            ValueError: with the base, the feature and the remedy.
        """
        if feature in self.lacks:
            others = " and ".join(base.title for base in BASES if feature not in base.lacks)
            raise ValueError(f"{feature} on {self.title}: it exists for {others} alone; {self.lacks[feature]}")


_TEXT: Final = {
    "hidden_size": (1, 65_536),
    "intermediate_size": (1, 1_048_576),
    "num_hidden_layers": (1, 1_024),
    "num_attention_heads": (1, 1_024),
    "num_key_value_heads": (1, 1_024),
    "head_dim": (1, 4_096),
    "vocab_size": (8, 4_194_304),
    "sliding_window": (1, 1_073_741_824),
    "max_position_embeddings": (1, 1_099_511_627_776),
}
_VISION: Final = {
    "hidden_size": (1, 65_536),
    "intermediate_size": (1, 1_048_576),
    "num_hidden_layers": (1, 1_024),
    "num_attention_heads": (1, 1_024),
    "patch_size": (1, 1_024),
}

RESIDUAL: Final = "world_fusion='residual'"
PACKING: Final = "packing=True"
SHARED_PREFIX: Final = "look(image)"
IMITATION: Final = "objective='imitation'"
DISTILLATION: Final = "distillation"

_GEMMA3_ALONE: Final = {
    RESIDUAL: "its pictures have grids of any shape; use world_fusion='tokens'",
    PACKING: "use packing=False",
    SHARED_PREFIX: "ask each question with generate(image, question)",
    IMITATION: "its pictures have grids of any shape; train on answers",
    DISTILLATION: "its pictures have grids of any shape; set distillation.weight to 0",
}

GEMMA3: Final = Base(
    kind="gemma3",
    saved_kind="theworld",
    title="Gemma 3",
    architecture="Gemma3ForConditionalGeneration",
    parts={"text_config": "gemma3_text", "vision_config": "siglip_vision_model"},
    bounds={
        "": {"mm_tokens_per_image": (1, 65_536)},
        "text_config": {**_TEXT, "query_pre_attn_scalar": (1, 1_048_576)},
        "vision_config": {**_VISION, "num_channels": (1, 64), "image_size": (1, 16_384)},
    },
    meaning=("mm_tokens_per_image", "image_token_index", "boi_token_index", "eoi_token_index"),
)

GEMMA4: Final = Base(
    kind="gemma4",
    saved_kind="theworld_gemma4",
    title="Gemma 4",
    architecture="Gemma4ForConditionalGeneration",
    parts={"text_config": "gemma4_text", "vision_config": "gemma4_vision"},
    bounds={
        "": {},
        "text_config": {**_TEXT, "vocab_size_per_layer_input": (1, 4_194_304)},
        "vision_config": {
            **_VISION,
            "head_dim": (1, 4_096),
            "pooling_kernel_size": (1, 64),
            "position_embedding_size": (1, 1_048_576),
        },
    },
    meaning=("image_token_id", "boi_token_id", "eoi_token_id", "video_token_id", "audio_token_id"),
    lacks=_GEMMA3_ALONE,
)

QWEN3_VL: Final = Base(
    kind="qwen3_vl",
    saved_kind="theworld_qwen3_vl",
    title="Qwen3-VL",
    architecture="Qwen3VLForConditionalGeneration",
    parts={"text_config": "qwen3_vl_text", "vision_config": "qwen3_vl_vision"},
    bounds={
        "": {},
        "text_config": _TEXT,
        "vision_config": {
            "hidden_size": (1, 65_536),
            "intermediate_size": (1, 1_048_576),
            "depth": (1, 1_024),
            "num_heads": (1, 1_024),
            "in_channels": (1, 64),
            "patch_size": (1, 1_024),
            "spatial_merge_size": (1, 64),
            "temporal_patch_size": (1, 64),
            "out_hidden_size": (1, 65_536),
            "num_position_embeddings": (1, 1_048_576),
        },
    },
    meaning=(
        "image_token_id",
        "video_token_id",
        "vision_start_token_id",
        "vision_end_token_id",
        "tie_word_embeddings",
    ),
    lacks=_GEMMA3_ALONE,
    former_parts={"vision_config": "qwen3_vl"},
)

BASES: Final = (GEMMA3, GEMMA4, QWEN3_VL)


def base_of(kind: str | None) -> Base | None:
    """Return the base of a `model_type`: its own, or that of a saved TheWorld on it; None for any other model."""
    return next((base for base in BASES if kind in (base.kind, base.saved_kind)), None)


def is_saved(kind: str | None) -> bool:
    """Return True for the `model_type` of a saved TheWorld."""
    return any(kind == base.saved_kind for base in BASES)


def known_bases() -> str:
    """Return the kinds of models that a world can be fused with, as errors list them."""
    return ", ".join(f"{base.title} with vision ({base.kind!r})" for base in BASES)
