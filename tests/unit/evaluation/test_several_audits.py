"""An audit by several processes has the files of one process."""

import json
import re
from dataclasses import replace
from pathlib import Path

from fixtures_processes import run_ranks
from theworld import tiny
from theworld.config import AuditSettings, DataSettings
from theworld.evaluation import run_audit

CONDITIONS = ("real", "shuffle", "mean", "noise", "partner-future", "cell-shuffle")
DATA = DataSettings(questions="future", tasks=("drop",), image_size_px=64, num_validation=14)


def files_of(folder: Path) -> dict[str, bytes]:
    """Files of an audit but for its store, the times of its items, and the date."""
    return {
        str(path.relative_to(folder)): re.sub(rb'"seconds":[0-9.e-]+', b"", path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and "features" not in path.parts and path.name not in ("environment.json", "config.json")
    }


def audit_together(stack: Path, settings: AuditSettings) -> None:
    tiny.stack = lambda: stack
    run_audit.audit(settings)


def test_two_processes_write_the_bytes_of_one(checkpoint: Path, tmp_path: Path) -> None:
    settings = AuditSettings(
        checkpoint=checkpoint,
        output_dir=tmp_path / "one",
        conditions=CONDITIONS,
        answers="loglikelihood",
        batch_size=3,
        data=DATA,
    )
    both = replace(settings, output_dir=tmp_path / "both")
    run_audit.audit(settings)

    assert run_ranks(2, audit_together, tiny.stack(), both) == [0, 0]
    expected = files_of(settings.output_dir)
    verdict = json.loads(expected["audit.json"])
    assert {*verdict["proofs"]} == {*CONDITIONS} - {*verdict["missing"]}
    assert verdict["proofs"]["shuffle"]["num_replaced"] == 14
    assert files_of(both.output_dir) == expected
