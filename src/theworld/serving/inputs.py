"""Preparer: from the bytes of a request to a row that the model can answer, or to the reason why not."""

import base64
import binascii
import copy
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps

from theworld.config.serving import ServeSettings
from theworld.datasets.images import BROKEN, ImageError, to_image
from theworld.serving.decoding import AnswerText, Event, Options, Row
from theworld.serving.protocol import ChatRequest, RequestError, read_request, to_conversation

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What is decoded; Pillow knows many more, and some of them start other programs."""

_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+)?(;[a-z0-9=.+-]+)*;base64,", re.IGNORECASE)


def read_picture(url: str, limits: ServeSettings) -> Image.Image:
    """The picture in a data URL, upright, RGB; of an animation the first frame.

    Raises:
        RequestError: for an address or a path, for what is no picture, and for one beyond the limits.
    """
    head = _DATA_URL.match(url)
    if head is None:
        raise RequestError(
            f"image_url {_shown(url)}: only data URLs are taken, data:image/png;base64,...; this server opens no"
            " addresses and no files: read the picture where you are and send its bytes",
            code="unsupported_image_url",
        )
    num_bytes = (len(url) - head.end()) * 3 // 4
    if num_bytes > limits.max_image_bytes:
        raise RequestError(
            f"a picture of {num_bytes:,} bytes: expected at most {limits.max_image_bytes:,}; send it smaller",
            code="image_too_large",
        )
    try:
        content = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"image_url {_shown(url)}: not base64 ({error})", code="invalid_image") from None
    return decode_picture(content, limits.max_image_pixels)


def decode_picture(content: bytes, max_pixels: int) -> Image.Image:
    """The picture in the bytes of a file, upright, RGB; of an animation the first frame.

    Raises:
        RequestError: for what is no picture, and for one beyond the limit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is the stricter one
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size  # of the header: nothing is decoded yet
                if width * height > max_pixels:
                    raise RequestError(
                        f"a picture of {width} x {height} px: expected at most {max_pixels:,} pixels; send it smaller",
                        code="image_too_large",
                    )
                return to_image(ImageOps.exif_transpose(image))
    except (ImageError, RequestError) as error:
        raise error if isinstance(error, RequestError) else RequestError(str(error), code="invalid_image") from None
    except Image.DecompressionBombError as error:
        raise RequestError(f"a picture of too many pixels ({error})", code="image_too_large") from None
    except BROKEN as error:
        raise RequestError(
            f"not a readable picture ({type(error).__name__}): expected {', '.join(FORMATS)}", code="invalid_image"
        ) from None


def _shown(url: str) -> str:
    """The start of an address, for messages."""
    return repr(url if len(url) <= 60 else f"{url[:57]}...")


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
