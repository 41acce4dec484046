"""Training loop of all recipes: curves, timed atomic checkpoints, automatic resuming, and the optimiser MuonAdamW."""

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from theworld.io import claim, fingerprint_weights, write_whole
from theworld.locks import in_use
from theworld.precision import DTYPE_OF, fastest_dtype, training_formats, warn_if_emulated
from theworld.training.manifest import check_manifest, check_whole
from theworld.training.trainer import AtomicCheckpoints

logger = logging.getLogger(__name__)

METRICS_NAME: Final = "metrics.jsonl"
SECONDS_BETWEEN_CHECKPOINTS: Final = 45.0
"""Including the time of a step and of a checkpoint, a kill costs less than a minute of work."""

_RECIPE_NAME: Final = "recipe.json"
_WEIGHTS_NAME: Final = "model.safetensors"


class Objective(nn.Module):
    """Loss of a recipe: a module whose forward takes a batch and returns `{"loss": ...}`."""

    def after_step(self) -> None:
        """Run after each step of the optimiser."""

    def measure(self) -> dict[str, float]:
        """Return the quality on held-out data; must not change the random state."""
        return {}


def train_on_cpu(
    objective: Objective,
    dataset: Dataset,
    folder: Path,
    recipe: dict[str, Any],
    measure_steps: int,
    optimizer: torch.optim.Optimizer | None = None,
    **arguments: Any,
) -> None:
    """Train on the CPU, from the start or from the checkpoint in `folder`, to `metrics.jsonl` and one checkpoint.

    Args:
        objective: trained in place.
        dataset: rows; their collated batches are arguments of the objective's forward.
        folder: folder of this stage.
        recipe: all settings that the result depends on; `recipe.json` keeps them. Its `precision` (default: fp32) may
            be `auto`: the format of an earlier start in this folder, or else the native format of this processor.
        measure_steps: steps between measurements.
        optimizer: moves the objective's parameters; None: AdamW as in `arguments`.
        arguments: further `TrainingArguments`.

    Raises:
        ValueError: if the folder belongs to another recipe or is in use, or at a loss that is not finite.
    """
    with in_use(folder):
        _train(objective, dataset, folder, recipe, measure_steps, optimizer, arguments)


def _train(
    objective: Objective,
    dataset: Dataset,
    folder: Path,
    recipe: dict[str, Any],
    measure_steps: int,
    optimizer: torch.optim.Optimizer | None,
    arguments: dict[str, Any],
) -> None:
    newest = get_last_checkpoint(str(folder))
    if newest is None and not read_curves(folder):  # an earlier start failed before its first step
        (folder / _RECIPE_NAME).unlink(missing_ok=True)
    if "precision" in recipe:
        recipe = {**recipe, "precision": _precision(folder / _RECIPE_NAME, recipe["precision"])}
    remedy = "give the same settings, delete that folder, or build in another output_dir"
    claim(folder / _RECIPE_NAME, recipe, remedy)
    trainer = _RecipeTrainer(
        model=objective,
        args=TrainingArguments(
            output_dir=str(folder),
            use_cpu=True,
            remove_unused_columns=False,
            save_strategy="no",  # `_Curves` saves checkpoints by time
            save_total_limit=1,
            bf16=recipe.get("precision") == "bf16",
            logging_steps=50,
            logging_nan_inf_filter=False,
            report_to="none",
            **arguments,
        ),
        train_dataset=dataset,
        optimizers=(optimizer, None),
        callbacks=[_Curves(folder / METRICS_NAME, measure_steps)],
    )
    for printing in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(printing)
    logger.info("%s: %s", folder, "training from the start" if newest is None else f"resuming from {Path(newest).name}")
    if newest is not None:
        check_whole(Path(newest))  # Trainer skips an absent optimizer
        check_manifest(Path(newest))
    trainer.train(resume_from_checkpoint=newest)


def read_curves(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a stage's curves, without a last line that a kill cut off."""
    path = folder / METRICS_NAME
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


class _RecipeTrainer(AtomicCheckpoints):
    """Saves and loads the state of the objective."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        objective: nn.Module = self.model  # pyright: ignore[reportAssignmentType]  # set in the constructor
        # Kernels in memory may have the channels last; files hold them in the plain order.
        tensors = {name: tensor.contiguous() for name, tensor in objective.state_dict().items()}
        save_file(tensors, folder / _WEIGHTS_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        objective: nn.Module = self.model  # pyright: ignore[reportAssignmentType]
        _load(objective, Path(resume_from_checkpoint))


class _Curves(TrainerCallback):
    """Writes a row of `metrics.jsonl` per logged step and per measurement, and requests checkpoints by the clock."""

    def __init__(self, path: Path, measure_steps: int) -> None:
        self.path = path
        self.measure_steps = measure_steps

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kept = [row for row in read_curves(self.path.parent) if row["step"] <= state.global_step]
        write_whole(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._seconds_before = kept[-1]["seconds"] if kept else 0.0
        self._started = self._saved = time.monotonic()
        self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.path.parent.name, unit="step")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kwargs["model"].after_step()
        self._bar.update(1)
        last = state.global_step == state.max_steps
        if last or state.global_step % self.measure_steps == 0:
            self._write(state.global_step, kwargs["model"].measure())
        if last or time.monotonic() - self._saved > SECONDS_BETWEEN_CHECKPOINTS:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._saved = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise ValueError(f"loss {logs['loss']} at step {state.global_step}: lower the recipe's learning rate")
        self._write(state.global_step, {"loss": logs["loss"], "learning_rate": logs["learning_rate"]})
        self._bar.set_postfix_str(f"loss {logs['loss']:.4f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.close()

    def _write(self, step: int, values: dict[str, float]) -> None:
        seconds = round(self._seconds_before + time.monotonic() - self._started, 1)
        with self.path.open("a") as stream:
            stream.write(json.dumps({"step": step, "seconds": seconds, **values}) + "\n")


def _load(objective: nn.Module, checkpoint: Path) -> None:
    objective.load_state_dict(load_file(checkpoint / _WEIGHTS_NAME), strict=True)


def _precision(path: Path, precision: str) -> str:
    """Return the number format of a forward pass; `auto` becomes that of the recipe in `path`, if there is one."""
    if precision == "auto" and path.exists():
        precision = json.loads(path.read_text()).get("precision", precision)
    precision = training_formats(precision, "float32", torch.device("cpu")).precision
    warn_if_emulated(DTYPE_OF[precision], device=torch.device("cpu"))
    return precision


class Muon(torch.optim.Muon):
    """torch's Muon, which orthogonalises in bfloat16; on processors that emulate bfloat16, in float32."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update every matrix, group by group."""
        if fastest_dtype(torch.device("cpu")) == "bfloat16":
            return super().step(closure)
        assert closure is None, "a Trainer gives no closure"
        for group in self.param_groups:
            for matrix in (matrix for matrix in group["params"] if matrix.grad is not None):
                state = self.state[matrix]
                momentum = state.setdefault("momentum_buffer", torch.zeros_like(matrix.grad))
                momentum.lerp_(matrix.grad, 1 - group["momentum"])
                ahead = matrix.grad.lerp(momentum, group["momentum"])  # Nesterov momentum
                length = 0.2 * max(matrix.shape) ** 0.5  # steps as long as AdamW's (`match_rms_adamw`)
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(orthogonal(ahead, group), alpha=-group["lr"] * length)
        return None


def orthogonal(matrix: Tensor, group: dict[str, Any]) -> Tensor:
    """Approximate the nearest matrix with orthogonal rows or columns by Newton-Schulz iterations (Jordan et al. 2024).

    Args:
        matrix: (m, n), float32.
        group: an optimiser's: ns_coefficients (a, b, c), ns_steps, eps.
    """
    a, b, c = group["ns_coefficients"]
    rows = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    rows = rows / rows.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = rows @ rows.T
        rows = a * rows + (b * gram + c * gram @ gram) @ rows
    return rows.T if matrix.shape[0] > matrix.shape[1] else rows


class MuonAdamW(torch.optim.Optimizer):
    """Updates matrices by orthogonalised momentum (Muon, Jordan et al. 2024), other parameters by AdamW.

    docs/tiny.md compares it with AdamW alone.

    Args:
        model: its trainable parameters are updated; AdamW updates embeddings, too.
        matrix_learning_rate: of Muon, scaled so that a step has the length of AdamW's.
        learning_rate: of AdamW.
        weight_decay: of both.
    """

    def __init__(
        self, model: nn.Module, matrix_learning_rate: float, learning_rate: float, weight_decay: float = 0.0
    ) -> None:
        embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        matrices = [weight for weight in trained if weight.ndim == 2 and id(weight) not in embeddings]
        chosen = {id(matrix) for matrix in matrices}
        rest = [weight for weight in trained if id(weight) not in chosen]
        self._parts: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=matrix_learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.98)),
        ]
        super().__init__(self._groups(), {})
        # The same objects as the groups of the parts: a schedule that sets a rate here sets it in the part.
        self.param_groups = self._groups()

    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step of both parts."""
        assert closure is None, "neither part takes a closure"
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both parts."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both parts from a `state_dict`."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = self._groups()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self._parts for group in part.param_groups]


def start_from(build: Path | None, part: str, model: nn.Module) -> dict[str, str]:
    """Give a model the weights of a finished build, and return what a recipe must say of them; {} without a build.

    Args:
        build: folder of the build.
        part: folder of the model's weights in it.
        model: of the same class and size; a model of diffusers or transformers.

    Raises:
        ValueError: if the build has no such part, or one of another size.
    """
    if build is None:
        return {}
    folder = build / part
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; start_from is the folder of a finished build")
    kind: Any = type(model)
    try:
        model.load_state_dict(kind.from_pretrained(folder, dtype=torch.float32).state_dict())
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{folder}: weights of another model than this recipe's ({reason})") from error
    return {"start_from": fingerprint_weights(folder)}


def halve(folder: Path) -> None:
    """Store the weights of a folder in float16, with a relative error of at most 1/2048; they still load as float32.

    Raises:
        ValueError: if a weight is too large for float16.
    """
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        if large := [name for name, tensor in halved.items() if not torch.isfinite(tensor).all()]:
            raise ValueError(f"{path}: {large[:3]} do not fit float16")
        write_whole(path, save(halved, metadata))
