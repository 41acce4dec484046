"""TheWorldTrainer: transformers' Trainer with strict loading, whole checkpoints, and a stop at the first NaN."""

import errno
import json
import shutil
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError
from torch import Tensor
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from theworld.datasets.collator import Collator
from theworld.datasets.samplers import LengthSampler, RunSampler, ShapeSampler
from theworld.io import replace_folder, write_whole
from theworld.training.bad_records import BadRecords
from theworld.training.callbacks import LossWatch, log_sample, shield_workers
from theworld.training.dataloading import SOURCE, BatchSource, FeedCollator, StreamFeed
from theworld.training.distillation import Distiller, load_head, save_head
from theworld.training.manifest import PENDING_NAME, DataDigests, write_manifest
from theworld.training.metrics import Metrics
from theworld.training.optimizer import split_by_part
from theworld.training.resume import forget_old_checkpoints

_ASIDE = ".saving"
_TORCH_WRITER = ("PytorchStreamWriter", "inline_container")  # in the message of torch.save when a write fails


class AtomicCheckpoints(Trainer):
    """transformers' Trainer whose folders `checkpoint-N` are whole or absent: written aside, then renamed."""

    _aside: Path | None = None
    """The folder that a checkpoint is being written to; None: no checkpoint is being written."""
    data_digests: DataDigests = MappingProxyType({})
    """Of the run's data files, for the manifest."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._aside or super()._get_output_dir(trial))

    def _run_epoch(self, **arguments: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # all by name
        """Train an epoch; a run that is continued from its last step is over, where Trainer would take one more."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(**arguments)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let Trainer write a checkpoint aside, rename it, and delete old ones."""
        run = Path(super()._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        aside = run / _ASIDE
        try:
            self._write_aside(aside, name, model, trial)
            if self.args.should_save:
                replace_folder(aside / name, run / name)
        finally:  # also after an interrupt or on a full disk
            if self.args.should_save:
                shutil.rmtree(aside, ignore_errors=True)
        if self.args.should_save:
            forget_old_checkpoints(run, self.args.save_total_limit, self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()

    def _write_aside(self, aside: Path, name: str, model: Any, trial: Any) -> None:
        """Write a whole checkpoint into a folder beside the others."""
        if self.args.should_save:
            shutil.rmtree(aside, ignore_errors=True)
            (aside / name).mkdir(parents=True)  # now: otherwise the model's files would replace earlier ones
        self.accelerator.wait_for_everyone()
        self._aside = aside
        try:
            with _writing(aside.parent / name):
                super()._save_checkpoint(model, trial)
                self._save_progress(aside / name)
        finally:
            self._aside = None
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            with _writing(aside.parent / name):
                write_manifest(aside / name, self.data_digests)

    def _save_progress(self, checkpoint: Path) -> None:
        """Write further files into a checkpoint; every process calls this."""


class TheWorldTrainer(AtomicCheckpoints):
    """Trains the parts of a TheWorld that are not frozen.

    It differs from transformers' Trainer: checkpoints are whole or absent and hold only the trained tensors, resuming
    loads them strictly, it writes no pickle of the arguments, and a loss that is not finite ends the run.
    """

    def __init__(
        self,
        *,
        model: Any,
        args: TrainingArguments,
        train_dataset: Any,
        collator: Collator,
        metrics: Metrics,
        bad_records: BadRecords,
        watch: LossWatch | None = None,
        by_part: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    ) -> None:
        if args.label_smoothing_factor:
            raise ValueError(
                f"label_smoothing_factor={args.label_smoothing_factor}: Trainer would smooth unshifted labels over"
                " logits that exist at supervised positions only; leave it at 0"
            )
        args.remove_unused_columns = False
        args.ignore_data_skip = isinstance(train_dataset, StreamFeed)  # a stream finds its position by itself
        args.prediction_loss_only = True
        # Batches hold several clips per row: slicing every tensor on its first axis would separate rows from clips.
        loader: Any = args.accelerator_config
        loader.dispatch_batches = False
        args._n_gpu = min(args.n_gpu, 1)
        collate: Any = FeedCollator(collator)
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            data_collator=collate,
            callbacks=[metrics],
        )
        for printing in (ProgressCallback, PrinterCallback):  # they write every row of metrics to standard output
            self.remove_callback(printing)
        if self.is_fsdp_enabled and isinstance(model, Distiller):
            raise ValueError("distillation.weight does not work under FSDP; train with DDP or on one device instead")
        if self.is_fsdp_enabled and getattr(model, "is_quantized", False):
            raise ValueError("model.quantize does not work under FSDP; train with DDP or on one device instead")
        self.metrics = metrics
        self.bad_records = bad_records
        self.watch = watch or LossWatch(Path(str(args.output_dir)))
        self._by_part = by_part
        self._tokenizer: Any = collator.processor.tokenizer
        self._has_begun = False
        self._sample_ids: deque[list[str]] = deque()
        """Sample ids of the batches that the current step still has to train on."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Group samples by length if the feed has lengths, and by shape if the samples have several.

        The batches of all processes fit together, since the order is one for all of them.
        """
        shapes, lengths = (getattr(self.train_dataset, name, None) for name in ("shapes", "lengths"))
        at_once = self.args.train_batch_size * self.args.world_size
        if lengths is not None:
            sampler = LengthSampler(lengths, shapes, at_once, self.args.seed)
        elif shapes is not None and len(set(shapes)) > 1:
            sampler = ShapeSampler(shapes, at_once, self.args.seed)
        else:
            return super()._get_train_sampler(train_dataset)
        self.add_callback(_EpochOf(sampler))
        return sampler

    def create_optimizer(self, model: Any = None) -> Any:
        """Return Trainer's optimiser, with the values that parts have of their own."""
        optimizer = super().create_optimizer(model)
        if self._by_part:
            owner = self.own_model()
            split_by_part(optimizer, owner.named_parameters(), self._by_part, self.get_decay_parameter_names(owner))
        return optimizer

    def get_train_dataloader(self) -> Any:
        stream = self._stream()
        return shield_workers(super().get_train_dataloader() if stream is None else stream.loader(self.data_collator))

    def _stream(self) -> StreamFeed | None:
        return self.train_dataset if isinstance(self.train_dataset, StreamFeed) else None

    # --- a step ------------------------------------------------------------------------------------------

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """Return the batches of an optimiser step, without their sources."""
        with self.metrics.waiting():
            return super().get_batch_samples(map(self._without_source, epoch_iterator), num_batches, device)

    def _without_source(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take out the source of a batch, and note its sample ids, its bad records, and the place in a stream.

        Raises:
            ValueError: for a batch without a sample.
        """
        source: BatchSource = batch.pop(SOURCE)
        self.bad_records.note(len(source.sample_ids), source.left_out)
        if (stream := self._stream()) is not None and source.place is not None:
            stream.advance(source.place)
        self._sample_ids.append(source.sample_ids)
        return batch

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        sample_ids = self._sample_ids.popleft()
        if not self._has_begun and self.is_world_process_zero():
            log_sample(inputs, sample_ids[0], self._tokenizer)
        self._has_begun = True
        loss = super().training_step(model, inputs, num_items_in_batch)
        mean: Any = self.accelerator.reduce(loss.detach(), "mean")  # each process has the loss of its own share
        value = mean.item()
        self.watch.see(self.state.global_step + 1, value, sample_ids, ends_step=self.accelerator.sync_gradients)
        self.metrics.count(inputs, len(sample_ids), value)
        if (distiller := self._distiller()) is not None and distiller.unexplained is not None:
            self.metrics.count_unexplained(distiller.unexplained)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write the metrics of a step, and pass them on to TensorBoard and the progress bar."""
        if "loss" in logs:
            self.bad_records.settle()
            row = self.metrics.row(self.state, logs, self.bad_records.counts)
            logs |= {name: value for name, value in row.items() if name != "step" and value is not None}
        super().log(logs, start_time)

    # --- checkpoints -------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.bad_records.settle()
        super()._save_checkpoint(model, trial)

    def _save_progress(self, checkpoint: Path) -> None:
        if (stream := self._stream()) is not None:
            write_whole(checkpoint / stream.state_name, json.dumps(stream.state()))
        if self.args.should_save:
            pending = {
                "metrics": self.metrics.pending(),
                "bad_records": self.bad_records.state(),
                "losses": list(self.watch.before),
            }
            write_whole(checkpoint / PENDING_NAME, json.dumps(pending))
            if (distiller := self._distiller()) is not None:
                with _writing(checkpoint):
                    save_head(distiller, checkpoint)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if self.args.should_save:
            folder = output_dir or str(self.args.output_dir)
            with _writing(Path(folder)):
                self.own_model().save_pretrained(folder, state_dict=state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.own_model().load_checkpoint(resume_from_checkpoint)
        if (distiller := self._distiller()) is not None:
            load_head(distiller, Path(resume_from_checkpoint))
        pending = json.loads((Path(resume_from_checkpoint) / PENDING_NAME).read_text())
        self.metrics.load_state(pending["metrics"])
        self.bad_records.load_state(pending["bad_records"])
        self.watch.before.extend(pending["losses"])
        if (stream := self._stream()) is not None:
            stream.load_state(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        self.own_model().load_checkpoint(self.state.best_model_checkpoint)

    def own_model(self) -> Any:
        """Return the TheWorld that is trained, without the wrappers of the training."""
        distiller = self._distiller()
        return self.accelerator.unwrap_model(self.model) if distiller is None else distiller.model

    def _distiller(self) -> Distiller | None:
        model = self.accelerator.unwrap_model(self.model)
        return model if isinstance(model, Distiller) else None


class _EpochOf(TrainerCallback):
    """Sets the epoch of a sampler. Accelerate does so only for an unwrapped one; resuming in an epoch wraps it."""

    def __init__(self, sampler: RunSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.sampler.set_epoch(int(state.epoch))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Raise OSError where torch and safetensors raise an error of their own because a write failed."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in _TORCH_WRITER):
            raise
        message = f"no space left or folder not writable ({error}); free disk space and continue with resume=true"
        raise OSError(errno.ENOSPC, message, str(folder)) from error
