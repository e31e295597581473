"""Pictures of forecasts. Needs matplotlib: ``pip install 'seqjax[plot]'``."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def plot_forecast(
    path: Path,
    actual: pd.Series,
    forecasts: np.ndarray,
    baselines: Mapping[str, np.ndarray],
    *,
    name: str,
    title: str,
    unit: str,
) -> None:
    """Actual against forecast, with the baselines, and the errors below.

    Args:
        path: of the PNG.
        actual: [time].
        forecasts: [seeds, time]; drawn as their mean and range.
        baselines: name to [time].
        name: of the model.
        title: of the picture.
        unit: of the values.
    """
    figure = _figure((10.0, 6.5))
    axes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    dates = actual.index
    mean, network = forecasts.mean(axis=0), f"{name}, {len(forecasts)} seed(s)"
    for lines, values in ((axes[0], 0.0), (axes[1], actual.to_numpy())):
        for name, baseline in baselines.items():
            lines.plot(dates, baseline - values, lw=1, ls="--", label=name)
        lines.plot(dates, mean - values, color="C3", lw=1.8, label=network)
        lines.fill_between(
            dates, forecasts.min(0) - values, forecasts.max(0) - values, color="C3", alpha=0.2, lw=0
        )
    axes[0].plot(dates, actual, color="black", lw=1.8, marker="o", ms=3, label="actual")
    axes[0].margins(y=0.12)  # room for the legend
    axes[0].set_ylabel(unit)
    axes[0].set_title(title)
    axes[0].legend(fontsize="small", frameon=False, ncols=2)
    axes[1].axhline(0, color="black", lw=0.8)
    axes[1].set_ylabel("forecast - actual")
    figure.savefig(path, dpi=120)


def plot_losses(path: Path, histories: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """Training and validation loss against the epoch, a line for each seed.

    Args:
        path: of the PNG.
        histories: as in `seqjax.train.Fit.history`, one for each seed.
    """
    figure = _figure((8.0, 4.5))
    axes = figure.subplots()
    for number, history in enumerate(histories):
        for key, colour in (("loss", "C0"), ("validation_loss", "C1")):
            points = [(line["epoch"], line[key]) for line in history if key in line]
            if points:
                label = key.replace("_", " ") if number == 0 else None
                axes.plot(
                    *zip(*points, strict=True),
                    color=colour,
                    lw=1,
                    marker=".",
                    ms=2,
                    alpha=0.7,
                    label=label,
                )
    if all(line.get("loss", 0) > 0 for history in histories for line in history):
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean squared error, scaled")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def plot_curves(
    path: Path, curves: pd.DataFrame, *, title: str, x: str, y: str, log_y: bool = False
) -> None:
    """Columns against the index, a line for each.

    Args:
        path: of the PNG.
        curves: one line a column; missing and, on a logarithmic axis, zero values are
            left out.
        title: of the picture.
        x: what the index is.
        y: what the columns are.
        log_y: a logarithmic axis.
    """
    figure = _figure((9.0, 5.0))
    axes = figure.subplots()
    styles = itertools.cycle(("-", "--", ":"))
    style = next(styles)
    for number, name in enumerate(curves):
        if number and number % 10 == 0:  # the colours begin again
            style = next(styles)
        places, values = curves.index.to_numpy(), curves[name].to_numpy(np.float64)
        shown = values > 0 if log_y else np.isfinite(values)  # NaN is not above 0 either
        axes.plot(places[shown], values[shown], lw=1.4, ls=style, label=str(name))
    if log_y:
        axes.set_yscale("log")
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)


def plot_examples(
    path: Path,
    inputs: np.ndarray,
    actual: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    *,
    title: str,
) -> None:
    """Some series, what followed, and the forecasts of it.

    Args:
        path: of the PNG.
        inputs: [series, time].
        actual: [series, horizon].
        forecasts: name to [series, horizon].
        title: of the picture.
    """
    count, steps = inputs.shape
    figure = _figure((10.0, 2.4 * -(-count // 2) + 0.6))
    grid = figure.subplots(-(-count // 2), 2, sharex=True, sharey=True, squeeze=False)
    ahead = np.arange(steps, steps + actual.shape[1])
    for axes, seen, followed, number in zip(grid.flat, inputs, actual, range(count), strict=False):
        axes.plot(np.arange(steps), seen, color="black", lw=1, marker=".", ms=3)
        axes.plot(ahead, followed, color="black", lw=0, marker="o", ms=4, mfc="none")
        for name, values in forecasts.items():
            axes.plot(ahead, values[number], lw=1.5, marker="x", ms=4, label=name)
        axes.axvline(steps - 0.5, color="grey", lw=0.8, ls="--")
    figure.suptitle(title)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=120)


def _figure(size: tuple[float, float]) -> Figure:
    # Without pyplot: no window system, no state that outlives the picture.
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
