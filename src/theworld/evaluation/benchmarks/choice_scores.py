"""Scores of the benchmarks about the future: by sound readings, or by those of the published scripts."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeAlias

from theworld.evaluation import scoring
from theworld.evaluation.benchmarks.saved_replies import RATE_COLUMNS, RATE_NOTE, Rate, rate
from theworld.evaluation.joint_scores import (
    Consistency,
    PairAccuracy,
    consistency,
    group_mean,
    pair_accuracy,
    relative_accuracy,
)
from theworld.evaluation.parsing import official
from theworld.evaluation.parsing.choices import chosen_option, named_choice
from theworld.evaluation.parsing.options import LETTERS, Options, options_in
from theworld.evaluation.parsing.yes_no import says_yes
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score
from theworld.tables import Table, percent, percent_range, table_of

Reader: TypeAlias = Callable[[str, Prediction], str | None]
"""Reads the reply to a row: one of its choices, or None."""

_LINE = re.compile(r"^[ \t]*([A-H])[.)][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_JSON_ANSWER = re.compile(r"\{[^{}]*\"answer\"\s*:\s*(\"[^\"]*\")[^{}]*\}", re.IGNORECASE)
_BUCKET = re.compile(r"answer\s*\(\s*([123])\s*\)", re.IGNORECASE)
_POSSIBLE = re.compile(r"\b(?P<no>im|(?:not|isn't)\s+(?:\w+\s+)?)?(?:possible|plausible)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Rules:
    """Rules of a benchmark."""

    name: str
    heading: str
    read: Reader
    """The sound reading."""
    read_official: Reader
    """The reading of the published script."""
    groups: tuple[str, ...] = ()
    """Fields to break numbers down by."""
    clusters: tuple[str, ...] = ("video", "image")
    """Fields whose equal values mark dependent rows; the first one that the rows have is used."""
    note: str = ""
    """How the published score differs beyond the reading."""


def read_choice(reply: str, row: Prediction) -> str | None:
    """Return the choice that a reply names by letter or text; the letter of a JSON object `{"answer": "B"}` counts."""
    match = _JSON_ANSWER.search(reply)
    return named_choice(json.loads(match[1]) if match else reply, row.choices or (), options_of(row.question))


def options_of(question: str) -> Options:
    """Return the texts of the options that a question lists, as `(A) text` or `A. text`; empty without a list."""
    listed = options_in(question)
    if listed:
        return listed
    texts: list[tuple[str, ...]] = []
    for match in _LINE.finditer(question):
        if match[1] == "A":
            texts = []
        if match[1] == LETTERS[len(texts) : len(texts) + 1]:
            texts.append((match[2],))
    return tuple(texts) if len(texts) > 1 else ()


def read_bucket(reply: str, row: Prediction) -> str | None:
    """Return the bucket of the last `answer(X)`, spaces allowed, else the one bucket that the reply chooses."""
    marked = _BUCKET.findall(reply)
    if marked:
        return marked[-1]
    choices = row.choices or ()
    option = chosen_option(reply, tuple((choice, f"bucket {choice}") for choice in choices), is_lettered=False)
    return None if option is None else choices[option]


def read_possible(reply: str, row: Prediction) -> str | None:
    """Return yes or no, as a reply affirms or denies that a video is possible, or calls it possible or impossible."""
    affirms = says_yes(reply)
    if affirms is None:
        words = {match["no"] is None for match in _POSSIBLE.finditer(reply)}
        affirms = words.pop() if len(words) == 1 else None
    return None if affirms is None else "yes" if affirms else "no"


def _physbench_official(reply: str, row: Prediction) -> str | None:
    return row.answer if official.physbench_is_right(reply, row.answer or "") else None


RULES: Final[Mapping[str, Rules]] = {
    rules.name: rules
    for rules in (
        Rules("vpct", "VPCT-1", read_bucket, lambda reply, _: official.vpct_bucket(reply)),
        Rules(
            "futurebench",
            "FutureBench",
            read_choice,
            lambda reply, _: official.futurebench_letter(reply),
            ("task",),
            note="The published AVG is over items, and the mean of the hops another number.",
        ),
        Rules(
            "openworldqa",
            "OpenWorldQA",
            read_choice,
            lambda reply, _: official.openworldqa_letter(reply),
            ("category", "difficulty"),
        ),
        Rules(
            "vrqabench",
            "VRQABench",
            read_choice,
            lambda reply, _: official.vrqabench_letter(reply),
            ("category", "task"),
        ),
        Rules(
            "sat", "SAT (real)", read_choice, lambda reply, row: official.sat_text(reply, row.choices or ()), ("task",)
        ),
        Rules(
            "physbench",
            "PhysBench",
            read_choice,
            _physbench_official,
            ("task", "sub_type", "ability", "mode"),
            note="Models without interleaved input leave out the mode general.",
        ),
        Rules(
            "mvp",
            "MVP",
            read_choice,
            lambda reply, _: official.mvp_letter(reply),
            ("task",),
            ("pair",),
            note="The published score is the mean of the pairs' accuracies over the configurations.",
        ),
        Rules(
            "intphys2",
            "IntPhys 2",
            read_possible,
            lambda reply, _: official.intphys2_possible(reply),
            ("task", "difficulty", "camera"),
            ("scene",),
            note="Published numbers of a condition are maxima over cameras, prompts, seeds and frame rates.",
        ),
    )
}
"""The rules, by the name of the benchmark."""


@dataclass(frozen=True)
class ChoiceScores:
    """Scores of a benchmark about the future."""

    heading: str
    is_official: bool
    """True if the replies are read as by the published script; a missing reply is then wrong."""
    overall: Rate
    official: float | None
    """Share right of all rows by the published reading; None for log-likelihoods, which it does not know."""
    groups: dict[str, dict[str, Rate]]
    """By field and value."""
    group_means: dict[str, float | None]
    """By field, the mean of its values' rates, each of the same weight."""
    pairs: dict[str, PairAccuracy] = field(default_factory=dict)
    """Of all rows and of each task: both rows of a pair right; empty for a benchmark without pairs."""
    relative: PairAccuracy | None = None
    """IntPhys 2 by log-likelihood: the possible video of a pair has the larger odds of yes."""
    samples: Consistency | None = None
    """Items that were asked several times."""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def tables(self) -> list[Table]:
        """Show all rows and the groups, then pairs and repeated items, if there are any."""
        records = [{"items": "all", **self.overall.cells()}]
        for name, rates in self.groups.items():
            records += [{"items": f"{name}: {value}", **group.cells()} for value, group in rates.items()]
            mean = self.group_means[name]
            if mean is not None:
                records.append({"items": f"mean over {name}", "right, %": percent(mean)})
        tables = [table_of(self.heading, ("items", *RATE_COLUMNS), records, self._note())]
        pairs = {**self.pairs, **({"by log-odds": self.relative} if self.relative else {})}
        if pairs:
            note = (
                "Right: both rows of a pair, chance 25; by log-odds, the possible video has the larger odds of yes,"
                " chance 50. Incomplete pairs are not counted."
            )
            columns = ("pairs", "n", "right, %", "95 % bootstrap", "incomplete")
            tables.append(table_of(f"{self.heading}: pairs", columns, _pair_records(pairs), note))
        if self.samples is not None:
            tables.append(_consistency_table(self.heading, self.samples))
        return tables

    def _note(self) -> str:
        if self.is_official:
            reading = "Read as by the published script; a missing reply is wrong."
        elif self.official is None:
            reading = f"{RATE_NOTE} By log-likelihood, which the published script does not know."
        else:
            reading = f"{RATE_NOTE} The published script reads {percent(self.official)} % of all rows as right."
        return f"{reading} Bootstrap intervals are over videos, scenes or pairs. {self.note}".strip()


def _pair_records(pairs: Mapping[str, PairAccuracy]) -> list[dict[str, str]]:
    records = []
    for name, pair in pairs.items():
        cells = {"pairs": name, "n": f"{pair.num_pairs:,}", "incomplete": f"{pair.num_incomplete:,}"}
        if pair.value is not None and pair.bootstrap is not None:
            cells |= {"right, %": percent(pair.value), "95 % bootstrap": percent_range(pair.bootstrap)}
        records.append(cells)
    tasks = {name: pair.value for name, pair in pairs.items() if name not in ("all", "by log-odds")}
    mean = group_mean(tasks)
    if len(tasks) > 1 and mean is not None:
        records.append({"pairs": "mean over task", "right, %": percent(mean)})
    return records


def _consistency_table(heading: str, samples: Consistency) -> Table:
    columns = ("items", "k", "always right, %", "95 % bootstrap", "ever right, %", "expected, %", "incomplete")
    cells = {
        "items": f"{samples.num_items:,}",
        "k": str(samples.num_samples),
        "always right, %": percent(samples.always),
        "95 % bootstrap": percent_range(samples.always_bootstrap),
        "ever right, %": percent(samples.ever),
        "expected, %": percent(samples.expected),
        "incomplete": f"{samples.num_incomplete:,}",
    }
    note = "k replies to each item, with other orders of the options or other seeds. Expected: of one reply."
    return table_of(f"{heading}: repeated items", columns, [cells], note)


def score(row: Prediction, rules: Rules, is_official: bool = False) -> Score:
    """Score a row by the sound or the published reading of its reply.

    Raises:
        ValueError: for a row whose answer is withheld.
    """
    if row.answer is None or row.log_likelihoods is not None:
        return scoring.score(row)
    if row.prediction is None:
        return Score(row.sample_id, "wrong" if is_official else "missing", None, row.answer)
    reading = (rules.read_official if is_official else rules.read)(row.prediction, row)
    state = "unparsed" if reading is None else "right" if reading == row.answer else "wrong"
    return Score(row.sample_id, state, reading, row.answer)


def evaluate(rows: Sequence[Prediction], rules: Rules, is_official: bool = False) -> ChoiceScores:
    """Score rows.

    Args:
        rows: of one benchmark. Those with an empty answer count by the published reading alone.
        rules: of the benchmark.
        is_official: score by the published reading.

    Raises:
        ValueError: without rows, or as `score`.
    """
    by_script = [score(row, rules, is_official=True) for row in rows]
    counted = [row for row in rows if is_official or row.answer != ""]
    if not counted:
        raise ValueError(f"no rows of {rules.heading} with an answer: there is nothing to score")
    scores = [score(row, rules, is_official) for row in counted]
    clusters = _clusters(counted, rules)
    groups = {name: _rates(counted, scores, clusters, name) for name in rules.groups}
    groups = {name: rates for name, rates in groups.items() if rates}
    is_weighed = any(row.log_likelihoods is not None for row in rows)
    return ChoiceScores(
        heading=rules.heading,
        is_official=is_official,
        overall=rate(scores, clusters),
        official=None if is_weighed else sum(item.state == "right" for item in by_script) / len(by_script),
        groups=groups,
        group_means={name: group_mean({k: r.value for k, r in rates.items()}) for name, rates in groups.items()},
        pairs=_pairs(counted, scores, clusters),
        relative=_relative(counted, clusters) if rules.name == "intphys2" else None,
        samples=consistency(
            [_text(row, "item", row.sample_id) for row in counted], [item.value for item in scores], clusters
        ),
        note=rules.note,
    )


def _text(row: Prediction, name: str, default: str) -> str:
    return str(row.fields.get(name, default))


def _clusters(rows: Sequence[Prediction], rules: Rules) -> list[str]:
    """Return the cluster of each row: a field of the rules, else the item, else the row."""
    name = next((name for name in rules.clusters if all(name in row.fields for row in rows)), "item")
    return [_text(row, name, row.sample_id) for row in rows]


def _rates(rows: Sequence[Prediction], scores: Sequence[Score], clusters: Sequence[str], name: str) -> dict[str, Rate]:
    """Return the rate of each value of a field, in the order of the values."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if name in row.fields:
            places.setdefault(str(row.fields[name]), []).append(place)
    return {
        value: rate([scores[place] for place in members], [clusters[place] for place in members])
        for value, members in sorted(places.items())
    }


def _pairs(rows: Sequence[Prediction], scores: Sequence[Score], clusters: Sequence[str]) -> dict[str, PairAccuracy]:
    """Return the accuracy of all pairs and of those of each task; rows in several orders pair within an order."""
    if not all("pair" in row.fields for row in rows):
        return {}
    names = [f"{row.fields['pair']}@{row.fields.get('order', '')}" for row in rows]
    values = [item.value for item in scores]
    tasks = [_text(row, "task", "") for row in rows]
    result = {"all": pair_accuracy(names, values, clusters)}
    for task in sorted(set(tasks)) if len(set(tasks)) > 1 else ():
        places = [place for place, name in enumerate(tasks) if name == task]
        result[task] = pair_accuracy(
            [names[place] for place in places],
            [values[place] for place in places],
            [clusters[place] for place in places],
        )
    return result


def _relative(rows: Sequence[Prediction], clusters: Sequence[str]) -> PairAccuracy | None:
    """Score pairs of videos by the log-odds of yes; None for replies in words."""
    if not any(row.log_likelihoods for row in rows):
        return None
    odds = [row.log_likelihoods["yes"] - row.log_likelihoods["no"] if row.log_likelihoods else None for row in rows]
    return relative_accuracy(
        [str(row.fields.get("pair")) for row in rows], odds, [row.answer == "yes" for row in rows], clusters
    )
