"""Settings files and overrides: what is read, what is refused, and in which words."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import Field
from pydantic.dataclasses import dataclass as strict_dataclass

from theworld.config import STRICT, EvaluationConfig, ModelSettings, OptimSettings, TrainingConfig
from theworld.config.flags import flags, show_help
from theworld.config.loader import MAX_FILE_BYTES, SettingsError, load, read_mapping, save

RUN = {"output_dir": "run"}


@pytest.fixture
def write(tmp_path):
    """Write a file and give its path; a dict is written as JSON."""

    def _write(content, name="run.json"):
        path = tmp_path / name
        text = json.dumps(content) if isinstance(content, dict) else content
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


def refusal(path, *overrides, cls=TrainingConfig, **options):
    """The message of a refusal, with the file's folder taken out."""
    with pytest.raises(SettingsError) as caught:
        load(cls, path, overrides, **options)
    message = str(caught.value)
    return message if path is None else message.replace(f"{Path(path).parent}/", "")


def test_without_a_file_the_defaults_hold():
    config = load(TrainingConfig, None, ["--output-dir", "run"])
    assert config == TrainingConfig(output_dir=Path("run"))


def test_json_and_yaml_say_the_same(write):
    as_json = write({**RUN, "num_steps": 3, "optim": {"learning_rate": 3e-4}})
    as_yaml = write("output_dir: run\nnum_steps: 3\noptim:\n  learning_rate: 3.0e-4\n", "run.yaml")
    assert load(TrainingConfig, as_json) == load(TrainingConfig, as_yaml)


def test_overrides_win_over_the_file_and_leave_the_rest(write):
    path = write({**RUN, "num_steps": 3, "optim": {"learning_rate": 1e-3, "weight_decay": 0.5}})
    config = load(TrainingConfig, path, ["--optim.learning-rate", "3e-4", "--model.no-freeze-gemma-vision"])
    assert (config.optim.learning_rate, config.optim.weight_decay, config.num_steps) == (3e-4, 0.5, 3)
    assert config.model.freeze_gemma_vision is False
    assert config.model.freeze_gemma_language is True


def test_an_override_may_supply_what_the_file_leaves_out(write):
    assert load(TrainingConfig, write({"num_steps": 3}), ["--output-dir", "run"]).output_dir == Path("run")


def test_flags_are_understood_with_equals_signs_underscores_tuples_and_none(write):
    path = write({"checkpoint": "model", "output_dir": "run", "store_dir": "store"})
    overrides = ["--batch_size=3", "--num-world-steps", "0", "4", "--store-dir", "None"]
    config = load(EvaluationConfig, path, overrides)
    assert (config.batch_size, config.num_world_steps, config.store_dir) == (3, (0, 4), None)


def test_a_rule_between_file_and_command_line_holds_for_both_together(write):
    path = write({**RUN, "model": {"num_world_steps": 4, "world": {"tap": "rollout"}}})
    assert load(TrainingConfig, path).model.num_world_steps == 4
    assert "needs a tap that looks ahead" in refusal(path, "--model.world.tap", "vae")
    alone_wrong = write({**RUN, "model": {"num_world_steps": 4}}, "other.json")
    assert load(TrainingConfig, alone_wrong, ["--model.world.tap", "dit"]).model.world.tap == "dit"


@pytest.mark.parametrize("number", ["1e-4", "1E-4", "+1e-4", "1.e-4", ".1e-3", "0.0001"])
def test_yaml_numbers_with_an_exponent_are_numbers(write, number):
    path = write(f"output_dir: run\noptim: {{learning_rate: {number}}}\n", "run.yaml")
    assert load(TrainingConfig, path).optim.learning_rate == 1e-4


def test_yaml_comments_null_quotes_and_a_byte_order_mark_are_read(write):
    path = write('\ufeff# a run\noutput_dir: "no"\nstore_dir: ~\nseed: 7 # lucky\n', "run.yml")
    config = load(TrainingConfig, path)
    assert (config.output_dir, config.store_dir, config.seed) == (Path("no"), None, 7)


def test_an_unknown_key_is_refused_with_its_path_and_the_closest_known_one(write):
    path = write({**RUN, "optim": {"learnin_rate": 1e-3}})
    assert refusal(path) == "run.json: optim.learnin_rate: unknown setting; did you mean optim.learning_rate?"


def test_a_key_at_the_wrong_level_is_led_home(write):
    assert "did you mean optim.learning_rate?" in refusal(write({**RUN, "learning_rate": 1e-3}))


def test_an_unknown_flag_is_refused_with_the_closest_known_one(write):
    message = refusal(write(RUN), "--optim.learnin-rate", "1e-3")
    assert message == "--optim.learnin-rate: unknown setting; did you mean --optim.learning-rate?"


def test_a_value_without_a_flag_is_refused(write):
    assert refusal(write(RUN), "stray") == "'stray' belongs to no flag; a settings file comes before the flags"


def test_every_problem_has_its_own_line(write):
    path = write({**RUN, "num_stepz": 3, "batch_size": "many", "model": {"dtype": "int8"}, "optim": 3})
    assert sorted(refusal(path).splitlines()) == [
        'run.json: batch_size: given "many"; should be a valid integer',
        "run.json: model.dtype: given \"int8\"; should be 'auto', 'float32', 'bfloat16' or 'float16'",
        "run.json: num_stepz: unknown setting; did you mean num_steps?",
        "run.json: optim: given 3; should be settings by name",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": "3"}, 'num_steps: given "3"; should be a valid integer'),
        ({"num_steps": 3.0}, "num_steps: given 3.0; should be a valid integer"),
        ({"num_steps": True}, "num_steps: given true; should be a valid integer"),
        ({"batch_size": None}, "batch_size: given null; should be a valid integer"),
        ({"num_steps": 0}, "num_steps: given 0; should be greater than or equal to 1"),
        ({"gradient_checkpointing": "yes"}, 'gradient_checkpointing: given "yes"; should be a valid boolean'),
        ({"gradient_checkpointing": 1}, "gradient_checkpointing: given 1; should be a valid boolean"),
        ({"resume": 3}, "resume: given 3; should be a valid boolean or a valid string"),
        ({"store_dir": 3}, "store_dir: given 3; should be a valid string"),
        ({"model": {"world": {"tap": "vea"}}}, "model.world.tap: no tap 'vea'; did you mean vae? "),
        ({"optim": {"learning_rate": -1}}, "optim.learning_rate: given -1; should be greater than 0"),
        ({"optim": [1]}, "optim: given [1]; should be settings by name"),
        ({"num_steps": "x" * 99}, f'num_steps: given "{"x" * 56}...; should be a valid integer'),
    ],
)
def test_a_wrong_type_or_value_is_refused_in_one_line(write, settings, message):
    said = refusal(write({**RUN, **settings}))
    assert said.startswith(f"run.json: {message}")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--optim.learning-rate", "-1"], "--optim.learning-rate: given -1.0; should be greater than 0"),
        (["--optim.learning-rate", "nan"], "--optim.learning-rate: given NaN; should be a finite number"),
        (["--batch-size", "abc"], "--batch-size: invalid literal for int() with base 10: 'abc'"),
        (["--num-steps"], "Missing value for argument '--num-steps'. Expected 1 values."),
        (["--precision", "int8"], "invalid choice 'int8' for argument '--precision'. Expected one of ("),
        (["--model.world-grid", "wide"], "--model.world-grid: no type matching {None}|INT could be instantiated"),
        (["--output-dir", "\udcff"], "run.json: text that is not UTF-8"),
    ],
)
def test_a_wrong_override_is_refused_in_one_line_and_says_its_flag(write, overrides, message):
    said = refusal(write(RUN), *overrides)
    assert said.startswith(message)
    assert "\n" not in said


def test_a_wrong_element_of_a_tuple_is_told_apart(write):
    path = write({"checkpoint": "model", "output_dir": "run", "num_world_steps": [0, -4]})
    assert refusal(path, cls=EvaluationConfig).startswith("run.json: num_world_steps.1: given -4; should be")
    said = refusal(path, "--num-world-steps", "-4", cls=EvaluationConfig)
    assert said == "--num-world-steps: given -4; should be greater than or equal to 0"


def test_an_override_does_not_hide_a_broken_group_of_the_file(write):
    said = refusal(write({**RUN, "optim": 3}), "--optim.learning-rate", "1e-3")
    assert said == "run.json: optim: given 3; should be settings by name"


def test_a_missing_setting_is_named_with_its_flag():
    assert refusal(None) == "output_dir: missing; give --output-dir"


@pytest.mark.parametrize(
    "secret", ["token", "hf_token", "HUB_TOKEN", "password", "api_key", "apiKey", "client-secret", "private_key"]
)
def test_secrets_are_refused_and_not_repeated(write, secret):
    in_file = refusal(write({**RUN, secret: "hf_abc", "model": {secret: "hf_abc"}, "store_dir": {secret: "hf_abc"}}))
    as_flag = refusal(write(RUN), f"--{secret}", "hf_abc", f"--model.{secret}=hf_abc")
    assert in_file.count("they come from the environment (HF_TOKEN)") == 2
    assert as_flag.count("they come from the environment (HF_TOKEN)") == 2
    assert "hf_abc" not in in_file + as_flag


def test_no_setting_of_ours_looks_like_a_secret(write):
    for cls in (TrainingConfig, EvaluationConfig):
        misspelt = [f"{flag}x" for flag in flags(cls)]
        said = refusal(write(RUN), *misspelt, cls=cls).splitlines()
        assert len(said) == len(misspelt)
        assert all("unknown setting" in line for line in said)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.toml", "a = 1", "run.toml: suffix '.toml'; a settings file ends in .json, .yaml, .yml"),
        ("run.json", "", "run.json: the file is empty"),
        ("run.yaml", " \n", "run.yaml: the file is empty"),
        ("run.yaml", "# nothing yet\n", "run.yaml: the top level is null; expected settings by name"),
        ("run.json", "[1, 2]", "run.json: the top level is [1, 2]; expected settings by name"),
        ("run.yaml", "- a: 1\n", "run.yaml: the top level is a list; expected settings by name"),
        ("run.json", b"\xff\xfe{}", "run.json: not UTF-8 text, from byte 0 on"),
        (
            "run.json",
            '{"seed": 1,}',
            "run.json: line 1: JSON has no comments and no comma before a closing bracket; use YAML",
        ),
        ("run.json", '{"seed": 1, "seed": 2}', "run.json: 'seed' is given twice; keep one"),
        ("run.json", '{"optim": {"weight_decay": 1, "weight_decay": 1}}', "run.json: 'weight_decay' is given twice"),
        ("run.json", '{"seed": NaN}', "run.json: NaN is not JSON; expected a finite number"),
        ("run.json", '{"seed": ' + "9" * 5000 + "}", "run.json: Exceeds the limit"),
        ("run.json", "[" * 100_000, "run.json: nested too deeply"),
        ("run.yaml", "[" * 1_000, "run.yaml: nested too deeply"),
        ("run.yaml", "seed: 1\nseed: 2\n", "run.yaml: line 2, column 1: 'seed' is given twice; keep one"),
        ("run.yaml", "optim:\n  a: 1\n  a: 1\n", "run.yaml: line 3, column 3: 'a' is given twice; keep one"),
        ("run.yaml", "seed: [\n", "run.yaml: line 2, column 1: expected the node content"),
        ("run.yaml", "seed: 1\n\tx: 2\n", "run.yaml: line 2, column 1: found character '\\t'"),
        ("run.yaml", "seed: &s 1\nnum_steps: *s\n", "run.yaml: line 2, column 12: an alias; write the value out"),
        ("run.yaml", "? [1]\n: 2\n", "run.yaml: line 1, column 3: a name must be plain text"),
        ("run.yaml", "seed: !!python/name:os.system x\n", "run.yaml: line 1, column 7: could not determine"),
        ("run.yaml", "seed: !!binary aGk=\n", "run.yaml: line 1, column 7: could not determine"),
        ("run.yaml", "resume: no\n", "run.yaml: line 1, column 9: 'no': write true or false, or quote the text"),
        ("run.yaml", "a: 1\n---\nb: 2\n", "run.yaml: line 2, column 1: but found another document"),
        ("run.yaml", "a: \x00\n", "run.yaml: unacceptable character #x0000"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(write, name, content, message):
    said = refusal(write(content, name))
    assert said.startswith(message)
    assert "\n" not in said


@pytest.mark.parametrize("number", ["010", "0x10", "1_000", "1:30", "2024-01-01"])
def test_numbers_that_yaml_versions_read_differently_stay_text(write, number):
    assert read_mapping(write(f"a: {number}\n", "run.yaml")) == {"a": number}


def test_a_missing_file_a_folder_and_a_large_file_are_refused(tmp_path, write):
    assert refusal(tmp_path / "none.json") == "none.json: no such file"
    (tmp_path / "folder.json").mkdir()
    assert refusal(tmp_path / "folder.json") == "folder.json: not a file; expected a settings file"
    large = write(b"{" + b" " * 5_000_000 + b"}")
    assert refusal(large) == f"run.json: 5000002 bytes; a settings file has at most {MAX_FILE_BYTES}"


learning_rates = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
names = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1)


@hypothesis_settings(deadline=None, max_examples=50)
@given(
    learning_rate=learning_rates,
    seed=st.integers(min_value=0, max_value=2**32 - 1),
    name=names,
    folder=st.none() | names.filter(lambda name: "\0" not in name),
    resume=st.booleans(),
)
def test_what_is_saved_is_loaded_back_equal(tmp_path_factory, learning_rate, seed, name, folder, resume):
    config = TrainingConfig(
        output_dir=Path("run"),
        seed=seed,
        resume=resume,
        store_dir=None if folder is None else Path(folder),
        optim=OptimSettings(learning_rate=learning_rate),
        model=ModelSettings(gemma_model_name=name),
    )
    path = tmp_path_factory.mktemp("saved") / "config.json"
    save(config, path)
    assert load(TrainingConfig, path) == config


def test_a_saved_file_names_every_setting(tmp_path):
    config = TrainingConfig(output_dir=Path("run"))
    save(config, tmp_path / "config.json")
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["optim"]["learning_rate"] == config.optim.learning_rate
    assert saved["model"]["world"]["tap"] == "vae"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of which model."""

    model: Path
    """The model."""
    words: tuple[str, ...]
    """The question."""
    loud: bool = False
    """Answer in capitals."""


def test_required_fields_can_be_given_by_position():
    question = load(Question, None, ["--loud", "folder", "what", "falls"], positional=True)
    assert question == Question(model=Path("folder"), words=("what", "falls"), loud=True)
    assert refusal(None, "folder", cls=Question, positional=True) == "words: missing; give WORDS"
    assert flags(Question, positional=True) == ["--loud", "--no-loud"]


@strict_dataclass(config=STRICT, frozen=True, kw_only=True)
class Inner:
    """Inside."""

    size: Annotated[int, Field(ge=1)] = 2
    """How large."""


@strict_dataclass(config=STRICT, frozen=True, kw_only=True)
class Outer:
    """Outside."""

    mode: Literal["a", "b"] = "a"
    """Which."""
    inner: Inner = field(default_factory=Inner)
    """What is inside."""


def test_help_names_every_flag_with_its_meaning_and_default(capsys):
    show_help(Outer, "program", "What it does.")
    said = capsys.readouterr().out
    assert "What it does." in said
    assert "Which. (default: a)" in said
    assert "How large. (default: 2)" in said
    assert all(flag in said for flag in flags(Outer))
    assert flags(Outer) == ["--mode", "--inner.size"]
