"""Cross-validation: forecasts of the last windows of every series."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from seqjax.data import DataError
from seqjax.forecast.intervals import check_level, lowest, named
from seqjax.forecast.panel import Panel, held_out, hold_back, typical_length
from seqjax.forecast.settings import Settings
from seqjax.forecast.trained import rolling
from seqjax.forecast.training import train_panel


class Fold(NamedTuple):
    """Forecasts of windows by one training.

    Attributes:
        series: [windows], which one.
        last: [windows], the place of the last known value in the panel's values.
        actual: [windows, horizon], NaN where missing.
        columns: [windows, horizon] each, by name.
    """

    series: np.ndarray
    last: np.ndarray
    actual: np.ndarray
    columns: dict[str, np.ndarray]


def windows_of(panel: Panel, horizon: int) -> int:
    """How many windows to measure on: three, as long as they leave half of the longer series.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> [windows_of(panel_of({"a": np.ones(length)}), 6) for length in (60, 24, 6)]
        [3, 2, 1]
    """
    longer = max(int(np.quantile(panel.lengths, 0.75)), typical_length(panel))
    return max(1, min(3, longer // 2 // horizon))


def cross_validated(
    settings: Settings,
    panel: Panel,
    windows: int,
    step: int,
    *,
    refit: bool = False,
    level: Sequence[int | float] = (),
    seed: int = 0,
    progress: str | None = None,
    lines: bool = False,
) -> Iterator[Fold]:
    """Forecasts of the last windows, each from what was known before it.

    Args:
        settings: of the forecaster.
        panel: the series.
        windows: how many of each.
        step: steps between them.
        refit: train anew for every window; otherwise once, before the first.
        level: of intervals, in percent; they are calibrated on values before the windows.
        seed: of the first network.
        progress: a label for progress bars.
        lines: draw lines between known values, of each window between those before it.

    Yields:
        A fold for each training. Those after the first compile nothing anew.

    Raises:
        DataError: where nothing is left to train on.
    """
    check_level(settings, level)
    horizon = settings.horizon
    held = held_out(horizon, windows, step)
    longest = int(panel.lengths.max())
    if held + 1 >= longest:
        raise DataError(
            f"{windows} window(s) of {horizon} steps leave nothing of the longest series, of"
            f" {longest} steps, to train on; ask for fewer windows or a shorter horizon."
        )
    for window in range(windows if refit else 1):
        behind = held - window * step
        label = progress
        if progress and refit:
            label = f"{progress}, window {window + 1} of {windows}"
        before = hold_back(panel, behind)
        trained = train_panel(settings, before, seed=seed, progress=label, lines=lines)
        settings = trained.settings  # window and steps of the first: no other program
        seen = hold_back(panel, behind - horizon) if refit else panel
        count = 1 if refit else windows
        series, last, found, actual = rolling(trained, seen, count, step, lines=lines)
        actual = np.exp(actual) if settings.transform == "log" else actual
        low = lowest(trained, before)[series]
        yield Fold(series, last, actual, named(trained, found, low, level))
