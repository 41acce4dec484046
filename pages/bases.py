"""Table of the bases in docs/loading.md, from the code: the tests that ran each feature on each base, and refusals."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pages.blocks import ROOT, write_block
from theworld.modeling.bases import BASES, DISTILLATION, IMITATION, PACKING, RESIDUAL, SHARED_PREFIX, Base
from theworld.tables import markdown_lines

PAGE: Final = "docs/loading.md"
TESTS: Final = "tests"


@dataclass(frozen=True)
class Feature:
    """A feature of TheWorld, and a test of it on each base."""

    title: str
    tests: dict[str, str] = field(default_factory=dict)
    """Kind of a base to the test that runs the feature on it: FILE::FUNCTION, below `tests/`."""
    name: str | None = None
    """Its name in `Base.lacks`; None: every base has it."""


def _tests(gemma3: str, others: str) -> dict[str, str]:
    """Return a test for Gemma 3, and one that runs on every other base."""
    return {base.kind: gemma3 if base.kind == "gemma3" else others for base in BASES}


def _alike(gemma3: str, others: str) -> dict[str, str]:
    return _tests(f"equivalence/test_world_on.py::{gemma3}", f"equivalence/test_other_bases.py::{others}")


FEATURES: Final = (
    Feature(
        "world off equals the base, bit for bit",
        {
            "gemma3": "equivalence/test_world_off.py::test_world_off_equals_gemma_bit_for_bit",
            "gemma4": "equivalence/test_gemma4.py::test_world_off_equals_gemma_4_bit_for_bit",
            "qwen3_vl": "equivalence/test_qwen3_vl.py::test_world_off_equals_qwen3_vl_bit_for_bit",
        },
    ),
    Feature(
        "world on, fusion `tokens`",
        _alike(
            "test_another_picture_for_the_world_alone_gives_other_logits",
            "test_another_picture_for_the_world_alone_gives_other_logits",
        ),
    ),
    Feature(
        "world on, fusion `residual`",
        {"gemma3": "equivalence/test_residual.py::test_behind_an_open_gate_another_world_gives_other_logits"},
        RESIDUAL,
    ),
    Feature(
        "cached decoding",
        _alike("test_cached_decoding_equals_the_plain_forward", "test_decoding_equals_the_plain_forward"),
    ),
    Feature(
        "beams",
        _alike(
            "test_beams_equal_the_plain_forward_also_for_rows_with_one_two_and_no_clips",
            "test_beams_of_rows_with_several_clips_equal_those_of_each_row_alone",
        ),
    ),
    Feature(
        "left padding",
        _alike("test_padded_rows_equal_themselves_alone", "test_a_left_padded_row_equals_itself_alone"),
    ),
    Feature(
        "several clips in a row",
        _alike("test_the_order_of_two_clips_of_a_row_matters", "test_the_order_of_two_clips_of_a_row_matters"),
    ),
    Feature(
        "videos in chats",
        _tests(
            "unit/modeling/test_questions_about_videos.py::test_videos_and_pictures_belong_to_one_question",
            "unit/modeling/test_bases.py::test_a_video_gives_the_base_its_last_frame_and_the_world_its_clip",
        ),
    ),
    Feature(
        "stored features",
        _alike("test_stored_features_equal_live_ones", "test_stored_features_equal_live_ones"),
    ),
    Feature(
        "checkpoints",
        _tests(
            "unit/modeling/test_checkpoints.py::test_a_reloaded_model_has_the_same_logits_under_every_freeze_setting",
            "unit/modeling/test_bases.py::test_a_reloaded_base_with_a_world_has_the_same_logits",
        ),
    ),
    Feature(
        "saved processors",
        _tests(
            "unit/modeling/test_processor.py::test_a_saved_processor_is_the_same_processor",
            "unit/modeling/test_bases.py::test_a_saved_processor_gives_the_same_prompts",
        ),
    ),
    Feature(
        "Auto classes",
        _tests(
            "unit/modeling/test_loading.py::test_the_auto_classes_open_a_saved_model",
            "unit/modeling/test_bases.py::test_the_auto_classes_find_a_saved_world_once_theworld_is_imported",
        ),
    ),
    Feature(
        "LoRA, for `language` and `vision`",
        _tests(
            "unit/modeling/test_lora.py::test_training_moves_adapters_and_projector_and_leaves_the_base_bit_for_bit",
            "unit/modeling/test_bases.py::"
            "test_adapters_of_both_targets_change_nothing_at_first_and_survive_a_checkpoint",
        ),
    ),
    Feature(
        "training on answers, with a store",
        _tests(
            "unit/training/test_run.py::test_stored_and_live_features_train_alike",
            "unit/training/test_run_on_other_bases.py::test_a_run_trains_and_its_model_is_evaluated_and_audited",
        ),
    ),
    Feature(
        "training on packed rows",
        {"gemma3": "unit/modeling/test_packed_rows.py::test_packed_losses_and_gradients_equal_unpacked_ones"},
        PACKING,
    ),
    Feature(
        "training by imitation",
        {
            "gemma3": "unit/modeling/test_losses.py::"
            "test_a_run_of_imitation_explains_more_with_each_step_and_its_model_goes_on_to_answers"
        },
        IMITATION,
    ),
    Feature(
        "training by distillation",
        {"gemma3": "unit/training/test_distillation.py::test_a_run_learns_to_predict_the_world_and_to_answer"},
        DISTILLATION,
    ),
    Feature(
        "evaluation",
        _tests(
            "unit/evaluation/test_run_and_audit.py::test_an_evaluation_answers_in_every_arm_and_compares_them",
            "unit/training/test_run_on_other_bases.py::test_a_run_trains_and_its_model_is_evaluated_and_audited",
        ),
    ),
    Feature(
        "audit",
        _tests(
            "unit/evaluation/test_run_and_audit.py::test_the_audit_tells_a_model_that_looks_from_one_that_does_not",
            "unit/training/test_run_on_other_bases.py::test_a_run_trains_and_its_model_is_evaluated_and_audited",
        ),
    ),
    Feature(
        "`theworld serve`",
        _tests(
            "unit/serving/test_chat_completions.py::test_an_answer_equals_that_of_generate",
            "unit/serving/test_other_bases_served.py::test_a_request_is_answered",
        ),
    ),
    Feature(
        "`look(image)`, the demo page",
        {"gemma3": "equivalence/test_world_on.py::test_a_cached_prefix_is_shared_by_two_questions"},
        SHARED_PREFIX,
    ),
    Feature(
        "`theworld plan`",
        {
            "gemma3": "unit/planning/test_planned_memory.py::"
            "test_weights_and_moments_are_those_of_the_model_that_trains",
            "gemma4": "unit/planning/test_planned_gemma4.py::test_a_plan_keeps_what_autograd_keeps",
            "qwen3_vl": "unit/planning/test_planned_qwen3_vl.py::test_a_plan_keeps_what_autograd_keeps",
        },
    ),
)


def features_of_bases() -> str:
    """Return the table of features and bases: a cell names the test, or the remedy of a refusal."""
    columns = ["feature", *(f"{base.title} (`{base.kind}`)" for base in BASES)]
    rows = [[feature.title, *(_cell(feature, base) for base in BASES)] for feature in FEATURES]
    return "\n".join(markdown_lines(columns, rows))


def missing_tests() -> list[str]:
    """Return the tests that the table names and that are not there."""
    named = [test for feature in FEATURES for test in feature.tests.values()]
    return [test for test in named if not _is_there(*test.split("::"))]


def _cell(feature: Feature, base: Base) -> str:
    if feature.name is not None and feature.name in base.lacks:
        return f"refused: {base.lacks[feature.name]}"
    test = feature.tests.get(base.kind)
    return "not run" if test is None else f"`{Path(test.split('::')[0]).name}`"


def _is_there(file: str, function: str) -> bool:
    path = ROOT / TESTS / file
    return path.is_file() and f"def {function}(" in path.read_text()


def write_bases() -> None:
    """Write the table into the page."""
    write_block(PAGE, "bases", features_of_bases())
