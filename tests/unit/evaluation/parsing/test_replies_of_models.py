"""Replies in the manner of many models are read as a person reads them; the files say what each of them means."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from theworld.evaluation.benchmarks import blink, spatial_rgpt, vsr
from theworld.evaluation.parsing.choices import chosen_letter
from theworld.evaluation.predictions import Prediction

FOLDER = Path(__file__).parent / "replies"
READINGS = {"yes": 1.0, "no": 0.0, "-": None}


class Reply(NamedTuple):
    kind: str
    about: str
    """Task, statement or category."""
    meaning: str
    text: str


@cache
def replies(benchmark: str) -> tuple[Reply, ...]:
    return tuple(_lines(FOLDER / f"{benchmark}.txt"))


def _lines(path: Path) -> Iterator[Reply]:
    kind = ""
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.startswith("== "):
            kind = line.removeprefix("== ")
        elif line and not line.startswith("# "):
            match = re.fullmatch(r"(.+?) \| (\S+) \|(?: (.*))?", line)
            assert match is not None, line
            about, meaning, text = match.groups()
            yield Reply(kind, about, meaning, re.sub(r"\\(u[0-9a-f]{4}|.)", _escaped, text or ""))


def _escaped(match: re.Match[str]) -> str:
    escape = match[1]
    return chr(int(escape[1:], 16)) if len(escape) > 1 else {"n": "\n"}.get(escape, escape)


def kinds(benchmark: str) -> list[str]:
    return list(dict.fromkeys(reply.kind for reply in replies(benchmark)))


@pytest.mark.parametrize("kind", kinds("blink"))
def test_a_letter_is_read_as_it_was_meant(kind: str) -> None:
    misread = []
    for reply in (reply for reply in replies("blink") if reply.kind == kind):
        task, _, texts = reply.about.partition(":")
        options = tuple((text,) for text in texts.split(",")) if texts else blink.OPTIONS[task]
        letter = chosen_letter(reply.text, options)
        if letter != (None if reply.meaning == "-" else f"({reply.meaning})"):
            misread.append((reply, letter))
    assert misread == []


@pytest.mark.parametrize("kind", kinds("vsr"))
def test_true_and_false_are_read_as_they_were_meant(kind: str) -> None:
    meanings = {"t": True, "f": False, "-": None}
    members = [reply for reply in replies("vsr") if reply.kind == kind]
    assert [reply for reply in members if vsr.says_true(reply.text, reply.about) is not meanings[reply.meaning]] == []


@pytest.mark.parametrize("kind", kinds("spatial_rgpt"))
def test_regions_lengths_and_hours_are_read_as_they_were_meant(kind: str) -> None:
    misread = []
    for reply in (reply for reply in replies("spatial_rgpt") if reply.kind == kind):
        value = spatial_rgpt.value_of(reply.text, reply.about)
        meant = READINGS[reply.meaning] if reply.meaning in READINGS else float(reply.meaning)
        if value != (None if meant is None else pytest.approx(meant)):
            misread.append((reply, value))
    assert misread == []


def test_the_options_of_a_question_are_read_from_its_prompt() -> None:
    row = Prediction(
        sample_id="val_Counting_1",
        question="How many floats are there?\nSelect from the following choices.\n(A) 0\n(B) 3\n(C) 2\n(D) 1",
        answer="(B)",
        prediction="There are three floats.",
        choices=("(A)", "(B)", "(C)", "(D)"),
        fields={"task": "Counting"},
        prompt_hash="",
    )
    assert blink.options_of(row) == (("0",), ("3",), ("2",), ("1",))
    assert blink.score(row).state == "right"
