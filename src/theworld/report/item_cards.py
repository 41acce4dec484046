"""Cards of items: picture, futures, question and replies; separate from the page, which places them."""

from collections.abc import Iterable, Sequence
from typing import Final

from theworld.evaluation.scoring import State
from theworld.report.folder import Picture, ShownItem
from theworld.report.html import escaped
from theworld.report.run_tables import MARKS, STATES, reply

_PIXELATED_BELOW_PX: Final = 160
"""Height below which pictures are enlarged with sharp pixels."""


def cards(items: Iterable[ShownItem]) -> str:
    """Write a card per item, several in a row, with the replies of all arms."""
    return f'<div class="items">\n{"".join(_card(item, list(item.rows)) for item in items)}\n</div>'


def rows(items: Iterable[ShownItem], arms: Sequence[str] | None) -> str:
    """Write an item per row, with large pictures.

    Args:
        items: to show.
        arms: whose replies to show; None: every arm's.
    """
    shown = [_card(item, [name for name in item.rows if arms is None or name in arms]) for item in items]
    return f'<div class="items large">\n{"".join(shown)}\n</div>'


def _card(shown: ShownItem, arms: Sequence[str]) -> str:
    films = (
        (shown.picture, "given"),
        (shown.clip, "clip"),
        (shown.imagined, "imagined"),
        (shown.true, "true future"),
    )
    figures = "".join(_figure(picture, words, shown.id) for picture, words in films if picture is not None)
    replies = "".join(_reply_row(name, reply(shown.rows[name]), shown.scores[name].state) for name in arms)
    return (
        f'<article class="item">\n{f"""<div class="pictures">{figures}</div>""" if figures else ""}'
        f'<div><p class="question">{escaped(shown.item.question)}</p>\n'
        f'<dl class="replies"><div class="truth"><dt>true answer</dt><dd>{escaped(shown.item.answer or "")}</dd></div>'
        f"{replies}</dl></div></article>\n"
    )


def _figure(picture: Picture, words: str, item_id: str) -> str:
    pixels = ' class="pixels"' if picture.height < _PIXELATED_BELOW_PX else ""
    return (
        f'<figure><img{pixels} src="{picture.url}" width="{picture.width}" height="{picture.height}"'
        f' alt="{escaped(f"Item {item_id}: {words}")}"><figcaption>{words}</figcaption></figure>'
    )


def _reply_row(arm: str, text: str, state: State) -> str:
    return (
        f'<div class="{state}"><dt>{escaped(arm)}</dt><dd>{escaped(text)}</dd>'
        f'<dd class="mark"><span aria-hidden="true">{MARKS[state]}</span> {STATES[state]}</dd></div>'
    )
