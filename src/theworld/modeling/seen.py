"""Seen: pictures that the model has looked at, for questions that then pay for their own words alone."""

import copy
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from theworld.datasets.images import to_pictures
from theworld.modeling.asking import answer_of, conversation

if TYPE_CHECKING:
    from theworld.modeling.model import TheWorld
    from theworld.modeling.processor import TheWorldProcessor


class Seen:
    """The keys and values of world and pictures, which every question about them shares.

        prefill once     <bos> world tokens <start_of_turn>user ... <end_of_image>
        per question                                              \\n\\n question <end_of_turn> ... model

    The cache is forked by copy and never cut: layers with a sliding window forget what leaves it.

    Args:
        model: a TheWorld.
        image: whatever `datasets.images.to_pictures` takes; one picture at least.
        num_world_steps: K, future latent slots; default: the model's configuration.
        world: clips for the world model in place of the pictures.
        features: of these clips, as `read_world` gives them, where they were read before.

    Raises:
        ValueError: for no picture, one that cannot be read, or a K that the tap cannot serve.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: "TheWorld",
        image: Any,
        num_world_steps: int | None = None,
        world: list[Any] | None = None,
        features: Float[Tensor, "N C T h w"] | None = None,
    ) -> None:
        pictures = to_pictures(image)
        if not pictures:
            raise ValueError("no pictures: there is nothing that questions could share; use generate")
        self.model = model
        inputs = conversation(model, pictures, "", num_world_steps=num_world_steps, world=world)
        if features is not None:
            inputs.pop("world_pixels")
            inputs["world_features"] = features
        last = model.processor.tokenizer.convert_tokens_to_ids("<end_of_image>")
        end = int((inputs["input_ids"][0] == last).nonzero()[-1]) + 1
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            inputs[name] = inputs[name][:, :end]
        self.input_ids: Int[Tensor, "1 P"] = inputs["input_ids"]
        """Of what is shared."""
        self._cache = DynamicCache(config=model.config.get_text_config())
        nowhere = -end  # the positions from the end on, which are none: logits that nobody reads
        model(**inputs, past_key_values=self._cache, use_cache=True, logits_to_keep=nowhere)

    def inputs(self, question: str) -> dict[str, Any]:
        """What `generate` takes for a question: all ids, and a fork of the shared keys and values."""
        own = self.input_ids.new_tensor([question_ids(self.model.processor, question)])
        input_ids = torch.cat([self.input_ids, own], 1)
        return {  # without token_type_ids: a question is text, whose mask is causal
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "past_key_values": copy.deepcopy(self._cache),
        }

    def ask(self, question: str, **options: Any) -> str:
        """Answer a question; `options` are those of transformers' `generate` (`max_new_tokens`, at first 64, ...)."""
        return answer_of(self.model, self.inputs(question), options)


def question_ids(processor: "TheWorldProcessor", question: str) -> list[int]:
    """The token ids after the last picture of a prompt: two line ends, the question, and the start of an answer."""
    tokenizer = processor.tokenizer
    header = len(tokenizer.encode("<start_of_turn>user\n"))  # with <bos>
    gap = tokenizer.encode("\n\n", add_special_tokens=False)
    messages = [{"role": "user", "content": [{"type": "text", "text": question}]}]
    ids = processor.apply_chat_template([messages], tokenize=True, return_dict=True, add_generation_prompt=True)
    return [*gap, *ids["input_ids"][0][header:]]
