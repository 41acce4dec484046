"""VSR as samples: a statement to be called true or false, with the picture wherever COCO put it."""

from pathlib import Path

import pytest

from fixtures_public import write_vsr
from theworld.datasets.images import ImageError, to_image
from theworld.datasets.public.vsr import VsrDataset
from theworld.datasets.public.vsr_relations import META_CATEGORIES, meta_category


def test_an_annotation_is_a_statement_with_its_truth(tmp_path: Path):
    folder, images = write_vsr(tmp_path, [1, 0, 1])

    samples = VsrDataset(str(folder), image_dir=images)

    assert [samples[index].answer for index in range(3)] == ["true", "false", "true"]
    sample = samples[1]
    assert sample.id == "000000000001.jpg: The cup is left of the table."
    assert "Statement: The cup is left of the table.\n" in sample.prompt[-1].text
    assert sample.fields["choices"] == ("true", "false")
    assert (sample.fields["relation"], sample.fields["meta_category"]) == ("left of", "Projective")


def test_pictures_lie_flat_or_in_the_folders_of_coco(tmp_path: Path):
    folder, images = write_vsr(tmp_path, [1, 0])

    samples = VsrDataset(str(folder), image_dir=images)

    assert [Path(samples[index].images[0]).parent.name for index in range(2)] == ["images", "train2017"]
    assert all(to_image(samples[index].images[0]).size == (32, 32) for index in range(2))


def test_a_picture_that_is_not_there_is_an_error_of_its_item(tmp_path: Path):
    folder, images = write_vsr(tmp_path, [1])
    (images / "000000000000.jpg").unlink()

    with pytest.raises(ImageError, match="no such file"):
        to_image(VsrDataset(str(folder), image_dir=images)[0].images[0])


def test_the_folder_of_the_github_repository_holds_both_ways_to_split(tmp_path: Path):
    _, images = write_vsr(tmp_path / "pictures", [1])
    for subset, labels in (("random", [1, 1]), ("zeroshot", [0])):
        write_vsr(tmp_path / "splits" / subset, labels)

    sizes = {
        subset: len(VsrDataset(str(tmp_path / "splits"), subset=subset, image_dir=images))
        for subset in ("random", "zeroshot")
    }

    assert sizes == {"random": 2, "zeroshot": 1}


def test_a_label_that_is_none_is_refused(tmp_path: Path):
    folder, images = write_vsr(tmp_path, [1])
    path = folder / "dev.jsonl"
    path.write_text(path.read_text().replace('"label": 1', '"label": "yes"'))

    with pytest.raises(ValueError, match="label 'yes'; expected 0 or 1"):
        VsrDataset(str(folder), image_dir=images)[0]


def test_without_a_folder_of_pictures_nothing_is_asked(tmp_path: Path):
    with pytest.raises(ValueError, match="must lie there"):
        VsrDataset(str(tmp_path), image_dir=tmp_path / "nowhere")


def test_every_relation_is_of_one_meta_category():
    listed = [relation for relations in META_CATEGORIES.values() for relation in relations]

    assert len(listed) == len(set(listed)) == 70
    assert meta_category("far away from ") == "Proximity"
    assert meta_category("hovering near") == "Unallocated"
