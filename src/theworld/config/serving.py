"""Settings of `theworld serve` and `theworld app`: model, address, and limits that protect clients from each other."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from theworld.config.base import (
    MOST,
    STRICT,
    BatchSize,
    Count,
    CountOrZero,
    InferenceSteps,
    NumSlots,
    PathSetting,
    Seconds,
)
from theworld.config.problems import dataclass
from theworld.constants import TEMPORAL_STRIDE, TINY_FUSED_MODEL
from theworld.precision import Dtype


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ServeSettings:
    """One model behind an OpenAI-compatible API; an optional key comes from THEWORLD_API_KEY alone."""

    model: str
    """Folder or hub id of a saved TheWorld or of a Gemma 3; "tiny" or "tiny-foresight": the embedded TheWorld."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as saved, or float32 where this machine emulates that format."""

    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own opens the server to the network."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0: any free port."""

    allowed_hosts: tuple[str, ...] = ()
    """Host names that clients may use; none named: any, but only localhost, 127.0.0.1 and [::1] on those addresses."""

    served_name: str | None = None
    """Name of the model for clients; None: the value of `model`."""

    enable_world: bool = True
    """Off: plain Gemma 3; the world model stays unloaded, and no request can ask for it."""

    num_world_steps: NumSlots | None = None
    """K of requests that name none, latent slots; None: the K of the training."""

    num_inference_steps: InferenceSteps | None = None
    """Denoising steps per imagined future; fewer are cheaper. None: those of the training."""

    max_batch_size: BatchSize = 8
    """Most requests per batch; 1: each request alone."""

    batch_wait_ms: CountOrZero = 5
    """Longest time that an idle server waits to fill a batch, milliseconds."""

    max_kept_bytes: CountOrZero = 512_000_000
    """Most memory of what is kept of pictures and their worlds for further questions, bytes; 0: nothing is kept."""

    max_queue: Count = 32
    """Most waiting requests; the server refuses further ones with 429."""

    max_seconds: Seconds = 300.0
    """Longest time from the arrival of a request to its answer, seconds."""

    max_request_bytes: Count = 32_000_000
    """Largest request, bytes; base64 makes pictures and videos a third larger."""

    max_images: CountOrZero = 8
    """Most pictures in a request."""

    max_image_bytes: Count = 10_000_000
    """Largest picture file, bytes."""

    max_image_pixels: Annotated[int, Field(ge=4, le=MOST)] = 25_000_000
    """Largest picture, pixels."""

    max_videos: CountOrZero = 2
    """Most videos in a request."""

    max_video_bytes: Count = 20_000_000
    """Largest video file, bytes."""

    max_video_pixels: Annotated[int, Field(ge=4, le=MOST)] = 9_000_000
    """Largest frame of a video, pixels; 4K has 8,294,400."""

    max_video_seconds: Seconds = 120.0
    """Longest video, seconds."""

    max_video_frames: Count = 10_000
    """Most frames of a video file."""

    max_video_decode_seconds: Seconds = 10.0
    """Longest time for decoding a video, seconds."""

    max_prompt_tokens: Count = 8192
    """Longest prompt, tokens; image and world tokens count."""

    max_new_tokens: Count = 4096
    """Longest answer that a request can ask for, tokens."""

    default_new_tokens: Count = 256
    """Longest answer to a request that asks for no length, tokens."""

    @model_validator(mode="after")
    def _check(self) -> "ServeSettings":
        if self.default_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"default_new_tokens={self.default_new_tokens} is more than max_new_tokens={self.max_new_tokens}: a"
                " request without a length would be refused"
            )
        for name in ("num_world_steps", "num_inference_steps"):
            if not self.enable_world and (value := getattr(self, name)) is not None:
                raise ValueError(f"{name}={value} needs the world: drop it, or enable_world=False")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AppSettings:
    """A web page: ask about a picture; compare the answers with and without the world, and see their origin."""

    model: str = TINY_FUSED_MODEL
    """Folder or hub id of a saved TheWorld; "tiny" or "tiny-foresight": the embedded TheWorld."""

    dtype: Dtype = "auto"
    """Number format of the weights; auto: as saved, or float32 where this machine emulates that format."""

    audit: PathSetting | None = None
    """The audit.json of this model; None: the one in its folder or beside it, if present."""

    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own opens the page to the network."""

    port: Annotated[int, Field(ge=0, le=65535)] = 7860
    """Port to listen on; 0: any free port."""

    allowed_hosts: tuple[str, ...] = ()
    """Host names that visitors may use; none named: any, but only localhost, 127.0.0.1 and [::1] on those addresses."""

    max_world_steps: NumSlots = 8
    """Largest K that a visitor can choose, latent slots; the limit of the model still holds."""

    max_clip_frames: Count = 5
    """Most frames of a clip for the world model, 1 + 4j; a longer clip keeps its last frames."""

    max_video_seconds: Seconds = 30.0
    """Longest video, seconds."""

    max_files: Count = 32
    """Most pictures in a clip of pictures."""

    max_request_bytes: Count = 28_000_000
    """Largest picture or clip file, bytes, before base64 makes it a third larger."""

    max_image_pixels: Annotated[int, Field(ge=4, le=MOST)] = 25_000_000
    """Largest picture, and largest frame of a video, pixels."""

    max_question_characters: Count = 1000
    """Longest question, characters, and tokens: some characters have many."""

    max_new_tokens: Count = 64
    """Longest answer, tokens."""

    max_queue: Count = 16
    """Most waiting questions; the server refuses further ones with 429."""

    max_seconds: Seconds = 120.0
    """Longest time from a question to its last answer, and for reading an uploaded picture or clip, seconds."""

    num_pictures: Count = 64
    """Most pictures and clips to keep; the server drops the least recently used one."""

    max_kept_bytes: Count = 256_000_000
    """Most memory of the kept pictures and clips, bytes; the latest one stays in any case."""

    num_looks: Annotated[int, Field(ge=2, le=MOST)] = 16
    """Most key-value caches to keep on the model's device; a picture takes one with and one without the world."""

    @field_validator("max_clip_frames")
    @classmethod
    def _check_frames(cls, frames: int) -> int:
        if (frames - 1) % TEMPORAL_STRIDE:
            raise ValueError(f"given {frames}; expected 1 + {TEMPORAL_STRIDE}j (1, 5, 9, ...)")
        return frames
