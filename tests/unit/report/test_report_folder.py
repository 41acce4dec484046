"""The run folder: what is refused, and with which words."""

import json

import pytest
from small_run import REPLIES, write_audit, write_item, write_metrics, write_run

from theworld.report.conclusions import warnings
from theworld.report.folder import read_run
from theworld.report.page import write_report


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_a_run_is_refused_and_nothing_is_written(tmp_path, name):
    with pytest.raises(ValueError, match="nothing to report on: expected the folder of a run"):
        write_report(tmp_path / name, "Run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("results.json", '{"arms": ', "not JSON"),
        ("results.json", '{"arms": {"vae": {"num_items": 3}}}', "arms.vae.num_right: Field required"),
        ("results.json", "[]", "dictionary or an instance of Results"),
        ("environment.json", "3", "valid dictionary"),
        ("config.json", b"\xff\xfe", "not JSON"),
        ("arms/vae/metrics.jsonl", '{"step": 1}\n', "line 1: loss: Field required"),
        ("arms/vae/metrics.jsonl", "\n", "line 1: not JSON"),
        ("predictions/vae.jsonl", '{"sample_id": "0"}\n', "line 1"),
        ("predictions/vae.jsonl", '{"sample_id": "0"', "cut off in the middle"),
        ("validation.jsonl", '{"step": 1}\n', "line 1: accuracy: Field required"),
        ("items/00/item.json", "{}", "id: Field required"),
        ("items/00/item.json", "", "not JSON"),
        ("items/00/picture.png", b"GIF89a", "not a picture, or cut off"),
        ("items/00/true.gif", "", "not a picture, or cut off"),
        ("items/00/true.gif", "no picture", r"true\.gif: not a picture, or cut off \(of no known format\)"),
    ],
)
def test_a_damaged_file_is_named(run_folder, name, content, words):
    path = run_folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words) as caught:
        write_report(run_folder, "Run")
    assert str(path) in str(caught.value)
    assert " at 0x" not in str(caught.value)
    assert not (run_folder / "report.html").exists()


def test_a_picture_that_was_cut_off_is_named(run_folder):
    path = run_folder / "items" / "00" / "picture.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"picture\.png: not a picture, or cut off"):
        read_run(run_folder)


def test_an_item_that_no_arm_answered_is_not_shown(run_folder):
    write_item(run_folder / "items" / "02", "of another run")
    assert [shown.id for shown in read_run(run_folder).items] == ["6", "9"]


def test_a_last_line_that_is_still_being_written_is_left_out(tmp_path):
    write_metrics(tmp_path / "metrics.jsonl", (2.0, 1.0))
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 30, "lo')
    assert [row.step for row in read_run(tmp_path).metrics["training"]] == [10, 20]


def test_an_arm_without_a_logged_step_has_no_curve(tmp_path):
    write_metrics(tmp_path / "arms" / "vae" / "metrics.jsonl", (2.0,))
    write_metrics(tmp_path / "arms" / "zero" / "metrics.jsonl", ())
    assert list(read_run(tmp_path).metrics) == ["vae"]


def test_a_world_is_what_the_run_identity_names(run_folder):
    assert read_run(run_folder).world_arms == {"zero", "vae"}
    for path in run_folder.glob("predictions/*.run.json"):
        path.unlink()
    assert read_run(run_folder).world_arms == frozenset()


def test_fields_that_a_later_version_adds_are_no_damage(run_folder):
    results = json.loads((run_folder / "results.json").read_text())
    (run_folder / "results.json").write_text(json.dumps(results | {"more": 1}))
    assert read_run(run_folder).results is not None


@pytest.mark.parametrize("place", [".", "audit"])
def test_an_audit_is_read_beside_its_predictions_or_from_the_folder_of_the_audit(tmp_path, place):
    write_audit(tmp_path / place)
    run = read_run(tmp_path)
    assert run.audit is not None
    assert run.audit.verdict == "not used"
    assert run.predictions == {}


def test_the_conditions_of_an_audit_are_no_arms(tmp_path):
    write_run(tmp_path, {arm: REPLIES[arm] for arm in ("gemma", "vae")}, baseline=None)
    write_audit(tmp_path)
    assert set(read_run(tmp_path).predictions) == {"gemma", "vae"}
    assert warnings(read_run(tmp_path)) == [
        "MISSING REPLIES: 1 of the 10 items of vae met an error; they count as nothing."
    ]


def test_two_audits_in_one_folder_are_refused(tmp_path):
    write_audit(tmp_path)
    write_audit(tmp_path / "audit")
    with pytest.raises(ValueError, match=r"two audits, .*audit\.json and .*audit/audit\.json: take one of them out"):
        read_run(tmp_path)


def test_a_damaged_audit_is_named(tmp_path):
    write_audit(tmp_path)
    (tmp_path / "audit.json").write_text('{"verdict": "maybe"}')
    with pytest.raises(ValueError, match=r"audit\.json: verdict: Input should be 'used'"):
        read_run(tmp_path)
