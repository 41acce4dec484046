"""Baselines: any vision-language model of transformers, asked with its own processor and chat template."""

import inspect
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from theworld.datasets.images import to_image
from theworld.datasets.sample import Sample
from theworld.evaluation.generation import BatchAnswerer, choices_of, row_of
from theworld.hub import fetch
from theworld.io import fingerprint_weights
from theworld.modeling.factory import on_this_machine
from theworld.modeling.loading import reporting_file_errors
from theworld.precision import loading_dtype

_FILES = ("*.json", "*.jinja", "*.model", "*.safetensors", "*.txt")
_NO_TEMPLATE = "no chat template in its processor; a model that is trained to answer has one: take its chat version"


class Baseline:
    """A vision-language model that is no TheWorld, with its processor.

    Args:
        name: hub id or folder.
        kind: type of the model in its configuration.
        dtype: number format of its weights; auto: as saved, or float32 if this machine emulates that.

    Raises:
        ValueError: for a model without vision, without a chat template, or whose files cannot be read.
    """

    def __init__(self, name: str, kind: str | None, dtype: str = "auto") -> None:
        if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
            raise ValueError(
                f"{name}: a model of type {kind!r}; expected a saved TheWorld, a Gemma 3, or a vision-language model of"
                " transformers (AutoModelForImageTextToText)"
            )
        is_folder = Path(name).is_dir()
        folder = Path(name) if is_folder else fetch(name, _FILES)
        self.name = folder.resolve().name if is_folder else name
        """Its name in tables: the hub id, or the name of the folder."""
        options = on_this_machine(dtype)
        with reporting_file_errors(name):
            config = AutoConfig.from_pretrained(folder)
            options["dtype"] = loading_dtype(options["dtype"], config.dtype)
            self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, **options).eval()
            self.processor: Any = AutoProcessor.from_pretrained(folder)
        if not getattr(self.processor, "chat_template", None):
            raise ValueError(f"{name}: {_NO_TEMPLATE}")
        self.weights = f"{name} {fingerprint_weights(folder) if is_folder else folder.name}"
        """Name and fingerprint, or commit, of the weights."""
        tokenizer = self.processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    def encode(self, conversations: list[Any], **options: Any) -> dict[str, Any]:
        """Encode conversations of equally many pictures, padded on the left, on the model's device."""
        inputs = self.processor.apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
            **options,
        )
        return dict(inputs.to(self.model.device, self.model.dtype))


class BaselineAnswerer(BatchAnswerer):
    """Answers samples with a baseline.

    Args:
        baseline: the model.
        max_new_tokens: longest reply, tokens.
        score_choices: compute the log-likelihood of every choice, end of turn included, instead of generating a reply.

    Raises:
        ValueError: for choices that its chat template cannot score.
    """

    def __init__(self, baseline: Baseline, *, max_new_tokens: int = 16, score_choices: bool = False) -> None:
        self.baseline = baseline
        self.model = baseline.model
        self.max_new_tokens = max_new_tokens
        self.score_choices = score_choices
        if score_choices:
            self._check_scores()

    def _check_scores(self) -> None:
        """Refuse log-likelihoods where an answered conversation does not begin with its prompt."""
        asked = [{"role": "user", "content": [{"type": "text", "text": "Which?"}]}]
        render = self.baseline.processor.apply_chat_template
        prompt = render(asked, add_generation_prompt=True, tokenize=False)
        if self.model.config.is_encoder_decoder or not render([*asked, _answer("This")]).startswith(prompt):
            raise ValueError(
                f"{self.baseline.name}: an answered conversation does not begin with its prompt, so choices have no"
                " log-likelihood: use --answers generate"
            )

    @torch.no_grad()
    def _answer(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        """Answer the samples, those of equally many pictures together: not every processor takes mixed rows."""
        order = sorted(range(len(samples)), key=lambda index: len(samples[index].images))
        rows: dict[int, dict[str, Any]] = {}
        for _, group in groupby(order, key=lambda index: len(samples[index].images)):
            indices = list(group)
            answers = (self._weigh if self.score_choices else self._write)([samples[index] for index in indices])
            for index, answer in zip(indices, answers, strict=True):
                rows[index] = row_of(samples[index], **answer)
        return [rows[index] for index in range(len(samples))]

    def _write(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        inputs = self.baseline.encode([_conversation(sample) for sample in samples], add_generation_prompt=True)
        tokenizer = self.baseline.processor.tokenizer
        output = self.model.generate(
            **inputs, max_new_tokens=self.max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
        start = 0 if self.model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        texts = tokenizer.batch_decode(output[:, start:], skip_special_tokens=True)
        return [{"prediction": text.strip()} for text in texts]

    def _weigh(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        choices = [choices_of(sample) for sample in samples]
        prompts = [_conversation(sample) for sample in samples]
        asked = _rows_of_ids(self.baseline.encode(prompts, add_generation_prompt=True))
        answered = [
            [*prompt, _answer(choice)] for prompt, options in zip(prompts, choices, strict=True) for choice in options
        ]
        inputs = self.baseline.encode(answered)
        starts = [ids for ids, options in zip(asked, choices, strict=True) for _ in options]
        lengths = []
        for ids, start in zip(_rows_of_ids(inputs), starts, strict=True):
            if ids[: len(start)] != start:
                raise ValueError("the prompt's last token joins the answer's first: no log-likelihood of the choice")
            lengths.append(len(ids) - len(start))
        totals = iter(self._totals(inputs, lengths))
        return [{"log_likelihoods": {choice: next(totals) for choice in options}} for options in choices]

    def _totals(self, inputs: dict[str, Any], lengths: list[int]) -> list[float]:
        """Sum the log-probabilities of the last `lengths` tokens of each row."""
        longest = max(lengths)
        takes_it = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        logits = self.model(**inputs, **({"logits_to_keep": longest + 1} if takes_it else {})).logits
        scores = torch.log_softmax(logits[:, -longest - 1 : -1].float(), -1)
        picked = scores.gather(-1, inputs["input_ids"][:, -longest:, None].to(scores.device))[..., 0]
        return [float(row[longest - length :].sum()) for row, length in zip(picked, lengths, strict=True)]


def _rows_of_ids(inputs: dict[str, Any]) -> list[list[int]]:
    """Return the token ids of each row, without padding."""
    masks = inputs["attention_mask"].bool()
    return [ids[mask].tolist() for ids, mask in zip(inputs["input_ids"], masks, strict=True)]


def _conversation(sample: Sample) -> list[dict[str, Any]]:
    """Return the messages up to the last question: the pictures, as RGB, before the first text."""
    pictures = [{"type": "image", "image": to_image(image)} for image in sample.images]
    messages = [{"role": turn.role, "content": [{"type": "text", "text": turn.text}]} for turn in sample.prompt]
    messages[0]["content"] = [*pictures, *messages[0]["content"]]
    return messages


def _answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}
