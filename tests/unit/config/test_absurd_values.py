"""Any value of any setting is taken or refused in one line that names the setting; nothing is computed."""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theworld.cli.commands import COMMANDS
from theworld.cli.main import _named
from theworld.config import DataSettings, LoraSettings, ModelSettings, TrainingConfig
from theworld.config.flags import Argument, arguments, variants_of
from theworld.config.loader import SettingsError, load

CLASSES = {command.settings: (_named(command.settings), not command.reads_file) for command in COMMANDS}
SETTINGS: list[tuple[str, Argument]] = [
    (name, argument)
    for name, (cls, positional) in CLASSES.items()
    for argument in arguments(cls, positional)
    if argument.flags and not argument.is_switch
]
VALUES = [
    *(
        "",
        " ",
        "-1",
        "0",
        "1e400",
        "-1e400",
        "nan",
        "inf",
        "1e-400",
        "10.5",
        "0x10",
        "1_000",
        "９",
        "None",
        "True",
        "[]",
    ),
    *("{}", "\0", "💥", "../../x", "a" * 5_000, "9" * 5_000, str(10**30), str(-(10**30)), str(2**63), str(2**64)),
]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(SETTINGS), st.sampled_from(VALUES) | st.integers().map(str) | st.floats().map(str))
def test_a_value_of_any_setting_is_taken_or_refused_in_one_short_line(setting: tuple[str, Argument], value: str):
    name, argument = setting
    cls, positional = CLASSES[name]
    flag = argument.flags[0]
    try:
        load(cls, None, [f"{flag}={value}"], positional=positional)
    except SettingsError as error:
        lines = [line for line in str(error).splitlines() if "missing; give" not in line]
        assert len(lines) <= 1, lines
        assert all(len(line) < 700 and "pydantic" not in line for line in lines), lines


def unbounded(kind: Any, limits: tuple[Any, ...] = ()) -> bool:
    """Return whether a type takes whole numbers of any size."""
    if get_origin(kind) is Annotated:
        inner, *limits = get_args(kind)
        return unbounded(inner, tuple(limit for field in limits for limit in getattr(field, "metadata", ())))
    if kind is int:
        return not any(hasattr(limit, "le") or hasattr(limit, "lt") for limit in limits)
    return any(unbounded(part) for part in get_args(kind) if get_origin(kind) is not Literal)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_whole_number_has_a_largest_value(name: str):
    def classes(cls: Any) -> Iterator[Any]:
        yield cls
        for inner in [*variants_of(cls).values(), *filter(dataclasses.is_dataclass, get_type_hints(cls).values())]:
            yield from classes(inner)

    for cls in classes(CLASSES[name][0]):
        own = {field.name for field in dataclasses.fields(cls)}
        kinds = get_type_hints(cls, include_extras=True)
        assert [field for field, kind in kinds.items() if field in own and unbounded(kind)] == [], cls


@pytest.mark.parametrize("words", [["--output-dir", ""], ["--output-dir="], ["--output_dir", ""]])
def test_an_empty_path_is_no_current_folder(words: list[str]):
    with pytest.raises(SettingsError, match=r"^--output-dir: empty; expected a path$"):
        load(TrainingConfig, None, words)


def test_a_flag_of_another_data_set_is_refused_even_at_its_default(tmp_path: Any):
    with pytest.raises(SettingsError) as caught:
        load(TrainingConfig, None, ["--output-dir", "x", "--data.marks", "boxes"])
    assert str(caught.value) == "--data.marks: for dataset 'spatial-rgpt' or 'open-spatial', not 'foresight'"

    earlier = tmp_path / "config.json"
    earlier.write_text('{"output_dir": "x", "data": {"dataset": "foresight", "marks": "boxes", "source": null}}')
    assert load(TrainingConfig, earlier).data.dataset == "foresight"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"output_dir": ""}, "TrainingConfig: output_dir: empty; expected a path"),
        (
            {"output_dir": "x", "num_steps": 0},
            "TrainingConfig: num_steps: given 0; should be greater than or equal to 1",
        ),
        ({"output_dir": "x", "num_stps": 1}, "TrainingConfig: num_stps: unknown setting; did you mean num_steps?"),
        ({}, "TrainingConfig: output_dir: missing; give output_dir"),
    ],
)
def test_a_python_caller_gets_one_line_without_addresses(values: dict[str, Any], message: str):
    with pytest.raises(SettingsError) as caught:
        TrainingConfig(**values)
    assert str(caught.value) == message


def test_groups_are_objects_for_python_callers_and_paths_may_be_texts():
    with pytest.raises(SettingsError, match=r"^ModelSettings: lora: given .*; should be an instance of LoraSettings$"):
        ModelSettings(lora={"targets": ["gemma_language"]})  # pyright: ignore[reportArgumentType]
    config = TrainingConfig(output_dir="run", store_dir="store")  # pyright: ignore[reportArgumentType]
    assert (config.output_dir.name, config.store_dir) == ("run", type(config.output_dir)("store"))
    assert dataclasses.replace(config, model=ModelSettings(lora=LoraSettings())) == config
    assert DataSettings(dataset="vsr", image_dir="pictures").image_dir == type(config.output_dir)("pictures")  # pyright: ignore[reportAttributeAccessIssue]
