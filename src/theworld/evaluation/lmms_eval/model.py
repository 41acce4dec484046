"""TheWorldChat: TheWorld as a chat model of lmms-eval."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
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
    """A request without an answer."""

    place: int
    """Index among the requests."""
    sample: Sample
    decoding: Decoding
    key: tuple[Any, ...]
    """Key of the answer in the harness's cache."""


class TheWorldChat(lmms):
    """`--model theworld --model_args pretrained=...`: a saved TheWorld, or a Gemma 3, fused or alone.

    Args:
        pretrained: folder, hub id or `tiny-foresight`, as for `TheWorld.from_pretrained`.
        batch_size: requests in a batch.
        device: device of the model; None: accelerators, if any. Of several processes each takes its own.
        max_batch_size: not used; the harness passes it.
        settings: other arguments of `TheWorld.from_pretrained`: `num_world_steps=4`, `num_clip_frames=9`,
            `enable_world=False`, `dtype=bfloat16`, ...

    Raises:
        ValueError: for an invalid batch size, or several processes that no launcher has joined.
        TypeError: for an unknown setting.
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
        self.batch_size = int(batch_size)
        place: dict[str, Any] = on_this_machine() if device is None else {"device_map": device}
        num_processes = int(os.environ.get("WORLD_SIZE", "1"))
        if num_processes > 1:
            self.accelerator = _joined(num_processes)
            self._rank, self._world_size = self.accelerator.process_index, num_processes
            place |= {"device_map": str(self.accelerator.device)}
        self.model = TheWorld.from_pretrained(pretrained, **{**place, **settings}).eval()
        self.device = self.accelerator.device if num_processes > 1 else self.model.device
        """Where the harness puts the tensors that its processes exchange."""

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: Mapping[str, Any] | None = None) -> Any:
        """Make a model from `--model_args`, which override flags of the same name, such as `--batch_size`."""
        flags = {name: value for name, value in (additional_config or {}).items() if value is not None}
        return cls(**{**flags, **simple_parse_args_string(arg_string)})

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answer requests; return the replies in their order.

        Of several processes each gets its share, and the harness joins the replies by their documents. Nothing is
        exchanged here: a process whose replies are all in the harness's cache is not called.

        The log and the results, under `throughput`, give the number of clips that the world model read; with several
        processes each logs its own, and the results have those of the first.

        Raises:
            ValueError: if a request cannot be answered, since the harness would score an error as an answer.
        """
        started = time.perf_counter()
        replies = [""] * len(requests)
        answerers: dict[Decoding, Answerer] = {}
        with tqdm(total=len(requests), desc="theworld", unit="item", disable=self.rank > 0) as progress:
            for batch in grouped(
                self._opened(requests), self.batch_size, lambda item: (item.decoding, item.sample.shape)
            ):
                decoding = batch[0].decoding
                if decoding not in answerers:
                    answerers[decoding] = self._answerer(decoding)
                for item, row in zip(batch, answerers[decoding]([item.sample for item in batch]), strict=True):
                    if row.prediction is None:
                        raise ValueError(f"{item.sample.id} could not be answered: {row.error}")
                    replies[item.place] = decoding.cut(row.prediction)
                    self.cache_hook.add_partial("generate_until", item.key, replies[item.place])
                progress.update(len(batch))
        self._report(replies, sum(item.clips_read for item in answerers.values()), time.perf_counter() - started)
        return replies

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Refuse: the harness asks chat models for replies only."""
        raise NotImplementedError(
            "tasks that weigh choices are not served; choose one that writes replies, or weigh with"
            " `theworld evaluate --answers loglikelihood`"
        )

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Refuse: every request is one question."""
        raise NotImplementedError("tasks of several rounds are not supported; choose one of single questions")

    def _opened(self, requests: Sequence[Any]) -> Iterator[_Open]:
        """Convert requests to samples, one at a time, because pictures are large."""
        ignored: set[str] = set()
        for place, request in enumerate(requests):
            context, to_messages, kwargs, doc_id, task, split = request.args
            decoding, unknown = to_decoding(kwargs)
            if unknown - ignored:
                logger.warning("theworld: {} of {} mean nothing to it", sorted(unknown - ignored), task)
                ignored |= unknown
            messages = to_messages(self.task_dict[task][split][doc_id])
            sample = to_sample(messages, f"{task}/{split}/{doc_id}", self.model.config.clip_rule)
            yield _Open(place, sample, decoding, (context, kwargs))

    def _answerer(self, decoding: Decoding) -> Answerer:
        return Answerer(self.model, max_new_tokens=decoding.max_new_tokens, decoding=dict(decoding.options))

    def _report(self, replies: list[str], num_clips: int, seconds: float) -> None:
        process = f" (process {self.rank} of {self.world_size})" if self.world_size > 1 else ""
        logger.info("theworld: {} replies, {} clips read from the world{}", len(replies), num_clips, process)
        config, tokenizer = self.model.config, self.model.processor.tokenizer
        num_tokens = sum(len(tokenizer.encode(reply, add_special_tokens=False)) for reply in replies)
        steps = config.num_world_steps if config.enable_world else 0
        log_metrics(
            total_elapsed_time=seconds,
            total_gen_tokens=num_tokens,
            avg_speed=num_tokens / seconds,
            additional_metrics={"replies": len(replies), "world_clips": num_clips, "world_steps": steps},
        )


def _joined(num_processes: int) -> Accelerator:
    """Return the accelerator of this process, once its launcher has joined all of them.

    Raises:
        ValueError: for processes that were not started together: the harness would give each a share of the items, and
            no one would collect them.
    """
    accelerator = Accelerator()
    if accelerator.num_processes != num_processes:
        raise ValueError(
            f"WORLD_SIZE={num_processes}, but {accelerator.num_processes} processes are joined: start them with"
            f" `accelerate launch --num_processes {num_processes} -m lmms_eval ...`, or unset WORLD_SIZE"
        )
    return accelerator
