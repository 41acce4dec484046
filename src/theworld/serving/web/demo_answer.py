"""TwoAnswers: what the model does for one question, told step by step: without its world, with it, and what it saw."""

import base64
import copy
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import StoppingCriteriaList

from theworld.config.serving import AppSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.images import to_frames
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.generation import FAILURES, is_of_the_machine
from theworld.evaluation.predictions import Prediction
from theworld.modeling.generation import Seen
from theworld.modeling.introspection import check_shown, decoded, first_attention
from theworld.serving.decoding import AnswerText, Finished, Options, Piece, Row, RowEnds
from theworld.serving.decoding import Event as RowEvent
from theworld.serving.web.inputs import Given, strip
from theworld.serving.web.line import Event, Turn

logger = logging.getLogger(__name__)

Side = Literal["without", "with"]


@dataclass(frozen=True)
class Asked:
    """One question."""

    picture_id: str
    """Names the picture: what was seen of it is kept under this name."""
    given: Given
    question: str
    num_world_steps: int


@dataclass
class Look:
    """What is kept of a look at a picture, for the next question about it."""

    seen: Seen
    seconds: dict[str, float] = field(default_factory=dict)
    """Of each stage."""
    features: Tensor | None = None
    """What the world model gave, until it is drawn."""
    imagined: bytes | None = None
    """The same as frames side by side, PNG; given ones included."""


class GivenUp(Exception):  # noqa: N818  # no error: nobody waits any more
    """A turn that ends early, since nobody waits for it."""


class TwoAnswers:
    """Answers questions with and without the world; everything here runs in the model's thread.

    Args:
        model: a TheWorld.
        settings: lengths, and how many looks are kept.
    """

    def __init__(self, model: Any, settings: AppSettings) -> None:
        self.model = model
        self.settings = settings
        self._has_world: bool = model.config.enable_world
        self._looks: OrderedDict[tuple[str, Side, int], Look] = OrderedDict()
        self._decoding = copy.deepcopy(model.processor.tokenizer)
        self._generation = copy.deepcopy(model.generation_config)
        self._generation.update(
            do_sample=False, temperature=None, top_p=None, top_k=None, max_new_tokens=settings.max_new_tokens
        )
        ends = model.generation_config.eos_token_id
        self._end_ids = frozenset([ends] if isinstance(ends, int) else ends or ())
        model.eval()

    def answer(self, turn: Turn, asked: Asked) -> None:
        """Answer one question, and tell the turn of every step; its last event is `done` or `error`."""
        started = time.perf_counter()
        try:
            with torch.no_grad():
                self._answer(turn, asked)
        except GivenUp:
            return
        except FAILURES as error:
            logger.error("a question failed: %s: %s", type(error).__name__, error)
            if is_of_the_machine(error):
                raise
            own = isinstance(error, ValueError)  # says what was given and what was expected
            turn.emit({"is": "error", "sentence": str(error) if own else "the model failed; the server's log says why"})
        else:
            turn.emit({"is": "done", "seconds": time.perf_counter() - started})

    def _answer(self, turn: Turn, asked: Asked) -> None:
        with self.model.without_world() if self._has_world else nullcontext():
            self._one_side(turn, asked, "without")
        if self._has_world:
            look = self._one_side(turn, asked, "with")
            turn.emit({"is": "future", **self._future(turn, look, asked)})
            _check(turn)
            turn.emit({"is": "attention", **self._attention(look, asked)})

    def _one_side(self, turn: Turn, asked: Asked, side: Side) -> Look:
        """Look at the picture, unless that was done before, and write the answer."""
        key = (asked.picture_id, side, asked.num_world_steps if side == "with" else 0)
        remembered = key in self._looks
        look = self._looks.pop(key) if remembered else self._look(turn, asked, side)
        self._looks[key] = look
        while len(self._looks) > self.settings.num_looks:
            self._looks.popitem(last=False)
        stages = [{"name": name, "seconds": s, "remembered": remembered} for name, s in look.seconds.items()]
        _begin(turn, side, "writing")
        own: dict[str, float] = {}
        with _timed(own, "writing"):
            row, end = self._write(turn, look.seen, asked.question, side)
        stages.append({"name": "writing", "seconds": own["writing"], "remembered": False})
        turn.emit(
            {
                "is": "answer",
                "side": side,
                "text": end.text,
                "is_cut": end.reason == "length",
                "right": _is_right(end.text, asked),
                "stages": stages,
                "tokens": self._count(row.inputs["input_ids"][0], end.num_tokens),
            }
        )
        return look

    def _look(self, turn: Turn, asked: Asked, side: Side) -> Look:
        given, seconds = asked.given, {}
        if side == "without":
            _begin(turn, side, "reading")
            with _timed(seconds, "reading"):
                seen = self.model.look(given.current)
            return Look(seen, seconds)
        _begin(turn, side, "imagining")
        with _timed(seconds, "imagining"):
            frames = to_frames(list(given.frames), self.model.config.world_image_size)[None]
            features = self.model.read_world(frames, asked.num_world_steps)
        _begin(turn, side, "reading")
        with _timed(seconds, "reading"):
            world = [list(given.frames)]
            seen = self.model.look(given.current, asked.num_world_steps, world=world, features=features)
        return Look(seen, seconds, features)

    def _write(self, turn: Turn, seen: Seen, question: str, side: Side) -> tuple[Row, Finished]:
        """The answer, piece by piece."""
        ends: list[Finished] = []

        def take(event: RowEvent) -> None:
            if isinstance(event, Finished):
                ends.append(event)
            elif isinstance(event, Piece):
                turn.emit({"is": "piece", "side": side, "text": event.text})

        row = Row(
            seen.inputs(question),
            world=side == "with",
            options=Options(max_new_tokens=self.settings.max_new_tokens),
            text=AnswerText(self._decoding),
            end_ids=self._end_ids,
            emit=take,
        )
        stopping = StoppingCriteriaList([_TurnEnds(turn, row)])
        self.model.generate(**row.inputs, generation_config=self._generation, stopping_criteria=stopping)
        if not ends:
            raise GivenUp
        return row, ends[0]

    def _count(self, ids: Tensor, num_written: int) -> dict[str, int]:
        """Tokens of the prompt by what they stand for, and of the answer."""
        config = self.model.config
        image, world = (int((ids == one).sum()) for one in (config.image_token_id, config.world_token_id))
        return {"text": len(ids) - image - world, "image": image, "world": world, "answer": num_written}

    def _future(self, turn: Turn, look: Look, asked: Asked) -> Event:
        """What was imagined, and what really happened, as strips of frames; or why the first is not shown."""
        given, side_px = asked.given, self.model.config.world_image_size
        sentence = ""
        try:
            check_shown(self.model)
            if look.features is not None:  # the answer did not need it: it is drawn when that is written
                _begin(turn, "with", "drawing")
                look.imagined, look.features = strip(decoded(self.model, look.features).numpy()), None
        except ValueError as error:  # no future, or one that NVIDIA's guardrail keeps back
            sentence = str(error)
        true = strip([*given.frames, *given.future], side_px) if given.future else None
        return {
            "num_given": len(given.frames),
            "num_frames": len(given.frames) + TEMPORAL_STRIDE * asked.num_world_steps,
            "num_true": len(given.frames) + len(given.future),
            "frame_rate_hz": self.model.config.frame_rate_hz,
            "given": as_url(strip(given.frames, side_px)),
            "imagined": None if look.imagined is None else as_url(look.imagined),
            "true": None if true is None else as_url(true),
            "sentence": sentence,
        }

    def _attention(self, look: Look, asked: Asked) -> Event:
        config = self.model.config
        found = first_attention(look.seen, asked.question)
        has_grid = config.world_projection_mode == "spatial"
        return {
            "image": _grid(found.image.numpy(), config.image_grid),
            "slots": [_grid(slot, config.grid) if has_grid else [slot.tolist()] for slot in found.world.numpy()],
            "num_past": (len(asked.given.frames) - 1) // TEMPORAL_STRIDE,
        }


class _TurnEnds(RowEnds):
    """Ends an answer that nobody waits for."""

    def __init__(self, turn: Turn, row: Row) -> None:
        super().__init__([row])
        self._turn = turn

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.rows[0].cancelled = self._turn.cancelled
        return super().__call__(input_ids, scores, **kwargs)


def as_url(png: bytes) -> str:
    """A picture as a page takes it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _check(turn: Turn) -> None:
    if turn.cancelled:
        raise GivenUp


def _begin(turn: Turn, side: Side, name: str) -> None:
    """Tell that a stage begins, if anybody waits for it."""
    _check(turn)
    turn.emit({"is": "stage", "side": side, "name": name})


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note how long a stage takes."""
    wait: Callable[[], None] = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    started = time.perf_counter()
    yield
    wait()
    seconds[name] = time.perf_counter() - started


def _grid(shares: np.ndarray, side: int) -> list[list[float]]:
    return shares.reshape(-1, side)[:side].tolist()


def _is_right(reply: str, asked: Asked) -> bool | None:
    """Whether the answer to a question about a scene is right, by the benchmark's own rules; None: not known."""
    for one in asked.given.questions:
        if " ".join(one.text.split()) == " ".join(asked.question.split()):
            row = Prediction(
                sample_id=asked.picture_id,
                question=one.text,
                answer=one.answer,
                choices=one.choices,
                prediction=reply,
                error=None,
                prompt_hash="",
            )
            return bool(score(row).value)
    return None
