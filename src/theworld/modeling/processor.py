"""The processors of a world: each is that of its base, with placeholders of the world in its prompts."""

from pathlib import Path
from typing import Any, Final

from transformers import Gemma3Processor, Gemma4Processor, Qwen3VLProcessor

from theworld.config import ReadTap, TapName
from theworld.datasets.images import to_image
from theworld.modeling import base_files, loading, names
from theworld.modeling.arguments import take_settings
from theworld.modeling.bases import GEMMA3, GEMMA4, QWEN3_VL
from theworld.modeling.chats import pictures_in
from theworld.modeling.config_files import read_json
from theworld.modeling.configuration import WorldFields
from theworld.modeling.world_prompts import WorldPrompts

_FREE: Final = frozenset({"num_world_steps", "num_clip_frames", "num_gemma_frames"})
"""Settings that a saved processor takes anew."""


class OpenedByName(WorldPrompts):
    """A processor that is found by the name of its model, and is of the class for the model's base."""

    @classmethod
    def from_config(cls, config: WorldFields, **hub: Any) -> Any:
        """Build the processor of a model's configuration, of the class for its base."""
        kind: Any = _KINDS[config.BASE.kind]
        native: Any = kind.__mro__[kind.__mro__.index(WorldPrompts) + 1]
        folder = names.base_folder(config.base_model_name)
        with base_files.reporting_file_errors(config.base_model_name):
            base = native.from_pretrained(folder, revision=config.base_revision or "main", **hub)
        length = config.image_grid**2 if config.BASE is GEMMA3 else getattr(base, "image_seq_length", None)
        processor = kind(
            **{name: getattr(base, name) for name in base.get_attributes()},
            chat_template=base.chat_template,
            **({} if length is None else {"image_seq_length": length}),
            enable_world=config.enable_world,
            world_image_size=config.world_image_size,
            tokens_per_slot=config.tokens_per_slot,
            num_world_steps=config.num_world_steps,
            max_world_steps=config.max_world_steps,
            world_tap=config.world_tap,
            world_control_of=config.world_control_of,
            world_repeat_current=config.world_repeat_current,
            frame_rate_hz=config.frame_rate_hz,
            num_clip_frames=config.clip_rule.num_frames,
            num_gemma_frames=config.clip_rule.num_gemma_frames,
        )
        processor._check_ids(config)
        return processor

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, pretrained_model_name_or_path: str | Path, **kwargs: Any
    ) -> Any:
        """Load the processor of a hub id, a folder, a saved TheWorld, "tiny" or "tiny-foresight".

        Args:
            pretrained_model_name_or_path: as for `TheWorld.from_pretrained`, or a folder that this class saved.
            kwargs: fields of TheWorldConfig, as given to the model (for a saved processor `num_world_steps`,
                `num_clip_frames` and `num_gemma_frames` alone); the rest goes to transformers.

        Raises:
            ValueError: for settings that contradict each other, or that a saved processor fixes.
        """
        name = names.embedded(str(pretrained_model_name_or_path))
        settings = take_settings(kwargs)
        if (Path(name) / "processor_config.json").is_file() and not (Path(name) / "config.json").is_file():
            if fixed := sorted(settings.keys() - _FREE):
                raise ValueError(f"{name} is a saved processor, which fixes {fixed}: name its model instead")
            saved = read_json(Path(name) / "processor_config.json").get("processor_class")
            kind: Any = next((kind for kind in _KINDS.values() if kind.__name__ == saved), cls)
            above: Any = super(OpenedByName, kind)
            return above.from_pretrained(name, **settings, **kwargs)
        config, _ = loading.resolve(name, settings, **kwargs)
        kwargs.pop("revision", None)
        return cls.from_config(config, **kwargs)


class TheWorldProcessor(OpenedByName, Gemma3Processor):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """Gemma 3's processor with a world; `from_config` and `from_pretrained` also make those of other bases."""

    def __init__(
        self,
        image_processor: Any,
        tokenizer: Any,
        chat_template: str | dict[str, str] | None = None,
        image_seq_length: int = 256,
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
        **kwargs: Any,
    ) -> None:
        world = _of_world(locals())
        super().__init__(image_processor, tokenizer, chat_template, image_seq_length, **kwargs)
        self._take(**world)


class TheWorldGemma4Processor(OpenedByName, Gemma4Processor):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """Gemma 4's processor with a world: pictures of any shape, each in its own grid of tokens."""

    def __init__(
        self,
        feature_extractor: Any,
        image_processor: Any,
        tokenizer: Any,
        video_processor: Any,
        chat_template: str | dict[str, str] | None = None,
        image_seq_length: int = 280,
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
        **kwargs: Any,
    ) -> None:
        world = _of_world(locals())
        build: Any = super().__init__
        build(feature_extractor, image_processor, tokenizer, video_processor, chat_template, image_seq_length, **kwargs)
        self._take(**world)

    @property
    def _picture_in_template(self) -> tuple[str, str]:
        """The token of a picture, and the text of the largest one: pictures have grids of any shape."""
        tokens = self.image_token * self.image_processor.max_soft_tokens
        return self.image_token, f"{self.boi_token}{tokens}{self.eoi_token}"


class TheWorldQwen3VLProcessor(OpenedByName, Qwen3VLProcessor):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """Qwen3-VL's processor with a world: pictures of any shape, and prompts without <bos>."""

    counts_by_size = True

    def __init__(
        self,
        image_processor: Any,
        tokenizer: Any,
        video_processor: Any,
        chat_template: str | dict[str, str] | None = None,
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
        **kwargs: Any,
    ) -> None:
        world = _of_world(locals())
        build: Any = super().__init__
        build(image_processor, tokenizer, video_processor, chat_template=chat_template, **kwargs)
        self._take(**world)

    @property
    def image_seq_length(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Tokens of the largest picture."""
        images = self.image_processor
        return dict(images.size)["longest_edge"] // (images.patch_size * images.merge_size) ** 2

    @property
    def _picture_in_template(self) -> tuple[str, str]:
        """The token of a picture, twice: `count_tokens` adds the others."""
        return self.image_token, self.image_token

    def count_tokens(self, conversation: Any, add_generation_prompt: bool) -> int:
        """Count the tokens of one conversation; the place of a picture without the picture counts as the largest."""
        num_tokens = super().count_tokens(conversation, add_generation_prompt)
        return num_tokens + sum(self._tokens_of(picture) - 1 for picture in pictures_in(conversation))

    def _tokens_of(self, picture: Any) -> int:
        if picture is None:
            return self.image_seq_length
        width, height = to_image(picture).size
        images = self.image_processor
        return images.get_number_of_image_patches(height, width) // images.merge_size**2


def _of_world(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the world among the arguments of `__init__`, which transformers reads by their names."""
    return {name: arguments[name] for name in WorldPrompts._take.__kwdefaults__ or ()}


_KINDS: Final[dict[str, type[WorldPrompts]]] = {
    GEMMA3.kind: TheWorldProcessor,
    GEMMA4.kind: TheWorldGemma4Processor,
    QWEN3_VL.kind: TheWorldQwen3VLProcessor,
}
"""Kind of a base to its processor."""
