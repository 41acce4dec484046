"""Records that were left out: listed in the run's folder, counted by cause, and the end of the run if they are many."""

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from theworld.config.training import MIN_RECORDS
from theworld.datasets.errors import LeftOut
from theworld.io import write_whole

logger = logging.getLogger(__name__)

BAD_RECORDS_NAME = "bad_records.jsonl"


class BadRecords:
    """Keeps the books of what a run leaves out.

    Each process notes what its own batches left out. `settle`, which all call together, adds that up: then every
    process has the counts of all, and the main one has listed each record once, however often it came by.

    Args:
        path: the list, a line per record.
        max_share: left out of all records drawn: more of them stop the run, once `MIN_RECORDS` were drawn.
    """

    def __init__(self, path: Path, max_share: float) -> None:
        self.path = path
        self.max_share = max_share
        self.num_drawn = 0
        """Records that were read, good and bad, each as often as it came by."""
        self.num_bad = 0
        """Those of them that gave no sample."""
        self.counts: Counter[str] = Counter()
        """Records that were left out, by cause, each as often as it came by; also those that were lost before."""
        self._drawn_since = 0
        self._left_out_since: list[LeftOut] = []
        self._listed = {row["record"] for row in _take_up_list(path)}

    def noting(self, batches: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The same batches, without what they say of records left out, which is noted.

        Raises:
            ValueError: at a batch without a sample.
        """
        for batch in batches:
            left_out: list[LeftOut] = batch.pop("left_out")
            self._drawn_since += len(batch["sample_ids"]) + _num_read(left_out)
            self._left_out_since += left_out
            if not batch["sample_ids"]:
                self._add([(self._drawn_since, self._left_out_since)])
                raise ValueError(f"none of {len(left_out):,} records in a row gave a sample: {self._verdict(left_out)}")
            yield batch

    def settle(self) -> None:
        """Add up what all processes noted since the last time.

        Raises:
            ValueError: if more than `max_share` of all records were left out, with the causes.
        """
        mine = [(self._drawn_since, self._left_out_since)]
        self._drawn_since, self._left_out_since = 0, []
        fresh = self._add(gather_object(mine) if PartialState().num_processes > 1 else mine)
        if not fresh:
            return
        share = self.num_bad / self.num_drawn
        logger.warning(
            "left out so far: %s; %d records were read; listed in %s", self._said(), self.num_drawn, self.path
        )
        if share > self.max_share and self.num_drawn >= MIN_RECORDS:
            raise ValueError(
                f"{share:.1%} of {self.num_drawn:,} records gave no sample, more than max_bad_share={self.max_share}:"
                f" {self._verdict(fresh)}"
            )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"num_drawn": self.num_drawn, "num_bad": self.num_bad, "counts": dict(self.counts)}

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on with what `state` gave."""
        self.num_drawn, self.num_bad = state["num_drawn"], state["num_bad"]
        self.counts = Counter(state["counts"])

    def _add(self, noted: list[tuple[int, list[LeftOut]]]) -> list[LeftOut]:
        """Count, and list what is not listed yet."""
        fresh = [one for _, left_out in noted for one in left_out]
        self.num_drawn += sum(drawn for drawn, _ in noted)
        self.num_bad += _num_read(fresh)
        for one in fresh:
            self.counts[one.cause] += max(1, one.num_absent)
        unlisted: list[LeftOut] = []
        for one in fresh:
            if one.record not in self._listed:
                self._listed.add(one.record)
                unlisted.append(one)
        if unlisted and PartialState().is_main_process:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(_lines(asdict(one) for one in unlisted))
                stream.flush()
                os.fsync(stream.fileno())
        return fresh

    def _said(self) -> str:
        return ", ".join(f"{count:,} {cause}" for cause, count in self.counts.most_common())

    def _verdict(self, fresh: list[LeftOut]) -> str:
        return (
            f"{self._said()}; such as: {fresh[0].message}. All are listed in {self.path}; repair the data or the"
            " settings of the data set, or raise max_bad_share"
        )


def read_bad_records(path: Path) -> list[dict[str, Any]]:
    """Rows of the list; a last line that a kill cut off is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def _num_read(left_out: list[LeftOut]) -> int:
    """How many records were read in vain; those that were lost before are nobody's mistake."""
    return sum(one.num_absent == 0 for one in left_out)


def _take_up_list(path: Path) -> list[dict[str, Any]]:
    """The same; and the file ends with its last whole line, so that the next one stands alone."""
    rows = read_bad_records(path)
    if path.exists() and PartialState().is_main_process:
        write_whole(path, _lines(rows))
    return rows


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
