"""Load a model or one of its checkpoints from the hub, and ask several questions about one picture."""

import sys
from pathlib import Path

from theworld import TheWorld

QUESTIONS = (
    "In which bin does the ball come to rest: blue, red or yellow? Answer with one word.",
    "What colour is the ball? Answer with one word.",
)


def main(repo_id: str, picture: Path, checkpoint_name: str | None = None, revision: str | None = None) -> list[str]:
    """Ask a model of the hub about a picture.

    Args:
        repo_id: OWNER/NAME of a saved TheWorld. A private repository needs a token: `hf auth login`, or HF_TOKEN.
        picture: any format that Pillow reads.
        checkpoint_name: a folder in the repository, such as `best` or `checkpoint-500`; None: its root.
        revision: commit, tag or branch; name a commit in a paper.
    """
    model = TheWorld.from_checkpoint_hub(repo_id, checkpoint_name, revision, device_map="auto")
    print(f"{repo_id}: tap {model.config.world_tap}, K = {model.config.num_world_steps}, on {model.device}")
    seen = model.look(picture)  # encodes the picture and the world once
    answers = [seen.ask(question) for question in QUESTIONS]
    for question, answer in zip(QUESTIONS, answers, strict=True):
        print(f"{question} {answer}")
    return answers


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit("usage: load_from_hub.py OWNER/NAME PICTURE [CHECKPOINT]")
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
