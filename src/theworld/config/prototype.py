"""Settings of the original prototype: a table of its flat names and their names today."""

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple


class Former(NamedTuple):
    """A setting of the prototype."""

    now: str | None = None
    """Its dotted name today; None: it has no counterpart."""
    note: str = ""
    """The remedy where there is no counterpart, or where the values differ."""
    values: Mapping[str, str] = {}  # a NamedTuple has no mutable class attributes
    """Its words that are other words today."""


SAVE: Final = "save"
_SEEN_FROM_DATA: Final = "each data set asks its own questions; with data.dataset=hf they are a column of yours"
_WANDB: Final = "the environment names it: export {}=..."
_DATASETS: Final = {
    "spatial_rgpt": "open-spatial",
    "spatial-rgpt": "open-spatial",
    "openspatial": "open-spatial",
    "llava_pretrain": "llava",
    "llava-pretrain": "llava",
    "custom": "registered",
}

TRAINING: Final[Mapping[str, Former]] = {
    "model_name": Former("model.gemma_model_name"),
    "gemma_model_name": Former("model.gemma_model_name"),
    "cosmos_model_name": Former("model.world.cosmos_model_name"),
    "enable_world": Former("model.enable_world"),
    "num_world_steps": Former("model.num_world_steps"),
    "max_world_steps": Former("model.max_world_steps"),
    "world_projection_mode": Former("model.world_projection_mode"),
    "projection_architecture": Former("model.world_projection_architecture"),
    "world_projection_architecture": Former("model.world_projection_architecture"),
    "freeze_gemma_vision": Former("model.freeze_gemma_vision"),
    "freeze_gemma_language": Former("model.freeze_gemma_language"),
    "freeze_cosmos_vae": Former("model.freeze_cosmos_vae"),
    "load_full_cosmos_pipeline": Former(note="only the parts that model.world.tap reads are loaded"),
    "random_projection_init": Former(note="a new projector is random; measure one with --arms random-projection"),
    "device": Former(note="the GPU is used if there is one; accelerate launch chooses between several"),
    "learning_rate": Former("optim.learning_rate"),
    "warmup_steps": Former("optim.warmup_steps"),
    "weight_decay": Former("optim.weight_decay"),
    "max_grad_norm": Former("optim.max_grad_norm"),
    "lr_scheduler_type": Former("optim.schedule"),
    "max_steps": Former("num_steps"),
    "per_device_train_batch_size": Former("batch_size"),
    "mixed_precision": Former("precision", values={"no": "fp32"}),
    "use_gradient_checkpointing": Former("gradient_checkpointing"),
    "resume_from_checkpoint": Former("resume", "to begin another stage with its weights, use model.checkpoint instead"),
    "save_safetensors": Former(note="checkpoints are always safetensors"),
    "do_eval": Former(note="validation.eval_steps measures while it trains"),
    "eval_steps": Former("validation.eval_steps"),
    "eval_batch_size": Former("validation.batch_size"),
    "log_to_wandb": Former("log_to", "log_to=wandb"),
    "log_to_tensorboard": Former("log_to", "log_to=tensorboard"),
    "wandb_project": Former(note=_WANDB.format("WANDB_PROJECT")),
    "wandb_run_name": Former(note=_WANDB.format("WANDB_NAME")),
    "max_seq_length": Former(note="max_length limits a sample, but counts its image and world tokens, too"),
    "dataloader_num_workers": Former("num_workers"),
    "dataset_name": Former("data.dataset", values=_DATASETS),
    "train_dataset_path": Former("data.source"),
    "eval_dataset_path": Former(note="data.validation_split, or validation.data for another data set"),
    "image_folder": Former("data.image_dir"),
    "train_split": Former("data.train_split"),
    "eval_split": Former("data.validation_split", values={"val": "validation"}),
    "num_samples": Former("data.num_train"),
    "streaming": Former(note="datacomp is always a stream; the other data sets are read by index"),
    "question_template": Former(note=_SEEN_FROM_DATA),
    "draw_bboxes": Former(note="regions are always drawn; data.marks chooses boxes or masks"),
    "image_key": Former("data.image_column"),
    "text_key": Former("data.question_column"),
    "label_key": Former("data.answer_column"),
    "hf_token": Former(note="the token comes from the environment: export HF_TOKEN=..."),
    "push_to_hub": Former("hub.push", "hub.push is save, end or never, and hub.repo_id names the repository"),
    "hub_model_id": Former("hub.repo_id"),
    "hub_strategy": Former(
        "hub.push", values={"every_save": SAVE, "checkpoint": SAVE, "all_checkpoints": SAVE, "end": "end"}
    ),
    "hub_private_repo": Former("hub.private"),
}
"""Settings of a training that have another name today, or none; the others keep their names."""

EVALUATION: Final[Mapping[str, Former]] = {
    "model": Former("checkpoint"),
    "task": Former("data.subsets"),
    "tasks": Former("data.subsets"),
    "split": Former("data.validation_split", values={"val": "validation"}),
    "num_samples": Former("data.num_validation"),
    "image_folder": Former("data.image_dir"),
    "data_path": Former("data.source"),
    "output": Former("output_dir"),
    "temperature": Former(note="answers are decoded greedily"),
    "verbose": Former(note="theworld -v evaluate says more"),
    "save_errors": Former(note="scores/ARM.jsonl has every item, right or wrong"),
    "official_judge": Former(note="`theworld judge spatial-rgpt` judges the predictions afterwards"),
    "device": TRAINING["device"],
    "hf_token": TRAINING["hf_token"],
}
"""Settings of an evaluation, in the same way."""


def hint(name: str, known: Collection[str]) -> str | None:
    """Return the remedy for a setting of the prototype; None for another name, or for one that still exists.

    Args:
        name: of the setting, or its flag.
        known: settings or flags that are possible here.
    """
    is_flag = name.startswith("--")
    key = name.removeprefix("--").replace("-", "_")
    if key == "config" and is_flag:
        return "the settings file comes first, without a flag"
    names = {other.removeprefix("--").replace("-", "_") for other in known}
    former = (TRAINING if "num_steps" in names else EVALUATION if "arms" in names else {}).get(key)
    if former is None or key in names:
        return None
    if former.now is None:
        return f"a setting of the prototype without a counterpart: {former.note}"
    now = f"--{former.now}".replace("_", "-") if is_flag else former.now
    return f"did you mean {now}?" + (f" ({former.note})" if former.note else "")


def is_of_prototype(settings: Mapping[str, Any]) -> bool:
    """Return whether a file's settings are those of the prototype: at least two have its names."""
    return sum(
        name in TRAINING or name in EVALUATION for name, value in settings.items() if value != {}
    ) > 1 and not any(isinstance(value, dict) for value in settings.values())
