"""WorldSettings: the world model, the tap that reads it, and the facts about each setting."""

from collections.abc import Mapping
from dataclasses import field, fields
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

from pydantic import AfterValidator, Field, model_validator

from theworld.config.base import STRICT, Count, CountOrZero, InferenceSteps, Seed
from theworld.config.problems import dataclass
from theworld.constants import DEFAULT_COSMOS_MODEL, DEFAULT_GEMMA_MODEL, TEMPORAL_STRIDE, TINY_MODEL
from theworld.precision import Dtype

_BuiltIn = Literal["vae", "dit", "rollout", "siglip", "v-jepa2", "true-future", "noise", "zero", "random"]
BUILT_IN_TAPS: Final[tuple[str, ...]] = get_args(_BuiltIn)

OWN_TAPS: Final[dict[str, bool]] = {}
"""Registered taps (theworld.world.custom); True if the tap can serve future slots."""

TAPS_GROUP: Final = "theworld.taps"
"""Entry points of installed packages: the name of a tap, and the module that registers it."""


def known_tap(tap: str) -> str:
    """Check the name of a tap; an installed package may register it.

    Raises:
        ValueError: if no tap has this name.
    """
    if tap not in BUILT_IN_TAPS and tap not in OWN_TAPS:
        for entry in entry_points(group=TAPS_GROUP, name=tap):
            entry.load()
    if tap in BUILT_IN_TAPS or tap in OWN_TAPS:
        return tap
    names = [*BUILT_IN_TAPS, *OWN_TAPS]
    close = get_close_matches(tap, names, n=1)
    raise ValueError(
        f"no tap {tap!r}; "
        + (f"did you mean {close[0]}? " if close else "")
        + f"Known are {', '.join(names)}. Register a tap of your own before you name it: import its module first"
    )


TapName = Annotated[_BuiltIn | str, AfterValidator(known_tap)]
"""The source of features: `siglip` reads Gemma's vision tower and no world, `v-jepa2` a predictor of features; `noise`,
`zero` and `random` are controls; any other name is a registered tap."""

ReadTap = Literal["vae", "dit", "rollout", "siglip", "v-jepa2", "true-future"]
"""A tap that a control can copy."""

CONTROL_TAPS = ("noise", "zero", "random")


def check_world_steps(num_world_steps: int, most: int) -> None:
    """Check K, the number of future latent slots, before anything is built for it.

    Raises:
        ValueError: for a K outside of 0 to `most`, the model's max_world_steps.
    """
    is_number = isinstance(num_world_steps, int) and not isinstance(num_world_steps, bool)
    if not is_number or not 0 <= num_world_steps <= most:
        raise ValueError(f"num_world_steps={num_world_steps!r:.40}: expected 0 to {most}")


def looks_ahead_by(num_world_steps: Any, world: Mapping[str, Any]) -> bool:
    """Return True if K > 0 alone must choose a tap: no tap is named, and none repeats the current slot.

    At K = 0 the tap `rollout` has the features of `vae`, the default, bit for bit.

    Args:
        num_world_steps: K as given, of any type.
        world: the given settings of the world, under their names here.
    """
    is_ahead = isinstance(num_world_steps, int) and num_world_steps > 0
    return is_ahead and world.get("tap") is None and not world.get("repeat_current")


POOLED: Final = ("dit", "siglip", "v-jepa2")
"""Networks whose hidden states a tap may average: wide features, unlike latents."""


class Stored(NamedTuple):
    """Facts about a setting of the world that checkpoints, stores and fingerprints depend on."""

    name: str
    """Its name in TheWorldConfig."""
    is_location: bool = False
    """It says where weights are, and not which: it is in no fingerprint, and may change when a checkpoint is loaded."""
    may_change: bool = False
    """It may change when a checkpoint is loaded, although a fingerprint depends on it."""
    future_only: bool = False
    """It decides only how future slots are filled: `transfer_tap` may change it."""
    omit_default: bool = False
    """It was added when stores existed already: its default is left out of fingerprints, which stay as they were."""


def _stored(default: Any, name: str, **facts: bool) -> Any:
    """A field of WorldSettings, with the facts of `Stored` beside its default."""
    return field(default=default, metadata={"stored": Stored(name, **facts)})


@dataclass(config=STRICT, frozen=True, kw_only=True)
class WorldSettings:
    """The world model and the tap: everything that a world feature depends on."""

    tap: TapName = _stored("vae", "world_tap", future_only=True)
    """Source of the features: the VAE latent, a denoiser block, the imagined future, SigLIP, V-JEPA 2; a control; or
    the name of a tap that you registered."""

    control_of: ReadTap = _stored("vae", "world_control_of", future_only=True)
    """Tap whose shape (noise, zero) or architecture (random) a control copies, or with which `true-future` reads.

    `true-future` reads with vae, dit (true slots noised to dit_noise_level), siglip or v-jepa2.
    """

    repeat_current: bool = _stored(False, "world_repeat_current", future_only=True, omit_default=True)
    """Let the taps vae and siglip, which cannot look ahead, fill future slots with the current one."""

    cosmos_model_name: str = _stored(DEFAULT_COSMOS_MODEL, "cosmos_model_name", is_location=True)
    """Hub id or folder of the world model: Cosmos-Predict2 or 2.5, Wan, or V-JEPA 2 for its tap; or "tiny"."""

    cosmos_revision: str | None = _stored(None, "cosmos_revision", is_location=True)
    """Commit of the hub repository."""

    siglip_model_name: str = _stored(DEFAULT_GEMMA_MODEL, "siglip_model_name", is_location=True)
    """Hub id or folder of the Gemma 3 checkpoint whose vision tower the tap `siglip` reads, or "tiny"."""

    image_size_px: Annotated[int, Field(ge=16, le=2_048, multiple_of=16)] = _stored(224, "world_image_size")
    """Side of the world model's square input frames, pixels."""

    frame_rate_hz: Annotated[float, Field(gt=0)] = _stored(16.0, "frame_rate_hz")
    """Frames per second of the clips; enters the rotary embedding of the denoiser."""

    num_inference_steps: InferenceSteps = _stored(10, "num_inference_steps", future_only=True, may_change=True)
    """Denoiser evaluations per rollout, at least 2: the last updates nothing. Fewer make cheaper futures; you may
    change them when you load a checkpoint."""

    num_rollouts: Count = _stored(1, "num_rollouts", future_only=True, omit_default=True)
    """Imagined futures that the tap `rollout` averages, each from its own noise."""

    dit_block: CountOrZero = _stored(14, "dit_block")
    """Index of the transformer block whose output the `dit` tap reads; later blocks never run."""

    dit_noise_level: Annotated[float, Field(gt=0, lt=1)] = _stored(0.3, "dit_noise_level", future_only=True)
    """Noise level t of the `dit` tap: its input is (1 - t) * latent + t * noise."""

    dit_future: Literal["none", "repeat", "denoised"] = _stored("repeat", "dit_future", future_only=True)
    """Content of the future slots of the `dit` tap: none, the current latent, or the model's own denoising."""

    seed: Seed = _stored(0, "world_seed")
    """Seed of the noise; combined with each clip's pixels, so that a feature depends on its clip alone."""

    pool: Count = _stored(1, "world_pool", omit_default=True)
    """Cells a side that are averaged into one, before features are stored or projected: 2 makes a quarter of them. For
    hidden states (dit, siglip, v-jepa2), which are wide; latents are small."""

    dtype: Dtype = _stored("float32", "world_dtype", may_change=True)
    """Number format of the world model; auto: bfloat16 on a device that computes it natively, else float32."""

    @property
    def shape_of(self) -> str:
        """The tap with the same feature shape."""
        return self.control_of if self.tap in CONTROL_TAPS else self.tap

    @property
    def reads(self) -> str:
        """The network whose states are the features: `vae`, `dit`, `siglip`, `v-jepa2` or a registered tap; it decides
        their channels and grid."""
        tap = self.control_of if self.tap == "true-future" else self.shape_of
        return tap if tap in ("dit", "siglip", "v-jepa2") or tap in OWN_TAPS else "vae"

    @property
    def sees_future(self) -> bool:
        """True if the frames after the current one are part of the input."""
        return self.shape_of == "true-future"

    @property
    def imagines(self) -> bool:
        """True if the tap can serve slots after the current one."""
        return self.repeat_current or OWN_TAPS.get(self.shape_of, self.shape_of not in ("vae", "siglip"))

    @model_validator(mode="after")
    def _check(self) -> "WorldSettings":
        tap, of = self.tap, self.control_of
        copies = {
            "true-future": ("vae", "dit", "siglip", "v-jepa2"),
            "random": ("vae", "dit", "rollout", "v-jepa2", "true-future"),
            **dict.fromkeys(("noise", "zero"), ("vae", "dit", "rollout", "siglip", "v-jepa2")),
        }
        if tap not in copies and of != "vae":
            raise ValueError(f"control_of={of!r} is for the taps {tuple(copies)}, not {tap!r}")
        if tap in copies and of not in copies[tap]:
            raise ValueError(f"control_of={of!r}: the tap {tap!r} takes {' or '.join(copies[tap])}")
        if self.repeat_current and self.shape_of not in ("vae", "siglip"):
            raise ValueError(f"repeat_current is for taps that cannot look ahead (vae, siglip), not {self.shape_of!r}")
        if self.pool > 1 and self.reads not in POOLED:
            raise ValueError(
                f"pool={self.pool} is for features that are hidden states ({', '.join(POOLED)}), not {tap!r}"
            )
        return self

    def num_frames(self, num_given: int, num_world_steps: int) -> int:
        """Return the number of frames that the tap reads of a clip: `true-future` also reads those of the future."""
        return num_given + TEMPORAL_STRIDE * num_world_steps if self.sees_future else num_given

    def num_slots(self, num_frames: int, num_world_steps: int) -> int:
        """Compute the number of latent time slots T of a clip.

        Args:
            num_frames: pixel frames of the clip, 1 + 4j; for `true-future` 1 + 4j + 4K, the future included.
            num_world_steps: K, future latent slots.

        Raises:
            ValueError: for a clip that the VAE would shorten silently, or a future that this tap cannot serve.
        """
        past, rest = divmod(num_frames - 1, TEMPORAL_STRIDE)
        if num_frames < 1 or rest:
            raise ValueError(
                f"a clip of {num_frames} frames: the VAE takes 1 + {TEMPORAL_STRIDE}j frames (1, 5, 9, ...) and would"
                " silently drop the others; shorten or lengthen the clip"
            )
        if num_world_steps < 0:
            raise ValueError(f"num_world_steps={num_world_steps}: expected 0 or more")
        if num_world_steps and not self.imagines:
            raise ValueError(
                f'num_world_steps={num_world_steps} needs a tap that looks ahead (world_tap="rollout" or "dit");'
                f" {self.tap!r} reads the given frames only, or, with repeat_current, the current one again"
            )
        if self.sees_future:
            if past < num_world_steps:
                raise ValueError(
                    f"tap 'true-future' with num_world_steps={num_world_steps} needs at least"
                    f" {1 + TEMPORAL_STRIDE * num_world_steps} frames, got {num_frames}"
                )
            return past + 1
        if self.shape_of == "dit" and num_world_steps and self.dit_future == "none":
            raise ValueError("dit_future='none' leaves no future slots to read: set num_world_steps=0")
        return past + 1 + num_world_steps


TINY_WORLD: Final[dict[str, Any]] = {
    "cosmos_model_name": TINY_MODEL,
    "siglip_model_name": TINY_MODEL,
    "image_size_px": 64,
    "frame_rate_hz": 6.0,
    "dit_block": 2,
}
"""Settings of the world that fit the embedded Gemma: its defaults."""

STORED: Final[dict[str, Stored]] = {setting.name: setting.metadata["stored"] for setting in fields(WorldSettings)}
"""Every setting of the world to its facts."""
