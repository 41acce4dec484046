"""Print the folder of the task files: `lmms-eval --include_path "$(python -m theworld.evaluation.lmms_eval)" ...`."""

import sys

from theworld.evaluation.lmms_eval import TASKS

sys.stdout.write(f"{TASKS}\n")
