"""Fusion: a vision-language model whose placeholders, or image tokens, take in the world model's features."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from transformers import Gemma3ForConditionalGeneration
from transformers.modeling_outputs import CausalLMOutputWithPast

from theworld.config.world import check_world_steps
from theworld.constants import IGNORE_INDEX
from theworld.modeling.alignment import unexplained
from theworld.modeling.bases import IMITATION, PACKING
from theworld.modeling.cache_name import CACHE, take_cache
from theworld.modeling.configuration import WorldFields
from theworld.modeling.devices import execution_device
from theworld.modeling.direct_calls import DirectCalls, refuse_absent_world
from theworld.modeling.packed_attention import image_positions, packed_masks
from theworld.modeling.placeholders import check_placeholders, world_mask
from theworld.modeling.processor import TheWorldProcessor
from theworld.modeling.projector import WorldBlock, WorldResidual, add_residual, touched
from theworld.modeling.world_prompts import WorldPrompts
from theworld.world.tap import WorldTap, clip_seeds, seeds_of_future

_PICTURES: tuple[str, ...] = ("pixel_values", "image_position_ids", "image_grid_thw")  # inputs, of all bases
_WORLD: tuple[str, ...] = ("world_pixels", "world_features", "num_world_steps")
_TYPES: tuple[str, ...] = ("token_type_ids", "mm_token_type_ids")
_ROW_STRIDE = 64  # a 64th of the vocabulary has its root mean square

if TYPE_CHECKING:  # names of Gemma 3, which all bases share
    _BesideABase = Gemma3ForConditionalGeneration
else:  # the native model is the second parent of each subclass
    _BesideABase = object


class Fusion(_BesideABase):
    """Structure, forward and generation of the fused model, on any base.

    The native model is inside, unchanged; without the world every call goes straight to it. The length of the sequence
    never changes here: the processor writes placeholders, and embeddings replace them.

    A base is a subclass with the native model as its second parent. It has `config_class`, the two names below,
    `embed_prompt`, and `place_prompt` if it does not count positions; all else that differs is in the table `bases`.
    """

    PICTURES: ClassVar[tuple[str, ...]]
    """The native model's inputs that hold pictures, the pixels first."""
    TYPE_IDS: ClassVar[str]
    """Name of the native model's input that says which tokens are images."""
    config: WorldFields  # pyright: ignore[reportIncompatibleVariableOverride]
    tap: WorldTap | None
    """The frozen world model; None: you pass features, or the VAE is a submodule that trains."""
    cosmos_vae: Any
    base_options: dict[str, Any]
    """Where transformers finds the base again: its `cache_dir`."""
    _processor: WorldPrompts | None

    def __init__(self, config: WorldFields) -> None:
        super().__init__(config)
        self._unregistered("_processor", None)
        self._unregistered("tap", None)
        self._unregistered("base_options", {})
        # Python names what it calls in its TypeErrors; for an object without this name it prints all of its layers.
        self._unregistered("__qualname__", "TheWorld")
        self.cosmos_vae = None
        self.loss_type = "ForConditionalGeneration"  # transformers would guess it from the class name
        if config.enable_world:
            self.world = WorldBlock(config) if config.world_fusion == "tokens" else WorldResidual(config)
        self.model.register_forward_pre_hook(DirectCalls(self), with_kwargs=True)
        self.post_init()

    def _unregistered(self, name: str, value: Any) -> None:
        """Set an attribute that is not a submodule, even if it is a module: it is in no `state_dict`."""
        self.__dict__[name] = value

    @property
    def processor(self) -> WorldPrompts:
        """The processor of this model, loaded on first use."""
        processor = self._processor
        if processor is None:
            processor = TheWorldProcessor.from_config(self.config)
            self._unregistered("_processor", processor)
        return processor

    @property
    def device(self) -> torch.device:
        """The device for inputs: that of the embedding table."""
        return execution_device(self.get_input_embeddings())

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, WorldBlock | WorldResidual):
            module.initialise(self._embedding_rms())

    def _embedding_rms(self) -> float:
        """Root mean square of the base's (scaled) token embeddings, over some of its rows."""
        embed: Any = self.get_input_embeddings()
        if self.device.type == "meta":  # structure without weights: the value of a newly initialised Gemma
            return self._unread_rms()
        rows = torch.arange(0, embed.weight.shape[0], _ROW_STRIDE, device=self.device)
        return embed(rows).float().pow(2).mean().sqrt().item()

    def _unread_rms(self) -> float:
        return self.config.initializer_range * self.config.text.hidden_size**0.5

    def match_embeddings(self) -> None:
        """Scale a new world module to embeddings that were still on disk when it was initialised."""
        embed: Any = self.get_input_embeddings()
        if not self.config.enable_world or not embed.weight.is_meta or self.device.type == "meta":
            return
        factor = self._embedding_rms() / self._unread_rms()
        with torch.no_grad():
            for name in ("scale", "markers"):
                if hasattr(self.world, name):
                    getattr(self.world, name).mul_(factor)

    def redraw_projector(self, seed: int) -> None:
        """Reinitialise the projector and keep all other trained parts: the baseline of a random projection.

        Raises:
            ValueError: without a world.
        """
        if not self.config.enable_world:
            raise ValueError("enable_world=False: there is no projector to reinitialise")
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            fresh = type(self.world)(self.config)
            fresh.initialise(self._embedding_rms())
        self.world.projector.load_state_dict(fresh.projector.state_dict())

    def read_world(
        self, world_pixels: UInt8[Tensor, "N F 3 H W"], num_world_steps: int | None = None, future: int = 0
    ) -> Float[Tensor, "N C T h w"]:
        """Compute the features of N clips with the tap, or with the VAE that trains with the model.

        `future` numbers the imagined futures of a clip, each from its own noise; 0: that of all other calls.

        Raises:
            ValueError: for a clip or a K that the tap cannot serve, or without a world model.
        """
        steps = self.config.num_world_steps if num_world_steps is None else num_world_steps
        check_world_steps(steps, self.config.max_world_steps)
        if self.cosmos_vae is not None:
            from theworld.world.vae import encode_mean

            self.config.world_settings().num_slots(world_pixels.shape[1], steps)
            return encode_mean(self.cosmos_vae, world_pixels)
        if self.tap is None:
            raise ValueError("no world is loaded: use from_pretrained(load_world=True), load_world() or attach_world()")
        seeds, own = clip_seeds(world_pixels, self.tap.settings.seed), self.tap.settings.num_rollouts
        return self.tap.read(world_pixels, steps, seeds_of_future(seeds, future * own))

    def _world_tokens(
        self,
        world_pixels: Tensor | None,
        world_features: Tensor | None,
        num_world_steps: int | None,
        input_ids: Tensor | None,
    ) -> Tensor | None:
        """Compute the block of each clip (tokens), or the term that is added to its image tokens (residual)."""
        if world_pixels is None and world_features is None:
            return None
        if not self.config.enable_world:
            raise ValueError("the model was loaded with enable_world=False: it takes no world_pixels or world_features")
        if world_pixels is not None and world_features is not None:
            raise ValueError("both world_pixels and world_features given: expected one of them")
        steps = self.config.num_world_steps if num_world_steps is None else num_world_steps
        if world_pixels is not None:
            if input_ids is not None:  # first: reading the world can take minutes
                check_placeholders(self.config, input_ids, world_pixels, steps)
            world_features = self.read_world(world_pixels, steps)
        return self.world(world_features, steps) if self.config.world_fusion == "tokens" else self.world(world_features)

    # --- forward -----------------------------------------------------------------------------------------

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input_ids: Int[Tensor, "B L"] | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | dict | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        cache: Any = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Int[Tensor, "B L"] | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: dict[str, Any] | None = None,
        world_pixels: UInt8[Tensor, "N F 3 H W"] | None = None,
        world_features: Float[Tensor, "N C T h w"] | None = None,
        num_world_steps: int | None = None,
        slot_pixel_values: Float[Tensor, "N T 3 H W"] | None = None,
        packed_samples: Int[Tensor, "B L"] | None = None,
        mm_token_type_ids: Tensor | None = None,
        image_position_ids: Tensor | None = None,
        image_grid_thw: Int[Tensor, "M 3"] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the base's forward, with the world.

        Args:
            world_pixels, world_features: the N clips of all rows in row order, or stored features of them instead.
            num_world_steps: K of the processor call; default: the configuration's.
            labels: then logits exist at the supervised positions only: (supervised, V).
            slot_pixel_values: a picture of each slot of each clip, for Gemma: the output is a loss, `unexplained`.
            packed_samples: of rows of several samples, instead of attention_mask; position_ids start at 0 in each.

        Raises:
            ValueError: if placeholders and features do not match, with both counts; if attention takes no such mask.
        """
        if slot_pixel_values is not None:
            block = self._world_tokens(world_pixels, world_features, num_world_steps, input_ids)
            return CausalLMOutputWithPast(loss=self._imitate(block, slot_pixel_values))
        inputs, world_was_read = self.fuse_inputs(
            {
                **dict(zip(_PICTURES, (pixel_values, image_position_ids, image_grid_thw), strict=True)),
                **dict(zip(_WORLD, (world_pixels, world_features, num_world_steps), strict=True)),
                **dict(zip(_TYPES, (token_type_ids, mm_token_type_ids), strict=True)),
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "position_ids": position_ids,
                CACHE: past_key_values if cache is None else cache,
                "inputs_embeds": inputs_embeds,
                "mm_encoder_outputs": mm_encoder_outputs,
                "packed_samples": packed_samples,
            }
            | kwargs
        )
        if labels is None:
            return super().forward(logits_to_keep=logits_to_keep, **inputs)
        return self._supervised(labels, world_was_read, **inputs)

    def fuse_inputs(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Return the native model's inputs for inputs of `forward`, and True if they contain a world.

        Raises:
            ValueError: as `forward`.
        """
        rest = dict(inputs)
        pictures = {name: rest.pop(name, None) for name in _PICTURES}
        pixels, features, steps = (rest.pop(name, None) for name in _WORLD)
        token_types, mm_token_types = (rest.pop(name, None) for name in _TYPES)
        input_ids, packed, rest[CACHE] = rest.pop("input_ids", None), rest.pop("packed_samples", None), take_cache(rest)
        parts = dict(rest.pop("mm_encoder_outputs", None) or {})
        types = self._types(token_types, mm_token_types, input_ids, pictures["pixel_values"])
        if (fused := parts.pop("world", None)) is None:
            fused = self._world_tokens(pixels, features, steps, input_ids)
        attention_mask, derived = rest.pop("attention_mask", None), {}
        if fused is not None:
            before = rest.get("position_ids"), rest[CACHE]
            rest["position_ids"] = self.place_prompt(input_ids, *before, attention_mask, types, pictures)
            input_ids, rest["inputs_embeds"], parts, derived = self._fuse(input_ids, pictures, parts, fused)
        native = {
            "input_ids": input_ids,
            "attention_mask": self._mask(attention_mask, packed, types),
            "mm_encoder_outputs": parts or None,
            self.TYPE_IDS: types,
            **{name: pictures.get(name) for name in self.PICTURES},
            **rest,
            **derived,
        }
        return native, fused is not None

    def _types(self, token_type_ids: Any, mm_token_type_ids: Any, input_ids: Any, pixel_values: Any) -> Tensor | None:
        """Return the types of tokens, given under the base's name, or those of the processor if they are missing."""
        given = {"token_type_ids": token_type_ids, "mm_token_type_ids": mm_token_type_ids}
        types = given.pop(self.TYPE_IDS)
        if any(other is not None for other in given.values()):
            raise ValueError(f"{next(iter(given))} on {self.config.BASE.title}: its name there is {self.TYPE_IDS}")
        return image_positions(types, input_ids, pixel_values, self.config.image_token_id)

    def _mask(self, attention_mask: Any, packed_samples: Tensor | None, token_type_ids: Tensor | None) -> Any:
        """Return the given mask, or one that separates packed samples."""
        if packed_samples is None:
            return attention_mask
        self.config.BASE.refuse(PACKING)
        embed: Any = self.get_input_embeddings()
        return packed_masks(packed_samples, token_type_ids, self.model.language_model.config, embed.weight.dtype)

    @abstractmethod
    def embed_prompt(
        self, input_ids: Int[Tensor, "B L"], image: Any, is_world: Bool[Tensor, "B L"]
    ) -> tuple[Float[Tensor, "B L D"], dict[str, Any]]:
        """Embed ids and pictures as the native model does; the world's embeddings then replace those of its ids.

        Args:
            input_ids: with placeholders of pictures and of the world.
            image: output of `get_image_features`; None: no pictures.
            is_world: True at the placeholders of the world, whose ids may have no row in the table.

        Returns:
            The embeddings, and the inputs of the native model that it would derive from ids.
        """

    def place_prompt(
        self, input_ids: Any, position_ids: Any, past: Any, attention_mask: Any, types: Any, pictures: dict[str, Any]
    ) -> Tensor | None:
        """Return the positions of a prompt with a world, or as given where the native model counts tokens."""
        return position_ids

    def _fuse(
        self, input_ids: Tensor | None, pictures: dict[str, Any], parts: dict[str, Any], fused: Tensor
    ) -> tuple[Tensor | None, Tensor | None, dict[str, Any], dict[str, Any]]:
        """Replace ids and pictures by ids or embeddings, encoder outputs, and other inputs, that contain the world."""
        if input_ids is None:
            raise ValueError("the world is fused by input_ids: it cannot be combined with inputs_embeds")
        if pictures["pixel_values"] is not None:
            encode: Any = self.get_image_features
            parts["image"] = encode(**{name: pictures[name] for name in self.PICTURES}, return_dict=True)
            pictures.clear()
        if self.config.world_fusion == "residual":
            parts["image"] = add_residual(parts.get("image"), fused)
            return input_ids, None, parts, {}
        embeds, derived = self._embed(input_ids, parts.get("image"), fused)
        return None, embeds, {}, derived

    def _imitate(self, block: Tensor | None, pictures: Float[Tensor, "N T 3 H W"]) -> Float[Tensor, ""]:
        self.config.BASE.refuse(IMITATION)
        if block is None:
            raise ValueError("slot_pixel_values without world_pixels or world_features: no world tokens to compare")
        with torch.no_grad():
            image: Any = self.get_image_features(pictures.flatten(0, 1), return_dict=True)  # pyright: ignore[reportCallIssue]
        return unexplained(block, image.pooler_output)

    def _supervised(self, labels: Tensor, world_was_read: bool, **arguments: Any) -> Any:
        """Compute the loss with logits at the supervised positions only, never (B, L, V)."""
        shifted = F.pad(labels, (0, 1), value=IGNORE_INDEX)[:, 1:]
        keep: Bool[Tensor, "B L"] = shifted != IGNORE_INDEX
        arguments.update(logits_to_keep=keep.to(execution_device(self.model.language_model.norm)))
        if keep.any():
            output: Any = super().forward(labels=labels, **arguments, shift_labels=shifted[keep])  # pyright: ignore[reportCallIssue]
        else:  # a mean over no positions is NaN; the loss and its gradient are 0 instead
            arguments.pop("num_items_in_batch", None)
            output = super().forward(**arguments)
            output.loss = output.logits.sum()
        if self.training and self.config.enable_world and not world_was_read:
            output.loss = output.loss + 0 * touched(self.world, self.config)
        return output

    def _embed(
        self, input_ids: Int[Tensor, "B L"], image: Any, block: Float[Tensor, "N R D"]
    ) -> tuple[Float[Tensor, "B L D"], dict[str, Any]]:
        """Replace placeholders by image and world embeddings; also return the inputs that the base derives from ids.

        ids     [bos, SOW,  w,  w, EOW, turn, IMG, IMG, what, ...]
        embeds  [  e,  m0, p0, p1,  m1,    e,  v0,  v1,    e, ...]   m markers, p world, v vision, e table
        """
        mask = world_mask(self.config, input_ids, *block.shape[:2])
        embeds, derived = self.embed_prompt(input_ids, image, mask)
        return embeds.masked_scatter(mask[..., None].to(embeds.device), block.to(embeds.device, embeds.dtype)), derived

    # --- generation --------------------------------------------------------------------------------------

    def prepare_inputs_for_generation(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input_ids: Tensor, is_first_iteration: bool = False, use_cache: bool = True, **kwargs: Any
    ) -> dict[str, Any]:
        prepared = super().prepare_inputs_for_generation(
            input_ids, is_first_iteration=is_first_iteration, use_cache=use_cache, **kwargs
        )
        if not is_first_iteration and use_cache:  # the world is in the cache now
            for name in ("world_pixels", "world_features"):
                prepared.pop(name, None)
        return prepared

    def _maybe_prepare_encoder_kwargs_for_generation(
        self, inputs_tensor: Tensor, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        given = (model_kwargs.get(self.TYPE_IDS), inputs_tensor, model_kwargs.get("pixel_values"))
        model_kwargs[self.TYPE_IDS] = image_positions(*given, self.config.image_token_id)
        # As for pictures: encode once, before beam search multiplies the rows.
        pixels, features, steps = (model_kwargs.pop(name, None) for name in _WORLD)
        prepare = super()._maybe_prepare_encoder_kwargs_for_generation  # pyright: ignore[reportAttributeAccessIssue]
        model_kwargs = prepare(inputs_tensor, model_kwargs, *args, **kwargs)
        fused = self._world_tokens(pixels, features, steps, inputs_tensor)
        if fused is None and model_kwargs.get(CACHE) is None:
            has_pictures = "image" in model_kwargs.get("mm_encoder_outputs", {})
            refuse_absent_world(self.config, inputs_tensor, has_pictures)
        elif fused is not None:
            parts = model_kwargs["mm_encoder_outputs"]
            if self.config.world_fusion == "residual":
                parts["image"] = add_residual(parts.get("image"), fused)
            else:
                world_mask(self.config, inputs_tensor, *fused.shape[:2])
                parts["world"] = fused
        return model_kwargs

    def _expand_multimodal_outputs(
        self, input_ids: Any, mm_encoder_output: dict, expand_size: int = 1, inputs_embeds: Any = None
    ) -> dict[str, Any]:
        # A row may have several clips: its group is repeated as a whole, [A, B] -> [A, B, A, B].
        expand = super()._expand_multimodal_outputs  # pyright: ignore[reportAttributeAccessIssue]
        expanded = expand(input_ids, mm_encoder_output, expand_size=expand_size, inputs_embeds=inputs_embeds)
        if (blocks := expanded.get("world")) is not None:
            clips = (input_ids == self.config.sow_token_id).sum(-1).tolist()
            expanded["world"] = torch.cat([group.repeat(expand_size, 1, 1) for group in blocks.split(clips)])
        return expanded
