"""Print one JSON line per figure: {"name", "value", "goal", "met", "unit"}; `python -m benchmarks [MODULE ...]`.

A figure that is measured in pairs has "quartiles", too: half of the pairs are between them.
"""

import importlib
import sys

import torch

MODULES = (
    "world_off",
    "training",
    "packing",
    "loading",
    "video_decoding",
    "store_read",
    "evaluation",
    "evaluation_loops",
    "scoring",
    "mid_size",
    "dit_blocks",
    "logits",
    "planning",
    "growth",
    "processes",
    "filling",
    "serving",
    "picture_serving",
    "module_path",
    "laptop",
    "full_size",
)


def main() -> None:
    """Run the named modules, or all of them, on one thread."""
    torch.set_num_threads(1)
    names = sys.argv[1:] or MODULES
    if unknown := sorted(set(names) - set(MODULES)):
        sys.exit(f"unknown benchmark {', '.join(unknown)}: expected some of {', '.join(MODULES)}")
    for name in names:
        for figure in importlib.import_module(f"benchmarks.{name}").figures():
            print(figure.line(), flush=True)


if __name__ == "__main__":
    main()
