"""Plain text of replies: without markup, special tokens, the characters of other scripts, and lists of options."""

import re
import unicodedata
from functools import lru_cache

_OPENING = re.compile(r"\A\s*(?:(?:model|assistant|ai|bot|gpt)\s*(?:\n|:)\s*)*(?:\[?\d*\]\s*\?+)?", re.IGNORECASE)
"""Text before a reply: the name of the turn, or the rest of the question, `1]?`."""
_TOKEN = re.compile(
    r"</?s>|<\|[^|<>\n]{1,40}\|>|<(?:bos|eos|pad|unk|image|img|sep|cls|eoc|end_of_turn|start_of_turn|ImageHere)\b[^<>\n]*>"
    r"|\[/?INST\]|\[(?:CLS|SEP|PAD|EOS|BOS)\]|</?(?:p|phrase|b|i|em|strong|div|span|br|option)\s*/?>|</(?:answer|think|img)>"
)
"""Special tokens of tokenizers and their closing tags."""
_THOUGHT_ENDS = ("</think>", "</thinking>")

_REGION = re.compile(
    r"\bregions?[\s_]*(?:[\[(<{]\s*(\d+)\s*[\])>}]|(\d)>?(?!\w|[.,]\d|\s*[-–—/'\"]\s*\d"
    r"|\s*(?:m|cm|mm|km|ft|yd|met\w+|cent\w+|mill\w+|kilo\w+|inch\w*|foot|feet|yards?)\b))",
    re.IGNORECASE,
)
"""`Region [0]`, `region 0`, `<region0>`; a digit without brackets only if it is not a measure."""

_BRACKETED = re.compile(r"\[\s*(\d+)\s*\]")
_SPACES = re.compile(r"[^\S\n]{2,}")
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}")
_BOXED = re.compile(r"\\boxed\s*\{([^{}]*)\}")
_TAGGED = re.compile(r"<answer>\s*([^<]*)", re.IGNORECASE)
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_UNDERSCORES = re.compile(r"(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)")
_MARGIN = re.compile(r"^[ \t]*(?:#+|>)[ \t]*", re.MULTILINE)
_WIDTHLESS = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\ufe0e\ufe0f\ufeff"
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
    }
    | dict.fromkeys("*`$" + _WIDTHLESS)
    | dict.fromkeys("\t\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000", " ")
    | {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3"}
    | {chr(wide): chr(wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F)}
    | {"。": ". ", "、": ", ", "「": "[", "」": "]", "『": "[", "』": "]", "【": "[", "】": "]", "〔": "[", "〕": "]"}
    | {"《": "[", "》": "]", "〈": "[", "〉": "]", "⟨": "[", "⟩": "]", "❨": "(", "❩": ")", "«": '"', "»": '"', "„": '"'}
    | {
        chr(first + place): f"({letter})"
        for first in (0x24B6, 0x24D0, 0x1F110, 0x1F130, 0x1F150, 0x1F170, 0x249C)
        for place, letter in enumerate("ABCDEFGH")
    }
    | {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0x1D400, 0x1D800)}
)
"""Characters and their plain equivalents."""

_OPTION = re.compile(r"^[ \t]*(?:[-•][ \t]*)?\(?([A-Ea-e])[).:](?:[ \t]|$).*$", re.MULTILINE)
_ANSWER = re.compile(r"\b(?:answer|conclusion|confirmation)[\"']?\s*:|\banswer\s+is\b", re.IGNORECASE)
_THEREFORE = re.compile(
    r"\b(?:therefore|thus|hence|in conclusion|considering (?:these|this|all)\b|based on (?:these|this)\b)",
    re.IGNORECASE,
)
_MOST_CHARACTERS = 10_000
"""Longest part of a reply that is read; repetition beyond it adds nothing and costs time."""


def plain(text: str) -> str:
    """Remove markup; `Region [0]` and all its spellings become `region_0`, so that 0 is not read as a number.

    An answer in a box or a tag becomes `answer: ...`. Lines are kept, since they separate lists. The function accepts
    any text and never raises.
    """
    for end in _THOUGHT_ENDS:
        text = text.rpartition(end)[2]
    if len(text) > _MOST_CHARACTERS:
        text = text[: _MOST_CHARACTERS // 2] + "\n" + text[-_MOST_CHARACTERS // 2 :]
    text = text.translate(_SAME)
    if "<" in text or "[" in text:
        text = _TAGGED.sub(r"\nanswer: \1\n", _TOKEN.sub(" ", text))
    text = _OPENING.sub("", text, count=1)
    if "\\" in text:
        text = _BOXED.sub(r" answer: \1 ", _LATEX.sub(r" \1 ", text))
        text = _COMMAND.sub(" ", text)
    if "#" in text or ">" in text:
        text = _MARGIN.sub("", text)
    if "_" in text:
        text = _UNDERSCORES.sub("", text)
    text = _REGION.sub(lambda match: f"region_{match[1] or match[2]} ", text)
    if "[" in text:
        text = _BRACKETED.sub(r"region_\1 ", text)
    return _SPACES.sub(" ", text)


_LEADING_LABEL = re.compile(r"\A(?:answer:\s*)+")
_TRAILING_PUNCTUATION = " .,;:!?"


@lru_cache(maxsize=4096)  # answers and choices repeat on every row
def normalise(text: str) -> str:
    """Remove case, repeated white space, a leading `answer:` and trailing punctuation; keep articles and all else."""
    return _LEADING_LABEL.sub("", " ".join(text.casefold().split())).rstrip(_TRAILING_PUNCTUATION)


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
