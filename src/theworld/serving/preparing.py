"""Preparer: from the bytes of a request to a row that the model can answer, or to the reason why not."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from theworld.config.serving import ServeSettings
from theworld.serving.answers import AnswerText, Event, Options, Row
from theworld.serving.chat import ChatRequest, read_request, to_conversation
from theworld.serving.errors import RequestError
from theworld.serving.pictures import read_picture

MOST_CHARACTERS_PER_TOKEN = 32
"""Longer texts than this many characters for each allowed token are refused before they are encoded."""


@dataclass(frozen=True)
class Prepared:
    """A request and its row."""

    request: ChatRequest
    row: Row


class Preparer:
    """Reads, checks and encodes requests; nothing here touches the model.

    One thread at a time may call it: the tokenizer is not made for two.

    Args:
        model: a TheWorld.
        settings: limits and defaults.
        name: what clients call the model.
    """

    def __init__(self, model: Any, settings: ServeSettings, name: str) -> None:
        self.settings = settings
        self.name = name
        self._has_world: bool = model.config.enable_world
        self._processors = {self._has_world: model.processor}
        if self._has_world:
            plain = copy.copy(model.processor)  # the same tokenizer and pictures, no world tokens
            plain.enable_world = False
            self._processors[False] = plain
        self._steps: int | None = settings.num_world_steps
        self._most_positions: int = model.config.get_text_config().max_position_embeddings
        self._decoding = copy.deepcopy(model.processor.tokenizer)  # used in the model's thread
        ends = model.generation_config.eos_token_id
        self._end_ids = frozenset([ends] if isinstance(ends, int) else ends or ())

    def __call__(self, body: bytes, emit: Callable[[Event], None]) -> Prepared:
        """The row of a request.

        Args:
            body: a chat completion, JSON.
            emit: takes the events of the row.

        Raises:
            RequestError: for whatever cannot be answered as asked.
        """
        request = read_request(body)
        if request.model not in (None, self.name):
            raise RequestError(f"no model {request.model!r} here: expected {self.name!r}", 404, "model_not_found")
        options = self._options(request)
        world = self._world(request)
        urls = request.image_urls
        if len(urls) > self.settings.max_images:
            raise RequestError(
                f"{len(urls)} pictures: expected at most {self.settings.max_images}", code="too_many_images"
            )
        most = self.settings.max_prompt_tokens
        if request.num_characters > MOST_CHARACTERS_PER_TOKEN * most:
            raise _too_long(f"{request.num_characters:,} characters", f"{most:,} tokens")
        pictures = [read_picture(url, self.settings) for url in urls]
        inputs = self._encode(request, pictures, world)
        row = Row(
            inputs,
            world=world,
            options=options,
            text=AnswerText(self._decoding, request.stops),
            end_ids=self._end_ids,
            emit=emit,
        )
        if row.num_prompt_tokens > most:
            raise _too_long(f"{row.num_prompt_tokens:,} tokens", f"{most:,}")
        if (total := row.num_prompt_tokens + options.max_new_tokens) > self._most_positions:
            raise _too_long(
                f"{row.num_prompt_tokens:,} tokens and an answer of {options.max_new_tokens:,}, {total:,} in all",
                f"{self._most_positions:,}",
            )
        return Prepared(request, row)

    def _options(self, request: ChatRequest) -> Options:
        most = self.settings.max_new_tokens
        asked = self.settings.default_new_tokens if request.new_tokens is None else request.new_tokens
        if asked > most:
            raise RequestError(f"an answer of {asked:,} tokens: expected at most {most:,}; lower max_tokens")
        return Options(
            max_new_tokens=asked,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            stops=request.stops,
        )

    def _world(self, request: ChatRequest) -> bool:
        """Whether a request is answered with the world."""
        world = self._has_world if request.world is None else request.world
        if world and not self._has_world:
            raise RequestError("world: this server has none (enable_world=False); drop it")
        if not world and request.num_world_steps is not None:
            raise RequestError(f"num_world_steps={request.num_world_steps} without the world: drop it, or world")
        return world

    def _encode(self, request: ChatRequest, pictures: list[Any], world: bool) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if world:
            options["num_world_steps"] = self._steps if request.num_world_steps is None else request.num_world_steps
        try:
            inputs = self._processors[world].apply_chat_template(
                [to_conversation(request, pictures)],
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                add_generation_prompt=True,
                **options,
            )
        except ValueError as error:  # a K that the tap cannot serve
            raise RequestError(str(error)) from error
        return dict(inputs)


def _too_long(given: str, most: str) -> RequestError:
    return RequestError(
        f"a prompt of {given} (image and world tokens count): expected at most {most}; shorten it, or send fewer or"
        " no pictures",
        code="context_length_exceeded",
    )
