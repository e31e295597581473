"""The season of a series, out of its frequency, and the baselines that it suggests."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from seqjax.data import DataError
from seqjax.forecast import baselines


class Season(NamedTuple):
    """The season of a series.

    Attributes:
        period: steps of a cycle.
        cycle: its name.
        place: the name of a step in it.
        places: [time], the place of each step.
        exposure: [time], days of each month or quarter; 1 where values are no sums.
    """

    period: int
    cycle: str
    place: str
    places: np.ndarray
    exposure: np.ndarray


SEASONS = {
    "MS": (12, "years", "month"),
    "ME": (12, "years", "month"),
    "QS": (4, "years", "quarter"),
    "QE": (4, "years", "quarter"),
    "W": (52, "years", "week"),
    "D": (7, "weeks", "weekday"),
    "B": (5, "weeks", "weekday"),
    "C": (5, "weeks", "weekday"),
    "h": (24, "days", "hour"),
}
_DAY = 24 * 60 * 60 * 10**9  # nanoseconds


def season_of(series: pd.Series, *, per_day: bool) -> Season:
    """The season that a series' frequency implies.

    Args:
        series: with a regular index of dates.
        per_day: values of months and quarters are sums over their days.

    Raises:
        DataError: for a frequency that implies none.

    Example:
        >>> index = pd.date_range("2023-01-01", periods=14, freq="MS")
        >>> season = season_of(pd.Series(range(14), index), per_day=True)
        >>> season.period, season.exposure[:3].tolist()
        (12, [31.0, 28.0, 31.0])
    """
    index = series.index
    assert isinstance(index, pd.DatetimeIndex)
    name = str(index.freqstr).split("-")[0]
    if name in SEASONS:
        period, cycle, place = SEASONS[name]
    elif isinstance(index.freq, pd.offsets.Tick) and not _DAY % index.freq.nanos:
        period, cycle, place = _DAY // index.freq.nanos, "days", "time of day"
    else:
        raise DataError(
            f"The frequency {index.freqstr} has no season known here; known are"
            f" {', '.join(SEASONS)}, and what divides a day."
        )
    exposure = np.ones(len(index))
    if per_day and place in ("month", "quarter"):
        spans = index.to_period("M" if place == "month" else "Q")
        lengths = np.asarray(spans.end_time) - np.asarray(spans.start_time)
        exposure = np.round(lengths / np.timedelta64(1, "D"))
    return Season(period, cycle, place, _places(index, place, period), exposure)


def _places(index: pd.DatetimeIndex, place: str, period: int) -> np.ndarray:
    """By the calendar and the clock, not by counting: holidays and summer time shift a count."""
    if place == "month":
        return np.asarray(index.month) - 1
    if place == "quarter":
        return np.asarray(index.quarter) - 1
    if place == "weekday":
        return np.asarray(index.day_of_week)
    if place == "week":
        return np.arange(len(index)) % period
    seconds = np.asarray(index.hour) * 3600 + np.asarray(index.minute) * 60 + index.second
    return np.asarray(seconds) * period // (24 * 3600)


def seasonal_baselines(
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
    change = "mean change per day" if (exposure != 1).any() else "mean change"
    lags = {
        f"least squares, {window} lags (the same window)": window,
        f"least squares, {period + 1} lags": period + 1,
    }
    found = {
        "last value": baselines.last_value(values, start),
        f"seasonal naive, y[t-{period}]": baselines.seasonal_naive(values, start, period),
        f"y[t-{period}] + y[t-1] - y[t-{period + 1}]": baselines.seasonal_difference(
            values, start, period
        ),
        f"least squares, {change} into each {season.place}": baselines.month_effects(
            values, start, season.places, exposure
        ),
    }
    found |= {name: baselines.least_squares(values, start, n) for name, n in lags.items()}
    if cycles is not None:
        found[f"{change} of the last {cycles} {season.cycle}"] = baselines.mean_change(
            values, start, period, cycles, exposure
        )
    return found
