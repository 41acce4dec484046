"""`python -m recipes`: train the embedded default model stage by stage, measure it and its doses, or ship it."""

from typing import Final

from theworld.cli.commands import Command
from theworld.cli.main import main

RECIPES: Final = Command(
    group="",
    name="",
    summary="Train the embedded default model stage by stage (build), measure it (verify) or its less trained worlds"
    " (dose), or ship it (pack).",
    example="python -m recipes verify --stage fusion",
    target="recipes.build:run",
    settings="recipes.settings:TinySettings",
    resume_hint="the same command continues where it stopped",
    launcher="python -m recipes",
)

if __name__ == "__main__":
    raise SystemExit(main(command=RECIPES))
