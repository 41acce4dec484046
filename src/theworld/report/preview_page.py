"""Page of a preview: training samples with pictures, token lengths and supervised tokens."""

import base64
import html
import io
import re
from collections import Counter
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Final

from PIL import Image

from theworld.config import DataSettings, PublicData
from theworld.config.commands import PreviewSettings
from theworld.datasets.errors import LeftOut
from theworld.datasets.factory import part_names
from theworld.datasets.images import to_pictures
from theworld.datasets.label_view import Span
from theworld.datasets.sample import Sample
from theworld.report.figures import histogram_plot
from theworld.report.html import document, escaped
from theworld.report.run_tables import to_html
from theworld.tables import Table

_SIDE_PX: Final = 512
"""Longest side of a picture on the page."""
_SMALL_PX: Final = 128
"""Longest side of pictures that keep every pixel and are enlarged with sharp pixels."""
_MOST_MESSAGES: Final = 20
_TAG_LENGTH: Final = 40
_CONTROL: Final = re.compile(r"&lt;\w+&gt;(?:×\d+)?")

_KINDS: Final = (("world", "world"), ("image", "image"), ("text", "prompt"), ("supervised", "supervised"))


@dataclass(frozen=True)
class Lengths:
    """Number of tokens of a sample, by kind."""

    world: int
    image: int
    text: int
    """All other tokens: words and control tokens."""
    supervised: int
    """Text tokens that count for the loss."""

    @property
    def total(self) -> int:
        """Length of the sequence."""
        return self.world + self.image + self.text


@dataclass(frozen=True)
class Shown:
    """A sample to show: as it was read, and as the model gets it."""

    sample: Sample
    spans: list[Span]
    lengths: Lengths


@dataclass(frozen=True)
class Preview:
    """Content of the page."""

    config: PreviewSettings
    num_samples: int | None
    """None: a stream, whose records nobody has counted."""
    num_read: int
    lengths: list[Lengths]
    """Lengths of the samples that were read."""
    parts: list[str]
    """Part of the mixture of each of these samples; empty without a mixture."""
    shown: list[Shown]
    left_out: list[LeftOut]


def page(preview: Preview) -> str:
    """Write the page."""
    parts = [_head(preview), _mixture(preview), _lengths(preview.lengths), _samples(preview.shown), _left_out(preview)]
    return document(_title(preview), "\n".join(part for part in parts if part), _RULES)


def _title(preview: Preview) -> str:
    return f"Training data of {preview.config.output_dir}"


def _head(preview: Preview) -> str:
    data, model, mixture = preview.config.data, preview.config.model, preview.config.mixture
    num_good, is_stream = len(preview.lengths), preview.num_samples is None
    facts = {
        "data": f"a mixture of {len(mixture)}" if mixture else _named(data),
        "records": ("a stream" if is_stream else f"{preview.num_samples:,}")
        + ("" if mixture else f" in {data.train_split}"),
        "read": f"{preview.num_read:,} {'from the start' if is_stream else 'at random'}, seed {preview.config.seed}",
        "good": f"{num_good:,}, {100 * num_good / preview.num_read:.1f} %",
        "model": str(model.checkpoint or model.gemma_model_name),
    }
    rows = "".join(f"<div><dt>{name}</dt><dd>{escaped(value)}</dd></div>" for name, value in facts.items())
    return f'<h1>{escaped(_title(preview))}</h1>\n<dl class="facts">{rows}</dl>'


def _named(data: DataSettings) -> str:
    source = data.source if isinstance(data, PublicData) else None
    return data.dataset + (f" from {source}" if source else "")


def _mixture(preview: Preview) -> str:
    """Write a table of the parts of a mixture: share by weight, and samples read."""
    mixture = preview.config.mixture
    if not mixture:
        return ""
    weight = sum(part.weight for part in mixture)
    rows = []
    for name, part in zip(part_names(mixture), mixture, strict=True):
        tokens = [
            length.total for length, part_name in zip(preview.lengths, preview.parts, strict=True) if part_name == name
        ]
        numbers = (f"{100 * part.weight / weight:.1f}", f"{len(tokens):,}", f"{median(tokens):,.0f}" if tokens else "–")
        rows.append((name, _named(part.data), *numbers))
    columns = ("part", "data", "% by weight", "read", "median tokens")
    table = to_html(Table("Mixture", columns, tuple(rows), num_text_columns=2))
    return f"<section>\n<h2>Mixture</h2>\n{table}\n</section>"


def _lengths(lengths: list[Lengths]) -> str:
    totals = [length.total for length in lengths]
    columns = ("tokens", "smallest", "median", "95 % below", "largest", "all")
    kinds = {
        "sequence": totals,
        "world": [length.world for length in lengths],
        "image": [length.image for length in lengths],
        "text": [length.text for length in lengths],
        "supervised": [length.supervised for length in lengths],
    }
    table = Table("Lengths", columns, tuple((kind, *_five(values)) for kind, values in kinds.items()))
    plot = histogram_plot(totals, "tokens of a sample", f"Lengths from {min(totals)} to {max(totals)} tokens")
    drawn = f'<figure class="plot">{plot}</figure>\n' if len(set(totals)) > 1 else ""
    note = (
        "World and image tokens are placeholders, which the model fills; text is all the rest, control tokens included."
        " The loss is taken on supervised tokens alone."
    )
    return f'<section>\n<h2>Lengths</h2>\n{drawn}{to_html(table)}\n<p class="note">{note}</p>\n</section>'


def _five(values: list[int]) -> tuple[str, ...]:
    cuts = quantiles(values, n=20, method="inclusive") if len(values) > 1 else values * 19
    return tuple(f"{value:,.0f}" for value in (min(values), cuts[9], cuts[18], max(values), sum(values)))


def _samples(shown: list[Shown]) -> str:
    longest = max(item.lengths.total for item in shown)
    cards = "\n".join(_card(item, longest) for item in shown)
    key = "".join(f'<span><i class="{kind}"></i>{name}</span>' for kind, name in _KINDS)
    note = (
        "Each text is the row that the model reads, decoded; a placeholder stands once, with its number. Marked text"
        " is supervised; all other text is input."
    )
    return (
        f'<section>\n<h2>Samples</h2>\n<p class="note">{note}</p>\n<p class="key">{key}</p>\n'
        f'<div class="samples">\n{cards}\n</div>\n</section>'
    )


def _card(shown: Shown, longest: int) -> str:
    sample = shown.sample
    tags = "".join(
        f"<span>{escaped(name)} <b>{escaped(str(value))}</b></span>"
        for name, value in sample.fields.items()
        if isinstance(value, str | int | float) and len(str(value)) <= _TAG_LENGTH
    )
    return (
        f'<article class="sample">\n<h3>{escaped(sample.id)}</h3>\n{_pictures(sample)}\n'
        f'<pre class="row">{"".join(map(_span, shown.spans))}</pre>\n{_bar(shown.lengths, longest)}\n'
        f'<p class="tags">{tags}</p>\n</article>'
    )


def _pictures(sample: Sample) -> str:
    """Show the pictures for Gemma, and below them the clips for the world model, if they differ."""
    pictures = to_pictures(list(sample.images))
    clips = [to_pictures(list(clip)) for clip in sample.clips or ()]
    rows = [("seen", [(picture, f"{picture.width} × {picture.height} px") for picture in pictures])]
    if clips and clips != [[picture] for picture in pictures]:
        rows += [
            ("clip", [(frame, f"world, frame {place}") for place, frame in enumerate(frames, 1)]) for frames in clips
        ]
    return "\n".join(
        f'<div class="{kind}">{"".join(_figure(picture, words, sample.id) for picture, words in row)}</div>'
        for kind, row in rows
        if row
    )


def _figure(picture: Image.Image, words: str, sample_id: str) -> str:
    is_small = max(picture.size) <= _SMALL_PX
    drawn = picture.copy()
    drawn.thumbnail((_SIDE_PX, _SIDE_PX))
    stream = io.BytesIO()
    drawn.save(stream, "PNG") if is_small else drawn.save(stream, "JPEG", quality=85)
    kind = "png" if is_small else "jpeg"
    url = f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
    pixels = ' class="pixels"' if is_small else ""
    return (
        f'<figure><img{pixels} src="{url}" width="{drawn.width}" height="{drawn.height}"'
        f' alt="{escaped(f"{sample_id}: {words}")}">'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _span(span: Span) -> str:
    text = _CONTROL.sub(r"<i>\g<0></i>", html.escape(span.text))
    return f"<mark>{text}</mark>" if span.supervised else text


def _bar(lengths: Lengths, longest: int) -> str:
    """Draw a bar of world, image, prompt and supervised tokens, on the scale of the longest sample shown."""
    counts = {
        "world": lengths.world,
        "image": lengths.image,
        "text": lengths.text - lengths.supervised,
        "supervised": lengths.supervised,
    }
    words = ", ".join(f"{counts[kind]:,} {name}" for kind, name in _KINDS if counts[kind])
    pieces = "".join(
        f'<i class="{kind}" style="width:{100 * count / longest:.2f}%"></i>' for kind, count in counts.items() if count
    )
    return (
        f'<div class="bar" role="img" aria-label="{words}">{pieces}</div>'
        f'<p class="note"><b>{lengths.total:,}</b> tokens: {words}</p>'
    )


def _left_out(preview: Preview) -> str:
    if not preview.left_out:
        return (
            f"<section>\n<h2>Records that give no sample</h2>\n<p>None of {preview.num_read:,} records that were read."
            "</p>\n</section>"
        )
    causes = Counter(record.cause for record in preview.left_out)
    rows = tuple(
        (cause, f"{count:,}", f"{100 * count / preview.num_read:.1f}") for cause, count in causes.most_common()
    )
    table = to_html(Table("", ("cause", "records", "% of those read"), rows))
    listed = "".join(
        f"<li><code>{escaped(str(record.record))}</code> {escaped(record.message)}"
        f" <span>{escaped(record.cause)}</span></li>"
        for record in preview.left_out[:_MOST_MESSAGES]
    )
    more = len(preview.left_out) - _MOST_MESSAGES
    rest = f'<p class="note">and {more:,} more</p>' if more > 0 else ""
    return (
        f"<section>\n<h2>Records that give no sample</h2>\n{table}\n"
        f'<ul class="left-out">{listed}</ul>{rest}\n</section>'
    )


_RULES: Final = """\
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: 0 }
.facts dt { color: var(--pale); font-size: .8125rem }
.facts dd { margin: 0; font-weight: 600; overflow-wrap: anywhere }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); gap: 1.5rem }
.sample {
  display: flex; flex-direction: column; min-width: 0; padding: 1rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 10px;
}
.sample h3 { margin: 0 0 .75rem; overflow-wrap: anywhere }
.sample .note { margin: .35rem 0 0 }
.seen, .clip { display: flex; flex-wrap: wrap; gap: .75rem; margin-bottom: .5rem }
.seen figure { flex: 0 1 13rem }
.clip { gap: .5rem }
.clip figure { flex: 0 1 4.25rem }
.seen img, .clip img { width: 100%; border-radius: 4px; background: var(--line) }
.seen figcaption, .clip figcaption { margin-top: .25rem; font-size: .75rem; line-height: 1.3 }
.row {
  margin: .4rem 0 .9rem; padding: .75rem; max-height: 22rem; overflow: auto; background: var(--paper);
  white-space: pre-wrap; overflow-wrap: anywhere;
}
.row i { color: var(--pale); font-style: normal; opacity: .8 }
mark {
  padding: .1em .15em; color: inherit; border-radius: 3px;
  background: color-mix(in srgb, var(--good) 24%, transparent);
}
.bar { display: flex; height: .5rem; margin-top: auto; background: var(--line); border-radius: 4px; overflow: hidden }
.world { background: var(--accent) }
.image { background: var(--warn) }
.text { background: var(--pale) }
.supervised { background: var(--good) }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .75rem 0 1.25rem; font-size: .875rem }
.key i { display: inline-block; width: .75rem; height: .75rem; margin-right: .4rem; border-radius: 3px }
.tags { display: flex; flex-wrap: wrap; gap: .2rem .9rem; margin: .5rem 0 0; color: var(--pale); font-size: .8125rem }
.tags b { color: var(--ink); font-weight: 600 }
.left-out { margin: 1rem 0 0; padding: 0; list-style: none; font-size: .9375rem }
.left-out li { padding: .4rem 0; border-top: 1px solid var(--line) }
.left-out span { color: var(--bad); font-size: .8125rem; white-space: nowrap }
"""
