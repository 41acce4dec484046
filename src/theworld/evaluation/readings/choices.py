"""Which region a reply chooses, also where it names both."""

import re

from theworld.evaluation.readings.plain import after_answer, after_therefore, plain
from theworld.evaluation.readings.relations import Relation, claims

_NAMED = re.compile(r"\bregion_(\d+)\b")
_ALONE = re.compile(r"\W*region_(\d+)\b[^\w\n]*(?:\n|$)")
"""A region and nothing else on its line."""
_LISTED = re.compile(r"^[ \t]*[-•]?[ \t]*region_\d+ *(?:\([^()\n]*\))?[.,]?[ \t]*$", re.MULTILINE)
_DESCRIBED = re.compile(r"^[ \t]*[-•]?[ \t]*region_\d+ *:.*$", re.MULTILINE)


def chosen_region(text: str, relation: Relation) -> int | None:
    """The region that a reply says to be the one asked for; None if it names none, or both alike.

    What follows `answer:` counts first, then what follows `therefore`, then the whole reply. In each the first claim
    about the relation decides ("Region [1] is taller than Region [0]", asked for the shorter one, chooses 0); without
    a claim, the only region that is named. Lists of both regions and descriptions of each choose nothing.

    Args:
        text: the reply as the model wrote it.
        relation: what the region asked for is, compared with the other.
    """
    text = plain(text).casefold()
    answer = after_answer(text)
    alone = None if answer is None else _ALONE.match(answer)
    if alone is not None:
        return _known(int(alone[1]))
    for part in (answer, after_therefore(text), _without_lists(text)):
        if part is None:
            continue
        claim = next((one for one in claims(part, relation) if one.region in (0, 1)), None)
        if claim is not None:
            return claim.region if claim.same else 1 - claim.region
        named = {int(found[1]) for found in _NAMED.finditer(part)}
        if len(named) == 1:
            return _known(named.pop())
    return None


def _known(region: int) -> int | None:
    return region if region in (0, 1) else None


def _without_lists(text: str) -> str:
    for listing in (_LISTED, _DESCRIBED):
        if len({named[1] for found in listing.finditer(text) for named in _NAMED.finditer(found[0])}) == 2:
            text = listing.sub("", text)
    return text
