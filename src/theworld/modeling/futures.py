"""Several imagined futures of one clip, and the agreement of the answers about them; separate from generation."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from theworld.modeling.configuration import WorldFields


@dataclass(frozen=True)
class Agreed:
    """An answer, and the share of imagined futures that give it."""

    answer: str
    """The most frequent answer; of equally frequent ones that of the earliest future."""
    confidence: float
    """Share of the futures with this answer, in (0, 1]. It is no probability: measure its calibration on your
    questions with `theworld evaluate --num-futures`."""
    answers: tuple[str, ...]
    """The answer of each future, in order; the first is that of a question without `num_futures`."""

    def __str__(self) -> str:
        return self.answer


def agreed(answers: Sequence[str]) -> Agreed:
    """Return the most frequent of several answers, with its share; case and final full stops make no difference."""
    forms = [answer.strip().rstrip(".").casefold() for answer in answers]
    counts = Counter(forms)
    most = max(counts.values())
    place = next(index for index, form in enumerate(forms) if counts[form] == most)
    return Agreed(answers[place], most / len(answers), tuple(answers))


def check_futures(config: WorldFields, num_futures: int, num_world_steps: int | None) -> None:
    """Check that a model can imagine several futures, before anything is computed.

    Args:
        config: of the model.
        num_futures: number of futures.
        num_world_steps: K; None: the model's own.

    Raises:
        ValueError: for a number below 1, or several futures of a model whose features depend on no noise.
    """
    if isinstance(num_futures, bool) or not isinstance(num_futures, int) or num_futures < 1:
        raise ValueError(f"num_futures={num_futures!r:.40}: expected a number of 1 or more")
    if num_futures == 1:
        return
    if not config.enable_world:
        raise ValueError(f"num_futures={num_futures} with enable_world=False: nothing is imagined; drop it")
    world = config.world_settings()
    steps = config.num_world_steps if num_world_steps is None else num_world_steps
    imagines = world.imagines and not world.repeat_current and not world.sees_future
    if not steps or not imagines or world.tap == "zero":
        raise ValueError(
            f"num_futures={num_futures}: the tap {world.tap!r} at num_world_steps={steps} has one future; expected a"
            " tap that imagines (rollout, dit) and num_world_steps of 1 or more: drop num_futures"
        )
