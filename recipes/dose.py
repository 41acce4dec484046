"""Action dose: measure worlds of more and less training by loss, imagined futures, and answers from them."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from recipes.fusion import ask_fused, fuse, imagining_world
from recipes.settings import TinySettings
from recipes.world import WorldObjective, dose_name, held_out_of
from theworld.datasets.foresight.scene import TASKS
from theworld.experiments.probe.probe import watch_futures
from theworld.io import check_same_run, fingerprint_weights, whole_folder, write_whole

FOLDER: Final = "dose"

MEASURES: Final = {
    "velocity_loss": "velocity loss on held-out clips",
    "imagined": "outcome in the imagined last picture",
    "accuracy": "right answers about the future",
}
"""Measures of a dose and their labels in the figure; the first falls with a better world, the others rise."""


@dataclass(frozen=True)
class Dose:
    """A world of a share of the steps and of the clips."""

    steps: float
    clips: float
    transformer: Path

    @property
    def name(self) -> str:
        """Its folder: steps-1-8, clips-1-4, or both."""
        parts = [f"{kind}-{dose_name(share)}" for kind, share in (("steps", self.steps), ("clips", self.clips))]
        return "-".join(part for part in parts if not part.endswith("-1-1")) or "full"


def run_doses(settings: TinySettings) -> dict[str, Any]:
    """Measure every world that the build saved, and the finished ones of other builds on fewer clips.

        output_dir/dose/
          worlds/NAME/   cosmos/: the world, with the autoencoder of the build; fused/: it with the build's projector;
                         answers/: the run of evaluation
          dose.json      a row for each dose
          dose.png       the three measures against the dose

    Returns:
        The rows, `monotone` (see `monotone`), and the paths.

    Raises:
        ValueError: without a finished build, for builds with another autoencoder, with one dose alone, or with a
            projector of one denoiser's states.
    """
    if settings.fusion.tap == "dit":
        raise ValueError(
            "fusion.tap='dit': a projector that reads one denoiser's states says nothing about"
            " another; build stage fusion with --fusion.tap rollout in a folder of its own"
        )
    doses = find_doses(settings)
    rows = [measure_dose(settings, dose) for dose in doses]
    result = {"doses": rows, "monotone": monotone(rows)}
    folder = settings.output_dir / FOLDER
    write_whole(folder / "dose.json", json.dumps(result, indent=1) + "\n")
    draw_doses(rows, folder / "dose.png")
    return {**result, "table": str(folder / "dose.json"), "figure": str(folder / "dose.png")}


def find_doses(settings: TinySettings) -> list[Dose]:
    """Return the worlds of the build and of `dose.also`, the smallest dose first."""
    here, doses = "", []
    for build in (settings.output_dir, *settings.dose.also):
        finished = build / "cosmos" / "transformer"
        if not finished.is_dir():
            raise ValueError(f"{finished}: no such folder; build the stage world first")
        there = fingerprint_weights(build / "cosmos" / "vae")
        here = here or there
        check_same_run(
            build,
            {"autoencoder": here},
            {"autoencoder": there},
            "copy cosmos/vae of the first build before stage world",
        )
        recipe = build / "world" / "1" / "recipe.json"
        if not recipe.exists():  # its first phases lie in another build, and so do their doses
            raise ValueError(f"{recipe}: no such file; measure doses of a build that trained all phases of its world")
        clips = json.loads(recipe.read_text()).get("clip_share", 1.0)
        doses.append(Dose(1.0, clips, finished))
        for folder in (build / "world" / "doses").glob("*-*/transformer"):
            numerator, denominator = folder.parent.name.split("-")
            doses.append(Dose(int(numerator) / int(denominator), clips, folder))
    if len(doses) < 2:
        raise ValueError(
            f"{settings.output_dir}: one world alone; save others with world.doses, or name builds with dose.also"
        )
    if len({dose.name for dose in doses}) < len(doses):
        raise ValueError(
            f"doses {[dose.name for dose in doses]}: expected all different; leave a build out of dose.also"
        )
    return sorted(doses, key=lambda dose: (dose.steps * dose.clips, dose.steps))


def measure_dose(settings: TinySettings, dose: Dose) -> dict[str, Any]:
    """Measure one world.

    Returns:
        name; steps, clips: its shares; velocity_loss, the mean over noise levels, and losses, each of them; imagined,
        the share of imagined last pictures that show the true outcome, the mean over tasks, and tasks, as
        `watch_futures`; accuracy of answers; answers, the accuracy with and without the world, with intervals.
    """
    folder = settings.output_dir / FOLDER / "worlds" / dose.name
    cosmos = folder / "cosmos"
    with whole_folder(cosmos) as aside:
        ours = settings.output_dir / "cosmos"
        for part, source in (
            ("vae", ours / "vae"),
            ("scheduler", ours / "scheduler"),
            ("transformer", dose.transformer),
        ):
            shutil.copytree(source, aside / part)
        shutil.copy(ours / "model_index.json", aside)
    transformer: Any = CosmosTransformer3DModel.from_pretrained(cosmos / "transformer")
    losses = WorldObjective(transformer.eval(), held_out_of(settings), settings.world.average_decay).measure()
    world = imagining_world(settings, cosmos)
    tasks = watch_futures(world, TASKS, settings.dose.num_scenes, scenes=settings.scenes)
    fuse(settings, cosmos, folder / "fused")
    answers = ask_fused(settings, folder / "fused", folder / "answers")
    return {
        "name": dose.name,
        "steps": dose.steps,
        "clips": dose.clips,
        "velocity_loss": sum(losses.values()) / len(losses),
        "imagined": sum(task["imagined"] for task in tasks.values()) / len(tasks),
        "accuracy": answers["world"]["value"],
        "losses": losses,
        "tasks": tasks,
        "answers": answers,
    }


def monotone(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, bool]]:
    """Return for steps and clips whether each measure improves, or stays, from every dose to the next."""
    verdicts = {}
    for kind, of_kind in _series(rows).items():
        verdicts[kind] = {}
        for measure in MEASURES:
            sign = -1 if measure == "velocity_loss" else 1
            values = [sign * row[measure] for row in of_kind]
            verdicts[kind][measure] = values == sorted(values)
    return verdicts


def _series(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of all clips by steps, and those of all steps by clips, where there are several."""
    series = {}
    for kind, other in (("steps", "clips"), ("clips", "steps")):
        of_kind = sorted((row for row in rows if row[other] == 1), key=lambda row: row[kind])
        if len(of_kind) > 1:
            series[kind] = of_kind
    return series


def draw_doses(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw a panel for each measure: the value against the share of the steps, and against that of the clips."""
    figure = Figure(figsize=(10.5, 3.2), layout="constrained")
    panels = figure.subplots(1, len(MEASURES))
    for axis, (measure, label) in zip(panels, MEASURES.items(), strict=True):
        for kind, of_kind in _series(rows).items():
            doses, values = ([row[name] for row in of_kind] for name in (kind, measure))
            bars = None
            if measure == "accuracy":
                ends = [row["answers"]["world"]["wilson"] for row in of_kind]
                bars = [
                    [value - end["low"] for value, end in zip(values, ends, strict=True)],
                    [end["high"] - value for value, end in zip(values, ends, strict=True)],
                ]
            axis.errorbar(doses, values, yerr=bars, marker="o", markersize=4, capsize=2, label=f"share of the {kind}")
        if measure == "accuracy":
            without = rows[-1]["answers"]["no-world-tokens"]["value"]
            axis.axhline(without, color="grey", linestyle="--", linewidth=1, label="without a world")
        if measure != "velocity_loss":
            axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        shares = sorted({share for row in rows for share in (row["steps"], row["clips"])})
        axis.set_xscale("log", base=2)
        axis.set_xticks(shares, [dose_name(share).removesuffix("-1").replace("-", "/") for share in shares])
        axis.minorticks_off()
        axis.set_xlabel("dose of training")
        axis.set_title(label, fontsize=10)
        axis.grid(alpha=0.3)
    panels[-1].legend(fontsize=8)
    figure.savefig(path, dpi=130)
