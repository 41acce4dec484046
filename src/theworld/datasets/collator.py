"""Collator: turn samples into a batch of tensors; the only module that makes labels."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from theworld.config import WorldSettings
from theworld.constants import IGNORE_INDEX, TEMPORAL_STRIDE
from theworld.datasets.images import to_image, to_pictures
from theworld.datasets.packing import packed
from theworld.datasets.sample import Sample


@runtime_checkable
class WorldProcessor(Protocol):
    """The members of TheWorldProcessor that batches with a world need."""

    enable_world: bool
    num_world_steps: int
    tokens_per_slot: int

    @property
    def world_settings(self) -> WorldSettings: ...

    def world_frames(self, clips: Sequence[Any]) -> Tensor | None: ...

    def gemma_pixels(self, pictures: Sequence[Image.Image]) -> Tensor: ...


class Collator:
    """Turns samples into the model's input.

    Args:
        processor: a TheWorldProcessor (or Gemma3Processor, for a model without a world).
        supervise: True for training: rows contain answers and labels, with padding on the right. False for
            generation: rows end with the last question, with padding on the left.
        num_world_steps: K of every batch; default: the processor's own. Samples with a smaller K lower it.
        read_features: (frames, K) -> stored features, which replace pixels.
        read_teacher: (frames, K) -> stored features that a model without a world learns to predict; None: no
            distillation.
        show_slots: True for imitation: batches also contain a picture of each slot.
        packing: True to let samples share rows; for training.
        max_length: tokens of a packed row; None: those of the longest sample of the batch.
    """

    def __init__(
        self,
        processor: Any,
        *,
        supervise: bool,
        num_world_steps: int | None = None,
        read_features: Callable[[Tensor, int], Tensor] | None = None,
        read_teacher: Callable[[Tensor, int], Tensor] | None = None,
        show_slots: bool = False,
        packing: bool = False,
        max_length: int | None = None,
    ) -> None:
        self.processor = processor
        self.supervise = supervise
        self.num_world_steps = num_world_steps
        self.read_features = read_features
        self.read_teacher = read_teacher
        self.show_slots = show_slots
        self.packing = packing
        self.max_length = max_length
        header, end = getattr(processor, "answer_marks", ("<start_of_turn>model\n", "<end_of_turn>"))
        self._header: list[int] = processor.tokenizer.encode(header, add_special_tokens=False)
        self._end: int = processor.tokenizer.convert_tokens_to_ids(end)

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Make a batch: input_ids, attention_mask, token_type_ids, pixel_values, world_*, and labels if supervised.

        With `packing` also position_ids and packed_samples, as `packed` returns them, in fewer rows than samples.
        With `show_slots` also slot_pixel_values (N, T, 3, H, W): the last frame of each of the T slots of the N clips.
        With `read_teacher` also teacher_features (N, C, 1 + K, h, w): of the current slot and those ahead of the N
        clips; and teacher_pictures (M,): True for the N of the M pictures that show the current frame of a clip.

        Raises:
            ValueError: for clips of unequal length, a missing true future, or an answer to learn that is not there; for
                a teacher's clips that do not have equally many pictures.
        """
        if self.supervise and not self.show_slots:
            _check_answers(samples)
        options: dict[str, Any] = {
            "text_kwargs": {"padding": True, "padding_side": "right" if self.supervise else "left"},
        }
        pictures = [sample.images for sample in samples]
        if not self._has_world:
            pictures = [tuple(map(to_image, images)) for images in pictures]
        else:  # the processor converts pictures, and without clips makes one of each
            options["num_world_steps"] = self._steps(samples)
            if self._sees_future or any(sample.clips is not None for sample in samples):
                options["world"] = [self._clips(sample) for sample in samples]
        batch = dict(
            self.processor.apply_chat_template(
                [_conversation(*item, self.supervise) for item in zip(samples, pictures, strict=True)],
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                add_generation_prompt=not self.supervise,
                processor_kwargs=options,
            )
        )
        if self.supervise:
            batch["labels"] = self.labels(batch["input_ids"])
        if self.show_slots:
            num_frames, steps = batch["world_pixels"].shape[1], batch["num_world_steps"]
            batch["slot_pixel_values"] = self._slots(
                samples, self.processor.world_settings.num_slots(num_frames, steps)
            )
        if self.read_features is not None and "world_pixels" in batch:
            batch["world_features"] = self.read_features(batch.pop("world_pixels"), batch["num_world_steps"])
        if self.read_teacher is not None and any(sample.num_clips for sample in samples):
            batch |= self._taught(samples, self.read_teacher)
        if self.packing:
            pictures, clips = [len(sample.images) for sample in samples], [sample.num_clips for sample in samples]
            batch = packed(batch, pictures, clips, self.processor.tokenizer.pad_token_id, self.max_length)
        return batch

    def frames(self, samples: Sequence[Sample]) -> tuple[UInt8[Tensor, "N F 3 H W"] | None, int]:
        """Return the world model's input for the samples, in the order of a batch, and K; None: no clips.

        Raises:
            ValueError: for clips of unequal length, or a missing true future.
        """
        clips = [clip for sample in samples for clip in self._clips(sample)]
        return self.processor.world_frames(clips), self._steps(samples)

    def length_of(self, sample: Sample) -> int:
        """Count a sample's tokens: text, image tokens, world tokens, and the markers of both.

        It reads no picture, unless the number of its tokens depends on its size.
        """
        by_size = getattr(self.processor, "counts_by_size", False)
        conversation = _conversation(sample, sample.images if by_size else [None] * len(sample.images), self.supervise)
        num_tokens: int = self.processor.count_tokens(conversation, add_generation_prompt=not self.supervise)
        lengths = [1] * len(sample.images) if sample.clips is None else [len(clip) for clip in sample.clips]
        return num_tokens + self._num_world_tokens(lengths, self._steps([sample]))

    @property
    def tokens_per_picture(self) -> int:
        """Image tokens of a picture plus world tokens of its clip, markers included."""
        image_tokens: int = self.processor.image_seq_length + 4  # two markers, and line breaks on both sides
        return image_tokens + self._num_world_tokens([1], self.processor.num_world_steps)

    def labels(self, input_ids: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        """Supervise each answer and its end of turn; everything else is -100.

            ids     ... <start_of_turn> model \\n  The  red  bin  <end_of_turn>  \\n ...
            labels  ...      -100       -100 -100  The  red  bin  <end_of_turn> -100 ...

        The ids are reliable: the processor encodes control tokens in a user's text as text.
        """
        labels = torch.full_like(input_ids, IGNORE_INDEX)
        length, rows = len(self._header), input_ids.tolist()
        headers = (input_ids.unfold(1, length, 1) == torch.tensor(self._header)).all(-1)
        for row, position in headers.nonzero().tolist():
            start = position + length
            end = rows[row].index(self._end, start) + 1
            labels[row, start:end] = input_ids[row, start:end]
        return labels

    @property
    def _has_world(self) -> bool:
        return isinstance(self.processor, WorldProcessor) and self.processor.enable_world

    @property
    def _sees_future(self) -> bool:
        return self.processor.world_settings.sees_future

    def _num_world_tokens(self, clip_lengths: Iterable[int], num_world_steps: int) -> int:
        """Count world tokens and markers of clips; 0 if the fusion adds the world to image tokens."""
        if not (self._has_world and self.processor.tokens_per_slot):
            return 0
        settings: WorldSettings = self.processor.world_settings
        frames = [settings.num_frames(length, num_world_steps) for length in clip_lengths]
        slots = [settings.num_slots(number, num_world_steps) for number in frames]
        return sum(number * self.processor.tokens_per_slot + 2 for number in slots)

    def _steps(self, samples: Sequence[Sample]) -> int:
        """Return K of a batch: the model's own, or the smaller limit of its samples.

        Raises:
            ValueError: for samples with different limits.
        """
        most: int = self.processor.num_world_steps if self.num_world_steps is None else self.num_world_steps
        limits = [sample.num_world_steps for sample in samples]
        steps = {most if limit is None else min(most, limit) for limit in limits}
        if len(steps) > 1:
            raise ValueError(f"samples that look {sorted(steps)} slots ahead in one batch: group them by their shape")
        return steps.pop() if steps else most

    def _clips(self, sample: Sample) -> list[Any]:
        """Return the clips of a sample for the world model; only the tap `true-future` gets the true future."""
        clips = [[image] for image in sample.images] if sample.clips is None else list(sample.clips)
        return self._true_clips(sample, clips) if self._sees_future else clips

    def _true_clips(self, sample: Sample, clips: list[Any]) -> list[list[Any]]:
        """Append the true future to clips, up to the K of the model."""
        if sample.future is None:
            raise ValueError(
                f"sample {sample.id!r} has no true future: the tap 'true-future' and imitation need one per clip"
            )
        num_frames = TEMPORAL_STRIDE * self._steps([sample])
        return [[*_frames(clip), *_frames(rest)[:num_frames]] for clip, rest in zip(clips, sample.future, strict=True)]

    def _taught(self, samples: Sequence[Sample], read_teacher: Callable[[Tensor, int], Tensor]) -> dict[str, Tensor]:
        """Return the teacher's features of each clip, and its picture of the current frame: the last one."""
        is_current: list[bool] = []
        for sample in samples:
            num_pictures, num_clips = len(sample.images), sample.num_clips
            if not num_clips:
                is_current += [False] * num_pictures
            elif not num_pictures or num_pictures % num_clips:
                raise ValueError(
                    f"sample {sample.id!r}: {num_pictures} pictures of {num_clips} clips: distillation needs as many"
                    " pictures of each clip"
                )
            else:
                is_current += ([False] * (num_pictures // num_clips - 1) + [True]) * num_clips
        frames, steps = self.frames(samples)
        assert frames is not None  # since there are clips
        features = read_teacher(frames, steps)[:, :, -(1 + steps) :]
        return {"teacher_features": features, "teacher_pictures": torch.tensor(is_current)}

    def _slots(self, samples: Sequence[Sample], num_slots: int) -> Float[Tensor, "N T 3 H W"]:
        """Return the last frame of each slot, processed for Gemma.

        frames  0 | 1 2 3 4 | 5 6 7 8        three slots: frames 0, 4 and 8
        """
        pictures: list[Any] = []
        for sample in samples:
            clips = [[image] for image in sample.images] if sample.clips is None else list(sample.clips)
            for frames in self._true_clips(sample, clips):
                first = len(frames) - 1 - TEMPORAL_STRIDE * (num_slots - 1)
                pictures += frames[first::TEMPORAL_STRIDE]
        return self.processor.gemma_pixels(pictures).unflatten(0, (-1, num_slots))


def _frames(clip: Any) -> list[Any]:
    return to_pictures(list(clip) if isinstance(clip, np.ndarray) else clip)


def _check_answers(samples: Sequence[Sample]) -> None:
    for sample in samples:
        if not sample.is_labelled:
            raise ValueError(f"sample {sample.id!r} has no label: train with objective 'imitation', which needs none")


def _conversation(sample: Sample, pictures: Iterable[Any], with_answer: bool) -> list[dict[str, Any]]:
    """Return the chat messages of a sample, its pictures before the first text; None for a picture leaves its place."""
    turns = sample.turns if with_answer else sample.prompt
    if with_answer and sample.is_labelled and sample.answer is None:
        raise ValueError(f"sample {sample.id!r} ends with a question: training needs its answer")
    # Gemma's templates trim an answer; in others a line break before it would join that of its header, in one token.
    texts = [turn.text.strip() if turn.role == "assistant" else turn.text for turn in turns]
    messages: list[dict[str, Any]] = [
        {"role": turn.role, "content": [{"type": "text", "text": text}]}
        for turn, text in zip(turns, texts, strict=True)
    ]
    places = [{"type": "image"} if picture is None else {"type": "image", "image": picture} for picture in pictures]
    messages[0]["content"] = places + messages[0]["content"]
    return messages
