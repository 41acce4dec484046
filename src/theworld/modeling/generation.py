"""The short form: a picture and a question in, an answer out."""

import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from theworld.datasets.images import to_pictures
from theworld.modeling.fusion import FusedGemma
from theworld.modeling.processor import TheWorldProcessor

_MAX_NEW_TOKENS = 64


def ask(model: FusedGemma, image: Any, question: str, num_world_steps: int | None = None, **options: Any) -> str:
    """Answer one question about one or several pictures.

    Args:
        image: whatever `datasets.images.to_pictures` takes: PIL, path, array (H, W, 3), tensor (B, 3, H, W), a list.
        question: plain text; control tokens in it are encoded as text.
        num_world_steps: K, future latent slots; default: the model's configuration.
        options: of transformers' `generate` (`max_new_tokens`, at first 64, `do_sample`, ...), and `world`: clips for
            the world model in place of the pictures.

    Raises:
        ValueError: for a picture that cannot be read, or a K that the tap cannot serve.
    """
    world = options.pop("world", None)
    inputs = conversation(model, to_pictures(image), question, num_world_steps=num_world_steps, world=world)
    return answer_of(model, inputs, options)


def conversation(model: FusedGemma, pictures: list[Any], question: str, **world: Any) -> dict[str, Any]:
    """The inputs of one question about pictures, on the model's device; `world`: as `apply_chat_template` takes it."""
    content = [{"type": "image", "image": picture} for picture in pictures] + [{"type": "text", "text": question}]
    inputs = model.processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
        **world,
    ).to(model.device)
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    return dict(inputs)


def answer_of(model: FusedGemma, inputs: dict[str, Any], options: dict[str, Any]) -> str:
    """The text that the model writes after these inputs."""
    if "generation_config" not in options:
        options = {"max_new_tokens": _MAX_NEW_TOKENS, **options}
    generate: Any = model.generate  # pyright: ignore[reportAttributeAccessIssue]  # bound by transformers
    output = generate(**inputs, **options)
    sequences = output if not hasattr(output, "sequences") else output.sequences
    return model.processor.decode(sequences[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


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
        model: FusedGemma,
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


def question_ids(processor: TheWorldProcessor, question: str) -> list[int]:
    """The token ids after the last picture of a prompt: two line ends, the question, and the start of an answer."""
    tokenizer = processor.tokenizer
    header = len(tokenizer.encode("<start_of_turn>user\n"))  # with <bos>
    gap = tokenizer.encode("\n\n", add_special_tokens=False)
    messages = [{"role": "user", "content": [{"type": "text", "text": question}]}]
    ids = processor.apply_chat_template([messages], tokenize=True, return_dict=True, add_generation_prompt=True)
    return [*gap, *ids["input_ids"][0][header:]]
