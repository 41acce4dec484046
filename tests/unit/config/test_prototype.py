"""Files of the original prototype: they convert, and what is no setting today is answered by its name of today."""

import json
from pathlib import Path
from typing import Any

import pytest

from theworld.cli import main as cli
from theworld.config import EvaluationConfig, TrainingConfig, convert, loader, prototype
from theworld.config.flags import leaves_of

DEFAULT: dict[str, Any] = {
    "_comment": "Default training configuration",
    "model_name": "google/gemma-3-4b-it",
    "cosmos_model_name": "nvidia/Cosmos-Predict2-2B-Video2World",
    "world_projection_mode": "spatial",
    "num_world_steps": 0,
    "max_world_steps": 16,
    "freeze_gemma_vision": True,
    "freeze_gemma_language": True,
    "freeze_cosmos_vae": True,
    "learning_rate": 5e-5,
    "batch_size": 4,
    "gradient_accumulation_steps": 4,
    "num_epochs": 3,
    "warmup_steps": 100,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "use_gradient_checkpointing": True,
    "mixed_precision": "bf16",
    "output_dir": "./checkpoints",
    "save_steps": 500,
    "save_total_limit": 3,
    "resume_from_checkpoint": None,
    "eval_steps": 250,
    "eval_batch_size": None,
    "do_eval": False,
    "logging_steps": 10,
    "log_to_wandb": False,
    "wandb_project": None,
    "wandb_run_name": "projection-only",
    "log_to_tensorboard": True,
    "max_seq_length": 2048,
    "num_workers": 4,
    "train_dataset_path": None,
    "eval_dataset_path": None,
    "dataset_name": "custom",
    "num_samples": None,
    "streaming": False,
    "question_template": "Describe this image in detail.",
    "hf_token": None,
    "push_to_hub": False,
    "hub_model_id": None,
    "hub_strategy": "every_save",
    "hub_private_repo": False,
    "load_full_cosmos_pipeline": False,
    "random_projection_init": False,
    "device": "cuda",
}
SPATIAL = {
    "dataset_name": "spatial_rgpt",
    "train_dataset_path": "/data/result_10_depth_convs.json",
    "image_folder": "/data/openimages",
    "draw_bboxes": True,
    "num_samples": 20,
}
BLINK = {
    "model": "username/theworld-datacomp",
    "tasks": ["Relative_Depth", "Spatial_Relation"],
    "split": "val",
    "num_samples": 100,
    "num_world_steps": "0,4",
    "max_new_tokens": 10,
    "temperature": 0.0,
    "output": "results/blink_evaluation.json",
    "save_errors": True,
    "verbose": False,
}


def converted(folder: Path, old: dict[str, Any]) -> tuple[TrainingConfig, str]:
    (folder / "old.json").write_text(json.dumps(old))
    convert.convert_file(folder / "old.json", folder / "new.yaml")
    return loader.load(TrainingConfig, folder / "new.yaml"), (folder / "new.yaml").read_text()


def comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("#")]


def test_the_default_file_converts_with_a_line_for_each_setting_without_a_counterpart(tmp_path: Path) -> None:
    config, text = converted(tmp_path, DEFAULT)

    assert config.model.gemma_model_name == "google/gemma-3-4b-it"
    assert (config.num_steps, config.num_epochs) == (None, 3)
    assert (config.batch_size, config.gradient_accumulation_steps, config.optim.warmup_steps) == (4, 4, 100)
    assert (config.optim.learning_rate, config.precision, config.gradient_checkpointing) == (5e-5, "bf16", True)
    assert (config.save_total_limit, config.resume, config.log_to) == (3, False, "tensorboard")
    assert (config.hub.push, config.hub.repo_id, config.hub.private) == ("never", None, False)
    assert config.validation.eval_steps is None
    without = [name for name, former in prototype.TRAINING.items() if former.now is None and name in DEFAULT]
    for name in without:
        assert sum(line.startswith(f"# {name}:") for line in comments(text)) == 1, name
    assert "# wandb_run_name: projection-only has no counterpart; the environment names it: export WANDB_NAME" in text
    assert "# comment: Default training configuration" in text
    assert "# dataset_name: name your data in data.dataset" in text


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        (
            SPATIAL,
            {
                "data.dataset": "open-spatial",
                "data.source": "/data/result_10_depth_convs.json",
                "data.image_dir": Path("/data/openimages"),
                "data.num_train": 20,
            },
        ),
        (
            {"dataset_name": "llava_pretrain", "image_folder": "images", "train_dataset_path": "chat.json"},
            {"data.dataset": "llava", "data.source": "chat.json", "data.image_dir": Path("images")},
        ),
        ({"dataset_name": "vsr", "image_folder": "coco"}, {"data.dataset": "vsr", "data.image_dir": Path("coco")}),
        ({"dataset_name": "vsr"}, {"data.dataset": "vsr", "data.image_dir": Path("data/coco")}),
        (
            {"dataset_name": "datacomp", "num_samples": 100_000, "streaming": True, "max_steps": None},
            {"data.dataset": "datacomp", "data.source": "data/datacomp", "num_steps": 1_000, "num_epochs": None},
        ),
        (
            {"train_dataset_path": "owner/set", "image_key": "photo", "text_key": "ask", "label_key": "reply"},
            {
                "data.dataset": "hf",
                "data.source": "owner/set",
                "data.image_column": "photo",
                "data.question_column": "ask",
                "data.answer_column": "reply",
            },
        ),
        ({"max_steps": 50, "warmup_steps": 5}, {"num_steps": 50, "num_epochs": None}),
        ({"mixed_precision": "no"}, {"precision": "fp32"}),
        ({"log_to_wandb": True}, {"log_to": "wandb"}),
        ({"log_to_tensorboard": False}, {"log_to": "none"}),
        (
            {"push_to_hub": True, "hub_model_id": "owner/name", "hub_private_repo": True},
            {"hub.push": "save", "hub.repo_id": "owner/name", "hub.private": True},
        ),
        ({"push_to_hub": True, "hub_model_id": "o/n", "hub_strategy": "end"}, {"hub.push": "end"}),
        ({"push_to_hub": False, "hub_model_id": "o/n", "hub_strategy": None}, {"hub.push": "never"}),
        ({"num_world_steps": 4}, {"model.num_world_steps": 4, "model.world.tap": "rollout"}),
        ({"enable_world": False, "freeze_gemma_language": False}, {"model.enable_world": False}),
        (
            {"world_projection_mode": "channel", "projection_architecture": "mlp_final_gelu"},
            {
                "model.world_projection_mode": "channel",
                "model.world_projection_architecture": "mlp_final_gelu",
            },
        ),
        ({"resume_from_checkpoint": "owner/name"}, {"resume": Path("owner/name")}),
        ({"do_eval": True, "eval_batch_size": 2}, {"validation.eval_steps": 250, "validation.batch_size": 2}),
    ],
    ids=lambda value: "-".join(value),
)
def test_a_setting_has_its_value_under_its_name_of_today(
    old: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    config, _ = converted(tmp_path, {**DEFAULT, **old})

    for name, value in expected.items():
        result: Any = config
        for part in name.split("."):
            result = getattr(result, part)
        assert result == value, name


def test_an_evaluation_converts(tmp_path: Path) -> None:
    (tmp_path / "eval_blink.json").write_text(json.dumps(BLINK))

    result = convert.convert_file(tmp_path / "eval_blink.json", tmp_path / "blink.yaml")

    config = loader.load(EvaluationConfig, tmp_path / "blink.yaml")
    assert (config.checkpoint, config.output_dir) == (
        Path("username/theworld-datacomp"),
        Path("results/blink_evaluation"),
    )
    assert (config.num_world_steps, config.max_new_tokens) == ((0, 4), 10)
    assert config.data.dataset == "blink"
    assert (config.data.validation_split, config.data.num_validation) == ("validation", 100)
    assert config.data.subsets == ("Relative_Depth", "Spatial_Relation")  # pyright: ignore[reportAttributeAccessIssue]
    assert result["command"] == f"theworld evaluate {tmp_path / 'blink.yaml'}"
    assert [note.partition(":")[0] for note in result["notes"]] == ["temperature", "save_errors", "verbose"]


def test_comments_and_trailing_commas_are_read_and_the_new_file_holds_no_token(tmp_path: Path) -> None:
    text = """{
      // "hf_token": a token of one's own
      "_usage": "export HF_TOKEN=hf_abcdefghijklmnopqrst", /* never // share it */
      "hf_token": "hf_abcdefghijklmnopqrst",
      "model_name": "https://not.a.comment/, ]",
      "output_dir": "runs/a",
    }"""
    (tmp_path / "old.json").write_text(text)

    convert.convert_file(tmp_path / "old.json", tmp_path / "new.yaml")

    new = (tmp_path / "new.yaml").read_text()
    assert "hf_abc" not in new
    assert loader.load(TrainingConfig, tmp_path / "new.yaml").model.gemma_model_name == "https://not.a.comment/, ]"


@pytest.mark.parametrize("text", ['{"num_steps": 5 // five\n}', '{"num_steps": 5,}', '{/* five */ "num_steps": 5}'])
def test_json_with_comments_is_refused_in_one_line_that_names_yaml(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)

    with pytest.raises(
        loader.SettingsError, match=r"line [12]: JSON has no comments and no comma.*use YAML"
    ) as refused:
        loader.load(TrainingConfig, tmp_path / "run.json")

    assert "\n" not in str(refused.value)


def test_json_that_is_broken_otherwise_keeps_its_own_message(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"num_steps": 5 "seed": 1} // end')

    with pytest.raises(loader.SettingsError, match="Expecting ',' delimiter"):
        loader.load(TrainingConfig, tmp_path / "run.json")


def test_a_file_of_the_prototype_is_answered_by_the_names_of_today(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps({name: value for name, value in DEFAULT.items() if name != "hf_token"}))

    with pytest.raises(loader.SettingsError) as refused:
        loader.load(TrainingConfig, path)

    lines = str(refused.value).splitlines()
    for name, now in {
        "dataset_name": "data.dataset",
        "model_name": "model.gemma_model_name",
        "hub_strategy": "hub.push",
        "push_to_hub": "hub.push",
        "learning_rate": "optim.learning_rate",
        "use_gradient_checkpointing": "gradient_checkpointing",
    }.items():
        assert any(f": {name}: unknown setting; did you mean {now}?" in line for line in lines), name
    assert any("wandb_project: unknown setting; a setting of the prototype without a counterpart" in x for x in lines)
    assert not any("num_epochs" in line for line in lines)
    assert lines[-1] == f"{path}: settings of the original prototype; `theworld config convert {path} NEW.yaml`"


@pytest.mark.parametrize(
    ("command", "flag", "remedy"),
    [
        ("train", "--config", "the settings file comes first, without a flag"),
        ("evaluate", "--config", "the settings file comes first, without a flag"),
        ("train", "--model_name", "did you mean --model.gemma-model-name"),
        ("train", "--dataset-name", "did you mean --data.dataset"),
        ("train", "--wandb-run-name", "export WANDB_NAME"),
        ("evaluate", "--model", "did you mean --checkpoint"),
        ("evaluate", "--task", "did you mean --data.subsets"),
        ("evaluate", "--official-judge", "theworld judge spatial-rgpt"),
    ],
)
def test_a_flag_of_the_prototype_is_answered_by_the_flag_of_today(
    command: str, flag: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, flag, "x"]) == cli.REFUSED

    assert remedy in capsys.readouterr().err


def test_every_name_of_today_in_the_table_exists() -> None:
    for table, cls in ((prototype.TRAINING, TrainingConfig), (prototype.EVALUATION, EvaluationConfig)):
        assert [former.now for former in table.values() if former.now and former.now not in leaves_of(cls)] == []
        assert [name for name, former in table.items() if former.now is None and not former.note] == []


@pytest.mark.parametrize(
    ("content", "new", "reason"),
    [
        (DEFAULT, "new.json", r"the new file ends in \.yaml"),
        (DEFAULT, "there.yaml", r"there\.yaml exists"),
        ({"output_dir": "runs/a", "model": {}}, "new.yaml", "no settings of the prototype"),
        ({**DEFAULT, "batch_size": "four"}, "new.yaml", r"old\.json: batch_size: given \"four\""),
        ({**DEFAULT, "mixed_precision": "fp8"}, "new.yaml", r"old\.json: precision: given \"fp8\""),
    ],
)
def test_a_file_that_cannot_become_one_of_today_is_refused_and_nothing_is_written(
    content: dict[str, Any], new: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "old.json").write_text(json.dumps(content))
    (tmp_path / "there.yaml").write_text("kept")

    with pytest.raises(loader.SettingsError, match=reason):
        convert.convert_file(tmp_path / "old.json", tmp_path / new)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.json", "there.yaml"]
    assert (tmp_path / "there.yaml").read_text() == "kept"


def test_the_command_shows_the_notes_and_the_next_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.json").write_text(json.dumps({**DEFAULT, "made_up": 3}))

    assert cli.main(["config", "convert", str(tmp_path / "old.json"), str(tmp_path / "new.yaml")]) == cli.OK

    shown = capsys.readouterr().out
    assert "made_up: 3 has no counterpart" in shown
    assert f"Run it: theworld train {tmp_path / 'new.yaml'}" in shown
