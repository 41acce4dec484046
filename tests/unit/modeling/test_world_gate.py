"""`world="auto"`: choices are weighed without the world first, and again with it only where they are close."""

from pathlib import Path
from typing import Any

import pytest

from fixtures_clips import moving_square
from fixtures_model import picture
from theworld.config import DataSettings, EvaluationConfig
from theworld.config.thresholds import asks_world, lead_of
from theworld.datasets.factory import open_items
from theworld.evaluation.gating import margin_of
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.run import evaluate
from theworld.modeling import TheWorld, world_gate
from theworld.modeling.generation import conversation
from theworld.modeling.world_gate import AutoAnswer

CHOICES = ["blue", "dark green", "red"]


@pytest.fixture(scope="module")
def ahead(tmp_path_factory: pytest.TempPathFactory) -> TheWorld:
    world = {"world_tap": "rollout", "num_world_steps": 1, "num_inference_steps": 2, "world_grid": 4}
    return TheWorld.from_pretrained("tiny", **world).eval()


def auto(model: TheWorld, threshold: Any, image: Any = None, **more: Any) -> AutoAnswer:
    options = {"world": "auto", "choices": CHOICES, "auto_threshold": threshold, **more}
    return model.generate(picture() if image is None else image, "Which bin?", **options)


def test_a_margin_below_the_threshold_asks_the_world() -> None:
    assert lead_of([-3.0, -1.0, -1.5]) == 0.5
    assert asks_world(0.4, 0.5)
    assert not asks_world(0.5, 0.5)
    assert not asks_world(0.0, 0)  # 0: never
    assert asks_world(1e9, "always")
    assert asks_world(lead_of([-1.0]), "always")  # no number is above an infinite margin
    assert asks_world(None, 0.0)  # nothing was answered without the world


def test_the_world_is_read_only_if_the_margin_is_small(ahead: TheWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = ahead.read_world
    monkeypatch.setattr(ahead, "read_world", lambda *args, **more: reads.append(1) or read(*args, **more))
    plain = auto(ahead, 0)
    assert (plain.imagined, reads) == (False, [])
    unsure = auto(ahead, plain.margin * 1.01)
    assert (unsure.imagined, reads) == (True, [1])
    assert unsure.margin == plain.margin
    assert unsure.log_likelihoods != plain.log_likelihoods
    assert not auto(ahead, plain.margin * 0.99).imagined
    assert auto(ahead, "always") == unsure
    for answer in (plain, unsure):
        assert str(answer) == answer.answer == max(CHOICES, key=lambda choice: answer.log_likelihoods[choice])


def test_answers_are_those_of_the_arm_of_an_evaluation(ahead: TheWorld, tmp_path: Path) -> None:
    ahead.save_pretrained(tmp_path / "model")
    data = DataSettings(questions="future", tasks=("drop",), image_size_px=64, num_validation=4)
    config: dict[str, Any] = {"checkpoint": tmp_path / "model", "output_dir": tmp_path, "answers": "loglikelihood"}
    evaluate(EvaluationConfig(arms=("auto", "no-world-tokens"), auto_threshold="always", data=data, **config))
    rows = {arm: read_predictions(tmp_path / "predictions" / f"{arm}.jsonl") for arm in ("auto", "no-world-tokens")}
    samples = open_items(data, 4)
    for index, (asked, plain) in enumerate(zip(rows["auto"], rows["no-world-tokens"], strict=True)):
        assert asked.choices is not None
        look = ahead.look(samples[index].images[0], world="auto")
        answers = [look.ask(asked.question, list(asked.choices), threshold) for threshold in ("always", 0)]
        for answer, row in zip(answers, (asked, plain), strict=True):
            assert answer.log_likelihoods == pytest.approx(row.log_likelihoods, abs=1e-4)
            assert answer.margin == pytest.approx(margin_of(plain), abs=1e-4)
        assert [answer.imagined for answer in answers] == [asked.fields["imagined"], False] == [True, False]


def test_a_look_imagines_once_for_all_its_unsure_questions(ahead: TheWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = ahead.read_world
    monkeypatch.setattr(ahead, "read_world", lambda *args, **more: reads.append(1) or read(*args, **more))
    look = ahead.look([picture(1), picture(2)], world="auto")
    first = look.ask("Which bin?", CHOICES, "always")
    assert look.ask("Which bin?", CHOICES, 0).imagined is False
    assert look.ask("Which way?", ["left", "right"], "always").imagined
    assert look.ask("Which bin?", CHOICES, "always") == first
    assert reads == [1]


def test_a_video_and_many_choices_are_weighed(ahead: TheWorld) -> None:
    video = {"type": "video", "video": list(moving_square()), "frame_rate": 16}
    letters = [chr(ord("a") + number) for number in range(10)]  # more than one pass
    whole = auto(ahead, "always", video, choices=letters)
    part = auto(ahead, "always", video, choices=letters[7:])
    assert whole.imagined
    for letter in letters[7:]:
        assert whole.log_likelihoods[letter] == pytest.approx(part.log_likelihoods[letter], abs=1e-4)


def test_choices_are_weighed_as_many_at_once_as_is_said_and_alike(
    ahead: TheWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    forward = world_gate.log_likelihoods

    def counting(model: Any, batch: Any, labels: Any) -> Any:
        sizes.append(len(batch["input_ids"]))
        return forward(model, batch, labels)

    monkeypatch.setattr(world_gate, "log_likelihoods", counting)
    with ahead.without_world():
        ids = world_gate.choice_ids(ahead.processor, CHOICES)
        prompt = conversation(ahead, [], "Which bin?")
        together = world_gate.weigh(ahead, prompt, ids)
        apart = world_gate.weigh(ahead, prompt, ids, most_at_once=1)

    assert sizes == [3, 1, 1, 1]
    assert apart == pytest.approx(together, abs=1e-4)


def test_control_tokens_in_a_choice_are_text(ahead: TheWorld) -> None:
    answer = auto(ahead, "always", choices=["red<end_of_turn>", "red"])
    assert answer.log_likelihoods["red<end_of_turn>"] < answer.log_likelihoods["red"]


def test_a_checkpoint_keeps_its_threshold(ahead: TheWorld, tmp_path: Path) -> None:
    margin = auto(ahead, 0).margin
    ahead.save_pretrained(tmp_path / "none")
    for name, threshold, imagined in (("never", 0, False), ("above", margin + 1, True), ("always", "always", True)):
        TheWorld.from_pretrained(tmp_path / "none", auto_threshold=threshold).save_pretrained(tmp_path / name)
        loaded = TheWorld.from_pretrained(tmp_path / name)
        assert loaded.config.auto_threshold == threshold
        assert auto(loaded, None).imagined is imagined
        assert auto(loaded, 0).imagined is False  # an explicit one counts
    with pytest.raises(ValueError, match="needs a threshold, and the checkpoint has none: give auto_threshold"):
        auto(TheWorld.from_pretrained(tmp_path / "none"), None)


@pytest.mark.parametrize("threshold", [-1, float("nan"), float("inf"), "often", True])
def test_a_threshold_that_is_none_is_refused(threshold: Any, ahead: TheWorld) -> None:
    with pytest.raises(ValueError, match=r"auto_threshold=.*: expected a margin of 0 or more, nats, or 'always'"):
        auto(ahead, threshold)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"choices": None}, "world='auto' needs choices"),
        ({"choices": "red"}, "choices='red': expected a list of texts"),
        ({"choices": ["red"]}, "1 choices: expected 2 to 32"),
        ({"choices": ["red"] * 33}, "33 choices: expected 2 to 32"),
        ({"choices": ["red", " "]}, "choice ' ': expected a text that is not empty"),
        ({"choices": ["red", 3]}, "choice 3: expected a text"),
        ({"choices": ["red", "red "]}, "choice 'red' twice: give each once"),
        ({"max_new_tokens": 3}, "max_new_tokens: world='auto' weighs the choices and writes nothing"),
        ({"world": "on"}, "world='on': expected clips for the world model, or 'auto'"),
        ({"world": None}, "choices without world='auto': give both, or drop it"),
        ({"world": None, "choices": None, "auto_threshold": 1}, "auto_threshold without world='auto'"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(options: dict[str, Any], message: str, ahead: TheWorld) -> None:
    given = {"world": "auto", "choices": CHOICES, "auto_threshold": 1.0, **options}
    given = {name: value for name, value in given.items() if not (value is None and name != "choices")}
    if options.get("world", "") is None:
        given.pop("auto_threshold") if "choices" not in options else given.pop("choices")
    with pytest.raises(ValueError, match=message.replace("(", r"\(")) as error:
        ahead.generate(picture(), "Which bin?", **given)
    assert "\n" not in str(error.value)


def test_a_question_without_a_world_or_a_picture_or_among_others_is_refused(
    ahead: TheWorld, world_off: TheWorld
) -> None:
    with pytest.raises(ValueError, match="world='auto' with enable_world=False: there is no world to ask"):
        auto(world_off, 1.0)
    with pytest.raises(ValueError, match="without a picture: there is nothing to imagine"):
        ahead.generate(None, "Which bin?", world="auto", choices=CHOICES, auto_threshold=1.0)
    with pytest.raises(ValueError, match="with world='auto' one text, asked alone"):
        ahead.generate([picture()], ["Which bin?"], world="auto", choices=CHOICES, auto_threshold=1.0)
    with pytest.raises(ValueError, match=r"use look\(\.\.\., world='auto'\)"):
        ahead.look(picture()).ask("Which bin?", choices=CHOICES)
