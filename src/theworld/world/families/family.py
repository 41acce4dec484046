"""Family: the facts about one family of video diffusion models that the taps need to read it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from jaxtyping import Bool, Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from theworld.config import WorldSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.hub import again
from theworld.world.tap import clip_noise

NULL_PROMPT: Final = "null_prompt"
"""Subfolder of a checkpoint with the embedding of the empty prompt: prompt.safetensors, a tensor `prompt` (L, W)."""

_SIZES: Final = (1, 1_024)


class Imagination:
    """Mixin for diffusers' pipelines: it imagines futures of given frames; `scheduler` has noise levels for sigmas."""

    vae: Any
    transformer: Any
    scheduler: Any
    family: "Family"
    prompt: Float[Tensor, "1 L W"]
    """Embedding of the null prompt."""
    given: Float[Tensor, "N C T h w"]
    """Latent means of the given frames of the current call."""

    def imagine(
        self,
        frames: UInt8[Tensor, "N F 3 H W"],
        num_world_steps: int,
        seeds: Sequence[int],
        settings: WorldSettings,
        on_step_end: Callable[..., dict[str, Any]] | None = None,
    ) -> Float[Tensor, "N C T h w"]:
        """Return the latents of the given slots, unchanged, and of `num_world_steps` imagined ones."""
        raise NotImplementedError

    def prompts(self, num_clips: int) -> Float[Tensor, "N L W"]:
        """Return the prompt of each clip, where the denoiser is."""
        return self.prompt.expand(num_clips, -1, -1).to(self.transformer.device, self.transformer.dtype)

    def noise_level(self) -> float:
        """Return t of the current forward."""
        return float(self.scheduler.sigmas[self.scheduler.step_index or 0])  # None before the first step

    def lowest_level(self, num_inference_steps: int) -> float:
        """Return t of the last forward."""
        self.scheduler.set_timesteps(num_inference_steps)
        return float(self.scheduler.sigmas[num_inference_steps - 1])


class Family(ABC):
    """A family of world models: a Wan autoencoder, a denoiser, and the conventions that join them."""

    name: ClassVar[str]
    example: ClassVar[str]
    """Hub id of a checkpoint in diffusers' layout."""
    licence: ClassVar[str]
    needs_guardrail: ClassVar[bool] = False
    """True if its licence requires NVIDIA's guardrail for decoded videos and prompts."""
    pipelines: ClassVar[tuple[str, ...]]
    """Classes in `model_index.json` that choose this family."""
    classes: ClassVar[dict[str, type]]
    """The only class of each part that the taps run; diffusers would build it from the files of any other."""
    blocks: ClassVar[str]
    """Attribute of the transformer with its blocks, whose outputs the tap `dit` reads."""
    num_blocks: ClassVar[str] = "num_layers"
    """Field of the transformer with the number of its blocks."""
    lists: ClassVar[dict[str, range]] = {"patch_size": range(3, 4)}
    """Lists of the transformer that shapes depend on: their lengths."""
    bounds: ClassVar[dict[str, tuple[int, int]]] = {
        "num_layers": _SIZES,
        "num_attention_heads": _SIZES,
        "attention_head_dim": (1, 4_096),
    }
    """Fields of the transformer that shapes depend on: their least and greatest values."""
    given_slots: ClassVar[str]
    """How the denoiser is told of given slots, for the table of families; empty: it cannot be told."""
    noise: ClassVar[str]
    """Timestep at noise level t, for the table of families."""
    uses_frame_rate: ClassVar[bool] = False
    samples: ClassVar[bool] = True
    """True if its futures are imagined: the taps `rollout` and `dit` with `denoised`."""
    takes_batches: ClassVar[bool] = True
    """False if the denoiser reads one clip at a time."""
    idle_forwards: ClassVar[int] = 0
    """Forwards at the end of a sampling that update nothing: the schedule ends with its smallest sigma twice."""
    prompt_parts: ClassVar[tuple[str, ...]] = ("tokenizer", "text_encoder")
    """Parts of a checkpoint that compute the embedding of a prompt."""
    prompt: ClassVar[Literal["zeros", "zeros or stored", "stored"]]
    """Embedding of the null prompt: zeros that are neutral, zeros unless one is stored, or always a stored one."""
    num_prompt_tokens: ClassVar[int]
    """Rows of zeros."""

    def suits(self, index: Mapping[str, Any]) -> bool:
        """Return True if a `model_index.json` with a pipeline of this family describes a member."""
        return True

    def channels(self, config: Mapping[str, Any]) -> int:
        """Return the channels of a block's states, from the transformer's configuration."""
        return config["num_attention_heads"] * config["attention_head_dim"]

    def patch(self, config: Mapping[str, Any]) -> int:
        """Return the latent cells per side of a state's patch."""
        return config["patch_size"][1]

    def states(self, output: Any) -> Float[Tensor, "N P C"]:
        """Return the states of video patches in a block's output."""
        return output

    @abstractmethod
    def prompt_width(self, config: Mapping[str, Any]) -> int:
        """Return the channels of a prompt's embedding, from the transformer's configuration."""

    @abstractmethod
    def denoise(
        self,
        transformer: Any,
        noised: Float[Tensor, "N C T h w"],
        num_given: int,
        prompt: Float[Tensor, "1 L W"],
        settings: WorldSettings,
    ) -> Float[Tensor, "N C T h w"]:
        """Run one forward on latents at noise level t, with the input that diffusers' pipeline would make.

        Args:
            transformer: of this family.
            noised: latents, clean in the given slots.
            num_given: slots that the denoiser is told are given.
            prompt: embedding of the null prompt.
            settings: of the tap.

        Returns:
            The velocity, noise - latent, in the slots after the given ones; the others mean nothing.
        """

    def check_scheduler(self, config: Mapping[str, Any]) -> str | None:
        """Return the fault of a scheduler's configuration, with its remedy; None: it drives this family."""
        return None

    def sampler(self, vae: Any, transformer: Any, scheduler: Any, prompt: Float[Tensor, "1 L W"]) -> Imagination:
        """Return diffusers' pipeline of loaded parts, conditioned on the given frames."""
        raise ValueError(self.cannot_imagine)

    @property
    def cannot_imagine(self) -> str:
        """The reason for which a family imagines no future."""
        return f"TheWorld imagines no future with {self.name}"

    def text_encoder(self) -> Any:
        """Return the class of the text encoder, which only `null_prompt` loads; None: the tokenizer is enough."""
        return None

    def embed(self, encoder: Any, tokenizer: Any, text: str, index: Mapping[str, Any]) -> Float[Tensor, "1 L W"]:
        """Return the embedding of a prompt, by diffusers' own code; `index` is the checkpoint's `model_index.json`."""
        raise ValueError(f"{self.name} is read without a prompt")

    def blocks_of(self, transformer: Any) -> nn.ModuleList:
        """Return the blocks of a transformer."""
        return getattr(transformer, self.blocks)

    def prompt_of(self, folder: Path, config: Mapping[str, Any], *, is_drawn: bool = False) -> Float[Tensor, "1 L W"]:
        """Return the embedding of the null prompt.

        Args:
            folder: of the checkpoint.
            config: of the transformer.
            is_drawn: True for a transformer with random weights, to which a stored prompt would mean nothing.

        Raises:
            ValueError: if it must be stored and is not, or has another width.
        """
        width = self.prompt_width(config)
        file = folder / NULL_PROMPT / "prompt.safetensors"
        if is_drawn or self.prompt == "zeros" or (self.prompt == "zeros or stored" and not file.is_file()):
            return torch.zeros(1, self.num_prompt_tokens, width)
        if not file.is_file():
            raise ValueError(
                f"{folder}: no {NULL_PROMPT}/{file.name}; {self.name} is not neutral to zeros, and needs the embedding"
                " of an empty prompt by its own text encoder: write it once with `python -m"
                f" theworld.world.families.null_prompt {folder}`"
            )
        try:
            stored = load_file(file).get("prompt")
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file}: damaged ({error}); {again(folder)}") from error
        if stored is None or stored.ndim != 2 or stored.shape[1] != width or not bool(stored.isfinite().all()):
            shape = None if stored is None else tuple(stored.shape)
            raise ValueError(
                f"{file}: `prompt` of shape {shape}; expected (L, {width}), finite: delete it, and write it anew"
            )
        return stored.float()[None]


def stride_of(vae_config: Mapping[str, Any]) -> int:
    """Return the pixels per cell of a latent, from the configuration of a Wan autoencoder."""
    return 2 ** len(vae_config["temperal_downsample"]) * (vae_config.get("patch_size") or 1)


def initial_noise(
    vae: AutoencoderKLWan, frames: UInt8[Tensor, "N F 3 H W"], num_world_steps: int, seeds: Sequence[int]
) -> Float[Tensor, "N C T h w"]:
    """Draw the noise from which the slots of a clip and of its future are imagined."""
    grid = frames.shape[-1] // stride_of(vae.config)
    num_slots = (frames.shape[1] - 1) // TEMPORAL_STRIDE + 1 + num_world_steps
    return clip_noise((vae.config["z_dim"], num_slots, grid, grid), seeds)


def given_mask(num_slots: int, num_given: int, device: torch.device) -> Bool[Tensor, "1 1 T 1 1"]:
    """Return True for the given slots and False for those after them."""
    return (torch.arange(num_slots, device=device) < num_given).view(1, 1, -1, 1, 1)


def flow_fault(config: Mapping[str, Any], *, karras: bool) -> str | None:
    """Return the fault of a UniPC scheduler that does not sample a flow, with its remedy."""
    for name, expected in (("use_flow_sigmas", True), ("use_karras_sigmas", karras)):
        if bool(config[name]) is not expected:
            return f"{name} is {config[name]}, expected {expected}: set it in scheduler_config.json"
    if config["prediction_type"] != "flow_prediction":
        given = config["prediction_type"]
        return f"prediction_type is {given!r}, expected 'flow_prediction': set it in scheduler_config.json"
    return None
