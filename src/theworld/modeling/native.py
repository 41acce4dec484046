"""The native models under the fusion, a class for each base: how each embeds ids and pictures around the world."""

from typing import Any, ClassVar, Final

import torch
from torch import Tensor
from transformers import (
    Gemma3ForConditionalGeneration,
    Gemma4ForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
)

from theworld.modeling.bases import GEMMA3, GEMMA4, QWEN3_VL
from theworld.modeling.cache_name import CACHE
from theworld.modeling.configuration import (
    TheWorldConfig,
    TheWorldGemma4Config,
    TheWorldQwen3VLConfig,
    WorldFields,
)
from theworld.modeling.fusion import Fusion
from theworld.modeling.packed_attention import image_positions
from theworld.modeling.positions import clips_in, with_clips


class FusedGemma(Fusion, Gemma3ForConditionalGeneration):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """Gemma 3 with a world."""

    config_class = TheWorldConfig
    PICTURES = ("pixel_values",)
    TYPE_IDS = "token_type_ids"
    _no_split_modules: ClassVar = ["Gemma3DecoderLayer", "WorldBlock", "WorldResidual"]

    def embed_prompt(self, input_ids: Tensor, image: Any, is_world: Tensor) -> tuple[Tensor, dict[str, Any]]:
        embeds = self.get_input_embeddings()(input_ids)  # the table has rows for the world's ids
        if image is not None:
            assert image.pooler_output is not None
            vision = image.pooler_output.to(embeds.device, embeds.dtype)
            mask = self.model.get_placeholder_mask(
                input_ids,  # pyright: ignore[reportArgumentType]  # any tensor of whole numbers
                inputs_embeds=embeds,
                image_features=vision,
            )
            embeds = embeds.masked_scatter(mask, vision)
        return embeds, {}


class FusedGemma4(Fusion, Gemma4ForConditionalGeneration):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """Gemma 4 with a world."""

    config_class = TheWorldGemma4Config
    PICTURES = ("pixel_values", "image_position_ids")
    TYPE_IDS = "mm_token_type_ids"
    accepts_loss_kwargs = True  # unlike the native class: the loss divides by the number of items that it is given
    _no_split_modules: ClassVar = [*Gemma4ForConditionalGeneration._no_split_modules, "WorldBlock"]  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]

    def embed_prompt(self, input_ids: Tensor, image: Any, is_world: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Embed as Gemma 4 does.

        Each layer has a second input from the id of a position; a world token has that of padding, as a picture has.
        """
        inner: Any = self.model
        is_image = input_ids == self.config.image_token_id
        padding: Any = self.config.text.pad_token_id
        text_ids = torch.where(is_world | is_image, padding, input_ids)
        embeds: Tensor = self.get_input_embeddings()(text_ids)
        if image is not None:
            vision = torch.cat(tuple(image.pooler_output)).to(embeds.device, embeds.dtype)
            if int(is_image.sum()) != len(vision):
                raise ValueError(f"{int(is_image.sum())} image tokens in the prompt, {len(vision)} of its pictures")
            embeds = embeds.masked_scatter(is_image[..., None].to(embeds.device), vision)
        if not self.config.text.hidden_size_per_layer_input:
            return embeds, {}
        return embeds, {"per_layer_inputs": inner.language_model.get_per_layer_inputs(text_ids)}


class FusedQwen3VL(Fusion, Qwen3VLForConditionalGeneration):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    """Qwen3-VL with a world."""

    config_class = TheWorldQwen3VLConfig
    PICTURES = ("pixel_values", "image_grid_thw")
    TYPE_IDS = "mm_token_type_ids"
    accepts_loss_kwargs = True  # as for Gemma 4
    _no_split_modules: ClassVar = [*Qwen3VLForConditionalGeneration._no_split_modules, "WorldBlock"]  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]

    def _unread_rms(self) -> float:
        return self.config.text.initializer_range  # Qwen3-VL does not scale its embeddings

    def embed_prompt(self, input_ids: Tensor, image: Any, is_world: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Embed text alone.

        Pictures also enter the first layers (deepstack), so the native model gets them as they are: it finds the
        embeddings of their placeholders, and replaces these.
        """
        embeds: Tensor = self.get_input_embeddings()(input_ids.masked_fill(is_world, 0))
        return embeds, {"mm_encoder_outputs": None if image is None else {"image": image}}

    def place_prompt(
        self, input_ids: Any, position_ids: Any, past: Any, attention_mask: Any, types: Any, pictures: dict[str, Any]
    ) -> Tensor | None:
        """Return the time, height and width of each token (3, B, L), with clips as videos.

        Raises:
            ValueError: for a picture without its grid, or a prompt after others.
        """
        if position_ids is not None or input_ids is None:
            return position_ids
        if past is not None and past.get_seq_length():
            raise ValueError("a new clip after cached tokens: give position_ids, or the whole prompt without a cache")
        inner: Any = self.model
        types = input_ids.new_zeros(input_ids.shape) if types is None else types
        grids = pictures["image_grid_thw"]
        if grids is None and types.any():
            raise ValueError("pictures without image_grid_thw: pass that of the processor, too")
        native, inner.rope_deltas = inner.get_rope_index(
            input_ids, types, image_grid_thw=grids, attention_mask=attention_mask
        )
        return self._with_clips(native, input_ids, attention_mask)

    def _with_clips(self, native: Tensor, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Place the clips of a prompt in its native positions, and remember how far they end from its length."""
        inner: Any = self.model
        if (clips := clips_in(self.config, input_ids)) is None:
            return native
        positions, inner.rope_deltas = with_clips(native, clips, attention_mask)
        return positions

    def _prepare_position_ids_for_generation(self, inputs_tensor: Tensor, model_kwargs: dict[str, Any]) -> Tensor:
        prepare: Any = super()._prepare_position_ids_for_generation  # pyright: ignore[reportAttributeAccessIssue]
        if inputs_tensor.ndim != 2:  # embeddings
            return prepare(inputs_tensor, model_kwargs)
        given = (model_kwargs.get(self.TYPE_IDS), inputs_tensor, model_kwargs.get("pixel_values"))
        options = {**model_kwargs, self.TYPE_IDS: image_positions(*given, self.config.image_token_id)}
        cache = options.get(CACHE)
        num_cached = 0 if cache is None else cache.get_seq_length()
        if (inputs_tensor[:, num_cached:] == self.config.world_token_id).any():
            options[CACHE] = None  # a new clip: all positions anew, as for a new picture
        native: Tensor = prepare(inputs_tensor, options)
        if len(native) == 1:  # text after cached tokens
            return native
        return torch.cat([native[:1], self._with_clips(native[1:], inputs_tensor, options.get("attention_mask"))])


_FUSED: Final[dict[str, type[Fusion]]] = {
    GEMMA3.kind: FusedGemma,
    GEMMA4.kind: FusedGemma4,
    QWEN3_VL.kind: FusedQwen3VL,
}


def fused_class(config: WorldFields) -> type[Fusion]:
    """Return the class of a fused model on the base of a configuration."""
    return _FUSED[config.BASE.kind]


def compile_layers(model: Fusion, except_for: int | None = None) -> None:
    """Compile each layer of the language model, in place; names of weights stay.

    Equal layers, and rows of any length, share one program. `torch.compile` of the whole model would break its graph at
    the checks of placeholders, and compile every layer separately.

    Args:
        model: with the layers.
        except_for: index of a layer to leave as it is, since hooks do not fit a shared program; None: none.
    """
    for index, layer in enumerate(model.model.language_model.layers):
        if index != except_for:
            layer.compile(dynamic=True)
