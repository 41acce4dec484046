"""ServeSettings: which model answers over HTTP, where, and the limits that keep one client from harming the others."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.base import STRICT
from theworld.constants import TEMPORAL_STRIDE, TINY_FUSED_MODEL
from theworld.precision import Dtype


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ServeSettings:
    """One model behind an OpenAI-compatible interface; a key, if any, comes from THEWORLD_API_KEY alone."""

    model: str
    """Folder or hub id of a saved TheWorld or of a Gemma 3; "tiny" or "tiny-foresight": the embedded TheWorld."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as saved, or float32 where this machine emulates that."""

    host: str = "127.0.0.1"
    """Address to listen on; another than this machine's own opens the server to the network."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0: any that is free."""

    served_name: str | None = None
    """What clients call the model; None: as it was named here."""

    enable_world: bool = True
    """Off: plain Gemma 3; nothing of the world is loaded, and no request can ask for it."""

    num_world_steps: Annotated[int, Field(ge=0)] | None = None
    """K of requests that name none, latent slots; None: as the model was trained."""

    max_batch_size: Annotated[int, Field(ge=1)] = 8
    """Requests answered at a time; 1: each alone."""

    batch_wait_ms: Annotated[int, Field(ge=0)] = 5
    """How long an idle server waits for company to a first request, milliseconds."""

    max_queue: Annotated[int, Field(ge=1)] = 32
    """Requests that may wait for their turn; further ones are refused with 429."""

    max_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Longest time from the arrival of a request to its answer, seconds."""

    max_request_bytes: Annotated[int, Field(ge=1)] = 32_000_000
    """Largest request, bytes; base64 makes pictures a third larger."""

    max_images: Annotated[int, Field(ge=0)] = 8
    """Most pictures in a request."""

    max_image_bytes: Annotated[int, Field(ge=1)] = 10_000_000
    """Largest picture as it is sent, bytes."""

    max_image_pixels: Annotated[int, Field(ge=4)] = 25_000_000
    """Largest picture, pixels."""

    max_prompt_tokens: Annotated[int, Field(ge=1)] = 8192
    """Longest prompt, tokens; image and world tokens count."""

    max_new_tokens: Annotated[int, Field(ge=1)] = 4096
    """Longest answer that a request may ask for, tokens."""

    default_new_tokens: Annotated[int, Field(ge=1)] = 256
    """Longest answer to a request that asks for no length, tokens."""

    @model_validator(mode="after")
    def _check(self) -> "ServeSettings":
        if self.default_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"default_new_tokens={self.default_new_tokens} is more than max_new_tokens={self.max_new_tokens}: a"
                " request that asks for no length would be refused"
            )
        if not self.enable_world and self.num_world_steps is not None:
            raise ValueError(f"num_world_steps={self.num_world_steps} needs the world: drop it, or enable_world=False")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AppSettings:
    """A page in the browser: a picture, a question, the answers with and without the world, and where they are from."""

    model: str = TINY_FUSED_MODEL
    """Folder or hub id of a saved TheWorld; "tiny" or "tiny-foresight": the embedded one."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as saved, or float32 where this machine emulates that."""

    audit: Path | None = None
    """The file audit.json of this model; None: one in its folder or beside it, if there is any."""

    host: str = "127.0.0.1"
    """Address to listen on; another than this machine's own opens the page to the network."""

    port: Annotated[int, Field(ge=0, le=65535)] = 7860
    """Port to listen on; 0: any that is free."""

    max_world_steps: Annotated[int, Field(ge=0)] = 8
    """Furthest that a visitor may look ahead, latent slots; never further than the model can."""

    max_clip_frames: Annotated[int, Field(ge=1)] = 5
    """Most frames of a clip that the world model is given, 1 + 4j; of a longer one the last count."""

    max_video_seconds: Annotated[float, Field(gt=0)] = 30.0
    """Longest video, seconds."""

    max_files: Annotated[int, Field(ge=1)] = 32
    """Most frames sent as pictures."""

    max_request_bytes: Annotated[int, Field(ge=1)] = 28_000_000
    """Largest picture or clip as it is sent, bytes; base64 makes it a third larger."""

    max_image_pixels: Annotated[int, Field(ge=4)] = 25_000_000
    """Largest picture, and largest frame of a video, pixels."""

    max_question_characters: Annotated[int, Field(ge=1)] = 1000
    """Longest question, characters."""

    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    """Longest answer, tokens."""

    max_queue: Annotated[int, Field(ge=1)] = 16
    """Questions that may wait for their turn; further ones are refused."""

    max_seconds: Annotated[float, Field(gt=0)] = 120.0
    """Longest time from a question to its last answer, and for a picture or clip to be received and read, seconds."""

    num_pictures: Annotated[int, Field(ge=1)] = 64
    """Pictures and clips that are kept; the one that was longest not asked about is forgotten."""

    num_looks: Annotated[int, Field(ge=2)] = 16
    """Looks at pictures whose keys and values are kept, on the model's device: with and without the world one each."""

    @field_validator("max_clip_frames")
    @classmethod
    def _check_frames(cls, frames: int) -> int:
        if (frames - 1) % TEMPORAL_STRIDE:
            raise ValueError(f"given {frames}; expected 1 + {TEMPORAL_STRIDE}j (1, 5, 9, ...)")
        return frames
