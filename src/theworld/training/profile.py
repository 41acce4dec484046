"""Profile of one training step: a table of where its time goes, and a trace for a viewer."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import TrainerCallback

from theworld.io import write_whole
from theworld.modeling.freezing import PARTS

logger = logging.getLogger(__name__)

PROFILE_NAME: Final = "profile"
STEP: Final = 3
"""The step of a run or a continuation that is profiled, or its last if it is shorter: caches are warm then."""

_ROWS: Final = 40


class StepProfile(TrainerCallback):
    """Profiles one optimiser step, all its forward and backward passes, without waiting for data.

        output_dir/profile/
          table.txt    operations by their own time; `forward of PART` are the parts of the model
          trace.json   for https://ui.perfetto.dev or chrome://tracing

    Args:
        output_dir: the run's folder.
        model: whose parts are named in the table.
    """

    def __init__(self, output_dir: Path, model: nn.Module) -> None:
        self.folder = output_dir / PROFILE_NAME
        self._model = model
        self._open: profile | None = None
        self._marks = ExitStack()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._step = min(state.global_step + STEP, state.max_steps)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step + 1 != self._step:
            return
        self._marks = _marked(self._model)
        devices = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        self._open = profile(activities=devices)
        self._open.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._open is None:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        finished, self._open = self._open, None
        finished.stop()
        self._marks.close()
        self.folder.mkdir(exist_ok=True)
        finished.export_chrome_trace(str(self.folder / "trace.json"))
        column = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = finished.key_averages().table(sort_by=column, row_limit=_ROWS, max_name_column_width=60)
        write_whole(self.folder / "table.txt", f"step {state.global_step}\n{table}\n")
        logger.info("profile of step %s: %s", state.global_step, self.folder / "table.txt")


def _marked(model: nn.Module) -> ExitStack:
    """Name the forward passes of the model's parts in a profile, until the result is closed."""
    names = {prefix.rstrip("."): part for part, prefixes in PARTS.items() for prefix in prefixes}
    marks = ExitStack()
    for name, module in model.named_modules():
        if name not in names:
            continue
        running: list[Any] = []

        def begin(*_: Any, title: str = f"forward of {name}", running: list[Any] = running) -> None:
            running.append(record_function(title))
            running[-1].__enter__()

        def end(*_: Any, running: list[Any] = running) -> None:
            running.pop().__exit__(None, None, None)

        marks.callback(module.register_forward_pre_hook(begin).remove)
        marks.callback(module.register_forward_hook(end, always_call=True).remove)
    return marks
