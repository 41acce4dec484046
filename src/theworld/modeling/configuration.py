"""TheWorldConfig: Gemma 3's configuration, plus the settings that read and fuse the world."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from huggingface_hub.dataclasses import strict
from pydantic import ValidationError
from transformers import Gemma3Config, Gemma3TextConfig, Gemma4Config, PreTrainedConfig, Qwen3VLConfig

from theworld.config import LoraSettings, WorldSettings
from theworld.config.strict_yaml import SettingsError
from theworld.config.thresholds import check_threshold
from theworld.config.world import STORED, known_tap
from theworld.constants import (
    DEFAULT_COSMOS_MODEL,
    DEFAULT_GEMMA_MODEL,
    EOW_TOKEN_ID,
    SOW_TOKEN_ID,
    TEMPORAL_STRIDE,
    WORLD_SOFT_TOKEN_ID,
)
from theworld.datasets.video import ClipRule
from theworld.modeling.bases import GEMMA3, GEMMA4, QWEN3_VL, RESIDUAL, Base

WORLD_FIELDS: Final = {name: stored.name for name, stored in STORED.items()}
"""Fields of WorldSettings to their names in TheWorldConfig."""

MAY_CHANGE = frozenset(
    {
        "enable_world",
        "base_model_name",
        "num_world_steps",
        "num_clip_frames",
        "num_gemma_frames",
        "freeze_gemma_vision",
        "freeze_gemma_projector",
        "freeze_gemma_language",
        "freeze_cosmos_vae",
        "auto_threshold",
        "quantize",
        *(stored.name for stored in STORED.values() if stored.is_location or stored.may_change),
    }
)
"""Settings that you may give anew when a checkpoint is loaded: the meaning of its weights does not depend on them."""

FUTURE_ONLY = frozenset(stored.name for stored in STORED.values() if stored.future_only)
"""Settings that decide how a tap's future slots are filled, or how noisy the denoiser's input is. A projector that was
trained on one kind of future accepts the features of another."""


def as_world_settings(fields: Mapping[str, Any]) -> WorldSettings:
    """Build WorldSettings from the fields of a configuration.

    Raises:
        ValueError: for a value that is not allowed, under its name in TheWorldConfig.
    """
    try:
        return WorldSettings(**{name: fields[stored] for name, stored in WORLD_FIELDS.items() if stored in fields})
    except SettingsError as refusal:
        error = refusal.__cause__
        assert isinstance(error, ValidationError)
        wrong = [
            f"{'.'.join(WORLD_FIELDS.get(str(name), str(name)) for name in detail['loc']) or 'world'}"
            f"={detail['input']!r}: {detail['msg']}"
            for detail in error.errors()
        ]
        raise ValueError("; ".join(wrong)) from refusal


@lru_cache(maxsize=128, typed=True)
def _checked_world(*values: Any) -> WorldSettings:
    """Build the settings from the values of WORLD_FIELDS; cached, since every forward needs them."""
    return as_world_settings(dict(zip(WORLD_FIELDS.values(), values, strict=True)))


def as_adapters(lora: LoraSettings | Mapping[str, Any]) -> dict[str, Any] | None:
    """Convert LoRA settings to their form in the configuration; None: no adapters."""
    settings = lora if isinstance(lora, LoraSettings) else LoraSettings(**lora)
    return {**asdict(settings), "targets": list(settings.targets)} if settings.targets else None


_USUAL_CLIP_FRAMES: Final = 5

_BOUNDS: Final = {
    "world_channels": (1, 65_536),
    "world_stride_px": (1, 1_024),
    "world_image_size": (16, 4_096),
    "world_grid": (1, 1_024),
    "world_projection_width": (1, 65_536),
    "num_world_steps": (0, 4_096),
    "max_world_steps": (0, 4_096),
    "num_past_steps": (0, 4_096),
    "max_past_steps": (0, 4_096),
    "num_clip_frames": (1, 16_385),
    "num_gemma_frames": (1, 16_385),
    "num_inference_steps": (2, 10_000),
    "num_rollouts": (1, 10_000),
    "dit_block": (0, 1_024),
    "world_pool": (1, 1_024),
}
"""Least and greatest values of sizes and counts; the greatest are far beyond any use, and reached by damaged files."""


if TYPE_CHECKING:
    _BesideABase = Gemma3Config
else:  # the configuration of the base is the second parent of each subclass
    _BesideABase = object


@dataclass(kw_only=True, repr=False, eq=False)
class WorldFields(_BesideABase):
    """The fields of a fused model's configuration beside those of its base.

    You never enter sizes: the channels and the stride of a feature come from the Cosmos checkpoint's own configuration,
    the width of a token from the base's.
    """

    BASE: ClassVar[Base]

    enable_world: bool = True
    """Off: the model is its base, bit for bit, and loads no part of the world."""
    base_model_name: str = DEFAULT_GEMMA_MODEL
    """Hub id or folder of the base under the fusion."""
    base_revision: str | None = None
    """Commit of the base repository; None for a folder."""
    base_fingerprint: str | None = None
    """Fingerprint of the base's weights if it is a folder."""
    cosmos_model_name: str = DEFAULT_COSMOS_MODEL
    cosmos_revision: str | None = None
    siglip_model_name: str = DEFAULT_GEMMA_MODEL

    world_tap: str = "vae"
    world_control_of: Literal["vae", "dit", "rollout", "siglip", "v-jepa2", "true-future"] = "vae"
    world_repeat_current: bool = False
    world_pool: int = 1
    world_fusion: Literal["tokens", "residual"] = "tokens"
    world_projection_mode: Literal["spatial", "channel"] = "spatial"
    world_projection_architecture: Literal["linear", "mlp", "mlp_final_gelu"] = "mlp"
    world_projection_width: int | None = None
    """Hidden width of the mlp; None: the width of a Gemma token."""
    world_grid: int | None = None
    """Side of the fused grid; space-to-depth resizes every feature to it; None: the tap's own."""
    world_image_size: int = 224
    """Side of the world model's input frames, pixels."""
    num_world_steps: int = 0
    """K, future latent slots; a call may override it."""
    max_world_steps: int = 16
    num_past_steps: int = 0
    """Latent slots before the current one; fixed for `residual` fusion, free for `tokens`."""
    max_past_steps: int = 4
    num_clip_frames: int | None = None
    """Frames of a video that the world model sees, 1 + 4j; None: 5, or as many as `max_past_steps` allows. Residual
    fusion has its own number, 1 + 4 num_past_steps."""
    num_gemma_frames: int = 1
    """Frames of a video that Gemma sees: the last, or as many from the first of the clip to the last. Residual fusion
    adds the clip to the last, and shows no other."""

    frame_rate_hz: float = 16.0
    num_inference_steps: int = 10
    num_rollouts: int = 1
    dit_block: int = 14
    dit_noise_level: float = 0.3
    dit_future: Literal["none", "repeat", "denoised"] = "repeat"
    world_seed: int = 0
    auto_threshold: float | int | Literal["always"] | None = None
    """Margin of the choices without the world, nats, below which `world="auto"` asks it; None: never chosen."""
    world_dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    world_channels: int = 16
    """C, channels of the tap's features: read from the Cosmos checkpoint."""
    world_stride_px: int = 8
    """Frame pixels per feature cell: read from the Cosmos checkpoint."""
    world_fingerprint: str | None = None
    """Fingerprint of the tap, weights included: set when a world is first attached, checked from then on."""

    sow_token_id: int = SOW_TOKEN_ID
    eow_token_id: int = EOW_TOKEN_ID
    world_token_id: int = WORLD_SOFT_TOKEN_ID

    freeze_gemma_vision: bool = True
    freeze_gemma_projector: bool | None = None
    freeze_gemma_language: bool = True
    freeze_cosmos_vae: bool = True
    lora: dict[str, Any] | None = None
    """Fields of LoraSettings; None: no adapters."""
    quantize: Literal["4bit"] | None = None
    """Number format of the language model's frozen layers; None: that of all weights."""
    trained_parts: list[str] | None = None
    """Parts that were ever trained, and so are in a checkpoint. The list only grows."""
    trained_on: list[str] | None = None
    """Data that the trained parts learnt from, one description per training; None: not recorded, or never trained."""

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.num_clip_frames is None:
            self.num_clip_frames = min(_USUAL_CLIP_FRAMES, self._most_clip_frames)
        if self.trained_parts is None:
            self.trained_parts = ["world"] if self.enable_world else []

    def validate_world(self) -> None:
        """Check the rules between fields.

        Raises:
            ValueError: with the fields, the expected values, and the remedy.
        """
        if self.auto_threshold is not None:
            check_threshold(self.auto_threshold)
        if self.lora is not None:
            self.lora_settings().check_frozen(self.freeze_gemma_vision, self.freeze_gemma_language)
        if self.quantize is not None:
            self.lora_settings().check_quantized(self.quantize, self.trained_parts or ())
        if not self.enable_world:
            self._check_clips()
            return
        if self.world_fusion == "residual":
            self.BASE.refuse(RESIDUAL)
        self._check_bounds()
        self._check_clips()
        settings = self.world_settings()
        if self.num_world_steps > self.max_world_steps:
            raise ValueError(
                f"num_world_steps={self.num_world_steps} is more than max_world_steps={self.max_world_steps}"
            )
        if self.num_world_steps and not settings.imagines:
            raise ValueError(
                f'num_world_steps={self.num_world_steps} needs a tap that looks ahead (world_tap="rollout" or "dit"),'
                f" not {self.world_tap!r}"
            )
        if self.native_grid % self.grid:
            legal = [side for side in range(1, self.native_grid + 1) if self.native_grid % side == 0]
            raise ValueError(
                f"world_grid={self.world_grid}: space-to-depth needs a divisor of the tap's own grid"
                f" {self.native_grid}: one of {legal}"
            )
        if self.world_projection_mode == "channel":
            if self.grid != self.native_grid or self.world_channels != 16:
                raise ValueError(
                    "projection mode 'channel' makes one token of each of the 16 latent channels: it takes neither"
                    f" world_grid={self.world_grid} nor a tap of {self.world_channels} channels"
                )
            if self.world_fusion == "residual":
                raise ValueError("world_fusion='residual' adds to a grid: use world_projection_mode='spatial'")
        if not self.freeze_cosmos_vae and self.world_tap != "vae":
            raise ValueError(f"freeze_cosmos_vae=False needs world_tap='vae', not {self.world_tap!r}")
        ids = (self.sow_token_id, self.eow_token_id, self.world_token_id)
        if min(ids) < 0 or len(set(ids)) < len(ids):
            raise ValueError(f"sow_token_id, eow_token_id, world_token_id={ids}: expected three ids of 0 or more")
        highest = max(ids)
        if self.BASE is GEMMA3 and highest >= self.text.vocab_size:  # other bases never look the three tokens up
            raise ValueError(
                f"world token id {highest} has no row in an embedding of {self.text.vocab_size} rows; the"
                " tokenizer must leave three free rows, since nothing is resized"
            )

    def _check_clips(self) -> None:
        """Check the frames of a video that the models see, also of a model whose world is off: Gemma sees some."""
        if self.enable_world and self.world_fusion == "residual":
            if self.num_gemma_frames > 1:
                raise ValueError(
                    f"num_gemma_frames={self.num_gemma_frames}: residual fusion adds a clip to one picture, so Gemma"
                    " sees its last frame: drop it, or load another fusion"
                )
        elif self.num_clip_frames is not None and self.num_clip_frames > self._most_clip_frames:
            raise ValueError(
                f"num_clip_frames={self.num_clip_frames}: max_past_steps={self.max_past_steps} allows"
                f" {self._most_clip_frames}"
            )
        try:
            _ = self.clip_rule
        except ValueError as error:  # the names of the rule are others
            raise ValueError(str(error).replace("num_frames", "num_clip_frames")) from error

    @property
    def _most_clip_frames(self) -> int:
        return 1 + TEMPORAL_STRIDE * self.max_past_steps

    def _check_bounds(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                limit = f"{least} to {most}" if value > most else f"{least} or more"
                raise ValueError(f"{name}={value}: expected {limit}")
        if self.world_stride_px > self.world_image_size:
            raise ValueError(
                f"world_stride_px={self.world_stride_px} is more than world_image_size={self.world_image_size}"
            )

    def world_settings(self) -> WorldSettings:
        """Return the fields that a world feature depends on, as taps take them; equal fields are checked once."""
        known_tap(self.world_tap)  # a tap can be unregistered, and the cache would not know
        return _checked_world(*(getattr(self, name) for name in WORLD_FIELDS.values()))

    @property
    def clip_rule(self) -> ClipRule:
        """The frames of a video that the models see."""
        assert self.num_clip_frames is not None  # since __post_init__
        num_frames = self.num_clip_frames
        if self.enable_world and self.world_fusion == "residual":  # built for one number of slots
            num_frames = 1 + TEMPORAL_STRIDE * self.num_past_steps
        return ClipRule(self.frame_rate_hz, num_frames, self.num_gemma_frames)

    def lora_settings(self) -> LoraSettings:
        """Return the settings of the model's adapters."""
        return LoraSettings(**(self.lora or {}))

    def pins(self) -> dict[str, dict[str, str | None]]:
        """Return the names, repository commits and known fingerprints of the models under the fusion."""
        pins = {
            "gemma": {
                "name": self.base_model_name,
                "revision": self.base_revision,
                "fingerprint": self.base_fingerprint,
            }
        }
        if self.enable_world:
            pins["world"] = {
                "name": self.cosmos_model_name,
                "revision": self.cosmos_revision,
                "fingerprint": self.world_fingerprint,
            }
        return pins

    @property
    def text(self) -> Gemma3TextConfig:
        """The language model's configuration; its type is that of Gemma 3's, or another base's with the same names."""
        text: Any = self.text_config
        return text

    @property
    def owns_vae(self) -> bool:
        """True if the VAE is a submodule: it trains, or an earlier stage trained it."""
        return self.enable_world and (not self.freeze_cosmos_vae or "cosmos_vae" in (self.trained_parts or ()))

    @property
    def native_grid(self) -> int:
        """Side of the tap's own feature grid."""
        return self.world_image_size // self.world_stride_px

    @property
    def grid(self) -> int:
        """Side of the fused grid."""
        return self.world_grid or self.native_grid

    @property
    def tokens_per_slot(self) -> int:
        """World tokens of one time slot in the sequence; 0 for `residual` fusion."""
        if self.world_fusion == "residual":
            return 0
        return self.world_channels if self.world_projection_mode == "channel" else self.grid**2

    @property
    def image_grid(self) -> int:
        """Side of Gemma's grid of image tokens: 16 for Gemma 3."""
        assert self.mm_tokens_per_image is not None  # optional in the base class only
        return round(self.mm_tokens_per_image**0.5)


WORLD_CONFIG_FIELDS: Final = frozenset(entry.name for entry in fields(WorldFields))
"""Names of the fields beside those of the base."""


@strict
class TheWorldConfig(WorldFields, Gemma3Config):
    """Configuration of a Gemma 3 with a world: Gemma 3's configuration and WorldFields."""

    model_type = GEMMA3.saved_kind
    BASE = GEMMA3


@strict
class TheWorldGemma4Config(WorldFields, Gemma4Config):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Configuration of a Gemma 4 with a world: Gemma 4's configuration and WorldFields."""

    model_type = GEMMA4.saved_kind
    BASE = GEMMA4


@strict
class TheWorldQwen3VLConfig(WorldFields, Qwen3VLConfig):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Configuration of a Qwen3-VL with a world: Qwen3-VL's configuration and WorldFields."""

    model_type = QWEN3_VL.saved_kind
    BASE = QWEN3_VL


CONFIGS: Final[dict[str, type[WorldFields]]] = {
    GEMMA3.kind: TheWorldConfig,
    GEMMA4.kind: TheWorldGemma4Config,
    QWEN3_VL.kind: TheWorldQwen3VLConfig,
}
"""Kind of a base to the configuration of a fused model on it."""


def native_config(kind: str) -> type[PreTrainedConfig]:
    """Return transformers' own configuration of a base."""
    _, native = CONFIGS[kind].__bases__
    return native
