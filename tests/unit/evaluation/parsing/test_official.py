"""Published scripts, as they read: each quirk on a reply that shows it."""

import pytest

from theworld.evaluation.parsing import official


@pytest.mark.parametrize(
    ("reply", "bucket"),
    [
        ("It falls to the left. answer(1)", "1"),
        ("ANSWER(3)", "3"),
        ("I will end with answer(2). In the end: answer(1)", "2"),  # the first one
        ("answer( 2 )", None),
        ("answer(4)", None),
        ("Bucket 2", None),
        ("", None),
    ],
)
def test_vpct(reply: str, bucket: str | None):
    assert official.vpct_bucket(reply) == bucket


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("The answer is C.", "C"),
        ("The best answer is D", "D"),
        ("Answer: B", "A"),
        ("Best answer: D", "B"),
        ("it is b", None),
        ("Because C, <answer>\nA\n</answer> <answer>D</answer>", "A"),
        ("<answer></answer> B", None),
    ],
)
def test_futurebench(reply: str, letter: str | None):
    assert official.futurebench_letter(reply) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ('{"answer": "b"}', "B"),
        ('So: {"Answer" : "C"} since A', "C"),
        ("A cup falls, so B", "A"),
        ("Option D.", "D"),
        ("the answer is b", None),
    ],
)
def test_openworldqa(reply: str, letter: str | None):
    assert official.openworldqa_letter(reply) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ('{"answer": "c"}', "C"),
        ('I say {"answer": "E"}', None),
        ("{'answer': 'C'} or C", None),  # no JSON
        ("A way out: D", "A"),
        ("seven", None),
    ],
)
def test_vrqabench(reply: str, letter: str | None):
    assert official.vrqabench_letter(reply) == letter


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Rotated Left", "rotated left"),
        ("rotated left ### and so on", "rotated left"),
        ("It rotated left.", None),
        ("answer: rotated left", None),  # only the next word
        ("answer: left", None),
    ],
)
def test_sat(reply: str, answer: str | None):
    assert official.sat_text(reply, ("rotated left", "rotated right")) == answer


@pytest.mark.parametrize(
    ("reply", "answer", "is_right"),
    [
        ("A", "A", True),
        ("Both A and C", "B", True),
        ("Because", "B", True),
        ("anything", "", True),
        ("(A)", "A", False),
        (" A", "A", False),
        ("a", "A", False),
    ],
)
def test_physbench(reply: str, answer: str, is_right: bool):
    assert official.physbench_is_right(reply, answer) is is_right


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("Answer: B", "B"),
        ("Answer: B, since the camera is near", "A"),
        ("A or B? Answer: A", "B"),
        ("It floats.", None),
    ],
)
def test_mvp(reply: str, letter: str | None):
    assert official.mvp_letter(reply) == letter


@pytest.mark.parametrize(
    ("reply", "answer"),
    [("Yes.", "yes"), ("No, it is not.", "no"), ("unknown", "no"), ("No. Yes?", "yes"), ("YES", None)],
)
def test_intphys2(reply: str, answer: str | None):
    assert official.intphys2_possible(reply) == answer
