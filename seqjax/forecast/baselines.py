"""Baselines for one-step-ahead forecasts of a series' last steps.

Every function takes the values, [time], and `start`, the index of the first
step to forecast. It returns forecasts of ``values[start:]``, each from the
values before it; what is fitted is fitted on the values before `start` alone.
"""

import numpy as np

from seqjax.data import DataError, windows


def last_value(values: np.ndarray, start: int) -> np.ndarray:
    """``y[t-1]``

    Example:
        >>> last_value(np.array([1.0, 2.0, 4.0]), start=1).tolist()
        [1.0, 2.0]
    """
    _check(start, 1, values)
    return values[start - 1 : -1]


def seasonal_naive(values: np.ndarray, start: int, period: int) -> np.ndarray:
    """``y[t-period]``

    Example:
        >>> seasonal_naive(np.array([1.0, 2.0, 4.0]), start=2, period=2).tolist()
        [1.0]
    """
    _check(start, period, values)
    return values[start - period : len(values) - period]


def seasonal_difference(values: np.ndarray, start: int, period: int) -> np.ndarray:
    """``y[t-period] + y[t-1] - y[t-period-1]``: last cycle's change, from the last value.

    Example:
        >>> seasonal_difference(np.array([1.0, 2.0, 4.0, 6.0]), start=3, period=2).tolist()
        [5.0]
    """
    _check(start, period + 1, values)
    t = np.arange(start, len(values))
    return values[t - period] + values[t - 1] - values[t - period - 1]


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


def mean_change(
    values: np.ndarray, start: int, period: int, cycles: int, exposure: np.ndarray
) -> np.ndarray:
    """The mean change of ``values / exposure`` at this place of the last `cycles` cycles.

    Args:
        values: [time].
        start: index of the first step to forecast.
        period: steps of a cycle.
        cycles: how many past cycles to average.
        exposure: [time], what a value is proportional to, such as the days of its month.

    Returns:
        Forecasts of ``values[start:]``.

    Example:
        >>> mean_change(np.array([0.0, 2, 1, 3, 2]), 4, 2, 1, np.ones(5)).tolist()
        [2.0]
    """
    _check(start, period * cycles + 1, values)
    rate = values / exposure
    t = np.arange(start, len(values))
    change = np.diff(rate, prepend=np.nan)
    mean = np.mean([change[t - k * period] for k in range(1, cycles + 1)], axis=0)
    return (rate[t - 1] + mean) * exposure[t]


def _check(start: int, needed: int, values: np.ndarray) -> None:
    if not needed <= start < len(values):
        raise DataError(
            f"A forecast from step {start} of a series of {len(values)} needs {needed} steps"
            " before it, and at least one to forecast; lengthen the series or shorten the window."
        )
