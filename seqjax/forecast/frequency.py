"""The one grid of times on which all series of a panel lie."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from seqjax.data import DataError

_LONGEST = 50_000_000  # steps of a grid; more come of a time that is wrong
_MOST = 0.8  # part of a grid that must be filled, or of times that must agree, to be believed


def infer(series: Sequence[pd.Index], union: pd.Index) -> Any:
    """The frequency of a panel: that of most of its series.

    A series without gaps tells its own. Where less than half do, the times of all series
    together are asked, and then the most common step.

    Args:
        series: the times of some of the series, each rising.
        union: all times, rising.

    Returns:
        A pandas alias; of whole numbers the step; None where there is no telling.

    Example:
        >>> months = pd.date_range("2024-01-01", periods=9, freq="MS")
        >>> infer([months[:5], months[[2, 3, 5, 6]]], months), infer([], pd.Index([3, 5, 7]))
        ('MS', 2)
    """
    votes: Counter[Any] = Counter()
    for times in series:
        if (found := _regular(times)) is not None:
            votes[found] += 1
    if votes and votes.total() * 2 >= len(series):
        return votes.most_common(1)[0][0]
    for found in (_regular(union), _stepwise(union)):
        if found is not None and _fills(union, found):
            return found
    votes = Counter(found for times in series if (found := _stepwise(times)) is not None)
    return votes.most_common(1)[0][0] if votes else _stepwise(union)


def grid_of(times: pd.Index, freq: Any, counts: np.ndarray | None = None) -> pd.Index:
    """The grid of a frequency that spans the times; those that are on no grid are not in it.

    Args:
        times: rising.
        freq: a pandas alias or offset; a whole number for whole numbers.
        counts: how often each time stands in the panel: the grid runs through the most.

    Raises:
        DataError: for a frequency that is none, or a grid too long to be meant.

    Example:
        >>> times = pd.DatetimeIndex(["2024-01-01", "2024-01-15", "2024-03-01"])
        >>> len(grid_of(times, "MS")), grid_of(pd.Index([2, 8]), 2)
        (3, RangeIndex(start=2, stop=10, step=2))
    """
    weights = np.ones(len(times)) if counts is None else counts
    first: Any = times[0]
    last: Any = times[-1]
    if not isinstance(times, pd.DatetimeIndex):
        step = _whole(freq)
        start = first - (first - _most_common(times.to_numpy() % step, weights)) % step
        _check_length((last - start) // step, first, last, freq)
        return pd.RangeIndex(start, last - (last - start) % step + step, step)
    offset = _offset(freq)
    if isinstance(offset, pd.offsets.Tick):
        step = offset.nanos // _NANOSECONDS[times.unit]
        if step < 1:
            raise DataError(f"freq {freq!r} is finer than the times' unit, {times.unit}.")
        clock = times.asi8
        phase = _most_common(clock % step, weights)
        start = clock[0] - (clock[0] - phase) % step
        _check_length((clock[-1] - start) // step, first, last, freq)
        first = pd.Timestamp(int(start), unit=times.unit, tz=times.tz)
    else:  # days and longer: the same time of the day
        wall = times.tz_localize(None)
        clock = (wall - wall.normalize()).to_numpy().astype(np.int64)
        of_day = np.timedelta64(_most_common(clock, weights), times.unit)
        first = (wall[0].normalize() + of_day).tz_localize(times.tz)
    try:
        return pd.date_range(first, max(first, last), freq=offset, unit=times.unit)
    except (ValueError, OverflowError) as error:  # a time that the clocks skip
        raise DataError(
            f"freq {freq!r} from {first} to {last} is no grid of times: {error}; convert the times"
            " to UTC: dt.tz_convert('UTC')."
        ) from None


# Not by strftime: names would be those of the locale.
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


def _whole(freq: Any) -> int:
    if isinstance(freq, bool) or not str(freq).isdigit() or int(freq) < 1:
        raise DataError(
            f"freq {freq!r} is none of whole numbers, which these times are; pass the step, such"
            " as freq=1, or turn the times into dates."
        )
    return int(freq)


def _offset(freq: Any) -> Any:
    try:
        offset = to_offset(freq)
    except (ValueError, TypeError):
        offset = None
    if offset is None or getattr(offset, "n", 1) < 1:
        raise DataError(
            f"freq {freq!r} is no frequency that pandas knows; pass one such as MS (month"
            " starts), ME (month ends), W-SUN, D, B (business days), h or 15min."
        )
    return offset


def _check_length(steps: Any, first: Any, last: Any, freq: Any) -> None:
    if steps > _LONGEST:
        raise DataError(
            f"The times from {first} to {last} would be {int(steps):,} steps of {freq!r}; is one of"
            " them wrong? Otherwise pass a coarser freq."
        )


def _most_common(values: np.ndarray, weights: np.ndarray) -> int:
    found, at = np.unique(values, return_inverse=True)
    return int(found[np.bincount(at, weights).argmax()])


def _regular(times: pd.Index) -> Any:
    """The frequency of times without a gap; None where there is none."""
    if len(times) < 3:
        return None
    if not isinstance(times, pd.DatetimeIndex):
        steps = np.diff(times.to_numpy())
        return int(steps[0]) if (steps == steps[0]).all() else None
    with warnings.catch_warnings():
        # From pandas 3.1 a warning: the answer will become an offset. Both are taken.
        warnings.simplefilter("ignore")
        found = pd.infer_freq(times)
    name = None if found is None else _offset(found).freqstr
    return None if name is None or name.startswith("WOM") else name  # a month with gaps


def _stepwise(times: pd.Index) -> Any:
    """The frequency that the most common step suggests, gaps or not."""
    if len(times) < 2:
        return None
    if not isinstance(times, pd.DatetimeIndex):
        return _most_common(np.diff(times.to_numpy()), np.ones(len(times) - 1))
    wall = times.tz_localize(None)
    clock = times if len(set(wall - wall.normalize())) > 1 else wall
    step: Any = _most_common(np.diff(clock.asi8), np.ones(len(times) - 1))
    days: float = step * _NANOSECONDS[times.unit] / (24 * 3600 * 10**9)
    final: Any = wall[-1]
    # A wrong time among right ones is to be found later, not here.
    starts, ends = (part.mean() >= _MOST for part in (wall.is_month_start, wall.is_month_end))
    same = int(final.day) if np.mean(np.asarray(wall.day) == final.day) >= _MOST else 0
    spans = ((1, 28, 31), (3, 90, 92), (12, 365, 366))
    months = next((n for n, least, most in spans if least <= days <= most), 0)
    if months and 1 < same <= 28:
        return pd.DateOffset(months=months)  # always the 15th, for example: pandas has no alias
    if 28 <= days <= 366 and (starts or ends):
        edge, month = "S" if starts else "E", _MONTHS[final.month - 1]
        if days <= 31:
            return f"M{edge}"
        if 90 <= days <= 92:
            return f"Q{edge}-{month}"
        if days >= 365:
            return f"Y{edge}-{month}"
    if days == 7:
        return f"W-{_WEEKDAYS[final.weekday()]}"
    if days == 1:
        long = final - wall[0] > pd.Timedelta(days=6)
        return "B" if long and np.all(np.asarray(wall.day_of_week) < 5) else "D"
    if days % 1:
        delta: Any = pd.Timedelta(step, unit=times.unit)
        return to_offset(delta).freqstr
    return f"{int(days)}D"


def _fills(union: pd.Index, freq: Any) -> bool:
    grid = grid_of(union, freq)
    return bool((grid.get_indexer(union) >= 0).all() and len(union) >= _MOST * len(grid))
