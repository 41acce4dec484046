"""TheWorldTrainer: transformers' Trainer with strict loading, whole checkpoints, and a stop at the first NaN."""

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
from theworld.training.dataloading import FeedBatch, StreamFeed
from theworld.training.metrics import Metrics
from theworld.training.resume import forget_old_checkpoints

_ASIDE = ".saving"
_PENDING_NAME = "pending_metrics.json"
_TORCH_WRITER = ("PytorchStreamWriter", "inline_container")  # what torch.save names when the disk refuses


class AtomicCheckpoints(Trainer):
    """transformers' Trainer whose folders `checkpoint-N` are whole or absent: written aside, then renamed."""

    _aside: Path | None = None
    """The folder that a checkpoint is being written to; None: no checkpoint is being written."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._aside or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let Trainer write a checkpoint aside, rename it, and delete old ones."""
        run = Path(super()._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        aside = self._aside = run / _ASIDE
        if self.args.should_save:
            shutil.rmtree(aside, ignore_errors=True)
            (aside / name).mkdir(parents=True)  # now: otherwise the model's files would replace earlier ones
        self.accelerator.wait_for_everyone()
        try:
            with _writing(run / name):
                super()._save_checkpoint(model, trial)
                self._save_progress(aside / name)
        finally:
            self._aside = None
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            replace_folder(aside / name, run / name)
            shutil.rmtree(aside)
            forget_old_checkpoints(run, self.args.save_total_limit, self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()

    def _save_progress(self, checkpoint: Path) -> None:
        """Write further files into a checkpoint; every process calls this."""


class TheWorldTrainer(AtomicCheckpoints):
    """Trains what is not frozen of a TheWorld.

    Differs from transformers' Trainer in that checkpoints are whole or absent and hold the trained tensors alone,
    resuming loads them strictly, no pickle of the arguments is written, and a loss that is not finite ends the run.
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
    ) -> None:
        if args.label_smoothing_factor:
            raise ValueError(
                f"label_smoothing_factor={args.label_smoothing_factor}: Trainer would smooth unshifted labels over"
                " logits that exist at supervised positions only; leave it at 0"
            )
        args.remove_unused_columns = False
        args.ignore_data_skip = isinstance(train_dataset, StreamFeed)  # it goes on where it was by itself
        args.prediction_loss_only = True
        # Batches hold several clips per row: slicing every tensor on its first axis would part rows from clips.
        loader: Any = args.accelerator_config
        loader.dispatch_batches = False
        args._n_gpu = min(args.n_gpu, 1)
        collate: Any = CollatorWithIds(collator)
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            data_collator=collate,
            callbacks=[metrics],
        )
        for noisy in (ProgressCallback, PrinterCallback):  # they write every row of metrics to standard output
            self.remove_callback(noisy)
        self.metrics = metrics
        self.bad_records = bad_records
        self.watch = watch or LossWatch(Path(str(args.output_dir)))
        self._tokenizer: Any = collator.processor.tokenizer
        self._has_begun = False

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The order brings batches of similar length if asked to, and of one shape where samples have several.

        What goes through the model at once fits together on all processes: the order does not depend on their number.
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

    def get_train_dataloader(self) -> Any:
        stream = self._stream()
        return shield_workers(super().get_train_dataloader() if stream is None else stream.loader(self.data_collator))

    def _stream(self) -> StreamFeed | None:
        return self.train_dataset if isinstance(self.train_dataset, StreamFeed) else None

    # --- a step ------------------------------------------------------------------------------------------

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """The batches of an optimiser step; what was left out of them is noted, and where a stream is after them."""
        batches, stream = self.bad_records.noting(epoch_iterator), self._stream()
        with self.metrics.waiting():
            return super().get_batch_samples(batches if stream is None else stream.noting(batches), num_batches, device)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        sample_ids = inputs.pop("sample_ids")
        if not self._has_begun and self.is_world_process_zero():
            log_sample(inputs, sample_ids[0], self._tokenizer)
        self._has_begun = True
        loss = super().training_step(model, inputs, num_items_in_batch)
        mean: Any = self.accelerator.reduce(loss.detach(), "mean")  # each process has seen its own share
        value = mean.item()
        self.watch.see(self.state.global_step + 1, value, sample_ids, ends_step=self.accelerator.sync_gradients)
        self.metrics.count(inputs, len(sample_ids), value)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write the metrics of a step, and hand them on to TensorBoard and the progress bar."""
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
            write_whole(checkpoint / _PENDING_NAME, json.dumps(pending))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if self.args.should_save:
            folder = output_dir or str(self.args.output_dir)
            with _writing(Path(folder)):
                self._own_model().save_pretrained(folder, state_dict=state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._own_model().load_checkpoint(resume_from_checkpoint)
        pending = json.loads((Path(resume_from_checkpoint) / _PENDING_NAME).read_text())
        self.metrics.take_up(pending["metrics"])
        self.bad_records.take_up(pending["bad_records"])
        self.watch.before.extend(pending["losses"])
        if (stream := self._stream()) is not None:
            stream.take_up(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        self._own_model().load_checkpoint(self.state.best_model_checkpoint)

    def _own_model(self) -> Any:
        return self.accelerator.unwrap_model(self.model)


class _EpochOf(TrainerCallback):
    """Tells a sampler the epoch: accelerate does so only where nothing wraps it, as resuming amid an epoch does."""

    def __init__(self, sampler: RunSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.sampler.set_epoch(int(state.epoch))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what torch and safetensors raise when a file cannot be written into the OSError that it is."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in _TORCH_WRITER):
            raise
        message = f"no space left or folder not writable ({error}); free disk space and continue with resume=true"
        raise OSError(errno.ENOSPC, message, str(folder)) from error


class CollatorWithIds:
    """Adds to each batch the ids of its samples, so that it can be named, and what was left out of it."""

    def __init__(self, collator: Collator) -> None:
        self.collator = collator

    def __call__(self, batch: FeedBatch) -> dict[str, Any]:
        tensors = self.collator(batch.samples) if batch.samples else {}
        place = {} if batch.place is None else {"place": batch.place}
        return {**tensors, "sample_ids": [sample.id for sample in batch.samples], "left_out": batch.left_out, **place}
