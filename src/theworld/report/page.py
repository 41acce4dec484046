"""Report of a run's folder: a self-contained HTML page, and the same tables as Markdown."""

import html
import json
import re
from operator import attrgetter
from pathlib import Path
from typing import Final

from theworld.evaluation.scoring import State
from theworld.io import write_whole
from theworld.report.conclusions import above_baseline, verdicts, warnings
from theworld.report.figures import IntervalRow, curve_plot, interval_plot
from theworld.report.folder import Picture, RunFolder, ShownScene, in_order, read_run
from theworld.report.html import document, escaped
from theworld.report.run_tables import (
    ARMS,
    DIFFERENCES,
    MARKS,
    SCENES,
    STATES,
    TRAINING,
    all_tables,
    reply,
    strongest,
    to_html,
)
from theworld.tables import Table, markdown_text, percent_with_range, points_with_range, to_markdown

_PIXELATED_BELOW_PX: Final = 320
"""Width below which pictures are enlarged with sharp pixels."""

_UNBROKEN: Final = re.compile(r"\[[^]]*\]|\d %|p (?:=|&lt;) ")
"""Parts of a sentence without a line break: intervals, percentages, p-values."""


def write_report(run: Path, title: str) -> Path:
    """Write `report.html` and `report.md` into a run's folder; the same folder gives the same bytes.

    Args:
        run: the folder of a comparison, training run, evaluation or audit, see `read_run`.
        title: heading of the page.

    Returns:
        Path of the page.

    Raises:
        ValueError: for a folder without any of these files; names a damaged file.
    """
    run = Path(run)
    content = read_run(run)
    texts = {"report.md": markdown_report(content, title), "report.html": html_report(content, title)}
    for name, text in texts.items():
        write_whole(run / name, text)
    return run / "report.html"


def html_report(run: RunFolder, title: str) -> str:
    """Write the page, which loads nothing: its content security policy forbids it."""
    sections = [_section(run, table) for table in all_tables(run)]
    body = "\n".join(part for part in (_head(run, title), *sections, _settings(run)) if part)
    return document(title, body)


def markdown_report(run: RunFolder, title: str) -> str:
    """Write warnings, verdicts, notes, tables and settings as Markdown."""
    parts = [f"# {markdown_text(title)}", *(f"> **{markdown_text(text)}**" for text in warnings(run))]
    parts.append("\n".join(f"- **{verdict.finding}**: {markdown_text(verdict.sentence)}" for verdict in verdicts(run)))
    parts += map(markdown_text, [above_baseline(run), *_notes(run)])
    for table in all_tables(run):
        parts += [f"## {markdown_text(table.heading)}", to_markdown(table), markdown_text(table.note)]
    if run.config is not None:
        parts += ["## Settings", f"```json\n{_pretty(run.config)}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(run: RunFolder, title: str) -> str:
    """Write the title, warnings, verdicts and notes."""
    parts = [f"<h1>{escaped(title)}</h1>"]
    for text in warnings(run):
        kind, _, rest = text.partition(": ")
        parts.append(f'<p class="warning" role="note"><b>{escaped(kind)}.</b> {escaped(rest)}</p>')
    items = [
        f'<li class="{verdict.finding.replace(" ", "-")}"><span class="tag">{escaped(verdict.finding)}</span>'
        f"<span>{_UNBROKEN.sub(_joined, escaped(verdict.sentence))}</span></li>"
        for verdict in verdicts(run)
    ]
    if items:
        parts.append(f'<ul class="verdicts">\n{"".join(items)}\n</ul>')
    parts.append(_paragraph(above_baseline(run), "lead"))
    parts += [_paragraph(note, "notes") for note in _notes(run)]
    return "\n".join(part for part in parts if part)


def _notes(run: RunFolder) -> list[str]:
    return [] if run.results is None else run.results.notes


def _joined(part: re.Match[str]) -> str:
    return part[0].replace(" ", "&nbsp;")


def _section(run: RunFolder, table: Table) -> str:
    """Write a plot of the table, then the table; scenes are cards instead."""
    drawn = {ARMS: _accuracy_plot, DIFFERENCES: _difference_plot, TRAINING: _curves, SCENES: _cards}.get(table.heading)
    parts = [
        f"<h2>{escaped(table.heading)}</h2>",
        "" if drawn is None else drawn(run),
        *(() if table.heading == SCENES else (to_html(table), _paragraph(table.note, "note"))),
    ]
    return "\n".join(["<section>", *(part for part in parts if part), "</section>"])


def _accuracy_plot(run: RunFolder) -> str:
    arms = {} if run.results is None else run.results.arms
    baselines = strongest(run)
    rows = []
    for name, summary in arms.items():
        if summary.accuracy is not None:
            value, interval = summary.accuracy.value, summary.accuracy.wilson
            reference = 100 * baselines[name].share
            rows.append(IntervalRow(name, 100 * value, 100 * interval.low, 100 * interval.high, reference))
    alt = "; ".join(
        f"{name} {percent_with_range(summary.accuracy.value, summary.accuracy.wilson)}"
        for name, summary in arms.items()
        if summary.accuracy is not None
    )
    return _plot(rows, "accuracy, %", "baseline", f"Accuracy in percent with 95 % intervals: {alt}")


def _difference_plot(run: RunFolder) -> str:
    pairs = run.results.comparison.pairs if run.results is not None and run.results.comparison is not None else []
    rows = [
        IntervalRow(
            f"{pair.second} − {pair.first}",
            100 * pair.difference,
            100 * pair.interval.low,
            100 * pair.interval.high,
            0.0,
        )
        for pair in pairs
    ]
    alt = "; ".join(f"{p.second} − {p.first} {points_with_range(p.difference, p.interval)}" for p in pairs)
    return _plot(rows, "difference, points", "no difference", f"Paired differences with 95 % intervals: {alt}")


def _plot(rows: list[IntervalRow], axis_label: str, reference_label: str, alt: str) -> str:
    return f'<figure class="plot">{interval_plot(rows, axis_label, reference_label, alt)}</figure>' if rows else ""


def _curves(run: RunFolder) -> str:
    """Draw two small plots per arm, of loss and speed, on the same axes for all arms."""
    parts = []
    for words, value in (("Loss", attrgetter("loss")), ("Samples per second", attrgetter("samples_per_second"))):
        curves = {
            name: ([row.step for row in run.metrics[name]], [value(row) for row in run.metrics[name]])
            for name in in_order(run.metrics, run.results)
        }
        panels = [
            f"<figure><figcaption>{escaped(name)}</figcaption>"
            f"{curve_plot(curves, name, f'{words} of {name}, from {values[0]:.4g} to {values[-1]:.4g}')}</figure>"
            for name, (_, values) in curves.items()
        ]
        parts.append(f'<h3>{words} by step</h3>\n<div class="curves">\n{"".join(panels)}\n</div>')
    return "\n".join(parts)


def _cards(run: RunFolder) -> str:
    cards = "\n".join(_card(scene, run) for scene in run.scenes)
    return f'<div class="scenes">\n{cards}\n</div>'


def _card(scene: ShownScene, run: RunFolder) -> str:
    item = scene.item
    shown = ((scene.picture, "picture"), (scene.true, "true future"), (scene.imagined, "imagined"))
    figures = "".join(_figure(picture, words, item.id) for picture, words in shown if picture is not None)
    replies = "".join(
        _reply_row(arm, item.answers[arm], scene.scores[arm].state) for arm in in_order(scene.scores, run.results)
    )
    return (
        f'<article class="scene">\n{f"""<div class="pictures">{figures}</div>""" if figures else ""}'
        f'<p class="question">{escaped(item.question)}</p>\n'
        f'<dl class="replies"><div class="truth"><dt>true answer</dt><dd>{escaped(item.answer)}</dd></div>'
        f"{replies}</dl>\n{_paragraph(item.note or '', 'note')}</article>"
    )


def _figure(picture: Picture, words: str, scene_id: str) -> str:
    pixels = ' class="pixels"' if picture.width < _PIXELATED_BELOW_PX else ""
    return (
        f'<figure><img{pixels} src="{picture.url}" width="{picture.width}" height="{picture.height}"'
        f' alt="{escaped(f"Scene {scene_id}: {words}")}"><figcaption>{words}</figcaption></figure>'
    )


def _reply_row(arm: str, text: str | None, state: State) -> str:
    return (
        f'<div class="{state}"><dt>{escaped(arm)}</dt><dd>{escaped(reply(text))}</dd>'
        f'<dd class="mark"><span aria-hidden="true">{MARKS[state]}</span> {STATES[state]}</dd></div>'
    )


def _settings(run: RunFolder) -> str:
    if run.config is None:
        return ""
    return f"<details><summary>Settings</summary>\n<pre>{html.escape(_pretty(run.config))}</pre>\n</details>"


def _paragraph(text: str, kind: str) -> str:
    """Write a paragraph; text between backticks is code."""
    code = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped(text))
    return f'<p class="{kind}">{code}</p>' if text else ""


def _pretty(config: object) -> str:
    return json.dumps(config, indent=2, ensure_ascii=False)
