"""Bad records of a run: a list in its folder, counts by cause, and an error if there are too many."""

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from theworld.config.training import MIN_RECORDS
from theworld.datasets.errors import LeftOut
from theworld.io import read_lines, write_whole

logger = logging.getLogger(__name__)

BAD_RECORDS_NAME = "bad_records.jsonl"


class BadRecords:
    """Counts and lists the records that a run leaves out.

    Each process notes the records of its own batches. All processes call `settle` together to add them up: then every
    process has the counts of all, and the main process has listed each record once, even if it came several times.

    Args:
        path: the list, a line per record.
        max_share: of all records drawn; a larger share of bad ones stops the run, once `MIN_RECORDS` were drawn.
    """

    def __init__(self, path: Path, max_share: float) -> None:
        self.path = path
        self.max_share = max_share
        self.num_drawn = 0
        """Records that were read, good and bad; a record counts each time that it is read."""
        self.num_bad = 0
        """The bad ones among them."""
        self.counts: Counter[str] = Counter()
        """Bad records by cause, counted each time; includes records that were lost before they could be read."""
        self._drawn_since = 0
        self._left_out_since: list[LeftOut] = []
        self._listed = {row["record"] for row in _repaired_list(path)}

    def note(self, num_samples: int, left_out: list[LeftOut]) -> None:
        """Note the good and bad records of a batch.

        Raises:
            ValueError: for a batch without a sample.
        """
        self._drawn_since += num_samples + _num_read(left_out)
        self._left_out_since += left_out
        if not num_samples:
            self._add([(self._drawn_since, self._left_out_since)])
            raise ValueError(f"none of {len(left_out):,} records in a row gave a sample: {self._verdict(left_out)}")

    def settle(self) -> None:
        """Add up the notes of all processes since the last call.

        Raises:
            ValueError: if the share of bad records is above `max_share`; the message has the causes.
        """
        mine = [(self._drawn_since, self._left_out_since)]
        self._drawn_since, self._left_out_since = 0, []
        fresh = self._add(gather_object(mine) if PartialState().num_processes > 1 else mine)
        if not fresh:
            return
        share = self.num_bad / self.num_drawn
        logger.warning(
            "bad records so far: %s, of %d records read; see %s", self._counts_text(), self.num_drawn, self.path
        )
        if share > self.max_share and self.num_drawn >= MIN_RECORDS:
            raise ValueError(
                f"{share:.1%} of {self.num_drawn:,} records gave no sample, more than max_bad_share={self.max_share}:"
                f" {self._verdict(fresh)}"
            )

    def state(self) -> dict[str, Any]:
        """Return the counts for a checkpoint."""
        return {"num_drawn": self.num_drawn, "num_bad": self.num_bad, "counts": dict(self.counts)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue with the counts of `state`."""
        self.num_drawn, self.num_bad = state["num_drawn"], state["num_bad"]
        self.counts = Counter(state["counts"])

    def _add(self, noted: list[tuple[int, list[LeftOut]]]) -> list[LeftOut]:
        """Count the notes of each process, (records drawn, bad records), and list the bad records that are new."""
        fresh = [record for _, left_out in noted for record in left_out]
        self.num_drawn += sum(drawn for drawn, _ in noted)
        self.num_bad += _num_read(fresh)
        unlisted: list[LeftOut] = []
        for bad in fresh:
            self.counts[bad.cause] += max(1, bad.num_absent)
            if bad.record not in self._listed:
                self._listed.add(bad.record)
                unlisted.append(bad)
        if unlisted and PartialState().is_main_process:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(_lines(asdict(bad) for bad in unlisted))
                stream.flush()
                os.fsync(stream.fileno())
        return fresh

    def _counts_text(self) -> str:
        return ", ".join(f"{count:,} {cause}" for cause, count in self.counts.most_common())

    def _verdict(self, fresh: list[LeftOut]) -> str:
        return (
            f"{self._counts_text()}; such as: {fresh[0].message}. {self.path} lists all of them; repair the data or the"
            " settings of the data set, or raise max_bad_share"
        )


def read_bad_records(path: Path) -> list[dict[str, Any]]:
    """Read the rows of the list, without a last line that a kill cut off."""
    return read_lines(path)


def _num_read(left_out: list[LeftOut]) -> int:
    """Return the number of records that were read; those that were lost before do not count."""
    return sum(bad.num_absent == 0 for bad in left_out)


def _repaired_list(path: Path) -> list[dict[str, Any]]:
    """Read the rows of the list, and cut an unfinished last line from the file, so that new rows start a line."""
    rows = read_bad_records(path)
    if path.exists() and PartialState().is_main_process:
        write_whole(path, _lines(rows))
    return rows


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
