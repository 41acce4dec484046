"""Template of a self-contained page, which loads nothing: its content security policy forbids it."""

import html
from typing import Final

LIGHT: Final = {
    "paper": "#fbfaf8",
    "card": "#ffffff",
    "ink": "#1b2026",
    "pale": "#626a73",
    "faint": "#cfd2d3",
    "line": "#e4e1db",
    "accent": "#0b6b7c",
    "good": "#20714a",
    "bad": "#a8402a",
    "warn": "#8a5a00",
    "alert": "#fff3d6",
}
DARK: Final = {
    "paper": "#14171a",
    "card": "#1b1f23",
    "ink": "#e8e6e1",
    "pale": "#a0a8b0",
    "faint": "#454c53",
    "line": "#2d3338",
    "accent": "#5fc3d3",
    "good": "#6cc795",
    "bad": "#ee8d75",
    "warn": "#e6b450",
    "alert": "#2f2714",
}


def style_sheet() -> str:
    """Return the CSS of the page."""
    light, dark = ("; ".join(f"--{name}: {value}" for name, value in colours.items()) for colours in (LIGHT, DARK))
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{_RULES}"


_RULES: Final = """\
:root { color-scheme: light dark }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body {
  margin: 0 auto; padding: 3.5rem 1.25rem 5rem; max-width: 64rem; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: break-word;
}
h1 { margin: 0 0 1.5rem; font-size: 2rem; font-weight: 650; line-height: 1.2; letter-spacing: -.015em }
h2 { margin: 3.5rem 0 1rem; font-size: 1.25rem; font-weight: 650; letter-spacing: -.005em }
h3 { margin: 1.5rem 0 .5rem; font-size: 1rem; font-weight: 600 }
p { margin: .5rem 0; max-width: 46rem }
code { font: .92em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
.note, figcaption { color: var(--pale); font-size: .875rem; line-height: 1.5 }
.note { margin-top: .75rem }
img { max-width: 100%; height: auto; vertical-align: top }
figure { margin: 0 }

.verdicts { margin: 0; padding: 0; list-style: none }
.verdicts li {
  display: flex; gap: .25rem 1rem; align-items: baseline; padding: .7rem 0; border-top: 1px solid var(--line);
}
.verdicts li:last-child { border-bottom: 1px solid var(--line) }
.verdicts li > span:last-child { flex: 1; max-width: 46rem }
.tag {
  flex: none; width: 9.5rem; color: var(--pale); font-size: .8125rem; font-weight: 650; letter-spacing: .01em;
}
.better .tag, .world-used .tag { color: var(--good) }
.worse .tag, .identical .tag { color: var(--bad) }
.undecided .tag { color: var(--warn) }
.origin { margin: -1rem 0 1.5rem; color: var(--pale); font-size: .9375rem }
.headline { margin: 2rem 0 .75rem; max-width: none; font-size: 1.375rem; font-weight: 600; line-height: 1.35 }
.lead { margin: .75rem 0 1.5rem }
.warning {
  margin: 0 0 1rem; padding: .75rem 1rem; max-width: none; background: var(--alert);
  border-left: 4px solid var(--warn); border-radius: 0 6px 6px 0;
}
.warning b { color: var(--warn) }
.notes { margin: 1.25rem 0 0; color: var(--pale) }

.wide { overflow-x: auto; margin: 0 -1.25rem; padding: 0 1.25rem }
.wide:focus-visible { outline: 2px solid var(--accent) }
table { border-collapse: collapse; font-size: .9375rem; line-height: 1.4 }
.full { min-width: 100% }
.narrow { min-width: min(100%, 26rem) }
.curves + .wide { margin-top: 1.75rem }
th, td { padding: .5rem .75rem; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--line) }
th:first-child { padding-left: 0 }
th:last-child, td:last-child { padding-right: 0 }
thead th {
  color: var(--pale); font-size: .8125rem; font-weight: 500; border-bottom-color: var(--faint); vertical-align: bottom;
}
tbody th { font-weight: 600; white-space: nowrap }
.number { text-align: right }
.unbroken { display: inline-block; white-space: nowrap }
.plot { margin: 0 0 1.25rem }

.items { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18.5rem), 1fr)); gap: 1.25rem }
.item { padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px }
.pictures { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); gap: .5rem }
.pictures img { width: 100%; border-radius: 4px; background: var(--line) }
.pixels { image-rendering: pixelated }
.pictures figcaption { margin-top: .35rem; font-size: .8125rem }
.question { margin: .9rem 0 .35rem; font-weight: 600; line-height: 1.4 }
.large { grid-template-columns: 1fr; gap: .75rem }
.large .item { display: grid; grid-template-columns: 31rem 1fr; gap: 0 1.75rem; align-items: center }
.large .question { margin-top: 0 }
.replies {
  margin: 0; font-size: .9375rem; display: grid; grid-template-columns: auto minmax(4rem, 1fr) auto; gap: 0 .75rem;
}
.replies > div {
  display: grid; grid-template-columns: subgrid; grid-column: 1 / -1; padding: .3rem 0;
  border-top: 1px solid var(--line);
}
.replies dt { color: var(--pale); white-space: nowrap }
.replies dd { margin: 0; overflow-wrap: anywhere }
.replies .truth dd { font-weight: 600 }
.mark { white-space: nowrap; color: var(--pale) }
.right .mark { color: var(--good) }
.wrong .mark { color: var(--bad) }

.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18.5rem), 1fr)); gap: 1rem 1.5rem }
.curves figcaption { color: var(--ink); font-weight: 600 }
.curves img { width: 100%; max-width: 26rem }
details { margin-top: 3.5rem }
summary { font-size: 1.25rem; font-weight: 650; cursor: pointer }
pre {
  overflow-x: auto; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  font: .8125rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
}

@media (max-width: 720px) {
  body { padding: 2rem 1.25rem 3rem }
  h1 { font-size: 1.6rem }
  h2, details { margin-top: 2.5rem }
  .verdicts li { flex-direction: column }
  .tag { width: auto }
  tbody th { position: sticky; left: -.75rem; padding-left: 1.25rem; background: var(--paper) }
  .wide th:first-child { padding-left: 1.25rem }
  .wide { padding-left: 0 }
  .large .item { grid-template-columns: 1fr; gap: .75rem }
}
@media print {
  body { max-width: none; padding: 0 }
  .item, figure, tr { break-inside: avoid }
  .wide { overflow: visible }
}
"""


def document(title: str, body: str, more_style: str = "") -> str:
    """The page as text.

    Args:
        title: of the window.
        body: HTML.
        more_style: rules of this page alone, after those that all pages share.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escaped(title)}</title>
<style>
{style_sheet()}{more_style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def escaped(text: str) -> str:
    """Text on one line, as HTML shows it."""
    return html.escape(" ".join(text.split()))
