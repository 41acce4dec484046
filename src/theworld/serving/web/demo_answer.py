"""Answers for the page: one question answered without and with the world, with its future, attention, and timings."""

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
from theworld.modeling import TheWorld
from theworld.modeling.bases import SHARED_PREFIX
from theworld.modeling.generation import Seen
from theworld.modeling.introspection import check_shown, decoded, first_attention, future_latents
from theworld.serving.answer_text import AnswerText
from theworld.serving.decoding import Event, Finished, Options, Piece, Row, RowEnds, end_ids, greedy
from theworld.serving.engine import Job
from theworld.serving.refusals import RequestError
from theworld.serving.web.uploads import Clip, strip

logger = logging.getLogger(__name__)

Side = Literal["without", "with"]

PageEvent = dict[str, Any]
"""One event of the page's stream: `{"is": "piece", ...}`."""


class DemoQuestion(Job):
    """One question of a visitor.

    Args:
        picture_id: names the clip; the encoded clip is kept under this name.
        clip: the picture or clip.
        text: the question.
        num_world_steps: K, latent slots to look ahead.
        emit: takes the events, from any thread; the last is `done` or a RequestError.
    """

    def __init__(
        self, picture_id: str, clip: Clip, text: str, num_world_steps: int, emit: Callable[[Any], None]
    ) -> None:
        super().__init__(emit)
        self.picture_id = picture_id
        self.clip = clip
        self.text = text
        self.num_world_steps = num_world_steps

    def move_to(self, place: int) -> None:
        """Report the place in the queue to the page."""
        self.emit({"is": "waiting", "place": place})


@dataclass
class Look:
    """The encoded clip, kept for the next question about it."""

    seen: Seen
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds per stage."""
    features: Tensor | None = None
    """Features of the world model; None once they are drawn."""
    imagined: bytes | None = None
    """The imagined future as frames side by side, the given frames first: a PNG."""


class QuestionCancelled(Exception):  # noqa: N818  # not an error: the visitor left
    """The visitor no longer waits for the answer."""


class TwoAnswers:
    """Answers questions without and with the world; call it in the model thread.

    Args:
        model: the model.
        settings: longest answer, and how many looks to keep.
    """

    def __init__(self, model: TheWorld, settings: AppSettings) -> None:
        model.config.BASE.refuse(SHARED_PREFIX)
        self.model = model.eval()
        self.settings = settings
        self._has_world = model.config.enable_world
        self._looks: OrderedDict[tuple[str, Side, int], Look] = OrderedDict()
        self._decoding = copy.deepcopy(model.processor.tokenizer)
        self._generation = greedy(model, max_new_tokens=settings.max_new_tokens)
        self._end_ids = end_ids(model)

    def answer(self, question: DemoQuestion) -> None:
        """Answer a question and emit an event for every step."""
        started = time.perf_counter()
        try:
            with torch.no_grad():
                self._answer(question)
        except QuestionCancelled:
            return
        except FAILURES as error:
            logger.error("a question failed", exc_info=True)
            if is_of_the_machine(error):
                raise
            if isinstance(error, ValueError):  # its message names the given and the expected value
                question.fail(RequestError(str(error)))
            else:
                message = "the model failed on this question; the server's log says why"
                question.fail(RequestError(message, 500, "internal_error"))
        else:
            question.emit({"is": "done", "seconds": time.perf_counter() - started})

    def _answer(self, question: DemoQuestion) -> None:
        with self.model.without_world() if self._has_world else nullcontext():
            self._answer_side(question, "without")
        if self._has_world:
            look = self._answer_side(question, "with")
            question.emit({"is": "future", **self._future(look, question)})
            _check(question)
            question.emit({"is": "attention", **self._attention(look, question)})

    def _answer_side(self, question: DemoQuestion, side: Side) -> Look:
        """Encode the clip, unless its look is kept, and write the answer."""
        key = (question.picture_id, side, question.num_world_steps if side == "with" else 0)
        remembered = key in self._looks
        look = self._looks.pop(key) if remembered else self._look(question, side)
        self._looks[key] = look
        while len(self._looks) > self.settings.num_looks:
            self._looks.popitem(last=False)
        stages = [{"name": name, "seconds": s, "remembered": remembered} for name, s in look.seconds.items()]
        _begin(question, side, "writing")
        seconds: dict[str, float] = {}
        with _timed(seconds, "writing"):
            row, end = self._write(question, look.seen, side)
        stages.append({"name": "writing", "seconds": seconds["writing"], "remembered": False})
        question.emit(
            {
                "is": "answer",
                "side": side,
                "text": end.text,
                "is_cut": end.reason == "length",
                "right": _is_right(end.text, question),
                "stages": stages,
                "tokens": self._count(row.inputs["input_ids"][0], end.num_tokens),
            }
        )
        return look

    def _look(self, question: DemoQuestion, side: Side) -> Look:
        clip, seconds = question.clip, {}
        if side == "without":
            _begin(question, side, "reading")
            with _timed(seconds, "reading"):
                seen = self.model.look(clip.current)
            return Look(seen, seconds)
        _begin(question, side, "imagining")
        with _timed(seconds, "imagining"):
            frames = to_frames(list(clip.frames), self.model.config.world_image_size)[None]
            features = self.model.read_world(frames, question.num_world_steps)
        _begin(question, side, "reading")
        with _timed(seconds, "reading"):
            world = [list(clip.frames)]
            seen = self.model.look(clip.current, question.num_world_steps, world=world, features=features)
        return Look(seen, seconds, features)

    def _write(self, question: DemoQuestion, seen: Seen, side: Side) -> tuple[Row, Finished]:
        """Write the answer piece by piece."""
        ends: list[Finished] = []

        def forward(event: Event) -> None:
            if isinstance(event, Finished):
                ends.append(event)
            elif isinstance(event, Piece):
                question.emit({"is": "piece", "side": side, "text": event.text})

        row = Row(
            seen.inputs(question.text),
            world=side == "with",
            options=Options(max_new_tokens=self.settings.max_new_tokens),
            text=AnswerText(self._decoding),
            end_ids=self._end_ids,
            emit=forward,
        )
        stopping = StoppingCriteriaList([_QuestionEnds(question, row)])
        self.model.generate(**row.inputs, generation_config=self._generation, stopping_criteria=stopping)
        if not ends:
            raise QuestionCancelled
        return row, ends[0]

    def _count(self, ids: Tensor, num_written: int) -> dict[str, int]:
        """Count the tokens of the prompt by kind, and those of the answer."""
        config = self.model.config
        image, world = (int((ids == token_id).sum()) for token_id in (config.image_token_id, config.world_token_id))
        return {"text": len(ids) - image - world, "image": image, "world": world, "answer": num_written}

    def _future(self, look: Look, question: DemoQuestion) -> PageEvent:
        """Return the imagined and the true future as strips of frames, or the reason why the first is hidden."""
        clip, side_px = question.clip, self.model.config.world_image_size
        sentence = ""
        try:
            check_shown(self.model)
            if look.features is not None:  # draw it after the answer, which does not depend on it
                _begin(question, "with", "drawing")
                frames, features = to_frames(list(clip.frames), side_px)[None], look.features
                latents = future_latents(self.model, frames, question.num_world_steps, lambda *_: features)
                look.imagined, look.features = strip(decoded(self.model, latents).numpy()), None
        except FAILURES as error:  # no future, NVIDIA's guardrail blocks it, or there is no memory to draw it
            if is_of_the_machine(error):
                raise
            sentence = str(error)
            if not isinstance(error, ValueError):  # the answers stand
                logger.error("a future was not drawn", exc_info=True)
                sentence = "the future could not be drawn; the server's log says why"
        true = strip([*clip.frames, *clip.future], side_px) if clip.future else None
        return {
            "num_given": len(clip.frames),
            "num_frames": len(clip.frames) + TEMPORAL_STRIDE * question.num_world_steps,
            "num_true": len(clip.frames) + len(clip.future),
            "frame_rate_hz": self.model.config.frame_rate_hz,
            "given": as_url(strip(clip.frames, side_px)),
            "imagined": None if look.imagined is None else as_url(look.imagined),
            "true": None if true is None else as_url(true),
            "sentence": sentence,
        }

    def _attention(self, look: Look, question: DemoQuestion) -> PageEvent:
        config = self.model.config
        shares = first_attention(look.seen, question.text)
        has_grid = config.world_projection_mode == "spatial"
        return {
            "image": _grid(shares.image.numpy(), config.image_grid),
            "slots": [_grid(slot, config.grid) if has_grid else [slot.tolist()] for slot in shares.world.numpy()],
            "num_past": (len(question.clip.frames) - 1) // TEMPORAL_STRIDE,
        }


class _QuestionEnds(RowEnds):
    """Ends the row of a cancelled question at its next token."""

    def __init__(self, question: DemoQuestion, row: Row) -> None:
        super().__init__([row])
        self._question = question

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.rows[0].cancelled = self._question.cancelled
        return super().__call__(input_ids, scores, **kwargs)


def as_url(png: bytes) -> str:
    """Return a PNG as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _check(question: DemoQuestion) -> None:
    if question.cancelled:
        raise QuestionCancelled


def _begin(question: DemoQuestion, side: Side, name: str) -> None:
    """Report the start of a stage; stop here if the question is cancelled."""
    _check(question)
    question.emit({"is": "stage", "side": side, "name": name})


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Measure the seconds of a stage."""
    wait: Callable[[], None] = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    started = time.perf_counter()
    yield
    wait()
    seconds[name] = time.perf_counter() - started


def _grid(shares: np.ndarray, side: int) -> list[list[float]]:
    return shares.reshape(-1, side)[:side].tolist()


def _is_right(reply: str, question: DemoQuestion) -> bool | None:
    """Score a reply to a question about a scene by the rules of the benchmark; None: no known answer."""
    for known in question.clip.questions:
        if " ".join(known.text.split()) == " ".join(question.text.split()):
            prediction = Prediction(
                sample_id=question.picture_id,
                question=known.text,
                answer=known.answer,
                choices=known.choices,
                prediction=reply,
                error=None,
                prompt_hash="",
            )
            return bool(score(prediction).value)
    return None
