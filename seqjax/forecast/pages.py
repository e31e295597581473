"""What a forecasting run leaves for its reader: pictures, and one page."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from seqjax.forecast import html
from seqjax.forecast.outlook import Outlook, when
from seqjax.forecast.results import Results, outlooks, verdict
from seqjax.storage.files import write_atomically


class Pictures(NamedTuple):
    """SVG elements for the page; empty without matplotlib.

    Attributes:
        series: of each series that is drawn.
        horizon: the error against the steps ahead.
        calibration: the share within the intervals against the steps ahead.
    """

    series: Sequence[str] = ()
    horizon: str = ""
    calibration: str = ""


def write(folder: Path, results: Results) -> list[Path]:
    """Write the pictures and report.html.

    Args:
        folder: the run's.
        results: of the run.

    Returns:
        The files; without matplotlib a page without pictures, which is told.
    """
    drawn = outlooks(results)
    pictures, files = _draw(folder, results, drawn)
    path = folder / "report.html"
    write_atomically(path, report(results, drawn, pictures).encode())
    return [path, *files]


def _draw(folder: Path, results: Results, drawn: Sequence[Outlook]) -> tuple[Pictures, list[Path]]:
    try:
        from seqjax.forecast import panel_plots as plots
    except ModuleNotFoundError as error:
        print(f"no pictures: {error}; pip install 'seqjax[plot]' and --resume", file=sys.stderr)
        return Pictures(), []
    files = [folder / "forecasts.png", folder / "horizon.png"]
    title = f"{results.source}: the next {results.steps}"
    plots.write_series(files[0], drawn, title)
    errors, coverage, name = results.by_horizon, results.coverage, results.name
    others = errors.columns.drop(name)
    shown = dict.fromkeys([name, results.scores.reference, *others[:2]])  # best first
    figure = plots.horizon_figure(errors.reindex(columns=[*shown]), name)
    plots.write_figure(files[1], figure)
    horizon = plots.figure_svg(
        figure,
        f"The mean absolute error of {', '.join(shown)} at 1 to {len(errors)} steps ahead; the"
        " table below has the figures.",
    )
    calibration = ""
    if len(coverage.columns):
        files.append(folder / "calibration.png")
        figure = plots.calibration_figure(coverage)
        plots.write_figure(files[-1], figure)
        calibration = plots.figure_svg(
            figure,
            "The percentage of held-out values within the intervals at each step ahead, beside"
            " the level asked for; the table below has the figures.",
        )
    return Pictures([plots.series_svg(one) for one in drawn], horizon, calibration), files


def report(results: Results, drawn: Sequence[Outlook], pictures: Pictures) -> str:
    """The page.

    Args:
        results: of the run.
        drawn: from `outlooks`.
        pictures: of them.

    Returns:
        HTML.
    """
    sections = [
        html.Section("forecast", "The forecast", _forecast(results, drawn, pictures.series)),
        html.Section("skill", "How good it is", _skill_section(results)),
        html.Section("horizon", "Error by horizon", _horizon(results, pictures.horizon)),
        html.Section("calibration", "Calibration", _calibration(results, pictures.calibration)),
        html.Section("data", "The data", html.facts(results.found) + html.bullets(results.notes)),
        html.Section(
            "settings",
            "Settings and versions",
            html.facts(results.settings) + html.details("Versions", html.facts(results.versions)),
        ),
        html.Section("again", "Forecast again", html.commands(results.again)),
    ]
    count, last = results.series, when(results.history["ds"].max())
    series = f", from {count:,} series" if count > 1 else ""
    return html.page(
        f"{results.source}: the next {results.steps}",
        f"By {results.name}{series}, known up to {last}.",
        verdict(results),
        [one for one in sections if one.body],
    )


def _forecast(results: Results, drawn: Sequence[Outlook], svgs: Sequence[str]) -> str:
    by_series, count = results.by_series, results.series
    said = ""
    if count > len(drawn):
        half = len(drawn) // 2
        said = html.paragraph(
            f"The {half} series that the model is worst at, by skill, then the {half} that it is"
            f" best at. All {count:,} are in forecasts.csv."
        )
    cards = "".join(
        html.picture(svg, one.title, _future(one), _skill(results, by_series, one))
        for one, svg in zip(drawn, svgs or [""] * len(drawn), strict=True)
    )
    return f'{said}{html.key(results.levels) if svgs else ""}<div class="cards">{cards}</div>'


def _future(one: Outlook) -> str:
    columns = {
        column: html.in_words(str(column), one.name)
        for column in one.future
        if str(column).startswith(one.name)
    }
    shown = (
        one.future.set_index("ds").reindex(columns=[*columns]).set_axis([*columns.values()], axis=1)
    )
    return html.numbers(shown.rename_axis("time"), one.title, "forecasts.csv")


def _skill(results: Results, by_series: pd.DataFrame, one: Outlook) -> str:
    ours, naive, skill = by_series.loc[one.history["unique_id"].iloc[0]].to_numpy()
    if np.isnan(skill):
        return ""
    ours, naive = html.figure(float(ours)), html.figure(float(naive))
    return f"skill {skill:.2f} (mean absolute error {ours}; {results.scores.reference}: {naive})"


def _skill_section(results: Results) -> str:
    windows = results.cross_validation.groupby("unique_id")["cutoff"].nunique().max()
    text = (
        f"Each model forecast {windows} held-out window(s) of {results.steps} of every series, from"
        " what stood before them. Skill is 1 - MASE / that of"
        f" {results.scores.reference}: above 0 is better than it, 1 is perfect. MASE is the mean"
        " absolute error in units of the seasonal naive's within what stood before; sMAPE is in"
        " percent; wQL and CRPS judge the intervals, too. Those of every model are calibrated on"
        " windows before the held-out ones."
    )
    table = html.table(results.pooled, "All held-out windows; best first", results.name)
    return html.paragraph(text) + table


def _horizon(results: Results, svg: str) -> str:
    errors = results.by_horizon.rename_axis("steps ahead")
    shown = html.picture(svg, "Mean absolute error") if svg else ""
    return shown + html.numbers(errors, "Mean absolute error", "scores_by_horizon.csv")


def _calibration(results: Results, svg: str) -> str:
    coverage = results.coverage
    if not len(coverage.columns):
        return ""
    text = (
        "Of held-out values, an interval of 80 % should hold 80 %: at every step ahead the line"
        " should run along the dotted one. Below it the intervals are too narrow, above it too"
        " wide. Few windows make it jump."
    )
    named = [f"{level:g} % asked for" for level in coverage]
    within = coverage.round(1).set_axis(named, axis=1).rename_axis("steps ahead")
    table = html.numbers(within, "Percent of the values within", "scores_by_horizon.csv")
    shown = html.picture(svg, "Within the intervals") if svg else ""
    return html.paragraph(text) + shown + table
