"""Preparation of API requests: check the limits, decode pictures and videos, and encode one row for the model."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from theworld.config.serving import ServeSettings
from theworld.config.thresholds import Threshold, threshold_of
from theworld.config.world import check_world_steps
from theworld.datasets.video import ClipRule, VideoClip
from theworld.modeling import TheWorld
from theworld.modeling.bases import SHARED_PREFIX
from theworld.modeling.generation import prefix_length
from theworld.modeling.world_gate import check_choices, choice_ids
from theworld.serving.answer_text import AnswerText
from theworld.serving.decoding import ChoiceRow, Event, Options, Row, end_ids
from theworld.serving.media import MediaFile, check_header, check_video_header, data_of, decode_picture, decode_video
from theworld.serving.protocol import ChatRequest, read_request, to_conversation
from theworld.serving.refusals import RequestError

MOST_CHARACTERS_PER_TOKEN = 32
"""Longer texts, in characters per allowed token, are refused before the tokenizer reads them."""

_PIECE = 4096
"""Characters that the tokenizer reads at a time in a long text."""


@dataclass(frozen=True)
class Prepared:
    """A request and its row."""

    request: ChatRequest
    row: Row
    notes: tuple[str, ...] = ()
    """What was left out of its videos, in sentences."""


Lane = Literal["texts", "pictures", "videos"]
"""Threads that encode requests: a text does not wait for large pictures, and a picture not for a long video."""


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
    world: bool | Literal["auto"]
    """True for an answer with the world; "auto": only where the answer without it is unsure."""
    choices: tuple[str, ...]
    """With "auto", the answers to choose from, without white space around them; else none."""
    files: tuple[MediaFile, ...]
    """Files of pictures and videos in order, not decoded yet."""

    @property
    def lane(self) -> Lane:
        """The thread that encodes it."""
        if any(file.kind == "video" for file in self.files):
            return "videos"
        return "pictures" if self.files else "texts"


class Preparer:
    """Reads, checks and encodes requests; the model does not run here.

    `read` can run in any number of threads, and `encode` in one for each lane. The tokenizer does not support two
    threads, so each lane has its own.

    Args:
        model: the model.
        settings: limits and defaults.
        name: the name that clients use for the model.
    """

    def __init__(self, model: TheWorld, settings: ServeSettings, name: str) -> None:
        self.settings = settings
        self.name = name
        self._has_world = model.config.enable_world
        self._shares_prefixes = SHARED_PREFIX not in model.config.BASE.lacks
        self._processors: dict[tuple[Lane, bool], Any] = {}
        for lane in get_args(Lane):
            processor = copy.copy(model.processor)
            processor.tokenizer = own_tokenizer(model)
            plain = copy.copy(processor)  # the same tokenizer and image processor, no world tokens
            plain.enable_world = False
            self._processors[lane, False] = plain
            self._processors[lane, True] = processor
        # A copy: the model thread switches the world off and on.
        self._threshold: Threshold | None = model.config.auto_threshold
        self._most_at_once = settings.max_batch_size
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
        choices = self._choices(request) if world == "auto" else ()
        num_images, num_videos = (sum(kind == name for kind, _ in request.media) for name in ("image", "video"))
        if num_images > self.settings.max_images:
            raise RequestError(
                f"{num_images} pictures: expected at most {self.settings.max_images}", code="too_many_images"
            )
        if num_videos > self.settings.max_videos:
            raise RequestError(
                f"{num_videos} videos: expected at most {self.settings.max_videos}", code="too_many_videos"
            )
        if request.num_characters > most_characters:
            raise _too_long(f"{request.num_characters:,} characters", f"{most:,} tokens")
        files = tuple(MediaFile(kind, data_of(kind, url, self.settings)) for kind, url in request.media)
        for kind, content in files:  # here, since decoding waits for the pictures and videos of others
            if kind == "video":
                check_video_header(content)
            else:
                check_header(content, self.settings.max_image_pixels)
        return Checked(request, options, world, choices, files)

    def encode(self, checked: Checked, emit: Callable[[Event], None]) -> Prepared:
        """Decode the pictures and videos of a request and return its row.

        Args:
            checked: the request.
            emit: takes the events of the row.

        Raises:
            RequestError: for a file that is no picture or video, one beyond the limits, or a prompt that is too long.
        """
        request, options, most = checked.request, checked.options, self.settings.max_prompt_tokens
        processor = self._processors[checked.lane, bool(checked.world)]
        self._check_length(request, processor.tokenizer)
        media = [self._decode(file, processor.clip_rule) for file in checked.files]
        notes = tuple(dict.fromkeys(item.note for item in media if isinstance(item, VideoClip) and item.note))
        # The client gets the notes; the log of the server need not have them.
        media = [replace(item, note="") if isinstance(item, VideoClip) else item for item in media]
        row = self._row(checked, media, emit)
        if row.num_prompt_tokens > most:
            raise _too_long(f"{row.num_prompt_tokens:,} tokens", f"{most:,}")
        if (total := row.num_prompt_tokens + options.max_new_tokens) > self._max_positions:
            raise _too_long(
                f"{row.num_prompt_tokens:,} tokens and an answer of {options.max_new_tokens:,}, {total:,} in all",
                f"{self._max_positions:,}",
            )
        _ = row.content  # hashed here, not in the model thread
        return Prepared(request, row, notes)

    def _row(self, checked: Checked, media: list[Any], emit: Callable[[Event], None]) -> Row:
        """Encode a request."""
        request, options = checked.request, checked.options
        processor = self._processors[checked.lane, bool(checked.world)]
        inputs = self._encode(request, media, bool(checked.world), processor)
        text = AnswerText(self._decoding, request.stops)
        shared: dict[str, Any] = {"options": options, "text": text, "end_ids": self._end_ids, "emit": emit}
        if checked.world != "auto":
            length = prefix_length(processor, inputs["input_ids"]) if self._shares_prefixes else 0
            return Row(inputs, world=checked.world, prefix_length=length, **shared)
        plain = self._processors[checked.lane, False]
        ids = choice_ids(plain, checked.choices)
        if (longest := max(map(len, ids))) > options.max_new_tokens:
            raise RequestError(f"a choice of {longest:,} tokens: expected at most {options.max_new_tokens:,}")
        return ChoiceRow(
            inputs,
            self._encode(request, media, False, plain),
            choices=dict(zip(checked.choices, ids, strict=True)),
            threshold=threshold_of(self._threshold, request.auto_threshold),
            most_at_once=self._most_at_once,
            **shared,
        )

    def _decode(self, file: MediaFile, rule: ClipRule) -> Any:
        """Return a picture, or the clip of a video."""
        if file.kind == "video":
            return decode_video(file.content, rule, self.settings)
        return decode_picture(file.content, self.settings.max_image_pixels)

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

    def _world(self, request: ChatRequest) -> bool | Literal["auto"]:
        """Return True for an answer with the world, "auto" for one that asks it where it is unsure."""
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
        given = {"world='auto'": world == "auto", "num_world_steps": request.num_world_steps is not None}
        if not request.media and (names := [name for name, is_given in given.items() if is_given]):
            raise RequestError(f"{names[0]} without a picture: there is nothing to imagine; drop it")
        return world

    def _choices(self, request: ChatRequest) -> tuple[str, ...]:
        """Return the choices of a request for the likeliest one."""
        try:
            threshold_of(self._threshold, request.auto_threshold)
            return tuple(check_choices(request.choices))
        except ValueError as error:
            raise RequestError(str(error)) from error

    def _encode(self, request: ChatRequest, media: list[Any], world: bool, processor: Any) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if world:
            options["num_world_steps"] = self._steps if request.num_world_steps is None else request.num_world_steps
        try:
            inputs = processor.apply_chat_template(
                [to_conversation(request, media)],
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
