"""The one season of a series that its frequency implies, and the place of each step in it."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from seqjax.data import DataError
from seqjax.forecast.calendar import cycles_of


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
    # The first that is no hour's: of hours the day, of days the week.
    found = [one for one in cycles_of(index) if one.name != "hours"]
    if not found:
        raise DataError(
            f"The frequency {index.freqstr} has no season known here; known are those of"
            " months, quarters, weeks, days, business days, and what divides a day."
        )
    period, cycle, place = found[0]
    exposure = np.ones(len(index))
    if per_day and place in ("month", "quarter"):
        step: Any = index.freq
        starts = "S" in step.rule_code.partition("-")[0]
        spans = (index + step) - index if starts else index - (index - step)
        exposure = np.round(np.asarray(spans) / np.timedelta64(1, "D"))
    return Season(period, cycle, place, _places(index, place, period), exposure)


def _places(index: pd.DatetimeIndex, place: str, period: int) -> np.ndarray:
    """By the calendar and the clock, not by counting: holidays and summer time shift a count."""
    if place == "month":
        return np.asarray(index.month) - 1
    if place == "quarter":
        return np.asarray(index.quarter) - 1
    if place == "weekday":
        return np.asarray(index.day_of_week)
    if place not in ("hour", "time of day"):
        return np.arange(len(index)) % period
    seconds = np.asarray(index.hour) * 3600 + np.asarray(index.minute) * 60 + index.second
    return np.asarray(seconds) * period // (24 * 3600)
