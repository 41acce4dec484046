"""The rules between settings."""

from pathlib import Path

import pytest

from theworld.config import (
    DataSettings,
    EvaluationConfig,
    ModelSettings,
    OptimSettings,
    TrainingConfig,
    WorldSettings,
    loader,
)
from theworld.config.strict_yaml import SettingsError

RUN = Path("run")


def refusal(build, **settings):
    with pytest.raises(SettingsError) as caught:
        build(**settings)
    return str(caught.value)


def test_the_defaults_are_a_legal_run():
    config = TrainingConfig(output_dir=RUN)
    assert config.model.world.tap == "vae"
    assert config.model.num_world_steps == 0


def test_looking_ahead_needs_a_tap_that_imagines():
    refused = refusal(ModelSettings, num_world_steps=4, world=WorldSettings())
    assert 'num_world_steps=4 needs a tap that looks ahead (world_tap="rollout" or "dit")' in refused
    assert "num_world_steps=4 needs" in refusal(ModelSettings, num_world_steps=4, world=WorldSettings(tap="zero"))
    for world in (
        WorldSettings(tap="rollout"),
        WorldSettings(tap="dit"),
        WorldSettings(tap="true-future"),
        WorldSettings(tap="noise", control_of="rollout"),
    ):
        assert ModelSettings(num_world_steps=4, world=world).num_world_steps == 4


def test_future_slots_that_hold_nothing_cannot_be_read():
    world = WorldSettings(tap="dit", dit_future="none")
    assert "dit_future='none' leaves no future slots" in refusal(ModelSettings, num_world_steps=1, world=world)
    assert ModelSettings(num_world_steps=0, world=world)


def test_no_more_steps_than_the_temporal_embeddings_have_rows():
    world = WorldSettings(tap="rollout")
    assert "num_world_steps=17 is more than max_world_steps=16" in refusal(
        ModelSettings, num_world_steps=17, world=world
    )
    assert ModelSettings(num_world_steps=17, max_world_steps=17, world=world)


@pytest.mark.parametrize("tap", ["dit", "rollout", "noise"])
def test_only_the_tap_vae_can_train_the_vae(tap):
    world = WorldSettings(tap=tap)
    assert "freeze_cosmos_vae=False" in refusal(ModelSettings, freeze_cosmos_vae=False, world=world)
    assert ModelSettings(freeze_cosmos_vae=False)


def test_a_feature_store_keeps_frozen_worlds_only():
    said = refusal(TrainingConfig, output_dir=RUN, store_dir=RUN, model=ModelSettings(freeze_cosmos_vae=False))
    assert "store_dir='run' keeps features of a frozen world" in said


def test_channel_mode_takes_neither_a_grid_nor_a_denoiser_block_nor_residual_fusion():
    assert "world_grid=8" in refusal(ModelSettings, world_projection_mode="channel", world_grid=8)
    assert "world.tap='dit'" in refusal(ModelSettings, world_projection_mode="channel", world=WorldSettings(tap="dit"))
    assert "world.tap='random'" in refusal(
        ModelSettings, world_projection_mode="channel", world=WorldSettings(tap="random", control_of="dit")
    )
    assert "world_fusion='residual'" in refusal(ModelSettings, world_projection_mode="channel", world_fusion="residual")
    assert ModelSettings(world_projection_mode="channel", world=WorldSettings(tap="rollout"))
    assert ModelSettings(world_projection_mode="spatial", world_fusion="residual", world_grid=8)


def test_a_linear_projector_has_no_hidden_width():
    said = refusal(ModelSettings, world_projection_architecture="linear", world_projection_width=64)
    assert "a linear projector has no hidden layer" in said


def test_with_the_world_off_its_settings_play_no_part():
    model = ModelSettings(enable_world=False, num_world_steps=4, freeze_gemma_language=False)
    assert TrainingConfig(output_dir=RUN, model=model)


def test_a_run_that_trains_nothing_is_refused():
    assert "nothing to train" in refusal(TrainingConfig, output_dir=RUN, model=ModelSettings(enable_world=False))


def test_the_warm_up_ends_within_the_run():
    said = refusal(TrainingConfig, output_dir=RUN, num_steps=10, optim=OptimSettings(warmup_steps=11))
    assert "optim.warmup_steps=11 is more than num_steps=10" in said
    assert TrainingConfig(output_dir=RUN, num_steps=10, optim=OptimSettings(warmup_steps=10))


def test_a_model_is_not_measured_on_what_it_learnt():
    assert "both 'train'" in refusal(DataSettings, validation_split="train")


def test_nothing_trains_on_the_test_split():
    assert "train_split='test': nothing may train on the test split" in refusal(DataSettings, train_split="test")


@pytest.mark.parametrize(
    ("precision", "dtype", "remedy"),
    [
        ("fp32", "bfloat16", "set model.dtype to float32, or precision to bf16"),
        ("fp32", "float16", "set model.dtype to float32"),
        ("bf16", "float16", "set model.dtype to float32 or bfloat16"),
        ("fp16", "bfloat16", "set model.dtype to float32, or precision to bf16"),
        ("fp16", "float16", "set model.dtype to float32"),
    ],
)
def test_weights_whose_format_the_precision_cannot_use_are_refused(precision, dtype, remedy):
    said = refusal(TrainingConfig, output_dir=RUN, precision=precision, model=ModelSettings(dtype=dtype))
    assert f"precision='{precision}' with model.dtype='{dtype}'" in said
    assert remedy in said


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", "float32"), ("bf16", "float32"), ("bf16", "bfloat16"), ("fp16", "float32")]
)
def test_weights_whose_format_the_precision_can_use_are_taken(precision, dtype):
    assert TrainingConfig(output_dir=RUN, precision=precision, model=ModelSettings(dtype=dtype))


def test_an_evaluation_measures_something_and_each_thing_once():
    paths = {"checkpoint": RUN, "output_dir": RUN}
    assert "at least 1 item" in refusal(EvaluationConfig, **paths, arms=())
    assert "num_world_steps=(4, 4) names a value twice" in refusal(EvaluationConfig, **paths, num_world_steps=(4, 4))
    assert "arms=('world', 'world')" in refusal(EvaluationConfig, **paths, arms=("world", "world"))


def test_a_number_that_is_not_finite_is_refused():
    assert "finite number" in refusal(OptimSettings, weight_decay=float("inf"))
    assert "finite number" in refusal(OptimSettings, weight_decay=float("nan"))


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        TrainingConfig(output_dir=RUN).seed = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_k_without_a_tap_means_rollout():
    assert ModelSettings(num_world_steps=4).world.tap == "rollout"
    assert ModelSettings(num_world_steps=0).world.tap == "vae"
    assert loaded(TrainingConfig, "--model.num-world-steps", "4").model.world.tap == "rollout"
    assert loaded(TrainingConfig, "--model.num-world-steps", "4", "--model.world.tap", "dit").model.world.tap == "dit"
    kept = loaded(TrainingConfig, "--model.num-world-steps", "4", "--model.world.repeat-current")
    assert kept.model.world.tap == "vae"
    trained = loaded(TrainingConfig, "--model.num-world-steps", "4", "--model.checkpoint", "some-one/theworld")
    assert trained.model.world.tap == "vae"  # the checkpoint's own tap decides


def test_the_tiny_gemma_brings_the_tiny_world():
    world = loaded(TrainingConfig, "--model.gemma-model-name", "tiny").model.world
    assert (world.cosmos_model_name, world.siglip_model_name) == ("tiny", "tiny")
    assert (world.image_size_px, world.frame_rate_hz, world.dit_block) == (64, 6.0, 2)
    assert ModelSettings(gemma_model_name="tiny").world == world
    large = loaded(TrainingConfig, "--model.gemma-model-name", "tiny", "--model.world.image-size-px", "128")
    assert (large.model.world.image_size_px, large.model.world.cosmos_model_name) == (128, "tiny")


def test_texts_go_where_paths_go():
    config = TrainingConfig(output_dir="runs/a", store_dir="runs/b", resume="runs/c")  # pyright: ignore[reportArgumentType]
    assert (config.output_dir, config.store_dir, config.resume) == (Path("runs/a"), Path("runs/b"), Path("runs/c"))
    evaluation = EvaluationConfig(checkpoint="some-one/model", output_dir="out")  # pyright: ignore[reportArgumentType]
    assert evaluation.checkpoint == Path("some-one/model")
    assert ModelSettings(checkpoint="runs/a/model").checkpoint == Path("runs/a/model")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("words", [["0,4"], ["0", "4"], ["0,", "4"], ["0,4,"]])
def test_commas_separate_numbers_as_spaces_do(words):
    flags = ["--checkpoint", "a", "--num-world-steps", *words, "--batch-size", "2"]
    assert loaded(EvaluationConfig, *flags).num_world_steps == (0, 4)


def test_commas_separate_choices_and_stay_in_texts():
    config = loaded(EvaluationConfig, "--checkpoint", "a,b", "--arms=world,gemma", "--num-world-steps=0,4")
    assert (config.arms, config.num_world_steps, config.checkpoint) == (("world", "gemma"), (0, 4), Path("a,b"))


def loaded(cls, *flags):
    return loader.load(cls, None, ["--output-dir", "out", *flags])
