"""One process writes into an output folder at a time; a process that ends, however it ends, leaves it free."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from theworld.locks import LOCK_NAME, in_use

HOLD = """
import sys, os, time
from pathlib import Path
from theworld.locks import in_use
with in_use(Path(sys.argv[1])):
    if sys.argv[2:]:  # a worker, as a data loader forks it
        if os.fork() == 0:
            print("held", flush=True)
            os.close(1)
            time.sleep(30)
    else:
        print("held", flush=True)
    time.sleep(30)
"""


def hold(folder: Path, *more: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *more], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_the_first_one_at_once(tmp_path: Path):
    first = hold(tmp_path / "run")
    try:
        message = rf"run is in use: process {first.pid} on .* writes into it"
        with pytest.raises(ValueError, match=message), in_use(tmp_path / "run"):
            pass
    finally:
        first.kill()
        first.wait()


@pytest.mark.parametrize("more", [(), ("fork",)])
def test_a_killed_process_leaves_the_folder_free_even_if_its_worker_lives_on(tmp_path: Path, more: tuple[str, ...]):
    first = hold(tmp_path, *more)
    first.kill()
    first.wait()
    try:
        with in_use(tmp_path):
            assert (tmp_path / LOCK_NAME).read_text().startswith(f"process {os.getpid()} on ")
    finally:
        if more:
            os.killpg(first.pid, signal.SIGKILL)


def test_a_file_that_a_killed_process_left_is_no_lock(tmp_path: Path):
    (tmp_path / LOCK_NAME).write_text("process 1 on elsewhere\n")

    with in_use(tmp_path):
        pass

    assert not any(tmp_path.iterdir())


def test_the_other_processes_of_a_run_write_together_with_the_first(tmp_path: Path):
    with in_use(tmp_path), in_use(tmp_path, is_first=False):
        pass


def test_two_runs_of_one_process_do_not_share_a_folder(tmp_path: Path):
    with in_use(tmp_path), pytest.raises(ValueError, match="is in use"), in_use(tmp_path):
        pass


def test_a_folder_without_content_is_removed_and_one_with_content_stays(tmp_path: Path):
    with in_use(tmp_path / "a" / "b"):
        pass
    assert not any(tmp_path.iterdir())
    with in_use(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "config.json").write_text("{}")
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["config.json"]


def test_many_that_come_and_go_are_never_in_a_folder_together(tmp_path: Path):
    inside: list[int] = []
    crowded: list[int] = []
    errors: list[OSError] = []

    def come_and_go() -> None:
        for _ in range(200):
            try:
                with in_use(tmp_path / "run"):
                    inside.append(1)
                    crowded.extend([1] * (len(inside) > 1))
                    inside.pop()
            except ValueError:
                continue
            except OSError as error:
                errors.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not crowded
    assert not errors


def test_a_folder_that_vanishes_while_it_is_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = Path.mkdir
    refusals = iter([FileExistsError(17, "File exists")])

    def vanish_once(self: Path, *args: object, **kwargs: object) -> None:
        for refusal in refusals:
            raise refusal
        made(self, *args, **kwargs)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Path, "mkdir", vanish_once)
    with in_use(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FileExistsError), in_use(tmp_path / "run"):
        pass


def test_a_file_system_without_locks_is_warned_of_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("theworld.locks.fcntl.flock", refuse)
    with in_use(tmp_path):
        pass
    assert "this file system has no locks" in caplog.text
