"""Gemma and Cosmos come from the hub by name: fetched once, pinned to a commit, and every refusal told in one line."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures_hub import HubStandIn, hub  # noqa: F401
from theworld import TheWorld
from theworld.modeling import CheckpointError

GEMMA, COSMOS = "someone/gemma", "someone/cosmos"
SMALL: dict[str, Any] = {"cosmos_model_name": COSMOS, "world_image_size": 64, "frame_rate_hz": 6.0, "dit_block": 2}


@pytest.fixture
def both(hub: HubStandIn, stack: Path) -> HubStandIn:  # noqa: F811
    """The hub, with the tiny Gemma and the tiny Cosmos on it as two repositories."""
    for name, part in ((GEMMA, "gemma"), (COSMOS, "cosmos")):
        folder = stack / part
        files = [path for path in folder.rglob("*") if path.is_file()]
        hub.repositories[name] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        hub.private[name] = False
    hub.num_commits = 7
    return hub


def load(**options: Any) -> TheWorld:
    torch.manual_seed(0)
    return TheWorld.from_pretrained(GEMMA, **{**SMALL, **options})


def fetched(server: HubStandIn) -> list[str]:
    return [line for line in server.asked if line.startswith("GET") and line.endswith((".safetensors", ".json"))]


def test_a_model_is_fetched_once_and_pinned_to_commits(
    both: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load()
    assert (model.config.base_revision, model.config.cosmos_revision) == (both.commit, both.commit)
    assert torch.equal(
        model.get_input_embeddings().weight, TheWorld.from_pretrained("tiny").get_input_embeddings().weight
    )
    assert not [line for line in fetched(both) if "transformer/" in line]  # the tap `vae` needs none of it
    model.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert (saved["base_revision"], saved["cosmos_revision"]) == (both.commit, both.commit)

    first, both.num_commits = both.commit, 8  # somebody pushes to both
    both.repositories[COSMOS]["vae/config.json"] = b"{}"
    both.asked.clear()
    again = TheWorld.from_pretrained(tmp_path / "saved")
    assert (again.config.base_revision, again.config.cosmos_revision) == (first, first)
    assert not fetched(both)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    both.asked.clear()
    offline = TheWorld.from_pretrained(tmp_path / "saved")
    assert torch.equal(offline.world.markers, model.world.markers)
    assert load().config.base_revision == first  # the newest that was fetched
    assert not both.asked


def test_a_saved_model_takes_its_world_from_a_folder_if_it_is_the_same(
    both: HubStandIn, stack: Path, tmp_path: Path
) -> None:
    load().save_pretrained(tmp_path / "saved")
    elsewhere = TheWorld.from_pretrained(tmp_path / "saved", cosmos_model_name=str(stack / "cosmos"))
    assert elsewhere.config.cosmos_revision is None
    assert elsewhere.tap is not None


def no_token(server: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    server.token = "hf_another"


def answers(path: str, status: int, code: str) -> Callable[[HubStandIn, pytest.MonkeyPatch], None]:
    def change(server: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        server.answers[path] = (status, code)

    return change


def lacks(name: str, file: str) -> Callable[[HubStandIn, pytest.MonkeyPatch], None]:
    def change(server: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        del server.repositories[name][file]

    return change


def cut(name: str, file: str, at: int = -1000) -> Callable[[HubStandIn, pytest.MonkeyPatch], None]:
    def change(server: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        server.repositories[name][file] = server.repositories[name][file][:at]

    return change


def full(server: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", no_space)


def broken(path: str) -> Callable[[HubStandIn, pytest.MonkeyPatch], None]:
    def change(server: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        server.cuts = path

    return change


VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (no_token, f"{GEMMA}: .*the hub answers 401: the token is missing or not valid; log in"),
        (answers(GEMMA, 401, "GatedRepo"), f"{GEMMA}: .*gated; accept its licence at http://.*/{GEMMA} and log in"),
        (answers(f"{GEMMA}/resolve", 403, "GatedRepo"), f"{GEMMA}: .*gated; accept its licence at"),
        (answers("model.safetensors", 403, ""), f"'{GEMMA}' .*the hub answers 403: the token may not read it"),
        (answers("model.safetensors", 500, ""), f"'{GEMMA}' .*the hub answers 500; try again later"),
        (answers(f"models/{COSMOS}", 403, "GatedRepo"), f"'{COSMOS}' .*gated; accept its licence at"),
        (answers(VAE, 403, ""), f"'{COSMOS}' .*the hub answers 403: the token may not read it"),
        (
            lacks(GEMMA, "model.safetensors"),
            rf"{GEMMA}: no \*.safetensors in it; expected the files of google/gemma-3-4b-it",
        ),
        (lacks(COSMOS, VAE), r"snapshots/0+7: no vae/\*.safetensors; expected the layout of nvidia"),
        (
            cut(GEMMA, "model.safetensors"),
            f"{GEMMA}: .*a file of it is damaged or half-downloaded; .*`hf download {GEMMA} --force-download`",
        ),
        (cut(GEMMA, "config.json", 10), f"{GEMMA}: .*a file of it is damaged .*`hf download {GEMMA} --force-download`"),
        (cut(COSMOS, VAE), f"vae: missing, damaged or half-downloaded .*`hf download {COSMOS} --force-download`"),
        (cut(COSMOS, "vae/config.json", 10), f"vae/config.json is damaged .*`hf download {COSMOS} --force-download`"),
        (full, f"{GEMMA}: .*the disk is full under .*HF_HOME to another disk"),
        (broken("model.safetensors"), f"'{GEMMA}' .*the connection broke off .*; start again"),
    ],
)
def test_what_keeps_a_model_from_loading_is_told_in_one_line(
    change: Callable[[HubStandIn, pytest.MonkeyPatch], None],
    said: str,
    both: HubStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between two attempts
    change(both, monkeypatch)
    with pytest.raises((ValueError, OSError), match=said) as caught:
        load()
    assert "\n" not in str(caught.value)
    assert both.token not in str(caught.value)


def test_a_shard_that_did_not_arrive_whole_is_named(stack: Path, tmp_path: Path) -> None:
    from transformers import Gemma3ForConditionalGeneration

    Gemma3ForConditionalGeneration.from_pretrained(stack / "gemma").save_pretrained(tmp_path, max_shard_size="500KB")
    second = sorted(tmp_path.glob("model-*.safetensors"))[1]
    second.write_bytes(second.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=rf"{tmp_path}: .*half-downloaded.* \({second.name}, .*fetch or copy it"):
        TheWorld.from_pretrained(tmp_path, enable_world=False)
    second.unlink()
    with pytest.raises(CheckpointError, match=rf"{tmp_path}: .*not all there .*{second.name}"):
        TheWorld.from_pretrained(tmp_path, enable_world=False)
