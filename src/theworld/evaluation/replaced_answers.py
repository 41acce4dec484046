"""Answers under a condition of an audit, and the proof that it replaced its part of the input."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from PIL import Image
from torch import Tensor

from theworld.config.evaluation import ConditionName
from theworld.datasets.images import to_image
from theworld.datasets.sample import Sample
from theworld.evaluation.audit import Proof
from theworld.evaluation.benchmarks.dispatch import score, true_answer
from theworld.evaluation.generation import Answerer
from theworld.evaluation.partners import Paired, clips_of
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.replacements import Clips, Moments, Replacements, relative_change
from theworld.evaluation.true_future import no_true_future
from theworld.modeling import TheWorld

CHANGE: Final = "change"
"""Field of a row: the relative change of its features, or of its picture."""

_GREY: Final = (128, 128, 128)
"""Colour of a blank picture: Gemma's normalisation makes it nearly 0."""

_LEAST_SCORE_CHANGE: Final = 1e-5
"""Smallest change of a log-likelihood that counts; other batches alone change it by less than 1e-6."""

_WITH_PARTNER: Final = ("shuffle", "partner-future", "partner-present")


class ReplacingAnswerer(Answerer):
    """Answers with replaced world features; each row keeps the relative change of its features in `fields`.

    Args:
        model: a TheWorld.
        condition: the rule of replacement.
        rule: of all conditions.
        samples: with the items' own clips, against which features are compared.
        options: of `Answerer`.
    """

    shares_pictures = False

    def __init__(
        self,
        model: TheWorld,
        condition: ConditionName,
        rule: Replacements,
        samples: Sequence[Sample],
        **options: Any,
    ) -> None:
        super().__init__(model, read_features=self._replaced, **options)
        self.condition: ConditionName = condition
        self.rule = rule
        self._originals = {sample.id: sample for sample in samples}
        self._waiting: list[Sample] = []
        self._changes: dict[str, list[float]] = {}

    def _answer(self, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        # One entry per clip, in the order in which the batch reads them.
        self._waiting = [sample for sample in samples for _ in range(sample.num_clips)]
        self._changes = {}
        rows = super()._answer(samples)
        for row in rows:
            if changes := self._changes.get(row["sample_id"]):
                row["fields"] = {CHANGE: max(changes), **row["fields"]}
        return rows

    def _replaced(self, frames: Tensor, num_world_steps: int) -> Tensor:
        asked, self._waiting = self._waiting[: len(frames)], self._waiting[len(frames) :]
        real = self.rule.read(frames, num_world_steps)
        clips = Clips(frames, num_world_steps, real, [self._originals[sample.id] for sample in asked])
        if self.condition == "shuffle":  # the samples hold their partners' clips
            given, own = real, self._own_features(clips.samples, num_world_steps)
        else:
            given, own = self.rule(self.condition, clips), real
        for sample, change in zip(asked, relative_change(own, given), strict=True):
            self._changes.setdefault(sample.id, []).append(change)
        return given

    def _own_features(self, samples: Sequence[Sample], num_world_steps: int) -> Tensor:
        own = list({sample.id: sample for sample in samples}.values())
        frames, _ = self._prompts.frames(own)
        assert frames is not None
        return self.rule.read(frames, num_world_steps)


def blanked(samples: Sequence[Sample]) -> list[Sample]:
    """Give Gemma a grey picture of the same size for each of its own; the world model keeps its clips.

    The mean absolute difference of the pictures, over 255, is the change of the item.
    """
    result = []
    for sample in samples:
        pictures = [to_image(picture) for picture in sample.images]
        grey = [Image.new("RGB", picture.size, _GREY) for picture in pictures]
        change = max(
            (float(np.abs(np.asarray(picture, float) - _GREY).mean()) / 255 for picture in pictures), default=0.0
        )
        fields = {**sample.fields, CHANGE: change}
        result.append(replace(sample, images=tuple(grey), clips=clips_of(sample), fields=fields))
    return result


def unavailable(
    model: TheWorld, samples: Sequence[Sample], moments: Mapping[tuple[int, int], Moments]
) -> dict[ConditionName, str]:
    """Return the conditions that this model or these samples cannot serve, with the reasons.

    Args:
        moments: of the samples' features, by (F, K).
    """
    missing: dict[ConditionName, str] = {}
    if not any(steps for _, steps in moments):
        reason = "the model looks at no slot after the current one (num_world_steps=0)"
        missing |= dict.fromkeys(("partner-future", "partner-present", "oracle"), reason)
    if all(moment.mean.shape[1] == 1 for moment in moments.values()):
        missing |= dict.fromkeys(("first-repeat", "slot-shuffle"), "the features have one slot")
    if model.config.grid == 1:
        missing["cell-shuffle"] = "the fused grid has one cell"
    if "oracle" not in missing and (reason := no_true_future(model)):
        missing["oracle"] = reason
    if "oracle" not in missing and any(sample.future is None for sample in samples):
        missing["oracle"] = "the data set shows no true future"
    return missing


def proof_of(condition: ConditionName, rows: Mapping[str, Sequence[Prediction]], pairs: Paired) -> Proof:
    """Compare the rows of a condition with those of `real`.

    Args:
        rows: by condition.
        pairs: the items and their partners.
    """
    answered = [row for row in rows[condition] if row.error is None]
    changes = [float(value) for row in answered if isinstance(value := row.fields.get(CHANGE), int | float)]
    real = {row.sample_id: row for row in rows["real"] if row.error is None}
    differences = [_score_change(real[row.sample_id], row) for row in answered if row.sample_id in real]
    known = [difference for difference in differences if difference is not None]
    proof = Proof(
        num_items=len(changes),
        num_replaced=sum(change > 0 for change in changes),
        least_change=min(changes, default=0.0),
        num_scores_changed=sum(difference > _LEAST_SCORE_CHANGE for difference in known) if known else None,
        num_scores=len(known),
    )
    return replace(proof, **_partner_answers(answered, pairs)) if condition in _WITH_PARTNER else proof


def _score_change(before: Prediction, after: Prediction) -> float | None:
    """Return the largest change of a log-likelihood; None: the rows hold none."""
    if before.log_likelihoods is not None and after.log_likelihoods is not None:
        return max(abs(value - after.log_likelihoods[choice]) for choice, value in before.log_likelihoods.items())
    first = [row.fields.get("first_log_prob") for row in (before, after)]
    if not all(isinstance(value, int | float) for value in first):
        return None
    return abs(float(first[0] or 0) - float(first[1] or 0))


def _partner_answers(rows: Sequence[Prediction], pairs: Paired) -> dict[str, int]:
    partners = pairs.by_id
    possible = given = 0
    for row in rows:
        partner = partners[row.sample_id]
        if row.choices is not None and partner.answer not in row.choices:
            continue
        reading = score(row).reading
        if reading is not None:
            possible += 1
            given += reading == true_answer(partner)
    return {"num_partner_answers": given, "num_partner_possible": possible}
