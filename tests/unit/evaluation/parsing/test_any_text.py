"""Whatever a model writes, reading it raises nothing and never takes a region for a number."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from theworld.evaluation.benchmarks.vsr import says_true
from theworld.evaluation.parsing.choices import chosen_letter
from theworld.evaluation.parsing.quantities import clock_hour, lengths, named_length
from theworld.evaluation.parsing.region_choices import RELATIONS, chosen_region
from theworld.evaluation.parsing.text import plain
from theworld.evaluation.parsing.yes_no import says_yes

PIECES = st.one_of(
    st.sampled_from(["Region [0]", "region 1", "<region0>", "[1]", "o'clock", "feet", "m", "cm", "in", "a", "half"]),
    st.sampled_from(["5", "1/2", "1,000", ".5", "3-4", "12:30", "½", "to", "and", "or", "x", "-", "'", '"']),
    st.sampled_from(["yes", "No,", "not", "n't", "true", "above", "below", "taller", "behind", "is", "than", "width"]),
    st.sampled_from(
        ["(A)", "B.", "answer:", "Therefore,", "**", "\n", "\n\n", ":", ".", "?", "\\text{", "}", "$", "_"]
    ),
)
REPLIES = st.one_of(st.text(), st.lists(PIECES, max_size=30).map(" ".join), st.lists(PIECES, max_size=30).map("".join))


@settings(deadline=None, max_examples=100)
@given(REPLIES)
def test_no_text_makes_a_reading_raise(reply):
    assert chosen_letter(reply, 4) in {None, "(A)", "(B)", "(C)", "(D)"}
    assert says_true(reply, "The bed is left of the bench.") in {None, True, False}
    for relation in RELATIONS.values():
        assert says_yes(reply, relation) in {None, True, False}
        assert chosen_region(reply, relation) in {None, 0, 1}
    hour, length = clock_hour(reply), named_length(reply, "width")
    assert hour is None or 1 <= hour < 13
    assert length is None or 0 < length < float("inf")


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.sampled_from(["Region [0]", "region 0", "<region0>", "[0]", "Region [12]", "REGION [ 1 ]"]), min_size=1
    ),
    st.sampled_from([" ", ", ", "\n", " and ", " meters ", " m ", " o'clock ", "'s height, ", " to ", " - "]),
)
def test_a_region_never_reads_as_a_number(regions, between):
    text = between.join(regions) + between
    assert list(lengths(plain(text).casefold())) == []
    assert clock_hour(text) is None


def test_a_reply_that_repeats_itself_does_not_take_long():
    start = time.process_time()
    for piece in ("1", "1 ", "Region [0] is ", "(A) ", "* ", "_", "\n", "5 feet to "):
        reply = piece * 10_000
        named_length(reply)
        clock_hour(reply)
        chosen_letter(reply, 4)
        says_yes(reply, RELATIONS["wide"])
        chosen_region(reply, RELATIONS["wide"])
    assert time.process_time() - start < 10  # seconds of the processor, ten times what it takes
