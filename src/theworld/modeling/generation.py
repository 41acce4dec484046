"""Answers to questions about pictures: one at a time, or several after one prefill."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from theworld.datasets.images import to_pictures
from theworld.datasets.records import is_encodable, short
from theworld.datasets.video import VideoClip, is_video
from theworld.modeling.cache_name import CACHE
from theworld.modeling.chats import picture_of
from theworld.modeling.fusion import Fusion
from theworld.modeling.futures import agreed, check_futures
from theworld.modeling.world_prompts import WorldPrompts

_MAX_NEW_TOKENS = 64
_MOST_FUTURES_KEPT = 16
"""Prefixes of further imagined futures that a look keeps for its next question."""
_MOST_CHARACTERS_PER_TOKEN = 32
"""The longest tokens of Gemma's vocabulary have fewer characters, apart from runs of white space."""


def ask(
    model: Fusion, image: Any, question: str | Sequence[str], num_world_steps: int | None = None, **options: Any
) -> str | list[str]:
    """Answer one question about one or several pictures, or a batch of questions.

    Args:
        image: any form that `datasets.images.to_pictures` accepts: PIL, path, bytes of a file, array (H, W, 3), tensor
            (3, H, W), or a list; None: no picture. Also a video: path, bytes of a file, a torchcodec decoder, a
            VideoClip; or a part of a chat, `{"type": "video", "video": frames, "frame_rate": 30}`, which also takes
            an array (F, H, W, 3) or a list of frames, `start` and `end`. All pictures and videos belong to the one
            question: also the B of a tensor (B, 3, H, W). For a batch of questions a list with an entry per question.
        question: plain text; control tokens in it are encoded as text. A list of questions gives a list of answers.
        num_world_steps: K, future latent slots; default: the model's configuration.
        options: options of transformers' `generate` (`max_new_tokens`, by default 64, `do_sample`, ...), and `world`:
            clips for the world model in place of the pictures; for a batch a list of clips per question.

    Raises:
        ValueError: for a picture or video that cannot be read, a K that the tap cannot serve, or a batch of unequal
            lengths.
    """
    world = {"num_world_steps": num_world_steps, "world": options.pop("world", None)}
    if isinstance(question, str):
        return answer_of(model, conversation(model, image, question, **world), options)
    rows = _rows(image, question)
    for text in question:
        check_question(model, text)
    prompts = [[_message(media, text)] for media, text in zip(rows, question, strict=True)]
    return _answers_by_length(model, prompts, options, **world)


def _answers_by_length(model: Fusion, prompts: list[Any], options: dict[str, Any], **world: Any) -> list[str]:
    """Answer a batch: rows of videos and rows of pictures, whose clips have other lengths, are answered apart."""
    groups: dict[bool, list[int]] = {}
    for index, (message,) in enumerate(prompts):
        has_clip = any(part["type"] == "video" for part in message["content"]) and model.config.enable_world
        groups.setdefault(has_clip and world["world"] is None, []).append(index)
    answers: dict[int, str] = {}
    for indices in groups.values():
        inputs = _encoded(model, [prompts[index] for index in indices], **world)
        answers |= zip(indices, answers_of(model, inputs, options), strict=True)
    return [answers[index] for index in range(len(prompts))]


def _rows(images: Any, questions: Sequence[str]) -> list[list[Any]]:
    """Return the pictures and videos of each question in a batch, as parts of a chat.

    Raises:
        ValueError: for no questions, a question that is no text, or another number of entries.
    """
    if not isinstance(questions, Sequence) or not questions or not all(isinstance(text, str) for text in questions):
        raise ValueError(f"question={short(questions)}: expected a text, or a list of texts")
    is_list = isinstance(images, list | tuple) or (isinstance(images, Tensor) and images.ndim == 4)
    if not is_list or len(images) != len(questions):
        given = f"{len(images)} entries" if is_list else f"images of type {type(images).__name__}"
        raise ValueError(
            f"{len(questions)} questions and {given}: give a list with an entry per question (a picture, a list of"
            " pictures, or None); for several questions about one picture use look(image)"
        )
    return [media_of(entry) for entry in images]


def media_of(image: Any) -> list[dict[str, Any]]:
    """Return pictures and videos in any accepted form as parts of a chat; None: none."""
    if image is None:
        return []
    if isinstance(image, Mapping) and ("type" in image or not is_video(image)):
        if image.get("type") not in ("image", "video"):
            raise ValueError(
                f"a part of type {image.get('type')!r:.40} in the place of a picture: expected image, video"
            )
        return [dict(image)] if image["type"] == "video" else [{"type": "image", "image": picture_of(image)}]
    if isinstance(image, VideoClip) or is_video(image):
        return [{"type": "video", "video": image}]
    if isinstance(image, list | tuple):
        return [part for entry in image for part in media_of(entry)]
    return [{"type": "image", "image": picture} for picture in to_pictures(image)]


def conversation(model: Fusion, image: Any, question: str, **world: Any) -> dict[str, Any]:
    """Make the inputs of one question about pictures and videos, on the model's device.

    `image` is any form that `ask` accepts; `world` holds the arguments of `apply_chat_template` that concern the world.
    """
    check_question(model, question)
    return _encoded(model, [_message(media_of(image), question)], **world)


def _message(media: list[dict[str, Any]], question: str) -> dict[str, Any]:
    return {"role": "user", "content": [*media, {"type": "text", "text": question}]}


def _encoded(model: Fusion, prompt: list[Any], **world: Any) -> dict[str, Any]:
    """Encode a conversation, or a batch of them, padded on the left.

    Raises:
        ValueError: for a prompt that is longer than the model.
    """
    is_batch = isinstance(prompt[0], list)
    inputs = model.processor.apply_chat_template(
        prompt,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
        processor_kwargs={"text_kwargs": {"padding": True, "padding_side": "left"}} if is_batch else None,
        **world,
    ).to(model.device)
    refuse_overlong(model, inputs["input_ids"].shape[1])
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    return dict(inputs)


def place(model: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Move a batch to the model's device, and its pictures to the model's number format."""
    placed = {name: value.to(model.device) if isinstance(value, Tensor) else value for name, value in batch.items()}
    if "pixel_values" in placed:
        placed["pixel_values"] = placed["pixel_values"].to(model.dtype)
    return placed


def check_question(model: Fusion, question: Any) -> None:
    """Check a question before it is encoded.

    Raises:
        ValueError: for anything but a text, half of a surrogate pair, or a text that no prompt of the model can hold.
    """
    if not isinstance(question, str):
        raise ValueError(f"question={short(question)}: expected a text")
    if not is_encodable(question):
        raise ValueError("question: half of a surrogate pair in it, which no text file can hold")
    most = model.config.text.max_position_embeddings * _MOST_CHARACTERS_PER_TOKEN
    if len(question) > most:
        raise ValueError(f"question: {len(question):,} characters, more than the model's prompts hold")


def refuse_overlong(model: Fusion, num_tokens: int) -> None:
    """Refuse a prompt that is longer than the model.

    Raises:
        ValueError: with both lengths.
    """
    most = model.config.text.max_position_embeddings
    if num_tokens > most:
        raise ValueError(f"a prompt of {num_tokens:,} tokens: expected at most {most:,}, the model's length")


def answer_of(model: Fusion, inputs: dict[str, Any], options: dict[str, Any]) -> str:
    """Generate, and decode the text after the inputs of one question."""
    return answers_of(model, inputs, options)[0]


def answers_of(model: Fusion, inputs: dict[str, Any], options: dict[str, Any]) -> list[str]:
    """Generate, and decode the text after each row of inputs."""
    if "generation_config" not in options:
        options = {"max_new_tokens": _MAX_NEW_TOKENS, **options}
    generate: Any = model.generate  # pyright: ignore[reportAttributeAccessIssue]  # bound by transformers
    output = generate(**inputs, **options)
    sequences = output if not hasattr(output, "sequences") else output.sequences
    per_row = len(sequences) // len(inputs["input_ids"])  # several with num_return_sequences: the first counts
    replies = sequences[::per_row, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in model.processor.batch_decode(replies, skip_special_tokens=True)]


@dataclass(frozen=True)
class PrefixCache:
    """The keys and values of world and pictures, which every question about them shares; `prefill` makes one.

        prefill once     <bos> world tokens <start_of_turn>user ... <end_of_image>
        per question                                              \\n\\n question <end_of_turn> ... model

    Each question uses a copy of the cache, which is never cut: layers with a sliding window drop positions for good.
    """

    model: Fusion
    input_ids: Int[Tensor, "1 P"]
    """Token ids of the shared prefix."""
    cache: DynamicCache
    """Keys and values of the prefix."""
    imagine_another: "Callable[[int], PrefixCache] | None" = None
    """Returns the same prefix with another imagined future, by its number; None: the prefix has no world."""
    num_world_steps: int | None = None
    """K of the prefix; None: it has no world."""

    def inputs(self, question: str) -> dict[str, Any]:
        """Make the inputs of `generate` for a question: all token ids, and a copy of the shared cache."""
        check_question(self.model, question)
        rest = self.input_ids.new_tensor([question_ids(self.model.processor, question)])
        input_ids = torch.cat([self.input_ids, rest], 1)
        refuse_overlong(self.model, input_ids.shape[1])
        return {  # without token_type_ids: a question is text, whose mask is causal
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            CACHE: copy.deepcopy(self.cache),
        }

    def ask(self, question: str, num_futures: int | None = None, **options: Any) -> Any:
        """Answer a question.

        Args:
            question: plain text.
            num_futures: imagined futures to ask about, each with a prefill of its own the first time.
            options: those of transformers' `generate` (`max_new_tokens`, by default 64).

        Returns:
            The answer, a text; with `num_futures` an `Agreed`: the most frequent answer and its share.

        Raises:
            ValueError: for several futures of a model that imagines none.
        """
        if {"world", "choices", "auto_threshold"} & options.keys():
            raise ValueError("this look is encoded already: for world='auto' with choices use look(..., world='auto')")
        if num_futures is None:
            return answer_of(self.model, self.inputs(question), options)
        prefixes = [self, *(self._another(number) for number in range(1, self._checked(num_futures)))]
        return agreed([answer_of(self.model, prefix.inputs(question), options) for prefix in prefixes])

    def _checked(self, num_futures: int) -> int:
        check_futures(self.model.config, num_futures, self.num_world_steps)
        return num_futures

    def _another(self, number: int) -> "PrefixCache":
        assert self.imagine_another is not None
        return self.imagine_another(number)


Seen = PrefixCache
"""The former name of PrefixCache."""


@torch.no_grad()
def prefill(
    model: Fusion,
    image: Any,
    num_world_steps: int | None = None,
    world: list[Any] | None = None,
    features: Float[Tensor, "N C T h w"] | None = None,
) -> PrefixCache:
    """Run the model once over world and pictures, for several questions about them.

    Args:
        model: a TheWorld.
        image: one picture or video, or more, in any form that `ask` accepts.
        num_world_steps: K, future latent slots; default: the model's configuration.
        world: clips for the world model in place of the pictures.
        features: features of these clips, as `read_world` returns them, if you have them already.

    Raises:
        ValueError: for no picture, one that cannot be read, or a K that the tap cannot serve.
    """
    media = media_of(image)
    if not media:
        raise ValueError("no pictures: there is nothing that questions could share; use generate")
    inputs = conversation(model, media, "", num_world_steps=num_world_steps, world=world)
    pixels, steps = inputs.get("world_pixels"), inputs.get("num_world_steps")
    if features is not None:
        inputs.pop("world_pixels")
        inputs["world_features"] = features
    length = prefix_length(model.processor, inputs["input_ids"])
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        inputs[name] = inputs[name][:, :length]
    if pixels is None:
        return PrefixCache(model, inputs["input_ids"], prefix_keys(model, inputs))
    common = {name: value for name, value in inputs.items() if name not in ("world_pixels", "world_features")}

    @lru_cache(maxsize=_MOST_FUTURES_KEPT)
    @torch.no_grad()
    def imagine_another(number: int) -> PrefixCache:
        another = {**common, "world_features": model.read_world(pixels, steps, future=number)}
        return PrefixCache(model, common["input_ids"], prefix_keys(model, another))

    return PrefixCache(model, inputs["input_ids"], prefix_keys(model, inputs), imagine_another, steps)


def prefix_length(processor: WorldPrompts, input_ids: Int[Tensor, "B L"]) -> int:
    """Count the tokens of a prompt until the end of its last picture, which further questions share; 0: no picture."""
    end_of_image = processor.tokenizer.convert_tokens_to_ids("<end_of_image>")
    ends = (input_ids[0] == end_of_image).nonzero()
    return int(ends[-1]) + 1 if len(ends) else 0


def prefix_keys(model: Fusion, inputs: dict[str, Any]) -> DynamicCache:
    """Run the model over prefixes, and return their keys and values.

    Args:
        model: on Gemma 3.
        inputs: those of its forward; with `position_ids` if the rows are padded.
    """
    cache = DynamicCache(config=model.config.get_text_config())
    no_logits = -inputs["input_ids"].shape[1]  # transformers keeps the positions [-logits_to_keep:], here none
    model(**inputs, **{CACHE: cache}, use_cache=True, logits_to_keep=no_logits)
    return cache


def question_ids(processor: WorldPrompts, question: str) -> list[int]:
    """Encode the prompt after its last picture: two line ends, the question, and the start of an answer."""
    header, gap = question_place(processor)
    messages = [{"role": "user", "content": [{"type": "text", "text": question}]}]
    ids = processor.apply_chat_template([messages], tokenize=True, return_dict=True, add_generation_prompt=True)
    return [*gap, *ids["input_ids"][0][header:]]


def question_place(processor: WorldPrompts) -> tuple[int, list[int]]:
    """Return the tokens before the first question in a prompt without pictures, and those between picture and question.

    The first is a number, with <bos>; the second are ids, two line ends.
    """
    tokenizer = processor.tokenizer
    return len(tokenizer.encode("<start_of_turn>user\n")), tokenizer.encode("\n\n", add_special_tokens=False)
