"""One self-contained page: it loads nothing, and its own policy forbids it to."""

import html

from theworld.report.style import style_sheet


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
