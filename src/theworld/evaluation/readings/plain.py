"""Replies as plain text: no markup, regions as words without digits of their own, lists of options left out."""

import re

_OPENING = re.compile(r"\A\s*(?:model\s*\n\s*)?(?:\[?\d*\]\s*\?+)?")
"""What is no part of a reply: Gemma's name of the turn, and the end of the question, `1]?`, written on."""

_REGION = re.compile(
    r"\bregions?[\s_]*(?:[\[(<{]\s*(\d+)\s*[\])>}]|(\d)>?(?!\w|[.,]\d|\s*[-–—/'\"]\s*\d"
    r"|\s*(?:m|cm|mm|km|ft|yd|met\w+|cent\w+|mill\w+|kilo\w+|inch\w*|foot|feet|yards?)\b))",
    re.IGNORECASE,
)
"""`Region [0]`, `region 0`, `<region0>`; a digit without brackets only if it measures nothing."""

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
"""Characters that say the same in another form."""

_OPTION = re.compile(r"^[ \t]*(?:[-•][ \t]*)?\(?([A-Ea-e])[).:](?:[ \t]|$).*$", re.MULTILINE)
_ANSWER = re.compile(r"\b(?:answer|conclusion|confirmation)\s*:|\banswer\s+is\b", re.IGNORECASE)
_THEREFORE = re.compile(
    r"\b(?:therefore|thus|hence|in conclusion|considering (?:these|this|all)\b|based on (?:these|this)\b)",
    re.IGNORECASE,
)
_MOST_CHARACTERS = 10_000
"""Of a reply; what a model repeats beyond that adds nothing, and costs time."""


def plain(text: str) -> str:
    """The text without markup; `Region [0]` and all its spellings become `region_0`, where no number is read.

    Lines are kept, since lists are told by them. Any text is taken; nothing raises.
    """
    text = text[:_MOST_CHARACTERS].translate(_SAME)
    text = _OPENING.sub("", text, count=1)
    if "\\" in text:
        text = _COMMAND.sub(" ", _LATEX.sub(r" \1 ", text))
    if "#" in text or ">" in text:
        text = _MARGIN.sub("", text)
    if "_" in text:
        text = _UNDERSCORES.sub("", text)
    text = _REGION.sub(lambda found: f"region_{found[1] or found[2]} ", text)
    if "[" in text:
        text = _BRACKETED.sub(r"region_\1 ", text)
    return _SPACES.sub(" ", text)


def after_answer(text: str) -> str | None:
    """What stands behind the last `answer:` of a plain text; None without one."""
    return _after_last(_ANSWER, text, ("answer", "conclusion", "confirmation"))


def after_therefore(text: str) -> str | None:
    """What stands behind the last `therefore` of a plain text; None without one."""
    return _after_last(
        _THEREFORE, text, ("therefore", "thus", "hence", "conclusion", "considering", "based on this", "based on these")
    )


def without_options(text: str) -> str:
    """A plain text less the lines that list options, `A) 10 cm`: two letters at least make a list."""
    if len({found[1].upper() for found in _OPTION.finditer(text)}) < 2:
        return text
    return _OPTION.sub("", text)


def _after_last(mark: re.Pattern[str], text: str, words: tuple[str, ...]) -> str | None:
    lowered = text.casefold()
    for word in words:  # ten times faster than the pattern, and most often the end of it
        if word in lowered:
            break
    else:
        return None
    end = None
    for found in mark.finditer(text):
        end = found.end()
    return None if end is None else text[end:]
