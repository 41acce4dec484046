"""The documentation site: it builds without a broken link, its navigation has every page, and it fetches nothing."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures_browser import BROWSER, dump_dom

pytest.importorskip("zensical", reason="the extra docs is not installed")

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))


def copied(folder: Path) -> Path:
    """What the site is made of, in a folder of its own."""
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    (folder / "src").symlink_to(ROOT / "src")
    return folder


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(tmp_path_factory.mktemp("site"))
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def in_navigation(entries: Any) -> Iterator[str]:
    for entry in entries:
        for target in entry.values():
            yield from in_navigation(target) if isinstance(target, list) else [target]


def test_every_page_but_the_decisions_has_its_place_in_the_navigation() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]

    assert sorted([*in_navigation(navigation), "decisions.md"]) == PAGES


def test_every_page_is_built(site: Path) -> None:
    assert [page for page in PAGES if not (site / page).with_suffix(".html").is_file()] == []


def test_a_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    foreign = r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"'> ]+)"
    for page in site.rglob("*.html"):
        fetched = re.findall(foreign, page.read_text())
        assert fetched == [], page.name


def test_pictures_and_files_that_a_page_names_are_there(site: Path) -> None:
    for page in [page for page in site.rglob("*.html") if page.name != "404.html"]:  # that one may be shown anywhere
        for target in re.findall(r"(?:src|href)=\"([^\"#?:]+)", page.read_text()):
            if target not in ("https", "http", "javascript"):
                assert (page.parent / target).exists(), f"{page.name} names {target}"


def test_a_link_to_a_page_that_is_not_there_ends_the_build(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    for page in (folder / "docs").glob("*.md"):
        page.write_text("# Nothing\n")
    (folder / "docs" / "index.md").write_text("# Start\n\n[gone](gone.md)\n")

    done = build(folder)

    assert done.returncode == 1
    assert "page does not exist" in done.stdout + done.stderr


def test_columns_that_the_page_about_evaluation_explains_are_those_of_the_tables() -> None:
    page = (ROOT / "docs" / "evaluation.md").read_text().split("\n## Reading the tables\n")[1].split("\n## ")[0]
    tables = (ROOT / "src" / "theworld" / "report" / "run_tables.py").read_text()
    first_cells = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    columns = [column for cell in first_cells for column in re.findall("`(.+?)`", cell)]

    assert len(columns) == 23
    assert [column for column in columns if f'"{column}"' not in tables] == []


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no chromium on the PATH")
@pytest.mark.parametrize("page", ["how-it-works", "tiny", "troubleshooting", "api"])
def test_on_a_phone_nothing_sticks_out_of_a_page(page: str, site: Path, tmp_path: Path) -> None:
    look = "addEventListener('load', () => document.body.dataset.widths = `${document.body.scrollWidth} ${innerWidth}`)"
    looked_at = site / f"{page}-looked-at.html"
    looked_at.write_text((site / f"{page}.html").read_text().replace("</body>", f"<script>{look}</script></body>"))
    shown, _ = dump_dom(looked_at.as_uri(), tmp_path, "--window-size=500,900", "--virtual-time-budget=1000")
    looked_at.unlink()

    (needed, there) = re.findall(r'data-widths="(\d+) (\d+)"', shown)[0]
    assert int(needed) <= int(there)
