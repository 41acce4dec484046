"""The text of an answer, token by token: published text never changes."""

import pytest

from theworld.serving.answer_text import AnswerText


@pytest.fixture(scope="module")
def tokenizer(fused):
    return fused.processor.tokenizer


def write(tokenizer, text, stops=()):
    """Return the pieces, the rest and the whole of a text, token by token, up to a stop text."""
    written, pieces, ids = AnswerText(tokenizer, stops), [], tokenizer.encode(text, add_special_tokens=False)
    for index, token_id in enumerate(ids):
        pieces.append(written.add(token_id))
        if written.stopped:
            ids = ids[: index + 1]
            break
    return pieces, *written.end(ids)


@pytest.mark.parametrize("text", ["the red bin", "  the red bin \n", "é, ü and 球 fall\n\nhere", "", " ", "🙂🙂"])
def test_pieces_and_rest_make_the_whole(text, tokenizer):
    pieces, rest, whole = write(tokenizer, text)
    assert "".join(pieces) + rest == whole == text.strip()


@pytest.mark.parametrize(
    ("stops", "expected"),
    [
        (("bin",), "the red"),
        ((" red bin", "zzz"), "the"),
        (("red bins",), "the red bin"),
        (("the",), ""),
        (("b",), "the red"),
    ],
)
def test_a_stop_text_is_not_in_the_answer(stops, expected, tokenizer):
    pieces, rest, whole = write(tokenizer, "the red bin", stops)
    assert "".join(pieces) + rest == whole == expected


def test_special_tokens_are_not_in_the_answer(tokenizer):
    pieces, rest, whole = write(tokenizer, "red<end_of_turn>")
    assert "".join(pieces) + rest == whole == "red"
