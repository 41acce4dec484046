"""Readings of replies by the published scripts of the benchmarks about the future, with their quirks.

Each function is pure and takes the unchanged reply. Scores by these functions compare with published ones; the readings
of `choices` are the sound ones.
"""

import json
import re
from collections.abc import Sequence

_BUCKET = re.compile(r"answer\((\d)\)", re.IGNORECASE)
_STOCK = ("The best answer is", "The correct answer is", "The answer is", "The answer")
_CAPITAL = re.compile(r"[ABCD]")
_ALONE = re.compile(r"\b([ABCD])\b")
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_JSON_ANSWER = re.compile(r"\{\s*\"answer\"\s*:\s*\"([A-D])\"\s*\}", re.IGNORECASE)
_JSON = re.compile(r"\{.*?\}", re.DOTALL)
_AT_END = re.compile(r"(a|b)\b")


def vpct_bucket(reply: str) -> str | None:
    """Return the bucket of the first `answer(X)`, also of one that only repeats the format; None: not 1, 2 or 3."""
    match = _BUCKET.search(reply)
    return match[1] if match is not None and match[1] in "123" else None


def futurebench_letter(reply: str) -> str | None:
    """Return the first capital A to D anywhere, of the text in `<answer>` if there is one; None: none.

    Four stock phrases are deleted before; four more of the script never match, since commas are missing between them.
    "Answer: B" reads as A.
    """
    tagged = _TAGGED.search(reply)
    text = (reply if tagged is None else tagged[1]).strip()
    for phrase in _STOCK:
        text = text.replace(phrase, "")
    match = _CAPITAL.search(text)
    return None if match is None else match[0]


def openworldqa_letter(reply: str) -> str | None:
    """Return the letter of `{"answer": "X"}`, else the first capital A to D that stands alone, also an article A."""
    match = _JSON_ANSWER.search(reply)
    if match is not None:
        return match[1].upper()
    return _alone(reply)


def vrqabench_letter(reply: str) -> str | None:
    """Return `answer` of the first `{...}`, else the first capital A to D that stands alone; None if it is no JSON."""
    match = _JSON.search(reply)
    if match is None:
        return _alone(reply)
    try:
        value = json.loads(match[0])
    except (ValueError, RecursionError):
        return None
    letter = str(value.get("answer", "")).strip().upper()
    return letter if letter in ("A", "B", "C", "D") else None


def sat_text(reply: str, answers: Sequence[str]) -> str | None:
    """Return the answer that equals the reply up to `###`, in lower case; after `answer: ` only the next word counts.

    The script has a cut for "is located ..." too, whose exact form is unseen: it is not applied.
    """
    text = reply.lower().split("###")[0].strip()
    if "answer: " in text:
        text = (text.split("answer: ", 1)[1].split() or [""])[0]
    return next((answer for answer in answers if answer.lower() == text), None)


def physbench_is_right(reply: str, answer: str) -> bool:
    """Return whether a reply begins with the answer: "Both" is right for B, "(B)" wrong, an empty answer right."""
    return reply.startswith(answer)


def mvp_letter(reply: str) -> str | None:
    """Return the second a or b that ends a word, else the first; "Answer: B, since the camera is near" reads as A."""
    letters = _AT_END.findall(reply.lower())
    if not letters:
        return None
    return letters[1 if len(letters) > 1 else 0].upper()


def intphys2_possible(reply: str) -> str | None:
    """Return yes if "yes" or "Yes" is anywhere, else no if "no" or "No" is anywhere, as in "unknown"; None: neither."""
    if "yes" in reply or "Yes" in reply:
        return "yes"
    return "no" if "no" in reply or "No" in reply else None


def _alone(reply: str) -> str | None:
    match = _ALONE.search(reply)
    return None if match is None else match[1]
