"""The page in a real browser: every picture is drawn, nothing is complained of, nothing sticks out."""

import html
import json
import re
from pathlib import Path

import pytest

from fixtures_browser import BROWSER, dump_dom
from theworld.cli.handlers import preview
from theworld.config import loader
from theworld.config.commands import PreviewSettings
from theworld.report.page import write_report

CONFIG = Path(__file__).parents[3] / "configs" / "foresight-tiny.json"


pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the PATH"),
]

LOOK = """<script>addEventListener("load", () => document.body.dataset.seen = JSON.stringify({
  pictures: [...document.images].map(image => image.complete ? image.naturalWidth : 0),
  page: document.documentElement.scrollWidth,
  window: innerWidth,
  paper: getComputedStyle(document.body).backgroundColor,
}))</script>"""


def open_page(page: Path, *options: str) -> tuple[str, str]:
    """The document as the browser has it, and what it wrote on its console."""
    logging = ("--enable-logging=stderr", "--virtual-time-budget=1000")
    dom, log = dump_dom(page.as_uri(), page.parent / "profile", *logging, *options)
    return dom, "\n".join(line for line in log.splitlines() if "CONSOLE" in line)


def look(page: Path, tmp_path: Path, *options: str) -> dict:
    """What a script sees in a copy of the page whose policy allows it; the page itself runs none."""
    text = page.read_text().replace("style-src", "script-src 'unsafe-inline'; style-src")
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace("</body>", f"{LOOK}</body>"))
    dom, console = open_page(copy, *options)
    assert console == ""
    (found,) = re.findall(r'data-seen="([^"]*)"', dom)
    return json.loads(html.unescape(found))


def test_the_page_opens_without_a_complaint(run_folder):
    dom, console = open_page(write_report(run_folder, "Run"))
    assert "Paired differences" in dom
    assert console == ""


@pytest.mark.parametrize(
    ("width", "colour_scheme", "paper"),
    [(1100, "light", "rgb(251, 250, 248)"), (500, "dark", "rgb(20, 23, 26)")],
)
def test_every_picture_is_drawn_and_nothing_sticks_out(run_folder, tmp_path, width, colour_scheme, paper):
    chosen = f"--blink-settings=preferredColorScheme={['dark', 'light'].index(colour_scheme)}"
    seen = look(write_report(run_folder, "Run"), tmp_path, f"--window-size={width},900", chosen)
    assert len(seen["pictures"]) == 22  # two plots, eight curves, three pictures of each of two items, twice
    assert all(seen["pictures"])
    assert seen["page"] <= seen["window"]
    assert seen["paper"] == paper


@pytest.mark.parametrize("width", [1100, 500])
def test_the_page_of_a_preview_shows_every_picture_and_nothing_sticks_out(tmp_path, width):
    page = tmp_path / "preview.html"
    given = ["--num-read", "8", "--num-shown", "5", "--page", str(page), "--data.num-train", "8"]
    preview(loader.load(PreviewSettings, CONFIG, given))
    seen = look(page, tmp_path, f"--window-size={width},900")
    assert len(seen["pictures"]) >= 6  # lengths, and five samples of at least one
    assert all(seen["pictures"])
    assert seen["page"] <= seen["window"]


def test_a_complaint_and_a_broken_picture_would_be_seen(run_folder, tmp_path):
    page = write_report(run_folder, "Run")
    page.write_text(page.read_text().replace("data:image/png;base64,", "data:image/png;base64,AAAA"))
    assert 0 in look(page, tmp_path)["pictures"]
    page.write_text(page.read_text().replace("</body>", "<script>1</script></body>"))
    assert "Content Security Policy" in open_page(page)[1]
