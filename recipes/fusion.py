"""Stage fusion: align a projector on true clips, switch the tap to what the world imagines, and learn outcomes."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from safetensors.torch import load_file

from recipes.settings import FusionRecipe, TinySettings
from theworld.config import DataSettings, EvaluationConfig, ModelSettings, OptimSettings, TrainingConfig, WorldSettings
from theworld.config.data import MixturePart
from theworld.config.model import LoraSettings
from theworld.datasets.foresight.scene import FRAME_RATE_HZ, TASKS, num_future_slots
from theworld.evaluation.run import evaluate
from theworld.experiments.arms.arm import IMITATION_NAME, align
from theworld.experiments.demo import NUM_STEPS
from theworld.io import whole_folder
from theworld.modeling import TheWorld
from theworld.modeling.factory import open_model
from theworld.modeling.tensor_files import write_tensors
from theworld.training.run import MODEL_NAME, train

GRID: Final = 4
"""Side of the world grid: 16 world tokens per slot, the number of Gemma's image tokens per picture."""
BLOCK: Final = 4
"""Block of the denoiser that the tap `dit` reads."""
ALIGN_LEVEL: Final = 0.6
READ_LEVEL: Final = 0.985
"""Noise levels of the tap `dit`: in the alignment true clips still show through."""


def build_fusion(settings: TinySettings) -> dict[str, Any]:
    """Align a projector on true clips, and save the fused model with the tap `rollout`.

        output_dir/drawn/      true clips and questions about them
        output_dir/features/   features of the autoencoder for the clips
        output_dir/fusion/     the training run on readings, without imagined clips or their outcomes;
                               imitation/ in it is the earlier run on image tokens
        output_dir/imagined/   features of the scenes of the next run, where the recipe has one
        output_dir/labels/     the training run on the outcomes of these scenes
        output_dir/fused/      the fused model, adapters merged

    Returns:
        The folder and the quality, as `verify_fusion`.

    Raises:
        ValueError: without a finished build of the other stages.
    """
    cosmos, fused = settings.output_dir / "cosmos", settings.output_dir / "fused"
    if settings.fusion.label_steps:
        _learn_outcomes(settings, cosmos, fused)
    else:
        fuse(settings, cosmos, fused)
    return verify_fusion(settings)


def fuse(settings: TinySettings, cosmos: Path, target: Path) -> None:
    """Align the projector of a build unless it is there, and save it with a world in the build's own latents.

    With the tap `rollout` the alignment reads true latents, so one projector serves every denoiser. The steps on
    outcomes are left out.

    Args:
        settings: of the build.
        cosmos: folder of the world model, with the build's autoencoder.
        target: folder of the fused model.

    Raises:
        ValueError: without a finished build of the other stages.
    """
    _save(open_model(_imagining(settings, cosmos)), target)


def _learn_outcomes(settings: TinySettings, cosmos: Path, target: Path) -> None:
    """Align as `fuse`, train on outcomes of scenes that the world reads as in use, and save the model."""
    out, recipe = settings.output_dir, settings.fusion
    varied = replace(
        _data(settings),
        questions="labels",
        num_train=recipe.num_labelled,
        train_split=_train_split(settings),
        first_scene=recipe.num_clips,  # the alignment has seen those before
    )
    parts = [MixturePart(data=varied, weight=4.0)]
    if number := recipe.num_labelled_plain:
        plain = replace(varied, scenes="plain", train_split="train", first_scene=0, num_train=number)
        parts.append(MixturePart(data=plain, weight=1.0))
    run = replace(
        _training(settings),
        output_dir=out / "labels",
        num_steps=recipe.label_steps,
        store_dir=out / "imagined",
        model=_imagining(settings, cosmos),
        mixture=tuple(parts),
        optim=_optim(settings, recipe.label_learning_rate),
    )
    train(run)
    _save(open_model(replace(run.model, checkpoint=run.output_dir / MODEL_NAME, transfer_tap=False)), target)


def _imagining(settings: TinySettings, cosmos: Path) -> ModelSettings:
    """Align the model, unless it is aligned already, and return it with the world as in use."""
    out, recipe = settings.output_dir, settings.fusion
    if missing := [part for part in ("gemma", "cosmos/transformer") if not (out / part).is_dir()]:
        raise ValueError(f"{out}: no {', '.join(missing)}; build the stages vae, world and vlm first")
    run = _training(settings)
    aligned = align(run, run.output_dir / IMITATION_NAME, recipe.imitate_steps, recipe.imitate_learning_rate)
    return replace(run.model, world=imagining_world(settings, cosmos), checkpoint=aligned, transfer_tap=True)


def _save(model: TheWorld, target: Path) -> None:
    """Save a fused model, adapters merged, what it changed in Gemma in float16 as all of the build."""
    if model.config.lora is not None:
        model.merge_lora()
    with whole_folder(target) as aside:
        model.save_pretrained(aside)
        file = aside / "model.safetensors"
        tensors = {
            name: tensor if name.startswith("world.") else tensor.half() for name, tensor in load_file(file).items()
        }
        write_tensors(tensors, file)


def imagining_world(settings: TinySettings, cosmos: Path) -> WorldSettings:
    """Return the world as the fused model reads it."""
    world = replace(_model(settings).world, num_inference_steps=NUM_STEPS, cosmos_model_name=str(cosmos))
    if settings.fusion.tap == "dit":
        return replace(world, tap="dit", control_of="vae", dit_noise_level=READ_LEVEL)
    return replace(world, tap="rollout")


def _training(settings: TinySettings) -> TrainingConfig:
    recipe = settings.fusion
    return TrainingConfig(
        output_dir=settings.output_dir / "fusion",
        num_steps=recipe.align_steps,
        batch_size=recipe.batch_size,
        seed=settings.seed,
        save_steps=100,
        save_total_limit=1,
        resume=True,
        log_to="none",
        num_workers=0,
        store_dir=settings.output_dir / "features",
        store_dtype="float32",
        model=_model(settings),
        data=replace(
            _data(settings),
            questions="alignment",
            train_split=_train_split(settings),
        ),
        optim=_optim(settings, recipe.learning_rate),
    )


def _train_split(settings: TinySettings) -> Literal["train", "train-seen"]:
    """Return the split with every look of the videos."""
    return "train" if settings.scenes == "plain" else "train-seen"


def _optim(settings: TinySettings, learning_rate: float) -> OptimSettings:
    return OptimSettings(learning_rate=learning_rate, warmup_steps=settings.fusion.warmup_steps, weight_decay=0.0)


def verify_fusion(settings: TinySettings) -> dict[str, Any]:
    """Ask the fused model of a build folder about the future of validation scenes, with and without its world.

    Returns:
        fused: its folder; accuracy of the arms `world` and `no-world-tokens`; num_questions.
    """
    folder = settings.output_dir / "fused"
    answers = ask_fused(settings, folder, settings.output_dir / "held_out" / "fusion")
    accuracies = {arm: accuracy["value"] for arm, accuracy in answers.items()}
    return {"fused": str(folder), **accuracies, "num_questions": settings.fusion.num_held_out}


def ask_fused(settings: TinySettings, fused: Path, output_dir: Path) -> dict[str, dict[str, Any]]:
    """Return the accuracy of a fused model, with its interval, of the arms `world` and `no-world-tokens`."""
    result = evaluate(
        EvaluationConfig(
            checkpoint=fused,
            output_dir=output_dir,
            arms=("world", "no-world-tokens"),
            data=_data(settings),
            max_new_tokens=3,
            batch_size=50,
        )
    )
    return {arm: summary["accuracy"] for arm, summary in result["arms"].items()}


def _model(settings: TinySettings) -> ModelSettings:
    return ModelSettings(
        gemma_model_name=str(settings.output_dir / "gemma"),
        dtype="float32",
        attn_implementation="eager",  # with masks, a step on a CPU takes two thirds to four fifths of the time
        num_world_steps=max(num_future_slots(task) for task in TASKS),
        world_grid=GRID,
        world_projection_width=settings.fusion.width,
        lora=_adapters(settings.fusion.lora_rank),
        world=WorldSettings(
            tap="true-future",
            cosmos_model_name=str(settings.output_dir / "cosmos"),
            image_size_px=settings.image_size_px,
            frame_rate_hz=FRAME_RATE_HZ,
            **_states(settings.fusion),
        ),
    )


def _states(recipe: FusionRecipe) -> dict[str, Any]:
    """Return the settings of states of true clips, which the alignment reads for the tap `dit`."""
    if recipe.tap == "dit":
        return {"control_of": "dit", "dit_block": BLOCK, "dit_noise_level": ALIGN_LEVEL}
    return {}


def _adapters(rank: int | None) -> LoraSettings:
    return LoraSettings(targets=("language",), rank=rank, alpha=2 * rank) if rank else LoraSettings()


def _data(settings: TinySettings) -> DataSettings:
    return DataSettings(
        questions="future",
        scenes=settings.scenes,
        image_size_px=settings.image_size_px,
        drawn_dir=settings.output_dir / "drawn",  # making a scene takes longer than a step
        num_train=settings.fusion.num_clips,
        num_validation=settings.fusion.num_held_out,
    )
