"""Baselines one step ahead over a series' last steps: the fitted ones, and the table of all.

A function takes the values, [time], and `start`, the index of the first step to forecast. It
returns forecasts of ``values[start:]``, each from the values before it; what is fitted is fitted
on the values before `start` alone. Those that fit nothing: `seqjax.forecast.naive`.
"""

import numpy as np
import pandas as pd

from seqjax.data import DataError, windows
from seqjax.forecast import naive
from seqjax.forecast.panel import pasts
from seqjax.forecast.season import Season


def least_squares(values: np.ndarray, start: int, lags: int) -> np.ndarray:
    """A linear function of the last `lags` values and a constant, by least squares.

    Where there are more lags than values to fit them on, of all solutions the
    one of least norm.

    Example:
        >>> forecast = least_squares(np.arange(10.0), start=8, lags=2)
        >>> np.round(forecast, 6).tolist()
        [8.0, 9.0]
    """
    _check(start, lags + 1, values)
    inputs, targets = windows(values, lags)
    design = np.column_stack([inputs, np.ones(len(inputs))])
    fitted = start - lags
    weights = np.linalg.lstsq(design[:fitted], targets[:fitted, 0])[0]
    return design[fitted:] @ weights


def month_effects(
    values: np.ndarray, start: int, places: np.ndarray, exposure: np.ndarray
) -> np.ndarray:
    """Each place in the cycle has its own mean change of ``values / exposure``.

    Least squares with an effect for each place. Changes within the first cycle are
    left out, as they are where a lag of a whole cycle is among the inputs.

    Args:
        values: [time].
        start: index of the first step to forecast.
        places: [time], the place of each step in its cycle, such as the month.
        exposure: [time], what a value is proportional to, such as the days of its month.

    Returns:
        Forecasts of ``values[start:]``.

    Example:
        >>> places = np.array([0, 1, 0, 1, 0, 1, 0, 1])
        >>> forecast = month_effects(np.array([0.0, 2, 1, 3, 2, 4, 3, 5]), 6, places, np.ones(8))
        >>> forecast.tolist()
        [3.0, 5.0]
    """
    rate = values / exposure
    change = np.diff(rate, prepend=np.nan)
    t = np.arange(start, len(values))
    fitted = np.arange(len(values)) < start
    fitted[: len(np.unique(places)) + 1] = False
    effects = np.empty(len(values))
    for place in np.unique(places[t]):
        known = change[fitted & (places == place)]
        if not len(known):
            raise DataError(f"month_effects: no change into place {place} before step {start}.")
        effects[places == place] = known.mean()
    return (rate[t - 1] + effects[t]) * exposure[t]


def one_step_baselines(
    series: pd.Series, season: Season, test: int, *, window: int, cycles: int | None = None
) -> dict[str, np.ndarray]:
    """One-step-ahead forecasts of the last `test` values, by name.

    Args:
        series: the values.
        season: of the series.
        test: how many to forecast.
        window: values that a network reads: the same for a linear function.
        cycles: of the mean change of the last ones; None without it.
    """
    values, start = series.to_numpy(np.float64), len(series) - test
    period, exposure = season.period, season.exposure
    _check(start, period + 1, values)
    past = pasts(values, start)
    difference = naive.seasonal_difference(past, 1, period)
    change = "mean change per day" if (exposure != 1).any() else "mean change"
    lags = {
        f"least squares, {window} lags (the same window)": window,
        f"least squares, {period + 1} lags": period + 1,
    }
    found = {
        "last value": naive.last_value(past, 1)[:, 0],
        f"seasonal naive, y[t-{period}]": naive.seasonal_naive(past, 1, period)[:, 0],
        f"y[t-{period}] + y[t-1] - y[t-{period + 1}]": difference[:, 0],
        f"least squares, {change} into each {season.place}": month_effects(
            values, start, season.places, exposure
        ),
    }
    found |= {name: least_squares(values, start, n) for name, n in lags.items()}
    if cycles is not None:
        found[f"{change} of the last {cycles} {season.cycle}"] = mean_change_of_rates(
            values, start, period, cycles, exposure
        )
    return found


def mean_change_of_rates(
    values: np.ndarray, start: int, period: int, cycles: int, exposure: np.ndarray
) -> np.ndarray:
    """`naive.mean_change` of ``values / exposure``, one step ahead.

    Args:
        values: [time].
        start: index of the first step to forecast.
        period: steps of a cycle.
        cycles: how many past cycles to average.
        exposure: [time], what a value is proportional to, such as the days of its month.

    Returns:
        Forecasts of ``values[start:]``.

    Example:
        >>> mean_change_of_rates(np.array([0.0, 2, 1, 3, 2]), 4, 2, 1, np.ones(5)).tolist()
        [2.0]
    """
    rates = pasts(values / exposure, start)
    return naive.mean_change(rates, 1, period, cycles)[:, 0] * exposure[start:]


def _check(start: int, needed: int, values: np.ndarray) -> None:
    if not needed <= start < len(values):
        raise DataError(
            f"A forecast from step {start} of a series of {len(values)} needs {needed} steps"
            " before it, and at least one to forecast; lengthen the series or shorten the window."
        )
