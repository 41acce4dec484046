"""AskSettings: a question about a picture or a video, with the world and without it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from theworld.config.base import MOST, STRICT, Count, InferenceSteps, NumSlots, PathSetting
from theworld.config.problems import dataclass
from theworld.config.thresholds import AutoThreshold
from theworld.precision import Dtype


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AskSettings:
    """A question about a picture or a video."""

    model: str
    """Folder or hub id of a saved TheWorld or of a Gemma 3; "tiny": the embedded TheWorld."""

    picture: PathSetting
    """The picture, or a video: MP4, MOV, WebM, MKV, AVI, GIF, animated WebP or PNG."""

    question: str
    """The question, plain text."""

    world: Literal["both", "auto"] = "both"
    """both: an answer with the world and one without it; auto: one of `choices`, and the world is asked only where the
    answer without it is unsure."""

    choices: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    """The answers to choose from, with --world auto."""

    auto_threshold: AutoThreshold | None = None
    """Lead of the best choice over the second-best one, nats, below which --world auto asks the world; 0: never,
    "always": whatever the lead is. None: that of the checkpoint."""

    num_world_steps: NumSlots | None = None
    """K, future latent slots; None: as in training."""

    num_inference_steps: InferenceSteps | None = None
    """Denoising steps per imagined future; fewer are cheaper. None: as in training."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as saved, or float32 where this machine emulates that."""

    max_new_tokens: Count | None = None
    """Longest answer, tokens; None: 64. A choice of --world auto has its own length."""

    start_seconds: Annotated[float, Field(ge=0, le=MOST)] = 0.0
    """Start of the video that the models see, seconds."""

    end_seconds: Annotated[float, Field(ge=0, le=MOST)] | None = None
    """End of it, whose last frame is the current one; None: the end of the video."""

    show_future: PathSetting | None = None
    """Output animation of the imagined future, a .gif file."""

    @model_validator(mode="after")
    def _check(self) -> "AskSettings":
        if self.end_seconds is not None and self.end_seconds < self.start_seconds:
            raise ValueError(f"end_seconds={self.end_seconds}: expected {self.start_seconds:g}, the start, or more")
        if self.show_future is not None and self.show_future.suffix.lower() != ".gif":
            raise ValueError(f"show_future={str(self.show_future)!r}: the animation is a GIF; name it .gif")
        if self.world == "both":
            for name in ("choices", "auto_threshold"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for --world auto: add it, or drop {name}")
        elif self.max_new_tokens is not None:
            raise ValueError("max_new_tokens: --world auto weighs the choices and writes nothing; drop it")
        elif self.choices is None:
            raise ValueError("--world auto needs choices, whose margin decides if the world is asked: give --choices")
        elif self.show_future is not None:
            raise ValueError("show_future imagines in any case, --world auto where it is unsure: drop one of them")
        return self
