"""The world in TRL's GRPOTrainer, which hands a fixed list of inputs to the model: a class to put before it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

_DROPPED = ("world_pixels", "num_world_steps", "token_type_ids", "mm_token_type_ids")
"""Inputs that TRL computes once more: the world is read once, and the model derives the types of tokens from the ids.

TRL's own types have one position too many where a tokenizer adds <bos> to a prompt that begins with it.
"""

if TYPE_CHECKING:
    _Trainer: Any = object
else:  # the trainer is the second parent of a user's class
    _Trainer = object


class WithWorld(_Trainer):
    """Gives a TheWorld its world in training by answers: `class Trainer(WithWorld, GRPOTrainer): ...`.

    The world is read once for each distinct clip of a batch, however many answers are sampled for it, and answers hold
    no placeholders of the world. Sampling is that of transformers, since vLLM does not run the world.

    Raises:
        ValueError: with `use_vllm`, or for a model whose VAE trains.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if getattr(self, "use_vllm", False):
            raise ValueError("use_vllm=True: vLLM does not run the world; leave it at False")
        if self._fusion.cosmos_vae is not None:
            raise ValueError(
                "a model whose VAE trains: its features change at each step; freeze it (freeze_cosmos_vae)"
            )
        self._features: Tensor | None = None
        config = self._fusion.config
        if config.enable_world and config.tokens_per_slot:  # TRL replaces the tokens that the model suppresses
            world = [config.sow_token_id, config.eow_token_id, config.world_token_id]
            self.generation_config.suppress_tokens = [*(self.generation_config.suppress_tokens or ()), *world]

    @property
    def _fusion(self) -> Any:
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, dict[str, Any]]:
        """Replace the clips of prompts by their features."""
        ids, images, fields = super()._tokenize_prompts(prompts)
        frames, steps = fields.pop("world_pixels", None), fields.pop("num_world_steps", None)
        self._features = None
        if frames is not None:
            self._features = fields["world_features"] = self._read_once(frames, steps)
        return ids, images, fields

    def _read_once(self, frames: UInt8[Tensor, "N F 3 H W"], steps: int | None) -> Float[Tensor, "N C T h w"]:
        distinct, places = torch.unique(frames, dim=0, return_inverse=True)
        with torch.no_grad():
            return self._fusion.read_world(distinct.to(self.accelerator.device), steps)[places]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Return TRL's batch, with the features of each row in a list, which TRL shuffles and splits by rows."""
        batch = super()._generate_and_score_completions(inputs)
        if self._features is not None:
            clips = self._clips_of(batch["prompt_ids"], batch.get("num_images"))
            batch["world_features"] = list(self._features.split(clips))
        return batch

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        rows = inputs.get("world_features")
        self._features = None if rows is None else torch.cat(rows)
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(self, model: Any, input_ids: Tensor, *args: Any, **inputs: Any) -> Any:
        """Compute TRL's log-probabilities with the world."""
        for name in _DROPPED:
            inputs.pop(name, None)
        if self._features is not None:
            rows = self._features.split(self._clips_of(input_ids, inputs.get("num_images")))
            model = _with_features(model, rows)
        return super()._get_per_token_logps_and_entropies(model, input_ids, *args, **inputs)

    def _clips_of(self, input_ids: Tensor, num_images: list[int] | None) -> list[int]:
        """Count the clips of each row by their markers, or with residual fusion by pictures."""
        config = self._fusion.config
        if config.tokens_per_slot:
            return (input_ids == config.sow_token_id).sum(-1).tolist()
        return list(num_images or ())


def _with_features(model: Callable[..., Any], rows: Sequence[Tensor]) -> Callable[..., Any]:
    """Return the model as TRL calls it: on rows in order, some at a time."""
    done = 0

    def call(input_ids: Tensor, **inputs: Any) -> Any:
        nonlocal done
        features = torch.cat(list(rows[done : done + len(input_ids)]))
        done += len(input_ids)
        return model(input_ids=input_ids, world_features=features if len(features) else None, **inputs)

    return call
