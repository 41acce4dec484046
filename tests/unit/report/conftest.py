"""The small run folder, written anew for each test."""

from pathlib import Path

import pytest
from small_run import write_whole_run


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """All that a run can hold."""
    run = tmp_path / "run"
    write_whole_run(run)
    return run
