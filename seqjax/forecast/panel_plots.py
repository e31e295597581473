"""Pictures of a panel's forecasts: PNG for a folder, SVG for a page in light and in dark.

Needs matplotlib: ``pip install 'seqjax[plot]'``.
"""

import html
import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqjax.forecast.outlook import Outlook

INK, FAINT, MODEL = "#1c1d1e", "#8c8d8e", "#c2410c"
OTHERS = ("#2563eb", "#15803d", "#7e22ce", "#b45309", "#0e7490", "#be185d")
# In a page the colours are its style sheet's, which knows light from dark.
_VARIABLES = {INK: "--ink", FAINT: "--faint", MODEL: "--model"} | {
    colour: f"--other-{number}" for number, colour in enumerate(OTHERS)
}
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.0,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "svg.fonttype": "none",  # letters stay letters: to be searched, read aloud and kept small
}
_CARD, _TALL = (3.9, 2.2), (3.9, 3.0)  # inches: as wide as a phone


def series_svg(outlook: Outlook) -> str:
    """A series with its forecasts, as an SVG element for a page.

    Args:
        outlook: of the series.

    Returns:
        ``<svg ...>...</svg>`` in the page's colours, with a description for who cannot see it.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_CARD, layout="constrained")
        _draw(figure.subplots(), outlook)
        return _svg(figure, outlook.describe())


def write_series(path: Path, outlooks: Sequence[Outlook], title: str) -> None:
    """Some series with their forecasts, as a PNG.

    Args:
        path: of the PNG.
        outlooks: of the series, in the order of their places.
        title: of the picture.
    """
    columns = min(len(outlooks), 3)
    rows = -(-len(outlooks) // columns)
    with mpl.rc_context(_STYLE):
        width = 9.0 if columns == 1 else _CARD[0] * columns
        height = 4.5 if columns == 1 else (_CARD[1] + 0.25) * rows
        figure = Figure(figsize=(width, height + 0.6), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, outlook in zip(grid, outlooks, strict=False):
            _draw(axes, outlook)
            axes.set_title(_short(outlook.title), parse_math=False)
        for axes in grid[len(outlooks) :]:
            axes.set_axis_off()
        figure.suptitle(title, parse_math=False)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        _png(figure, path)


def horizon_figure(errors: pd.DataFrame, name: str) -> Figure:
    """The mean absolute error of each model against the steps ahead.

    Args:
        errors: [horizon, model], indexed by the steps ahead.
        name: of the model that is drawn before the others.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_TALL, layout="constrained")
        axes = figure.subplots()
        others = [column for column in errors if column != name]
        marker = "o" if len(errors) < 2 else ""
        for number, column in enumerate(others):
            style = {"color": OTHERS[number % len(OTHERS)], "lw": 1.1, "ls": "--"}
            axes.plot(errors.index, errors[column], label=column, marker=marker, **style)
        axes.plot(errors.index, errors[name], label=name, color=MODEL, lw=2, marker=marker)
        _ahead(axes)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("mean absolute error")
        figure.legend(loc="outside lower left")
        return figure


def calibration_figure(coverage: pd.DataFrame) -> Figure:
    """The share of values within each interval against the steps ahead.

    Args:
        coverage: [horizon, level], percent; columns are the levels asked for, in percent.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_TALL, layout="constrained")
        axes = figure.subplots()
        for number, level in enumerate(coverage):
            colour = OTHERS[number % len(OTHERS)]
            marker = "o" if len(coverage) < 2 else ""
            found = coverage[level].to_numpy(np.float64)
            label = f"{level:g} % intervals: {np.nanmean(found):.0f} % within"
            axes.plot(coverage.index, found, color=colour, lw=1.8, marker=marker, label=label)
            axes.axhline(float(level), color=colour, lw=0.9, ls=":")
        _ahead(axes)
        axes.set_ylim(0, 103)
        axes.set_ylabel("% of the values within")
        figure.legend(loc="outside lower left")
        return figure


def write_figure(path: Path, figure: Figure) -> None:
    """Write one of these figures as a PNG."""
    with mpl.rc_context(_STYLE):
        _png(figure, path)


def figure_svg(figure: Figure, description: str) -> str:
    """One of these figures as an SVG element in the page's colours."""
    with mpl.rc_context(_STYLE):
        return _svg(figure, description)


def _draw(axes: Axes, outlook: Outlook) -> None:
    history, past, future, name = outlook.history, outlook.past, outlook.future, outlook.name
    axes.plot(_x(history["ds"]), history["y"], color=INK, lw=1, label="history")
    label = "forecasts of held-out windows"
    for _, one in past.groupby("cutoff", sort=True):
        style = {"color": OTHERS[0], "lw": 1.1, "marker": "." if len(one) < 2 else ""}
        axes.plot(_x(one["ds"]), one[name], label=label, **style)
        label = "_"
    x = _x(future["ds"])
    for number, level in enumerate(sorted(outlook.levels, reverse=True)):
        low, high = (future[f"{name}-{side}-{level:g}"] for side in ("lo", "hi"))
        alpha = 0.15 + 0.12 * number
        axes.fill_between(x, low, high, color=MODEL, alpha=alpha, lw=0, label=f"{level:g} %")
        if len(future) < 2:  # a band of one step has no width
            axes.vlines(x, low, high, color=MODEL, alpha=2 * alpha, lw=6)
    marker = "o" if len(future) < 2 else ""
    axes.plot(x, future[name], color=MODEL, lw=1.8, marker=marker, ms=3, label="forecast")
    if len(history) and pd.api.types.is_datetime64_any_dtype(history["ds"].dtype):
        axes.axvline(_x(history["ds"])[-1], color=FAINT, lw=0.6)
        locator = AutoDateLocator(minticks=3, maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _ahead(axes: Axes) -> None:
    axes.set_xlabel("steps ahead")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", color=FAINT, alpha=0.25, lw=0.6)


def _x(times: Any) -> np.ndarray:
    if isinstance(times.dtype, pd.DatetimeTZDtype):
        times = times.dt.tz_localize(None)  # the clock of the place
    return times.to_numpy()


def _short(text: str, most: int = 44) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _png(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # an id in another script: boxes
        figure.savefig(path, dpi=120)


def _svg(figure: Figure, description: str) -> str:
    FigureCanvasSVG(figure)
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    head, body = text.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head)
    assert view is not None  # matplotlib's SVG always has one
    label = html.escape(description, quote=True)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    # Many pictures share a page: only what is referred to keeps its id, which is a hash.
    body = re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", body)
    # Letters and joints are the page's to choose; a tenth of a point is finer than a pixel.
    body = re.sub(r"<style.*?</style>|font-family: [^;\"]*;? ?", "", body, flags=re.DOTALL)
    body = re.sub(r' d="[^"]*"', lambda d: re.sub(r"(\.\d)\d+|\n", r"\1", d[0]), body)
    body = re.sub(r"\n\s*", "\n", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    return f'<svg {view[0]} role="img" aria-label="{label}">{body}'
