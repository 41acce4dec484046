"""Report of a run's folder: a self-contained HTML page, and the same tables as Markdown."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final

from theworld.io import write_whole
from theworld.report.conclusions import above_baseline, headline, verdicts, warnings
from theworld.report.figures import IntervalRow, curve_plot, interval_plot
from theworld.report.folder import MetricsRow, RunFolder, ValidationRow, in_order, read_run
from theworld.report.heading import origin_of, title_of
from theworld.report.html import document, escaped
from theworld.report.item_cards import cards, rows
from theworld.report.run_tables import (
    DIFFERENCES,
    ITEMS,
    TRAINING,
    all_tables,
    strongest,
    to_html,
)
from theworld.tables import Table, markdown_text, percent_with_range, points_with_range, to_markdown

_NUM_FIRST: Final = 3
"""Items at the top of the page."""

_QUANTITIES: Final = {
    "loss": "Loss",
    "accuracy": "Accuracy on validation questions",
    "grad_norm": "Norm of the gradient",
    "learning_rate": "Learning rate",
    "samples_per_second": "Samples per second",
}
"""Quantities of a training, in words."""

_UNBROKEN: Final = re.compile(r"\[[^]]*\]|\d %|p (?:=|&lt;) ")
"""Parts of a sentence without a line break: intervals, percentages, p-values."""


def write_report(run: Path, title: str | None = None) -> Path:
    """Write `report.html` and `report.md` into a run's folder; the same folder gives the same bytes.

    Args:
        run: the folder of a comparison, training run, evaluation or audit, see `read_run`.
        title: heading of the page; None: the model and the data.

    Returns:
        Path of the page.

    Raises:
        ValueError: for a folder without any of these files; names a damaged file.
    """
    run = Path(run)
    content = read_run(run)
    title = title_of(content) if title is None else title
    texts = {"report.md": markdown_report(content, title), "report.html": html_report(content, title)}
    for name, text in texts.items():
        write_whole(run / name, text)
    return run / "report.html"


def html_report(run: RunFolder, title: str) -> str:
    """Write the page, which loads nothing: its content security policy forbids it."""
    sections = [_section(run, table) for table in all_tables(run) if table.heading != ITEMS]
    parts = (_head(run, title), _opening(run), _more_items(run), _differences(run), *sections, _settings(run))
    return document(title, "\n".join(part for part in parts if part))


def markdown_report(run: RunFolder, title: str) -> str:
    """Write warnings, verdicts, notes, tables and settings as Markdown."""
    parts = [f"# {markdown_text(title)}", markdown_text(" · ".join(origin_of(run)))]
    parts += [f"> **{markdown_text(text)}**" for text in warnings(run)]
    parts.append(markdown_text(headline(run)))
    parts.append("\n".join(f"- **{verdict.finding}**: {markdown_text(verdict.sentence)}" for verdict in verdicts(run)))
    parts += map(markdown_text, [above_baseline(run), *_notes(run)])
    for table in all_tables(run):
        parts += [f"## {markdown_text(table.heading)}", to_markdown(table), markdown_text(table.note)]
    if run.config is not None:
        parts += ["## Settings", f"```json\n{_pretty(run.config)}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(run: RunFolder, title: str) -> str:
    """Write the title, the origin and the warnings."""
    parts = [f"<h1>{escaped(title)}</h1>", _paragraph(" · ".join(origin_of(run)), "origin")]
    for text in warnings(run):
        kind, _, rest = text.partition(": ")
        parts.append(f'<p class="warning" role="note"><b>{escaped(kind)}.</b> {escaped(rest)}</p>')
    return "\n".join(part for part in parts if part)


def _opening(run: RunFolder) -> str:
    """Write what an eye takes in first: three items, the main comparison in a sentence, and the accuracies."""
    pairs = run.results.comparison.pairs if run.results is not None and run.results.comparison is not None else []
    arms = (pairs[0].first, pairs[0].second) if pairs else None
    parts = [
        rows(run.items[:_NUM_FIRST], arms) if run.items else "",
        _paragraph(headline(run), "headline"),
        _paragraph(above_baseline(run), "lead"),
        _accuracy_plot(run),
        *(_paragraph(note, "notes") for note in _notes(run)),
    ]
    return "\n".join(part for part in parts if part)


def _more_items(run: RunFolder) -> str:
    """Write the replies of every arm to the items, which were drawn at random."""
    if not run.items:
        return ""
    drawn = "Drawn at random, whatever the replies were. Films play together and rest on their last picture."
    return f"<section>\n<h2>Items</h2>\n{_paragraph(drawn, 'note')}\n{cards(run.items)}\n</section>"


def _differences(run: RunFolder) -> str:
    """Write a line per comparison, and the verdict of the audit."""
    lines = [
        f'<li class="{verdict.finding.replace(" ", "-")}"><span class="tag">{escaped(verdict.finding)}</span>'
        f"<span>{_UNBROKEN.sub(_joined, escaped(verdict.sentence))}</span></li>"
        for verdict in verdicts(run)
    ]
    return f'<section>\n<h2>Findings</h2>\n<ul class="verdicts">\n{"".join(lines)}\n</ul>\n</section>' if lines else ""


def _notes(run: RunFolder) -> list[str]:
    return [] if run.results is None else run.results.notes


def _joined(part: re.Match[str]) -> str:
    return part[0].replace(" ", "&nbsp;")


def _section(run: RunFolder, table: Table) -> str:
    """Write a plot of the table, if it has one, then the table."""
    drawn = {DIFFERENCES: _difference_plot, TRAINING: _curves}.get(table.heading)
    parts = [
        f"<h2>{escaped(table.heading)}</h2>",
        "" if drawn is None else drawn(run),
        to_html(table),
        _paragraph(table.note, "note"),
    ]
    return "\n".join(["<section>", *(part for part in parts if part), "</section>"])


def _accuracy_plot(run: RunFolder) -> str:
    arms = {} if run.results is None else run.results.arms
    baselines = strongest(run)
    lines = []
    for name, summary in arms.items():
        if summary.accuracy is not None:
            value, interval = summary.accuracy.value, summary.accuracy.wilson
            reference = 100 * baselines[name].share
            lines.append(IntervalRow(name, 100 * value, 100 * interval.low, 100 * interval.high, reference))
    alt = "; ".join(
        f"{name} {percent_with_range(summary.accuracy.value, summary.accuracy.wilson)}"
        for name, summary in arms.items()
        if summary.accuracy is not None
    )
    return _plot(lines, "accuracy, %", "baseline", f"Accuracy in percent with 95 % intervals: {alt}", (0.0, 100.0))


def _difference_plot(run: RunFolder) -> str:
    pairs = run.results.comparison.pairs if run.results is not None and run.results.comparison is not None else []
    lines = [
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
    return _plot(lines, "difference, points", "no difference", f"Paired differences with 95 % intervals: {alt}")


def _plot(
    lines: list[IntervalRow],
    axis_label: str,
    reference_label: str,
    alt: str,
    limits: tuple[float, float] | None = None,
) -> str:
    if not lines:
        return ""
    return f'<figure class="plot">{interval_plot(lines, axis_label, reference_label, alt, limits)}</figure>'


def _curves(run: RunFolder) -> str:
    """Draw a small plot of each quantity per arm, on the same axes for all arms."""
    rows_of: dict[str, Mapping[str, Sequence[MetricsRow | ValidationRow]]] = {
        "loss": run.metrics,
        "accuracy": run.validation,
        "grad_norm": run.metrics,
        "learning_rate": run.metrics,
        "samples_per_second": run.metrics,
    }
    return "\n".join(_panels(run, name, rows) for name, rows in rows_of.items())


def _panels(run: RunFolder, quantity: str, rows: Mapping[str, Sequence[MetricsRow | ValidationRow]]) -> str:
    value, words = attrgetter(quantity), _QUANTITIES[quantity]
    curves = {
        name: ([row.step for row in rows[name]], [value(row) for row in rows[name]])
        for name in in_order(rows, run.results)
        if all(value(row) is not None for row in rows[name])
    }
    panels = [
        f"<figure><figcaption>{escaped(name)}</figcaption>"
        f"{curve_plot(curves, name, f'{words} of {name}, from {values[0]:.4g} to {values[-1]:.4g}')}</figure>"
        for name, (_, values) in curves.items()
    ]
    if not panels:
        return ""
    return f'<div class="quantity"><h3>{words} by step</h3>\n<div class="curves">\n{"".join(panels)}\n</div></div>'


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
