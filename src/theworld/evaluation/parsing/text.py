"""Plain text of replies without markup and lists of options, and the option letter that a reply chooses."""

import re

from theworld.evaluation.scoring import named_choice

_OPENING = re.compile(r"\A\s*(?:model\s*\n\s*)?(?:\[?\d*\]\s*\?+)?")
"""Text before a reply: Gemma's name of the turn, or the rest of the question, `1]?`."""

_REGION = re.compile(
    r"\bregions?[\s_]*(?:[\[(<{]\s*(\d+)\s*[\])>}]|(\d)>?(?!\w|[.,]\d|\s*[-–—/'\"]\s*\d"
    r"|\s*(?:m|cm|mm|km|ft|yd|met\w+|cent\w+|mill\w+|kilo\w+|inch\w*|foot|feet|yards?)\b))",
    re.IGNORECASE,
)
"""`Region [0]`, `region 0`, `<region0>`; a digit without brackets only if it is not a measure."""

_BRACKETED = re.compile(r"\[\s*(\d+)\s*\]")
_SPACES = re.compile(r"[^\S\n]{2,}")
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|textbf|boxed)\s*\{([^{}]*)\}")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_UNDERSCORES = re.compile(r"(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)")
_MARGIN = re.compile(r"^[ \t]*(?:#+|>)[ \t]*", re.MULTILINE)
_SAME = str.maketrans(
    {
        "’": "'",
        "‘": "'",
        "′": "'",
        "“": '"',
        "”": '"',
        "″": '"',
        "−": "-",
        "‐": "-",
        "‑": "-",
        "⁄": "/",
        "\u00a0": " ",
        "\t": " ",
    }
    | dict.fromkeys("*`$")
    | {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3"}
)
"""Characters and their plain equivalents."""

_OPTION = re.compile(r"^[ \t]*(?:[-•][ \t]*)?\(?([A-Ea-e])[).:](?:[ \t]|$).*$", re.MULTILINE)
_ANSWER = re.compile(r"\b(?:answer|conclusion|confirmation)\s*:|\banswer\s+is\b", re.IGNORECASE)
_THEREFORE = re.compile(
    r"\b(?:therefore|thus|hence|in conclusion|considering (?:these|this|all)\b|based on (?:these|this)\b)",
    re.IGNORECASE,
)
_MOST_CHARACTERS = 10_000
"""Longest part of a reply that is read; repetition beyond it adds nothing and costs time."""


def plain(text: str) -> str:
    """Remove markup; `Region [0]` and all its spellings become `region_0`, so that 0 is not read as a number.

    Lines are kept, since they separate lists. The function accepts any text and never raises.
    """
    text = text[:_MOST_CHARACTERS].translate(_SAME)
    text = _OPENING.sub("", text, count=1)
    if "\\" in text:
        text = _COMMAND.sub(" ", _LATEX.sub(r" \1 ", text))
    if "#" in text or ">" in text:
        text = _MARGIN.sub("", text)
    if "_" in text:
        text = _UNDERSCORES.sub("", text)
    text = _REGION.sub(lambda match: f"region_{match[1] or match[2]} ", text)
    if "[" in text:
        text = _BRACKETED.sub(r"region_\1 ", text)
    return _SPACES.sub(" ", text)


def after_answer(text: str) -> str | None:
    """Return the text after the last `answer:` of a plain text; None without one."""
    return _after_last(_ANSWER, text, ("answer", "conclusion", "confirmation"))


def after_therefore(text: str) -> str | None:
    """Return the text after the last `therefore` of a plain text; None without one."""
    return _after_last(
        _THEREFORE, text, ("therefore", "thus", "hence", "conclusion", "considering", "based on this", "based on these")
    )


def without_options(text: str) -> str:
    """Remove lines that list options, `A) 10 cm`, from a plain text; a list has at least two letters."""
    if len({match[1].upper() for match in _OPTION.finditer(text)}) < 2:
        return text
    return _OPTION.sub("", text)


def _after_last(mark: re.Pattern[str], text: str, words: tuple[str, ...]) -> str | None:
    lowered = text.casefold()
    for word in words:  # ten times faster than the pattern, and usually decisive
        if word in lowered:
            break
    else:
        return None
    end = None
    for match in mark.finditer(text):
        end = match.end()
    return None if end is None else text[end:]


_CHOSEN = re.compile(
    r"\A\W*([A-E])(?=\s*(?:[.):,\n]|\Z))"  # "B", "B. a ball", "B) 3"
    r"|\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ll]etter|[Cc]hoose|[Ss]elect|[Pp]ick)"
    r"(?:\s+is|\s+would be)?\s*:?\s*\(?([A-E])\b"
    r"|\b([A-E])(?=\s+(?:is|would be)\b)"
)
_DENIED = re.compile(r"\b(?:none of|neither|cannot|can't|unable|not)\b", re.IGNORECASE)


def official_letter(text: str, num_choices: int) -> str | None:
    """Return the letter that BLINK's own script reads without a language model; None if it would ask one.

    In its order (`analyze_answer` in `eval/test_benchmark.py` of github.com/zeyofu/BLINK_Benchmark): a reply that is a
    letter, with or without parentheses; else the only one of the words `(A)`, `(B)`, ... (separated by white space) in
    the last paragraph, or else in the whole reply. The script asks GPT-3.5 for the rest.

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
    """Return the option that a reply chooses: `official_letter`, else by rules; None if it names none, or several.

    The rules replace the official script's language model: they read `(B).`, `B. a ball`, `the answer is B`, `option
    B`, `B is closer`, first in the text after `answer:` or `therefore`, and ignore lists of options.

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
        letters = {next(filter(None, match.groups())) for match in _CHOSEN.finditer(part)}
        if len(letters) == 1 and not _DENIED.search(part):
            chosen = f"({letters.pop()})"
            return chosen if chosen in choices else None
    return None


def _choices(num_choices: int) -> tuple[str, ...]:
    return tuple(f"({letter})" for letter in "ABCDE"[:num_choices])
