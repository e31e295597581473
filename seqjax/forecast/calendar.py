"""The cycles of a grid of times, its times as features, and the times behind its end."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from seqjax.data import DataError

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
# Of each phase the finest and the coarsest step in seconds, between which it says something:
# coarser ones stand still, finer ones hardly move within a series.
_PHASES = {
    "second_of_minute": (0.0, _MINUTE / 2),
    "minute_of_hour": (0.0, _HOUR / 2),
    "time_of_day": (1.0, _DAY / 2),
    "day_of_week": (_MINUTE, 3 * _DAY),
    "day_of_month": (_DAY, 3 * _DAY),
    "day_of_year": (_HOUR, 10 * _DAY),
    "month_of_year": (10 * _DAY, 190 * _DAY),
}


class Cycle(NamedTuple):
    """A cycle of the calendar or the clock.

    Attributes:
        period: its steps.
        name: in the plural, "years".
        place: the name of a step in it.
    """

    period: int
    name: str
    place: str


def cycles_of(grid: pd.Index) -> list[Cycle]:
    """Those that a frequency suggests: of hours the day and the week, of days the week and ...

    Example:
        >>> [cycle.name for cycle in cycles_of(pd.date_range("2024", periods=9, freq="h"))]
        ['days', 'weeks']
    """
    if not isinstance(grid, pd.DatetimeIndex) or grid.freq is None:
        return []
    offset: Any = to_offset(grid.freq)
    step = seconds(offset)
    name = "" if type(offset) is pd.DateOffset else offset.rule_code.split("-")[0]
    if isinstance(offset, pd.offsets.Tick) or name == "D":
        place = "hour" if step == _HOUR else "time of day"
        week = "weekday" if step == _DAY else "time of the week"
        lengths = ((_HOUR, "hours", "minute"), (_DAY, "days", place), (7 * _DAY, "weeks", week))
        found = [Cycle(round(s / step), *names) for s, *names in lengths if not s % step]
        if step >= _DAY:
            found.append(Cycle(round(365 * _DAY / step), "years", "time of the year"))
        return [cycle for cycle in found if cycle.period > 2]
    if name in ("B", "C"):
        cycles = [Cycle(5, "weeks", "weekday"), Cycle(261, "years", "time of the year")]
        return cycles if offset.n == 1 else []
    if name.endswith("W"):
        return [Cycle(round(52 / offset.n), "years", "week")]
    days = step / _DAY
    if not 25 < days < 190:
        return []
    period = round(365 / days)
    return [Cycle(period, "years", {12: "month", 4: "quarter"}.get(period, "time of the year"))]


def features(grid: pd.Index, freq: Any = None) -> tuple[tuple[str, ...], np.ndarray]:
    """``sin`` and ``cos`` of ``2 pi`` times the phase of each cycle of the calendar and the clock.

    Which cycles depends on the frequency: months have that of the year; days those of the week,
    the month and the year; hours those of the day, the week and the year; minutes those of
    the hour, the day and the week. Whole numbers and years have none.

    Args:
        grid: the times, [time]; those with a zone count by the wall clock of that zone.
        freq: their frequency, a pandas alias or offset; the grid's own by default.

    Returns:
        Names, and the features, float32, [time, names], within [-1, 1].

    Raises:
        DataError: for times without a frequency.

    Example:
        >>> names, values = features(pd.date_range("2024-01-01", periods=4, freq="QS"))
        >>> names
        ('month_of_year_sin', 'month_of_year_cos')
        >>> values[:2].round(3).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    if not isinstance(grid, pd.DatetimeIndex):
        return (), np.zeros((len(grid), 0), np.float32)
    freq = grid.freq if freq is None else freq
    if freq is None:
        raise DataError("features: the grid has no frequency; pass freq, such as MS, D or h.")
    step = seconds(freq)
    wall = grid.tz_localize(None)
    shown = [name for name, (least, most) in _PHASES.items() if least <= step <= most]
    angles = [2 * np.pi * _phase(wall, name) for name in shown]
    pairs = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    names = tuple(f"{name}_{wave}" for name in shown for wave in ("sin", "cos"))
    return names, np.array(pairs, np.float32).reshape(len(names), len(grid)).T


def seconds(freq: Any) -> float:
    """The mean length of a step, in seconds; a month counts as a twelfth of a year.

    Args:
        freq: a pandas alias or offset.

    Example:
        >>> seconds("15min"), seconds("W") / 86400
        (900.0, 7.0)
    """
    offset: Any = to_offset(freq)
    if isinstance(offset, pd.offsets.Tick):
        return offset.nanos / 1e9
    start = pd.Timestamp("2001-01-01") + offset
    return (start + 12 * offset - start).total_seconds() / 12


def _phase(wall: pd.DatetimeIndex, name: str) -> np.ndarray:
    """In [0, 1), how far each time is within its cycle."""
    second = np.asarray(wall.second) + np.asarray(wall.microsecond) / 1e6
    clock = np.asarray(wall.hour) * _HOUR + np.asarray(wall.minute) * _MINUTE + second
    day = clock / _DAY
    if name == "second_of_minute":
        return second / _MINUTE
    if name == "minute_of_hour":
        return clock % _HOUR / _HOUR
    if name == "time_of_day":
        return day
    if name == "day_of_week":
        return (np.asarray(wall.day_of_week) + day) / 7
    if name == "day_of_month":
        return (np.asarray(wall.day) - 1 + day) / np.asarray(wall.days_in_month)
    if name == "day_of_year":
        length = 365 + np.asarray(wall.is_leap_year)
        return (np.asarray(wall.day_of_year) - 1 + day) / length
    return (np.asarray(wall.month) - 1) / 12


def extend(grid: pd.Index, steps: int) -> pd.Index:
    """The grid with more times behind its end.

    Args:
        grid: a DatetimeIndex with its frequency, or a RangeIndex.
        steps: how many to add.

    Returns:
        The longer grid, of the same type, unit and zone.

    Raises:
        DataError: where pandas' times end (of nanoseconds in the year 2262), or the clocks of
            the zone skip one of the times.

    Example:
        >>> extend(pd.date_range("2024-01-31", periods=2, freq="ME"), 2)[-1]
        Timestamp('2024-04-30 00:00:00')
        >>> extend(pd.RangeIndex(0, 30, 10), 1)
        RangeIndex(start=0, stop=40, step=10)
    """
    if isinstance(grid, pd.RangeIndex):
        return pd.RangeIndex(grid.start, grid.stop + steps * grid.step, grid.step)
    assert isinstance(grid, pd.DatetimeIndex)
    try:
        last: Any = grid[-1]
        freq: Any = grid.freq
        added = pd.date_range(last, periods=steps + 1, freq=freq, unit=grid.unit)
        longer = grid.append(added[1:])
        return pd.DatetimeIndex(longer, freq=freq)
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{steps} steps of {grid.freqstr} behind {grid[-1]} are no times that pandas has:"
            f" {error}; ask for a shorter horizon, or convert the times (dt.as_unit('s'), or"
            " dt.tz_convert('UTC') where the clocks change)."
        ) from None
