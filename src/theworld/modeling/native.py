"""The native models under the fusion, a class for each base: how each embeds ids and pictures around the world."""

from typing import Any, ClassVar, Final

import torch
from torch import Tensor
from transformers import Gemma3ForConditionalGeneration, Gemma4ForConditionalGeneration

from theworld.modeling.bases import GEMMA3, GEMMA4
from theworld.modeling.configuration import TheWorldConfig, TheWorldGemma4Config, WorldFields
from theworld.modeling.fusion import Fusion


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


_FUSED: Final[dict[str, type[Fusion]]] = {GEMMA3.kind: FusedGemma, GEMMA4.kind: FusedGemma4}


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
