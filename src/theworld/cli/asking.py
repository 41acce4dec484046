"""Handler of `theworld ask`: a question about a picture or a video, with the world and without it."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theworld.config import AskSettings

logger = logging.getLogger(__name__)

_MOST_TOKENS = 64
"""Longest answer where the settings leave it open."""
_FUTURE_SIDE_PX = 512
"""Side of animations of the future, about."""


def ask(settings: "AskSettings") -> dict[str, Any]:
    """Answer a question about a picture or a video twice: with the world, and by the same model without it.

    With `world="auto"` the answer is one of the choices, and the world is asked only where it is unsure.

    Raises:
        ValueError: for a picture or video that cannot be read, a K that the tap cannot serve, or a future that it does
            not show.
    """
    if settings.show_future is not None and not settings.show_future.absolute().parent.is_dir():
        raise ValueError(f"{settings.show_future}: its folder does not exist; create it first")
    shown, part = _to_be_shown(settings)  # first: it is cheap, and may be refused
    from theworld.datasets.animation import write_gif
    from theworld.modeling import TheWorld
    from theworld.modeling.chats import read_part
    from theworld.modeling.factory import has_new_projector, on_this_machine, scope_of, to_be_asked
    from theworld.modeling.introspection import imagine

    name = to_be_asked(settings.model)
    if name != settings.model:
        logger.warning("the projector of %s was never trained: %s answers in its place", settings.model, name)
    options = {"max_new_tokens": settings.max_new_tokens or _MOST_TOKENS}
    steps = settings.num_inference_steps
    changed = {} if steps is None else {"num_inference_steps": steps}
    model = TheWorld.from_pretrained(name, **changed, **on_this_machine(settings.dtype))
    if has_new_projector(model):
        logger.warning("the projector of %s was never trained: the answer with the world means nothing", name)
    if part is not None:
        shown = read_part(part, model.config.clip_rule)
    scope = scope_of(model.config, settings.model)
    note = {"note": scope} if scope else {}
    if settings.world == "auto":
        return {"question": settings.question, **_answer_where_unsure(settings, model, shown), **note}
    result = {}
    if settings.show_future is not None:
        steps = model.config.num_world_steps if settings.num_world_steps is None else settings.num_world_steps
        frames = imagine(model, shown, steps).numpy()
        write_gif(frames, settings.show_future, model.config.frame_rate_hz, _FUTURE_SIDE_PX // frames.shape[1] or 1)
        result["future"] = str(settings.show_future)
    answer = model.generate(shown, settings.question, num_world_steps=settings.num_world_steps, **options)
    with model.without_world():
        plain = model.generate(shown, settings.question, **options)
    return {"question": settings.question, "without the world": plain, "with the world": answer, **result, **note}


def _answer_where_unsure(settings: "AskSettings", model: Any, shown: Any) -> dict[str, Any]:
    """Answer by the likeliest choice, with the world only where the answer without it is unsure."""
    look = model.look(shown, settings.num_world_steps, world="auto")
    result = look.ask(settings.question, list(settings.choices or ()), settings.auto_threshold)
    return {"answer": result.answer, "imagined": result.imagined, "margin": round(result.margin, 4)}


def _to_be_shown(settings: "AskSettings") -> tuple[Any, dict[str, Any] | None]:
    """Read the picture, or check that a video can be read; return the picture and None, or None and a part of a chat.

    Neither transformers nor a model loads for it.
    """
    from theworld.datasets.images import to_image
    from theworld.datasets.video import is_video, read_clip

    times = {"start": settings.start_seconds, "end": settings.end_seconds}
    if is_video(settings.picture):
        read_clip(settings.picture, start_s=settings.start_seconds, end_s=settings.end_seconds)
        return None, {"type": "video", "video": settings.picture, **times}
    picture = to_image(settings.picture)
    if settings.start_seconds or settings.end_seconds is not None:
        raise ValueError(f"{settings.picture}: a picture: drop start_seconds and end_seconds, which cut a video")
    return picture, None
