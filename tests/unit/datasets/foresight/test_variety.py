"""Varied scenes: a pure function of their index, apart from plain ones, balanced, and decided by the picture."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from theworld.datasets.foresight import hide
from theworld.datasets.foresight.distances import nearest_px
from theworld.datasets.foresight.ground_truth import static_kinds
from theworld.datasets.foresight.items import (
    DESIGNS,
    SPLITS,
    find_item,
    make_film,
    make_film_scene,
    make_item,
    split_of,
)
from theworld.datasets.foresight.outcome_detector import watched_outcome
from theworld.datasets.foresight.physics import GRAVITIES, RESTITUTIONS, simulate, unseen_variants
from theworld.datasets.foresight.questions import static_questions
from theworld.datasets.foresight.rendering import draw
from theworld.datasets.foresight.scene import TASKS
from theworld.datasets.foresight.variety import REGIONS, TEST_SPLITS, box_of, number_of_parts

pytestmark = pytest.mark.usefixtures("unchecked")

NUM_ITEMS = {"drop": 9, "topple": 6, "roll": 8, "collide": 12, "hide": 12}


@pytest.fixture(scope="module")
def varied():
    import jaxtyping

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        return {
            task: {split: [make_item(split, index, task, "varied") for index in range(number)] for split in splits}
            for task, number in NUM_ITEMS.items()
            for splits in [("test", "shift-seen")]
        }


def all_of(varied, task):
    return [item for items in varied[task].values() for item in items]


def test_an_item_is_found_again_and_names_its_split(task):
    for split in ("train", "shift-unseen", "composition"):
        item = find_item(split, 2, task, "varied")
        again = find_item(split, 2, task, "varied")
        assert again.scene == item.scene
        np.testing.assert_array_equal(again.poses, item.poses)
        assert split_of(item.scene) == split
        assert item.id == f"{task}-varied-{split}-2"


def test_scenes_of_training_in_the_looks_of_videos_are_others_than_those_of_the_corner(task):
    seen = find_item("train-seen", 0, task, "varied")
    assert split_of(seen.scene) == "train"
    assert seen.scene != find_item("train", 0, task, "varied").scene


def test_labels_come_from_the_corner_and_the_other_splits_for_training_show_the_looks_of_videos():
    assert REGIONS["train"] == REGIONS["validation"] == "corner"
    assert REGIONS["language"] == REGIONS["train-seen"] == REGIONS["world"] == "videos"
    assert not {"train", "train-seen", "validation", "language", "world"} & {*TEST_SPLITS}


def test_plain_scenes_have_no_further_splits():
    with pytest.raises(ValueError, match=r"split 'shift-seen': expected one of .* are splits of varied scenes"):
        make_item("shift-seen", 0)
    with pytest.raises(ValueError, match="scenes='wild': expected one of"):
        make_item("test", 0, "drop", "wild")


def test_outcomes_are_balanced_over_whole_rounds(varied, task):
    for items in varied[task].values():
        counts = Counter(item.outcome for item in items)
        assert max(counts.values()) == min(counts.values())


def test_the_outcome_is_the_same_for_what_no_picture_shows(varied, task):
    for item in all_of(varied, task)[:6]:
        variants = unseen_variants(item.scene)
        assert len(variants) == (2 if task in RESTITUTIONS else 0)
        for variant in variants:
            assert DESIGNS[task].outcome(variant, simulate(variant)) == item.outcome


@pytest.mark.parametrize("task", ["drop", "roll"])
def test_gravity_changes_when_things_happen_and_not_where(varied, task):
    changed = 0
    for item in all_of(varied, task):
        ends = [DESIGNS[task].outcome(s, simulate(s)) for s in (replace(item.scene, gravity=g) for g in GRAVITIES)]
        changed += any(end not in (item.outcome, None) for end in ends)
    assert changed <= 1  # a step of the integrator may decide a bounce


def test_every_current_picture_decides_every_control_and_shows_what_decides(varied, task):
    for item in all_of(varied, task):
        assert [q.kind for q in static_questions(item)] == list(static_kinds(task, True))
        look, box = item.scene.look, box_of(item.scene)
        assert min(look.seen(box.left, box.top)) > -1e-3
        assert max(look.seen(box.right, box.bottom)) < 1 + 1e-3
        for x, y, _ in item.poses[-1]:
            assert 0 < look.seen(x, y)[0] < 1
            assert 0 < look.seen(x, y)[1] < 1


def test_true_futures_show_their_outcome(varied, task):
    items = all_of(varied, task)
    watched = [watched_outcome(item.scene, np.asarray(draw(item.scene, item.poses[-1], 64))) for item in items]
    right = [seen == item.outcome for seen, item in zip(watched, items, strict=True)]
    assert sum(right) >= len(right) - 2


def test_a_touch_leaves_a_trace(varied):
    def is_dark(item, frame: int) -> bool:
        look, pose = item.scene.look, item.poses[frame, 0]
        x, y = look.seen(float(pose[0]), float(pose[1]))
        middle = draw(item.scene, item.poses[frame], 256).getpixel((int(256 * x), int(256 * y)))
        return middle == look.lit(look.solid)

    for item in all_of(varied, "collide"):
        assert [is_dark(item, frame) for frame in (4, 13, 16)] == [False, item.outcome == 0, item.outcome == 0]


def test_numbers_of_parts_vary_and_some_go_together_in_one_split_alone():
    scenes = {split: [] for split in ("world", "composition")}
    for task in TASKS:
        for index in range(48):
            scenes["world"].append(make_film_scene(5 * index + TASKS.index(task), "varied"))
    for task in ("roll", "collide", "hide"):
        scenes["composition"] += [find_item("composition", index, task, "varied").scene for index in range(12)]

    def pairs(split, task):
        return {(number_of_parts(s), len(s.spots)) for s in scenes[split] if s.task == task}

    for task in ("roll", "collide", "hide"):
        assert not pairs("world", task) & pairs("composition", task)
    assert {parts for parts, _ in pairs("world", "drop")} == {1, 2, 3, 4}
    assert {parts for parts, _ in pairs("world", "topple")} == {3, 4, 5, 6}
    assert {parts for parts, _ in pairs("world", "roll")} == {0, 1, 2}


def test_films_move_as_their_scene_says_with_its_own_law():
    laws = set()
    for index in range(10):
        scene, motion = make_film(index, "varied")
        assert split_of(scene) == "world"
        np.testing.assert_array_equal(simulate(scene).poses, motion.poses)
        laws.add(scene.gravity)
    assert len(laws) > 5


@pytest.mark.parametrize("task", ["roll", "hide"])
def test_no_training_scene_is_a_pixel_away(varied, task):
    known = [make_film_scene(5 * index + TASKS.index(task), "varied") for index in range(200)]
    distances = nearest_px([item.scene for item in all_of(varied, task)], known)
    assert np.quantile(distances, 0.05) > 4
    same = nearest_px(known[:3], known)
    np.testing.assert_array_equal(same, 0)


def test_a_ball_behind_a_screen_falls_off_its_ledge_first(varied):
    for item in all_of(varied, "hide"):
        ledge = item.scene.planks[0]
        assert ledge.y0 == ledge.y1
        assert item.poses[0, 0, 1] < item.poses[-1, 0, 1]
        assert (hide.post_of(item.scene) is None) == (len(item.scene.planks) == 1)


def test_splits_are_in_order_so_that_plain_scenes_keep_theirs():
    assert SPLITS[:5] == ("world", "language", "train", "validation", "test")
