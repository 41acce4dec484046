"""World-use audit: a verdict, and effects in plain words, from scores under real and replaced features."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from theworld.evaluation.effects import RELEVANT_DROP, THRESHOLDS, Effect, effects_of, in_words
from theworld.evaluation.scoring import Score
from theworld.evaluation.statistics import (
    Interval,
    bootstrap_difference,
    holm,
    mcnemar,
    smallest_detectable_difference,
    wilson_interval,
)
from theworld.tables import percent

Verdict: TypeAlias = Literal["used", "not used", "undecided"]

ALPHA = 0.05
"""Significance level of the two deciding tests together."""

_OUTSIDE = ("zero", "noise")
"""Conditions outside of the training distribution that the line of the verdict names."""


@dataclass(frozen=True)
class Drop:
    """Loss of accuracy under a condition: real minus condition, as shares, on the items scored under both."""

    condition: str
    num_items: int
    num_missing: int
    """Items left out because one of the two runs failed on them."""
    real_accuracy: float
    accuracy: float
    drop: float
    interval: Interval
    num_real_only: int
    """Items right with the real features only."""
    num_condition_only: int
    num_changed: int
    """Items whose reading differs from the one with the real features, right or wrong."""
    p_value: float
    """Exact McNemar test, two-sided."""
    p_holm: float | None
    """`p_value` after Holm's correction over the two deciding conditions; None for the other conditions."""
    smallest_drop: float
    """Smallest drop that these items can detect: the test's detectable difference at a power of 0.8, or the upper
    Wilson limit of the share lost, which no drop can exceed, if that is smaller."""


@dataclass(frozen=True)
class Proof:
    """Proof that a condition replaced its part of the input, and the effect on answers beyond right and wrong."""

    num_items: int
    """Items whose input was compared with the real one."""
    num_replaced: int
    """Items whose features, or picture, differ from the real ones."""
    least_change: float
    """Smallest relative change of an item's features (norm of the difference over norm), or of its picture (mean
    absolute difference over 255)."""
    num_scores_changed: int | None = None
    """Items whose log-likelihoods of the choices, or of the first token, differ from those with the real input."""
    num_scores: int = 0
    """Items with such log-likelihoods under both conditions."""
    num_partner_answers: int | None = None
    """Items that get their partner's true answer; None: no partner is part of this condition."""
    num_partner_possible: int = 0
    """Items with a readable answer to whose question the partner's answer is a choice."""


@dataclass(frozen=True)
class Audit:
    """Verdict on the use of world features by a trained model.

    `shuffle` and `mean` decide: both keep the features in the distribution that the model was trained on. `zero` and
    `noise` are outside of it, so a drop there may only show that the model cannot cope with them.
    """

    verdict: Verdict
    line: str
    """The verdict and its reasons, on one line."""
    deciding: list[Drop]
    reported: list[Drop]
    num_alone: int = 0
    """Items left out, because no other picture has another answer to the same question."""
    num_mixed: int = 0
    """Items whose partner is asked another question, because theirs does not repeat."""
    effects: list[Effect] = field(default_factory=list)
    """Effects of the replaced parts, by the thresholds."""
    reading: str = ""
    """The effects in one sentence; empty in audits of earlier versions."""
    thresholds: dict[str, str] = field(default_factory=dict)
    """Rules of the effects' sizes."""
    proofs: dict[str, Proof] = field(default_factory=dict)
    """Proof of replacement by condition."""
    missing: dict[str, str] = field(default_factory=dict)
    """Conditions that could not be asked, and the reasons."""

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        words: dict[Verdict, str] = {
            "used": "The model uses its world",
            "not used": "The model does not use its world",
            "undecided": "It is undecided whether the model uses its world",
        }
        rights = [
            f"with that of another question {percent(drop.accuracy)} % of its answers are right, with its own"
            f" {percent(drop.real_accuracy)} %"
            for drop in self.deciding
            if drop.condition == "shuffle"
        ]
        return " ".join(filter(None, (f"{': '.join([words[self.verdict], *rights])}.", self.reading)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def audit_verdict(
    *,
    real: Sequence[Score],
    shuffle: Sequence[Score],
    mean: Sequence[Score],
    proofs: Mapping[str, Proof] | None = None,
    **others: Sequence[Score],
) -> Audit:
    """Judge a model from its scores on the same items under several kinds of world features.

    Used: the drops under `shuffle` and `mean` are both positive and both significant after Holm's correction. A drop
    under `shuffle` alone shows that wrong features mislead, not that right ones help; a drop under `mean` alone may
    come from their norm. Not used: neither drop is significant, and the test could detect a drop of 5 points.
    Everything else is undecided, and so is an audit whose `shuffle` or `mean` replaced nothing.

    Args:
        real: with the item's own features.
        shuffle: with the features of its partner in a fixed `derangement`.
        mean: with the mean feature of all items.
        proofs: of replacement, by condition; a condition that replaced nothing has no effect.
        others: under further conditions, by name with underscores: they are reported, and their intervals are those of
            single conditions.

    Raises:
        ValueError: if the conditions have different items, or if no item is scored under both real and a condition.
    """
    deciding = [_drop("shuffle", real, shuffle, ALPHA / 2), _drop("mean", real, mean, ALPHA / 2)]
    corrected = holm([drop.p_value for drop in deciding])
    deciding = [replace(drop, p_holm=p_holm) for drop, p_holm in zip(deciding, corrected, strict=True)]
    reported = [_drop(name.replace("_", "-"), real, scores, ALPHA) for name, scores in others.items()]
    unreplaced = [name for name, proof in (proofs or {}).items() if name != "real" and not proof.num_replaced]
    verdict, reason = _judge(deciding, unreplaced)
    costs = ", ".join(_sentence(drop) for drop in deciding)
    outside = ", ".join(f"{drop.condition} {100 * drop.drop:+.1f}" for drop in reported if drop.condition in _OUTSIDE)
    head = "world use undecided" if verdict == "undecided" else f"world {verdict}"
    tail = f" (out of distribution: {outside})" if outside else ""
    drops = [*deciding, *reported]
    effects = effects_of(drops, unreplaced)
    return Audit(
        verdict,
        f"{head}: {costs}; {reason}{tail}",
        deciding,
        reported,
        effects=effects,
        reading=in_words(effects, [drop for drop in drops if drop.condition not in unreplaced]),
        thresholds={**THRESHOLDS},
        proofs=dict(proofs or {}),
    )


def derangement(answers: Sequence[str], seed: int = 0, groups: Sequence[str] | None = None) -> list[int]:
    """Return for each item the index of a partner with another answer, whose features it gets under `shuffle`.

    If no answer belongs to more than half of the items, each item is a partner exactly once:

    ```
    sorted by answer   A A A | B B | C C C      each takes the item s places on, around the end;
    s = 4 places on    B C C | C A | A A B      s at least the longest block and at most n minus it
    ```

    Otherwise each item with the frequent answer takes one of the other items, all of them equally often (within one),
    and the other items take partners with the frequent answer, each at most once.

    Args:
        answers: the answer of each item.
        seed: determines the derangement.
        groups: of each item; partners come from the same group. Features of another task's item with another answer
            might agree with this item's own answer. None: one group.

    Raises:
        ValueError: if all items of a group have the same answer.
    """
    if groups is not None and len(groups) != len(answers):
        raise ValueError(f"{len(groups)} groups for {len(answers)} answers: expected one for each")
    members: dict[str, list[int]] = {}
    for index in range(len(answers)):
        members.setdefault("" if groups is None else groups[index], []).append(index)
    generator = np.random.default_rng(seed)
    partners = np.zeros(len(answers), dtype=int)
    for name, indices in sorted(members.items()):
        held = np.array([answers[index] for index in indices])
        if len(np.unique(held)) < 2:
            where = "" if groups is None else f" of group {name!r}"
            raise ValueError(
                f"all {len(held)} items{where} have the answer {str(held[0])!r}: no partner has another one"
            )
        partners[indices] = np.array(indices)[_derange(held, generator)]
    return partners.tolist()


def _derange(answers: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    _, codes, counts = np.unique(answers, return_inverse=True, return_counts=True)
    shuffled = generator.permutation(len(codes))
    order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    longest, num_others = int(counts.max()), len(codes) - int(counts.max())
    partners = np.empty(len(codes), dtype=int)
    if longest <= num_others:
        partners[order] = np.roll(order, -int(generator.integers(longest, num_others, endpoint=True)))
        return partners
    frequent = codes[order] == int(counts.argmax())
    partners[order[frequent]] = np.resize(order[~frequent], longest)
    partners[order[~frequent]] = order[frequent][:num_others]
    return partners


def _drop(condition: str, real: Sequence[Score], other: Sequence[Score], alpha: float) -> Drop:
    theirs = {score.sample_id: score for score in other}
    if len(theirs) != len(real) or theirs.keys() != {score.sample_id for score in real}:
        raise ValueError(
            f"condition {condition!r} has {len(other)} scores, 'real' has {len(real)}: expected the same items in both,"
            " each once"
        )
    pairs = [(ours, theirs[ours.sample_id]) for ours in real]
    scored = [(ours, them) for ours, them in pairs if ours.value is not None and them.value is not None]
    if not scored:
        raise ValueError(f"no item is scored under both 'real' and {condition!r}: all {len(pairs)} met an error")
    before, after = np.array([[ours.value, them.value] for ours, them in scored]).T
    test = mcnemar(before, after)
    flip_share = (test.num_first_only + test.num_second_only) / len(scored)
    most_lost = wilson_interval(test.num_first_only, len(scored)).high
    detectable = smallest_detectable_difference(len(scored), flip_share, alpha=alpha)
    return Drop(
        condition=condition,
        num_items=len(scored),
        num_missing=len(pairs) - len(scored),
        real_accuracy=float(before.mean()),
        accuracy=float(after.mean()),
        drop=float(before.mean() - after.mean()),
        interval=bootstrap_difference(after, before),
        num_real_only=test.num_first_only,
        num_condition_only=test.num_second_only,
        num_changed=sum(ours.reading != them.reading for ours, them in scored),
        p_value=test.p_value,
        p_holm=None,
        smallest_drop=most_lost if detectable is None else min(most_lost, detectable),
    )


def _judge(deciding: Sequence[Drop], unreplaced: Sequence[str]) -> tuple[Verdict, str]:
    if same := [drop.condition for drop in deciding if drop.condition in unreplaced]:
        return "undecided", f"{' and '.join(same)} changed the features of no item: nothing was replaced"
    significant = [drop for drop in deciding if drop.p_holm is not None and drop.p_holm <= ALPHA]
    worse = [drop.condition for drop in significant if drop.drop < 0]
    if worse:
        return "undecided", f"the model does better without its real features ({', '.join(worse)}): they mislead it"
    if len(significant) == len(deciding):
        return "used", "both drops are significant"
    if significant:
        return "undecided", f"only the drop under {significant[0].condition} is significant"
    visible = max(drop.smallest_drop for drop in deciding)
    points = f"{100 * visible:.1f} points"
    if visible > RELEVANT_DROP:
        return "undecided", f"with so few items only a drop of {points} or more would probably have shown"
    return "not used", f"a drop of {points} or more would probably have shown, a smaller one cannot be excluded"


def _sentence(drop: Drop) -> str:
    p_value = 1.0 if drop.p_holm is None else drop.p_holm
    return (
        f"{drop.condition} costs {100 * drop.drop:.1f} points"
        f" [{100 * drop.interval.low:.1f}, {100 * drop.interval.high:.1f}]"
        f" ({'p < 0.0001' if p_value < 0.0001 else f'p = {p_value:.2g}'}, n = {drop.num_items:,},"
        f" {drop.num_changed:,} answers changed)"
    )
