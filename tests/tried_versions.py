"""Test the versions of transformers and diffusers that pyproject.toml allows: `make versions-test`.

The two oldest combinations and the newest. The packages of each lie in a folder that hides those of the environment;
all others are as in constraints.txt. `pip check` compares each combination with the requirements of every package.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / ".cache" / "versions"

# diffusers asks for version 1 of the hub's client until 0.41, and from 0.42 on for either.
COMBINATIONS: Final[tuple[Mapping[str, str], ...]] = (
    {"transformers": "5.23.0", "diffusers": "0.40.0", "huggingface-hub": "1.33.0"},
    {"transformers": "5.23.0", "diffusers": "0.41.0", "huggingface-hub": "1.33.0"},
    {"transformers": "5.24.0", "diffusers": "0.42.1", "huggingface-hub": "2.4.0"},
)

TESTS: Final = (
    "tests/contracts/test_full_size.py",
    "tests/equivalence/test_gemma4.py",
    "tests/equivalence/test_other_bases.py",
    "tests/equivalence/test_qwen3_vl.py",
    "tests/equivalence/test_world_families.py",
    "tests/equivalence/test_world_off.py",
    "tests/equivalence/test_world_on.py",
    "tests/interop/test_trainer_and_peft.py",
    "tests/unit/modeling/test_checkpoints.py",
    "tests/unit/modeling/test_lora.py",
    "tests/unit/modeling/test_packed_rows.py",
    "tests/unit/modeling/test_prefix_cache.py",
    "tests/unit/modeling/test_processor.py",
    "tests/unit/serving/test_reuse.py",
    "tests/unit/test_hub_refusals.py",
    "tests/unit/training/test_run.py",
    "tests/unit/world/test_dit_tap.py",
    "tests/unit/world/test_families.py",
    "tests/unit/world/test_rollout_tap.py",
)
"""The tests of all that the package takes from the two libraries."""


def install(versions: Mapping[str, str]) -> Path:
    """Install versions into a folder of their own, once, and return it."""
    pins = [f"{name}=={number}" for name, number in versions.items()]
    folder = FOLDER / "-".join(pins)
    if not folder.exists():  # renamed once it is whole
        begun = folder.with_name(folder.name + ".part")
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-compile",
            "--upgrade",
            "--no-deps",
            "--target",
            str(begun),
        ]
        subprocess.run([*pip, *pins], check=True)
        begun.rename(folder)
    return folder


def passes(folder: Path) -> bool:
    """Run `pip check` and the tests with the packages of a folder, and return whether both pass."""
    options = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}
    for command in (["pip", "check"], ["pytest", "--quiet", *TESTS]):
        if subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=options).returncode:
            return False
    return True


def main() -> int:
    """Try all combinations, print one line each, and return 1 if one fails."""
    results = {}
    for versions in COMBINATIONS:
        name = ", ".join(f"{package} {number}" for package, number in versions.items())
        print(f"\n{name}", flush=True)
        results[name] = passes(install(versions))
    print()
    for name, passed in results.items():
        print(f"{'passed' if passed else 'FAILED'}: {name}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
