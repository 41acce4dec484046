"""What is loaded for each tap, what the controls give, and what a fingerprint stands for."""

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from theworld.constants import TINY_MODEL
from theworld.world.factory import open_tap, tap_fingerprint
from theworld.world.loading import feature_shape, load_transformer, load_vae, resolve_cosmos
from theworld.world.tap import clip_noise, clip_seeds

SEEDS = [1, 2, 3]


@pytest.fixture
def copy(cosmos, tmp_path):
    """A checkpoint that a test may damage."""
    return shutil.copytree(cosmos, tmp_path / "cosmos")


def test_the_vae_tap_never_touches_the_denoiser(copy, world, clips):
    shutil.rmtree(copy / "transformer")
    shutil.rmtree(copy / "scheduler")
    features = open_tap(world("vae", cosmos_model_name=str(copy))).read(clips[:, :1], 0, SEEDS)
    assert features.shape == (3, 16, 1, 8, 8)


def test_a_missing_part_is_named(copy, world):
    shutil.rmtree(copy / "transformer")
    with pytest.raises(ValueError, match=r"no transformer/config.json.*parts vae, transformer"):
        open_tap(world("dit", cosmos_model_name=str(copy)))


def test_missing_weights_are_named(copy, world):
    (copy / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no vae/\*.safetensors"):
        open_tap(world("vae", cosmos_model_name=str(copy)))


@pytest.mark.parametrize("kind", ["missing", "foreign"])
def test_weights_that_do_not_fit_their_config_are_refused(copy, world, kind):
    file = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    weight = tensors["proj_out.weight"]
    if kind == "missing":
        del tensors["proj_out.weight"]
    else:
        tensors["proj_in.weight"] = weight.clone()
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"1 (tensors )?{kind}"):
        open_tap(world("dit", cosmos_model_name=str(copy)))


def test_a_name_that_is_nowhere_is_refused_with_a_remedy(world):
    with pytest.raises(ValueError, match=r"could not be fetched.*(check the name|HF_HUB_OFFLINE is set)"):
        open_tap(world("vae", cosmos_model_name="nowhere/cosmos"))
    with pytest.raises(ValueError, match="no such folder/at/all: no such file or folder"):
        open_tap(world("vae", cosmos_model_name="no such folder/at/all"))


def test_a_folder_has_no_revision(cosmos):
    with pytest.raises(ValueError, match="drop it"):
        resolve_cosmos(str(cosmos), "abc123", ("vae",))
    assert resolve_cosmos(str(cosmos), None, ("vae",)) == (cosmos, None)


def test_a_hub_id_fetches_only_the_parts_needed_and_gives_the_commit(cosmos, tmp_path, monkeypatch):
    snapshot = tmp_path / "0123abcd"
    snapshot.symlink_to(cosmos)
    asked = {}

    def fetch(name, **options):
        asked.update(name=name, **options)
        return str(snapshot)

    monkeypatch.setattr("theworld.hub.snapshot_download", fetch)
    assert resolve_cosmos("nvidia/some-cosmos", "main", ("vae",)) == (snapshot, "0123abcd")
    assert asked == {
        "name": "nvidia/some-cosmos",
        "endpoint": None,
        "revision": "main",
        "allow_patterns": ["model_index.json", "vae/*.json", "vae/*.safetensors"],
        "repo_type": "model",
    }
    resolve_cosmos("nvidia/some-cosmos", None, ("vae", "transformer"), weights=False)
    assert asked["allow_patterns"] == ["model_index.json", "vae/*.json", "transformer/*.json"]


def test_tiny_is_the_default_stack(cosmos, monkeypatch):
    monkeypatch.setattr("theworld.tiny.stack", lambda: cosmos.parent)
    assert resolve_cosmos(TINY_MODEL, None, ("vae",)) == (cosmos, None)


def test_early_exit_loads_the_first_blocks_and_is_silent_about_the_others(world, caplog):
    logger = logging.getLogger("diffusers")
    logger.addHandler(caplog.handler)
    try:
        assert len(load_transformer(world("dit", dit_block=0)).transformer_blocks) == 1
        assert len(load_transformer(world("dit", dit_future="denoised")).transformer_blocks) == 4
        assert len(load_transformer(world("rollout")).transformer_blocks) == 4
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records


def test_a_block_that_the_transformer_has_not_is_refused(world):
    with pytest.raises(ValueError, match="has 4 blocks: choose 0 to 3"):
        open_tap(world("dit", dit_block=4))


@pytest.mark.parametrize(
    ("tap", "control_of", "shape"),
    [
        ("vae", "vae", (16, 8)),
        ("rollout", "vae", (16, 8)),
        ("true-future", "vae", (16, 8)),
        ("dit", "vae", (48, 16)),
        ("zero", "dit", (48, 16)),
        ("random", "rollout", (16, 8)),
    ],
)
def test_the_shape_of_features_is_known_without_weights(copy, world, tap, control_of, shape):
    for file in copy.glob("*/*.safetensors"):
        file.unlink()
    assert feature_shape(world(tap, control_of=control_of, cosmos_model_name=str(copy))) == shape


@pytest.mark.parametrize(("tap", "num_world_steps"), [("vae", 0), ("rollout", 1), ("dit", 1), ("true-future", 0)])
def test_another_clip_gives_other_features_that_vary_in_space(world, clips, tap, num_world_steps):
    features = open_tap(world(tap)).read(clips[:, :5], num_world_steps, [1, 1, 1])
    assert features.isfinite().all()
    for slot in features.unbind(2):
        assert (slot[0] - slot[1]).abs().max() > 0.1
        assert slot.std(dim=(-2, -1)).mean() > 0.05


@pytest.mark.parametrize("control_of", ["vae", "dit", "rollout"])
def test_random_has_the_architecture_but_not_the_weights(copy, world, clips, control_of):
    trained = open_tap(world(control_of)).read(clips[:, :1], 0, SEEDS)
    for file in copy.glob("*/*.safetensors"):
        file.unlink()
    drawn, again, other = (
        open_tap(world("random", control_of=control_of, seed=seed, cosmos_model_name=str(copy))).read(
            clips[:, :1], 0, SEEDS
        )
        for seed in (1, 1, 2)
    )
    assert drawn.shape == trained.shape
    assert torch.equal(drawn, again)
    assert (drawn - trained).abs().max() > 0.1
    assert (drawn - other).abs().max() > 0.1
    assert 0.3 < drawn.std() < 3
    assert (drawn[0] - drawn[1]).abs().max() > 0.1


def test_random_imagines_where_its_model_does(world, clips):
    tap = open_tap(world("random", control_of="rollout"))
    assert tap.read(clips[:, :1], 1, SEEDS).isfinite().all()
    with pytest.raises(ValueError, match="looks ahead"):
        open_tap(world("random", control_of="vae")).read(clips[:, :1], 1, SEEDS)


def test_opening_a_random_world_leaves_the_global_generator_alone(world):
    before = torch.get_rng_state()
    open_tap(world("random", control_of="dit"))
    assert torch.equal(before, torch.get_rng_state())


def test_zero_is_zero_and_noise_is_the_noise_of_the_clip(world, clips):
    zero = open_tap(world("zero", control_of="dit")).read(clips[:, :5], 1, SEEDS)
    assert zero.shape == (3, 48, 3, 4, 4)
    assert not zero.any()
    noise = open_tap(world("noise")).read(clips[:, :1], 0, SEEDS)
    assert torch.equal(noise, clip_noise((16, 1, 8, 8), SEEDS))
    assert torch.equal(noise[1:2], open_tap(world("noise")).read(clips[1:2, :1], 0, [SEEDS[1]]))


@pytest.mark.parametrize("tap", ["rollout", "dit"])
def test_half_precision_gives_nearly_the_same_feature(world, clips, tap):
    whole, half = (open_tap(world(tap, dtype=dtype)).read(clips[:1, :1], 1, [1]) for dtype in ("float32", "bfloat16"))
    assert half.dtype == torch.float32
    assert 0 < (half - whole).abs().max() < 0.5
    assert torch.nn.functional.cosine_similarity(half.flatten(), whole.flatten(), dim=0) > 0.99


def test_every_tap_counts_what_it_reads(world, clips):
    for tap in ("vae", "rollout", "dit", "true-future", "zero", "noise", "random"):
        opened = open_tap(world(tap))
        opened.read(clips[:2, :1], 0, clip_seeds(clips[:2, :1], 0))
        assert opened.clips_read == 2


def test_a_fingerprint_ignores_what_plays_no_part(world):
    for tap, change in [
        ("vae", {"dit_block": 2}),
        ("vae", {"seed": 5}),
        ("vae", {"frame_rate_hz": 4.0}),
        ("rollout", {"dit_noise_level": 0.5}),
        ("dit", {"num_inference_steps": 7}),
        ("zero", {"seed": 5}),
        ("zero", {"dtype": "bfloat16"}),
        ("noise", {"dtype": "bfloat16"}),
    ]:
        assert tap_fingerprint(world(tap)) == tap_fingerprint(world(tap, **change)), (tap, change)


def test_a_fingerprint_differs_where_features_would(world):
    for tap, change in [
        ("vae", {"image_size_px": 128}),
        ("vae", {"dtype": "bfloat16"}),
        ("rollout", {"seed": 5}),
        ("rollout", {"num_inference_steps": 7}),
        ("rollout", {"frame_rate_hz": 4.0}),
        ("dit", {"dit_block": 2}),
        ("dit", {"dit_noise_level": 0.5}),
        ("dit", {"dit_future": "denoised"}),
        ("dit", {"seed": 5}),
        ("noise", {"seed": 5}),
        ("random", {"seed": 5}),
        ("random", {"control_of": "dit"}),
        ("zero", {"control_of": "dit"}),
    ]:
        assert tap_fingerprint(world(tap)) != tap_fingerprint(world(tap, **change)), (tap, change)
    assert len({tap_fingerprint(world(tap)) for tap in ("vae", "rollout", "dit", "true-future", "zero", "random")}) == 6


def test_a_fingerprint_follows_weights_and_configuration_not_the_folder(copy, cosmos, world):
    here, there = world("vae"), world("vae", cosmos_model_name=str(copy))
    assert tap_fingerprint(here) == tap_fingerprint(there) == open_tap(there).fingerprint
    config = json.loads((copy / "vae" / "config.json").read_text())
    config["latents_mean"][0] += 0.1
    (copy / "vae" / "config.json").write_text(json.dumps(config))
    assert tap_fingerprint(there) != tap_fingerprint(here)
    shutil.copy(cosmos / "vae" / "config.json", copy / "vae" / "config.json")
    assert tap_fingerprint(there) == tap_fingerprint(here)
    file = copy / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({key: value + 1 for key, value in load_file(file).items()}, file, metadata={"format": "pt"})
    assert tap_fingerprint(there) != tap_fingerprint(here)


def test_other_parts_do_not_enter_the_fingerprint(copy, world):
    there = world("vae", cosmos_model_name=str(copy))
    before = tap_fingerprint(there)
    shutil.rmtree(copy / "transformer")
    assert tap_fingerprint(there) == before


def test_a_vae_to_train_is_loaded_alone(copy, world):
    shutil.rmtree(copy / "transformer")
    vae = load_vae(world("vae", cosmos_model_name=str(copy)))
    assert all(parameter.requires_grad for parameter in vae.parameters())


# --- other networks than ours ----------------------------------------------------------------------------


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


OTHERS = [
    ("vae/config.json", "AutoencoderKL", "AutoencoderKLWan"),
    ("transformer/config.json", "WanTransformer3DModel", "CosmosTransformer3DModel"),
    ("scheduler/scheduler_config.json", "UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"),
]


@pytest.mark.parametrize(("file", "other", "known"), OTHERS, ids=[file for file, *_ in OTHERS])
@pytest.mark.parametrize("tap", ["rollout", "random"])
def test_a_part_of_another_class_is_refused_with_both_names(copy, world, file, other, known, tap):
    rewrite(copy / file, _class_name=other)
    settings = {"control_of": "rollout"} if tap == "random" else {}
    with pytest.raises(ValueError, match=f"{file}: the class '{other}'; expected '{known}'"):
        open_tap(world(tap, cosmos_model_name=str(copy), **settings))


@pytest.mark.parametrize(("file", "other", "known"), OTHERS, ids=[file for file, *_ in OTHERS])
def test_a_pipeline_of_other_classes_is_refused_before_its_parts_are_read(copy, world, file, other, known):
    part = file.partition("/")[0]
    (copy / "model_index.json").write_text(
        json.dumps({"_class_name": "Cosmos2VideoToWorldPipeline", part: ["diffusers", other]})
    )
    with pytest.raises(ValueError, match=f"model_index.json: {part}: the class '{other}'; expected '{known}'"):
        feature_shape(world("vae", cosmos_model_name=str(copy)))


@pytest.mark.parametrize("part", ["vae", "transformer", "scheduler"])
@pytest.mark.parametrize("text", ["[]", "null", "{", "[" * 100_000], ids=lambda text: text[:4])
def test_a_part_without_an_object_is_refused_by_its_file(copy, world, part, text):
    [file] = (copy / part).glob("*config.json")
    file.write_text(text)
    with pytest.raises(ValueError, match=f"{file}") as refusal:
        open_tap(world("rollout", cosmos_model_name=str(copy)))
    assert "\n" not in str(refusal.value)


ABSURD = [
    ("vae", {"z_dim": 0}),
    ("vae", {"z_dim": 10**9}),
    ("vae", {"z_dim": 17}),
    ("vae", {"temperal_downsample": None}),
    ("vae", {"temperal_downsample": [True] * 100}),
    ("vae", {"dim_mult": "x"}),
    ("transformer", {"num_layers": 10**9}),
    ("transformer", {"num_attention_heads": 0}),
    ("transformer", {"attention_head_dim": "32"}),
    ("transformer", {"patch_size": [1]}),
    ("transformer", {"in_channels": "x"}),
    ("scheduler", {"num_train_timesteps": "x"}),
]


@pytest.mark.parametrize(("part", "changes"), ABSURD, ids=str)
def test_an_absurd_value_of_a_part_is_refused(copy, world, part, changes):
    [file] = (copy / part).glob("*config.json")
    rewrite(file, **changes)
    with pytest.raises(ValueError, match=str(copy)) as refusal:
        open_tap(world("dit", dit_future="denoised", cosmos_model_name=str(copy)))
    assert "\n" not in str(refusal.value)
