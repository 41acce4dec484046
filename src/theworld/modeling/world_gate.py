"""When to ask the world: choices are weighed without it first, and again with it where their margin is small."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from theworld.config.thresholds import Threshold, asks_world, lead_of, threshold_of
from theworld.constants import IGNORE_INDEX
from theworld.datasets.collator import Collator
from theworld.datasets.records import is_encodable, short
from theworld.datasets.sample import question as one_question
from theworld.modeling import generation
from theworld.modeling.chats import read_part
from theworld.modeling.fusion import Fusion
from theworld.modeling.generation import conversation, media_of, refuse_overlong

AUTO: Final = "auto"
"""Value of `world` that asks the world only where the answer without it is unsure."""

MOST_CHOICES: Final = 32
"""Most choices of a question."""

MOST_AT_ONCE: Final = 8
"""Most choices in one forward pass: each repeats the prompt with its pictures."""


def check_choices(choices: Any) -> list[str]:
    """Return the choices of a question, without white space around them.

    Raises:
        ValueError: for none, fewer than two, too many, or one that is empty, no text, or there twice.
    """
    if choices is None:
        raise ValueError(
            "world='auto' needs choices, whose margin decides if the world is asked: give choices=[...], or drop it"
        )
    if isinstance(choices, str) or not isinstance(choices, Sequence):
        raise ValueError(f"choices={short(choices)}: expected a list of texts")
    if not 2 <= len(choices) <= MOST_CHOICES:
        raise ValueError(f"{len(choices)} choices: expected 2 to {MOST_CHOICES}")
    for choice in choices:
        if not isinstance(choice, str) or not choice.strip() or not is_encodable(choice):
            raise ValueError(f"choice {short(choice)}: expected a text that is not empty")
    texts = [choice.strip() for choice in choices]
    if twice := [text for text in texts if texts.count(text) > 1]:
        raise ValueError(f"choice {twice[0]!r:.60} twice: give each once")
    return texts


@dataclass(frozen=True)
class AutoAnswer:
    """The likeliest choice, and whether the world was asked for it."""

    answer: str
    imagined: bool
    """True if the world was asked: the margin was below the threshold."""
    margin: float
    """Lead of the best choice over the second-best one without the world, nats."""
    log_likelihoods: dict[str, float]
    """Log-likelihood of each choice, nats, end of turn included: with the world if it was asked."""

    def __str__(self) -> str:
        return self.answer


class AutoLook:
    """Questions about pictures or videos that ask the world only where the answer without it is unsure.

    Pictures are decoded once. The world is read for the first unsure question, and its features are kept for the next
    ones.

    Args:
        model: a TheWorld with a world.
        image: pictures and videos, in any form that `generation.ask` accepts.
        num_world_steps: K, future latent slots; default: the model's configuration.
        features: of the pictures' clips, as `read_world` returns them, if you have them already.

    Raises:
        ValueError: for a model without a world, or no picture.
    """

    def __init__(
        self,
        model: Fusion,
        image: Any,
        num_world_steps: int | None = None,
        features: Float[Tensor, "N C T h w"] | None = None,
    ) -> None:
        if not model.config.enable_world:
            raise ValueError("world='auto' with enable_world=False: there is no world to ask; drop it")
        self.model = model
        self.num_world_steps = num_world_steps
        rule = model.config.clip_rule
        self._media = [
            {"type": "video", "video": read_part(part, rule)} if part["type"] == "video" else part
            for part in media_of(image)
        ]
        if not self._media:
            raise ValueError("world='auto' without a picture: there is nothing to imagine; drop it")
        self._features = features

    def ask(self, question: str, choices: Any = None, auto_threshold: Any = None, **unknown: Any) -> AutoAnswer:
        """Answer a question by the likeliest of its choices.

        Args:
            question: plain text.
            choices: the answers to choose from, two or more texts.
            auto_threshold: margin, nats, below which the world is asked, or "always"; None: that of the checkpoint.
            unknown: options of `generate`, which are refused: nothing is generated.

        Raises:
            ValueError: for missing or unusable choices, no threshold, a K that the tap cannot serve, or an option of
                generation.
        """
        texts = check_choices(choices)
        threshold = threshold_of(self.model.config.auto_threshold, auto_threshold)
        if given := sorted(name for name, value in unknown.items() if value is not None):
            raise ValueError(f"{', '.join(given)}: world='auto' weighs the choices and writes nothing; drop it")
        with self.model.without_world():  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]  # of TheWorld
            ids = choice_ids(self.model.processor, texts)
            plain = conversation(self.model, self._media, question)
        choices_ids = dict(zip(texts, ids, strict=True))
        return decide(self.model, choices_ids, threshold, plain, lambda: self._with_world(question))

    def _with_world(self, question: str) -> dict[str, Any]:
        """Return the inputs of a question with features of the world, which are read once."""
        inputs = conversation(self.model, self._media, question, num_world_steps=self.num_world_steps, world=None)
        pixels = inputs.pop("world_pixels")
        if self._features is None:
            self._features = self.model.read_world(pixels, inputs["num_world_steps"])
        return {**inputs, "world_features": self._features}


def decide(
    model: Any,
    choices: Mapping[str, Sequence[int]],
    threshold: Threshold,
    plain: Mapping[str, Any],
    with_world: Callable[[], Mapping[str, Any]],
    most_at_once: int = MOST_AT_ONCE,
) -> AutoAnswer:
    """Weigh choices without the world, and again with it if their margin is below the threshold.

    Args:
        model: a TheWorld with a world.
        choices: texts, each with its tokens (see `choice_ids`).
        threshold: of the gate.
        plain: inputs of the question without the world, a batch of one on the model's device.
        with_world: returns those with it, where features take the place of pixels; called only if they are needed.
        most_at_once: most choices in one forward pass.
    """
    ids = list(choices.values())
    with model.without_world():
        answer = _likeliest(dict(zip(choices, weigh(model, plain, ids, most_at_once), strict=True)))
    if not asks_world(answer.margin, threshold):
        return answer
    again = _likeliest(dict(zip(choices, weigh(model, with_world(), ids, most_at_once), strict=True)))
    return replace(again, imagined=True, margin=answer.margin)


def _likeliest(log_likelihoods: dict[str, float]) -> AutoAnswer:
    best = max(log_likelihoods, key=lambda choice: log_likelihoods[choice])
    return AutoAnswer(best, False, lead_of(log_likelihoods.values()), log_likelihoods)


def ask(model: Fusion, image: Any, question: Any, **options: Any) -> Any:
    """Answer as `generation.ask`; with `world="auto"` and `choices`, an `AutoAnswer` of `AutoLook`.

    Raises:
        ValueError: as both, for `choices` or `auto_threshold` without `world="auto"`, or several questions with it.
    """
    if not is_auto(options.get("world")):
        if given := [name for name in ("choices", "auto_threshold") if options.get(name) is not None]:
            raise ValueError(f"{given[0]} without world='auto': give both, or drop it")
        kept = {name: value for name, value in options.items() if name not in ("choices", "auto_threshold")}
        return generation.ask(model, image, question, **kept)
    if not isinstance(question, str):
        raise ValueError(f"question={short(question)}: with world='auto' one text, asked alone")
    look = AutoLook(model, image, options.pop("num_world_steps", None))
    return look.ask(question, **{name: value for name, value in options.items() if name != "world"})


def is_auto(world: Any) -> bool:
    """Return True for "auto" in the place of clips for the world model.

    Raises:
        ValueError: for another word.
    """
    if isinstance(world, str) and world != AUTO:
        raise ValueError(f"world={world!r:.40}: expected clips for the world model, or {AUTO!r}")
    return isinstance(world, str)


# --- log-likelihoods ----------------------------------------------------------------------------------------


def choice_ids(processor: Any, choices: Sequence[str]) -> list[list[int]]:
    """Encode choices as answers, end of turn included; control tokens in them are encoded as text.

    Args:
        processor: of a model, with its world off.
        choices: texts.
    """
    batch = Collator(processor, supervise=True)([one_question("", (), "?", choice) for choice in choices])
    labels = batch["labels"]
    return [row[row != IGNORE_INDEX].tolist() for row in labels]


@torch.no_grad()
def weigh(
    model: Fusion, inputs: Mapping[str, Any], ids: Sequence[Sequence[int]], most_at_once: int = MOST_AT_ONCE
) -> list[float]:
    """Compute the log-likelihood of each answer after one prompt, nats.

    Args:
        model: a TheWorld, its world on or off as it was for the inputs.
        inputs: those of `generate` for one question: a batch of one, on the model's device.
        ids: tokens of each answer, as `choice_ids` returns them.
        most_at_once: most answers in one forward pass.

    Raises:
        ValueError: for a prompt that is longer than the model with an answer.
    """
    refuse_overlong(model, inputs["input_ids"].shape[1] + max(map(len, ids)))
    totals: list[float] = []
    for start in range(0, len(ids), most_at_once):
        batch = _repeated(inputs, ids[start : start + most_at_once], model.processor.tokenizer.pad_token_id)
        labels = batch.pop("labels")
        totals += log_likelihoods(model, batch, labels).tolist()
    return totals


def _repeated(inputs: Mapping[str, Any], ids: Sequence[Sequence[int]], pad_token_id: int) -> dict[str, Any]:
    """Repeat a prompt before each answer, padded on the right; pictures and clips repeat with it.

    ids     [bos, IMG, what, red,  end]
            [bos, IMG, what, green, ish, end]
    """
    count, most = len(ids), max(map(len, ids))
    prompt = inputs["input_ids"]
    answers = prompt.new_tensor([[*row, *[pad_token_id] * (most - len(row))] for row in ids])
    mask = prompt.new_tensor([[1] * len(row) + [0] * (most - len(row)) for row in ids])
    batch: dict[str, Any] = {}
    for name, value in inputs.items():
        if name in ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"):
            end = {"input_ids": answers, "attention_mask": mask}.get(name, torch.zeros_like(answers))
            batch[name] = torch.cat([value.expand(count, -1), end], 1)
        elif isinstance(value, Tensor):
            batch[name] = value.repeat(count, *[1] * (value.ndim - 1))
        else:
            batch[name] = value
    labels = torch.where(mask.bool(), answers, torch.full_like(answers, IGNORE_INDEX))
    batch["labels"] = torch.cat([torch.full_like(prompt, IGNORE_INDEX).expand(count, -1), labels], 1)
    return batch


def log_likelihoods(model: Any, inputs: Mapping[str, Any], labels: Int[Tensor, "B L"]) -> Float[Tensor, " B"]:
    """Compute the log-likelihood of the supervised tokens of each row, nats.

    Args:
        model: a TheWorld.
        inputs: of its forward pass, on its device, without labels.
        labels: supervised tokens; everything else is -100.
    """
    shifted = torch.nn.functional.pad(labels, (0, 1), value=IGNORE_INDEX)[:, 1:].to(model.device)
    keep = shifted != IGNORE_INDEX
    logits = model(**inputs, logits_to_keep=keep).logits
    picked = torch.log_softmax(logits.float(), -1).gather(-1, shifted[keep][:, None])[:, 0]
    rows = torch.arange(len(labels), device=keep.device)[:, None].expand_as(keep)[keep]
    return torch.zeros(len(labels), device=keep.device).index_add_(0, rows, picked)
