"""The relations of Visual Spatial Reasoning, by kind."""

from collections.abc import Mapping
from typing import Final

META_CATEGORIES: Final[Mapping[str, tuple[str, ...]]] = {
    "Adjacency": (
        "adjacent to",
        "alongside",
        "at the side of",
        "at the right side of",
        "at the left side of",
        "attached to",
        "at the back of",
        "ahead of",
        "against",
        "at the edge of",
    ),
    "Directional": (
        "off",
        "past",
        "toward",
        "down",
        "deep down",
        "up",
        "away from",
        "along",
        "around",
        "from",
        "into",
        "to",
        "across",
        "across from",
        "through",
        "down from",
    ),
    "Orientation": ("facing", "facing away from", "parallel to", "perpendicular to"),
    "Projective": (
        "on top of",
        "beneath",
        "beside",
        "behind",
        "left of",
        "right of",
        "under",
        "in front of",
        "below",
        "above",
        "over",
        "in the middle of",
    ),
    "Proximity": ("by", "close to", "near", "far from", "far away from"),
    "Topological": (
        "connected to",
        "detached from",
        "has as a part",
        "part of",
        "contains",
        "within",
        "at",
        "on",
        "in",
        "with",
        "surrounding",
        "consists of",
        "out of",
        "between",
        "inside",
        "outside",
        "touching",
    ),
    "Unallocated": ("beyond", "next to", "opposite to", "after", "among", "enclosed by"),
}
"""The seven kinds of relation (`rel_meta_category_dict.txt` of github.com/cambridgeltl/visual-spatial-reasoning;
`among`, which that file lists twice, at its last place)."""

_KIND_OF = {relation: kind for kind, relations in META_CATEGORIES.items() for relation in relations}


def meta_category(relation: str) -> str:
    """Return the kind of a relation; `Unallocated` for a relation outside the list."""
    return _KIND_OF.get(relation.strip(), "Unallocated")
