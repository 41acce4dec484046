"""The page of `theworld app` in a real browser, as a visitor uses it; its screenshots lie in build/app/."""

import base64
import io
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("av", reason="the extra `app` is not installed")

from PIL import Image  # noqa: E402  # what is missing skips first

from fixtures_browser import BROWSER  # noqa: E402
from theworld import tiny  # noqa: E402
from theworld.datasets.foresight import draw, make_item  # noqa: E402

SHOTS = Path(__file__).parents[2] / "build" / "app"
expect = sync_api.expect
WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the PATH"),
]

QUESTION = "In which bin does the ball come to rest: blue, red or yellow? Answer with one word."
PRESENT = "What colour is the ball? Answer with one word."

PASTE = """picture => {
  const bytes = Uint8Array.from(atob(picture), one => one.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], "image.png", { type: "image/png" }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
}"""


DRAG = """what => {
  const dataTransfer = new DataTransfer();
  if (what === "words") dataTransfer.setData("text/plain", "Why?");
  else dataTransfer.items.add(new File(["no picture"], "file.png", { type: "image/png" }));
  const event = new DragEvent("dragover", { dataTransfer, bubbles: true, cancelable: true });
  return !document.getElementById("question").dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """The page with the model that users have, in a thread of its own; its `address` is where it is."""
    from theworld.config.serving import AppSettings
    from theworld.serving.server import Server, open_model
    from theworld.serving.web.about import verdict_of
    from theworld.serving.web.page_api import PageApi

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "stack", lambda: tiny.WEIGHTS)
        settings = AppSettings(port=0, max_seconds=600.0, max_request_bytes=1_000_000)
        model = open_model(settings)
        server = Server(PageApi(model, settings, verdict_of(model, settings.model)), settings.max_seconds)
    listening = socket.create_server(("127.0.0.1", 0))
    running = threading.Thread(target=server.serve_forever, args=(listening,))
    running.start()
    server.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    yield server
    server.stop()
    running.join(60)
    listening.close()
    assert not running.is_alive()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


class Visit:
    """A page that is open, what it asked for, and what it complained of."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.requested: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type != "log" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(address)
        expect(page.get_by_label("Question", exact=True)).to_have_value(re.compile("^In which bin"))

    def answered(self) -> None:
        expect(self.page.get_by_role("status")).to_contain_text("Done in")

    def said(self, side: str) -> str:
        return self.page.locator(f"#side-{side} .said").inner_text()

    def shot(self, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


@pytest.fixture
def visit(browser: Any, server: Any) -> Iterator[Callable[..., Visit]]:
    """Opens the page; at the end nothing was fetched from elsewhere, and nothing was complained of."""
    visits, address = [], server.address

    def open_page(**options: Any) -> Visit:
        visits.append(Visit(browser.new_page(**options), address))
        return visits[-1]

    yield open_page
    for one in visits:
        one.page.close()
        assert [url for url in one.requested if not url.startswith((address, "data:", "blob:"))] == []
        assert one.complaints == []


def scene_file() -> dict[str, Any]:
    """A picture as a file that is sent: a scene in which the ball comes to rest in the red bin."""
    item, file = make_item("test", 0), io.BytesIO()
    draw(item.scene, item.poses[0], 64).save(file, "PNG")
    return {"name": "ball.png", "mimeType": "image/png", "buffer": file.getvalue()}


def pixels(page: Any, film: str) -> str:
    return page.locator(f"#film-{film} canvas").evaluate("canvas => canvas.toDataURL()")


def test_a_picture_is_sent_and_asked_about_and_what_was_seen_of_it_is_remembered(visit: Callable[..., Visit]):
    visitor = visit(viewport={"width": 1180, "height": 900})
    page = visitor.page
    page.get_by_label("Your own").check()
    page.get_by_label("A picture, a short video").set_input_files([scene_file()])
    expect(page.locator("#caption")).to_have_text("ball.png.")
    question = page.get_by_label("Question", exact=True)
    question.fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    visitor.answered()
    assert visitor.said("with") == "red"
    assert visitor.said("without") not in ("", "red")
    assert "remembered" not in page.locator("#stages").inner_text()
    expect(page.locator("#film-true")).to_be_hidden()  # nobody knows it
    assert page.locator("#maps figure").count() == 6  # the picture, now, and four steps ahead
    first = re.findall(r"[\d.]+", page.locator("#stages .total").inner_text())[-1]

    question.fill(PRESENT)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#remembered")).to_contain_text("remembered from the question before")
    visitor.answered()
    assert visitor.said("with") == "green"
    again = re.findall(r"[\d.]+", page.locator("#stages .total").inner_text())[-1]
    assert float(again) < float(first) / 2


def test_a_scene_shows_its_imagined_future_moving_beside_the_true_one(visit: Callable[..., Visit]):
    visitor = visit(viewport={"width": 1180, "height": 900})
    page = visitor.page
    page.get_by_role("button", name="Ask", exact=True).click()
    visitor.answered()
    expect(page.locator("#side-with .mark")).to_have_text("✓ right")
    expect(page.locator("#truth")).to_have_text("The truth: red")
    time = page.get_by_label("Time", exact=True)
    page.get_by_role("button", name="Pause").click()
    time.fill("0")
    at_first = {film: pixels(page, film) for film in ("imagined", "true")}
    page.get_by_role("button", name="Play").click()
    expect(time).not_to_have_value("0")
    page.get_by_role("button", name="Pause").click()
    time.fill("16")
    expect(page.locator("#time-said")).to_have_text("2.67 s later")
    assert all(pixels(page, film) != at_first[film] for film in at_first)
    expect(page.locator("#verdict-said")).not_to_be_empty()
    visitor.shot("desktop")
    page.emulate_media(color_scheme="dark")
    visitor.shot("desktop-dark")


def test_a_changed_scene_is_asked_about_again_and_shown_beside_what_was_imagined_before(visit: Callable[..., Visit]):
    visitor = visit(viewport={"width": 1180, "height": 900})
    page = visitor.page
    page.get_by_role("button", name="Ask", exact=True).click()
    visitor.answered()
    expect(page.locator("#tries")).to_be_hidden()
    before = page.locator("#shown").evaluate("canvas => canvas.toDataURL()")
    page.get_by_text("Change the scene").click()
    page.locator("#light").fill("0.6")
    expect(page.locator("#tried tr")).to_have_count(2)
    expect(page.locator("#tried tr").nth(1)).to_contain_text("light 60 %")
    expect(page.locator("#film-before figcaption")).to_have_text("Imagined before: as it was")
    assert page.locator("#shown").evaluate("canvas => canvas.toDataURL()") != before
    expect(page.get_by_label("Question", exact=True)).to_have_value(QUESTION)
    visitor.answered()
    visitor.shot("changed")
    page.get_by_role("button", name="As it was").click()
    expect(page.locator("#changed-said")).to_have_text("")
    expect(page.locator("#tried tr").nth(1)).to_contain_text("as it was")  # the newest answers are the last
    assert page.locator("#shown").evaluate("canvas => canvas.toDataURL()") == before
    page.get_by_role("button", name="Another").click()
    expect(page.locator("#results")).to_be_hidden()


def test_a_phone_has_all_of_it_in_one_column(visit: Callable[..., Visit]):
    visitor = visit(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    page = visitor.page
    page.get_by_label("Kind").select_option("hide")
    expect(page.locator("#caption")).to_contain_text("sees 5 frames")
    page.get_by_role("button", name="Ask", exact=True).click()
    visitor.answered()
    expect(page.get_by_role("button", name="Play")).to_be_visible()  # nothing moves by itself
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390
    visitor.shot("phone")


def test_the_keyboard_is_enough(visit: Callable[..., Visit]):
    visitor = visit(viewport={"width": 1180, "height": 900})
    page, keys = visitor.page, visitor.page.keyboard

    def tab_to(name: str) -> None:
        for _ in range(30):
            keys.press("Tab")
            if page.evaluate("() => document.activeElement.id || document.activeElement.name") == name:
                return
        pytest.fail(f"no way to {name}")

    tab_to("task")
    keys.press("ArrowDown")  # the next kind of scene
    expect(page.locator("#caption")).to_contain_text("tower")
    tab_to("number")
    keys.press("ArrowRight")
    expect(page.locator("#caption")).to_contain_text("Scene 2")
    tab_to("steps")
    keys.press("Home")
    expect(page.locator("#steps-said")).to_have_text("the present only")
    keys.press("ArrowRight")
    expect(page.locator("#steps-said")).to_have_text("1 step, 0.7 s")
    keys.press("Shift+Tab")
    keys.press("Enter")  # in the question
    visitor.answered()
    tab_to("play")
    keys.press("Space")
    expect(page.get_by_role("button", name="Play")).to_be_focused()
    tab_to("time")
    keys.press("End")
    expect(page.locator("#time-said")).to_have_text("0.67 s later")


def test_a_picture_is_pasted_and_a_question_stopped(
    visit: Callable[..., Visit], server: Any, monkeypatch: pytest.MonkeyPatch
):
    given_up = threading.Event()

    def write_without_end(question: Any) -> None:
        while not question.cancelled:
            question.emit({"is": "piece", "side": "without", "text": "and "})
            threading.Event().wait(0.05)
        given_up.set()

    monkeypatch.setattr(server.service._answers, "answer", write_without_end)
    visitor = visit(viewport={"width": 1180, "height": 900})
    page = visitor.page
    page.get_by_label("Question", exact=True).fill("Why?")
    page.evaluate(PASTE, base64.b64encode(scene_file()["buffer"]).decode())
    expect(page.locator("#caption")).to_have_text("image.png.")
    expect(page.get_by_label("Your own")).to_be_checked()
    expect(page.get_by_label("Question", exact=True)).to_have_value("Why?")  # what a visitor wrote stays
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#side-without .said")).to_contain_text("and and")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_have_text("Stopped.")
    assert given_up.wait(60)
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()


def test_files_may_be_dropped_anywhere_and_words_as_ever(visit: Callable[..., Visit]):
    page = visit(viewport={"width": 1180, "height": 900}).page
    assert [page.evaluate(DRAG, what) for what in ("file", "words")] == [True, False]  # whether the page takes them


def test_what_is_shown_is_what_will_be_asked_about(visit: Callable[..., Visit]):
    visitor = visit(viewport={"width": 1180, "height": 900})
    page = visitor.page
    drawn = """() => document.getElementById("shown").getContext("2d").getImageData(0, 0, 64, 64).data.some(Boolean)"""
    page.get_by_role("button", name="Ask", exact=True).click()
    visitor.answered()

    page.get_by_label("Your own").check()
    expect(page.locator("#caption")).to_have_text("No picture yet.")
    expect(page.locator("#results")).to_be_hidden()
    assert not page.evaluate(drawn)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#ask-error")).to_have_text("Choose a picture first.")

    files = page.get_by_label("A picture, a short video")
    files.set_input_files([scene_file()])
    expect(page.locator("#caption")).to_have_text("ball.png.")
    files.set_input_files([{"name": "IMG_1.HEIC", "mimeType": "image/heic", "buffer": b"0"}])
    expect(page.locator("#picture-error")).to_contain_text("IMG_1.HEIC: HEIC pictures are not read")
    expect(page.locator("#caption")).to_have_text("No picture yet.")


def test_a_visitor_with_a_picture_is_told_what_the_model_has_learnt_from(visit: Callable[..., Visit]):
    visitor = visit(viewport={"width": 1180, "height": 900})
    page = visitor.page
    scope = "tiny-foresight has learnt from Foresight (simulated scenes) alone"
    expect(page.locator("#of-own .scope")).to_be_hidden()
    page.get_by_label("Your own").check()
    expect(page.locator("#of-own .scope")).to_contain_text(scope)
    page.get_by_label("A picture, a short video").set_input_files([scene_file()])
    expect(page.locator("#caption")).to_have_text("ball.png.")
    page.get_by_label("Question", exact=True).fill(PRESENT)
    page.get_by_role("button", name="Ask", exact=True).click()
    visitor.answered()
    expect(page.locator("#answers-scope")).to_contain_text(scope)
    expect(page.locator("#verdict-said")).to_contain_text("The model uses its world")


def test_an_example_is_one_click_away(visit: Callable[..., Visit]):
    page = visit(viewport={"width": 1180, "height": 900}).page
    page.get_by_label("Your own").check()
    page.get_by_role("button", name="A tower of blocks").click()
    expect(page.locator("#caption")).to_contain_text("a tower of blocks")
    expect(page.get_by_label("Simulated scene")).to_be_checked()
    expect(page.get_by_label("Question", exact=True)).to_have_value(re.compile("^Which way does the tower fall"))


def test_a_bad_file_is_answered_with_a_sentence(visit: Callable[..., Visit]):
    visitor = visit(viewport={"width": 1180, "height": 900})
    page = visitor.page
    page.get_by_label("Your own").check()
    files, error = page.get_by_label("A picture, a short video"), page.locator("#picture-error")
    for buffer, sentence in (
        (b"no picture at all", "Not a readable picture or video: expected PNG"),
        (scene_file()["buffer"][:200], "Not a readable picture"),
        (b"", "Not a readable picture or video"),
        (large_picture(), "A picture of 6000 x 6000 px: expected at most 25,000,000 pixels; send it smaller."),
        (b"0" * 1_500_000, "1.5 MB: send at most 1 MB, a smaller picture or a shorter clip."),
    ):
        files.set_input_files([{"name": "file.png", "mimeType": "image/png", "buffer": buffer}])
        expect(error).to_contain_text(sentence)
        assert "Traceback" not in page.content()
    visitor.shot("bad-file")
    refused = [said for said in visitor.complaints if "Failed to load resource" in said and "400" in said]
    assert refused == visitor.complaints  # the browser's own line for an answer of 400, and nothing else
    visitor.complaints.clear()


def large_picture() -> bytes:
    file = io.BytesIO()
    Image.new("1", (6000, 6000)).save(file, "PNG")
    return file.getvalue()
