"""Prompts with a world: a run of placeholders per clip at the start of each row, for the processor of any base."""

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, Gemma3Processor
from transformers.image_utils import make_flat_list_of_images
from transformers.processing_utils import _MARKED_RE, ProcessingKwargs

from theworld.config import ReadTap, TapName, WorldSettings
from theworld.config.world import check_world_steps, known_tap
from theworld.constants import CUSTOM_TOKEN_EOW, CUSTOM_TOKEN_SOW, WORLD_SOFT_TOKEN, WORLD_TOKENS
from theworld.datasets.images import square_frames, to_frames, to_pictures
from theworld.datasets.video import ClipRule
from theworld.modeling.chats import joined, refuse_video_options, take_videos, texts_of
from theworld.modeling.configuration import WorldFields
from theworld.modeling.image_processing import is_plain, plain_pixels


class TheWorldProcessorKwargs(ProcessingKwargs, total=False):
    """Options of `apply_chat_template(processor_kwargs=...)` besides those of the base."""

    num_world_steps: int | None
    world: list | None


if TYPE_CHECKING:  # names of Gemma 3's, which all processors share
    _BesideABase = Gemma3Processor
else:  # the processor of the base is the second parent of each subclass
    _BesideABase = object


class WorldPrompts(_BesideABase):
    """Writes the placeholders that the model fills; the sequence has its final length here.

        <bos><start_of_world><world_soft_token> x N<end_of_world><start_of_turn>user ... <start_of_image> ...

    With the world off its output equals that of the base's processor.
    """

    valid_processor_kwargs = TheWorldProcessorKwargs
    counts_by_size: ClassVar = False
    """True if `count_tokens` needs the pictures: their tokens vary too much to count each as the largest."""

    def _take(
        self,
        *,
        enable_world: bool = True,
        world_image_size: int = 224,
        tokens_per_slot: int = 784,
        num_world_steps: int = 0,
        max_world_steps: int = 16,
        world_tap: TapName = "vae",
        world_control_of: ReadTap = "vae",
        world_repeat_current: bool = False,
        frame_rate_hz: float = 16.0,
        num_clip_frames: int = 5,
        num_gemma_frames: int = 1,
    ) -> None:
        """Take the settings of the world; the last step of a subclass's `__init__`."""
        self.enable_world = enable_world
        self.world_image_size = world_image_size
        self.tokens_per_slot = tokens_per_slot
        self.num_world_steps = num_world_steps
        self.max_world_steps = max_world_steps
        self.world_tap: TapName = world_tap
        self.world_control_of: ReadTap = world_control_of
        self.world_repeat_current = world_repeat_current
        self.frame_rate_hz = frame_rate_hz
        self.num_clip_frames = num_clip_frames
        self.num_gemma_frames = num_gemma_frames
        _ = self.clip_rule  # raises for numbers that no clip has
        tokenizer = self.tokenizer
        if enable_world and (new := [token for token in WORLD_TOKENS if token not in tokenizer.get_vocab()]):
            # No table is resized: Gemma 3's has three spare rows, and other bases never look the three tokens up.
            tokenizer.add_special_tokens({"additional_special_tokens": new}, replace_extra_special_tokens=False)
        special = sorted({t.content for t in tokenizer.added_tokens_decoder.values() if t.special}, key=len)
        self._control_tokens = re.compile("|".join(map(re.escape, reversed(special))))

    def to_dict(self) -> dict[str, Any]:
        """Return the values that `save_pretrained` writes."""
        return {
            key: value for key, value in super().to_dict().items() if key not in ("_control_tokens", "answer_marks")
        }

    def _check_ids(self, config: WorldFields) -> None:
        ids = tuple(self.tokenizer.convert_tokens_to_ids(list(WORLD_TOKENS))) if config.enable_world else ()
        if ids and ids != (config.sow_token_id, config.eow_token_id, config.world_token_id):
            raise ValueError(
                f"the tokenizer gives the world tokens the ids {ids}, the model expects"
                f" {(config.sow_token_id, config.eow_token_id, config.world_token_id)}"
            )

    # --- calls -------------------------------------------------------------------------------------------

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        images: Any = None,
        text: Any = None,
        world: Any = None,
        num_world_steps: int | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Run the base's processor, and add the world.

        Args:
            images: pictures, a list per row.
            text: one prompt or a list of prompts.
            world: clips for the world model, a list per row; default: each picture as a clip of one frame.
            num_world_steps: K, future latent slots; default: the processor's own.
            kwargs: as in the base's processor.

        Returns:
            input_ids, attention_mask, token_type_ids, pixel_values (for Gemma 4 and Qwen3-VL mm_token_type_ids instead
            of token_type_ids, and image_position_ids or image_grid_thw), and with a world: world_pixels, uint8
            (N, F, 3, H, W) of all rows, and num_world_steps.

        Raises:
            ValueError: for world tokens in the text, clips of unequal or impossible length, `videos=`, or a truncation
                that would cut a placeholder.
        """
        if kwargs.pop("videos", None) is not None:
            raise ValueError(
                'the processor takes no videos=: give each in its chat, {"type": "video", "video": ...}, to'
                " apply_chat_template"
            )
        if not self.enable_world:
            if world is not None or num_world_steps:
                raise ValueError("the processor was made with enable_world=False: it takes no world or num_world_steps")
            return super().__call__(images=images, text=text, **kwargs)
        if text is None:
            raise ValueError("text is missing: expected a prompt per row")
        texts = [text] if isinstance(text, str) else list(text)
        self._refuse_control_tokens(texts, is_marked=bool(kwargs.get("sanitize_control_tokens")))
        steps = self.num_world_steps if num_world_steps is None else num_world_steps
        check_world_steps(steps, self.max_world_steps)
        pictures = _pictures(images, len(texts))  # each is converted once, for Gemma and for the world
        counts = [len(row) for row in (pictures if world is None else world)]
        if len(counts) != len(texts):
            raise ValueError(f"world holds clips for {len(counts)} rows, text {len(texts)}: expected a list per row")
        if world is None:
            frames = _stacked([square_frames([picture], self.world_image_size) for row in pictures for picture in row])
        else:
            frames = self.world_frames([clip for row in world for clip in row])
        if frames is not None:
            texts = self._with_placeholders(texts, counts, self.world_settings.num_slots(frames.shape[1], steps))
            if not self.tokens_per_slot:
                _check_residual(counts, [len(row) for row in pictures], kwargs)
        shown: Any = pictures if any(pictures) else None
        inputs = super().__call__(images=shown, text=texts, **kwargs)
        if frames is not None:
            inputs["world_pixels"] = frames
            inputs["num_world_steps"] = steps
        return inputs

    def _with_placeholders(self, texts: list[str], counts: list[int], num_slots: int) -> list[str]:
        """Put the block of each clip first: after a leading <bos>, else at the start (a tokenizer with <bos> adds it).

        Residual fusion has no placeholders.
        """
        if not self.tokens_per_slot:
            return texts
        block = CUSTOM_TOKEN_SOW + WORLD_SOFT_TOKEN * (num_slots * self.tokens_per_slot) + CUSTOM_TOKEN_EOW
        bos = self.tokenizer.bos_token or ""
        return [
            (bos if prompt.startswith(bos) else "") + block * count + prompt.removeprefix(bos)
            for prompt, count in zip(texts, counts, strict=True)
        ]

    def world_frames(self, clips: Sequence[Any]) -> UInt8[Tensor, "N F 3 H W"] | None:
        """Convert clips to the world model's input; None: no clips.

        Raises:
            ValueError: for clips of unequal length.
        """
        return _stacked([to_frames(clip, self.world_image_size) for clip in clips])

    def gemma_pixels(self, pictures: Sequence[Image.Image]) -> Float[Tensor, "M 3 H W"]:
        """Convert pictures to the input of Gemma's vision tower, one crop each."""
        return self._process_images(pictures, return_tensors="pt")[0]["pixel_values"]

    def _process_images(self, images: Any, **options: Any) -> tuple[Any, list[str]]:
        """Return all pixels and the placeholder of each picture: as transformers does, in a third of the time."""
        pictures: Any = make_flat_list_of_images(images)
        if not is_plain(self.image_processor, pictures, options):
            return super()._process_images(images, **options)
        pixels = plain_pixels(self.image_processor, pictures)
        return {"pixel_values": pixels}, [self.full_image_sequence] * len(pictures)

    def _refuse_control_tokens(self, texts: list[str], is_marked: bool) -> None:
        for prompt in texts:
            written = _MARKED_RE.sub("", prompt) if is_marked else prompt
            if tokens := [token for token in WORLD_TOKENS if token in written]:
                raise ValueError(
                    f"the text contains {tokens}: the processor alone writes world tokens; use apply_chat_template,"
                    " which encodes them as text"
                )
            if (bos := self.tokenizer.bos_token) and written.count(bos) > 1:
                raise ValueError(f"the text contains {bos} more than once")

    def _check_special_mm_tokens(self, text: list[str], text_inputs: Any, modalities: list[str]) -> None:
        """Refuse to truncate image or world placeholders; the marked text of a user contains none."""
        text = [_MARKED_RE.sub("", sample) for sample in text]
        rows = [np.asarray(ids) for ids in text_inputs["input_ids"]]
        image = getattr(self.tokenizer, "image_token", self.image_token)
        for token in (image, *(WORLD_TOKENS if self.enable_world else ())):
            token_id = self.tokenizer.convert_tokens_to_ids(token)
            written = [sample.count(token) for sample in text]
            kept = [int((ids == token_id).sum()) for ids in rows]
            if written != kept:
                raise ValueError(
                    f"{token}: {written} written per row, {kept} left after truncation; raise max_length or drop"
                    " truncation: a cut placeholder has no meaning"
                )

    def apply_chat_template(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        conversation: Any,
        chat_template: str | None = None,
        world: Any = None,
        num_world_steps: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Apply the base's chat template; control tokens in a user's text are encoded as text.

        Args:
            conversation: one conversation or a list of them; for videos in it see `read_part`. Rows with videos and
                rows with pictures alone have clips of other lengths: give them in calls of their own.
            world: clips per row, as in the call; for one conversation a list of its clips.
            num_world_steps: K, future latent slots.
        """
        options = dict(kwargs.pop("processor_kwargs", None) or {})
        refuse_video_options(kwargs, options)
        conversation, clips = take_videos(conversation, world or options.get("world"), self.clip_rule)
        world = clips if self.enable_world else world  # without it Gemma sees the last frame
        if world is not None:
            is_batch = bool(conversation) and isinstance(conversation[0], list | tuple)
            options["world"] = world if is_batch else [world]
        if num_world_steps is not None:
            options["num_world_steps"] = num_world_steps
        if kwargs.get("tokenize"):
            conversation, sanitize = self._to_sanitize(conversation)
            if sanitize:
                kwargs["sanitize_control_tokens"] = True
        return super().apply_chat_template(conversation, chat_template, processor_kwargs=options, **kwargs)

    def count_tokens(self, conversation: Any, add_generation_prompt: bool) -> int:
        """Count the tokens of one conversation, with image tokens and without world tokens; it needs no picture.

        A picture becomes line breaks, markers and image tokens. The tokenizer may merge its line breaks with those of
        the template, so they are counted in place.
        """
        conversation, sanitize = self._to_sanitize(conversation)
        template: Any = self.chat_template
        ids = self.tokenizer.apply_chat_template(
            conversation,
            chat_template=template.replace(*self._picture_in_template),
            tokenize=True,
            return_dict=False,
            add_generation_prompt=add_generation_prompt,
            sanitize_control_tokens=sanitize,
        )
        return len(ids)

    @property
    def _picture_in_template(self) -> tuple[str, str]:
        """The token of a picture in the chat template, and its text in a prompt."""
        return self.boi_token, self.full_image_sequence

    @cached_property
    def answer_marks(self) -> tuple[str, str]:
        """The text that opens an answer in the chat template, and the token that ends it.

        `("<start_of_turn>model\\n", "<end_of_turn>")` for Gemma 3.

        Raises:
            ValueError: for a template that opens an answer with text which an answered chat has not.
        """
        asked = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
        answered = [*asked, {"role": "assistant", "content": [{"type": "text", "text": "!"}]}]
        bare, opened, whole = (
            self.tokenizer.apply_chat_template(
                chat, chat_template=self.chat_template, tokenize=False, add_generation_prompt=opens
            )
            for chat, opens in ((asked, False), (asked, True), (answered, False))
        )
        if not whole.startswith(opened):
            raise ValueError(
                f"the chat template opens an answer with {opened.removeprefix(bare)!r:.80}, which an answered chat does"
                " not contain: no answer would be learnt; take a model that answers at once (Instruct, not Thinking)"
            )
        header = opened.removeprefix(bare)
        end = self.tokenizer.tokenize(whole.removeprefix(opened).removeprefix("!"))[0]
        return header, end

    def _to_sanitize(self, conversation: Any) -> tuple[Any, bool]:
        """Return the conversation, and True if it contains control tokens; its texts are then joined.

        transformers' own sanitizing takes tens of milliseconds, so clean text skips it.
        """
        whole = joined(conversation)
        has_control_tokens = any(map(self._control_tokens.search, texts_of(whole)))
        return (whole if has_control_tokens else conversation), has_control_tokens

    @property
    def clip_rule(self) -> ClipRule:
        """The frames of a video that the models see."""
        return ClipRule(self.frame_rate_hz, self.num_clip_frames, self.num_gemma_frames)

    @property
    def world_settings(self) -> WorldSettings:
        """The settings of the tap that decide its number of frames and slots."""
        known_tap(self.world_tap)
        return _slot_settings(self.world_tap, self.world_control_of, self.world_repeat_current)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that a call returns."""
        return [*super().model_input_names, "world_pixels", "num_world_steps"]


@lru_cache(maxsize=128, typed=True)
def _slot_settings(tap: TapName, control_of: ReadTap, repeat_current: bool) -> WorldSettings:
    return WorldSettings(tap=tap, control_of=control_of, repeat_current=repeat_current)


def _stacked(clips: list[Tensor]) -> Tensor | None:
    """Stack clips (F, 3, H, W); None: no clips."""
    lengths = {len(clip) for clip in clips}
    if len(lengths) > 1:
        raise ValueError(f"clips of {sorted(lengths)} frames in one batch: expected one length, group them by it")
    return torch.stack(clips) if clips else None


def _pictures(images: Any, num_rows: int) -> list[list[Image.Image]]:
    """Convert pictures to RGB, a list per row.

    Raises:
        ValueError: if the assignment of pictures to rows is not clear.
    """
    if images is None:
        return [[] for _ in range(num_rows)]
    if isinstance(images, Sequence) and any(isinstance(row, list | tuple) for row in images):
        rows = [to_pictures(row) for row in images]
    elif num_rows == 1:
        rows = [to_pictures(images)]
    else:
        rows = [[picture] for picture in to_pictures(images)]
    if len(rows) != num_rows:
        raise ValueError(
            f"pictures for {len(rows)} prompts, but {num_rows} prompts: give a list of pictures per prompt"
        )
    return rows


def _check_residual(clips: list[int], pictures: list[int], options: dict[str, Any]) -> None:
    if clips != pictures:
        raise ValueError(f"residual fusion adds one clip to each picture: {clips} clips, {pictures} pictures per row")
    if options.get("do_pan_and_scan") or options.get("images_kwargs", {}).get("do_pan_and_scan"):
        raise ValueError("residual fusion adds one clip to each picture: it takes no pan-and-scan")
