"""Tables of the families of world models in docs/world-taps.md, from the code: what each can do, and how it is read."""

from typing import Final

from pages.blocks import write_block
from theworld.tables import markdown_lines
from theworld.world import jepa
from theworld.world.families.family import Family
from theworld.world.families.table import FAMILIES

PAGE: Final = "docs/world-taps.md"
TAPS: Final = ("vae", "dit", "dit, denoised", "rollout", "true-future", "v-jepa2")

_PROMPTS: Final = {
    "zeros": "{} token of zeros, which is neutral",
    "zeros or stored": "{} rows of zeros, or the stored one",
    "stored": "the stored one: zeros are not neutral",
}


def families_and_taps() -> str:
    """Return the table of families and taps, with examples and licences."""
    rows = [[*_described(family.name, family.example), *_marks(family), family.licence] for family in FAMILIES]
    own = {"true-future": "yes", "v-jepa2": "yes"}
    rows.append([*_described("V-JEPA 2", jepa.EXAMPLE), *(own.get(tap, "no") for tap in TAPS), jepa.LICENCE])
    columns = ["family", "for example", *(_column(tap) for tap in TAPS), "licence of the weights"]
    return "\n".join(markdown_lines(columns, rows))


def conventions() -> str:
    """Return the table of conventions in which the denoisers of the families differ."""
    columns = ["family", "timestep at level t", "given slots", "null prompt", "schedule", "frame rate"]
    rows = [
        [
            family.name,
            f"`{family.noise}`" if family.noise == "t" else family.noise,
            family.given_slots or "noised like the future: it cannot be told of them",
            _PROMPTS[family.prompt].format(family.num_prompt_tokens),
            f"`{family.classes['scheduler'].__name__}`",
            "in positions" if family.uses_frame_rate else "not read",
        ]
        for family in FAMILIES
    ]
    return "\n".join(markdown_lines(columns, rows))


def _described(name: str, example: str) -> list[str]:
    return [name, f"`{example}`"]


def _column(tap: str) -> str:
    name, _, more = tap.partition(", ")
    return f"`{name}`, `{more}`" if more else f"`{name}`"


def _marks(family: Family) -> list[str]:
    future = {"dit, denoised", "rollout"}
    able = {tap for tap in TAPS if tap != "v-jepa2" and (family.samples or tap not in future)}
    return ["yes" if tap in able else "no" for tap in TAPS]


def write_families() -> None:
    """Write both tables into the page."""
    write_block(PAGE, "families", families_and_taps())
    write_block(PAGE, "conventions", conventions())
