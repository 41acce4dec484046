"""Several questions in one call, questions by keyword, and batches through the embedded processor."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fixtures_model import picture, user
from theworld import TheWorld

QUESTIONS = ["What colour is the bin on the left? Answer with one word.", "Which?", "How many balls are there in all?"]


@pytest.fixture(scope="module")
def trained() -> TheWorld:
    """The embedded model, which answers unlike questions differently."""
    from theworld import tiny

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "stack", lambda: tiny.WEIGHTS)
        model = TheWorld.from_pretrained("tiny-foresight").eval()
        assert model.processor is not None  # loaded while the name means the embedded stack
    return model


def test_a_list_of_questions_gives_a_list_of_the_single_answers(trained: TheWorld) -> None:
    shown = [picture(1), None, [picture(2), picture(3, 48, 64)]]
    assert trained.generate(shown, QUESTIONS) == [
        trained.generate(image, question) for image, question in zip(shown, QUESTIONS, strict=True)
    ]
    assert trained.generate([picture(1)], QUESTIONS[:1]) == [trained.generate(picture(1), QUESTIONS[0])]
    assert trained.generate([None, None], QUESTIONS[:2]) == [trained.generate(None, text) for text in QUESTIONS[:2]]
    pixels = torch.rand(2, 3, 64, 64)
    assert len(trained.generate(pixels, QUESTIONS[:2], num_world_steps=0, num_beams=2, num_return_sequences=2)) == 2


@pytest.mark.parametrize(
    ("images", "questions", "message"),
    [
        ([picture()], QUESTIONS[:2], "2 questions and 1 entries: give a list with an entry per question"),
        (picture(), QUESTIONS[:2], "2 questions and images of type Image"),
        ([], [], "expected a text, or a list of texts"),
        (picture(), 5, "expected a text, or a list of texts"),
        (picture(), picture(), "question=an object of the type Image: expected a text"),
        ([picture()], [5], "expected a text, or a list of texts"),
    ],
)
def test_a_batch_of_unequal_lengths_is_refused_in_one_line(
    fused: TheWorld, images: Any, questions: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        fused.generate(images, questions)
    assert "\n" not in str(caught.value)


def test_pictures_and_question_have_names(fused: TheWorld) -> None:
    options = {"max_new_tokens": 3}
    expected = fused.generate(picture(1), "Which bin?", **options)
    assert fused.generate(image=picture(1), question="Which bin?", **options) == expected
    assert fused.generate(picture(1), question="Which bin?", **options) == expected
    assert isinstance(fused.generate(question="Which bin?", **options), str)
    for name in ("prompt", "text", "questions"):
        with pytest.raises(TypeError, match=f"generate takes no {name}: use generate\\(image=..., question=...\\)"):
            fused.generate(image=picture(1), **{name: "Which bin?"})
    for arguments in ({"image": picture(1)}, {"inputs": picture(1)}):
        with pytest.raises(TypeError, match="Image without a question"):
            fused.generate(**arguments)
    with pytest.raises(TypeError, match="pictures twice"):
        fused.generate(picture(1), "Which bin?", image=picture(2))


def test_a_padded_batch_of_the_embedded_processor_answers_as_single_rows(trained: TheWorld) -> None:
    processor = trained.processor
    rows = [[user(QUESTIONS[0], picture(1))], [user("Which?", picture(2))], [user("Hello?")]]

    def answers(conversations: list[Any]) -> list[str]:
        inputs = processor.apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
            processor_kwargs={"padding": True},
        )
        output = trained.generate(**inputs, max_new_tokens=8, do_sample=False)
        return processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    assert answers(rows) == [answers([row])[0] for row in rows]


def test_the_embedded_tokenizer_pads_on_the_left(embedded: Path) -> None:
    assert json.loads((embedded / "gemma" / "tokenizer_config.json").read_text())["padding_side"] == "left"
    assert json.loads((embedded / "gemma" / "tokenizer.json").read_text())["padding"]["direction"] == "Left"


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("x " * 200_000, "400,000 characters, more than the model's prompts hold"),
        ("x " * 40_000, r"a prompt of [\d,]+ tokens: expected at most [\d,]+, the model's length"),
        ("a \ud83d", "half of a surrogate pair"),
    ],
)
def test_a_question_that_no_prompt_holds_is_refused_before_the_model_runs(fused, question, message) -> None:
    picture = Image.new("RGB", (64, 64))
    for ask in (lambda: fused.generate(picture, question), lambda: fused.generate([picture], [question])):
        with pytest.raises(ValueError, match=message):
            ask()
    with pytest.raises(ValueError, match=message):
        fused.look(picture).ask(question)


@pytest.mark.parametrize("question", [None, ["Which?"], 5])
def test_what_is_no_text_is_no_question_of_a_look(fused, question) -> None:
    with pytest.raises(ValueError, match="expected a text"):
        fused.look(Image.new("RGB", (64, 64))).ask(question)


@pytest.mark.parametrize("steps", ["2", [1], 2.5, True])
def test_a_number_of_steps_is_a_whole_number(fused, steps) -> None:
    with pytest.raises(ValueError, match=r"num_world_steps=.*: expected 0 to"):
        fused.generate(Image.new("RGB", (64, 64)), "Which?", num_world_steps=steps)
