"""Partners for the audit: another picture with another answer to the same question."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from theworld.datasets.sample import Sample
from theworld.evaluation.audit import derangement
from theworld.evaluation.benchmarks.dispatch import true_answer
from theworld.evaluation.question_kinds import has_kind, question_kinds


@dataclass(frozen=True)
class Paired:
    """Samples with a partner each, whose world they get under `shuffle`."""

    samples: list[Sample]
    partners: list[Sample]
    num_alone: int
    """Samples that no other one can be a partner of: they are left out."""
    num_mixed: int
    """Samples whose partner is asked another question, because theirs does not repeat: its world may be right for
    them, too."""

    @property
    def by_id(self) -> dict[str, Sample]:
        """The partner of each sample, by the sample's id."""
        return {sample.id: other for sample, other in zip(self.samples, self.partners, strict=True)}

    def shuffled(self) -> list[Sample]:
        """Return the samples with the clips and the future of their partners; Gemma still sees their own pictures."""
        pairs = zip(self.samples, self.partners, strict=True)
        return [replace(sample, clips=clips_of(other), future=other.future) for sample, other in pairs]

    def notes(self) -> str:
        """Return a clause on samples without a partner, or with one of another question; empty if there are none."""
        total = len(self.samples) + self.num_alone
        alone = (
            f"; {self.num_alone:,} of {total:,} items were left out, because no other picture has another answer to the"
            " same question"
        )
        mixed = f"; {self.num_mixed:,} items have a partner of another question, because theirs does not repeat"
        return (alone if self.num_alone else "") + (mixed if self.num_mixed else "")


def paired(samples: Sequence[Sample], seed: int = 0) -> Paired:
    """Find a partner for each sample: of the same kind, with as many clips of the same length; another answer, another
    picture.

    Features of a picture cannot take the place of those of a video: they have fewer slots.

    Raises:
        ValueError: if no sample has a partner.
    """
    kinds = question_kinds(samples)
    groups = [f"{kind} {sample.num_clips} {sample.shape}" for kind, sample in zip(kinds, samples, strict=True)]
    answers = [true_answer(sample) for sample in samples]
    chosen = _partners(answers, groups, [_file_of(sample) for sample in samples], seed)
    if not chosen:
        most = Counter(answers).most_common(1)
        given = f", and {most[0][1]:,} have the answer {most[0][0]!r}" if most else ""
        raise ValueError(
            f"none of the {len(samples):,} items has a partner, another picture with another answer to the same"
            f" question{given}: ask more items, such as with --data.num-validation, or add pictures"
        )
    has_fields = any(has_kind(sample.fields) for sample in samples)
    mixed = [
        not has_fields and not kinds[index] and samples[index].prompt[-1].text != samples[other].prompt[-1].text
        for index, other in chosen.items()
    ]
    return Paired(
        [samples[index] for index in chosen],
        [samples[other] for other in chosen.values()],
        num_alone=len(samples) - len(chosen),
        num_mixed=sum(mixed),
    )


def _file_of(sample: Sample) -> str:
    """Return the name of a sample's picture or video; empty: unknown."""
    return str(sample.fields.get("image") or sample.fields.get("video") or "")


def _partners(answers: Sequence[str], groups: Sequence[str], pictures: Sequence[str], seed: int) -> dict[int, int]:
    """The partner of each item that has one, by index; an empty name of a picture is of no other item."""
    held: dict[str, set[str]] = {}
    for answer, group in zip(answers, groups, strict=True):
        held.setdefault(group, set()).add(answer)
    places = [index for index, group in enumerate(groups) if len(held[group]) > 1]
    order = derangement([answers[place] for place in places], seed, [groups[place] for place in places])
    partners = {place: places[other] for place, other in zip(places, order, strict=True)}

    def fits(index: int, other: int) -> bool:
        is_same = pictures[index] != "" and pictures[index] == pictures[other]
        return answers[index] != answers[other] and not is_same and groups[index] == groups[other]

    clashing = [index for index in places if not fits(index, partners[index])]
    shuffled = np.random.default_rng(seed).permutation(places).tolist() if clashing else []
    for index in clashing:  # of the same picture: exchange partners with another item
        for other in shuffled:
            if fits(index, partners[other]) and fits(other, partners[index]):
                partners[index], partners[other] = partners[other], partners[index]
                break
    return {index: other for index, other in partners.items() if fits(index, other)}


def clips_of(sample: Sample) -> tuple[Any, ...]:
    """Return the clips of a sample; without clips each picture is one."""
    return tuple([image] for image in sample.images) if sample.clips is None else sample.clips
