"""Conclusions from the numbers of a run, as sentences: verdicts, baselines and warnings."""

import itertools
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from theworld.evaluation.audit import ALPHA
from theworld.evaluation.audit import Verdict as AuditVerdict
from theworld.evaluation.comparison import Pair
from theworld.evaluation.statistics import Interval
from theworld.evaluation.summary import Summary
from theworld.report.folder import Results, RunFolder, in_order
from theworld.report.run_tables import strongest
from theworld.tables import equation, percent, percent_range, points, points_range

Finding: TypeAlias = Literal[
    "better", "worse", "no difference shown", "undecided", "identical", "world used", "world not used"
]


_AUDIT_FINDINGS: Final[dict[AuditVerdict, Finding]] = {
    "used": "world used",
    "not used": "world not used",
    "undecided": "undecided",
}


_NO_MODEL: Final = "majority"
"""Arm that gives one answer by design."""


@dataclass(frozen=True)
class Verdict:
    """Verdict on one comparison, or on the audit, in a sentence."""

    finding: Finding
    sentence: str


def verdicts(run: RunFolder) -> list[Verdict]:
    """Return a verdict per pair of the comparison, in its order, and the verdict of the audit."""
    result = []
    if run.results is not None and run.results.comparison is not None:
        pairs = run.results.comparison.pairs
        result += [_verdict(pair, run.results, len(pairs)) for pair in pairs]
    if run.audit is not None:
        result.append(
            Verdict(
                _AUDIT_FINDINGS[run.audit.verdict],
                " ".join(filter(None, (f"Audit: {run.audit.line}.", run.audit.reading))),
            )
        )
    return result


def headline(run: RunFolder) -> str:
    """Write the main comparison, which is the first pair, and the audit in plain words; empty without both."""
    audit = "" if run.audit is None else run.audit.sentence
    return " ".join(part for part in (_main_comparison(run), audit) if part)


def _main_comparison(run: RunFolder) -> str:
    if run.results is None or run.results.comparison is None or not run.results.comparison.pairs:
        return ""
    pair = run.results.comparison.pairs[0]
    first, second = (run.results.arms[name].accuracy for name in (pair.first, pair.second))
    if first is None or second is None:
        return ""
    right = f"{percent(second.value)} % of {pair.num_scored:,} questions right, `{pair.first}` {percent(first.value)} %"
    ends: dict[Finding, str] = {
        "better": f"{percent(pair.difference)} points more",
        "worse": f"{percent(-pair.difference)} points less",
        "identical": "the same replies",
    }
    finding = _verdict(pair, run.results, len(run.results.comparison.pairs)).finding
    return f"`{pair.second}` answers {right}: {ends.get(finding, 'no difference is shown')}."


def above_baseline(run: RunFolder) -> str:
    """Write a sentence that names the arms above their baselines; empty without accuracies.

    Above: the whole Wilson interval is above the stronger of the arm's baselines.
    """
    baselines = strongest(run)
    arms = {} if run.results is None else run.results.arms
    lows = {name: result.accuracy.wilson.low for name, result in arms.items() if result.accuracy is not None}
    above = [name for name, low in lows.items() if low > baselines[name].share]
    rest = [name for name in lows if name not in above]
    words = {result.words for result in baselines.values()}
    baseline = f"the baseline ({words.pop()})" if len(words) == 1 else "its baseline"
    if not lows:
        return ""
    if not above:
        return f"No arm is shown to be above {baseline}."
    return f"Shown to be above {baseline}: {_listed(above)}." + (f" Not shown: {_listed(rest)}." if rest else "")


def warnings(run: RunFolder) -> list[str]:
    """Return warnings that a reader must see before any number."""
    texts = [
        f"IDENTICAL PREDICTIONS: {_listed(list(group))} gave the same reply, to the last character, to all"
        f" {num_items:,} items compared. Either these names are of one file, or the change between the arms never"
        " reached the model. This does not show that the change has no effect."
        for group, num_items in _identical_groups(run)
        if run.results is None or not _equal(run.results, *group)
    ]
    for name, summary in (run.results.arms if run.results is not None else {}).items():
        if name in run.world_arms and summary.world_read == 0:
            texts.append(
                f"WORLD NEVER READ: {name} has a world model, but no clip was read for any of its {summary.num_items:,}"
                " items. Its numbers show nothing about the world."
            )
        if summary.num_missing:
            texts.append(
                f"MISSING REPLIES: {summary.num_missing:,} of the {summary.num_items:,} items of {name} met an error;"
                " they count as nothing."
            )
        answers = {} if summary.accuracy is None else summary.accuracy.answers
        constant = [text for text, share in answers.items() if share.given == 1 and name != _NO_MODEL]
        if constant:
            texts.append(f"ONE ANSWER: {name} says “{constant[0]}” to every item, whatever the picture shows.")
    return texts


def _verdict(pair: Pair, results: Results, num_pairs: int) -> Verdict:
    """Put the better arm first, so that a difference is positive."""
    arms, items = results.arms, f"{pair.num_scored:,} items"
    if pair.identical:
        same = f"{pair.second} and {pair.first}: the same replies to all {items}"
        reason = "as one model must" if _equal(results, pair.first, pair.second) else "so nothing was compared"
        return Verdict("identical", f"{same}, {reason}.")
    side = _side(pair)
    if side and pair.p_holm <= ALPHA:
        better, worse = (pair.second, pair.first) if side > 0 else (pair.first, pair.second)
        low, high = sorted(abs(end) for end in (pair.interval.low, pair.interval.high))
        by = f"{percent(abs(pair.difference))} points {percent_range(Interval(low, high))}"
        names = f"{_arm(better, arms)} is better than {_arm(worse, arms)}"
        return Verdict("better" if side > 0 else "worse", f"{names} by {by} on {items} ({equation(pair.p_holm)}).")
    head = f"{_arm(pair.second, arms)} against {_arm(pair.first, arms)}"
    cost = f"{points(pair.difference)} points {points_range(pair.interval)}"
    if pair.p_value <= ALPHA < pair.p_holm:
        corrected = f"{equation(pair.p_value)}, corrected for {num_pairs} comparisons {equation(pair.p_holm)}"
        return Verdict("undecided", f"{head}: {cost} on {items}, which is not enough ({corrected}).")
    if side or pair.p_holm <= ALPHA:
        return Verdict(
            "undecided", f"{head}: {cost} on {items}; interval and test ({equation(pair.p_holm)}) do not agree."
        )
    visible = pair.smallest_difference
    least = "so few can show none at all" if visible is None else f"smallest visible {percent(visible)} points"
    return Verdict("no difference shown", f"{head}: no difference that {items} could show ({cost}; {least}).")


def _equal(results: Results, *names: str) -> bool:
    """Return True if arms are one model, so that their replies must be the same."""
    return any({*names} <= {*pair} for pair in results.equal)


def _listed(names: list[str]) -> str:
    """Join names for a sentence: `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _side(pair: Pair) -> int:
    """Return 1 or -1 if the whole interval is on one side of 0, else 0."""
    return int(pair.interval.low > 0) - int(pair.interval.high < 0)


def _arm(name: str, arms: dict[str, Summary]) -> str:
    summary = arms.get(name)
    if summary is None or summary.accuracy is None:
        return name
    return f"{name} {percent(summary.accuracy.value)} % {percent_range(summary.accuracy.wilson)}"


def _identical_groups(run: RunFolder) -> list[tuple[tuple[str, ...], int]]:
    """Group arms whose replies are pairwise identical; return each group and its smallest number of shared items.

    Greedy, in the order of the results: an arm joins the first group in which it equals every member. Equality is not
    transitive, since two pairs may share different items, so connected components could join arms that differ.
    """
    shared = _identical_pairs(run)
    groups: list[list[str]] = []
    for name in in_order({name for pair in shared for name in pair}, run.results):
        for group in groups:
            if all(frozenset((name, other)) in shared for other in group):
                group.append(name)
                break
        else:
            groups.append([name])
    return [
        (tuple(group), min(shared[frozenset(pair)] for pair in itertools.combinations(group, 2)))
        for group in groups
        if len(group) > 1
    ]


def _identical_pairs(run: RunFolder) -> dict[frozenset[str], int]:
    """Return pairs with the same reply to every item that both answered, and the number of these items.

    The files of predictions are compared too, since a comparison with a baseline omits most pairs.
    """
    num_shared = {}
    if run.results is not None and run.results.comparison is not None:
        for pair in run.results.comparison.pairs:
            if pair.identical:
                num_shared[frozenset((pair.first, pair.second))] = pair.num_scored
    replies = {
        name: {row.sample_id: (row.prediction, row.log_likelihoods) for row in rows if row.error is None}
        for name, rows in run.predictions.items()
    }
    for first, second in itertools.combinations(replies, 2):
        shared = replies[first].keys() & replies[second].keys()
        if shared and all(replies[first][sample_id] == replies[second][sample_id] for sample_id in shared):
            num_shared[frozenset((first, second))] = len(shared)
    return num_shared
