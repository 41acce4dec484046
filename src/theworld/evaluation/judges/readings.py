"""What a judge's reply says: a mark, two lengths or two directions, each checked."""

import re
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from theworld.evaluation.judges.questions import Kind

_FENCED = re.compile(r"```(?:json|JSON)?[ \t]*\n?(.*?)```", re.DOTALL)


class _Read(BaseModel):
    """Strict in its values; keys that were not asked for are passed over, as in the benchmark's script."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Mark(_Read):
    """Whether a reply is right."""

    your_mark: Annotated[int, Field(ge=0, le=1)]


class Lengths(_Read):
    """Two lengths, metres; None where a reply names none."""

    answer_in_meters: Annotated[float, Field(gt=0)]
    response_in_meters: Annotated[float, Field(ge=0)] | None


class Directions(_Read):
    """Two hours of the clock; None where a reply names none."""

    answer_direction: Annotated[int, Field(ge=1, le=12)]
    response_direction: Annotated[int, Field(ge=1, le=12)] | None


Reading: TypeAlias = Mark | Lengths | Directions

_SHAPES: dict[Kind, type[Mark] | type[Lengths] | type[Directions]] = {
    "mark": Mark,
    "length": Lengths,
    "direction": Directions,
}


def read_reply(text: str, kind: Kind) -> Reading:
    """What a judge's reply says: one JSON object, alone or in the only fenced block.

    Raises:
        ValueError: says what is wrong with it.
    """
    fenced = _FENCED.findall(text)
    try:
        return _SHAPES[kind].model_validate_json((fenced[0] if len(fenced) == 1 else text).strip())
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, reason["loc"])) or "the reply"
        raise ValueError(f"{place}: {reason['msg']}; expected {', '.join(_SHAPES[kind].model_fields)}") from None
