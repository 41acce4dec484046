"""Foresight: simulated physical scenes with questions about the future, and controls about the present."""

from theworld.datasets.foresight.dataset import ForesightDataset, clip, to_hf_dataset, world_clip
from theworld.datasets.foresight.dialogues import ForesightAlignment, ForesightLabels
from theworld.datasets.foresight.export import preview
from theworld.datasets.foresight.items import SPLITS, Item, Split, make_film, make_item, split_of
from theworld.datasets.foresight.questions import Question, dynamic_question, static_questions
from theworld.datasets.foresight.rendering import draw, draw_clip
from theworld.datasets.foresight.scene import (
    COLOURS,
    FRAME_RATE_HZ,
    NUM_FRAMES,
    TASKS,
    Ball,
    Block,
    Plank,
    Scene,
    Screen,
    Task,
)

__all__ = [
    "ForesightDataset",
    "ForesightAlignment",
    "ForesightLabels",
    "clip",
    "world_clip",
    "to_hf_dataset",
    "preview",
    "Item",
    "make_item",
    "make_film",
    "split_of",
    "Question",
    "dynamic_question",
    "static_questions",
    "draw",
    "draw_clip",
    "Scene",
    "Ball",
    "Block",
    "Plank",
    "Screen",
    "Task",
    "TASKS",
    "Split",
    "SPLITS",
    "COLOURS",
    "NUM_FRAMES",
    "FRAME_RATE_HZ",
]
