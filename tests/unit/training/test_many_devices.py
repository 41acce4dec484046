"""Several processes train as one: the same losses, text-only batches, signals to one of them, sharded weights."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import FullyShardedDataParallelPlugin, PartialState
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback, TrainingArguments

from fixtures_model import picture
from fixtures_processes import run_ranks
from theworld.config import DataSettings, TrainingConfig, loader
from theworld.datasets.collator import Collator
from theworld.datasets.sample import Sample, question
from theworld.modeling import TheWorld, checkpoints
from theworld.modeling.loading import WEIGHTS_NAME
from theworld.training import run
from theworld.training.bad_records import BadRecords
from theworld.training.callbacks import STOPPED
from theworld.training.dataloading import MapFeed
from theworld.training.metrics import Metrics, read_metrics
from theworld.training.trainer import TheWorldTrainer

MakeConfig = Callable[..., TrainingConfig]


def losses(config: TrainingConfig) -> list[float]:
    return [row["loss"] for row in read_metrics(config.output_dir / "metrics.jsonl")]


@pytest.mark.usefixtures("embedded")  # as processes have it
def test_two_processes_of_four_samples_train_as_one_of_eight(make_config: MakeConfig) -> None:
    data = DataSettings(questions="future", tasks=("drop",), image_size_px=64, num_train=16, num_validation=8)
    one, two = (make_config(name, batch_size=size, data=data, save_steps=4) for name, size in (("one", 8), ("two", 4)))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    loader.save(two, two.output_dir.with_suffix(".json"))
    command = [sys.executable, *launcher, "-m", "theworld", "train", "--json", str(two.output_dir.with_suffix(".json"))]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    launched = subprocess.Popen(command, text=True, env=environment, **pipes)
    run.train(one)
    found, errors = launched.communicate()

    assert launched.returncode == 0, errors[-2000:]
    assert found.count('{"model"') == 1  # one of the processes says it

    assert len(losses(two)) == 4
    assert losses(two) == pytest.approx(losses(one), abs=1e-6)
    for config in (one, two):  # speed times the seconds of a step: the samples of all processes
        first = read_metrics(config.output_dir / "metrics.jsonl")[0]
        seconds = first["eta_seconds"] / (config.num_steps - first["step"])
        assert first["samples_per_second"] * seconds == pytest.approx(8)
    assert [path.name for path in two.output_dir.glob("checkpoint-*/rng_state_*")] == [
        "rng_state_0.pth",
        "rng_state_1.pth",
    ]
    weights_of_one, weights_of_two = (load_file(config.output_dir / "model" / WEIGHTS_NAME) for config in (one, two))
    torch.testing.assert_close(weights_of_two, weights_of_one, atol=1e-5, rtol=0)


def test_what_another_process_saves_while_the_model_is_written_stays(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config("run", num_steps=2, save_steps=2)
    write = checkpoints.write_model

    def beside_another(model: Any, folder: Path, *args: Any) -> None:
        theirs = config.output_dir / ".saving" / "checkpoint-2"
        if (config.output_dir / ".saving").exists():  # not so when the finished model is saved
            theirs.mkdir(parents=True, exist_ok=True)
            (theirs / "rng_state_1.pth").touch()
        write(model, folder, *args)

    monkeypatch.setattr(checkpoints, "write_model", beside_another)
    run.train(config)

    assert (config.output_dir / "checkpoint-2" / "rng_state_1.pth").exists()


class InOrder(TheWorldTrainer):
    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(range(8))


def train_on_pictures_and_texts(folder: Path, accumulated: int) -> None:
    """Steps on a batch of four questions about pictures and one of four without."""
    torch.manual_seed(0)
    PartialState(cpu=True)
    model = TheWorld.from_pretrained("tiny", world_grid=4)
    samples = [
        question(str(index), [picture(index)] * (index < 4), "What falls " + "down " * index + "?", "the ball")
        for index in range(8)
    ]
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=2,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulated,
        optim="sgd",
        learning_rate=0.1,
        lr_scheduler_type="constant",
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
    )
    trainer = InOrder(
        model=model,
        args=arguments,
        train_dataset=MapFeed(samples),
        collator=Collator(model.processor, supervise=True),
        metrics=Metrics(folder / "metrics.jsonl"),
        bad_records=BadRecords(folder / "bad_records.jsonl", 0.05),
    )
    trainer.train()
    trainer.save_model(str(folder / "model"))


def test_a_process_whose_batch_is_text_alone_neither_hangs_nor_changes_the_gradient_of_the_projector(
    tmp_path: Path,
) -> None:
    for name, num_processes in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        codes = run_ranks(num_processes, train_on_pictures_and_texts, tmp_path / name, 2 // num_processes)
        assert codes == [0] * num_processes

    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two")]
    one, two = ([(row["loss"], row["grad_norm"]) for row in of_run] for of_run in rows)
    assert two == [pytest.approx(pair, rel=1e-5) for pair in one]
    assert all(norm > 0 for _, norm in two)
    trained = [load_file(tmp_path / name / "model" / WEIGHTS_NAME) for name in ("one", "two")]
    torch.testing.assert_close(trained[1], trained[0], atol=1e-6, rtol=0)


class Uncertain(TheWorldTrainer):
    """Throws dice of its own process at every step: losses tell whether a continued run has its states of chance."""

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        inputs["pixel_values"] = inputs["pixel_values"] + 0.1 * torch.randn(())
        return super().training_step(model, inputs, num_items_in_batch)


class ToldInOneProcess(TrainerCallback):
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1 and args.process_index == 1:
            os.kill(os.getpid(), signal.SIGUSR1)


def train_uncertain(config: TrainingConfig, told: bool) -> None:
    class Trainer(Uncertain):
        def __init__(self, **parts: Any) -> None:
            super().__init__(**parts)
            if told:
                self.add_callback(ToldInOneProcess())

    run.TheWorldTrainer = Trainer
    run.train(config)


def test_a_signal_to_one_process_stops_all_at_one_step_and_each_goes_on_with_its_own_dice(
    make_config: MakeConfig,
) -> None:
    unbroken, stopped = make_config("unbroken"), make_config("stopped", save_steps=100)
    assert run_ranks(2, train_uncertain, unbroken, False) == [0, 0]

    assert run_ranks(2, train_uncertain, stopped, True) == [STOPPED, STOPPED]
    assert json.loads((stopped.output_dir / "stopped.json").read_text())["step"] == 2
    assert run_ranks(2, train_uncertain, make_config("stopped", save_steps=100, resume=True), False) == [0, 0]

    assert losses(stopped) == losses(unbroken)


def plugin_of(file: str) -> FullyShardedDataParallelPlugin:
    """What a shipped accelerate file says of sharding, as its launcher hands it on."""
    said = load_config_from_file(str(Path(__file__).parents[3] / "configs" / "accelerate" / file)).fsdp_config
    layers = said["fsdp_transformer_layer_cls_to_wrap"].split(",")
    return FullyShardedDataParallelPlugin(
        fsdp_version=said["fsdp_version"],
        auto_wrap_policy=said["fsdp_auto_wrap_policy"].lower(),
        transformer_cls_names_to_wrap=layers,
        reshard_after_forward=said["fsdp_reshard_after_forward"],
        state_dict_type=said["fsdp_state_dict_type"],
        cpu_ram_efficient_loading=said["fsdp_cpu_ram_efficient_loading"],
    )


def train_sharded(folder: Path) -> None:
    """A step of a frozen bfloat16 Gemma with a float32 world, whole and in two parts: the world's gradients agree."""
    process = PartialState(cpu=True)
    torch.manual_seed(0)
    whole = TheWorld.from_pretrained("tiny", world_grid=4, dtype=torch.bfloat16)
    torch.manual_seed(0)
    sharded = TheWorld.from_pretrained("tiny", world_grid=4, dtype=torch.bfloat16)
    batch = Collator(whole.processor, supervise=True)([question("0", [picture(0)], "What falls?", "the ball")])
    state = SimpleNamespace(fsdp_plugin=plugin_of("fsdp.yaml"))
    fsdp2_prepare_model(SimpleNamespace(state=state, mixed_precision="no", is_main_process=True), sharded)

    gradients = []
    for model in (whole, sharded):
        model.train()
        model(**batch).loss.backward()
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(name.startswith("world.") for name in gradients[0])
    layer = sharded.model.language_model.layers[0]
    assert isinstance(layer, FSDPModule)
    assert sharded.get_output_embeddings().weight is sharded.get_input_embeddings().weight
    assert {value.dtype for value in sharded.parameters()} == {torch.bfloat16, torch.float32}
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name].full_tensor(), gradient, atol=1e-6, rtol=1e-3)

    torch.optim.SGD([value for value in sharded.parameters() if value.requires_grad], lr=0.1).step()
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, cpu_offload=True)
    trained = get_model_state_dict(sharded, options=options)  # as accelerate gathers what the trainer saves
    if process.is_main_process:
        sharded.save_pretrained(folder, state_dict=trained)
    process.wait_for_everyone()
    with torch.no_grad():
        for value in sharded.world.parameters():
            value.zero_()
    sharded.load_checkpoint(folder)
    saved = load_file(folder / WEIGHTS_NAME)
    for name, value in sharded.world.named_parameters():
        assert torch.equal(value.full_tensor(), saved[f"world.{name}"])


@pytest.mark.usefixtures("embedded")
def test_a_sharded_model_has_the_gradients_of_a_whole_one_and_its_checkpoint_loads_anywhere(tmp_path: Path) -> None:
    assert run_ranks(2, train_sharded, tmp_path / "model") == [0, 0]

    saved = load_file(tmp_path / "model" / WEIGHTS_NAME)
    assert saved
    assert all(name.startswith("world.") for name in saved)
    loaded = TheWorld.from_pretrained(tmp_path / "model").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.items())


def losses_of_packed_steps(model: TheWorld, shares: list[list[Sample]], num_processes: int) -> list[float]:
    """Losses of two optimiser steps on packed rows; the shares of a step are accumulated, as the trainer does it."""
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.05)
    collate = Collator(model.processor, supervise=True, packing=True)
    model.train()
    losses = []
    for _ in range(2):  # the first moves one matrix of an adapter alone, since the other one is zero
        for share in shares:
            batch = collate(share)
            assert len(batch["input_ids"]) < len(share)
            loss = model(**batch, num_items_in_batch=NUM_SUPERVISED).loss * num_processes
            loss.backward()  # FSDP takes the mean over processes
            losses.append(loss.item() / num_processes)
        optimizer.step()
        optimizer.zero_grad()
    return losses


def shares_of_four() -> list[list[Sample]]:
    """Questions of different lengths, with a picture or without, for two processes."""
    texts = ["What falls?", "Which of the two balls is at rest now?", "Is it red?", "Where does the ball come to rest?"]
    pictures = ([picture(0)], [], [], [picture(1)])
    samples = [
        question(str(index), images, text, f"the ball {'again ' * index}")
        for index, (text, images) in enumerate(zip(texts, pictures, strict=True))
    ]
    return [[samples[0], samples[1], samples[2]], [samples[3], samples[1], samples[2]]]


NUM_SUPERVISED = 40
"""Divisor of the loss of a step, one for all processes, as the trainer hands it to the model."""


def train_sharded_adapters(folder: Path) -> None:
    """Two steps of adapters and a world on packed rows: sharded over two processes, and whole in one."""
    process = PartialState(cpu=True)
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        lora = {"targets": ("language",), "rank": 4, "alpha": 8, "dropout": 0.0}
        models.append(TheWorld.from_pretrained("tiny", world_grid=4, dtype=torch.bfloat16, lora=lora))
    whole, sharded = models
    start = {name: value.detach().clone() for name, value in whole.named_parameters() if value.requires_grad}
    state = SimpleNamespace(fsdp_plugin=plugin_of("fsdp.yaml"))
    fsdp2_prepare_model(SimpleNamespace(state=state, mixed_precision="no", is_main_process=True), sharded)
    shares, rank = shares_of_four(), process.process_index

    of_one = losses_of_packed_steps(whole, shares, 1)
    of_two = losses_of_packed_steps(sharded, [shares[rank]], 2)

    assert of_two == pytest.approx(of_one[rank::2], rel=1e-3)
    adapters = [name for name in start if ".lora_" in name]
    assert len(adapters) == 2 * 7 * len(whole.model.language_model.layers)
    trained, expected = dict(sharded.named_parameters()), dict(whole.named_parameters())
    assert {name for name, value in trained.items() if value.requires_grad} == start.keys()
    for name, before in start.items():
        assert not torch.equal(expected[name], before)
        moved = trained[name].full_tensor().detach() - before
        torch.testing.assert_close(moved, expected[name].detach() - before, atol=1e-6, rtol=1e-3)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, cpu_offload=True)
    gathered = get_model_state_dict(sharded, options=options)
    if process.is_main_process:
        sharded.save_pretrained(folder, state_dict=gathered)
        loaded = dict(TheWorld.from_pretrained(folder).named_parameters())
        for name in start:
            assert torch.equal(loaded[name], gathered[name])
    process.wait_for_everyone()


@pytest.mark.usefixtures("embedded")
def test_sharded_adapters_on_packed_rows_train_as_in_one_process_and_load_without_shards(tmp_path: Path) -> None:
    assert run_ranks(2, train_sharded_adapters, tmp_path / "model") == [0, 0]


def test_the_frozen_world_is_outside_of_what_is_wrapped() -> None:
    model = TheWorld.from_pretrained("tiny", world_grid=4)

    assert model.tap is not None
    names = [name for name, _ in model.named_parameters()] + [name for name, _ in model.named_buffers()]
    assert not any("vae" in name or "transformer_blocks" in name for name in names)
