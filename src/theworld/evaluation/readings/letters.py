"""Option letters in a reply: the order of BLINK's official extraction, and rules where it asks a language model."""

import re

from theworld.evaluation.readings.plain import after_answer, after_therefore, plain, without_options
from theworld.evaluation.scoring import named_choice

_CHOSEN = re.compile(
    r"\A\W*([A-E])(?=\s*(?:[.):,\n]|\Z))"  # "B", "B. a ball", "B) 3"
    r"|\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter|[Cc]hoose|[Ss]elect|[Pp]ick)"
    r"(?:\s+is|\s+would be)?\s*:?\s*\(?([A-E])\b"
    r"|\b([A-E])(?=\s+(?:is|would be)\b)"
)
_DENIED = re.compile(r"\b(?:none of|neither|cannot|can't|unable|not)\b", re.IGNORECASE)


def official_letter(text: str, num_choices: int) -> str | None:
    """The letter that BLINK's own script reads without a language model; None where it would ask one.

    In its order (`analyze_answer` in `eval/test_benchmark.py` of github.com/zeyofu/BLINK_Benchmark): a reply that is a
    letter, with or without parentheses; else, of the words `(A)`, `(B)`, ... set apart by white space, the only one in
    the last paragraph, or else the only one in the whole reply. The script asks GPT-3.5 for the rest.

    Returns:
        `(A)` to `(E)`.
    """
    choices = _choices(num_choices)
    whole = text.strip()
    for form in (f"({whole})", whole):
        if form in choices:
            return form
    in_all, in_last = (set(choices) & set(part.split()) for part in (text, text.split("\n\n")[-1]))
    if len(in_last) == 1:
        return in_last.pop()
    return in_all.pop() if len(in_all) == 1 else None


def chosen_letter(text: str, num_choices: int) -> str | None:
    """The option that a reply chooses: `official_letter`, else by rules; None if it names none, or several.

    The rules stand where the official script asks a language model, and read what is written: `(B).`, `B. a ball`,
    `the answer is B`, `option B`, `B is closer`; what follows `answer:` or `therefore` first, lists of options last.

    Returns:
        `(A)` to `(E)`.
    """
    official = official_letter(text, num_choices)
    if official is not None:
        return official
    choices = _choices(num_choices)
    text = plain(text)
    for part in (after_answer(text), after_therefore(text), without_options(text)):
        if part is None:
            continue
        named = named_choice(part, choices)
        if named is not None:
            return named
        letters = {next(filter(None, found.groups())) for found in _CHOSEN.finditer(part)}
        if len(letters) == 1 and not _DENIED.search(part):
            chosen = f"({letters.pop()})"
            return chosen if chosen in choices else None
    return None


def _choices(num_choices: int) -> tuple[str, ...]:
    return tuple(f"({letter})" for letter in "ABCDE"[:num_choices])
