"""Items under another camera, light or gravity than their own; separate from their making, which no shift enters."""

from dataclasses import replace

from theworld.config.data_base import Shift
from theworld.datasets.foresight.items import DESIGNS, Item
from theworld.datasets.foresight.looks import PIXEL, Look
from theworld.datasets.foresight.physics import law_of, simulate
from theworld.datasets.foresight.rendering import look_of
from theworld.datasets.foresight.scene import Scene

_DECIMALS = 4


def shifted_look(scene: Scene, shift: Shift) -> Look:
    """Return the look of a scene under a shift: its own, with the camera and the light changed.

    Colours beyond 255 are cut off, as in a picture that is exposed too long.
    """
    look = look_of(scene)
    return replace(
        look,
        zoom=look.zoom * shift.zoom,
        shift_x=look.shift_x + shift.camera_px * PIXEL,
        light=look.light * shift.light,
    )


def has_gravity(scene: Scene) -> bool:
    """Return True for a scene seen from the side; a table seen from above has no gravity in its picture."""
    return law_of(scene).gravity > 0


def under_gravity(item: Item, factor: float) -> tuple[Item, bool]:
    """Return the item with the motion and outcome that follow from a factor of its gravity, and whether it has one.

    The given frames of a clip change, too. Without an outcome the motion ends in no answer to the question about the
    future, as with a ball that has not reached a bin; the item then keeps its former one, which must not be asked.

    Args:
        item: the item; nothing changes if nothing in it falls.
        factor: above 0.
    """
    scene = item.scene
    if factor == 1 or not has_gravity(scene):
        return item, True
    changed = replace(scene, gravity=law_of(scene).gravity * factor)
    motion = simulate(changed)
    poses = motion.poses.round(_DECIMALS) + 0.0
    poses.setflags(write=False)  # callers share the item
    is_on_its_way = scene.bins is not None and not motion.has_come_to_rest
    outcome = None if is_on_its_way else DESIGNS[scene.task].outcome(changed, motion)
    ends = outcome is not None
    return replace(item, scene=changed, poses=poses, outcome=outcome if ends else item.outcome), ends
