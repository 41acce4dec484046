"""Preparation of API requests: decode the pictures, check the limits, and encode one row for the model."""

import base64
import copy
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from PIL import Image
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from theworld.config.serving import ServeSettings
from theworld.config.world import check_world_steps
from theworld.datasets.errors import ImageError
from theworld.datasets.images import to_image
from theworld.datasets.rgb import BROKEN, ImageSizeError, decode, without_metadata
from theworld.modeling import TheWorld
from theworld.serving.decoding import AnswerText, Event, Options, Row, end_ids
from theworld.serving.protocol import ChatRequest, read_request, to_conversation
from theworld.serving.refusals import RequestError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Accepted picture formats; Pillow knows many more, and some of them start other programs."""

_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+|application/octet-stream)?(;[a-z0-9=.+_\"-]+)*;base64", re.IGNORECASE)
_LONGEST_HEAD = 200
"""Characters of a data URL before its comma."""

_WHITE_SPACE = b" \t\r\n\f\v"
_ALPHABET = bytes.maketrans(b"-_", b"+/")
"""The URL-safe alphabet of base64 in the usual one."""


def from_base64(text: str) -> bytes:
    """Decode base64 in the usual or the URL-safe alphabet, with or without padding and line breaks.

    Raises:
        ValueError: for other text.
    """
    content = text.encode("ascii").translate(_ALPHABET, _WHITE_SPACE)
    return base64.b64decode(content + b"=" * (-len(content) % 4), validate=True)


def picture_file(url: str, limits: ServeSettings) -> bytes:
    """Return the picture file in a data URL; it is not decoded.

    Raises:
        RequestError: for an address, a path, or a file of too many bytes.
    """
    head, comma, _ = url[:_LONGEST_HEAD].partition(",")
    if not comma or _DATA_URL.fullmatch(head) is None:
        raise RequestError(
            f"image_url {_start_of(url)}: only data URLs are taken, data:image/png;base64,...; this server opens no"
            " addresses and no files: read the picture where you are and send its bytes",
            code="unsupported_image_url",
        )
    try:
        content = from_base64(url[len(head) + 1 :])
    except ValueError as error:
        raise RequestError(f"image_url {_start_of(url)}: not base64 ({error})", code="invalid_image") from None
    if len(content) > limits.max_image_bytes:
        raise RequestError(
            f"a picture of {len(content):,} bytes: expected at most {limits.max_image_bytes:,}; send it smaller",
            code="image_too_large",
        )
    return content


def check_header(content: bytes, max_pixels: int) -> None:
    """Refuse a file that does not begin as a picture, or whose header names too many pixels; nothing is decoded.

    Raises:
        RequestError: as `decode_picture` does.
    """
    with _refusing(max_pixels), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels is stricter
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
        except BROKEN:
            if without_metadata(content) is None:
                raise
            return  # its metadata is damaged; `decode_picture` reads it without them
        if width * height > max_pixels:
            raise ImageSizeError(f"a picture of {width} x {height} px: expected at most {max_pixels:,} pixels")


def decode_picture(content: bytes, max_pixels: int) -> Image.Image:
    """Decode the picture in a file: upright, RGB; the first frame of an animation.

    Args:
        content: bytes of the file.
        max_pixels: largest picture.

    Raises:
        RequestError: for another file than a picture, or a picture beyond the limit.
    """
    with _refusing(max_pixels), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels is stricter
        return to_image(decode(content, FORMATS, max_pixels))


@contextmanager
def _refusing(max_pixels: int) -> Iterator[None]:
    """Turn the errors of a broken or large picture into a RequestError."""
    try:
        yield
    except ImageSizeError as error:
        raise RequestError(f"{error}; send it smaller", code="image_too_large") from None
    except ImageError as error:
        raise RequestError(str(error), code="invalid_image") from None
    except Image.DecompressionBombError:  # Pillow's own limit, before it opens a file
        most = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        raise RequestError(
            f"a picture of too many pixels: expected at most {most:,}; send it smaller", code="image_too_large"
        ) from None
    except BROKEN as error:
        raise RequestError(
            f"not a readable picture ({type(error).__name__}): expected {', '.join(FORMATS)}", code="invalid_image"
        ) from None


def _start_of(url: str) -> str:
    """Return the start of a URL, for messages."""
    return repr(url if len(url) <= 60 else f"{url[:57]}...")


MOST_CHARACTERS_PER_TOKEN = 32
"""Longer texts, in characters per allowed token, are refused before the tokenizer reads them."""

_PIECE = 4096
"""Characters that the tokenizer reads at a time in a long text."""


@dataclass(frozen=True)
class Prepared:
    """A request and its row."""

    request: ChatRequest
    row: Row


_MOST_OTHER_VALUES = 100_000
"""Values of a request besides its texts, whose commas count: parts of messages, and fields without effect."""

_LEAST_TOKENS_PER_MESSAGE = 4
"""Control tokens around each message of a prompt."""


def own_tokenizer(model: TheWorld) -> Any:
    """Return a copy of the tokenizer for another thread; it logs nothing about long texts, which have limits here."""
    tokenizer = copy.deepcopy(model.processor.tokenizer)
    tokenizer.model_max_length = VERY_LARGE_INTEGER
    return tokenizer


@dataclass(frozen=True)
class Checked:
    """A request within all limits that can be checked without the tokenizer."""

    request: ChatRequest
    options: Options
    world: bool
    """True for an answer with the world."""
    files: tuple[bytes, ...]
    """Picture files, not decoded yet."""


class Preparer:
    """Reads, checks and encodes requests; the model does not run here.

    `read` can run in any number of threads, and `encode` in two: one for requests with pictures, one for those without.
    The tokenizer does not support two threads, so each of the two has its own.

    Args:
        model: the model.
        settings: limits and defaults.
        name: the name that clients use for the model.
    """

    def __init__(self, model: TheWorld, settings: ServeSettings, name: str) -> None:
        self.settings = settings
        self.name = name
        self._has_world = model.config.enable_world
        self._processors: dict[tuple[bool, bool], Any] = {}
        for has_pictures in (False, True):
            processor = copy.copy(model.processor)
            processor.tokenizer = own_tokenizer(model)
            plain = copy.copy(processor)  # the same tokenizer and image processor, no world tokens
            plain.enable_world = False
            self._processors[has_pictures, False] = plain
            self._processors[has_pictures, True] = processor
        self._steps = settings.num_world_steps
        self._most_steps: int = model.config.max_world_steps if self._has_world else 0
        self._max_positions: int = model.config.get_text_config().max_position_embeddings
        self._decoding = copy.deepcopy(model.processor.tokenizer)  # for the model thread
        self._end_ids = end_ids(model)

    def __call__(self, body: bytes, emit: Callable[[Event], None]) -> Prepared:
        """Return the row of a request: `read`, then `encode`."""
        return self.encode(self.read(body), emit)

    def read(self, body: bytes) -> Checked:
        """Parse a request and check it as far as possible without decoding a picture or running the tokenizer.

        Args:
            body: a chat completion, JSON.

        Raises:
            RequestError: for a request that the server cannot answer exactly as given.
        """
        most = self.settings.max_prompt_tokens
        most_characters = MOST_CHARACTERS_PER_TOKEN * most
        request = read_request(body, most // _LEAST_TOKENS_PER_MESSAGE, most_characters + _MOST_OTHER_VALUES)
        if request.model not in (None, self.name):
            raise RequestError(f"no model {request.model!r} here: expected {self.name!r}", 404, "model_not_found")
        options = self._options(request)
        world = self._world(request)
        urls = request.image_urls
        if len(urls) > self.settings.max_images:
            raise RequestError(
                f"{len(urls)} pictures: expected at most {self.settings.max_images}", code="too_many_images"
            )
        if request.num_characters > most_characters:
            raise _too_long(f"{request.num_characters:,} characters", f"{most:,} tokens")
        files = tuple(picture_file(url, self.settings) for url in urls)
        for content in files:  # here, since decoding waits for the pictures of others
            check_header(content, self.settings.max_image_pixels)
        return Checked(request, options, world, files)

    def encode(self, checked: Checked, emit: Callable[[Event], None]) -> Prepared:
        """Decode the pictures of a request and return its row.

        Args:
            checked: the request.
            emit: takes the events of the row.

        Raises:
            RequestError: for a file that is no picture, a picture of too many pixels, or a prompt that is too long.
        """
        request, options, most = checked.request, checked.options, self.settings.max_prompt_tokens
        self._check_length(request, self._processors[bool(checked.files), checked.world].tokenizer)
        pictures = [decode_picture(content, self.settings.max_image_pixels) for content in checked.files]
        inputs = self._encode(request, pictures, checked.world)
        row = Row(
            inputs,
            world=checked.world,
            options=options,
            text=AnswerText(self._decoding, request.stops),
            end_ids=self._end_ids,
            emit=emit,
        )
        if row.num_prompt_tokens > most:
            raise _too_long(f"{row.num_prompt_tokens:,} tokens", f"{most:,}")
        if (total := row.num_prompt_tokens + options.max_new_tokens) > self._max_positions:
            raise _too_long(
                f"{row.num_prompt_tokens:,} tokens and an answer of {options.max_new_tokens:,}, {total:,} in all",
                f"{self._max_positions:,}",
            )
        return Prepared(request, row)

    def _check_length(self, request: ChatRequest, tokenizer: Any) -> None:
        """Refuse a text of twice the allowed tokens before the tokenizer has read all of it.

        Pieces have a few tokens more than the whole, so the exact limit comes later.
        """
        most, num_tokens = self.settings.max_prompt_tokens, 0
        if request.num_characters <= most:
            return
        for text in request.texts:
            for start in range(0, len(text), _PIECE):
                num_tokens += len(tokenizer(text[start : start + _PIECE], add_special_tokens=False)["input_ids"])
                if num_tokens > 2 * most:
                    raise _too_long(f"more than {2 * most:,} tokens", f"{most:,}")

    def _options(self, request: ChatRequest) -> Options:
        most = self.settings.max_new_tokens
        length = self.settings.default_new_tokens if request.new_tokens is None else request.new_tokens
        if length > most:
            raise RequestError(f"an answer of {length:,} tokens: expected at most {most:,}; lower max_tokens")
        return Options(
            max_new_tokens=length,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            stops=request.stops,
        )

    def _world(self, request: ChatRequest) -> bool:
        """Return True for an answer with the world."""
        world = self._has_world if request.world is None else request.world
        if world and not self._has_world:
            raise RequestError("world: this server has none (enable_world=False); drop it")
        if not world and request.num_world_steps is not None:
            raise RequestError(f"num_world_steps={request.num_world_steps} without the world: drop it, or world")
        if request.num_world_steps is not None:
            try:
                check_world_steps(request.num_world_steps, self._most_steps)
            except ValueError as error:
                raise RequestError(str(error)) from error
        return world

    def _encode(self, request: ChatRequest, pictures: list[Any], world: bool) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if world:
            options["num_world_steps"] = self._steps if request.num_world_steps is None else request.num_world_steps
        try:
            inputs = self._processors[bool(pictures), world].apply_chat_template(
                [to_conversation(request, pictures)],
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                add_generation_prompt=True,
                **options,
            )
        except ValueError as error:  # a K that the tap does not support
            raise RequestError(str(error)) from error
        return dict(inputs)


def _too_long(length: str, most: str) -> RequestError:
    return RequestError(
        f"a prompt of {length} (image and world tokens count): expected at most {most}; shorten it, or send fewer or"
        " no pictures",
        code="context_length_exceeded",
    )
