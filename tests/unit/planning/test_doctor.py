"""The doctor says what would stop a run, with the remedy, before anything of it loads."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fixtures_hub import HubStandIn, hub  # noqa: F401
from theworld import environment
from theworld.cli import main as cli
from theworld.planning import doctor

pytestmark = pytest.mark.usefixtures("embedded")

RUN = Path(__file__).parents[3] / "configs" / "foresight-tiny.json"


def examined(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, findings by what was looked at, and all that was said."""
    code = cli.main(["doctor", "--json", *arguments])
    text = capsys.readouterr().out
    found = json.loads(text)
    return code, {one["what"]: one for one in found["findings"]}, text


def test_a_sound_installation_has_no_fault_and_its_token_is_not_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "get_token", lambda: "hf_secret")
    code, found, text = examined(capsys)
    assert (code, found["libraries"]["state"], found["a forward pass"]["state"]) == (cli.OK, "ok", "ok")
    assert found["token"]["state"] == "ok"
    assert "hf_secret" not in text
    assert "memory" not in found  # there is no run
    assert cli.main(["doctor"]) == cli.OK
    assert "| ok | token | there is one |" in capsys.readouterr().out


def test_a_library_out_of_bounds_is_a_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "version", lambda name: "0.0.1")
    code, found, _ = examined(capsys)
    assert (code, found["libraries"]["state"]) == (cli.FAULT, "fault")
    assert "torch 0.0.1, needed >=2.8" in found["libraries"]["found"]


def test_a_run_that_fits_is_found_to_fit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    stated = ("--length", "120", "--peak-tflops", "1", "--store-dir", str(tmp_path / "store"))
    code, found, _ = examined(capsys, str(RUN), "--output-dir", str(tmp_path / "run"), *stated)
    assert code == cli.OK
    assert {found[what]["state"] for what in ("memory", "disk", "output_dir", "store_dir")} == {"ok"}
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_not_there_is_a_fault_with_a_remedy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    gone = ("--model.gemma-model-name", str(tmp_path / "gone"))
    code, found, _ = examined(capsys, str(RUN), "--output-dir", str(tmp_path / "run"), *gone)
    assert (code, found["models and data"]["state"]) == (cli.FAULT, "fault")
    assert "gone: no such folder" in found["models and data"]["found"]


def test_a_folder_below_a_file_cannot_be_written_to(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, found, _ = examined(capsys, str(RUN), "--output-dir", str(tmp_path / "file" / "run"), "--length", "120")
    assert (code, found["output_dir"]["state"]) == (cli.FAULT, "fault")


FITS = ("--length", "120", "--peak-tflops", "1")


def looked_at_run(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> tuple[int, dict[str, Any]]:
    code, found, _ = examined(capsys, str(RUN), "--output-dir", str(folder / "run"), *FITS, *more)
    return code, found


def test_a_run_that_does_not_fit_into_memory_is_a_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(doctor.os, "sysconf", lambda name: 1000)  # pages, of as many bytes: 1 MB
    code, found = looked_at_run(capsys, tmp_path)
    assert (code, found["memory"]["state"]) == (cli.FAULT, "fault")
    assert "GB of 0.0 GB a device: a smaller batch_size, gradient_checkpointing" in found["memory"]["found"]


@pytest.mark.parametrize(("share", "state"), [(0.8, "ok"), (0.95, "warning"), (1.05, "fault")])
def test_memory_that_is_nearly_all_needed_is_a_warning(
    share: float, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(doctor.os, "sysconf", lambda name: 100_000)  # 10 GB
    assert doctor._memory(int(share * 1e10)).state == state


def test_checkpoints_that_do_not_fit_onto_the_disk_are_a_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: full)
    code, found = looked_at_run(capsys, tmp_path)
    assert (code, found["disk"]["state"]) == (cli.FAULT, "fault")
    assert "0.0 GB are free: free space, or lower save_total_limit" in found["disk"]["found"]


def test_a_licence_that_was_not_accepted_is_a_fault_with_its_page(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    hub: HubStandIn,  # noqa: F811
) -> None:
    hub.answers["someone/gated"] = (403, "GatedRepo")
    code, found = looked_at_run(capsys, tmp_path, "--model.gemma-model-name", "someone/gated")
    assert (code, found["models and data"]["state"]) == (cli.FAULT, "fault")
    assert f"gated; accept its licence at {hub.url}/someone/gated" in found["models and data"]["found"]
    assert hub.token not in found["models and data"]["found"]


def test_an_embedded_model_that_does_not_run_is_a_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*args: Any, **kwargs: Any) -> None:
        raise ValueError("damaged")

    monkeypatch.setattr("theworld.modeling.TheWorld.from_pretrained", damaged)
    code, found, _ = examined(capsys)
    assert (code, found["a forward pass"]["found"]) == (cli.FAULT, "damaged: install the package anew")
