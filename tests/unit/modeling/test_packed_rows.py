"""Samples that share a row do not see each other: packed and unpacked give the same loss and the same gradients."""

import copy

import pytest
import torch

from fixtures_model import IMAGE_TOKENS, WORLD_TOKENS, picture
from theworld import TheWorld
from theworld.datasets import Sample, Turn
from theworld.datasets.collator import Collator
from theworld.modeling.packed_attention import packed_masks


def sample(name, question, answer, *seeds):
    return Sample(name, (Turn("user", question), Turn("assistant", answer)), tuple(map(picture, seeds)))


SAMPLES = [
    sample("text", "Hello?", "Hello to you"),
    sample("two", "Left, right?", "left it is", 2, 3),
    sample("one", "Which bin?", "red", 1),
    sample("none", "Why is that so?", "so"),
    sample("last", "Where?", "there", 4),
    sample("more", "Left?", "yes, left", 5),
]

FUSIONS = {
    "tokens": {},
    "ahead": {"num_world_steps": 2, "world_tap": "rollout", "world_grid": 4},
    "channel": {"world_projection_mode": "channel"},
    "residual": {"world_fusion": "residual"},
    "world off": {"enable_world": False},
}


@pytest.fixture(scope="module")
def opened():
    """A model of each fusion, whose sliding window is shorter than a sample; not to be changed."""
    models = {}

    def get(fusion):
        if fusion not in models:
            torch.manual_seed(0)
            model = TheWorld.from_pretrained("tiny", **FUSIONS[fusion], attn_implementation="sdpa")
            model.freeze(gemma_language=False)
            for name, parameter in model.named_parameters():
                if name.endswith("gate"):
                    torch.nn.init.constant_(parameter, 0.3)  # a closed gate would hide the world
            models[fusion] = model
        return models[fusion]

    return get


@pytest.fixture(params=["sdpa", "eager"])
def narrow(request, opened):
    """`opened`, with attention of both kinds and a sliding window that cuts samples and pictures."""

    def get(fusion):
        model = copy.deepcopy(opened(fusion))
        model.set_attn_implementation(request.param)
        model.model.language_model.config.sliding_window = 12
        return model.train()

    return get


def both(model, samples=SAMPLES, **options):
    """The batch of these samples, a row each and packed, with the same world in both."""
    return [Collator(model.processor, supervise=True, packing=packing, **options)(samples) for packing in (False, True)]


def loss_and_gradients(model, batch):
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return loss.item(), {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_packed_losses_and_gradients_equal_unpacked_ones(narrow, fusion):
    model = narrow(fusion)
    rows, packed = both(model)

    (loss, gradients), (expected, expected_gradients) = (loss_and_gradients(model, one) for one in (packed, rows))

    assert len(packed["input_ids"]) < len(rows["input_ids"])
    assert loss == pytest.approx(expected, abs=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-5, rtol=1e-4, msg=name)


def test_each_token_gets_the_logits_that_it_gets_alone(narrow):
    model = narrow("tokens").eval()
    (together,) = (both(model)[1],)
    logits = model(**{name: value for name, value in together.items() if name != "labels"}).logits
    found = {}
    for row in range(len(logits)):
        for place in range(int(together["packed_samples"][row].max()) + 1):
            own = together["packed_samples"][row] == place
            found[tuple(together["input_ids"][row, own].tolist())] = logits[row, own]
    for one in SAMPLES:
        alone = Collator(model.processor, supervise=True)([one])
        expected = model(**{name: value for name, value in alone.items() if name != "labels"}).logits[0]
        torch.testing.assert_close(found[tuple(alone["input_ids"][0].tolist())], expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("changed", ["text", "picture"])
def test_a_sample_cannot_see_its_neighbour(narrow, changed):
    """Bit for bit: what a neighbour says or shows changes nothing, before or behind it."""
    model = narrow("tokens").eval()
    other = {"text": sample("one", "Which ball?", "red", 1), "picture": sample("one", "Which bin?", "red", 9)}[changed]
    logits, batches = [], []
    for third in (SAMPLES[2], other):
        three = [SAMPLES[1], third, SAMPLES[5], SAMPLES[0], SAMPLES[3]]
        batch = Collator(model.processor, supervise=True, packing=True, max_length=1_000)(three)
        batches.append(batch)
        logits.append(model(**{name: value for name, value in batch.items() if name != "labels"}).logits[0])

    assert len(batches[0]["input_ids"]) == 1
    places = batches[0]["packed_samples"][0]
    differs = [not torch.equal(*(one[places == place] for one in logits)) for place in range(int(places.max()) + 1)]
    assert sum(differs) == 1
    assert differs.index(True) not in (0, len(differs) - 1)  # it has neighbours on both sides


def test_packed_rows_train_in_bfloat16(narrow):
    model = narrow("tokens")
    rows, packed = both(model)
    with torch.autocast("cpu", torch.bfloat16):
        losses = [model(**batch).loss.item() for batch in (rows, packed)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    model.bfloat16()
    assert model(**packed).loss.item() == pytest.approx(losses[0], rel=0.05)


def test_a_model_recomputes_packed_rows_in_its_backward_pass(opened):
    model = copy.deepcopy(opened("tokens")).train()
    packed = both(model)[1]
    expected, gradients = loss_and_gradients(model, packed)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    loss, recomputed = loss_and_gradients(model, packed)
    assert loss == expected
    assert all(torch.equal(value, gradients[name]) for name, value in recomputed.items())


def test_the_masks_are_those_of_the_picture(opened):
    config = copy.deepcopy(opened("world off").model.language_model.config)
    config.sliding_window = 2
    samples = torch.tensor([[0, 0, 0, 0, 1, 1, -1]])
    types = torch.tensor([[0, 1, 1, 0, 1, 0, 0]])

    masks = packed_masks(samples, types, config, torch.float32)

    drawn = {
        kind: ["".join("x" if seen else "." for seen in row) for row in mask[0, 0].tolist()]
        for kind, mask in masks.items()
    }
    assert drawn["full_attention"] == [
        "x......",
        "xxx....",
        "xxx....",
        "xxxx...",
        "....x..",
        "....xx.",
        "......x",
    ]
    assert drawn["sliding_attention"] == [
        "x......",
        "xxx....",
        ".xx....",
        "..xx...",
        "....x..",
        "....xx.",
        "......x",
    ]


def test_attention_that_takes_no_mask_is_refused(opened):
    config = copy.deepcopy(opened("world off").model.language_model.config)
    config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match=r"attn_implementation='flash_attention_2' takes no mask .* use sdpa or eager"):
        packed_masks(torch.zeros(1, 2, dtype=torch.long), None, config, torch.float32)


def test_lengths_count_world_and_image_tokens(opened):
    """A row is as long as the sample with most tokens, world and pictures among them."""
    model = opened("tokens")
    rows, packed = both(model)
    lengths = rows["attention_mask"].sum(1)
    assert lengths.max() > 2 * (IMAGE_TOKENS + WORLD_TOKENS + 2)
    assert packed["input_ids"].shape[1] <= lengths.max()
    assert packed["attention_mask"].sum() == lengths.sum()
