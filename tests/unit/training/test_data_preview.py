"""The preview: what a run would learn from, as it would be given to the model, without loading one."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from fixtures_model import picture
from fixtures_public import write_spatial_parquet
from fixtures_shards import record, write_table, write_tar
from theworld import TheWorld
from theworld.cli.handlers import preview
from theworld.config import loader
from theworld.config.commands import PreviewSettings
from theworld.datasets.errors import RecordError
from theworld.datasets.sample import Sample, Turn, question
from theworld.training import dataloading

CONFIG = Path(__file__).parents[3] / "configs" / "foresight-tiny.json"


class Records:
    """Samples of which some cannot be had."""

    def __init__(self, *records: Sample | RecordError) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        record = self.records[index]
        if isinstance(record, RecordError):
            raise record
        return record


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """(records, flags) -> (what the command returns, its page); loading a model fails."""

    def no_model(*args: object, **kwargs: object) -> None:
        raise AssertionError("a preview loads no weights")

    monkeypatch.setattr(TheWorld, "from_pretrained", no_model)

    def make(*records: Sample | RecordError, flags: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
        if records:
            monkeypatch.setattr(dataloading, "open_training", lambda *args: Records(*records))
        page = tmp_path / "preview.html"
        found = preview(loader.load(PreviewSettings, CONFIG, ["--page", str(page), *flags]))
        return found, page.read_text()

    return make


def marked(page: str) -> set[str]:
    return {unescape(re.sub("<.*?>", "", text)) for text in re.findall("<mark>(.*?)</mark>", page, re.DOTALL)}


def test_what_is_learnt_is_marked_and_what_is_given_is_not(look: Any) -> None:
    turns = (Turn("user", "Where?"), Turn("assistant", "left"), Turn("user", "Why?"), Turn("assistant", "it rolls"))
    _, page = look(Sample("talk", turns, (picture(1),)), question("one", [picture(2)], "Which <b>bin</b>?", "red"))

    assert marked(page) == {"left<end_of_turn>", "it rolls<end_of_turn>", "red<end_of_turn>"}
    assert "Which &lt;b&gt;bin&lt;/b&gt;?" in re.sub("</?i>", "", page)


def test_tokens_are_counted_by_what_they_stand_for(look: Any) -> None:
    found, page = look(question("one", [picture(1)], "Which bin?", "red"), question("two", [], "Which bin?", "red"))

    counts = [
        [int(number) for number in re.findall(r"\d+", re.sub("<.*?>", "", line))]
        for line in re.findall(r"<b>\d+</b> tokens: .*?</p>", page)
    ]
    without, with_picture = sorted(counts, key=len)
    total, world, image, _prompt, supervised = with_picture
    assert (world, image, supervised) == (82, 16, 2)  # five slots of 16 tokens and two markers; a picture of 4 x 4
    assert total == sum(with_picture[1:])
    assert without[0] == sum(without[1:]) < total - world - image
    assert found["tokens"]["largest"] == total


def test_records_that_give_no_sample_are_listed_by_cause(look: Any) -> None:
    good = question("one", [picture(1)], "Which bin?", "red")
    gone = question("gone", ["no/such/picture.png"], "Which bin?", "red")
    found, page = look(good, RecordError("wrong region", "row 7: box <outside>"), gone, good)

    assert found["num_read"] == 4
    assert found["left_out"] == {"wrong region": 1, "missing picture": 1}
    assert "row 7: box &lt;outside&gt;" in page
    assert "2, 50.0 %" in page


def test_samples_that_are_too_long_to_be_trained_on_are_listed(look: Any) -> None:
    short, long = (
        question(name, [], f"Which {text}?", "red") for name, text in (("short", "bin"), ("long", "bin " * 99))
    )
    found, page = look(short, long, flags=("--max-length", "60"))

    assert found["left_out"] == {"overlong": 1}
    assert "max_length=60" in page


def test_data_without_a_good_record_is_refused_with_the_first_fault(look: Any) -> None:
    with pytest.raises(ValueError, match="none of 1 records gives a sample; the first: row 7: empty"):
        look(RecordError("empty answer", "row 7: empty"))


def test_a_clip_is_shown_frame_by_frame_beside_the_picture(look: Any) -> None:
    frames = [picture(seed) for seed in range(5)]
    _, page = look(question("clip", frames[-1:], "Which?", "red", clips=(frames,), num_world_steps=3))

    assert len(re.findall("<figcaption>world, frame", page)) == 5
    assert len(re.findall('<img class="pixels" src="data:image/png', page)) == 6


def test_the_parts_of_a_mixture_are_told_apart(tmp_path: Path) -> None:
    run = json.loads(CONFIG.read_text())
    present, future = ({"data": {**run["data"], "questions": kind}} for kind in ("present", "future"))
    mixed = tmp_path / "mixed.json"
    mixed.write_text(json.dumps({**run, "mixture": [{**present, "weight": 3.0}, future]}))
    page = tmp_path / "preview.html"
    preview(loader.load(PreviewSettings, mixed, ["--page", str(page), "--num-read", "12", "--num-shown", "4"]))

    rows = [re.findall(">([^<]+)<", row) for row in re.findall("<tr>(.*?)</tr>", page.read_text())]
    shares = {row[0]: (row[2], int(row[3])) for row in rows if row[0].endswith("-foresight")}
    assert {name: share for name, (share, _) in shares.items()} == {"0-foresight": "75.0", "1-foresight": "25.0"}
    assert sum(num_read for _, num_read in shares.values()) == 12
    assert "part <b>0-foresight</b>" in page.read_text()


def test_only_some_are_shown_and_the_same_again(look: Any) -> None:
    flags = ("--num-read", "6", "--num-shown", "2", "--data.num-train", "8")
    found, page = look(flags=flags)

    assert found["num_samples"] == 8
    assert page.count('<article class="sample">') == 2
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert look(flags=flags) == (found, page)


def test_more_samples_shown_than_read_are_refused() -> None:
    with pytest.raises(ValueError, match="num_shown=30 is more than num_read=20"):
        loader.load(PreviewSettings, CONFIG, ["--num-read", "20", "--num-shown", "30"])


def test_no_more_samples_are_shown_than_read_unless_their_number_is_given(look: Any) -> None:
    _, page = look(flags=("--num-read", "5", "--data.num-train", "8"))

    assert page.count('<article class="sample">') == 5


def without(run: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in run.items() if name not in names}


def test_a_stream_is_shown_from_its_start(tmp_path: Path, look: Any) -> None:
    records = {f"{number:09d}": record(number) for number in range(6)}
    records["000000002"]["txt"] = b""
    write_tar(tmp_path / "shards/00000000.tar", records)
    lost = [{"status": "failed_to_download", "error_message": "404"}] * 3
    write_table(tmp_path / "shards/00000000.parquet", lost)
    run = {**json.loads(CONFIG.read_text()), "data": {"dataset": "datacomp", "source": str(tmp_path)}}
    settings = tmp_path / "run.json"
    settings.write_text(
        json.dumps({name: value for name, value in run.items() if name not in ("validation", "store_dir")})
    )
    page = tmp_path / "preview.html"

    found = preview(loader.load(PreviewSettings, settings, ["--page", str(page)]))

    assert (found["num_samples"], found["num_read"], found["left_out"]) == (None, 6, {"empty answer": 1})
    assert page.read_text().count('<article class="sample">') == 5
    assert "a picture of 3 things" in page.read_text()
    assert "6 from the start, seed" in page.read_text()
    few = preview(loader.load(PreviewSettings, settings, ["--page", str(page), "--num-read", "2"]))
    assert few["num_read"] == 2


def test_a_benchmark_without_a_training_split_shows_the_split_that_it_has(tmp_path: Path) -> None:
    source = write_spatial_parquet(tmp_path)
    run = {**json.loads(CONFIG.read_text()), "data": {"dataset": "spatial-rgpt", "source": str(source)}}
    settings = tmp_path / "run.json"
    settings.write_text(
        json.dumps({name: value for name, value in run.items() if name not in ("validation", "store_dir")})
    )
    page = tmp_path / "preview.html"

    found = preview(loader.load(PreviewSettings, settings, ["--page", str(page)]))

    assert found["num_samples"] == found["num_read"] == 5
    assert "5 in validation" in page.read_text()
