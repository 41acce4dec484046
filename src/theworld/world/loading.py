"""Find the parts of a world model's checkpoint on the hub or on disk, and load them one by one."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError
from torch import Tensor, nn

from theworld import tiny
from theworld.config import CONTROL_TAPS, WorldSettings
from theworld.constants import TINY_MODEL
from theworld.hub import again, fetch
from theworld.tiny.random_weights import draw_weights, measure_latents
from theworld.world.custom import FeatureShape, own_tap
from theworld.world.families.family import NULL_PROMPT, Family, stride_of
from theworld.world.families.table import INDEX, check_class, family_of, read_object
from theworld.world.jepa import LICENCE as JEPA_LICENCE
from theworld.world.jepa import jepa_config, jepa_folder
from theworld.world.siglip import gemma_folder, vision_config
from theworld.world.vae import skip_empty_frames

Part = Literal["vae", "transformer", "scheduler"]
CONFIG_FILES: dict[Part, str] = {
    "vae": "config.json",
    "transformer": "config.json",
    "scheduler": "scheduler_config.json",
}
_VAE_BOUNDS: dict[str, tuple[int, int]] = {"z_dim": (1, 1_024)}
_VAE_LISTS: dict[str, range] = {"temperal_downsample": range(1, 9)}
"""Fields of a VAE that shapes of features depend on: values, and lengths of lists; families bound the transformer's."""

WEIGHTED_PARTS: tuple[Part, ...] = ("vae", "transformer")


_UNBUILDABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Errors of networks that are built from values that do not fit."""


def parts_read(settings: WorldSettings) -> tuple[Part, ...]:
    """Return the parts of a diffusion model's checkpoint that this tap needs; never the text encoder."""
    if settings.reads in ("siglip", "v-jepa2") or own_tap(settings) is not None:
        return ()
    if settings.reads == "vae":
        return ("vae", "transformer", "scheduler") if settings.shape_of == "rollout" else ("vae",)
    return ("vae", "transformer", "scheduler") if denoises(settings) else ("vae", "transformer")


def denoises(settings: WorldSettings) -> bool:
    """Return True if a `dit` tap reads states during the pipeline's own denoising."""
    return settings.shape_of == "dit" and settings.dit_future == "denoised"


def resolve_cosmos(
    name: str, revision: str | None, parts: Sequence[Part], weights: bool = True
) -> tuple[Path, str | None]:
    """Return the folder of the named parts; from the hub, only these are downloaded.

    Args:
        name: hub id, folder, or "tiny".
        revision: commit of the hub repository.
        parts: required subfolders.
        weights: download the weights, too, and not only the configuration files.

    Returns:
        The folder, and the commit if it came from the hub.

    Raises:
        ValueError: if it cannot be found or downloaded, or lacks a part.
    """
    commit = None
    if name == TINY_MODEL or Path(name).is_dir():
        if revision is not None:
            raise ValueError(f"cosmos_revision={revision!r} is a commit on the hub, but {name!r} is a folder: drop it")
        folder = tiny.stack() / "cosmos" if name == TINY_MODEL else Path(name)
    else:
        kinds = ("json", "safetensors") if weights else ("json",)
        patterns = [INDEX, *(f"{part}/*.{kind}" for part in parts for kind in kinds)]
        if weights and "transformer" in parts:
            patterns.append(f"{NULL_PROMPT}/*.safetensors")
        folder = fetch(name, patterns, revision)
        commit = folder.name
    family = family_of(folder)
    needed = [f"{part}/{CONFIG_FILES[part]}" for part in parts]
    if weights:
        needed += [f"{part}/*.safetensors" for part in parts if part in WEIGHTED_PARTS]
    missing = [pattern for pattern in needed if not any(folder.glob(pattern))]
    if missing:
        raise ValueError(
            f"{folder}: no {', '.join(missing)}; expected the layout of {family.example}"
            f" with the parts {', '.join(parts)}{_hint(folder)}"
        )
    return folder, commit


def _hint(folder: Path) -> str:
    is_flat = (folder / "config.json").is_file() and not (folder / INDEX).is_file()
    return "; a V-JEPA 2 is read by the tap 'v-jepa2'" if is_flat else ""


def _parts_of_shape(settings: WorldSettings) -> tuple[Part, ...]:
    """Return the parts whose configuration files decide the shape of a feature."""
    return ("vae", "transformer") if settings.reads == "dit" else ("vae",)


def locate(settings: WorldSettings, weights: bool = True) -> tuple[WorldSettings, str | None]:
    """Replace the names in the settings by folders, and return the commit of the Cosmos repository: one hub access.

    Args:
        settings: of the tap.
        weights: download the parts that the tap reads (controls have no weights); False: those of `feature_shape`.

    Raises:
        ValueError: as `resolve_cosmos`.
    """
    if own_tap(settings) is not None:  # your own tap finds its files itself
        return settings, None
    if settings.reads == "siglip":
        return replace(settings, siglip_model_name=str(gemma_folder(settings.siglip_model_name, weights))), None
    if settings.reads == "v-jepa2":
        folder, commit = jepa_folder(settings, weights and settings.tap not in CONTROL_TAPS)
        return replace(settings, cosmos_model_name=str(folder), cosmos_revision=None), commit
    parts = parts_read(settings) if weights else _parts_of_shape(settings)
    weights = weights and settings.tap not in CONTROL_TAPS
    folder, commit = resolve_cosmos(settings.cosmos_model_name, settings.cosmos_revision, parts, weights)
    return replace(settings, cosmos_model_name=str(folder), cosmos_revision=None), commit


def read_config(folder: Path, part: Part) -> dict[str, Any]:
    """Read the configuration of one part, without the names and versions of its author.

    Raises:
        ValueError: if the file is no JSON object, or belongs to a network or schedule of another class.
    """
    family = family_of(folder)
    file = folder / part / CONFIG_FILES[part]
    values = read_object(file, folder)
    check_class(family, file, values.get("_class_name"), part)
    bounds = {"vae": _VAE_BOUNDS, "transformer": family.bounds}
    for name, (least, most) in bounds.get(part, {}).items():
        value = values.get(name)
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{file}: {name}={value!r}: expected a whole number of {least} to {most}; {again(folder)}")
    patch = values.get("patch_size") if part == "vae" else None
    if patch is not None and (type(patch) is not int or not 1 <= patch <= 8):
        raise ValueError(f"{file}: patch_size={patch!r}: expected null or a whole number of 1 to 8; {again(folder)}")
    lists = {"vae": _VAE_LISTS, "transformer": family.lists}
    for name, length in lists.get(part, {}).items():
        value = values.get(name)
        if (
            not isinstance(value, list)
            or len(value) not in length
            or any(type(item) not in (int, bool) for item in value)
        ):
            raise ValueError(
                f"{file}: {name}={value!r}: expected a list of {length[0]} to {length[-1]} values; {again(folder)}"
            )
    return {key: value for key, value in values.items() if not key.startswith("_")}


def feature_shape(settings: WorldSettings) -> FeatureShape:
    """Compute the channels and the stride of a tap's features from the configuration files alone.

    Raises:
        ValueError: if the checkpoint cannot be found, has no block `dit_block`, or its grid cannot be pooled.
    """
    channels, stride_px = _network_shape(settings)
    grid = settings.image_size_px // stride_px
    if grid % settings.pool:
        raise ValueError(f"pool={settings.pool}: {settings.reads} has {grid} cells a side: choose a divisor of {grid}")
    return FeatureShape(channels, stride_px * settings.pool)


def _network_shape(settings: WorldSettings) -> FeatureShape:
    """Return the channels and the stride of what a network gives, before cells are averaged."""
    if (registered := own_tap(settings)) is not None:
        return registered.shape(settings)
    if settings.reads == "siglip":
        vision = vision_config(settings.siglip_model_name)
        return FeatureShape(vision.hidden_size, vision.patch_size)
    if settings.reads == "v-jepa2":
        jepa: Any = jepa_config(settings)
        return FeatureShape(jepa.hidden_size, jepa.patch_size)
    parts = _parts_of_shape(settings)
    folder, _ = resolve_cosmos(settings.cosmos_model_name, settings.cosmos_revision, parts, weights=False)
    family = family_of(folder)
    if (settings.shape_of == "rollout" or denoises(settings)) and not family.samples:
        raise ValueError(
            f"{folder}: {family.cannot_imagine}; without one use the taps vae or dit (dit_future='repeat')"
        )
    vae = read_config(folder, "vae")
    num_channels, stride_px = vae["z_dim"], stride_of(vae)
    if settings.reads == "dit":
        transformer = read_config(folder, "transformer")
        _check_block(settings.dit_block, transformer[family.num_blocks], folder)
        num_channels = family.channels(transformer)
        stride_px *= family.patch(transformer)
    if settings.image_size_px % stride_px:
        raise ValueError(
            f"image_size_px={settings.image_size_px}: {family.name} in {folder} has a feature for each {stride_px} px:"
            f" choose a multiple of {stride_px}"
        )
    return FeatureShape(num_channels, stride_px)


def world_family(settings: WorldSettings) -> Family | None:
    """Return the family of the diffusion model that a tap reads; None for SigLIP, V-JEPA 2 and your own tap.

    Raises:
        ValueError: as `resolve_cosmos`.
    """
    if not parts_read(settings):
        return None
    return family_of(resolve_cosmos(settings.cosmos_model_name, settings.cosmos_revision, (), weights=False)[0])


def describe_world(settings: WorldSettings) -> str:
    """Return the family of the world model that a tap reads, its files' name and its licence.

    Raises:
        ValueError: as `resolve_cosmos`.
    """
    if settings.tap in ("zero", "noise"):
        return f"none: {settings.tap}"
    if own_tap(settings) is not None:
        return f"your own tap {settings.tap!r}"
    if settings.reads == "siglip":
        return f"none: Gemma's vision tower of {settings.siglip_model_name}"
    if settings.reads == "v-jepa2":
        return f"V-JEPA 2, {settings.cosmos_model_name} ({JEPA_LICENCE})"
    family = world_family(settings)
    assert family is not None
    return f"{family.name}, {settings.cosmos_model_name} ({family.licence})"


def load_vae(settings: WorldSettings, device: str | torch.device = "cpu") -> AutoencoderKLWan:
    """Load the VAE in `settings.dtype`; the tap `random` draws its weights from `settings.seed`."""
    folder = _folder(settings, "vae")
    dtype = getattr(torch, settings.dtype)
    if settings.tap != "random":
        loaded: Any = skip_empty_frames(_load(AutoencoderKLWan, folder, "vae", dtype).to(device))
        loaded.is_nvidias = family_of(folder).needs_guardrail  # for `guardrail.show`
        return loaded
    generator = torch.Generator().manual_seed(settings.seed)
    vae = _draw(AutoencoderKLWan, folder, "vae", generator)
    measure_latents(vae, generator)  # the statistics on disk are for the trained weights
    nn.Module.to(vae, device, dtype)  # in place; the class's own `to` warns about layers that it lacks
    return skip_empty_frames(vae)


def load_transformer(settings: WorldSettings, device: str | torch.device = "cpu") -> Any:
    """Load the denoiser in `settings.dtype`: all of it if it imagines, else the blocks up to `dit_block`.

    The tap `random` draws its weights from `settings.seed`.

    Raises:
        ValueError: if there is no block `dit_block`, or a tensor is missing or foreign.
    """
    folder = _folder(settings, "transformer")
    family = family_of(folder)
    transformer_class: Any = family.classes["transformer"]
    dtype = getattr(torch, settings.dtype)
    num_layers = read_config(folder, "transformer")[family.num_blocks]
    if settings.reads == "dit":
        _check_block(settings.dit_block, num_layers, folder)
        if not denoises(settings):
            num_layers = settings.dit_block + 1
    if settings.tap == "random":
        generator = torch.Generator().manual_seed(settings.seed)
        transformer = _draw(transformer_class, folder, "transformer", generator, **{family.num_blocks: num_layers})
        nn.Module.to(transformer, device, dtype)
        return transformer
    kept = "|".join(map(str, range(num_layers)))
    later_block = rf"{family.blocks}\.(?!({kept})\.)\d+\."
    transformer = _load(transformer_class, folder, "transformer", dtype, later_block, **{family.num_blocks: num_layers})
    return transformer.to(device)


def load_prompt(settings: WorldSettings) -> Tensor:
    """Return the embedding of the null prompt, (1, L, W), in float32; for the tap `random` zeros.

    Raises:
        ValueError: if the family needs a stored one that is missing or does not fit.
    """
    folder = _folder(settings, "transformer")
    is_drawn = settings.tap in CONTROL_TAPS
    return family_of(folder).prompt_of(folder, read_config(folder, "transformer"), is_drawn=is_drawn)


def load_scheduler(settings: WorldSettings) -> Any:
    """Load the noise schedule.

    Raises:
        ValueError: for a schedule that its family is not sampled with; features would be NaN without an error.
    """
    folder = _folder(settings, "scheduler")
    read_config(folder, "scheduler")  # names a damaged file
    try:
        scheduler_class: Any = family_of(folder).classes["scheduler"]
        scheduler: Any = scheduler_class.from_pretrained(folder, subfolder="scheduler")
    except _UNBUILDABLE as error:
        file = folder / "scheduler" / CONFIG_FILES["scheduler"]
        raise ValueError(f"{file}: gives no schedule ({' '.join(str(error).split())}); {again(folder)}") from error
    if (fault := family_of(folder).check_scheduler(scheduler.config)) is not None:
        raise ValueError(f"{folder / 'scheduler'}: {fault}")
    return scheduler


def _folder(settings: WorldSettings, part: Part) -> Path:
    weights = settings.tap not in CONTROL_TAPS
    return resolve_cosmos(settings.cosmos_model_name, settings.cosmos_revision, (part,), weights)[0]


def _check_block(block: int, num_layers: int, folder: Path) -> None:
    if block >= num_layers:
        raise ValueError(
            f"dit_block={block}, but the transformer in {folder} has {num_layers} blocks: choose 0 to {num_layers - 1}"
        )


def _load(
    model_class: type[ModelMixin], folder: Path, part: Part, dtype: torch.dtype, left_out: str = "$^", **kwargs: Any
) -> Any:
    """Load a part in eval mode and check every tensor; those that match `left_out` may stay on disk."""
    read_config(folder, part)  # names a damaged file, and another network
    load: Any = model_class.from_pretrained
    try:
        with _quiet_about_left_out():
            options = {"torch_dtype": dtype, "use_safetensors": True, "output_loading_info": True, **kwargs}
            model, report = load(folder, subfolder=part, **options)
    except (SafetensorError, OSError, *_UNBUILDABLE) as error:  # diffusers has no error class of its own
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{folder / part}: missing, damaged or half-downloaded weights ({reason}); {again(folder)}"
        ) from error
    foreign = [key for key in report["unexpected_keys"] if not re.match(left_out, key)]
    missing = list(report["missing_keys"])
    if missing or foreign or report["mismatched_keys"]:
        raise ValueError(
            f"{folder / part}: {len(missing)} tensors missing {missing[:3]}, {len(foreign)} foreign {foreign[:3]},"
            f" {len(report['mismatched_keys'])} of another shape; the files are not those of its config.json"
        )
    return model


def _draw(model_class: Any, folder: Path, part: Part, generator: torch.Generator, **changes: Any) -> Any:
    """Build the part in eval mode with random weights, without touching the global random state."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(generator.initial_seed())  # biases come from the class itself
            model = model_class.from_config(read_config(folder, part), **changes)
    except _UNBUILDABLE as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{folder / part / CONFIG_FILES[part]}: gives no network ({reason}); {again(folder)}"
        ) from error
    draw_weights(model, generator)
    return model.eval()


@contextmanager
def _quiet_about_left_out() -> Iterator[None]:
    """Silence the warning that lists every tensor left on disk; `_load` checks them by name."""

    def is_other(record: logging.LogRecord) -> bool:
        return "were not used when initializing" not in record.getMessage()

    reporting = logging.getLogger("diffusers.models.modeling_utils")
    reporting.addFilter(is_other)
    try:
        yield
    finally:
        reporting.removeFilter(is_other)
