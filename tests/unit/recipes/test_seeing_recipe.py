"""The recipe of the vision-language model: it learns what pictures show, in the form of evaluation, and no outcome."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import Gemma3ForConditionalGeneration, Gemma3Processor

from recipes import chat_rows, pools, trainer, vlm
from recipes.build import run
from recipes.chat_rows import ConversationBatches, about_picture, conversation, right_answers, to_pixels, tokenise
from recipes.pools import PicturePool, pictures_of
from recipes.settings import TinySettings, VlmPhase, VlmRecipe
from recipes.statements import StatementBatches, words_of
from theworld.constants import IGNORE_INDEX
from theworld.datasets.collator import Collator
from theworld.datasets.foresight import ForesightDataset, dynamic_question, make_item, split_of
from theworld.datasets.foresight.ground_truth import facts_of, state_of
from theworld.datasets.foresight.questions import LETTERS, readings
from theworld.datasets.foresight.scene import TASKS
from theworld.datasets.sample import question
from theworld.tiny.gemma import RANDOM, make_gemma, make_processor

NUM_SCENES = 5


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "SCENES_PER_PIECE", NUM_SCENES)
    monkeypatch.setattr(chat_rows, "ROWS_PER_PIECE", 20)
    monkeypatch.setattr(vlm, "TRAINED", RANDOM)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds pictures from the first test on."""
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture
def pool(folder: Path) -> PicturePool:
    return PicturePool(folder, NUM_SCENES, 64)


@pytest.fixture(scope="module")
def processor() -> Gemma3Processor:
    return make_processor()


def small(folder: Path, **changes: object) -> TinySettings:
    phase = VlmPhase(num_steps=4, batch_size=3, matrix_learning_rate=1e-3, learning_rate=1e-3)
    phases = dict.fromkeys(("statements", "mixed", "conversations"), phase)
    recipe = {"num_scenes": NUM_SCENES, "warmup_steps": 1, **phases}
    held_out = {"num_held_out_scenes": NUM_SCENES, "num_held_out_rows": 6, "measure_steps": 2}
    return TinySettings(
        action="build",
        stage="vlm",
        output_dir=folder,
        num_threads=1,
        vlm=VlmRecipe(**(recipe | held_out | changes)),  # pyright: ignore[reportArgumentType]
    )


# --- what it learns from ---------------------------------------------------------------------------------


def test_a_picture_comes_with_what_it_shows_and_nothing_else(pool):
    for place, picture in enumerate(pool.pictures):
        item = make_item("language", picture.scene, picture.task)
        poses = item.poses[picture.frame]
        state = state_of(item.scene, poses)
        assert picture.facts == (*facts_of(item.scene, poses), *([state] if state else []))
        assert split_of(item.scene) == "language"
        assert dynamic_question(item).text not in {fact.text for fact in picture.facts}
        assert pool.pixels[place].shape == (64, 64, 3)


def test_only_scenes_of_the_language_split_are_asked_for(monkeypatch, tmp_path):
    asked = []

    def spy(split, index, task, *more):
        asked.append((split, index))
        return make_item(split, index, task, *more)

    monkeypatch.setattr(pools, "make_item", spy)
    PicturePool(tmp_path, NUM_SCENES, 16)
    assert {split for split, _ in asked} == {"language"}
    assert {index for _, index in asked} == set(range(NUM_SCENES))


def test_a_pool_finds_the_frames_of_a_scene_and_is_filled_up_after_an_interruption(folder, pool):
    drawn = pictures_of("roll", 3, 64)
    for frame, (picture, pixels) in enumerate(drawn):
        place = pool.find("roll", 3, frame)
        assert pool.pictures[place] == picture
        assert np.array_equal(pool.pixels[place], pixels)
    wider = PicturePool(folder, NUM_SCENES + 1, 64)
    assert wider.pictures[wider.find("drop", NUM_SCENES, 0)].scene == NUM_SCENES
    assert wider.pictures[: len(pool.pictures)] == pool.pictures


def test_a_pool_of_other_pictures_is_refused(folder, pool):
    with pytest.raises(ValueError, match=r"belongs to another run \(.*64x64x3"):
        PicturePool(folder, NUM_SCENES, 32)


def test_conversations_cover_every_task_both_forms_and_one_to_five_pictures(pool):
    rows = [conversation(pool, row, seed=0) for row in range(60)]
    assert {pool.pictures[row.pictures[0]].task for row in rows} == set(TASKS)
    assert {len(row.pictures) for row in rows} == {1, 2, 3, 4, 5}
    texts = [asked.text for row in rows for asked in row.questions]
    lettered = sum("Answer with the letter." in text for text in texts)
    assert 0.2 < lettered / len(texts) < 0.5
    for row in rows:
        assert len({pool.pictures[place].scene for place in row.pictures}) == len(row.pictures)
        assert all(asked.text.startswith("In picture ") == (len(row.pictures) > 1) for asked in row.questions)
        assert len({asked.text for asked in row.questions}) == len(row.questions)


def test_one_of_several_pictures_is_asked_about_as_a_slot_of_a_clip_is():
    item = make_item("language", 0, "collide")
    words = {reading.text for reading in readings(item)}
    for slot in range(5):
        for fact in facts_of(item.scene, item.poses[4 * slot]):
            assert about_picture(slot, fact).text in words


# --- the form in which it learns -------------------------------------------------------------------------


def test_labels_decode_to_exactly_the_answers_of_their_row(pool, processor):
    rows = [conversation(pool, row, seed=0) for row in range(12)]
    batch = tokenise(processor, rows).batch([7, 2, 11])
    for row, labels in zip((7, 2, 11), batch["labels"], strict=True):
        said = processor.tokenizer.decode(labels[labels != IGNORE_INDEX])
        assert said == "".join(f"{asked.answer}<end_of_turn>" for asked in rows[row].questions)
    assert batch["pictures"].tolist() == [place for row in (7, 2, 11) for place in rows[row].pictures]


def test_the_first_turn_is_what_evaluation_asks_token_for_token_and_pixel_for_pixel(pool, processor):
    asker = Collator(processor, supervise=False)
    one = conversation(pool, 3, seed=0)
    rows = tokenise(processor, [one])
    images = tuple(pool.pixels[list(one.pictures)])
    asked = asker([question("q", images, one.questions[0].text)])
    length = asked["input_ids"].shape[1]
    batch = rows.batch([0])
    assert torch.equal(batch["input_ids"][:, :length], asked["input_ids"])
    assert (batch["labels"][0, :length] == IGNORE_INDEX).all()
    assert batch["labels"][0, length] != IGNORE_INDEX
    torch.testing.assert_close(to_pixels(pool.pixels, batch["pictures"]), asked["pixel_values"], atol=1e-6, rtol=0)


def test_every_answer_is_a_single_token(pool, processor):
    answers = {fact.answer for picture in pool.pictures for fact in picture.facts}
    assert {len(processor.tokenizer(answer, add_special_tokens=False).input_ids) for answer in answers} == {1}


def test_batches_hold_each_row_once_and_conversations_of_another_seed_are_refused(tmp_path, pool, processor):
    batches = ConversationBatches(tmp_path, pool, processor, num_rows=30, batch_size=4, seed=0)
    assert sorted(row for batch in batches.batches for row in batch) == list(range(30))
    kept = (tmp_path / "00000000.npz").stat().st_mtime_ns
    (tmp_path / "00000020.npz").unlink()
    again = ConversationBatches(tmp_path, pool, processor, num_rows=30, batch_size=4, seed=0)
    assert torch.equal(again[5]["input_ids"], batches[5]["input_ids"])
    assert (tmp_path / "00000000.npz").stat().st_mtime_ns == kept
    with pytest.raises(ValueError, match=r"belongs to another run \(lengths:"):
        ConversationBatches(tmp_path, pool, processor, num_rows=30, batch_size=4, seed=1)


def test_statements_ask_all_that_a_picture_shows_without_saying_what_can_be_right(pool, processor):
    batch = StatementBatches(pool, processor, num_batches=3, batch_size=4, mixed=False, seed=0)[2]
    for ids, labels, place in zip(batch["input_ids"], batch["labels"], batch["pictures"].tolist(), strict=True):
        facts = pool.pictures[place].facts
        text = processor.tokenizer.decode(ids)
        said = processor.tokenizer.decode(labels[labels != IGNORE_INDEX]).split("<end_of_turn>")[:-1]
        assert sorted(said) == sorted(fact.answer for fact in facts)
        for fact in facts:
            assert f"{words_of(fact)}{fact.answer}<end_of_turn>" in text
        assert "Answer with" not in text
        assert (ids == processor.tokenizer.image_token_id).sum() == 16


def test_mixed_statements_ask_about_several_pictures_and_by_letter(pool, processor):
    batches = StatementBatches(pool, processor, num_batches=20, batch_size=3, mixed=True, seed=0)
    numbers = set()
    for batch in (batches[index] for index in range(20)):
        number = len(batch["pictures"]) // 3
        numbers.add(number)
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            text = processor.tokenizer.decode(ids)
            said = processor.tokenizer.decode(labels[labels != IGNORE_INDEX]).split("<end_of_turn>")[:-1]
            assert text.count("<start_of_image>") == number
            assert ("In picture " in text) == (number > 1)
            assert 1 <= len(said) <= 12
            assert all(f"({answer}) " in text for answer in said if answer in LETTERS)
            tasks = {pool.pictures[place].task for place in batch["pictures"].view(3, number)[0].tolist()}
            assert len(tasks) == 1  # only its number tells which picture a question is about
    assert numbers == {1, 2, 3, 4, 5}


def test_batches_of_statements_are_a_function_of_seed_and_number(pool, processor):
    one, same, other = (StatementBatches(pool, processor, 3, 4, mixed=True, seed=seed)[1] for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert one["pictures"].tolist() != other["pictures"].tolist()


# --- how it is measured ----------------------------------------------------------------------------------


def test_an_answer_is_right_if_all_its_tokens_and_its_end_are(monkeypatch, pool, processor):
    gemma = make_gemma(processor.tokenizer, RANDOM, seed=0)
    end = processor.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    labels = torch.tensor([[-100, 50, 60, end, -100, 70, end], [-100, 80, end, -100, -100, -100, -100]])
    said = torch.tensor([50, 61, end, 70, end, 80, 81])  # one of two tokens is wrong; all are right; it goes on

    def answered(*args: object) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.nn.functional.one_hot(said, 100).float())

    monkeypatch.setattr(chat_rows, "answered", answered)
    batch = {"input_ids": labels, "labels": labels, "pictures": torch.tensor([0])}
    assert right_answers(gemma, batch, pool.pixels) == [False, True, False]


def test_held_out_questions_are_in_both_forms_about_one_picture_and_about_several(pool):
    asked = list(vlm.frames(pool, NUM_SCENES))
    assert {one.task for one in asked} == set(TASKS)
    columns = {(one.setting, one.form) for one in asked}
    assert columns == {(setting, form) for setting in vlm.SETTINGS[1:] for form in vlm.FORMS}
    for one in asked:
        assert len(one.conversation.questions) == 1
        assert (len(one.conversation.pictures) > 1) == (one.setting == "several pictures")
    current, drawn = vlm.current_pictures(5, 64)
    first = ForesightDataset("validation", 5, questions="present")[0]
    assert current[0].conversation.questions[0].text == first.turns[0].text
    assert np.array_equal(drawn[0], np.asarray(first.images[0]))


def test_accuracies_count_the_right_answers_of_each_kind_and_column():
    one = chat_rows.Conversation((0,), ())
    asked = [vlm.Asked("drop", "ball_colour", "any frame", "open", one)] * 3
    asked.append(vlm.Asked("hide", "post", "several pictures", "choice", one))
    found = vlm.accuracies(asked, [True, True, False, False])
    assert found == {
        "drop ball_colour": {"any frame, open": (0.6667, 3)},
        "hide post": {"several pictures, choice": (0.0, 1)},
    }
    assert "66.7 % of 3" in vlm.table(found)


# --- building --------------------------------------------------------------------------------------------


def test_a_build_gives_a_gemma_that_sees_its_pictures_and_curves(tmp_path, pool, monkeypatch):
    found = run(small(tmp_path))["vlm"]
    gemma = Gemma3ForConditionalGeneration.from_pretrained(found["gemma"])
    asker = Collator(Gemma3Processor.from_pretrained(found["gemma"]), supervise=False)
    logits = []
    for picture in pool.pixels[:2]:
        with torch.no_grad():
            logits.append(gemma(**asker([question("q", [picture], "What colour is the ball?")])).logits[0, -1])
    assert (logits[0] - logits[1]).abs().max() > 1e-3
    assert set(found["kinds"]) >= {"drop ball_colour", "topple top_colour", "hide ball_side", "collide do_touch"}
    assert set(found["kinds"]["roll steeper_ramp"]) == {
        f"{setting}, {form}" for setting in vlm.SETTINGS for form in vlm.FORMS
    }
    for phase in ("statements", "mixed", "conversations"):
        measured = [row for row in trainer.read_curves(tmp_path / "vlm" / phase) if "accuracy" in row]
        assert [row["step"] for row in measured] == [2, 4]
    assert run(TinySettings(**{**vars(small(tmp_path)), "action": "verify"}))["vlm"] == found


def test_a_build_trains_the_chosen_phases_only(tmp_path, pool, monkeypatch):
    monkeypatch.setattr(vlm, "verify_vlm", lambda settings: {})
    vlm.build_vlm(small(tmp_path, phases=("conversations",)))
    assert [folder.name for folder in (tmp_path / "vlm").iterdir()] == ["conversations"]
    assert (tmp_path / "gemma" / "model.safetensors").exists()


def test_every_weight_gets_a_gradient_from_a_batch(pool, processor):
    gemma = make_gemma(processor.tokenizer, RANDOM, seed=0)
    objective = vlm.AnswerObjective(
        gemma, pool.pixels, StatementBatches(pool, processor, 1, 2, mixed=False, seed=0), pool.pixels
    )
    batch = tokenise(processor, [conversation(pool, row, seed=0) for row in range(5)]).batch(range(5))
    objective(**{name: tensor[None] for name, tensor in batch.items()})["loss"].backward()
    without = {name for name, weight in objective.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert without <= {name for name in without if name.endswith("k_proj.bias")}  # softmax ignores shifts of its keys
