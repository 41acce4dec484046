"""Every shipped settings file loads, and the pages name no file, flag or command that does not exist."""

import re
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType

from theworld.cli import main as cli
from theworld.config import BlinkData, EvaluationConfig, TrainingConfig, loader
from theworld.config.arm_settings import ArmsSettings

ROOT = Path(__file__).parents[2]
CLAIM = ROOT / "configs" / "foresight" / "claim.yaml"
ARMS = [*sorted((ROOT / "configs" / "foresight").glob("arms*.yaml")), CLAIM]
EVALUATIONS = sorted((ROOT / "configs").rglob("evaluate*.yaml"))
CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*")
    if path.suffix in (".json", ".yaml") and path not in (*ARMS, *EVALUATIONS) and path.parent.name != "accelerate"
)
SHOWN_RUN = r"```yaml\n((?:#.*?\n)?output_dir:.*?)```"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_a_shipped_settings_file_is_a_training_run(path: Path) -> None:
    config = loader.load(TrainingConfig, path, [])

    assert config.output_dir == Path("runs") / path.relative_to(ROOT / "configs").with_suffix("")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_a_shipped_stage_starts_from_the_model_of_another_shipped_run(path: Path) -> None:
    checkpoint = loader.load(TrainingConfig, path, []).model.checkpoint

    assert checkpoint is None or checkpoint in [
        loader.load(TrainingConfig, other, []).output_dir / "model" for other in CONFIGS if other != path
    ]


def test_a_shipped_evaluation_loads_and_asks_two_tasks_of_blink_with_and_without_a_future() -> None:
    (path,) = EVALUATIONS

    config = loader.load(EvaluationConfig, path, ["--checkpoint", "username/theworld-datacomp"])

    assert config.output_dir == Path("runs") / path.relative_to(ROOT / "configs").with_suffix("")
    assert isinstance(config.data, BlinkData)
    assert (config.data.subsets, config.num_world_steps) == (("Relative_Depth", "Spatial_Relation"), (0, 4))


@pytest.mark.parametrize("path", ARMS, ids=lambda path: path.name)
def test_a_shipped_comparison_loads_and_names_the_arms_of_its_primary_contrast(path: Path) -> None:
    own = loader.load(ArmsSettings, path, ["--seeds", "0", "1"])

    assert own.seeds == (0, 1)
    assert "gemma" in [arm.name for arm in own.arms]
    assert own.primary[1] == ("gemma-lora" if path == CLAIM else "gemma")
    assert own.output_dir == Path("runs") / f"foresight-{path.stem}"


def test_the_claim_counts_every_annotated_outcome_and_tests_looks_that_no_label_shows() -> None:
    claim = loader.load(ArmsSettings, CLAIM, [])

    assert claim.num_labels == (0, 100, 1_000, 2_000)
    assert (claim.scenes, claim.test_splits[0]) == ("varied", "shift-seen")
    assert claim.aligned_questions == "alignment-facts"
    assert claim.aligned_split == "train-seen"  # other scenes than the labelled ones
    assert claim.choose_for_each
    assert [arm.name for arm in claim.arms if arm.role == "opponent"] == [
        "gemma-lora",
        "gemma-full",
        "pixels",
        "siglip-world",
        "ssl-encoder",
        "vae",
    ]
    assert [arm.name for arm in claim.arms if arm.role == "world"] == ["dit", "dit-frames", "rollout"]


@pytest.mark.parametrize("name", ["single", "ddp", "fsdp"])
def test_a_shipped_accelerate_file_loads_and_leaves_the_precision_to_the_run(name: str) -> None:
    kinds = {"single": DistributedType.NO, "ddp": DistributedType.MULTI_GPU, "fsdp": DistributedType.FSDP}

    found = load_config_from_file(str(ROOT / "configs" / "accelerate" / f"{name}.yaml"))

    assert found.distributed_type == kinds[name]
    assert found.mixed_precision == "no"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_what_exists(page: Path) -> None:
    text = page.read_text()

    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for target in re.findall(r"configs/[\w.-]+", text):
        assert (ROOT / target).exists(), f"{page.name} names {target}"
    known = {command.name.split()[0] for command in cli.COMMANDS}
    for command in re.findall(r"^(?:\$ )?theworld (\w+)", text, re.MULTILINE):
        assert command in known, f"{page.name} names the command {command}"


@pytest.mark.parametrize(
    "block",
    [block for page in PAGES for block in re.findall(SHOWN_RUN, page.read_text(), re.DOTALL)],
    ids=lambda block: block.partition("output_dir: ")[2].split()[0],
)
def test_runs_that_a_page_shows_are_complete(block: str, tmp_path: Path) -> None:
    path = tmp_path / "shown.yaml"
    path.write_text(block)

    assert loader.load(TrainingConfig, path, []).num_steps >= 1


@pytest.mark.parametrize(
    "page", ["index", "data", "training", "evaluation", "foresight", "world-taps", "serving", "tiny"]
)
def test_the_readme_links_where_to_start_and_the_main_pages(page: str) -> None:
    assert f"(docs/{page}.md)" in (ROOT / "README.md").read_text()


def test_the_tree_in_the_readme_names_every_part_of_the_package() -> None:
    tree = (ROOT / "README.md").read_text().split("src/theworld/\n")[1].split("tests/ ")[0]
    parts = {
        path.name + "/" * path.is_dir()
        for path in (ROOT / "src" / "theworld").iterdir()
        if not path.name.startswith("__") and path.name != "py.typed"
    }

    named = [re.split(r",\s|\s{2,}", line.strip()) for line in tree.splitlines() if line.startswith("  ")]

    assert {word for words in named for word in words if re.fullmatch(r"\w+(\.py|/)", word)} == parts
