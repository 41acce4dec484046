"""TheWorldChat: a TheWorld as a model of lmms-eval, answering through the one answering loop."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmms_eval.api.model import lmms  # pyright: ignore[reportMissingImports]
from lmms_eval.models.model_utils.gen_metrics import log_metrics  # pyright: ignore[reportMissingImports]
from lmms_eval.utils import simple_parse_args_string  # pyright: ignore[reportMissingImports]
from loguru import logger  # pyright: ignore[reportMissingImports]
from tqdm import tqdm

from theworld.datasets.sample import Sample
from theworld.datasets.samplers import grouped
from theworld.evaluation.generation import Answerer
from theworld.evaluation.lmms_eval.requests import Decoding, to_decoding, to_sample
from theworld.modeling import TheWorld
from theworld.modeling.factory import on_this_machine


@dataclass(frozen=True)
class _Open:
    """A request that waits for its answer."""

    place: int
    """Among the requests."""
    sample: Sample
    decoding: Decoding
    key: tuple[Any, ...]
    """Under which the harness keeps the answer."""


class TheWorldChat(lmms):
    """`--model theworld --model_args pretrained=...`: a saved TheWorld, or a Gemma 3 to be fused or asked alone.

    Args:
        pretrained: folder, hub id, `tiny-foresight`, as `TheWorld.from_pretrained` takes it.
        batch_size: requests that are answered together.
        device: where the model goes; default: accelerators if there are.
        max_batch_size: of no meaning here; the harness gives it.
        settings: whatever else `TheWorld.from_pretrained` takes: `num_world_steps=4`, `enable_world=False`,
            `dtype=bfloat16`, ...

    Raises:
        ValueError: for a batch size that is no number, or more than one process.
        TypeError: for a misspelt setting.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str,
        batch_size: int | str = 1,
        device: str | None = None,
        max_batch_size: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise ValueError(f"batch_size={batch_size!r}: expected a number from 1 upwards")
        if (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
            raise ValueError(
                f"{processes} processes: expected one; share the items out between runs with --offset and --limit"
            )
        self.batch_size = int(batch_size)
        place: dict[str, Any] = on_this_machine() if device is None else {"device_map": device}
        self.model = TheWorld.from_pretrained(pretrained, **{**place, **settings}).eval()

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: Mapping[str, Any] | None = None) -> Any:
        """A model of `--model_args`; what stands there wins over flags of the same name, such as `--batch_size`."""
        flags = {name: value for name, value in (additional_config or {}).items() if value is not None}
        return cls(**{**flags, **simple_parse_args_string(arg_string)})

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Replies, in the order of the requests.

        How many clips were read from the world for them is logged, and kept with the results, under `throughput`.

        Raises:
            ValueError: if a request cannot be answered: an error is no answer, and would be scored as one.
        """
        started = time.perf_counter()
        replies = [""] * len(requests)
        answerers: dict[Decoding, Answerer] = {}
        with tqdm(total=len(requests), desc="theworld", unit="item") as progress:
            for batch in grouped(self._opened(requests), self.batch_size, lambda one: (one.decoding, one.sample.shape)):
                decoding = batch[0].decoding
                if decoding not in answerers:
                    answerers[decoding] = self._answerer(decoding)
                for one, row in zip(batch, answerers[decoding]([one.sample for one in batch]), strict=True):
                    if row.prediction is None:
                        raise ValueError(f"{one.sample.id} could not be answered: {row.error}")
                    replies[one.place] = decoding.cut(row.prediction)
                    self.cache_hook.add_partial("generate_until", one.key, replies[one.place])
                progress.update(len(batch))
        self._report(replies, sum(one.clips_read for one in answerers.values()), time.perf_counter() - started)
        return replies

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Refused: the harness asks chat models for replies alone."""
        raise NotImplementedError(
            "tasks that weigh choices are not served; choose one that writes replies, or weigh with"
            " `theworld evaluate --answers weighed`"
        )

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Refused: every request is one question."""
        raise NotImplementedError("tasks of several rounds are not supported; choose one of single questions")

    def _opened(self, requests: Sequence[Any]) -> Iterator[_Open]:
        """The requests as samples, each made when its turn comes: pictures are large."""
        ignored: set[str] = set()
        for place, request in enumerate(requests):
            context, to_messages, given, doc_id, task, split = request.args
            decoding, unknown = to_decoding(given)
            if unknown - ignored:
                logger.warning("theworld: {} of {} mean nothing to it", sorted(unknown - ignored), task)
                ignored |= unknown
            sample = to_sample(to_messages(self.task_dict[task][split][doc_id]), f"{task}/{split}/{doc_id}")
            yield _Open(place, sample, decoding, (context, given))

    def _answerer(self, decoding: Decoding) -> Answerer:
        return Answerer(self.model, max_new_tokens=decoding.max_new_tokens, decoding=dict(decoding.options))

    def _report(self, replies: list[str], num_clips: int, seconds: float) -> None:
        logger.info("theworld: {} replies, {} clips read from the world", len(replies), num_clips)
        config, tokenizer = self.model.config, self.model.processor.tokenizer
        num_tokens = sum(len(tokenizer.encode(reply, add_special_tokens=False)) for reply in replies)
        steps = config.num_world_steps if config.enable_world else 0
        log_metrics(
            total_elapsed_time=seconds,
            total_gen_tokens=num_tokens,
            avg_speed=num_tokens / seconds,
            additional_metrics={"replies": len(replies), "world_clips": num_clips, "world_steps": steps},
        )
