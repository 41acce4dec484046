"""Replies of judges: what is read of them, what is refused, and that none of them breaks anything."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theworld.evaluation.judges.verdicts import Directions, Lengths, Mark, read_reply


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ('{"your_mark": 1}', "mark", Mark(your_mark=1)),
        (' \n{"your_mark":0}\n', "mark", Mark(your_mark=0)),
        ('```json\n{"your_mark": 1}\n```', "mark", Mark(your_mark=1)),
        ('Here it is:\n```\n{"your_mark": 1}\n```\nGood luck!', "mark", Mark(your_mark=1)),
        ('{"your_mark": 1, "reason": "opposites"}', "mark", Mark(your_mark=1)),
        (
            '{"answer_in_meters": 2, "response_in_meters": 1.5}',
            "length",
            Lengths(answer_in_meters=2.0, response_in_meters=1.5),
        ),
        (
            '{"answer_in_meters": 0.3, "response_in_meters": null}',
            "length",
            Lengths(answer_in_meters=0.3, response_in_meters=None),
        ),
        (
            '{"answer_direction": 12, "response_direction": null}',
            "direction",
            Directions(answer_direction=12, response_direction=None),
        ),
    ],
)
def test_a_reply_is_read_alone_or_in_its_fence(text, kind, found):
    assert read_reply(text, kind) == found


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "mark"),
        ("1", "mark"),
        ("The mark is 1.", "mark"),
        ('{"your_mark": 2}', "mark"),
        ('{"your_mark": true}', "mark"),
        ('{"your_mark": "1"}', "mark"),
        ('{"your_mark": 0.5}', "mark"),
        ('{"output": 1}', "mark"),
        ('[{"your_mark": 1}]', "mark"),
        ('{"your_mark": 1}{"your_mark": 0}', "mark"),
        ('```json\n{"your_mark": 1}\n```\n```json\n{"your_mark": 0}\n```', "mark"),
        ('{"answer_in_meters": 2}', "length"),
        ('{"answer_in_meters": null, "response_in_meters": 1}', "length"),
        ('{"answer_in_meters": 0, "response_in_meters": 1}', "length"),
        ('{"answer_in_meters": 2, "response_in_meters": -1}', "length"),
        ('{"answer_in_meters": 2, "response_in_meters": NaN}', "length"),
        ('{"answer_in_meters": 2, "response_in_meters": 1e999}', "length"),
        ('{"answer_in_meters": "2 m", "response_in_meters": 1}', "length"),
        ('{"answer_direction": 13, "response_direction": 1}', "direction"),
        ('{"answer_direction": 1.5, "response_direction": 1}', "direction"),
        ("[" * 100_000, "direction"),
    ],
)
def test_a_reply_of_another_form_is_refused_with_what_was_expected(text, kind):
    with pytest.raises(ValueError, match="expected "):
        read_reply(text, kind)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["your_mark"]), inner),
)
_KINDS = st.sampled_from(["mark", "length", "direction"])
_KEYS = st.sampled_from(
    ["your_mark", "answer_in_meters", "response_in_meters", "answer_direction", "response_direction"]
)


@settings(deadline=None, max_examples=300)
@given(st.text(), _KINDS, st.sampled_from(["{}", "```json\n{}\n```", "```{}", "{{{}}}"]))
def test_no_text_does_more_than_be_refused(text, kind, form):
    with suppress(ValueError):
        read_reply(form.replace("{}", text), kind)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(_KEYS, _ANY, max_size=3), _KINDS)
def test_no_json_is_read_as_more_than_it_says(content, kind):
    try:
        found = read_reply(json.dumps(content), kind)
    except ValueError:
        return
    assert all(content[name] == value for name, value in found.model_dump().items())


@pytest.mark.parametrize("text", ['{"your_mark": 1, "your_mark": 0}', '```json\n{"your_mark": 0, "your_mark": 0}\n```'])
def test_a_reply_with_two_marks_is_none(text):
    with pytest.raises(ValueError, match=r"^the reply: 'your_mark' is given twice; keep one$"):
        read_reply(text, "mark")
