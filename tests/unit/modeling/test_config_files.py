"""Damaged and absurd configurations and weights are refused in one line, before time or memory is spent."""

import copy
import json
import shutil
import time

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from theworld import TheWorld, TheWorldProcessor
from theworld.modeling import CheckpointError

ABSENT = Ellipsis


@pytest.fixture
def saved(checkpoint, tmp_path):
    """A copy of a saved model, to spoil."""
    return shutil.copytree(checkpoint, tmp_path / "saved")


@pytest.fixture
def base(stack, tmp_path):
    """A copy of the tiny Gemma, to spoil."""
    return shutil.copytree(stack / "gemma", tmp_path / "gemma")


def rewrite(folder, field, value):
    path = folder / "config.json"
    raw = inner = json.loads(path.read_text())
    *outer, name = field.split(".")
    for key in outer:
        inner = inner[key]
    if value is ABSENT:
        inner.pop(name, None)
    else:
        inner[name] = value
    path.write_text(json.dumps(raw))
    return folder


def refusal_of(load):
    """The message of a refusal in one line, soon."""
    begin = time.monotonic()
    with pytest.raises(ValueError, match=r"config\.json|safetensors") as refusal:
        load()
    assert "\n" not in str(refusal.value)
    assert time.monotonic() - begin < 10  # the machine may be busy
    return str(refusal.value)


NO_OBJECTS = ["", "[]", "null", '"theworld"', "3", "{", '{"a": NaN}', "[" * 100_000, '{"a":' * 100_000, "\x00\xff"]


@pytest.mark.parametrize("text", NO_OBJECTS, ids=lambda text: text[:12])
@pytest.mark.parametrize(
    "way", [TheWorld.from_pretrained, TheWorldProcessor.from_pretrained], ids=["model", "processor"]
)
def test_a_configuration_that_is_no_object_is_refused(saved, text, way):
    (saved / "config.json").write_bytes(text.encode("latin-1"))
    assert str(saved / "config.json") in refusal_of(lambda: way(saved))


def test_a_configuration_that_is_no_object_is_refused_into_a_loaded_model(model, saved):
    (saved / "config.json").write_text("[]")
    assert "expected a JSON object" in refusal_of(lambda: model.load_checkpoint(saved))


ABSURD = [
    *((name, value) for name in ("world_stride_px", "world_channels") for value in (0, -1, "8", 10**9, None, 2.5)),
    *(("mm_tokens_per_image", value) for value in (0, -4, 10**9, 15, "16", 1024)),
    *(("vision_config.patch_size", value) for value in (0, -8, 10**9, None)),
    *(("vision_config.image_size", value) for value in (0, 1, 72, 10**9)),
    *(("text_config.hidden_size", value) for value in (0, 65, 10**9, "64")),
    *(("text_config.vocab_size", value) for value in (0, 2186, 10**9)),
    *(("text_config.sliding_window", value) for value in (0, -5, 8)),
    *(("text_config.max_position_embeddings", value) for value in (0, -1)),
    *(("text_config.query_pre_attn_scalar", value) for value in (0, -1, 7)),
    ("text_config.rms_norm_eps", 1e30),
    ("text_config.pad_token_id", -5),
    ("initializer_range", -1.0),
    ("vision_config.initializer_range", -1.0),
    ("image_token_id", 5),
    ("boi_token_index", 5),
    *(("text_config.head_dim", value) for value in (0, 33, 10**9)),
    *(("text_config.num_hidden_layers", value) for value in (0, 1, 10**9)),
    *(("text_config.rope_parameters", value) for value in ([], {"full_attention": 3})),
    *((name, value) for name in ("text_config", "vision_config") for value in (ABSENT, None, [], "x", {})),
    ("text_config.model_type", "llama"),
    ("vision_config.model_type", "clip_vision_model"),
    ("world_image_size", 10**6),
    ("max_world_steps", 10**9),
    ("max_world_steps", 17),
    ("max_past_steps", 10**9),
    ("world_projection_width", 10**9),
    ("world_projection_width", 60_000),
    ("world_grid", 8),
    ("num_rollouts", 10**9),
    ("dtype", "evil"),
    ("dtype", 3),
    ("text_config.dtype", "evil"),
    ("quantization_config", {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    ("trained_parts", ["world", "soul"]),
    ("trained_parts", "world"),
    ("trained_parts", [3]),
    ("trained_parts", []),
    ("trained_parts", ["world", "language"]),
    ("lora", {"targets": ["language"], "rank": 10**9}),
    ("lora", {"targets": ["soul"]}),
    ("lora", []),
    ("world_token_id", -1),
    ("world_token_id", 10**9),
    ("frame_rate_hz", 0),
    ("enable_world", "yes"),
    ("base_model_name", 3),
]


@pytest.mark.parametrize(("field", "value"), ABSURD, ids=lambda value: repr(value)[:40])
def test_an_absurd_field_is_refused_with_the_file(saved, field, value):
    rewrite(saved, field, value)
    message = refusal_of(lambda: TheWorld.from_pretrained(saved, load_world=False))
    assert str(saved) in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("world_stride_px", 0),
        ("mm_tokens_per_image", 10**9),
        ("vision_config.patch_size", 0),
        ("text_config.head_dim", 34),
        ("max_world_steps", 10**9),
        ("dtype", "evil"),
        ("text_config.dtype", "evil"),
        ("quantization_config", {}),
    ],
    ids=str,
)
def test_the_line_names_the_field(saved, field, value):
    rewrite(saved, field, value)
    assert field in refusal_of(lambda: TheWorld.from_pretrained(saved, load_world=False))


BASES = [
    ("architectures", ["LlamaForCausalLM"]),
    ("architectures", "Gemma3"),
    ("text_config", ABSENT),
    ("text_config.model_type", "llama"),
    ("vision_config.model_type", "clip_vision_model"),
    ("text_config.hidden_size", 65),
    ("text_config.head_dim", 0),
    ("text_config.num_hidden_layers", 10**9),
    ("text_config.vocab_size", 3000),
    ("vision_config.patch_size", 0),
    ("mm_tokens_per_image", 0),
    ("dtype", "evil"),
    ("quantization_config", {"quant_method": "bitsandbytes"}),
    ("text_config.rope_parameters", {"full_attention": 3}),
]


@pytest.mark.parametrize(("field", "value"), BASES, ids=lambda value: repr(value)[:40])
def test_a_gemma_of_another_structure_is_refused(base, field, value):
    rewrite(base, field, value)
    message = refusal_of(lambda: TheWorld.from_pretrained(base, enable_world=False))
    assert str(base) in message


FIELDS = sorted(json.loads(TheWorld.config_class().to_json_string(use_diff=False)))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 3, 10**6, 10**9, 10**30, -(10**30)]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.recursive(
        st.integers(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    ),
)
INNER = [
    "hidden_size",
    "head_dim",
    "vocab_size",
    "num_hidden_layers",
    "patch_size",
    "image_size",
    "layer_types",
    "dtype",
]
INNER += ["rope_parameters", "sliding_window", "rms_norm_eps", "hidden_act", "hidden_activation", "num_attention_heads"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    field=st.sampled_from(
        [*FIELDS, *(f"{part}.{name}" for part in ("text_config", "vision_config") for name in INNER)]
    ),
    value=VALUES,
)
def test_any_value_of_any_field_loads_or_is_refused(checkpoint, field, value, tmp_path_factory):
    folder = shutil.copytree(checkpoint, tmp_path_factory.mktemp("saved") / "saved")
    rewrite(folder, field, value)
    begin = time.monotonic()
    try:
        TheWorld.from_pretrained(folder, load_world=False)
    except (ValueError, OSError) as error:
        message = str(error)
        assert "\n" not in message, message
    assert time.monotonic() - begin < 20


def test_an_unknown_key_is_named(saved, caplog):
    rewrite(saved, "world_girth", 3)
    rewrite(saved, "num_world_step", 3)
    TheWorld.from_pretrained(saved, load_world=False)
    assert (
        "unknown keys, which change nothing: num_world_step (did you mean num_world_steps?), world_girth" in caplog.text
    )


def test_no_key_of_a_saved_model_is_unknown(saved, caplog):
    TheWorld.from_pretrained(saved, load_world=False)
    assert "unknown" not in caplog.text


# --- weights ---------------------------------------------------------------------------------------------


def spoil(folder, edit):
    """Rewrite the weights without a checksum, as other programs do."""
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda old: old.view(torch.int32), "world.markers has the number format I32, expected one of F32, BF16, F16"),
        (lambda old: old.double(), "world.markers has the number format F64"),
        (lambda old: old * float("nan"), "world.markers holds NaN or infinite weights"),
        (lambda old: old / 0, "world.markers holds NaN or infinite weights"),
    ],
    ids=["integers", "double", "nan", "inf"],
)
@pytest.mark.parametrize("way", ["from_pretrained", "load_checkpoint"])
def test_weights_that_are_no_numbers_are_refused_by_name(checkpoint, saved, value, message, way):
    spoil(saved, lambda tensors: tensors.update({"world.markers": value(tensors["world.markers"]).contiguous()}))
    if way == "from_pretrained":
        refusal = refusal_of(lambda: TheWorld.from_pretrained(saved))
    else:
        model = TheWorld.from_pretrained(checkpoint)
        before = copy.deepcopy(model.state_dict())
        refusal = refusal_of(lambda: model.load_checkpoint(saved))
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert f"{saved / 'model.safetensors'}: {message}" in refusal


def test_a_flipped_bit_is_noticed_anywhere_in_the_weights(saved):
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in (header, (header + len(whole)) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert "damaged (its tensors do not have the checksum" in refusal_of(lambda: TheWorld.from_pretrained(saved))
    path.write_bytes(whole)
    TheWorld.from_pretrained(saved)


def test_a_file_without_a_checksum_is_read(saved):
    spoil(saved, lambda tensors: None)
    with safe_open(saved / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    TheWorld.from_pretrained(saved)


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"epoch": "x"}', '{"epoch": 0, "optimizer": []}', '{"epoch": 0, "optimizer": {}}']
)
def test_a_damaged_state_of_training_is_refused_by_name(model, tmp_path, content):
    optimizer = torch.optim.AdamW(model.world.parameters())
    model.save_checkpoint(tmp_path / "saved", optimizer=optimizer)
    (tmp_path / "saved" / "training_state.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"training_state\.json") as refusal:
        model.load_checkpoint(tmp_path / "saved", optimizer=optimizer)
    assert "\n" not in str(refusal.value)
