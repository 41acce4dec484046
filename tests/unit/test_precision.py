"""`auto` stands for the fastest number format that a device computes natively; what was asked for stays."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recipes.settings import VaeRecipe, VlmRecipe, WorldRecipe
from theworld import TheWorld, precision
from theworld.config import DataSettings, EvaluationConfig, ModelSettings, TrainingConfig, WorldSettings, loader
from theworld.config.arm_settings import Arm, ArmsSettings, Reading
from theworld.evaluation.run import evaluate
from theworld.experiments.arms.run import claim
from theworld.modeling.factory import fields_of, open_model
from theworld.precision import fastest_dtype, is_emulated, loading_dtype, training_formats
from theworld.training import flops
from theworld.training.run import train
from theworld.world.factory import open_tap

CpuWith = Callable[..., None]
DATA = DataSettings(questions="future", tasks=("drop",), image_size_px=64, num_train=4, num_validation=4)


@pytest.mark.parametrize(
    ("flags", "fastest"),
    [
        (("avx2",), "float32"),
        (("avx2", "avx512f", "avx512_vnni"), "float32"),
        (("avx2", "avx512_bf16"), "bfloat16"),
        (("avx2", "amx_bf16", "amx_tile"), "bfloat16"),
        (("fp", "asimd", "bf16"), "bfloat16"),
        (("fp", "asimd"), "float32"),
        ((), "float32"),
    ],
)
def test_a_processor_computes_in_bfloat16_if_it_has_instructions_for_it(
    cpu_with: CpuWith, flags: tuple[str, ...], fastest: str
) -> None:
    cpu_with(*flags)
    assert fastest_dtype() == fastest
    assert is_emulated("bfloat16") == (fastest == "float32")
    assert not is_emulated("float32")


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
@pytest.mark.parametrize(("limit", "fastest"), [("AVX2", "float32"), ("avx512_core", "float32"), ("ALL", "bfloat16")])
def test_instructions_that_onednn_may_not_use_do_not_count(
    cpu_with: CpuWith, monkeypatch: pytest.MonkeyPatch, name: str, limit: str, fastest: str
) -> None:
    cpu_with("avx2", "avx512_bf16", "amx_bf16")
    monkeypatch.setenv(name, limit)
    assert fastest_dtype() == fastest


@pytest.mark.parametrize(
    ("capability", "fastest"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16"), ((12, 0), "bfloat16")]
)
def test_a_gpu_computes_in_bfloat16_from_capability_8_on(
    cpu_with: CpuWith, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], fastest: str
) -> None:
    cpu_with("avx2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    assert fastest_dtype() == fastest_dtype(torch.device("cuda", 0)) == fastest
    assert fastest_dtype(torch.device("cpu")) == "float32"
    assert not is_emulated("float16")


def test_this_machines_instructions_are_read_where_the_system_lists_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listed = {"x86": "flags\t\t: fpu avx2 avx512_bf16\nbugs\t: x\nflags\t: fpu\n", "arm": "Features\t: fp asimd bf16\n"}
    for name, text in listed.items():
        (tmp_path / name).write_text(f"processor\t: 0\n{text}")
        monkeypatch.setattr(precision, "_CPUINFO", tmp_path / name)
        assert precision.processor_flags.__wrapped__() == frozenset(text.partition(": ")[2].split("\n")[0].split())
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "nothing")
    assert precision.processor_flags.__wrapped__() == frozenset()


@pytest.mark.parametrize(
    ("asked", "emulated", "native"),
    [
        (("auto", "auto"), ("fp32", "float32"), ("bf16", "bfloat16")),
        (("auto", "float32"), ("fp32", "float32"), ("bf16", "float32")),
        (("auto", "bfloat16"), ("bf16", "bfloat16"), ("bf16", "bfloat16")),
        (("fp32", "auto"), ("fp32", "float32"), ("fp32", "float32")),
        (("bf16", "auto"), ("bf16", "bfloat16"), ("bf16", "bfloat16")),
        (("fp16", "auto"), ("fp16", "float32"), ("fp16", "float32")),
        (("bf16", "float32"), ("bf16", "float32"), ("bf16", "float32")),
    ],
)
def test_a_run_trains_in_what_was_asked_for_and_auto_fits_the_rest(
    cpu_with: CpuWith, asked: tuple[str, str], emulated: tuple[str, str], native: tuple[str, str]
) -> None:
    cpu_with("avx2")
    assert training_formats(*asked) == emulated
    cpu_with("avx2", "amx_bf16")
    assert training_formats(*asked) == native


def test_every_format_is_auto_unless_a_setting_says_otherwise() -> None:
    arms = ArmsSettings(
        output_dir=Path("x"),
        primary=("one", "one"),
        arms=(Arm(name="one", reads=Reading(tap="vae"), aligned_on=Reading(tap="vae")),),
    )
    asked = (TrainingConfig(output_dir=Path("x")), arms, VaeRecipe(), WorldRecipe(), VlmRecipe())
    assert {one.precision for one in asked} == {"auto"}
    assert ModelSettings().dtype == EvaluationConfig(checkpoint=Path("x"), output_dir=Path("y")).dtype == "auto"


def test_weights_load_as_saved_but_in_float32_where_that_is_emulated(
    cpu_with: CpuWith, caplog: pytest.LogCaptureFixture
) -> None:
    cpu_with("avx2", "avx512_bf16")
    assert loading_dtype(None, torch.bfloat16) == loading_dtype("auto", "bfloat16") == "auto"
    cpu_with("avx2")
    assert loading_dtype(None, "float32") == loading_dtype(None, None) == "auto"
    assert not caplog.records
    assert loading_dtype(None, torch.bfloat16) == loading_dtype("auto", "bfloat16") == "float32"
    assert loading_dtype(torch.bfloat16, "float32") == torch.bfloat16
    assert loading_dtype("bfloat16", "bfloat16") == "bfloat16"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, "each thing is said once"
    assert "saved in bfloat16, which this machine emulates" in said[0]
    assert "bfloat16 is emulated by this machine" in said[1]


@pytest.fixture(scope="module")
def saved_in_bfloat16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose Gemma and whose world were trained in bfloat16: not to be changed."""
    folder = tmp_path_factory.mktemp("bfloat16") / "saved"
    TheWorld.from_pretrained("tiny", world_grid=4, world_dtype="bfloat16", dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def test_a_checkpoint_saved_in_bfloat16_answers_in_float32_where_that_is_emulated(
    cpu_with: CpuWith, saved_in_bfloat16: Path
) -> None:
    cpu_with("avx2", "amx_bf16")
    model = TheWorld.from_pretrained(saved_in_bfloat16)
    assert (model.dtype, model.tap.vae.dtype) == (torch.bfloat16, torch.bfloat16)
    cpu_with("avx2")
    model = TheWorld.from_pretrained(saved_in_bfloat16)
    assert (model.dtype, model.tap.vae.dtype, model.config.world_dtype) == (torch.float32, torch.float32, "float32")
    model = TheWorld.from_pretrained(saved_in_bfloat16, dtype=torch.bfloat16, world_dtype="bfloat16")
    assert (model.dtype, model.tap.vae.dtype) == (torch.bfloat16, torch.bfloat16)


@pytest.mark.parametrize(("flags", "used"), [(("avx2",), "float32"), (("avx2", "amx_bf16"), "bfloat16")])
def test_results_of_an_evaluation_say_in_which_formats_every_arm_answered(
    cpu_with: CpuWith, saved_in_bfloat16: Path, tmp_path: Path, flags: tuple[str, ...], used: str
) -> None:
    cpu_with(*flags)
    config = EvaluationConfig(
        checkpoint=saved_in_bfloat16,
        output_dir=tmp_path / "out",
        arms=("world", "no-world-tokens", "gemma", "random-world", "majority"),
        data=DATA,
        answers="loglikelihood",
    )

    results = evaluate(config)

    answered = {name: run["dtype"] for name, run in results["origin"]["runs"].items()}
    assert answered == {**dict.fromkeys(config.arms, used), "majority": None}
    environment = json.loads((config.output_dir / "environment.json").read_text())
    assert environment["number_formats"] == {"weights": used, "world": used}
    assert environment["device"].endswith(f"bfloat16 {'native' if used == 'bfloat16' else 'emulated'}")
    assert (
        evaluate(replace(config, output_dir=tmp_path / "asked", arms=("gemma",), dtype="float32"))["origin"]["runs"][
            "gemma"
        ]["dtype"]
        == "float32"
    )


def test_features_of_a_store_are_read_in_the_format_that_they_were_saved_in(
    cpu_with: CpuWith, saved_in_bfloat16: Path, tmp_path: Path
) -> None:
    config = EvaluationConfig(
        checkpoint=saved_in_bfloat16,
        output_dir=tmp_path / "out",
        store_dir=tmp_path / "store",
        data=DATA,
        answers="loglikelihood",
    )
    cpu_with("avx2", "amx_bf16")
    evaluate(config)
    cpu_with("avx2")
    elsewhere = replace(config, output_dir=tmp_path / "elsewhere")
    evaluate(elsewhere)
    environment = json.loads((elsewhere.output_dir / "environment.json").read_text())
    assert environment["number_formats"] == {"weights": "float32", "world": "bfloat16"}


def run_of(folder: Path, **changes: object) -> TrainingConfig:
    world = WorldSettings(cosmos_model_name="tiny", image_size_px=64, frame_rate_hz=6.0, dtype="auto")
    given: dict = {
        "output_dir": folder,
        "num_steps": 2,
        "batch_size": 2,
        "save_steps": 1,
        "log_to": "none",
        "num_workers": 0,
        "model": ModelSettings(gemma_model_name="tiny", world_grid=4, world=world),
        "data": DATA,
    }
    return TrainingConfig(**{**given, **changes})


@pytest.mark.parametrize(
    ("flags", "used"),
    [
        (("avx2",), {"precision": "fp32", "weights": "float32", "world": "float32"}),
        (("avx2", "amx_bf16"), {"precision": "bf16", "weights": "bfloat16", "world": "bfloat16"}),
    ],
)
def test_a_run_says_in_which_formats_it_trained(
    cpu_with: CpuWith, tmp_path: Path, flags: tuple[str, ...], used: dict[str, str]
) -> None:
    cpu_with(*flags)
    result = train(run_of(tmp_path))

    saved = loader.load(TrainingConfig, tmp_path / "config.json")
    assert (saved.precision, saved.model.dtype, saved.model.world.dtype) == tuple(used.values())
    assert json.loads((tmp_path / "environment.json").read_text())["number_formats"] == used
    model = json.loads(Path(result["model"], "config.json").read_text())
    assert (model["dtype"], model["world_dtype"]) == (used["weights"], used["world"])


def test_a_run_goes_on_in_the_formats_that_it_was_begun_in(cpu_with: CpuWith, tmp_path: Path) -> None:
    cpu_with("avx2", "amx_bf16")
    train(run_of(tmp_path, num_steps=2))
    (tmp_path / "metrics.jsonl").rename(tmp_path / "unbroken.jsonl")
    for path in (tmp_path / "checkpoint-2").iterdir():
        path.unlink()
    (tmp_path / "checkpoint-2").rmdir()

    cpu_with("avx2")
    train(run_of(tmp_path, num_steps=2, resume=True))

    assert loader.load(TrainingConfig, tmp_path / "config.json").precision == "bf16"
    losses = [json.loads(line)["loss"] for line in (tmp_path / "unbroken.jsonl").read_text().splitlines()]
    again = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert again[-1] == losses[-1]
    with pytest.raises(ValueError, match="precision: 'bf16' there, 'fp32' here"):
        train(run_of(tmp_path, num_steps=2, resume=True, precision="fp32"))


def test_a_format_that_is_emulated_is_obeyed_with_one_warning(
    cpu_with: CpuWith, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cpu_with("avx2")
    with caplog.at_level(logging.WARNING, logger="theworld"):
        train(run_of(tmp_path, precision="bf16", num_steps=1))
    assert loader.load(TrainingConfig, tmp_path / "config.json").precision == "bf16"
    assert len([record for record in caplog.records if "is emulated by" in record.getMessage()]) == 1


def test_settings_of_a_model_are_concrete_before_it_loads(cpu_with: CpuWith) -> None:
    cpu_with("avx2")
    given = ModelSettings(gemma_model_name="tiny", world=replace(run_of(Path("x")).model.world, dtype="auto"))
    assert fields_of(given)["world_dtype"] == "float32"
    assert open_model(given, load_world=False).dtype == torch.float32
    tap = open_tap(given.world)
    assert tap.settings.dtype == "float32"


def test_a_comparison_goes_on_in_the_formats_that_it_was_begun_in(cpu_with: CpuWith, tmp_path: Path) -> None:
    model = run_of(tmp_path).model
    arm = Arm(name="one", reads=Reading(tap="vae"), aligned_on=Reading(tap="vae"))
    given = ArmsSettings(output_dir=tmp_path, primary=("one", "one"), arms=(arm,), model=model)
    cpu_with("avx2", "amx_bf16")
    begun = claim(given)
    (tmp_path / "aligned" / "one").mkdir(parents=True)  # one that has made nothing is free for other settings
    assert (begun.precision, begun.model.dtype, begun.model.world.dtype) == ("bf16", "bfloat16", "bfloat16")
    cpu_with("avx2")
    assert claim(given) == claim(replace(given, model=begun.model)) == begun
    with pytest.raises(ValueError, match="belongs to another run"):
        claim(replace(given, model=replace(model, world=replace(model.world, dtype="float32"))))


def test_a_plain_model_says_nothing_of_a_world_that_it_does_not_load(
    cpu_with: CpuWith, saved_in_bfloat16: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cpu_with("avx2")
    TheWorld.from_pretrained(saved_in_bfloat16, enable_world=False)
    assert [record.args for record in caplog.records if "saved in" in record.msg] == [("bfloat16", "dtype", "bfloat16")]


def test_a_processor_has_no_mfu_unless_its_peak_is_given_and_none_is_above_1(
    cpu_with: CpuWith, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cpu_with("avx2")
    rows = []
    for name, peak in (("none", None), ("enough", 100.0), ("too-little", 1e-9)):
        run = tmp_path / name
        train(run_of(run, num_steps=2, logging_steps=1, peak_tflops=peak))
        rows.append([json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()])
    assert [["mfu" in row for row in one] for one in rows] == [[False] * 2, [True] * 2, [False] * 2]
    assert all(0 < row["mfu"] <= 1 for row in rows[1])
    assert all(row["tflops_per_second"] > 0 for one in rows for row in one)
    assert len([record for record in caplog.records if "less than this run reaches" in record.getMessage()]) == 1


def test_a_peak_is_that_of_the_format_or_of_float32_where_it_is_emulated(
    cpu_with: CpuWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {torch.float32: 90e9, torch.bfloat16: 400e9}
    monkeypatch.setattr(flops, "_rate", lambda device, dtype: rates[dtype])
    cpu_with("avx2", "amx_bf16")
    assert flops.measured_peak(torch.device("cpu"), "bf16") == 400e9
    cpu_with("avx2")
    rates[torch.bfloat16] = 1e9
    assert flops.measured_peak(torch.device("cpu"), "bf16") == flops.measured_peak(torch.device("cpu"), "fp32") == 90e9


def test_a_peak_counts_the_time_of_the_processor_and_not_of_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 3.0, 10.0, 11.0, 20.0, 22.0, 30.0, 39.0])
    monkeypatch.setattr(time, "process_time", lambda: next(seconds))
    assert flops._rate(torch.device("cpu"), torch.float32) == 2 * 1024**3 * torch.get_num_threads()  # the best: 1 s


@pytest.mark.parametrize("given", [None, "active"])
def test_threads_wait_without_spinning_unless_the_user_says_otherwise(given: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    code = "import theworld, torch"
    environment["OMP_DISPLAY_ENV"] = "true"  # OpenMP tells what it has read
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert f"OMP_WAIT_POLICY = '{(given or 'passive').upper()}'" in done.stderr
