"""The tables of docs/how-it-works.md: every count and shape is what the code gives, on models without weights."""

import functools
import importlib.util
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, Gemma3ImageProcessor

from theworld import TheWorld, TheWorldProcessor, constants, tiny
from theworld.config import TrainingConfig, loader
from theworld.modeling import loading
from theworld.modeling.configuration import TheWorldConfig
from theworld.world.loading import read_config
from theworld.world.vae import encode_mean

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-it-works.md"
QUESTION = "What is in this image?"
COLUMNS = ("4B", "4B, looking ahead", "tiny-foresight")
REAL_TOKENIZER = os.environ.get("THEWORLD_REAL_TOKENIZER", "")


def table(heading: str, column: str) -> dict[str, str]:
    """A column of the first table under a heading of the page, by the first cell of each row."""
    text = PAGE.read_text().split(f"\n## {heading}\n")[1]
    lines = itertools.takewhile(lambda line: line.startswith("|"), text[text.index("\n|") + 1 :].splitlines())
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    place = head.index(column)
    return {row[0].partition(":")[0].partition(" (")[0]: row[place] for row in rows}


def pieces(column: str) -> list[int]:
    """Tokens of each piece of the row, as the page counts them, and of all."""
    return [int(count) for count in table("A row of tokens", column).values()]


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration files of Gemma 3 4B and Cosmos-Predict2 2B; a file of weights that holds none."""
    spec = importlib.util.spec_from_file_location("make_full_size", ROOT / "benchmarks" / "make_full_size.py")
    assert spec is not None
    assert spec.loader is not None
    made: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    folder = tmp_path_factory.mktemp("full-size")
    made.gemma_config().save_pretrained(folder / "gemma")
    save_file({}, folder / "gemma" / "model.safetensors")
    with torch.device("meta"):
        for name, part in (("vae", AutoencoderKLWan()), ("transformer", made.cosmos_transformer())):
            part.save_config(folder / "cosmos" / name)
    FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True).save_pretrained(folder / "cosmos" / "scheduler")
    return folder


def configuration(column: str, full_size: Path) -> TheWorldConfig:
    if column == "tiny-foresight":
        return TheWorldConfig.from_pretrained(tiny.WEIGHTS / "fused")
    fields: dict[str, Any] = {"cosmos_model_name": str(full_size / "cosmos")}
    if column == "4B, looking ahead":
        shipped = loader.load(TrainingConfig, ROOT / "configs" / "foresight-4b.yaml", []).model
        fields |= {"world_tap": shipped.world.tap, "world_image_size": shipped.world.image_size_px}
        fields |= {"world_grid": shipped.world_grid, "num_world_steps": shipped.num_world_steps}
    return loading.configure(str(full_size / "gemma"), fields)


@functools.cache
def networks(column: str, full_size: Path) -> dict[str, Any]:
    """The fused model, the VAE, and the transformer where the tap reads it, all without weights."""
    config = configuration(column, full_size)
    cosmos = tiny.WEIGHTS / "cosmos" if config.cosmos_model_name == "tiny" else full_size / "cosmos"
    with torch.device("meta"):
        found = {"model": TheWorld(config).eval(), "vae": AutoencoderKLWan.from_config(read_config(cosmos, "vae"))}
        read = read_config(cosmos, "transformer")
        if config.world_tap == "dit":
            read |= {"num_layers": config.dit_block + 1}
        if config.world_tap in ("rollout", "dit"):
            found["transformer"] = CosmosTransformer3DModel.from_config(read)
    return found


class Watch:
    """What goes into and comes out of modules while they run."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.made: dict[str, Any] = {}

    def on(self, module: nn.Module, name: str) -> None:
        """Keep what `module` is given and makes, under a name."""

        def keep(_module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
            self.given[name], self.made[name] = next(iter(given), None), made

        module.register_forward_hook(keep)


def shapes(nets: dict[str, Any], length: int) -> dict[str, tuple[int, ...] | None]:
    """Every shape of the page's second table, of tensors that the code makes."""
    model, watch = nets["model"], Watch()
    config: TheWorldConfig = model.config
    watch.on(model.model.vision_tower, "tower")
    watch.on(model.world.projector, "projector")
    side, seen_px = config.vision_config.image_size, config.world_image_size
    pixels = torch.empty(1, 3, side, side, device="meta")
    image = model.get_image_features(pixels, return_dict=True).pooler_output
    clip = torch.empty(1, 1, 3, seen_px, seen_px, dtype=torch.uint8, device="meta")
    latent = encode_mean(nets["vae"], clip)
    slots = config.world_settings().num_slots(1, config.num_world_steps)
    features = torch.empty(1, config.world_channels, slots, config.native_grid, config.native_grid, device="meta")
    block = model.world(features, config.num_world_steps)
    embeds = torch.empty(1, length, config.text.hidden_size, device="meta")
    output = model(inputs_embeds=embeds, use_cache=True, logits_to_keep=1)
    full = config.text.layer_types.index("full_attention")
    found = {
        "`pixel_values`": pixels,
        "patches of SigLIP": watch.made["tower"].last_hidden_state,
        "image tokens, pooled and projected": image,
        "`world_pixels`": clip,
        "latent mean of the Wan VAE": latent,
        "tokens of the Cosmos transformer": denoised(nets, watch, slots, latent, seen_px),
        "features of the tap": features,
        "on the grid, cells as vectors": watch.given["projector"],
        "projected": watch.made["projector"],
        "table of times": model.world.time.weight,
        "table of places": model.world.place.weight,
        "the block, markers included": block,
        "`input_ids`": embeds[..., 0],
        "embeddings": embeds,
        "keys of a layer of full attention": output.past_key_values.layers[full].keys,
        "logits of the next token": output.logits,
    }
    return {name: None if tensor is None else tuple(tensor.shape) for name, tensor in found.items()}


def denoised(nets: dict[str, Any], watch: Watch, num_slots: int, latent: Tensor, side_px: int) -> Tensor | None:
    """What the first block of the transformer gives of given and future slots; None where the tap reads none."""
    if (transformer := nets.get("transformer")) is None:
        return None
    latents = latent.expand(-1, -1, num_slots, -1, -1)
    watch.on(transformer.transformer_blocks[0], "block")
    transformer(
        hidden_states=latents,
        timestep=torch.empty(1, 1, latents.shape[2], 1, 1, device="meta"),
        encoder_hidden_states=torch.empty(1, 1, transformer.config.text_embed_dim, device="meta"),
        condition_mask=torch.empty_like(latents[:, :1]),
        padding_mask=torch.empty(1, 1, side_px, side_px, device="meta"),
    )
    return watch.made["block"]


@pytest.mark.parametrize("column", COLUMNS)
def test_the_shapes_on_the_page_are_those_of_the_code(column: str, full_size: Path) -> None:
    made = shapes(networks(column, full_size), length=pieces(column)[-1])

    assert table("Shapes, step by step", column) == {name: str(shape or "") for name, shape in made.items()}


@pytest.mark.parametrize("column", COLUMNS)
def test_the_parameters_on_the_page_are_those_of_the_code(column: str, full_size: Path) -> None:
    nets = networks(column, full_size)
    gemma = nets["model"].model
    parts = {
        "SigLIP": gemma.vision_tower,
        "Gemma's projector": gemma.multi_modal_projector,
        "language model": gemma.language_model,
        "world block, which trains": nets["model"].world,
        "Wan VAE": nets["vae"],
        "Cosmos transformer, where the tap reads it": nets.get("transformer", nn.Module()),
    }
    counts = {name: sum(one.numel() for one in part.parameters()) for name, part in parts.items()}

    assert table("Parameters", column) == {name: f"{count:,}" if count else "" for name, count in counts.items()}


def counted(processor: TheWorldProcessor, num_world_steps: int) -> list[int]:
    """Tokens of each piece of the page's row, and of all."""
    picture = Image.fromarray(np.zeros((32, 32, 3), np.uint8))
    content = [{"type": "image", "image": picture}, {"type": "text", "text": QUESTION}]
    ids = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        num_world_steps=num_world_steps,
        tokenize=True,
        return_dict=True,
        add_generation_prompt=True,
    )["input_ids"][0]
    words = processor.tokenizer.convert_ids_to_tokens(ids)
    first = words.index("What")
    begins = [
        0,
        words.index("<start_of_world>"),
        words.index("<world_soft_token>"),
        words.index("<end_of_world>"),
        words.index("<start_of_turn>"),
        words.index("<start_of_image>"),
        words.index("<image_soft_token>"),
        words.index("<end_of_image>"),
        first,
        words.index("<end_of_turn>"),
        len(words),
    ]
    assert words[first : begins[-2]] == ["What", "▁is", "▁in", "▁this", "▁image", "?"]
    return [*(end - begin for begin, end in itertools.pairwise(begins)), len(words)]


def test_the_row_of_the_embedded_model_is_counted_as_its_processor_writes_it(embedded: Path) -> None:
    config = TheWorldConfig.from_pretrained(embedded / "fused")

    assert pieces("tiny-foresight") == counted(TheWorldProcessor.from_config(config), config.num_world_steps)


@pytest.mark.slow
@pytest.mark.real_tokenizer
@pytest.mark.skipif(not REAL_TOKENIZER, reason="THEWORLD_REAL_TOKENIZER is unset")
def test_the_rows_of_the_full_size_are_counted_as_the_real_tokenizer_writes_them(full_size: Path) -> None:
    words = AutoTokenizer.from_pretrained(Path(REAL_TOKENIZER))
    pictures = Gemma3ImageProcessor(size={"height": 896, "width": 896})
    processor = TheWorldProcessor(pictures, words, chat_template=words.chat_template)

    for column in COLUMNS[:2]:
        config = configuration(column, full_size)
        processor.tokens_per_slot, processor.world_tap = config.tokens_per_slot, config.world_tap
        assert pieces(column) == counted(processor, config.num_world_steps)
    assert words.convert_tokens_to_ids(list(REAL_IDS)) == list(REAL_IDS.values())


REAL_IDS = {
    "<pad>": constants.PAD_TOKEN_ID,
    "<eos>": constants.EOS_TOKEN_ID,
    "<bos>": constants.BOS_TOKEN_ID,
    "<start_of_turn>": 105,
    "<end_of_turn>": 106,
    "<start_of_image>": 255_999,
    "<end_of_image>": 256_000,
    "<image_soft_token>": constants.IMAGE_SOFT_TOKEN_ID,
    constants.CUSTOM_TOKEN_SOW: constants.SOW_TOKEN_ID,
    constants.CUSTOM_TOKEN_EOW: constants.EOW_TOKEN_ID,
    constants.WORLD_SOFT_TOKEN: constants.WORLD_SOFT_TOKEN_ID,
}


def test_the_ids_on_the_page_about_tokens_are_those_of_the_tokenizers(embedded: Path) -> None:
    page = (ROOT / "docs" / "tokenization.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `<")]
    small = TheWorldProcessor.from_config(TheWorldConfig.from_pretrained(embedded / "fused")).tokenizer

    assert [row[:2] for row in rows] == [[f"`{name}`", str(token_id)] for name, token_id in REAL_IDS.items()]
    assert [row[2] for row in rows] == [str(small.convert_tokens_to_ids(name)) for name in REAL_IDS]
