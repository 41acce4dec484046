"""One video, every entry point: the same frames for Gemma, the same features of the world, and the same logits.

A further entry point is a further row of `ENTRIES`: a function that asks QUESTION about the file at `given.path`. One
that reads samples goes through `answered`.
"""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fixtures_clips import RATE_HZ, Decoder, animation, film, frames_of, moving_square
from fixtures_model import encode
from theworld import TheWorld
from theworld.datasets.sample import Sample
from theworld.datasets.video import read_clip

QUESTION = "What happens next?"
ONE_TOKEN: dict[str, Any] = {"max_new_tokens": 1, "do_sample": False}


class Given(NamedTuple):
    """The model, the file of a video, and the means of a test."""

    model: TheWorld
    path: Path
    patch: pytest.MonkeyPatch


@dataclass
class Seen:
    """What went through a model, in order."""

    pictures: list[Tensor] = field(default_factory=list)
    """Gemma's input, (M, 3, H, W)."""
    features: list[Tensor] = field(default_factory=list)
    """Of the world, (N, C, T, h, w)."""
    logits: list[Tensor] = field(default_factory=list)
    """Of the last position of each forward that has any, (V,)."""


@contextmanager
def watching(model: TheWorld) -> Iterator[Seen]:
    """Note what goes through a model."""
    seen = Seen()
    tap, vision = model.tap, model.model.vision_tower
    assert tap is not None

    def read(*args: Any, original: Any = tap.read) -> Tensor:
        features = original(*args)
        seen.features.append(features.clone())
        return features

    def note_logits(module: Any, args: Any, output: Any) -> None:
        if output.logits is not None and output.logits.shape[-2]:
            seen.logits.append(output.logits.reshape(-1, output.logits.shape[-1])[-1].clone())

    def note_pictures(module: Any, args: Any, kwargs: Any) -> None:
        seen.pictures.append((args[0] if args else kwargs["pixel_values"]).clone())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tap, "read", read)
        hooks = [
            model.register_forward_hook(note_logits),
            vision.register_forward_pre_hook(note_pictures, with_kwargs=True),
        ]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()


def answered(given: Given, sample: Sample) -> None:
    """Answer a sample through the loop of `theworld evaluate`."""
    from theworld.evaluation.generation import Answerer

    (row,) = Answerer(given.model, max_new_tokens=1)([sample])
    assert row.error is None, row.error


def chat(**video: Any) -> list[dict[str, Any]]:
    content = [{"type": "video", **video}, {"type": "text", "text": QUESTION}]
    return [{"role": "user", "content": content}]


def by_processor(given: Given, **video: Any) -> None:
    given.model.generate(**encode(given.model.processor, [chat(**video)]), **ONE_TOKEN)


def by_ask(given: Given) -> None:
    from theworld.cli.asking import ask
    from theworld.config import AskSettings
    from theworld.modeling import factory

    given.patch.setattr(TheWorld, "from_pretrained", lambda *args, **kwargs: given.model)
    given.patch.setattr(factory, "to_be_asked", lambda name: name)
    ask(AskSettings(model="tiny", picture=given.path, question=QUESTION, max_new_tokens=1))


def by_serve(given: Given) -> None:
    pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")
    from theworld.config.serving import ServeSettings
    from theworld.serving.decoding import BatchDecoder, Finished
    from theworld.serving.inputs import Preparer
    from theworld.serving.metrics import Metrics

    url = f"data:application/octet-stream;base64,{base64.b64encode(given.path.read_bytes()).decode()}"
    content = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    body = json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 1}).encode()
    events: list[Any] = []
    row = Preparer(given.model, ServeSettings(model="test"), "test")(body, events.append).row
    BatchDecoder(given.model, Metrics())([row])
    assert isinstance(events[-1], Finished)


def by_lmms_eval(given: Given) -> None:
    from theworld.evaluation.lmms_eval.requests import to_sample

    content = [{"type": "video", "url": str(given.path)}, {"type": "text", "text": QUESTION}]
    answered(given, to_sample([{"role": "user", "content": content}], "task/test/0", given.model.config.clip_rule))


def by_rows(given: Given, **settings: Any) -> None:
    """Answer the first row of a file that names the video, through the opener of every run."""
    from theworld.config import DataSettings
    from theworld.datasets.factory import open_samples

    folder = given.path.parent / "rows"
    folder.mkdir(exist_ok=True)
    turns = [{"from": "human", "value": f"<video>\n{QUESTION}"}, {"from": "gpt", "value": "It falls."}]
    row = {"id": "row", "video": given.path.name, "question": QUESTION, "answer": "It falls."}
    is_llava = settings.get("dataset") == "llava"
    source = folder / f"{'llava' if is_llava else 'own'}.json"
    source.write_text(json.dumps([{"video": given.path.name, "conversations": turns}] if is_llava else [row]))
    data = DataSettings(source=str(source), image_dir=given.path.parent, **settings)
    answered(given, open_samples(data, "train", None, rule=given.model.config.clip_rule)[0])


def by_column(given: Given) -> None:
    import datasets

    from theworld import HFDatasetWrapper

    rows = datasets.Dataset.from_dict({"clip": [str(given.path)], "question": [QUESTION], "answer": ["It falls."]})
    rows = rows.cast_column("clip", datasets.Video())
    answered(given, HFDatasetWrapper(rows, video_key="clip", rule=given.model.config.clip_rule)[0])


def by_records(given: Given) -> None:
    from theworld import TheWorldDataset

    record = {"video": given.path, "text": QUESTION, "label": "It falls."}
    answered(given, TheWorldDataset([record], given.model.config.clip_rule)[0])


ENTRIES: dict[str, Callable[[Given], Any]] = {
    "generate, path": lambda given: given.model.generate(given.path, QUESTION, **ONE_TOKEN),
    "generate, text": lambda given: given.model.generate(str(given.path), QUESTION, **ONE_TOKEN),
    "generate, bytes": lambda given: given.model.generate(given.path.read_bytes(), QUESTION, **ONE_TOKEN),
    "generate, part": lambda given: given.model.generate({"type": "video", "path": given.path}, QUESTION, **ONE_TOKEN),
    "generate, list": lambda given: given.model.generate([given.path], QUESTION, **ONE_TOKEN),
    "generate, batch": lambda given: given.model.generate([given.path], [QUESTION], **ONE_TOKEN),
    "generate, clip": lambda given: given.model.generate(
        read_clip(given.path, given.model.config.clip_rule), QUESTION, **ONE_TOKEN
    ),
    "look": lambda given: given.model.look(given.path).ask(QUESTION, **ONE_TOKEN),
    "processor, video": lambda given: by_processor(given, video=given.path),
    "processor, path": lambda given: by_processor(given, path=str(given.path)),
    "processor, url": lambda given: by_processor(given, url=str(given.path)),
    "ask": by_ask,
    "serve": by_serve,
    "lmms-eval": by_lmms_eval,
    "own rows": by_rows,
    "LLaVA's rows": lambda given: by_rows(given, dataset="llava"),
    "a column": by_column,
    "records": by_records,
}


def seen_by(entry: Callable[[Given], Any], given: Given) -> Seen:
    with watching(given.model) as seen:
        entry(given)
    return seen


@pytest.fixture(scope="module", params=["film.mp4", "clip.gif", "clip.webp", "clip.png"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / request.param
    if path.suffix == ".mp4":
        return film(path)
    kind = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}[path.suffix]
    path.write_bytes(animation([Image.fromarray(pixels) for pixels in moving_square()], kind))
    return path


@pytest.fixture(scope="module")
def by_hand(path: Path, fused: TheWorld) -> Seen:
    """The clip of the file, passed as pictures and a clip for the world, as before there were videos."""
    frames = list(read_clip(path, fused.config.clip_rule).frames)
    assert len({frame.tobytes() for frame in frames}) == 5
    with watching(fused) as seen:
        fused.generate(frames[-1], QUESTION, world=[frames], **ONE_TOKEN)
    return seen


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_point_sees_the_same(
    name: str, path: Path, by_hand: Seen, fused: TheWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_by(ENTRIES[name], Given(fused, path, monkeypatch))
    assert torch.equal(seen.features[0], by_hand.features[0])
    assert seen.features[0].shape[2] == 2
    assert torch.equal(seen.pictures[0], by_hand.pictures[0])
    # The prefix cache adds in another order.
    torch.testing.assert_close(seen.logits[0], by_hand.logits[0], rtol=0, atol=2e-5)


def test_another_video_is_seen_otherwise_everywhere(
    tmp_path: Path, fused: TheWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [film(tmp_path / f"{seed}.mp4", moving_square(seed=seed)) for seed in (0, 1)]
    for name, entry in ENTRIES.items():
        one, other = (seen_by(entry, Given(fused, path, monkeypatch)) for path in paths)
        assert (one.features[0] - other.features[0]).abs().max() > 1e-2, name
        assert (one.pictures[0] - other.pictures[0]).abs().max() > 1e-2, name
        assert (one.logits[0] - other.logits[0]).abs().max() > 1e-3, name


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "an array": lambda frames: {"type": "video", "video": frames, "frame_rate": RATE_HZ},
    "a list of arrays": lambda frames: {"type": "video", "video": list(frames), "frame_rate": RATE_HZ},
    "a list of pictures": lambda frames: {
        "type": "video",
        "video": [Image.fromarray(pixels) for pixels in frames],
        "frame_rate": RATE_HZ,
    },
    "a tensor": lambda frames: {
        "type": "video",
        "video": torch.from_numpy(frames).permute(0, 3, 1, 2),
        "frame_rate": RATE_HZ,
    },
    "a decoder": Decoder,
}


@pytest.mark.parametrize("form", FORMS)
def test_frames_in_memory_are_seen_as_their_file(form: str, tmp_path: Path, fused: TheWorld) -> None:
    path = film(tmp_path / "film.mp4")
    given = FORMS[form](frames_of(path))
    for ask in (
        lambda video: fused.generate(video, QUESTION, **ONE_TOKEN),
        lambda video: fused.look(video).ask(QUESTION, **ONE_TOKEN),
    ):
        with watching(fused) as expected:
            ask(path)
        with watching(fused) as seen:
            ask(given)
        assert torch.equal(seen.features[0], expected.features[0])
        assert torch.equal(seen.pictures[0], expected.pictures[0])
        assert torch.equal(seen.logits[0], expected.logits[0])
