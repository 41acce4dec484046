"""The model that lmms-eval sees answers every request through the one answering loop, in the order of the requests."""

import logging
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from fixtures_clips import film
from theworld.datasets.sample import question
from theworld.evaluation.generation import Answerer
from theworld.evaluation.lmms_eval import manifest

PICTURES = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue", "yellow", "white")]


@pytest.fixture(scope="module", autouse=True)
def _lmms_eval() -> Iterator[None]:
    """The harness, or a stub of it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in ({} if harness.IS_INSTALLED else harness.stub()).items():
            patch.setitem(sys.modules, name, module)
        harness.forget()
        import theworld.evaluation.lmms_eval.model as plugin

        patch.setattr(plugin, "log_metrics", harness.log_metrics)
        yield
        harness.forget()


@pytest.fixture(scope="module")
def model(_lmms_eval: None) -> Any:
    """A model with its world on that answers two at a time."""
    return opened(batch_size=2)


class Request:
    """A chat request: six elements."""

    def __init__(self, doc_id: int, asked: str, *pictures: Image.Image, **generation: Any) -> None:
        def messages(doc: Any) -> list[dict[str, Any]]:
            assert doc == f"document {doc_id}"
            content: list[dict[str, Any]] = [{"type": "image", "url": picture} for picture in pictures]
            return [{"role": "user", "content": [*content, {"type": "text", "text": asked}]}]

        self.args = (asked, messages, generation, doc_id, "colours", "test")


def opened(**given: Any) -> Any:
    from theworld.evaluation.lmms_eval.model import TheWorldChat

    torch.manual_seed(0)
    model = TheWorldChat(pretrained="tiny", world_grid=4, **given)
    model.cache_hook = harness.CacheHook()
    model.task_dict = {"colours": {"test": [f"document {place}" for place in range(9)]}}
    return model


def written(model: Any, asked: str, *pictures: Image.Image, **options: Any) -> str:
    """What the answering loop says to one question."""
    row = Answerer(model.model, **options)([question("a", pictures, asked)])[0]
    assert row.prediction is not None
    return row.prediction


def test_the_entry_point_names_a_chat_model() -> None:
    root = Path(__file__).parents[4]
    points = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]
    found = manifest()
    module, _, name = found.chat_class_path.rpartition(".")

    assert points == {"lmms_eval.models": {"theworld": "theworld.evaluation.lmms_eval:manifest"}}
    assert (found.model_id, found.simple_class_path) == ("theworld", None)
    assert getattr(sys.modules[module], name).is_simple is False
    assert not getattr(sys.modules[module], name).__dict__.get("__abstractmethods__")


def test_replies_come_in_the_order_of_requests_however_these_are_batched(model: Any) -> None:
    model.cache_hook.added.clear()
    requests = [
        Request(0, "Which colour?", PICTURES[0], max_new_tokens=4),
        Request(1, "How many are red?", PICTURES[1], max_new_tokens=6),
        Request(2, "Which is it?", PICTURES[2], max_new_tokens=4),
        Request(3, "Say a word.", max_new_tokens=6),
        Request(4, "Which are the same?", *PICTURES[3:], PICTURES[0], max_new_tokens=4),
    ]
    expected = [
        written(model, "Which colour?", PICTURES[0], max_new_tokens=4),
        written(model, "How many are red?", PICTURES[1], max_new_tokens=6),
        written(model, "Which is it?", PICTURES[2], max_new_tokens=4),
        written(model, "Say a word.", max_new_tokens=6),
        written(model, "Which are the same?", *PICTURES[3:], PICTURES[0], max_new_tokens=4),
    ]

    assert len(set(expected)) > 1
    assert model.generate_until(requests) == expected
    assert {(key[0], reply) for _, key, reply in model.cache_hook.added} == {
        (request.args[0], reply) for request, reply in zip(requests, expected, strict=True)
    }


def test_a_video_is_answered_as_by_generate_beside_pictures(model: Any, tmp_path: Path) -> None:
    clip = str(film(tmp_path / "clip.mp4"))
    content = [{"type": "video", "url": clip}, {"type": "text", "text": "What happens?"}]
    asked = Request(1, "What happens?", max_new_tokens=4)
    asked.args = (
        "What?",
        lambda doc: [{"role": "user", "content": content}],
        {"max_new_tokens": 4},
        1,
        "colours",
        "test",
    )

    replies = model.generate_until([Request(0, "Which colour?", PICTURES[0], max_new_tokens=4), asked])

    assert replies == [
        written(model, "Which colour?", PICTURES[0], max_new_tokens=4),
        model.model.generate(clip, "What happens?", do_sample=False, max_new_tokens=4),
    ]
    assert harness.LOGGED.pop()["additional_metrics"]["world_clips"] == 2


def test_it_reports_every_clip_that_was_read_from_the_world(model: Any) -> None:
    requests = [Request(0, "Which?", *PICTURES[:3], max_new_tokens=2), Request(1, "What?", PICTURES[0])]

    for asked, clips, steps in (
        (opened(world_tap="dit", num_world_steps=2), 4, 2),
        (model, 4, 0),
        (opened(enable_world=False), 0, 0),
    ):
        asked.generate_until(requests)

        assert harness.LOGGED.pop()["additional_metrics"] == {"replies": 2, "world_clips": clips, "world_steps": steps}


def test_a_reply_ends_where_the_task_says(model: Any) -> None:
    whole = written(model, "Which colour?", PICTURES[0], max_new_tokens=12)
    stop = whole[len(whole) // 2 :]

    reply = model.generate_until([Request(0, "Which colour?", PICTURES[0], max_new_tokens=12, until=[stop])])[0]

    assert reply == whole[: whole.index(stop)].strip() != whole


def test_a_temperature_samples(model: Any) -> None:
    request = Request(0, "Which colour?", PICTURES[0], max_new_tokens=6, temperature=5.0)

    assert len({model.generate_until([request])[0] for _ in range(4)}) > 1


def test_options_of_a_task_that_mean_nothing_here_are_named_once(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    if harness.IS_INSTALLED:
        pytest.skip("loguru writes to its own log")
    requests = [Request(place, "What?", max_new_tokens=1, image_aspect_ratio="pad") for place in range(3)]

    with caplog.at_level(logging.WARNING):
        model.generate_until(requests)

    assert [record.getMessage() for record in caplog.records if record.name == "loguru"] == [
        "theworld: ['image_aspect_ratio'] of colours mean nothing to it"
    ]


def test_a_request_that_cannot_be_answered_ends_the_run_and_is_no_empty_reply(model: Any, tmp_path: Path) -> None:
    broken = Request(1, "What?")
    content = [{"type": "image", "url": str(tmp_path / "none.png")}, {"type": "text", "text": "What?"}]
    broken.args = ("What?", lambda doc: [{"role": "user", "content": content}], {}, 1, "colours", "test")

    with pytest.raises(ValueError, match=r"colours/test/1 could not be answered: MissingImageError: .*no such file"):
        model.generate_until([Request(0, "Which?", PICTURES[0], max_new_tokens=1), broken])


def test_arguments_of_the_model_win_over_flags_of_the_command() -> None:
    from theworld.evaluation.lmms_eval.model import TheWorldChat

    flags = {"batch_size": 1, "max_batch_size": None, "device": "cpu"}
    model = TheWorldChat.create_from_arg_string("pretrained=tiny,enable_world=False,batch_size=8", flags)

    assert (model.batch_size, model.model.config.enable_world, model.model.device.type) == (8, False, "cpu")


@pytest.mark.parametrize("batch_size", ["auto", 0, -1])
def test_a_batch_size_that_is_no_number_is_refused(batch_size: object) -> None:
    with pytest.raises(ValueError, match="expected a number from 1 upwards"):
        opened(batch_size=batch_size)


def test_misspelt_settings_are_refused() -> None:
    with pytest.raises(TypeError, match="did you mean 'num_world_steps'"):
        opened(num_world_step=4)


class Joined(Accelerator):
    """accelerate's Accelerator in the second of two processes."""

    num_processes, process_index, device = 2, 1, torch.device("cpu")

    def __init__(self) -> None:
        """Join no one."""


def test_a_process_of_several_knows_its_place_and_holds_a_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    import theworld.evaluation.lmms_eval.model as plugin

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(plugin, "Accelerator", Joined)

    model = opened()

    assert (model.rank, model.world_size, model.device) == (1, 2, torch.device("cpu"))
    assert isinstance(model.accelerator, Joined)
    assert model.generate_until([Request(0, "Which?", PICTURES[0], max_new_tokens=2)] * 2) == 2 * [
        written(model, "Which?", PICTURES[0], max_new_tokens=2)
    ]  # the harness fills a short share with copies of its last request


def test_processes_that_no_launcher_has_joined_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"WORLD_SIZE=2, but 1 processes are joined: start them with `accelerate"):
        opened()


@pytest.mark.parametrize("method", ["loglikelihood", "generate_until_multi_round"])
def test_what_a_chat_model_is_not_asked_is_refused(model: Any, method: str) -> None:
    with pytest.raises(NotImplementedError, match="choose one"):
        getattr(model, method)([])
