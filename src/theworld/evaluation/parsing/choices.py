"""Choices: the option that a reply chooses among those of its question, by its letter or its text."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from theworld.evaluation.parsing.options import LETTERS, Mention, Mentions, Options, mentions_of
from theworld.evaluation.parsing.text import normalise, plain
from theworld.evaluation.parsing.yes_no import says_yes

_MARK = re.compile(
    r"\b(?:answer|choice|option)[\"']?\s*(?:is\b|would be\b|should be\b|must be\b|:|=)"
    r"|\banswer\b[^.:\n]{0,60}(?:\bis\b|:)|(?:答案|选项|選擇|选择|正解|정답|答え)\s*(?:是|为|為|は|은|는)?\s*[::]?",
    re.IGNORECASE,
)
"""Words directly before an answer."""
_TO_ANSWER = re.compile(
    r"(?:[^\w(\[{<\"'.?]|\.\.\.|\b(?:the|most|more|likely|probably|definitely|clearly|therefore|option|choice|letter"
    r"|answer|is|that|still|be|would|should|it|there|are)\b)*",
    re.IGNORECASE,
)
"""Words between `the answer is` and the answer."""
_DIALOGUE = re.compile(r"(?<=\S)\s*(?:###\s*(?:\Z|\w+\s*:)|\n\s*(?:USER|Human|Question|Q|User|Instruction|Input)\s*:)")
"""A next question, which the model asks itself."""
_ALSO = re.compile(r"[\s\"')\]}]*(?:,|or|and|/|&|and/or)\s*(?:the\s+|either\s+|also\s+)?", re.IGNORECASE)
_LISTED = re.compile(r"[\s\-•]*[(\[]?([A-Ha-h])[)\].:](?=\s|\Z|\w)")
_INLINE = re.compile(r"(?<!\w)([A-H]):\s")
_INLINE_ITEM = re.compile(r"(?<!\w)[A-H]:\s[^.\n]*[.\n]?")
_ENDS = re.compile(r"[\"')\]}]*\s*(?:[.!\n]|\Z|,\s*(?:as|because|since|which|it|not)\b)", re.IGNORECASE)
"""End of an answer of a few words, before its reasons."""
_CLAUSE = re.compile(
    r"(?<=[^\s.!?][.!?])[\"')]*\s+(?=\S)|\n+|;\s*|,?\s*\b(?:while|whereas|but|however|although|though|because|since)\b,?"
    r"|,\s*(?=so\b)|,?\s*\bwhich (?:means|suggests|indicates|implies)\b|,\s*(?:and|as)\s+(?=\S+\s+\S)"
    r"|\s+as\s+(?=(?:[Bb]ox|[Pp]oint|[Oo]ption) [A-H] [a-z])"
)
_SAID = re.compile(
    r"\b(?:answer|correct|right (?:answer|choice|option)|choose|chose|select|selected|pick|go with|opt for|conclu\w+"
    r"|therefore|thus|hence|consequently|final|finally|in summary|overall|i'd say|i would say|i (?:think|believe|guess)"
    r"|my (?:guess|choice)|best (?:guess|choice|option|answer|match|fit)|so)\b",
    re.IGNORECASE,
)
"""Words of a clause that chooses."""
_FITS = re.compile(
    r"\b(?:most|more|closer|closest|nearer|nearest|darker|darkest|correspond\w*|match\w*|similar|likely|real|authentic|genuine"
    r"|missing|best|better|accurate\w*|same|fits?|complet\w+|moves?|moved|moving|rotat\w+|resembl\w+|shares?|equivalent|follows"
    r"|next|there (?:is|are)|total|suitable|precise\w*|tight\w*|aligns?|consistent|counterpart|falls?|lands?)\b",
    re.IGNORECASE,
)
"""Words of a clause that says of an option what the question asks for."""
_REJECTS = re.compile(
    r"\b(?:farther|further|farthest|lighter|brighter|less|least|fake|generated|artificial\w*|synthetic|edited|manipulated"
    r"|incorrect|wrong|worse|unlikely|eliminat\w+|ruled? out|exclud\w+|discard\w*|differ\w*|dissimilar|inaccurate\w*"
    r"|not|never|neither|nor|cannot)\b|n't\b",
    re.IGNORECASE,
)
_LESS = re.compile(r"\b(?:farther|further|lighter|brighter|less)\b.*\bthan\b", re.IGNORECASE)
_NOT = re.compile(
    r"(?:\bnot|\bcannot|n't|\bneither|\bnor|\bexcept|\bwithout)(?:\s+(?!but\b|so\b|rather\b)\w+){0,4}\s+\(?\Z",
    re.IGNORECASE,
)
_UNDECIDED = re.compile(r"\b(?:whether|if|out of|between|among|comparing)\b[^,]*\Z", re.IGNORECASE)
_ASIDE = re.compile(
    r"\b(?:than|compared (?:to|with)|relative to|instead of|as opposed to|unlike|in contrast to|opposite of)\s+"
    r"(?:[^\s,.;:]+\s+){0,5}\(?\Z|\bfrom\s+(?:the\s+)?\Z",
    re.IGNORECASE,
)
"""Words before an option that another is compared with, or that a movement leaves."""
_SINCE = re.compile(r"(\b(?:since|because|given|considering)\b[^,.\n]{3,150}),", re.IGNORECASE)
_REACH = 60
"""Length of the text before a mention that decides its role, characters."""
_NONE = re.compile(
    r"\b(?:none of|neither|no (?:correct|suitable|matching|such|valid)|not? (?:any|one) of)\b", re.IGNORECASE
)
_CANNOT = re.compile(
    r"\b(?:cannot|can not|unable|impossible|not possible|not able|sorry|insufficient|not enough|don't know|not sure"
    r"|unsure|not clear|unclear|difficult|hard to|as an ai)\b|can't\b",
    re.IGNORECASE,
)
_DENIES = re.compile(r"\b(?:is|are|does|do|was|were|will|wo|would|has|have)(?:\s+not\b|n't\b)", re.IGNORECASE)


class _Clause(NamedTuple):
    start: int
    text: str
    named: frozenset[int]
    """Options that the clause names without rejecting them."""


def chosen_option(reply: str, options: Options, is_lettered: bool = True) -> int | None:
    """Return the index of the option that a reply chooses; None if it chooses none, or several.

    In this order: a reply that is one option; the option after `the answer is`, the last time; a letter at the start;
    yes or no, if these are the options; the last clause that chooses, then the last that says of one option that it is
    closer, matches, ...; the only option named in the last paragraph, or else in the whole reply. Lists that repeat the
    options count as nothing, and so do options that are denied or only compared with.

    Args:
        reply: the unchanged reply.
        options: their texts; `()` for an option whose text is unknown.
        is_lettered: True if the question gives the options letters.
    """
    mentions = mentions_of(options, is_lettered)
    text = _DIALOGUE.split(plain(reply), maxsplit=1)[0] or plain(reply)
    for read in (_whole, _after_mark):
        option = read(text, mentions, options, is_lettered)
        if option is not None:
            return _known(option, options)
    text = _without_listing(text, options) if is_lettered else text
    return _known(_in_prose(text, mentions, is_lettered), options)


def named_choice(text: str, choices: tuple[str, ...], options: Options = ()) -> str | None:
    """Return the choice that a reply names, as `chosen_option`; None if it names none or several.

    Args:
        text: the unchanged reply.
        choices: texts, or letters `A` or `(A)`, of the options.
        options: their texts if the choices are letters; empty: unknown.
    """
    letters = [choice.strip("()") for choice in choices]
    if letters == list(LETTERS[: len(letters)]):
        known = options if len(options) == len(choices) else ((),) * len(choices)
        option = chosen_option(text, known)
    else:
        if len({normalise(choice) for choice in choices}) < len(choices):
            whole = normalise(text)
            if sum(normalise(choice) == whole for choice in choices) > 1:
                return None
        option = chosen_option(text, tuple((choice,) for choice in choices), is_lettered=False)
    return None if option is None else choices[option]


def official_letter(text: str, num_choices: int) -> str | None:
    """Return the letter that BLINK's own script reads without a language model; None if it would ask one.

    In its order (`analyze_answer` in `eval/test_benchmark.py` of github.com/zeyofu/BLINK_Benchmark): a reply that is a
    letter, with or without parentheses; else the only one of the words `(A)`, `(B)`, ... (separated by white space) in
    the last paragraph, or else in the whole reply. The script asks GPT-3.5 for the rest.

    Returns:
        `(A)` to `(E)`.
    """
    choices = [f"({letter})" for letter in LETTERS[:num_choices]]
    whole = text.strip()
    for form in (f"({whole})", whole):
        if form in choices:
            return form
    in_all, in_last = (set(choices) & set(part.split()) for part in (text, text.split("\n\n")[-1]))
    if len(in_last) == 1:
        return in_last.pop()
    return in_all.pop() if len(in_all) == 1 else None


def chosen_letter(text: str, options: int | Options) -> str | None:
    """Return the letter that a reply to BLINK chooses: `official_letter`, else `chosen_option` in place of GPT-3.5.

    Args:
        text: the unchanged reply.
        options: their texts, or their number if the texts are unknown.

    Returns:
        `(A)` to `(E)`; None for no option, or several.
    """
    known = ((),) * options if isinstance(options, int) else options
    official = official_letter(text, len(known))
    if official is not None:
        return official
    option = chosen_option(text, known)
    return None if option is None else f"({LETTERS[option]})"


_OUTSIDE = len(LETTERS)
"""Index for "several options", which is none."""


def _known(option: int | None, options: Options) -> int | None:
    return option if option is not None and option < len(options) else None


def _whole(text: str, mentions: Mentions, options: Options, is_lettered: bool) -> int | None:
    """Read a reply that is one option and nothing else."""
    whole = normalise(text)
    equal = {
        index
        for index, names in enumerate(options)
        if whole in {normalise(name) for name in names} or (is_lettered and whole == LETTERS[index].casefold())
    }
    return equal.pop() if len(equal) == 1 else None


def _after_mark(text: str, mentions: Mentions, options: Options, is_lettered: bool) -> int | None:
    """Read the option after the last words such as `the answer is` that one follows."""
    for mark in reversed(list(_MARK.finditer(text))):
        option = _next(text, mark.end(), mentions)
        if option is not None:
            return option
    return None


def _opening(text: str, mentions: Mentions) -> int | None:
    """Return the option with which a reply begins: a letter with a mark, `B)`, or all of the first sentence."""
    start = _TO_ANSWER.match(text)
    place = start.end() if start else 0
    mention = mentions.at(text, place)
    if mention is None:
        return None
    if _ENDS.match(text, mention.end):
        return _next(text, place, mentions)
    is_marked = _LISTED.match(text, mention.start) is not None
    sentence = re.split(r"[.!?](?=\s)|\n", text[mention.end + 1 :], maxsplit=1)[0]
    return _next(text, place, mentions) if is_marked and not _REJECTS.search(sentence) else None


def _next(text: str, place: int, mentions: Mentions) -> int | None:
    """Return the option that a text names at a place; `_OUTSIDE` if it adds another."""
    start = _TO_ANSWER.match(text, place)
    mention = mentions.at(text, start.end() if start else place)
    if mention is None and start is not None and start.end() > place:
        mention = mentions.at(text, place)
    if mention is None:
        return None
    also = _ALSO.match(text, mention.end)
    other = None if also is None else mentions.at(text, also.end())
    return mention.option if other is None or other.option == mention.option else _OUTSIDE


def _in_prose(text: str, mentions: Mentions, is_lettered: bool) -> int | None:
    opening = _opening(text, mentions)
    if opening is not None:
        return opening
    text = _SINCE.sub(r"\1\n", text)  # "since A is far away, B" is two clauses
    clauses = list(_clauses(text, mentions))
    if mentions.says_yes_or_no is not None:
        affirms = says_yes(text)
        if affirms is None and _DENIES.search(text) and not _CANNOT.search(text):
            affirms = False
        if affirms is not None:
            return mentions.says_yes_or_no[not affirms]
    options = {mention.start for mention in mentions.within(text)}
    none = next((match for match in _NONE.finditer(text) if match.start() not in options), None)
    for cue in (_SAID, _FITS):
        decided = [clause for clause in clauses if len(clause.named) == 1 and cue.search(clause.text)]
        if decided and (none is None or decided[-1].start > none.start()):
            return min(decided[-1].named)
    if none is not None or _CANNOT.search(text):
        return None
    beginning = text.rstrip().rfind("\n\n")
    for part in ([clause for clause in clauses if clause.start > beginning], clauses):
        named = frozenset[int]().union(*(clause.named for clause in part))
        if len(named) == 1:
            return min(named)
    return None


def _clauses(text: str, mentions: Mentions) -> Iterator[_Clause]:
    start = 0
    for boundary in [*((match.start(), match.end()) for match in _CLAUSE.finditer(text)), (len(text), len(text))]:
        place, clause = start, text[start : boundary[0]]
        start = boundary[1]
        if clause.strip():
            found = list(mentions.within(clause))
            named = frozenset(mention.option for mention in found if _is_chosen(clause, mention, found))
            if not named and len(found) == 2 and _LESS.search(clause, found[0].end, found[1].start):
                named = frozenset([found[1].option])  # "A is farther away than B"
            if mentions.same in named:
                named = frozenset([mentions.same])  # "A and B are about the same"
            if len(named) > 1 and clause.rstrip().endswith("?"):
                continue
            yield _Clause(place, clause, named)


def _is_chosen(clause: str, mention: Mention, found: Sequence[Mention]) -> bool:
    """Return False for a mention that is denied, left open or compared with."""
    before = clause[max(0, mention.start - _REACH) : mention.start]
    if _NOT.search(before) or _ASIDE.search(before) or _UNDECIDED.search(before):
        return False
    after = clause[
        mention.end : min((other.start for other in found if other.start >= mention.end), default=len(clause))
    ]
    rejected = _REJECTS.search(_NOT.sub("", after))
    if rejected is None:
        return True
    fits = [match for cue in (_SAID, _FITS) if (match := cue.search(after, 0, rejected.start())) is not None]
    return bool(fits)


def _without_listing(text: str, options: Options) -> str:
    """Remove the lines, or the one line, that repeat the options (A), (B), ... in order."""
    lines = text.split("\n")
    run: list[int] = []
    for number, line in enumerate(lines):
        match = _LISTED.match(line)
        if match is None:
            continue
        letter = match[1].upper()
        if letter == LETTERS[len(run) : len(run) + 1]:
            run.append(number)
        elif len(run) < 2:
            run = [number] if letter == "A" else []
    if len(run) > 1:
        return "\n".join(line for number, line in enumerate(lines) if number not in run)
    if len(options) > 1 and "".join(_INLINE.findall(text)) == LETTERS[: len(options)]:
        return _INLINE_ITEM.sub(" ", text)
    if all(options):
        listed = r"[\s,;]*(?:or\s+|and\s+)?".join(
            rf"[(\[]?{letter}[)\].:]\s*(?:{'|'.join(map(re.escape, names))})"
            for letter, names in zip(LETTERS, options, strict=False)
        )
        return re.sub(listed, " ", text, flags=re.IGNORECASE)
    return text
