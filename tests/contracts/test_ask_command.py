"""`theworld ask` about a video: both answers, a cut, the imagined future, and quick refusals of one line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fixtures_clips import animation, film, moving_square
from fixtures_model import picture
from theworld import TheWorld
from theworld.cli import main as cli
from theworld.datasets.video import read_clip

QUESTION = "What happens next?"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    TheWorld.from_pretrained("tiny", world_tap="rollout", num_world_steps=1, num_inference_steps=2).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("video") / "clip.mp4")


def ask(capsys: pytest.CaptureFixture[str], *words: Any) -> dict[str, Any]:
    short = () if "auto" in words else ("--max-new-tokens", "4")  # a choice has its own length
    assert cli.main(["ask", *map(str, words), *short, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_video_is_answered_with_and_without_the_world_and_its_future_is_shown(
    model: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    future = tmp_path / "future.GIF"
    result = ask(capsys, model, clip, QUESTION, "--show-future", future)
    loaded = TheWorld.from_pretrained(model)
    options: dict[str, Any] = {"max_new_tokens": 4}
    assert result["with the world"] == loaded.generate(clip, QUESTION, **options)
    with loaded.without_world():
        assert result["without the world"] == loaded.generate(clip, QUESTION, **options)
    with Image.open(future) as shown:
        assert (shown.format, getattr(shown, "n_frames", 1)) == ("GIF", 5 + 4)


def test_a_choice_says_if_the_world_was_asked(model: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (model, clip, QUESTION, "--world", "auto", "--choices", "it stops", "it falls", "--auto-threshold")
    plain, imagined = ask(capsys, *words, "0"), ask(capsys, *words, "always")
    assert (plain["imagined"], imagined["imagined"]) == (False, True)
    assert plain["margin"] == imagined["margin"]
    assert {plain["answer"], imagined["answer"]} <= {"it stops", "it falls"}


def test_the_models_see_the_cut_alone(model: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = ask(capsys, model, clip, QUESTION, "--start-seconds", 0.5, "--end-seconds", 1.4)
    loaded = TheWorld.from_pretrained(model)
    cut = read_clip(clip, loaded.config.clip_rule, start_s=0.5, end_s=1.4)
    assert result["with the world"] == loaded.generate(cut, QUESTION, max_new_tokens=4)


def test_an_animation_is_a_video(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clip.gif"
    path.write_bytes(animation([Image.fromarray(pixels) for pixels in moving_square()], "GIF"))
    expected = TheWorld.from_pretrained(model).generate(path.read_bytes(), QUESTION, max_new_tokens=4)
    assert ask(capsys, model, path, QUESTION)["with the world"] == expected


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("none.mp4", (), "none.mp4: no such file"),
        ("none.png", (), "none.png: no such file"),
        ("half.mp4", (), "half.mp4: "),
        ("text.mp4", (), "text.mp4: not a readable video"),
        ("clip.mp4", ("--start-seconds", "9"), "clip.mp4: no frame between 9 s and"),
        ("clip.mp4", ("--end-seconds", "9"), "clip.mp4: end=9 s: the video has"),
        ("clip.mp4", ("--start-seconds", "1", "--end-seconds", "0.5"), "end_seconds=0.5: expected 1, the start"),
        ("clip.mp4", ("--end-seconds", "-1"), "--end-seconds: given -1.0"),
        ("good.png", ("--end-seconds", "1"), "a picture: drop start_seconds and end_seconds"),
        ("clip.mp4", ("--show-future", "x.txt"), "show_future='x.txt': the animation is a GIF; name it .gif"),
        ("clip.mp4", ("--show-future", "x.mp4"), "the animation is a GIF"),
        ("clip.mp4", ("--show-future", "none/x.gif"), "none/x.gif: its folder does not exist"),
        ("good.png", ("--world", "auto"), "--world auto needs choices"),
        ("good.png", ("--choices", "red", "blue"), "choices is for --world auto"),
        ("good.png", ("--auto-threshold", "1"), "auto_threshold is for --world auto"),
        ("good.png", ("--world", "auto", "--choices", "a", "b", "--show-future", "x.gif"), "drop one of them"),
        (
            "good.png",
            ("--world", "auto", "--choices", "a", "b", "--max-new-tokens", "3"),
            "max_new_tokens: --world auto weighs",
        ),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_before_a_model_loads(
    name: str,
    flags: tuple[str, ...],
    message: str,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_bytes(clip.read_bytes())
    Path("half.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    Path("text.mp4").write_text("no video")
    picture(1).save("good.png")
    monkeypatch.setattr(TheWorld, "from_pretrained", lambda *args, **kwargs: pytest.fail("a model loads"))
    assert cli.main(["ask", "tiny", name, QUESTION, *flags]) == cli.REFUSED
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_refusal_waits_for_no_library_of_models(tmp_path: Path) -> None:
    program = (
        "import sys; from theworld.cli.main import main;"
        f" code = main(['ask', 'tiny', {str(tmp_path / 'none.mp4')!r}, 'What?']);"
        " print(code, sorted({'transformers', 'diffusers', 'theworld.modeling'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "2 []\n"
