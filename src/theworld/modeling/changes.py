"""Find the weights that differ from the files below the fusion: a checkpoint holds every part of them that changed."""

import copy
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from theworld.modeling import lora
from theworld.modeling.base_files import base_folder, loading_base, read_base
from theworld.modeling.config_files import CheckpointError, check_same_base
from theworld.modeling.freezing import PARTS, part_of
from theworld.modeling.fusion import Fusion
from theworld.modeling.native import fused_class
from theworld.tiny.gemma import without_progress_bars
from theworld.world.changed_weights import changed_tensor, is_equal, networks_of

logger = logging.getLogger(__name__)

_GEMMA = ("vision", "language")


def saved_name(name: str) -> str:
    """Return the name of a tensor in a checkpoint: the same with and without an adapter or torch.compile."""
    return name.replace(".base_layer.", ".").replace(f".{lora.ADAPTER_NAME}.", ".").replace("_orig_mod.", "")


def parts_to_save(model: Fusion, state: Mapping[str, Tensor]) -> list[str]:
    """Return the parts that were trained by these settings or changed in any other way, in the order of PARTS.

    Every frozen tensor is compared with the base's files, since versions and addresses of tensors do not show an edit
    of `.data`. `config.dtype` becomes the number format of the frozen weights.

    Args:
        model: to be saved.
        state: its tensors, by their names in the model.

    Raises:
        CheckpointError: for a change that no checkpoint can hold.
    """
    parts = set(model.config.trained_parts or ())
    _refuse_untied(model, state)
    if getattr(model, "is_quantized", False):  # packed weights, which nothing can train
        return [part for part in PARTS if part in parts]
    base = _read_base(model)
    if base is None:
        parts |= set(_GEMMA)
    else:
        _check_structure(model, state, base)
        _check_config(model)
        _check_buffers(model, base)
        parts |= _changed_parts(model, state, base, parts)
    _check_world(model, state)
    return [part for part in PARTS if part in parts]


def _read_base(model: Fusion) -> Fusion | None:
    """Read the base as a reload of the checkpoint will, without a copy in memory; None if its files are gone.

    Raises:
        CheckpointError: if the configuration gives other shapes than the base has.
    """
    config = copy.deepcopy(model.config)
    config.enable_world = False
    name = config.base_model_name
    load: Any = fused_class(config).from_pretrained
    try:
        with loading_base(name), without_progress_bars(), torch.random.fork_rng(devices=[]):
            base, report = load(
                base_folder(name),
                config=config,
                revision=config.base_revision or "main",
                dtype="auto",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                local_files_only=True,
                **model.base_options,
            )
            if config.lora is not None:
                lora.add_adapters(base, config.lora_settings())
    except (CheckpointError, OSError) as error:
        logger.warning("%s; all of Gemma's weights are saved, since they cannot be compared with their base", error)
        return None
    for key, there, here in report["mismatched_keys"]:
        raise CheckpointError(
            f"{key} has shape {tuple(here)}, but {tuple(there)} in the base {name}: a checkpoint keeps the shapes of"
            f" its base; undo the change (resize_token_embeddings({there[0]}) for embeddings), then save"
        )
    return base


def _check_config(model: Fusion) -> None:
    """Refuse edits of Gemma's configuration, which a reload would refuse."""
    config = model.config
    name, options = config.base_model_name, {"revision": config.base_revision, "local_files_only": True}
    original = read_base(name, config.BASE, **{**options, **model.base_options})
    check_same_base("model.config", config.to_dict(), original, name)


def _refuse_untied(model: Fusion, state: Mapping[str, Tensor]) -> None:
    """Raise an error if tied weights differ: a checkpoint holds only one of them."""
    for copied, origin in model.all_tied_weights_keys.items():
        one, two = state.get(copied), state.get(origin)
        if one is None or two is None or one.is_meta or two.is_meta:
            continue
        if one.shape != two.shape or not is_equal(one, two):
            raise CheckpointError(
                f"{copied} differs from {origin}, which it is tied to: no checkpoint holds both; call"
                " model.tie_weights() before you save"
            )


def _check_structure(model: Fusion, state: Mapping[str, Tensor], base: Fusion) -> None:
    """Compare names, shapes and classes with those that a reload builds.

    Raises:
        CheckpointError: with the names that differ.
    """
    expected: dict[str, Any] = {saved_name(name): tensor.shape for name, tensor in base.state_dict().items()}
    classes = {saved_name(name): type(module) for name, module in base.named_modules() if name}
    if hasattr(model, "world"):
        with torch.device("meta"):
            world = type(model.world)(model.config)
        expected |= {f"world.{name}": tensor.shape for name, tensor in world.state_dict().items()}
        classes |= {f"world.{name}": type(module) for name, module in world.named_modules() if name}
    actual = {saved_name(name): tensor.shape for name, tensor in state.items() if not name.startswith("cosmos_vae.")}
    foreign, missing = sorted(actual.keys() - expected.keys()), sorted(expected.keys() - actual.keys())
    if foreign or missing:
        raise CheckpointError(
            f"the model has tensors {foreign[:3] or 'none'} that a checkpoint of its configuration has not, and lacks"
            f" {missing[:3] or 'none'}: {_remedy(model, foreign)}"
        )
    modules = {saved_name(name): module for name, module in model.named_modules()}
    for name, shape in expected.items():
        if actual[name] != shape:
            raise CheckpointError(
                f"{name} has shape {tuple(actual[name])}, expected {tuple(shape)} by the model's configuration: undo"
                " the change, then save"
            )
    for name, kind in classes.items():
        module = getattr(modules.get(name), "_orig_mod", modules.get(name))
        if not isinstance(module, kind):
            raise CheckpointError(
                f"{name} is of class {type(module).__name__}, and a reload makes a {kind.__name__} of it: put that"
                " back, then save"
            )
        if getattr(module, "merged", False):
            raise CheckpointError(f"{name}: its adapter is merged and still there; call merge_lora(), then save")


def _remedy(model: Fusion, foreign: list[str]) -> str:
    if any(".lora_" in name or ".modules_to_save." in name for name in foreign):
        return "merge adapters of peft with merge_and_unload(), or save them with peft's own save_pretrained"
    if model.config.lora is not None:
        return "if its adapters were merged by peft, set model.config.lora = None; then save"
    return "put the original modules back, or save with torch.save"


def _check_buffers(model: Fusion, base: Fusion) -> None:
    """Raise an error for a changed buffer that is in no state_dict: scales, frequencies, positions."""
    kept = base.state_dict().keys()
    actual = {saved_name(name): buffer for name, buffer in model.named_buffers()}
    for name, buffer in base.named_buffers():
        here = actual.get(saved_name(name))
        if name in kept or (here is not None and here.is_meta):
            continue
        if here is None or here.shape != buffer.shape or not _is_close(here, buffer):
            raise CheckpointError(
                f"the buffer {name} was changed, and it is in no checkpoint: undo the change, then save (.half() and"
                " the like round buffers for good; from_pretrained(dtype=...) does not)"
            )


def _is_close(buffer: Tensor, like: Tensor) -> bool:
    """Compare buffers as each device computes them, in the coarser of their number formats."""
    buffer = buffer.detach().cpu()
    if not buffer.is_floating_point():
        return torch.equal(buffer, like)
    coarse = max(torch.finfo(buffer.dtype).eps, torch.finfo(like.dtype).eps)
    return torch.allclose(buffer.float(), like.float(), rtol=8 * coarse, atol=0)


def _changed_parts(model: Fusion, state: Mapping[str, Tensor], base: Fusion, known: set[str]) -> set[str]:
    """Return Gemma's parts, besides the known ones, that a reload would not find as they are.

    A number format that all of them share is a format to load, and no change of weights.
    """
    originals = {saved_name(name): tensor for name, tensor in base.state_dict().items()}
    tensors = {saved_name(name): tensor for name, tensor in state.items()}
    frozen = {name: part for name in originals if (part := part_of(name)) in _GEMMA and part not in known}
    formats = {tensors[name].dtype for name in frozen if tensors[name].is_floating_point()}
    if len(formats) == 1:
        _set_dtype(model, formats.pop())
    changed: set[str] = set()
    for name, part in frozen.items():
        if part in changed:
            continue
        if tensors[name].dtype != model.config.dtype or not is_equal(tensors[name], originals[name]):
            changed.add(str(part))
            logger.info("%s differs from the base: the checkpoint holds %s", name, part)
    return changed


def _set_dtype(model: Fusion, dtype: torch.dtype) -> None:
    if model.config.dtype != dtype:
        configs: tuple[Any, ...] = (model.config, model.config.text_config, model.config.vision_config)
        for config in configs:
            config.dtype = dtype


def _check_world(model: Fusion, state: Mapping[str, Tensor]) -> None:
    """Raise an error if networks of the world that no checkpoint holds were changed."""
    name = None
    if model.cosmos_vae is not None:
        prefix = "cosmos_vae."
        vae = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
        saved = tuple(name.removeprefix(prefix) for name in PARTS["cosmos_vae"])
        name = changed_tensor(model.config.world_settings(), {"vae": vae}, saved)
    elif model.tap is not None and model.tap.on_disk is not None:
        networks = {part: network.state_dict() for part, network in networks_of(model.tap).items()}
        name = changed_tensor(model.tap.on_disk, networks)
    if name is not None:
        raise CheckpointError(
            f"the world's {name} was changed, and checkpoints hold no weights of the frozen world: load it again with"
            " load_world(), or save the world's own files and name their folder with cosmos_model_name="
        )
