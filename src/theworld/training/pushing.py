"""A run on its way to the hub: checkpoints as they are saved, the model with its card at the end."""

import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from httpx2 import HTTPError
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import disable_progress_bars
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from theworld.config import TrainingConfig
from theworld.files import whole_folder, write_whole
from theworld.hub import HUB_NAME, client, fetch, without_tokens
from theworld.training.card import model_card

logger = logging.getLogger(__name__)

RUN_NAME: Final = "run"
"""Folder of the repository for what is told about the run."""
_ASIDE: Final = ".pushing."
_TOLD: Final = ("config.json", "environment.json", "metrics.jsonl", "validation.jsonl", "results.json")
_FAILURES: Final = (HfHubHTTPError, HTTPError, OSError, ValueError, RuntimeError)
"""What may go wrong on the way to the hub (RuntimeError: of hub storage of the kind Xet); training goes on."""


def check_token(config: TrainingConfig) -> None:
    """Refuse to begin a run that could not be pushed.

    Raises:
        ValueError: if HF_TOKEN is not set.
    """
    if config.hub.is_pushed and not os.environ.get("HF_TOKEN"):
        raise ValueError(
            f"hub.repo_id={config.hub.repo_id!r}: pushing needs a token with the right to write, in the environment"
            " (HF_TOKEN); or set hub.push to never"
        )


class Pushing(TrainerCallback):
    """Pushes a run in the background, one thing at a time; what fails is reported, and training goes on.

    REPOSITORY
      README.md           the card
      config.json, ...    the model, once training has ended
      best/               the model that answered best
      run/                settings, environment, metrics
      checkpoint-N/       with push=save: the newest, to continue from
    """

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.run = config.output_dir
        self.failures: list[str] = []
        """What could not be pushed, and why."""
        disable_progress_bars()  # which would stand across that of the training
        for remains in self.run.glob(f"{_ASIDE}*"):  # of a run that was killed: they keep the room of old checkpoints
            shutil.rmtree(remains)
        self._queue = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub")
        self._pending: list[Future[None]] = []

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.config.hub.push == "save" and state.is_world_process_zero:
            name = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            self._push(name, {name: self.run / name}, f"{PREFIX_CHECKPOINT_DIR}-*")

    def finish(self, model: Path) -> None:
        """Push the model, and wait for everything on its way."""
        best = self.run / "best"
        self._push("the model", {".": model, **({"best": best} if best.is_dir() else {})}, None)
        self._queue.shutdown(wait=True)
        for push in self._pending:
            push.result()  # raises what was no failure of the hub

    def _push(self, what: str, folders: dict[str, Path], replaces: str | None) -> None:
        """Take what is to be pushed aside, where nothing changes it, and queue it."""
        aside = self.run / f"{_ASIDE}{len(self._pending)}"
        try:
            self._take(aside, folders)
        except _FAILURES as error:
            self._report(what, error)
            shutil.rmtree(aside, ignore_errors=True)
            return
        self._pending.append(self._queue.submit(self._send, what, aside, replaces))

    def _take(self, aside: Path, folders: dict[str, Path]) -> None:
        """Fill a folder with what is to be pushed, what is told about the run, and the card."""
        aside.mkdir()
        for place, folder in folders.items():
            shutil.copytree(folder, aside / place, copy_function=_linked, dirs_exist_ok=True)
        for path in (self.run / name for name in _TOLD):
            if path.exists():  # these grow, so they are copied
                (aside / RUN_NAME).mkdir(exist_ok=True)
                shutil.copy(path, aside / RUN_NAME / path.name)
        write_whole(aside / "README.md", model_card(self.config, self.run))

    def _send(self, what: str, aside: Path, replaces: str | None) -> None:
        hub = self.config.hub
        try:
            api = client(os.environ["HF_TOKEN"])
            api.create_repo(str(hub.repo_id), private=hub.private, exist_ok=True)
            api.upload_folder(
                repo_id=str(hub.repo_id),
                folder_path=aside,
                commit_message=f"{self.run.name}: {what}",
                delete_patterns=None if replaces is None else f"{replaces}/*",
            )
            logger.info("pushed %s to %s", what, hub.repo_id)
        except _FAILURES as error:
            self._report(what, error)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _report(self, what: str, error: BaseException) -> None:
        reason = without_tokens(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}")
        self.failures.append(reason)
        logger.warning("not pushed to %s: %s; training goes on", self.config.hub.repo_id, reason)


def _linked(source: str, target: str) -> None:
    """A second name for a file: a checkpoint may be deleted while it is under way."""
    try:
        os.link(source, target)
    except OSError:  # not every file system knows second names
        shutil.copy2(source, target)


def fetch_checkpoint(repo_id: str, run: Path, *, is_same: Callable[[Path], object]) -> Path | None:
    """The newest checkpoint of a repository, in the folder of the run.

    Args:
        repo_id: OWNER/NAME.
        run: folder of the run; a checkpoint there that is as new is taken instead.
        is_same: raises for a file of settings that are those of another run.

    Returns:
        The checkpoint.

    Raises:
        ValueError: if the repository cannot be fetched, or holds none.
    """
    folder = fetch(repo_id, [f"{PREFIX_CHECKPOINT_DIR}-*/*", f"{RUN_NAME}/config.json"])
    found, own = (get_last_checkpoint(str(one)) if one.is_dir() else None for one in (folder, run))
    if found is None or not (folder / RUN_NAME / "config.json").is_file():
        raise ValueError(f"resume={repo_id}: no checkpoint in this repository; was it pushed with hub.push=save?")
    is_same(folder / RUN_NAME / "config.json")
    if own is not None and _step(own) >= _step(found):
        return Path(own)
    target = run / Path(found).name
    with whole_folder(target) as aside:
        shutil.copytree(found, aside, dirs_exist_ok=True)
    if not (run / "config.json").exists():
        shutil.copy(folder / RUN_NAME / "config.json", run / "config.json")
    return target


def is_repository(name: Path) -> bool:
    """Whether a path can be the name of a repository: not beside anything that lies here, where it is mistyped."""
    return not name.parent.is_dir() and HUB_NAME.fullmatch(name.as_posix()) is not None


def _step(checkpoint: str) -> int:
    return int(checkpoint.rpartition("-")[2])
