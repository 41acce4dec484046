"""A checkpoint's index chooses its family; what a family cannot do is refused in one line that says what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, UMT5Config, UMT5EncoderModel

from theworld import tiny
from theworld.config import WorldSettings
from theworld.tiny.tokenizer import train_tokenizer
from theworld.world.factory import open_tap, tap_fingerprint
from theworld.world.families.null_prompt import main
from theworld.world.families.table import FAMILIES, PREDICT2, family_of
from theworld.world.guardrail import is_nvidias
from theworld.world.loading import feature_shape, load_vae

NAMES = {
    "predict2": "Cosmos-Predict2",
    "predict2.5": "Cosmos-Predict2.5",
    "wan2.1": "Wan 2.1 T2V",
    "wan2.2": "Wan 2.2 TI2V",
    "cosmos3": "Cosmos 3",
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {family: tiny.build_world(family, root / family) for family in NAMES}


@pytest.fixture
def copy(originals: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A checkpoint of a family that a test may change."""
    return lambda family: Path(shutil.copytree(originals[family], tmp_path / family))


def settings(folder: Path, tap: Any = "dit", **changes: Any) -> WorldSettings:
    given = {"image_size_px": 64, "num_inference_steps": 3, "dit_block": 1, **changes}
    return WorldSettings(tap=tap, cosmos_model_name=str(folder), **given)


def rewrite(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def refused(given: WorldSettings, match: str) -> None:
    with pytest.raises(ValueError, match=match) as refusal:
        open_tap(given)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("family", NAMES)
def test_the_index_chooses_the_family(originals: dict[str, Path], family: str) -> None:
    assert family_of(originals[family]).name == NAMES[family]


def test_a_folder_without_an_index_is_predict2(copy: Callable[[str], Path]) -> None:
    folder = copy("predict2")
    (folder / "model_index.json").unlink()
    assert family_of(folder) is PREDICT2
    assert tap_fingerprint(settings(folder)) == tap_fingerprint(settings(copy("wan2.1").parent / "predict2"))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"_class_name": "LTXPipeline"}, "the pipeline 'LTXPipeline'; TheWorld reads Cosmos-Predict2 .*Wan 2.2 TI2V"),
        ({"transformer_2": ["diffusers", "WanTransformer3DModel"]}, "'WanPipeline' with transformer_2; TheWorld reads"),
        ({"_class_name": "WanImageToVideoPipeline", "image_encoder": ["x", "Y"]}, "with image_encoder; TheWorld reads"),
        ({"_class_name": 3}, "the pipeline 3; TheWorld reads"),
    ],
    ids=str,
)
def test_an_unknown_pipeline_is_refused_with_the_known_ones(
    copy: Callable[[str], Path], changes: dict[str, Any], match: str
) -> None:
    folder = copy("wan2.1")
    rewrite(folder / "model_index.json", **changes)
    refused(settings(folder), match)


@pytest.mark.parametrize("given", [{"tap": "rollout"}, {"dit_future": "denoised"}], ids=str)
def test_a_family_that_does_not_imagine_is_refused_with_its_taps(
    originals: dict[str, Path], given: dict[str, Any]
) -> None:
    refused(settings(originals["cosmos3"], **given), "imagines no future with Cosmos 3; .*taps vae or dit")
    refused(settings(originals["wan2.1"], **given), "Wan 2.1 T2V cannot be conditioned on given frames: take Wan 2.2")


@pytest.mark.parametrize(
    ("family", "changes", "match"),
    [
        ("predict2.5", {"use_karras_sigmas": False}, "use_karras_sigmas is False, expected True"),
        ("predict2.5", {"use_flow_sigmas": False}, "use_flow_sigmas is False, expected True"),
        ("wan2.2", {"use_flow_sigmas": False}, "use_flow_sigmas is False, expected True"),
        ("wan2.2", {"prediction_type": "epsilon"}, "prediction_type is 'epsilon', expected 'flow_prediction'"),
        ("wan2.2", {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "expected 'UniPCMultistepScheduler'"),
    ],
    ids=str,
)
def test_a_schedule_of_another_kind_is_refused(
    copy: Callable[[str], Path], family: str, changes: dict[str, Any], match: str
) -> None:
    folder = copy(family)
    rewrite(folder / "scheduler" / "scheduler_config.json", **changes)
    refused(settings(folder, "rollout"), match)


@pytest.mark.parametrize(
    ("family", "part", "changes", "match"),
    [
        ("wan2.1", "transformer", {"num_layers": 0}, "num_layers=0: expected a whole number of 1"),
        ("wan2.1", "transformer", {"text_dim": "x"}, "text_dim='x': expected a whole number"),
        ("predict2.5", "transformer", {"crossattn_proj_in_channels": None}, "crossattn_proj_in_channels=None"),
        ("wan2.2", "vae", {"patch_size": 0}, "patch_size=0: expected null or a whole number of 1 to 8"),
        ("wan2.2", "vae", {"patch_size": "x"}, "patch_size='x': expected null or a whole number"),
    ],
    ids=str,
)
def test_an_absurd_value_is_refused(
    copy: Callable[[str], Path], family: str, part: str, changes: dict[str, Any], match: str
) -> None:
    folder = copy(family)
    rewrite(folder / part / "config.json", **changes)
    refused(settings(folder), match)


def test_a_side_that_the_stride_does_not_divide_is_refused(originals: dict[str, Path]) -> None:
    assert feature_shape(settings(originals["wan2.2"])) == (48, 32)
    assert feature_shape(settings(originals["wan2.2"], "vae")) == (48, 16)
    refused(settings(originals["wan2.2"], image_size_px=80), "image_size_px=80: .* each 32 px: choose a multiple of 32")


def test_the_vae_of_two_families_has_one_fingerprint_and_their_denoisers_have_two(
    copy: Callable[[str], Path],
) -> None:
    once, twice = copy("wan2.1"), copy("predict2.5")
    shutil.rmtree(twice / "vae")
    shutil.copytree(once / "vae", twice / "vae")
    assert tap_fingerprint(settings(once, "vae")) == tap_fingerprint(settings(twice, "vae"))
    before = tap_fingerprint(settings(once))
    rewrite(once / "model_index.json", expand_timesteps=True)  # now it is read as Wan 2.2
    assert tap_fingerprint(settings(once)) != before


def test_a_frame_rate_counts_only_where_it_is_read(originals: dict[str, Path]) -> None:
    for family in NAMES:
        slow, fast = (tap_fingerprint(settings(originals[family], frame_rate_hz=rate)) for rate in (4.0, 16.0))
        assert (slow == fast) is (family not in ("predict2", "cosmos3"))


# --- the null prompt -------------------------------------------------------------------------------------


def test_a_missing_prompt_is_refused_with_the_command_that_writes_it(copy: Callable[[str], Path]) -> None:
    folder = copy("predict2.5")
    shutil.rmtree(folder / "null_prompt")
    refused(settings(folder), "no null_prompt/prompt.safetensors; .*write it once with `python -m theworld.world.fam")
    assert open_tap(settings(folder, "vae")).num_channels == 16
    assert open_tap(settings(folder, "random", control_of="dit")).num_channels == 48


@pytest.mark.parametrize("prompt", [torch.zeros(4, 39), torch.zeros(40), torch.full((4, 40), torch.nan)], ids=str)
def test_a_prompt_that_does_not_fit_is_refused(copy: Callable[[str], Path], prompt: Tensor) -> None:
    folder = copy("predict2.5")
    save_file({"prompt": prompt}, folder / "null_prompt" / "prompt.safetensors")
    refused(settings(folder), r"expected \(L, 40\), finite: delete it, and write it anew")


def test_a_damaged_prompt_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("predict2.5")
    (folder / "null_prompt" / "prompt.safetensors").write_bytes(b"x")
    refused(settings(folder), "damaged")


def test_the_prompt_is_part_of_the_fingerprint(copy: Callable[[str], Path]) -> None:
    for family in ("predict2.5", "wan2.1"):
        folder = copy(family)
        before = tap_fingerprint(settings(folder))
        (folder / "null_prompt").mkdir(exist_ok=True)
        save_file({"prompt": torch.ones(3, 40)}, folder / "null_prompt" / "prompt.safetensors")
        assert tap_fingerprint(settings(folder)) != before
        assert open_tap(settings(folder)).prompt.shape == (1, 3, 40)  # pyright: ignore[reportAttributeAccessIssue]


def test_wan_reads_512_rows_of_zeros_unless_a_prompt_is_stored(originals: dict[str, Path]) -> None:
    tap: Any = open_tap(settings(originals["wan2.1"]))
    assert tap.prompt.shape == (1, 512, 40)
    assert not tap.prompt.any()


def write_text_encoder(folder: Path, family: str) -> None:
    """A random text encoder whose embeddings are as wide as the tiny worlds expect them."""
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder / "tokenizer")
    sizes: dict[str, Any] = {"vocab_size": len(tokenizer), "num_layers": 2, "num_heads": 2}
    if family == "wan2.1":
        UMT5EncoderModel(UMT5Config(d_model=40, d_kv=8, d_ff=32, **sizes)).save_pretrained(folder / "text_encoder")
        return
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 20,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 2, 2]},
        "pad_token_id": 0,
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 20}
    config = Qwen2_5_VLConfig(text_config=text, vision_config={**vision, "fullatt_block_indexes": [0]})
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder / "text_encoder")


@pytest.mark.parametrize("family", ["predict2.5", "wan2.1"])
def test_the_prompt_is_computed_by_the_checkpoints_own_text_encoder(
    copy: Callable[[str], Path], family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy(family)
    shutil.rmtree(folder / "null_prompt", ignore_errors=True)
    write_text_encoder(folder, family)
    assert main([str(folder)]) == 0
    file = folder / "null_prompt" / "prompt.safetensors"
    assert capsys.readouterr().out == f"{file}\n"
    prompt = load_file(file)["prompt"]
    assert prompt.shape == (512, 40)  # for Predict2.5 two layers of 20, side by side
    assert prompt.isfinite().all()
    assert 0 < prompt.any(dim=1).sum() < 512
    assert open_tap(settings(folder)).read(torch.zeros(1, 1, 3, 64, 64, dtype=torch.uint8), 0, [1]).isfinite().all()
    assert main([str(folder)]) == 0  # and stays


def test_the_prompt_of_cosmos3_is_a_column_of_token_ids(copy: Callable[[str], Path]) -> None:
    folder = copy("cosmos3")
    shutil.rmtree(folder / "null_prompt")
    train_tokenizer().save_pretrained(folder / "text_tokenizer")
    assert main([str(folder)]) == 0
    ids = load_file(folder / "null_prompt" / "prompt.safetensors")["prompt"]
    assert ids.shape[1] == 1
    assert len(ids) > 8
    assert torch.equal(ids, ids.round())
    assert open_tap(settings(folder)).read(torch.zeros(2, 1, 3, 64, 64, dtype=torch.uint8), 0, [1, 2]).isfinite().all()


def test_a_checkpoint_without_text_encoder_or_without_need_of_one_is_refused(
    copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy("wan2.1")
    assert main([str(folder)]) == 1
    assert "no tokenizer, text_encoder/; fetch the whole checkpoint" in capsys.readouterr().err
    assert main([str(copy("predict2"))]) == 1
    message = capsys.readouterr().err
    assert "needs no stored one" in message
    assert message.count("\n") == 1


# --- licences --------------------------------------------------------------------------------------------


def test_only_nvidias_worlds_need_its_guardrail(originals: dict[str, Path]) -> None:
    assert [family.name for family in FAMILIES if family.needs_guardrail] == [
        "Cosmos-Predict2",
        "Cosmos-Predict2.5",
        "Cosmos 3",
    ]
    wan = load_vae(settings(originals["wan2.2"], "vae"))
    wan.register_to_config(base_dim=160)  # as wide as the published one
    assert not is_nvidias(str(originals["wan2.2"]), wan)
    cosmos = load_vae(settings(originals["predict2.5"], "vae"))
    cosmos.register_to_config(base_dim=96)
    assert is_nvidias(str(originals["predict2.5"]), cosmos)
    assert is_nvidias("nvidia/any", wan)
    with torch.device("meta"):
        unknown = AutoencoderKLWan()
    assert is_nvidias("/data/copied", unknown)


def test_the_page_shows_the_tables_of_the_code() -> None:
    from pages.worlds import conventions, families_and_taps

    page = (Path(__file__).parents[3] / "docs" / "world-taps.md").read_text()
    for table in (families_and_taps(), conventions()):
        assert table in page, "run `make pages`"
    assert all(f"| {family.name} | `{family.example}`" in page for family in FAMILIES)
