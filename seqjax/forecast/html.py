"""A forecasting run as one page that stands alone: no script, no network, light and dark."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import NamedTuple

import pandas as pd

from seqjax.forecast.outlook import when

_ROWS = 60  # of the numbers below a picture


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        name: for links to it.
        title: what the reader finds there.
        body: HTML.
    """

    name: str
    title: str
    body: str


def page(title: str, lede: str, verdict: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: what was forecast.
        lede: who forecast it, from what.
        verdict: sentences that say how good it is.
        sections: in the order of the table of contents.

    Returns:
        HTML, complete. Texts are escaped; the sections' bodies are HTML already.

    Example:
        >>> one = Section("data", "The data", paragraph("Two & more"))
        >>> text = page("<b>", "", [], [one])
        >>> "&lt;b&gt;" in text, 'href="#data"' in text, "Two &amp; more" in text
        (True, True, True)
    """
    template = resources.files("seqjax.forecast").joinpath("page.html").read_text("utf-8")
    return Template(template).substitute(
        title=escape(title),
        lede=escape(lede),
        verdict="".join(map(paragraph, verdict)),
        contents="".join(
            f'<li><a href="#{one.name}">{escape(one.title)}</a></li>' for one in sections
        ),
        sections="\n".join(
            f'<section id="{one.name}"><h2>{escape(one.title)}</h2>\n{one.body}\n</section>'
            for one in sections
        ),
        footer="Written by seqjax. This file stands alone: keep it, mail it, open it offline.",
    )


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def bullets(lines: Sequence[str]) -> str:
    """A list of plain texts; nothing where there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def facts(pairs: Mapping[str, object]) -> str:
    """Names and what they are."""
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in pairs.items()
    )
    return f"<dl>{items}</dl>"


def commands(text: str) -> str:
    """Lines to be copied."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def table(frame: pd.DataFrame, caption: str, ours: str | None = None) -> str:
    """A table of figures that scrolls within itself where the screen is narrow.

    Args:
        frame: its index becomes the first column.
        caption: what it shows.
        ours: the row to stand out.
    """
    corner = str(frame.index.name or "")
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in (corner, *frame))
    lines = []
    for label, values in zip(frame.index, frame.itertuples(index=False), strict=True):
        cells = "".join(f"<td>{escape(figure(value))}</td>" for value in values)
        mark = ' class="ours"' if label == ours else ""
        lines.append(f'<tr{mark}><th scope="row">{escape(when(label))}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def picture(svg: str, caption: str, below: str = "", small: str = "") -> str:
    """A picture, what it shows, and the numbers behind it.

    Args:
        svg: from `seqjax.forecast.panel_plots`.
        caption: what it shows.
        below: HTML under it.
        small: the second line of the caption.
    """
    second = f"<span>{escape(small)}</span>" if small else ""
    words = f"<strong>{escape(caption)}</strong>{second}"
    return f"<figure><figcaption>{words}</figcaption>{svg}{below}</figure>"


def details(summary: str, body: str) -> str:
    """HTML that opens when it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def numbers(frame: pd.DataFrame, caption: str, file: str) -> str:
    """The figures behind a picture, as a table that opens when it is asked for.

    Args:
        frame: the figures, a row for each place in the picture.
        caption: what it shows.
        file: where all of them stand: the table ends after some.
    """
    if len(frame) > _ROWS:
        caption += f"; the first {_ROWS} of {len(frame):,}, which are in {file}"
    return details("The numbers", table(frame.head(_ROWS), caption))


def key(levels: Sequence[float]) -> str:
    """What the lines and bands of a forecast's picture are."""
    entries = [
        ("--ink", "", "history"),
        ("--other-0", "", "forecasts of held-out windows"),
        ("--model", "", "forecast"),
    ]
    if levels:
        shown = " and ".join(f"{level:g}" for level in sorted(levels))
        entries.append(("--model", "band", f"{shown} % intervals"))
    items = "".join(
        f'<li><i class="{shape}" style="color: var({colour})"></i>{escape(text)}</li>'
        for colour, shape, text in entries
    )
    return f'<ul class="key">{items}</ul>'


def figure(value: object) -> str:
    """A figure as a reader wants it: four digits, nothing for what is not there.

    Example:
        >>> figure(1234567.8), figure(0.12345), figure(12), figure(float("nan"))
        ('1,234,568', '0.1235', '12', '')
    """
    if isinstance(value, float):  # NumPy's too
        if math.isnan(value):
            return ""
        return f"{value:,.0f}" if 1e3 <= abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def in_words(column: str, name: str) -> str:
    """What a column of forecasts is.

    Example:
        >>> in_words("GRU-lo-80", "GRU"), in_words("GRU", "GRU"), in_words("GRU-median", "GRU")
        ('80 %, low', 'GRU', 'median')
    """
    side, _, level = column.removeprefix(name).removeprefix("-").partition("-")
    return {"": name, "lo": f"{level} %, low", "hi": f"{level} %, high"}.get(side, side)
