"""Options of a question: their texts in a prompt, and the words by which a reply names one of them."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

Options: TypeAlias = tuple[tuple[str, ...], ...]
"""Texts of the options (A), (B), ...; each has one text or several of one meaning, or none if they are unknown."""

LETTERS: Final = "ABCDEFGH"
NUMBERS: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_SUFFIXES = ("st", "nd", "rd", "th", "th", "th")
_PICTURES = r"(?:images?|pictures?|photos?|photographs?|paintings?|figures?|frames?|pics?)"
_NOUNS = (
    r"options?|choices?|answer|letters?|points?|box|bounding box|images?|pictures?|figures?|photos?|photographs?"
    r"|paintings?|labell?ed|label|candidates?|circles?|parts?|pieces?|diagrams?|patterns?|marked|spots?|dots?|regions?"
)

_IN_PROMPT = re.compile(r"\(([A-H])\)[ \t]*(.*?)(?=\s*\([A-H]\)|\n|\s*Answer with\b|\Z)", re.DOTALL)
_ORDINAL_TEXT = re.compile(rf"(?:the\s+)?({'|'.join(_ORDINALS)})\s+{_PICTURES}", re.IGNORECASE)
_NOT_OF_MANY = r"(?!\s+(?:of|on|in|at|is|to|near|behind|with|standing|sitting)\b)"
"""Text after `one` as a number: "one on the left" is not a count."""
_THERE_ARE_NO = (
    r"there\s+(?:are|is)\s+no(?!\s+(?:\w+\s+)?(?:answer|option|choice|way|information)|\s+(?:clear|correct))"
)
_SAME_TEXT = re.compile(r"(?:about|roughly|approximately)\s+the\s+same", re.IGNORECASE)


def options_in(prompt: str) -> Options:
    """Return the texts of the last list `(A) 3 (B) 4` in a prompt, on one line or several; empty without one."""
    listed: list[tuple[str, ...]] = []
    for match in _IN_PROMPT.finditer(prompt):
        if match[1] == "A":
            listed = []
        if match[1] == LETTERS[len(listed) : len(listed) + 1]:
            listed.append((match[2].strip(),))
    return tuple(listed) if len(listed) > 1 else ()


class Mention(NamedTuple):
    """Place in a text that names an option."""

    option: int
    """Index of the option; it may lie beyond the options, as does the E of two."""
    start: int
    end: int


class Mentions:
    """Finds the options that a text names, by letter if they have letters, and by their texts."""

    def __init__(self, options: Options, is_lettered: bool) -> None:
        """Compile the patterns of the options."""
        texts = [(text.strip(), index) for index, names in enumerate(options) for text in names if text.strip()]
        texts.sort(key=lambda pair: -len(pair[0]))  # "dark red" is not "red"
        self.says_yes_or_no = _yes_and_no(options)
        self._option_of: dict[str, int] = {}
        self.same = next((index for text, index in texts if _SAME_TEXT.fullmatch(text)), None)
        words = []
        for number, (text, index) in enumerate(texts):
            self._option_of[f"t{number}"] = index
            words.append(f"(?P<t{number}>{_pattern(text, is_lettered)})")
        named = rf"(?<!\w)(?<!\d[.,])(?:{'|'.join(words)})(?!\w|[.,]\d)" if words else ""
        letters = _letters() if is_lettered else ""
        self._at_start = re.compile("|".join(filter(None, (named, letters + _LOWER_ALONE if is_lettered else ""))))
        if self.says_yes_or_no:
            named = ""  # "no" has other uses within a sentence
        anywhere = "|".join(filter(None, (named, letters)))
        self._anywhere = re.compile(anywhere) if anywhere else None

    def within(self, text: str) -> Iterator[Mention]:
        """Yield all mentions in order."""
        for match in self._anywhere.finditer(text) if self._anywhere else ():
            yield self._mention(match)

    def at(self, text: str, place: int) -> Mention | None:
        """Return the mention that begins at a place; there, lower-case letters count, too."""
        match = self._at_start.match(text[place:])  # as if the text began there: "-B"
        return None if match is None or not match[0] else self._mention(match, place)

    def _mention(self, match: re.Match[str], place: int = 0) -> Mention:
        name = match.lastgroup or ""
        option = self._option_of.get(name)
        letter = LETTERS.index(match[name].upper()) if option is None else option
        return Mention(letter, place + match.start(), place + match.end())


@lru_cache(maxsize=1024)
def mentions_of(options: Options, is_lettered: bool) -> Mentions:
    """Return the finder of some options; items of a benchmark share it."""
    return Mentions(options, is_lettered)


_AFTER_A = (
    r"\s*(?:[.,;:!?)\]}/&=\n\"'–—-]|\(|\Z)|\s+(?:is|was|has|and|or|are|would|could|should|appears?|seems?|looks?|because|since"
    r"|as|at|in|on|to|than|with|corresponds?|matches|match|due|more|most|being|rather|not|instead|over|will|can|may|shares?|fits?|represents?|the|it|but)\b"
)
"""Text after a capital A that is a letter, not an article."""
_LOWER_ALONE = r"|(?P<lower>[b-h])(?![\w'])|(?P<article>a)(?=\s*(?:[.,;:!?)\]\n]|\Z))"


def _letters() -> str:
    """Pattern of a letter as an option: `(B)`, `[b]`, `"B"`, `B)`, `point B`, `B`."""
    linked = r"[\s_-]*(?:(?:is|would be|as|with|number|no\.|#|:)\s*)?[(\[\"']?"
    lower_a = r"(?P<noun_article>a)(?=\s*(?:[.,;:!?)\]\n]|\Z|(?:is|has|corresponds?|appears?|seems?)\b))"
    return (
        r"[(\[{<\"']\s*(?P<bracketed>[A-Ha-h])\s*[)\]}>\"':.]"
        r"|(?<![A-Za-z0-9_'])(?P<closed>[A-Ha-h])\)"
        rf"|\b(?i:{_NOUNS}){linked}(?:(?P<noun>[A-H])(?![\w'])|(?P<noun_lower>[b-h])(?![\w'])|{lower_a})"
        rf"|(?<![A-Za-z0-9_'.-])(?:(?P<bare>[B-H])(?![\w'-]|\.\w)|(?P<bare_a>A)(?={_AFTER_A}))"
    )


def _pattern(text: str, is_lettered: bool) -> str:
    """Pattern of the words that name an option by its text."""
    if len(text) == 1 and text.isalpha():
        return re.escape(text)  # in its own case: the article "a" does not name "A"
    forms = [r"\s+".join(map(re.escape, text.split()))]
    number = text.casefold()
    if len(text) < 3 and text.isascii() and text.isdigit() and int(text) < len(NUMBERS):
        forms.append(NUMBERS[int(text)] + (_NOT_OF_MANY if int(text) == 1 else ""))
        if int(text) == 0 and is_lettered:
            forms.append(_THERE_ARE_NO)
    elif number in NUMBERS:
        forms.append(str(NUMBERS.index(number)))
    ordinal = _ORDINAL_TEXT.fullmatch(text)
    if ordinal is not None:
        place = _ORDINALS.index(ordinal[1].casefold())
        order = rf"(?:the\s+)?(?:{_ORDINALS[place]}|{place + 1}{_SUFFIXES[place]})"
        number = rf"(?:{place + 1}|{NUMBERS[place + 1]})"
        forms.append(rf"{order}(?:\s+(?:{_PICTURES}|one))?(?!\s+thought)")
        forms.append(rf"{_PICTURES}[\s_-]*(?:number\s+|no\.\s*|#\s*)?\(?{number}")
    if _SAME_TEXT.fullmatch(text):
        forms += [
            r"(?:(?:about|roughly|approximately|almost|nearly)\s+)?the\s+same",
            r"(?:about|roughly)\s+same",
            r"equal(?:ly)?(?:\s+dark)?",
            r"same",
            r"(?:similar|identical)",
            r"no\s+(?:\w+\s+)?difference",
        ]
    return rf"(?i:{'|'.join(forms)})"


def _yes_and_no(options: Options) -> tuple[int, int] | None:
    """Return the indices of yes and no if these are the options."""
    texts: Sequence[str] = [names[0].casefold().strip(" .") if names else "" for names in options]
    for yes, no in (("yes", "no"), ("true", "false")):
        if len(texts) == 2 and set(texts) == {yes, no}:
            return texts.index(yes), texts.index(no)
    return None
