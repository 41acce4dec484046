"""A saved model answers as the one in memory, whatever changed it, or saving is refused in one line."""

import copy
import pickle
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from fixtures_model import encode, mixed_rows
from theworld import TheWorld
from theworld.modeling import CheckpointError
from theworld.modeling.tensor_files import read_tensors, write_tensors

Q_PROJ = "model.language_model.layers.0.self_attn.q_proj"


@torch.no_grad()
def logits_of(model):
    return model.eval()(**encode(model.processor, mixed_rows())).logits


def merge_peft(model):
    import peft

    names = r"model\.language_model.*(q_proj|v_proj)"
    config = peft.LoraConfig(target_modules=names, init_lora_weights=False)
    return peft.get_peft_model(model, config).merge_and_unload()


def step_everywhere(model):
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.train()(**encode(model.processor, mixed_rows())).logits.float().pow(2).mean().backward()
    torch.optim.SGD(model.parameters(), lr=1e-2).step()
    return model.requires_grad_(False)


def step_of_language(model):
    parameters = list(model.model.language_model.requires_grad_(True).parameters())
    model.train()(**encode(model.processor, mixed_rows())).logits.float().pow(2).mean().backward()
    torch.optim.SGD(parameters, lr=1e-2).step()
    model.model.language_model.requires_grad_(False)
    return model


def scale_all(model):
    model.load_state_dict({name: tensor * 1.05 for name, tensor in model.state_dict().items()})
    return model


def edit_in_place(model):
    with torch.no_grad():
        model.get_submodule(Q_PROJ).weight.mul_(1.1)
    return model


def edit_data(model):  # neither its version nor its address shows it
    model.get_submodule(Q_PROJ).weight.data += 0.01
    return model


def edit_one_number(model):
    model.get_submodule(Q_PROJ).weight.data.numpy()[3, 5] += 0.5
    return model


def swap_rows(model):  # no sum over the weights shows it
    rows = model.get_input_embeddings().weight.data
    rows[[5, 6]] = rows[[6, 5]]
    return model


def assign_data(model):
    weight = model.model.vision_tower.encoder.layers[0].mlp.fc1.weight
    weight.data = weight.data * 1.2
    return model


def assign_parameter(model):
    layer = model.get_submodule(Q_PROJ)
    layer.weight = nn.Parameter(layer.weight * 1.2)
    return model


def replace_layer(model):
    old = model.get_submodule(Q_PROJ)
    model.set_submodule(Q_PROJ, nn.Linear(old.in_features, old.out_features, bias=False))
    return model


def replace_projector(model):
    with torch.no_grad():
        model.model.multi_modal_projector.mm_input_projection_weight.mul_(1.3)
    return model


def edit_world(model):
    with torch.no_grad():
        model.world.markers.mul_(2)
    return model


def copied(change):
    def edit(model):
        return copy.deepcopy(change(copy.deepcopy(model)))

    edit.__name__ = f"copied_{change.__name__}"
    return edit


def nothing(model):
    return model


KEPT = [
    nothing,
    merge_peft,
    step_everywhere,
    step_of_language,
    scale_all,
    edit_in_place,
    edit_data,
    edit_one_number,
    swap_rows,
    assign_data,
    assign_parameter,
    replace_layer,
    replace_projector,
    edit_world,
    copied(edit_data),
]
"""Changes that a checkpoint can hold."""


def resize(model):
    model.resize_token_embeddings(model.config.text.vocab_size + 8)


def leave_adapters(model):
    import peft

    peft.get_peft_model(
        model, peft.LoraConfig(target_modules=r"model\.language_model.*q_proj", init_lora_weights=False)
    )


def merge_adapters_and_leave_them(model):
    import peft

    config = peft.LoraConfig(target_modules=r"model\.language_model.*q_proj", init_lora_weights=False)
    peft.get_peft_model(model, config).merge_adapter()


def add_bias(model):
    old = model.get_submodule(Q_PROJ)
    model.set_submodule(Q_PROJ, nn.Linear(old.in_features, old.out_features, bias=True))


def replace_activation(model):
    model.model.language_model.layers[0].mlp.act_fn = nn.ReLU()


def widen_projector(model):
    model.world.projector = nn.Linear(3, 4)


def untie(model):
    model.lm_head.weight = nn.Parameter(model.lm_head.weight * 1.1)


def edit_scale(model):
    model.get_input_embeddings().embed_scale.mul_(2)


def edit_frequencies(model):
    model.model.language_model.rotary_emb.full_attention_inv_freq.mul_(0.5)


def add_buffer(model):
    model.model.register_buffer("mean", torch.zeros(3))


def edit_vae(model):
    next(model.tap.vae.encoder.parameters()).data.mul_(1.1)


def replace_vae_layer(model):
    model.tap.vae.quant_conv = nn.Identity()


def spoil(model):
    model.world.markers.data[0, 0] = float("nan")


def use_double(model):
    model.double()


def edit_scaling(model):
    model.config.text_config.query_pre_attn_scalar = 7


REFUSED = [
    (edit_scaling, r"model.config: text_config.query_pre_attn_scalar=7, but its base tiny has \d+; put that back"),
    (resize, r"embed_tokens.weight has shape \(2193, 64\), but \(2185, 64\) in the base tiny.*resize_token"),
    (leave_adapters, "merge_and_unload"),
    (merge_adapters_and_leave_them, "merge_and_unload"),
    (add_bias, r"q_proj.bias.*put the original modules back"),
    (replace_activation, r"act_fn is of class ReLU, and a reload makes a GELUTanh"),
    (widen_projector, r"world.projector"),
    (untie, r"lm_head.weight differs from model.language_model.embed_tokens.weight"),
    (edit_scale, r"buffer model.language_model.embed_tokens.embed_scale was changed"),
    (edit_frequencies, r"full_attention_inv_freq was changed"),
    (add_buffer, r"model.mean"),
    (edit_vae, r"the world's vae.encoder.*load_world\(\)"),
    (replace_vae_layer, r"the world's vae.quant_conv"),
    (spoil, r"world.markers holds NaN"),
    (use_double, r"torch.float64"),
]
"""Changes that no checkpoint holds, and the line that says so."""


@pytest.mark.parametrize("change", KEPT, ids=lambda change: change.__name__)
def test_a_changed_model_is_saved_as_it_is_in_memory(model, change, tmp_path):
    before = logits_of(model)
    model = change(model)
    model.save_pretrained(tmp_path / "saved")
    again = TheWorld.from_pretrained(tmp_path / "saved")
    assert torch.equal(logits_of(again), logits_of(model))
    assert torch.equal(logits_of(model), before) == (change is nothing)


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_change_that_no_checkpoint_holds_is_refused_in_one_line(model, change, message, tmp_path):
    change(model)
    with pytest.raises(CheckpointError, match=message) as refusal:
        model.save_pretrained(tmp_path / "saved")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "saved").exists()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.sampled_from([*KEPT, *(change for change, _ in REFUSED)]), min_size=2, max_size=3))
def test_any_changes_in_any_order_are_kept_or_refused(fused, changes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    model = copy.deepcopy(fused)
    try:
        for change in changes:
            model = change(model) or model
    except (AttributeError, KeyError, RuntimeError, ValueError, TypeError):
        return  # the changes exclude each other
    try:
        model.save_pretrained(folder)
    except CheckpointError:
        return
    assert torch.equal(logits_of(TheWorld.from_pretrained(folder)), logits_of(model))


# --- other ways to save, other models --------------------------------------------------------------------


@pytest.mark.parametrize("change", [edit_data, merge_peft, step_of_language], ids=lambda change: change.__name__)
def test_every_way_to_save_keeps_a_change(model, change, tmp_path):
    model = change(model)
    model.save_checkpoint(tmp_path / "checkpoint")
    model.save_pretrained(tmp_path / "gathered", state_dict=model.state_dict())
    for folder in ("checkpoint", "gathered"):
        assert torch.equal(logits_of(TheWorld.from_pretrained(tmp_path / folder)), logits_of(model))


def test_only_the_parts_that_changed_are_added(model, tmp_path):
    assign_data(model)
    model.save_pretrained(tmp_path / "saved")
    assert model.config.trained_parts == ["world", "vision"]
    names = load_file(tmp_path / "saved" / "model.safetensors")
    assert not [name for name in names if name.startswith("model.language_model.")]


def test_a_change_after_loading_a_checkpoint_is_kept_beside_its_own_parts(model, tmp_path):
    replace_projector(model)
    model.save_pretrained(tmp_path / "first")
    second = edit_data(TheWorld.from_pretrained(tmp_path / "first"))
    second.save_pretrained(tmp_path / "second")
    assert second.config.trained_parts == ["world", "vision", "language"]
    assert torch.equal(logits_of(TheWorld.from_pretrained(tmp_path / "second")), logits_of(second))


def test_a_change_of_a_pickled_model_is_kept(tmp_path):
    # A model of its own: once transformers has recorded hidden states, its hooks cannot be pickled.
    model = pickle.loads(pickle.dumps(edit_data(TheWorld.from_pretrained("tiny"))))
    model.save_pretrained(tmp_path / "saved")
    assert torch.equal(logits_of(TheWorld.from_pretrained(tmp_path / "saved")), logits_of(model))


def test_a_change_of_a_model_with_adapters_is_kept(tmp_path):
    model = edit_data_below(TheWorld.from_pretrained("tiny", lora={"targets": ("language",), "rank": 2}))
    model.save_pretrained(tmp_path / "saved")
    assert model.config.trained_parts == ["world", "language", "adapters"]
    assert torch.equal(logits_of(TheWorld.from_pretrained(tmp_path / "saved")), logits_of(model))


def edit_data_below(model):
    model.get_submodule(Q_PROJ).base_layer.weight.data += 0.01
    return model


def test_adapters_that_peft_merged_are_refused_with_the_remedy(tmp_path):
    from peft.tuners.lora import LoraLayer

    model = TheWorld.from_pretrained("tiny", lora={"targets": ("language",), "rank": 2})
    for name, module in [entry for entry in model.named_modules() if isinstance(entry[1], LoraLayer)]:
        torch.nn.init.normal_(module.lora_B["default"].weight)
        module.merge()
        if name == Q_PROJ:
            with pytest.raises(CheckpointError, match=r"q_proj: its adapter is merged and still there"):
                model.save_pretrained(tmp_path / "saved")
        model.set_submodule(name, module.get_base_layer())
    with pytest.raises(CheckpointError, match=r"set model.config.lora = None"):
        model.save_pretrained(tmp_path / "saved")
    model.config.lora = None
    model.save_pretrained(tmp_path / "saved")
    assert torch.equal(logits_of(TheWorld.from_pretrained(tmp_path / "saved")), logits_of(model))


@pytest.mark.parametrize("settings", [{"world_tap": "random"}, {"world_tap": "dit"}, {"world_tap": "rollout"}], ids=str)
def test_a_changed_world_is_refused_behind_every_tap(settings, tmp_path):
    model = TheWorld.from_pretrained("tiny", **settings)
    model.save_pretrained(tmp_path / "saved")
    tap = getattr(model.tap, "pipeline", model.tap)
    weight = getattr(tap, "transformer", tap.vae).parameters()
    next(weight).data[0] += 1
    with pytest.raises(CheckpointError, match=r"the world's (vae|transformer)\."):
        model.save_pretrained(tmp_path / "saved")


def test_a_vae_that_trains_is_saved_but_for_its_decoder(tmp_path):
    model = TheWorld.from_pretrained("tiny", freeze_cosmos_vae=False)
    model.cosmos_vae.encoder.conv_in.weight.data += 0.01
    model.save_pretrained(tmp_path / "saved")
    model.cosmos_vae.decoder.conv_in.weight.data += 0.01
    with pytest.raises(CheckpointError, match=r"the world's vae\.decoder\.conv_in\.weight was changed"):
        model.save_pretrained(tmp_path / "saved")


# --- number formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_another_number_format_is_no_change_of_weights(model, dtype, tmp_path):
    model.to(dtype).save_pretrained(tmp_path / "saved")
    assert model.config.trained_parts == ["world"]
    again = TheWorld.from_pretrained(tmp_path / "saved", dtype=dtype)
    assert again.config.dtype == dtype
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name].to(dtype), tensor), name


def test_weights_that_were_rounded_are_saved(model, tmp_path):
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    model.save_pretrained(tmp_path / "saved")
    assert model.config.trained_parts == ["world", "vision", "language"]
    assert torch.equal(logits_of(TheWorld.from_pretrained(tmp_path / "saved")), logits_of(model))


def test_a_format_and_back_is_refused_for_its_rounded_buffers(model, tmp_path):
    with pytest.raises(CheckpointError, match=r"inv_freq was changed.*from_pretrained\(dtype=...\)"):
        model.bfloat16().float().save_pretrained(tmp_path / "saved")


def test_one_part_in_another_number_format_keeps_it(model, tmp_path):
    model.model.language_model.bfloat16()
    model.save_pretrained(tmp_path / "saved")
    again = TheWorld.from_pretrained(tmp_path / "saved")
    for name, tensor in model.state_dict().items():
        assert again.state_dict()[name].dtype == tensor.dtype, name
        assert torch.equal(again.state_dict()[name], tensor), name


# --- the base --------------------------------------------------------------------------------------------


def test_without_the_files_of_the_base_all_of_gemma_is_saved(stack, tmp_path, caplog):
    folder = shutil.copytree(stack / "gemma", tmp_path / "base")
    model = TheWorld.from_pretrained(folder, cosmos_model_name="tiny", world_image_size=64, load_world=False)
    (folder / "model.safetensors").rename(tmp_path / "moved")
    model.save_pretrained(tmp_path / "saved")
    assert "all of Gemma's weights are saved" in caplog.text
    (tmp_path / "moved").rename(folder / "model.safetensors")
    again = TheWorld.from_pretrained(tmp_path / "saved", load_world=False)
    assert again.config.trained_parts == ["world", "vision", "language"]


def test_saving_changes_no_random_numbers(model, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    model.save_pretrained(tmp_path / "saved")
    assert torch.equal(torch.rand(2), expected)


def test_equal_tensors_give_equal_files(tmp_path):
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, 2)}
    for number in range(8):
        write_tensors(tensors, tmp_path / str(number))
    assert len({(tmp_path / str(number)).read_bytes() for number in range(8)}) == 1
    assert read_tensors(tmp_path / "0", tensors).keys() == tensors.keys()
