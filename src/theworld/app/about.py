"""What the page says of the loaded model, and what a visitor may choose."""

from dataclasses import asdict, dataclass
from typing import Any

from theworld.app.verdict import AuditVerdict
from theworld.config.serving import AppSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.foresight import TASKS
from theworld.datasets.foresight.items import NUM_SHIPPED
from theworld.modeling.configuration import TheWorldConfig
from theworld.serving.errors import RequestError

_TAPS = {
    "rollout": "one imagined future, as latents",
    "dit": "states of the denoiser",
    "vae": "the latent of what is given, no future",
    "siglip": "SigLIP's patches, no world",
    "noise": "a control: noise",
    "zero": "a control: zeros",
    "random": "a control: an untrained world model",
}


@dataclass(frozen=True)
class Steps:
    """How far ahead the loaded model may look, latent slots, and how long a clip may be."""

    least: int
    most: int
    usual: int
    most_frames: int

    @classmethod
    def of(cls, config: TheWorldConfig, settings: AppSettings) -> "Steps":
        """What a model's configuration and the settings allow."""
        usual = config.num_world_steps
        if not config.enable_world:
            return cls(0, 0, 0, 1)
        if config.world_fusion == "residual":  # built for one number of slots
            return cls(usual, usual, usual, 1 + TEMPORAL_STRIDE * config.num_past_steps)
        world = config.world_settings()
        looks_ahead = world.imagines and not (world.shape_of == "dit" and world.dit_future == "none")
        most = min(settings.max_world_steps, config.max_world_steps) if looks_ahead else 0
        frames = min(settings.max_clip_frames, 1 + TEMPORAL_STRIDE * config.max_past_steps)
        return cls(0, most, min(usual, most), frames)

    def check(self, num_world_steps: int) -> None:
        """Refuse what the model cannot do.

        Raises:
            RequestError: for another number of slots.
        """
        if not self.least <= num_world_steps <= self.most:
            raise RequestError(f"{num_world_steps} steps ahead: expected {self.least} to {self.most}")


def about(model: Any, settings: AppSettings, verdict: AuditVerdict, steps: Steps) -> dict[str, Any]:
    """All of it, JSON-like."""
    config: TheWorldConfig = model.config
    gate = getattr(getattr(model, "world", None), "gate", None)
    return {
        "model": settings.model,
        "has_world": config.enable_world,
        "verdict": asdict(verdict),
        "steps": asdict(steps),
        "seconds_per_step": TEMPORAL_STRIDE / config.frame_rate_hz,
        "tap": config.world_tap,
        "tap_reads": _TAPS.get(config.world_tap, "a tap of one's own"),
        "fusion": config.world_fusion,
        "gate": None if gate is None else float(gate),
        "base": config.base_model_name,
        "cosmos": config.cosmos_model_name,
        "image_px": model.config.vision_config.image_size,
        "world_px": config.world_image_size,
        "max_question_characters": settings.max_question_characters,
        "max_bytes": settings.max_request_bytes,
        "tasks": list(TASKS),
        "num_scenes": NUM_SHIPPED["test"],
    }
