"""The page and the Markdown: every number as the files have it, nothing from outside, the same bytes again."""

import base64
import json
import re
from math import comb, sqrt
from pathlib import Path

import pytest
from small_run import (
    ANSWERS,
    LOSSES,
    NOTES,
    REPLIES,
    SECONDS,
    TASKS,
    Page,
    markdown_tables,
    write_audit,
    write_item,
    write_metrics,
    write_run,
    write_settings,
    write_whole_run,
)

from theworld.report.page import write_report

RIGHT = {  # 1, 0, or None where missing
    arm: [None if text is None else int(text == answer) for text, answer in zip(replies, ANSWERS, strict=True)]
    for arm, replies in REPLIES.items()
}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A run folder with its report, which the tests only read."""
    run = tmp_path_factory.mktemp("written") / "run"
    write_whole_run(run)
    write_report(run, "A <small> run")
    return run


@pytest.fixture
def page(written) -> Page:
    return Page((written / "report.html").read_text())


@pytest.fixture
def results(written) -> dict:
    return json.loads((written / "results.json").read_text())


def shown(share: float) -> str:
    return f"{100 * share:.1f}"


def wilson(num_right: int, n: int) -> str:
    """Wilson's interval as its closed form has it."""
    z, p = 1.959964, num_right / n
    middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return f"[{shown((middle - half) / (1 + z * z / n))}, {shown((middle + half) / (1 + z * z / n))}]"


def signed(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−").replace("+0.0", "0.0")


def test_the_arms_are_those_of_the_predictions(page, results):
    cells = page.table("arm", "n")
    for arm, values in RIGHT.items():
        scored = [(answer, value) for answer, value in zip(ANSWERS, values, strict=True) if value is not None]
        num_right = sum(value for _, value in scored)
        recalls = [
            sum(value for answer, value in scored if answer == one) / sum(answer == one for answer, _ in scored)
            for one in ("left", "middle", "right")
        ]
        bootstrap = results["arms"][arm]["accuracy"]["balanced_bootstrap"]
        assert cells[arm] == {
            "n": str(len(scored)),
            "accuracy, %": f"{shown(num_right / len(scored))} {wilson(num_right, len(scored))}",
            "balanced, %": f"{shown(sum(recalls) / 3)} [{shown(bootstrap['low'])}, {shown(bootstrap['high'])}]",
            "majority, %": shown(4 / len(scored)),
            "guessing, %": "33.3",
            "unparsed": {"vae": "1"}.get(arm, "0"),
            "missing": {"vae": "1"}.get(arm, "0"),
            "clips read": {"gemma": "0", "zero": "10", "vae": "9"}[arm],
        }


def test_the_differences_are_those_of_the_shared_items(page, results):
    cells = page.table("second − first")
    assert list(cells) == ["gemma − zero", "vae − zero"]
    expected = {}
    for pair in results["comparison"]["pairs"]:
        both = [
            (first, second)
            for first, second in zip(RIGHT["zero"], RIGHT[pair["second"]], strict=True)
            if first is not None and second is not None
        ]
        only_second, only_first = sum(b > a for a, b in both), sum(a > b for a, b in both)
        flips = only_second + only_first
        p_value = min(1, 2 * sum(comb(flips, k) for k in range(min(only_second, only_first) + 1)) / 2**flips)
        low, high = signed(pair["interval"]["low"]), signed(pair["interval"]["high"])
        expected[pair["second"]] = p_value
        row = cells[f"{pair['second']} − zero"]
        assert row["n"] == str(len(both))
        assert row["points"] == f"{signed((only_second - only_first) / len(both))} [{low}, {high}]"
        assert (row["only second right"], row["only first right"]) == (str(only_second), str(only_first))
        assert row["p"] == f"{p_value:.2g}"
        assert row["smallest visible, points"] == shown(pair["smallest_difference"])
    # Holm: the smaller of two is doubled, the larger is at least that.
    first, second = sorted(expected, key=lambda name: expected[name])
    smaller = min(1, 2 * expected[first])
    assert cells[f"{first} − zero"]["p (Holm)"] == f"{smaller:.2g}"
    assert cells[f"{second} − zero"]["p (Holm)"] == f"{max(smaller, expected[second]):.2g}"


def test_groups_are_those_of_the_items_that_have_the_field(page):
    cells = page.table("task")
    for place, task in enumerate(TASKS):
        for arm, values in RIGHT.items():
            scored = [value for value in values[place::2] if value is not None]
            assert cells[task][f"{arm}, %"] == f"{shown(sum(scored) / len(scored))} {wilson(sum(scored), len(scored))}"
        assert cells[task]["n"] == ("5" if task == "drop" else "4 to 5")  # item 9 is static, and missing in vae


def test_answers_given_are_counted(page):
    cells = page.table("answer")
    assert {answer: row["true, %"] for answer, row in cells.items()} == {
        "left": "40.0",
        "middle": "30.0",
        "right": "30.0",
    }
    for answer, row in cells.items():
        assert row["gemma, %"] == shown(REPLIES["gemma"].count(answer) / 10)
        assert row["vae, %"] == shown(REPLIES["vae"].count(answer) / 9)


def test_training_and_time_are_those_of_the_files(page):
    assert page.table("arm", "steps") == {
        arm: {
            "steps": "30",
            "first loss": f"{losses[0]:.3f}",
            "last loss": f"{losses[-1]:.3f}",
            "samples/s": "21.5",
            "tokens/s": "1,001",
            "peak memory, GB": "1.2",
        }
        for arm, losses in LOSSES.items()
    }
    total = sum(SECONDS.values())
    assert page.table("stage") == {
        **{name: {"seconds": f"{value:.1f}", "share, %": shown(value / total)} for name, value in SECONDS.items()},
        "all": {"seconds": "40.0", "share, %": "100.0"},
    }


def test_the_environment_and_the_settings_are_shown(page):
    versions = {name: row["version"] for name, row in page.table("part").items()}
    libraries = {"torch": "2.14.1", "numpy": "2.3.4"}
    assert versions == {"theworld": "0.1.0", "commit": "–", "date": "2026-11-30", "python": "3.11.2", **libraries}
    assert '"output_dir": "runs/<b>"' in page.words
    assert "details" in [tag for tag, _ in page.elements]


def test_the_page_begins_with_what_an_eye_takes_in_and_ends_with_tables(page):
    assert page.headings[0] == "A <small> run"
    words = " ".join(page.words.split())
    order = [
        "10 questions · 2026-11-30 · TheWorld 0.1.0",
        "MISSING REPLIES. 1 of the 10 items of vae",
        "true answer",
        "gemma answers 50.0 % of 10 questions right, zero 50.0 %: no difference is shown.",
        "Shown to be above its baseline: vae. Not shown: gemma and zero.",
        "Nothing here was trained. Arm gemma is plain.",
        "Drawn at random",
        "gemma 50.0 % [23.7, 76.3] against zero 50.0 % [23.7, 76.3]: no difference that 10 items could show",
        "In brackets 95 % intervals",
    ]
    places = [words.find(part) for part in order]
    assert -1 not in places
    assert places == sorted(places)


def test_an_item_shows_every_reply_with_a_mark_in_words(page):
    words = " ".join(page.words.split())
    opening, items = words.split("Drawn at random", 1)
    _, first, second = re.split("true answer(?!s)", items.partition("Findings")[0])
    marks = r"(?:✓|✗|\?|–) (?:right|wrong|not readable|no reply)"
    assert "Where does it land?" in words
    assert re.findall(marks, first) == ["✗ wrong", "✗ wrong", "? not readable"]
    assert "no idea" in first
    assert re.findall(marks, second) == ["✗ wrong", "✗ wrong", "– no reply"]
    assert len(re.findall(marks, opening)) == 4  # the two arms of the first pair alone


def test_pictures_of_an_item_are_the_bytes_of_its_files(page, written):
    shown_here = [element.get("src") or "" for tag, element in page.elements if tag == "img"]
    for name, mime in (("picture.png", "image/png"), ("true.gif", "image/gif"), ("imagined.gif", "image/gif")):
        data = base64.b64encode((written / "items" / "00" / name).read_bytes()).decode()
        assert f"data:{mime};base64,{data}" in shown_here
    assert all(element.get("alt") for tag, element in page.elements if tag == "img")


def test_the_page_asks_nothing_of_the_outside(page):
    assert not re.search(r"(https?|file|ftp)://", page.text)
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(tag for tag, _ in page.elements)
    links = [
        value or ""
        for _, element in page.elements
        for name, value in element.items()
        if name in ("src", "srcset", "href", "poster", "action", "background")
    ]
    assert len(links) == 24  # two plots at two widths, eight curves, three pictures of each of two items, twice
    assert all(link.startswith("data:image/") for link in links)
    assert "url(" not in page.text
    assert "@import" not in page.text


def svgs(text: str) -> list[str]:
    return [base64.b64decode(part).decode() for part in re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", text)]


def test_the_plots_follow_the_readers_mode_and_carry_no_date(page):
    drawn = svgs(page.text)
    assert len(drawn) == 12
    for svg in drawn:
        assert "prefers-color-scheme:dark" in svg
        assert "#0102" not in svg  # a colour that stands for a role was given its own
        assert "<metadata" not in svg
        assert not re.search(r'(href|src)="(?!#)|url\((?!#)', svg)


def test_the_interval_plot_names_every_arm(page):
    wide = svgs(page.text)[0]
    assert all(f">{word}<" in wide for word in ("gemma", "zero", "vae", "baseline", "accuracy, %"))


def test_two_calls_give_equal_bytes_wherever_the_folder_stands(run_folder, tmp_path):
    first = write_report(run_folder, "Run").read_bytes(), (run_folder / "report.md").read_bytes()
    moved = run_folder.rename(tmp_path / "elsewhere")
    assert write_report(moved, "Run") == moved / "report.html"
    assert ((moved / "report.html").read_bytes(), (moved / "report.md").read_bytes()) == first


def test_the_readers_own_plot_settings_change_nothing(run_folder, monkeypatch):
    import matplotlib

    first = write_report(run_folder, "Run").read_bytes()
    monkeypatch.setitem(matplotlib.rcParams, "axes.titlesize", 40)
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 9)
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30)
    assert write_report(run_folder, "Run").read_bytes() == first
    assert matplotlib.rcParams["font.size"] == 30


def test_the_markdown_has_the_cells_of_the_page(page, written):
    text = (written / "report.md").read_text()
    written = markdown_tables(text)
    items = [grid for grid in written if grid[0][0] == "item"]
    assert [grid for grid in written if grid not in items] == page.tables
    assert items[0][1] == ["6", "Where does it land?", "middle", "left ✗", "right ✗", "no idea ?"]
    assert items[0][2][3:] == ["left ✗", "middle ✗", "– –"]
    assert text.startswith("# A &lt;small> run\n\n10 questions · 2026-11-30 · TheWorld 0.1.0\n\n> **MISSING REPLIES")
    assert all(note in text for note in NOTES)
    assert json.loads(text.partition("```json")[2].partition("```")[0])["output_dir"] == "runs/<b>"


def test_a_plain_training_run_has_curves_and_settings_only(tmp_path):
    write_metrics(tmp_path / "metrics.jsonl", (2.0, 1.0))
    write_settings(tmp_path)
    page = Page(write_report(tmp_path, "Training").read_text())
    assert page.headings == ["Training", "Training", "Environment"]
    assert page.table("arm", "steps") == {
        "training": {
            "steps": "20",
            "first loss": "2.000",
            "last loss": "1.000",
            "samples/s": "21.0",
            "tokens/s": "1,000",
            "peak memory, GB": "1.2",
        }
    }
    assert len(svgs(page.text)) == 4


def test_an_item_has_the_pictures_that_lie_in_its_folder(run_folder):
    for path in run_folder.glob("items/*"):
        for name in ("picture.png", "imagined.gif"):
            (path / name).unlink()
    page = Page(write_report(run_folder, "Run").read_text())
    shown_here = [element["alt"] or "" for tag, element in page.elements if tag == "img"]
    assert {alt for alt in shown_here if alt.startswith("Item")} == {"Item 6: true future", "Item 9: true future"}


def test_an_arm_whose_items_are_all_missing_has_dashes(tmp_path):
    write_run(tmp_path, REPLIES)
    results = json.loads((tmp_path / "results.json").read_text())
    results["arms"]["zero"] |= {"accuracy": None, "num_missing": 10, "groups": {}}
    results["comparison"] = None
    (tmp_path / "results.json").write_text(json.dumps(results))
    page = Page(write_report(tmp_path, "Run").read_text())
    assert page.table("arm", "n")["zero"]["accuracy, %"] == "–"
    assert "zero, %" not in page.table("answer")["left"]
    assert page.table("task")["drop"]["zero, %"] == "–"


def test_text_of_a_run_is_never_markup(tmp_path):
    attack = "</p><script>alert(1)</script><img src=x onerror=alert(1)>"
    write_run(tmp_path, {"gemma": (attack,) * 10, "zero": REPLIES["zero"]})
    write_item(tmp_path / "items" / "00", "3")
    (tmp_path / "config.json").write_text(json.dumps({attack: attack}))
    page = Page(write_report(tmp_path, attack).read_text())
    assert "script" not in [tag for tag, _ in page.elements]
    assert not [element for _, element in page.elements if "onerror" in element]
    markdown = (tmp_path / "report.md").read_text().partition("## Settings")[0]
    assert not re.search(r"<[a-z/]", markdown)


def test_an_audit_alone_makes_a_page_with_its_verdict_and_its_table(tmp_path):
    write_audit(tmp_path)
    page = Page(write_report(tmp_path, "Audit").read_text())
    assert page.headings == ["Audit", "Findings", "World-use audit"]
    assert "The model does not use its world: with that of another question 50.0 %" in page.words
    assert "Audit: world not used" in page.words.replace("\xa0", " ")
    cells = page.table("features", "role")
    assert list(cells) == ["shuffle", "mean", "zero", "noise"]
    assert (cells["shuffle"]["role"], cells["noise"]["role"]) == ("decides", "is reported")
    assert {row["answers changed"] for row in cells.values()} == {"0"}
    markdown = (tmp_path / "report.md").read_text()
    assert "- **world not used**: Audit: world not used" in markdown
    assert "## World-use audit" in markdown


def test_the_audit_stands_beside_the_arms_of_a_run(run_folder):
    write_audit(run_folder / "audit")
    page = Page(write_report(run_folder, "Run").read_text())
    assert {"Arms", "World-use audit"} <= set(page.headings)


def test_an_evaluation_makes_a_page(tmp_path):
    write_run(tmp_path, REPLIES)
    results = json.loads((tmp_path / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps({name: results[name] for name in ("arms", "comparison")}))
    page = Page(write_report(tmp_path, "Evaluation").read_text())
    assert page.headings[:3] == ["Evaluation", "Findings", "Arms"]
