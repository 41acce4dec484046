"""Visual Spatial Reasoning (arXiv 2205.00363): is a statement about two things in a COCO picture true?"""

from pathlib import Path
from typing import Final, Literal, get_args

from theworld.config.renamed import did_you_mean
from theworld.datasets.errors import RecordError
from theworld.datasets.images import path_in
from theworld.datasets.public.parquet_json import Row, RowSamples, column, read_rows, require
from theworld.datasets.public.vsr_relations import meta_category
from theworld.datasets.records import short, text_of
from theworld.datasets.sample import Sample, question

Subset = Literal["random", "zeroshot"]
SUBSETS: Final[tuple[Subset, ...]] = get_args(Subset)
"""Random splits, and splits without common concepts."""

CHOICES: Final = ("true", "false")


class VsrDataset(RowSamples):
    """Samples of VSR: a statement that is true or false.

    Args:
        source: hub id, a folder in its layout (`dev.jsonl`), the GitHub repository or its folder of splits
            (`zeroshot/dev.jsonl`), or a file; None: the authors' repository.
        split: `train`, `dev` or `test`.
        subset: way to split.
        image_dir: folder of COCO pictures: as in `vsr_images.zip`, or with `train2017/` and `val2017/`.
        size: number of items, from the first; None: all.
        revision: commit of the hub repository.

    Raises:
        ValueError: for an unknown subset, or files that cannot be fetched or read.
    """

    def __init__(
        self,
        source: str | Path | None = None,
        split: Literal["train", "dev", "test"] = "dev",
        subset: Subset = "zeroshot",
        *,
        image_dir: str | Path,
        size: int | None = None,
        revision: str | None = None,
    ) -> None:
        if subset not in SUBSETS:
            raise ValueError(
                f"VSR subset {subset!r}: expected one of {', '.join(SUBSETS)}{did_you_mean(subset, SUBSETS)}"
            )
        self.image_dir = Path(image_dir)
        if not self.image_dir.is_dir():
            raise ValueError(
                f"image_dir={image_dir}: no such folder; VSR's pictures are COCO 2017's, and must lie there"
            )
        patterns = (f"{subset}/{split}.jsonl", f"data/splits/{subset}/{split}.jsonl", f"{split}.jsonl")
        rows = read_rows(source or f"cambridgeltl/vsr_{subset}", patterns, revision)
        pairs = zip(column(rows, "image"), column(rows, "caption"), strict=True)
        super().__init__(rows, size, [f"{image}: {caption}" for image, caption in pairs])

    def _sample(self, row: Row) -> Sample:
        require(row, ("image", "caption", "label", "relation"), "VSR")
        name = f"VSR {short(row['image'])}"
        image, caption, relation = (text_of(row, key, name) for key in ("image", "caption", "relation"))
        label = row["label"]
        if not isinstance(label, int | float) or label not in (0, 1):
            raise RecordError("malformed", f"{name}: label {short(label)}; expected 0 or 1")
        return question(
            f"{image}: {caption}",
            [picture_path(row, self.image_dir)],
            question_about(caption),
            "true" if label else "false",
            fields={
                "benchmark": "vsr",
                "choices": CHOICES,
                "statement": caption,
                "relation": relation,
                "meta_category": meta_category(relation),
            },
        )


def picture_path(row: Row, image_dir: Path) -> Path:
    """Return the path of a row's picture: flat, as in `vsr_images.zip`, or in the folder of COCO in its link.

    Raises:
        RecordError: malformed if its name or link is not a text, or leaves the folder.
    """
    image = text_of(row, "image", "VSR")
    name = f"VSR {short(image)}"
    flat = path_in(image_dir, image, name)
    if row.get("image_link") in (None, ""):
        return flat
    link = text_of(row, "image_link", name).split("/")[-2:]
    in_coco = path_in(image_dir, "/".join(filter(None, link)), name)
    try:
        return in_coco if in_coco.is_file() else flat
    except OSError:  # a name that is too long
        return flat


def question_about(statement: str) -> str:
    """Return the question about a statement."""
    return f"Statement: {statement}\nIs this statement true or false of the picture? Answer with one word."
