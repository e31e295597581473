"""Intervals of the baselines, calibrated as a network's are: a table then compares like with like.

    columns = forecasts(panel, panel, horizon=14, season=7, level=[80])  # behind every series

The half-widths are quantiles of the baselines' own errors in the windows that a network would be
calibrated on (`seqjax.forecast.training.calibration_windows`); no value behind them is read.
"""

from collections.abc import Sequence

import numpy as np

from seqjax.data import DataError
from seqjax.forecast import conformal, metrics, naive
from seqjax.forecast.arrays import scales
from seqjax.forecast.panel import Panel, only, within
from seqjax.forecast.settings import Settings, resolved
from seqjax.forecast.trained import places_before
from seqjax.forecast.training import calibration_windows

Season = int | Sequence[int] | None


def forecasts(
    past: Panel, before: Panel, horizon: int, season: Season, level: Sequence[int | float] = ()
) -> dict[str, np.ndarray]:
    """`seqjax.forecast.naive.forecasts` with intervals, by the name of their column.

    Args:
        past: what is known before each forecast.
        before: the series up to the first forecast, for calibration; `past` itself, or the same
            series cut earlier.
        horizon: steps.
        season: periods, in steps.
        level: of the intervals, in percent; those that `before` has too few windows for are
            left out.

    Returns:
        [series of past, horizon] each: ``drift``, ``drift-lo-80``, ``drift-hi-80``, ...

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> panel = panel_of({"a": np.arange(40.0) + np.tile([0.0, 0.3], 20)})
        >>> found = forecasts(panel, panel, 1, 2, [80])
        >>> [found[f"last value{end}"].round(1).tolist() for end in ("-lo-80", "", "-hi-80")]
        [[[38.0]], [[39.3]], [[40.6]]]
    """
    found = naive.forecasts(past, horizon, season)
    windows = _windows(before, horizon, season) if level else None
    if windows is None:
        return found
    known, actual = windows
    unit, unit_then = _scale(past, season), _scale(known, season)
    # As a network's: of values that are never below 0 no interval is.
    lowest = np.min(before.values, where=within(before) & ~np.isnan(before.values), initial=np.inf)
    least = 0.0 if lowest >= 0 else -np.inf
    columns, then = {}, naive.forecasts(known, horizon, season)
    for name, point in found.items():
        los, his = {}, {}
        unforeseen = np.where(np.isnan(then[name]), np.nan, actual)  # nothing of it is known
        errors = conformal.quantile_scores(then[name], then[name], unforeseen, unit_then)
        calibration = conformal.calibrate(errors)
        for one in sorted(set(level)):
            try:
                half = conformal.half_widths(calibration, one)
            except DataError:  # too few windows
                break
            lo, hi = conformal.intervals(point, point, half, unit)
            los[f"{name}-lo-{one:g}"] = np.maximum(lo, np.minimum(point, least))
            his[f"{name}-hi-{one:g}"] = hi
        columns |= {name: point, **dict(reversed(los.items())), **his}  # in Nixtla's order
    return columns


def _windows(before: Panel, horizon: int, season: Season) -> tuple[Panel, np.ndarray] | None:
    """What was known before each window of calibration, and its values [windows, horizon]."""
    settings = Settings("linear", horizon, seasons=naive.periods(season))
    if before.lengths.max() < 2:
        return None
    settings = resolved(settings, before)
    plan = calibration_windows(settings, before)
    if not plan.windows or not plan.series.any():
        return None
    panel = only(before, plan.series)
    series, last = places_before(settings, panel, plan.windows, plan.step)
    if len(series) > conformal.LIMIT:
        some = np.random.default_rng(0).choice(len(series), conformal.LIMIT, replace=False)
        series, last = series[some], last[some]
    known = only(panel, series)._replace(stops=last + 1)
    return known, panel.values[last[:, None] + np.arange(1, horizon + 1)]


def _scale(panel: Panel, season: Season) -> np.ndarray:
    """[series], positive: MASE's, or where a series has none its mean absolute deviation."""
    scale = metrics.seasonal_scale(panel, min(naive.periods(season), default=1))
    return np.where(np.isnan(scale), scales(panel)[1], scale)
