"""A run goes to the hub and comes back; what fails on the way is reported, and the token is nowhere."""

import errno
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures_hub import TOKEN, HubStandIn, hub  # noqa: F401
from theworld.config import DataSettings, HubSettings, TrainingConfig, ValidationSettings, loader
from theworld.config.data import MixturePart
from theworld.config.loader import SettingsError
from theworld.modeling import TheWorld
from theworld.training import hub_upload
from theworld.training.hub_upload import TEMPLATE, Pushing, model_card
from theworld.training.metrics import read_metrics
from theworld.training.run import train

MakeConfig = Callable[..., TrainingConfig]

REPOSITORY = "someone/falling"


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_run_is_pushed_on_save_loaded_by_its_name_and_continued_elsewhere(
    make_config: MakeConfig,
    hub: HubStandIn,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = make_config(
        hub=HubSettings(repo_id=REPOSITORY, push="save"), validation=ValidationSettings(eval_steps=2, max_new_tokens=2)
    )
    result = train(config)

    assert result["not_pushed"] == []
    assert hub.private[REPOSITORY]
    pushed = hub.repositories[REPOSITORY]
    assert {name.split("/")[0] for name in pushed if "checkpoint" in name} == {"checkpoint-4"}
    assert {"README.md", "config.json", "model.safetensors", "best/measured.json", "run/config.json"} <= pushed.keys()
    card = pushed["README.md"].decode()
    assert f'from_checkpoint_hub("{REPOSITORY}")' in card
    assert "| foresight-future, step 4 |" in card
    own, again = (
        TheWorld.from_pretrained(result["model"], load_world=False),
        TheWorld.from_checkpoint_hub(REPOSITORY, load_world=False),
    )
    assert (own.world.markers == again.world.markers).all()
    assert TheWorld.from_checkpoint_hub(REPOSITORY, "best", load_world=False).config.trained_parts == ["world"]

    # The repository of a run that was cut off after its first checkpoint, continued on another machine.
    whole = [row["loss"] for row in read_metrics(config.output_dir / "metrics.jsonl")]
    checkpoint = config.output_dir / "checkpoint-2"
    for name in [name for name in pushed if name.startswith("checkpoint-4/")]:
        pushed["checkpoint-2/" + name.split("/", 1)[1]] = (checkpoint / name.split("/", 1)[1]).read_bytes()
        del pushed[name]
    hub.num_commits += 1
    elsewhere = replace(config, output_dir=config.output_dir.with_name("elsewhere"), resume=Path(REPOSITORY))
    elsewhere = replace(elsewhere, hub=HubSettings())
    train(elsewhere)
    assert [row["loss"] for row in read_metrics(elsewhere.output_dir / "metrics.jsonl")] == whole[2:]
    with pytest.raises(ValueError, match="belongs to another run"):
        train(replace(elsewhere, output_dir=config.output_dir.with_name("third"), seed=5))

    written = [*files_of(config.output_dir), *files_of(elsewhere.output_dir)]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert not [name for name, content in pushed.items() if TOKEN.encode() in content]
    assert TOKEN not in caplog.text
    assert not list(config.output_dir.glob(".pushing.*"))


@pytest.mark.parametrize(("refuses", "token"), [("/lfs/", TOKEN), ("/commit/", TOKEN), (None, "hf_" + "wrong" * 5)])
def test_an_upload_that_fails_is_reported_and_training_goes_on(
    make_config: MakeConfig,
    hub: HubStandIn,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    refuses: str | None,
    token: str,
) -> None:
    hub.refuses = refuses
    monkeypatch.setenv("HF_TOKEN", token)

    result = train(make_config(num_steps=2, hub=HubSettings(repo_id=REPOSITORY)))

    assert result["step"] == 2
    [failure] = result["not_pushed"]
    assert failure.startswith("the model: ")
    assert ("401" if refuses is None else "refused") in failure
    assert token not in failure


def test_files_without_second_names_are_copied_and_what_cannot_be_taken_aside_is_reported(
    make_config: MakeConfig,
    hub: HubStandIn,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(errno.EPERM, "no hard links here", source)

    monkeypatch.setattr(os, "link", refuse)
    config = make_config(num_steps=2, hub=HubSettings(repo_id=REPOSITORY, push="save"))
    killed = config.output_dir / ".pushing.killed"
    killed.mkdir(parents=True)

    assert train(config)["not_pushed"] == []
    assert "model.safetensors" in hub.repositories[REPOSITORY]
    assert not killed.exists()

    (config.output_dir / "results.json").write_text("{")
    again = Pushing(config)
    again.finish(config.output_dir / "model")
    [failure] = again.failures
    assert failure.startswith("the model: JSONDecodeError")
    assert not list(config.output_dir.glob(".pushing.*"))


def test_what_hub_storage_raises_is_a_failure_and_what_nobody_expected_passes(
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    config = make_config(hub=HubSettings(repo_id=REPOSITORY))
    model = config.output_dir / "model"
    model.mkdir(parents=True)
    raised: list[Exception] = [RuntimeError("Data processing error"), KeyError("a mistake of ours")]
    monkeypatch.setattr(hub_upload, "client", lambda token: (_ for _ in ()).throw(raised.pop(0)))

    first = Pushing(config)
    first.finish(model)
    assert first.failures == ["the model: RuntimeError: Data processing error"]
    with pytest.raises(KeyError, match="a mistake of ours"):
        Pushing(config).finish(model)


def test_pushing_without_a_token_is_refused_before_anything_is_written(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    config = make_config(hub=HubSettings(repo_id=REPOSITORY))

    with pytest.raises(ValueError, match=r"in the environment \(HF_TOKEN\)"):
        train(config)

    assert not config.output_dir.exists()


def test_a_token_in_a_file_or_a_flag_is_refused_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"output_dir": "runs/x", "hub": {"repo_id": TOKEN}}))

    with pytest.raises(SettingsError, match=r"hub\.repo_id: holds a token; secrets never go into settings") as in_file:
        loader.load(TrainingConfig, path)
    with pytest.raises(SettingsError, match="output_dir: holds a token") as in_flag:
        loader.load(TrainingConfig, None, ["--output-dir", f"runs/{TOKEN}"])

    assert TOKEN not in str(in_file.value) + str(in_flag.value)


def test_a_card_names_base_models_licences_and_results_with_intervals(make_config: MakeConfig) -> None:
    config = make_config(hub=HubSettings(repo_id=REPOSITORY))
    model = replace(
        config.model,
        gemma_model_name="google/gemma-3-4b-it",
        world=replace(config.model.world, cosmos_model_name="nvidia/Cosmos-Predict2-2B-Video2World"),
    )
    config.output_dir.mkdir()
    accuracy = {"value": 0.77, "wilson": {"low": 0.752, "high": 0.788}}
    arm = {"num_items": 2000, "num_missing": 0, "accuracy": accuracy}
    (config.output_dir / "results.json").write_text(json.dumps({"arms": {"world": arm}}))

    card = model_card(replace(config, model=model), config.output_dir)

    assert "| arm `world` | 77.0 [75.2, 78.8] | 2000 |" in card
    assert "[Gemma Terms of Use](https://ai.google.dev/gemma/terms)" in card
    assert "NVIDIA Open Model License" in card
    assert "base_model:\n- google/gemma-3-4b-it\n- nvidia/Cosmos-Predict2-2B-Video2World" in card
    assert "Nothing was measured" in model_card(config, config.output_dir / "nowhere")
    assert all(part in card for part in re.split(r"\$\{\w+\}", TEMPLATE.read_text()))
    assert "${" not in card

    parts = (
        MixturePart(data=DataSettings(dataset="llava", source="/somewhere/chat.json"), weight=3.0),
        MixturePart(data=DataSettings(questions="present")),
    )
    mixed = model_card(replace(config, mixture=parts), config.output_dir)
    assert "- 75.0%: `llava` from `chat.json`, split `train`" in mixed
    assert "- 25.0%: `foresight`, questions `present`, split `train`" in mixed
