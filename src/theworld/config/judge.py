"""Settings of `theworld judge`: which language model judges which saved replies, and how it is asked."""

from dataclasses import field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from theworld.config.world import STRICT
from theworld.precision import Dtype


@dataclass(config=STRICT, frozen=True, kw_only=True)
class JudgeSettings:
    """A language model that judges: a Gemma 3 of this machine, or an endpoint for chat completions."""

    checkpoint: str | None = None
    """Gemma 3 or a saved TheWorld, asked with its world off: hub id, folder, or "tiny"."""

    dtype: Dtype = "auto"
    """Number format of that checkpoint; auto: as saved, or float32 where this machine emulates that."""

    endpoint: str | None = None
    """Base URL of an OpenAI-compatible endpoint, such as https://api.openai.com/v1 or http://127.0.0.1:8000/v1."""

    model: str | None = None
    """Name of the model at the endpoint."""

    num_concurrent: Annotated[int, Field(ge=1, le=256)] = 4
    """Requests to the endpoint at a time."""

    max_attempts: Annotated[int, Field(ge=1)] = 6
    """Calls per item and run, until its reply can be used."""

    timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Longest time of one call, from its request to the last byte."""

    max_wait_seconds: Annotated[float, Field(gt=0)] = 120.0
    """Longest pause between two calls; an endpoint that asks for more has its item left to the next run."""

    max_new_tokens: Annotated[int, Field(ge=1)] | None = 256
    """Longest reply of the judge, tokens; None: as long as the endpoint lets it be (models that think need more)."""

    temperature: Annotated[float, Field(ge=0)] | None = 0.0
    """Sampling temperature at the endpoint; None: not sent, for models that take none. Checkpoints decode greedily."""

    json_mode: bool = True
    """Ask the endpoint for a JSON object (`response_format`), as the benchmark does; off where it knows none."""

    @field_validator("endpoint")
    @classmethod
    def _plain_url(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        try:
            parts = urlsplit(endpoint)
            has_host, has_secret = bool(parts.hostname) and parts.port != 0, "@" in parts.netloc
        except ValueError:
            has_host, has_secret, parts = False, False, urlsplit("")
        if has_secret:  # not repeated here
            raise ValueError("a URL with a name or password in it; secrets come from the environment")
        if parts.scheme not in ("http", "https") or not has_host or parts.query or parts.fragment:
            raise ValueError(
                "expected the base of an endpoint, such as https://api.openai.com/v1, without a query: requests go to"
                " /chat/completions below it"
            )
        return endpoint.rstrip("/")


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SpatialRGPTJudging:
    """Saved replies to SpatialRGPT-Bench, and the language model that judges them."""

    file: Path
    """JSONL rows of id, question, ground_truth, prediction, qa_type and qa_category."""

    output_dir: Path = Path("judged")
    """Where verdicts and results are written; an interrupted run, or one with failures, continues there."""

    judge: JudgeSettings = field(default_factory=JudgeSettings)
    """Who judges."""

    @model_validator(mode="after")
    def _check(self) -> "SpatialRGPTJudging":
        judge = self.judge
        if (judge.checkpoint is None) == (judge.endpoint is None):
            given = "both" if judge.endpoint else "neither"
            raise ValueError(
                f"judge.checkpoint and judge.endpoint: {given} given; give --judge.endpoint URL and --judge.model NAME,"
                " or --judge.checkpoint NAME"
            )
        if (judge.endpoint is None) != (judge.model is None):
            raise ValueError("judge.model: names the model at judge.endpoint; give both or neither")
        return self
