"""HubSettings: whether and when a run is pushed to the Hugging Face hub."""

import re
from typing import Literal

from pydantic import field_validator
from pydantic.dataclasses import dataclass

from theworld.config.world import STRICT

_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(config=STRICT, frozen=True, kw_only=True)
class HubSettings:
    """Whether and when a run is pushed to the hub; the token comes from HF_TOKEN alone."""

    repo_id: str | None = None
    """Repository of the run, OWNER/NAME, which is made if it is missing; None: nothing is pushed."""

    push: Literal["save", "end", "never"] = "end"
    """When: the newest checkpoint after each save and the model at the end, the model alone, or nothing."""

    private: bool = True
    """Whether a repository that is made is private; of one that is there nothing changes."""

    @field_validator("repo_id")
    @classmethod
    def _check_name(cls, given: str | None) -> str | None:
        if given is not None and not _NAME.fullmatch(given):
            raise ValueError(f"given {given!r}; expected OWNER/NAME")
        return given

    @property
    def is_pushed(self) -> bool:
        """Whether anything is pushed."""
        return self.repo_id is not None and self.push != "never"
