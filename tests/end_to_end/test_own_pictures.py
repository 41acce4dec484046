"""Your own pictures in three commands: train, evaluate and audit know what the one before them did."""

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from theworld.cli.main import main
from theworld.evaluation.predictions import read_predictions
from theworld.modeling import TheWorld
from theworld.serving.web.about import verdict_of

COLOURS = {"red": (210, 50, 40), "blue": (40, 80, 210)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 small pictures with two questions each, in a folder of their own."""
    (tmp_path / "photos").mkdir()
    rows = []
    for number in range(60):
        colour, x = ("red", "blue")[number % 2], (16, 48)[number % 3 == 0]
        picture = Image.new("RGB", (64, 64), (230, 230, 225))
        ImageDraw.Draw(picture).ellipse((x - 9, 23, x + 9, 41), fill=COLOURS[colour])
        picture.save(tmp_path / "photos" / f"{number}.png")
        name = f"photos/{number}.png"
        rows.append({"img": name, "prompt": "Which colour is it?", "label": colour})
        rows.append({"img": name, "prompt": "Where is it: left or right?", "label": "left" if x < 32 else "right"})
    rows[5]["img"] = "photos/nowhere.png"
    (tmp_path / "my.json").write_text(json.dumps(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_three_commands_train_evaluate_and_audit(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["train", "--data.source", "my.json", "--num-steps", "4", "--log-to", "none"]) == 0
    trained = capsys.readouterr()
    assert main(["evaluate", "runs/my"]) == 0
    evaluated = capsys.readouterr()
    assert main(["audit", "runs/my"]) == 0
    audited = capsys.readouterr()

    assert "my.json: image from 'img', question from 'prompt', answer from 'label'; pictures in ." in caplog.messages
    assert "no model is named: the small embedded one is trained" in caplog.text
    assert "theworld evaluate runs/my" in trained.out
    assert "accuracies will rest on n = 23 held-out samples" in caplog.text
    assert "theworld audit runs/my" in evaluated.out
    assert "By question" in evaluated.out
    assert "theworld app --model runs/my/model" in audited.out
    rows = read_predictions(Path("runs/my/evaluation/predictions/world.jsonl"))
    trained_on = {row["img"] for row in json.loads((folder / "my.json").read_text())}
    assert 20 <= len(rows) <= 24
    assert {str(row.fields["image"]) for row in rows} < trained_on
    assert rows[0].sample_id.startswith("photos/")
    model = TheWorld.from_pretrained("runs/my")
    assert verdict_of(model, "runs/my").command is None  # the page finds the audit
    assert main(["ask", "runs/my", "photos/1.png", "Which colour is it?", "--max-new-tokens", "2"]) == 0


def test_the_example_is_a_valid_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["data", "example", "--own", "--num-pictures", "4"]) == 0
    Path("my.json").write_text(capsys.readouterr().out)

    rows = json.loads(Path("my.json").read_text())
    assert [sorted(row) for row in rows] == [["answer", "image", "question"]] * 8
    assert main(["data", "preview", "--data.source", "my.json", "--num-read", "4", "--num-shown", "2"]) == 0
    assert Path("preview.html").is_file()


def test_a_file_under_the_name_of_a_hub_data_set_is_refused_on_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data.dataset", "hf", "--output-dir", "run", "--model.gemma-model-name", "tiny"]
    tiny = ["--model.world.cosmos-model-name", "tiny", "--model.world.image-size-px", "64"]

    assert main(["train", *given, *tiny, "--data.source", "my.json"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("read it with --data.dataset own")
