"""One arm of a comparison: align its projector, train it on outcome labels, and answer test questions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from theworld.config import DataSettings, ModelSettings, TrainingConfig
from theworld.config.arm_settings import (
    Arm,
    ArmsSettings,
    GemmaArm,
    PixelsArm,
    Reading,
    TestSplitName,
    WorldArm,
)
from theworld.config.model import DistillationSettings, LoraSettings
from theworld.datasets.factory import open_samples
from theworld.datasets.sample import Sample, Samples
from theworld.environment import describe_environment
from theworld.evaluation.collection import collect
from theworld.evaluation.generation import measure, measure_cost
from theworld.evaluation.predictions import RunIdentity
from theworld.evaluation.run import predict
from theworld.evaluation.run_identity import identify
from theworld.experiments.arms.pixel_network import PixelAnswerer, PixelNetwork, train_network
from theworld.io import fingerprint, whole_folder, write_whole
from theworld.modeling import TheWorld, loading
from theworld.modeling.factory import fields_of, on_this_machine, open_model
from theworld.modeling.projector import WorldBlock
from theworld.training.feature_cache import fill_store
from theworld.training.run import MODEL_NAME, train
from theworld.world.cached import open_stored

IMITATION_NAME = "imitation"


def align(config: TrainingConfig, imitation: Path, imitate_steps: int, imitate_learning_rate: float) -> Path:
    """Align a projector in two runs on the same true clips: imitation first, then answers. Finished runs are kept.

    Args:
        config: the run of answers, which starts with a new projector.
        imitation: folder of the imitation run.
        imitate_steps: steps of the imitation run; 0: no such run.
        imitate_learning_rate: peak learning rate of the imitation run.

    Returns:
        The folder of the aligned model.

    Raises:
        ValueError: as `train`.
    """
    aligned = config.output_dir / MODEL_NAME
    if aligned.is_dir():
        return aligned
    if imitate_steps == 0:
        train(config)
        return aligned
    if not (imitation / MODEL_NAME).is_dir():
        optim = replace(config.optim, learning_rate=imitate_learning_rate)
        model = replace(config.model, lora=LoraSettings())  # imitation leaves Gemma unchanged, adapters come later
        train(
            replace(
                config, output_dir=imitation, objective="imitation", num_steps=imitate_steps, optim=optim, model=model
            )
        )
    train(replace(config, model=replace(config.model, checkpoint=imitation / MODEL_NAME)))
    return aligned


@dataclass(frozen=True)
class Rates:
    """The learning rates of an arm."""

    aligned: float | None
    """Peak learning rate of the alignment; None: the arm has none."""
    labels: float
    """Peak learning rate on outcome labels."""

    def folder_name(self, num_labels: int) -> str:
        """Return the name of the folder of a model with these rates after a number of labels."""
        used = [self.aligned] if num_labels == 0 and self.aligned is not None else [self.aligned, self.labels]
        return f"rate-{'-'.join(f'{rate:g}' for rate in used if rate is not None)}"


def folder_of(settings: ArmsSettings, arm: Arm, seed: int, num_labels: int) -> Path:
    """Return the folder of an arm's models and answers."""
    return settings.output_dir / "arms" / arm.name / f"seed-{seed}" / f"labels-{num_labels}"


def _model(settings: ArmsSettings, arm: WorldArm, reading: Reading) -> ModelSettings:
    """Return the shared model with the reading of an arm, and a projector of `num_parameters`.

    A distilled arm has no world and no projector; its reading is that of the teacher.
    """
    model = replace(settings.model, world=reading.within(settings.model.world))
    if arm.distillation is not None:
        return replace(model, enable_world=False)
    return replace(model, world_projection_width=_width(model, settings.num_parameters))


def check_models(settings: ArmsSettings, arm: Arm) -> None:
    """Find the models that an arm reads, before hours of other arms.

    Raises:
        ValueError: if one of them is not there.
    """
    if isinstance(arm, WorldArm):
        for reading in (arm.aligned_on, arm.reads):
            _model(settings, arm, reading)


def _gemma(settings: ArmsSettings, arm: GemmaArm) -> ModelSettings:
    """Return the shared model without a world, with the arm's adapters, or with all of Gemma trained."""
    is_whole = not arm.lora.targets
    return replace(
        settings.model,
        enable_world=False,
        lora=arm.lora,
        freeze_gemma_vision=not is_whole,
        freeze_gemma_language=not is_whole,
    )


def _width(model: ModelSettings, num_parameters: int) -> int:
    """Return the hidden width at which the world block has this number of parameters.

    Raises:
        ValueError: if no width comes within 1 %.
    """

    def count(width: int) -> int:
        config = loading.configure(model.gemma_model_name, fields_of(replace(model, world_projection_width=width)))
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in WorldBlock(config).parameters())

    narrowest, per_column = count(1), count(2) - count(1)  # the number is linear in the width
    width = max(1, round((num_parameters - narrowest) / per_column) + 1)
    if abs((nearest := count(width)) - num_parameters) > 0.01 * num_parameters:
        raise ValueError(
            f"num_parameters={num_parameters}: the nearest projector for the tap {model.world.tap!r} has {nearest};"
            f" expected a difference of at most 1 %, choose {narrowest:,} or more"
        )
    return width


def data_of(
    settings: ArmsSettings, arm: Arm, questions: Any, size: int, split: TestSplitName = "test", first_scene: int = 0
) -> DataSettings:
    """Return the data of an arm: the scenes, the questions about them, and the pictures that it sees.

    Args:
        settings: of the comparison.
        arm: the arm.
        questions: as in the settings of the data.
        size: number of scenes.
        split: to measure answers on.
        first_scene: scenes of the train split before the first one.
    """
    return DataSettings(
        questions=questions,
        image_size_px=settings.image_size_px,
        images=arm.images if isinstance(arm, WorldArm | GemmaArm) else "clip",
        drawn_dir=settings.output_dir / "drawn",
        num_train=size,
        validation_split=split,
        num_validation=size,
        scenes=settings.scenes,
        first_scene=first_scene,
    )


def _training(settings: ArmsSettings, seed: int, learning_rate: float, **rest: Any) -> TrainingConfig:
    return TrainingConfig(
        batch_size=settings.batch_size,
        precision=settings.precision,
        compile=settings.compile,
        seed=seed,
        save_steps=100,
        save_total_limit=1,
        resume=True,
        log_to="none",
        num_workers=settings.num_workers,
        store_dtype="float32",  # arms read the same store when they answer, where nothing is rounded
        optim=replace(settings.optim, learning_rate=learning_rate),
        **rest,
    )


def aligned_folder(settings: ArmsSettings, arm: WorldArm, seed: int, learning_rate: float) -> Path:
    """Return the folder of an arm's alignment on true clips; arms with the same reading share it."""
    return _reader_folder(settings, arm, seed) / f"rate-{learning_rate:g}"


def _reader_folder(settings: ArmsSettings, arm: WorldArm, seed: int) -> Path:
    name = _name(arm.aligned_on) + ("-clip" if arm.images == "clip" else "")
    if arm.distillation is not None:
        name += f"-distilled{arm.distillation:g}"
    return settings.output_dir / "aligned" / name / f"seed-{seed}"


def _align_arm(settings: ArmsSettings, arm: WorldArm, seed: int, learning_rate: float) -> Path:
    """Align the model of an arm on true clips, and return its folder.

    Conversations of alignment are about a clip that Gemma does not see. A distilled arm therefore learns from the same
    annotated scenes as labels, beside the states of their true clips, in as many steps as imitation and alignment.
    """
    is_distilled = arm.distillation is not None
    run = _training(
        settings,
        seed,
        learning_rate,
        output_dir=aligned_folder(settings, arm, seed, learning_rate),
        num_steps=settings.align_steps + (settings.imitate_steps if is_distilled else 0),
        store_dir=store_folder(settings, arm.aligned_on),
        model=_model(settings, arm, arm.aligned_on),
        data=replace(
            data_of(settings, arm, "labels" if is_distilled else settings.aligned_questions, settings.num_aligned),
            train_split="train" if is_distilled else settings.aligned_split,
        ),
        distillation=DistillationSettings(weight=arm.distillation or 0.0),
    )
    if is_distilled:
        return align(run, run.output_dir, 0, settings.imitate_learning_rate)
    imitation = _reader_folder(settings, arm, seed) / IMITATION_NAME
    return align(run, imitation, settings.imitate_steps, settings.imitate_learning_rate)


def train_arm(settings: ArmsSettings, arm: Arm, seed: int, num_labels: int, rates: Rates) -> Path:
    """Train an arm on outcome labels and return the folder of its model; a finished model is kept.

    Without labels this is the aligned model with the arm's own reading, Gemma as it is, or an untrained network.
    """
    checkpoint = folder_of(settings, arm, seed, num_labels) / rates.folder_name(num_labels) / MODEL_NAME
    if checkpoint.is_dir():
        return checkpoint
    if isinstance(arm, PixelsArm):
        _train_pixels(settings, arm, seed, num_labels, rates.labels, checkpoint)
        return checkpoint
    model, store = _before_labels(settings, arm, seed, rates)
    if num_labels == 0:
        with whole_folder(checkpoint) as aside:
            open_model(model).save_pretrained(aside)
        return checkpoint
    distillation = arm.distillation if isinstance(arm, WorldArm) else None
    train(
        _training(
            settings,
            seed,
            rates.labels,
            output_dir=checkpoint.parent,
            num_steps=max(settings.label_steps, settings.label_passes * num_labels // settings.batch_size),
            store_dir=store,
            model=model,
            data=data_of(settings, arm, "labels", num_labels, first_scene=settings.first_label),
            distillation=DistillationSettings(weight=distillation or 0.0),
        )
    )
    return checkpoint


def _before_labels(settings: ArmsSettings, arm: Arm, seed: int, rates: Rates) -> tuple[ModelSettings, Path | None]:
    """Return the model that learns from labels, and the store of its world's features; None: it has no world."""
    if isinstance(arm, GemmaArm):
        return _gemma(settings, arm), None
    assert isinstance(arm, WorldArm)
    assert rates.aligned is not None, "an arm with an alignment has its rate"
    aligned = _align_arm(settings, arm, seed, rates.aligned)
    model = replace(_model(settings, arm, arm.reads), checkpoint=aligned, transfer_tap=True)
    return model, store_folder(settings, arm.reads)


def _train_pixels(
    settings: ArmsSettings, arm: PixelsArm, seed: int, num_labels: int, learning_rate: float, checkpoint: Path
) -> None:
    """Train the network of pixels on the scenes that other arms get as labels, asked for the future alone."""
    samples = None
    if num_labels:
        data = data_of(settings, arm, "future", num_labels, first_scene=settings.first_label)
        samples = open_samples(data, "train", num_labels)
    network = train_network(samples, arm, settings.scenes, learning_rate=learning_rate, seed=seed)
    with whole_folder(checkpoint) as aside:
        network.save(aside)
    write_whole(checkpoint.parent / "environment.json", describe_environment(number_formats={"precision": "fp32"}))


def store_folder(settings: ArmsSettings, reading: Reading) -> Path:
    """Return the folder of the world features of a reading."""
    return settings.output_dir / "features" / _name(reading)


def _name(reading: Reading) -> str:
    """Return a folder name with everything that distinguishes a reading."""
    parts = [reading.tap, reading.control_of, reading.dit_future, str(reading.num_rollouts)]
    if reading.repeat_current:
        parts.append("current")
    if reading.dit_block is not None:
        parts.append(f"block{reading.dit_block}")
    if reading.dit_noise_level is not None:
        parts.append(f"noise{reading.dit_noise_level:g}")
    if reading.cosmos_model_name is not None:
        parts.append(fingerprint(reading.cosmos_model_name)[:8])
    return "-".join(parts)


def open_arm(arm: Arm, checkpoint: Path) -> TheWorld | PixelNetwork:
    """Open the trained model of an arm on this machine."""
    if isinstance(arm, PixelsArm):
        return PixelNetwork.load(checkpoint)
    return TheWorld.from_pretrained(checkpoint, **on_this_machine())


def answer(
    settings: ArmsSettings, arm: Arm, model: TheWorld | PixelNetwork, data: DataSettings, samples: Samples, path: Path
) -> None:
    """Write an arm's answers to samples, after it computes the world features that its store lacks, if it reads any."""
    title, given = f"{arm.name} {path.stem}", [data, path.stem, len(samples)]
    if isinstance(model, PixelNetwork):
        hashed = fingerprint([data.with_idle(), *given[1:]])
        identity = RunIdentity(settings_hash=hashed, checkpoint=model.weights)
        collect(PixelAnswerer(model), samples, path, identity, title=title, batch_size=200)
        return
    read_features = None
    if model.config.enable_world:
        assert isinstance(arm, WorldArm)
        stored = open_stored(model.tap, store_folder(settings, arm.reads))
        read_features = fill_store(stored, model.processor, samples).read
    predict(
        model,
        samples,
        path,
        identify(model, given),
        title=title,
        batch_size=50,
        max_new_tokens=3,
        read_features=read_features,
    )


def sees_future(model: TheWorld | PixelNetwork) -> bool:
    """Return True for the upper bound alone, whose samples hold the true future."""
    return isinstance(model, TheWorld) and model.config.world_settings().sees_future


def cost_of(model: TheWorld | PixelNetwork, batch: Sequence[Sample]) -> dict[str, Any]:
    """Measure an answer: seconds, billions of operations, and the parameters that training changes."""
    if isinstance(model, PixelNetwork):
        cost, num_trained = measure(PixelAnswerer(model), batch), model.num_parameters
    else:
        cost, num_trained = measure_cost(model, batch, max_new_tokens=3), model.get_trainable_parameters()[0]
    return {**asdict(cost), "num_trained": num_trained}
