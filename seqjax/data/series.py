"""Read a time series from a CSV, or say in one sentence why it cannot be read."""

import bisect
import re
import warnings
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from seqjax.data.cells import Column, DataError, read_columns, short

MILK_CSV = Path(str(files("seqjax.data") / "monthly_milk_production.csv"))
"""Monthly milk production, 1962 to 1975, in pounds per cow; 168 months.

Source: J. D. Cryer, *Time Series Analysis*, 1986.
"""

# float() takes more: nan, infinity, 1_000 and the digits of other scripts.
_OF_NUMBERS = frozenset("0123456789+-.eE")
_QUARTER = re.compile(r"\d{4}-?Q[1-4]")
_OFFSET = re.compile(r"(?:Z|[+-]\d\d:?\d\d)$")  # after a time
_CLOCK = ("now", "today")  # pandas reads them as the time of the call


def read_series(
    path: str | Path,
    time_column: str,
    value_column: str,
    *,
    time_format: str = "ISO8601",
    frequency: str | None = None,
    time_zone: str | None = None,
) -> pd.Series:
    """Read a regular time series from two columns of a CSV.

    Args:
        path: a CSV with a header line: UTF-8, commas, decimal points.
        time_column: name of the column of dates.
        value_column: name of the column of numbers.
        time_format: of the dates, as in `pandas.to_datetime`; ISO 8601 by
            default (1962-01, 1962-01-31, 1962-01-31 12:00:00), and quarters (1962Q1).
        frequency: a pandas offset alias such as "MS" or "D"; inferred by default. "C" is that
            of business days with holidays: those that are missing.
        time_zone: such as "Europe/Berlin": of times without one, daylight saving included;
            times with one, of several too, are converted.

    Returns:
        The values, float64, indexed by their dates; the index has its ``freq``
        set and no gap.

    Raises:
        DataError: for a missing or unreadable file, a missing column, a row that
            is blank, too short or too long, a cell that is no finite number or no
            date, and dates that repeat, go backwards or leave a gap. The message
            names file, line and column; the header is line 1.

    Example:
        >>> series = read_series(MILK_CSV, "Date", "Production")
        >>> len(series), series.index.freqstr, float(series.iloc[0])
        (168, 'MS', 589.0)
    """
    times, cells = read_columns(Path(path), time_column, value_column)
    values = _numbers(cells)
    dates = _dates(times, time_format, time_zone)
    index = _regular(times, dates, frequency)
    return pd.Series(values, index=index, name=value_column)


def _numbers(column: Column) -> np.ndarray:
    """The cells as finite float64, each rounded once."""
    try:
        if not set("".join(column.cells)) <= _OF_NUMBERS:
            raise ValueError
        values = np.array([float(cell) for cell in column.cells])
    except ValueError:
        row = next(row for row, cell in enumerate(column.cells) if not _is_number(cell))
        column.refuse(row, _no_number(column.cells[row]))
    if (endless := ~np.isfinite(values)).any():
        column.refuse(int(np.argmax(endless)), "is not a finite number: float64 ends at 1.8e308.")
    for row in np.flatnonzero(values == 0):
        if set(column.cells[row].lower().partition("e")[0]) & set("123456789"):
            column.refuse(int(row), "is too small: float64 would make it 0.")
    return values


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return set(cell) <= _OF_NUMBERS


def _no_number(cell: str) -> str:
    if cell.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return "is not a finite number; fill the gap or cut the series."
    if set(cell) <= _OF_NUMBERS | set(",_' ") and any(map(str.isdigit, cell)):
        return "is not a number; write 1234.5: a decimal point, no separators of thousands."
    return "is not a number."


def _dates(column: Column, time_format: str, time_zone: str | None) -> pd.DatetimeIndex:
    if time_format == "ISO8601" and all(map(_QUARTER.fullmatch, column.cells)):
        quarters = pd.PeriodIndex([cell.replace("-", "") for cell in column.cells], freq="Q")
        return _in_zone(column, quarters.to_timestamp(), time_zone)
    zoned = time_zone is not None and any(map(_OFFSET.search, column.cells))

    def parse(cells: list[str]) -> pd.DatetimeIndex:
        found = pd.to_datetime(cells, errors="coerce", format=time_format, utc=zoned)
        return pd.DatetimeIndex(found)

    def fails(row: int) -> bool:
        try:
            parse(column.cells[: row + 1])
        except ValueError:
            return True
        return False

    for row in sorted(column.cells.index(word) for word in _CLOCK if word in column.cells):
        column.refuse(row, "is not a date.")
    try:
        dates = parse(column.cells)
    except ValueError as error:  # several time zones, which "coerce" does not cover
        row = bisect.bisect_left(range(len(column.cells)), True, key=fails)
        if row == 0:
            raise DataError(f"{time_format!r} is no form of dates: {error}.") from None
        column.refuse(
            row,
            "is in another time zone than the dates before it; pass time_zone to read all in one,"
            " such as UTC or Europe/Berlin.",
        )
    if (bad := np.asarray(dates.isna() | (dates.year < 1))).any():
        wanted = "an ISO 8601 date" if time_format == "ISO8601" else f"of the form {time_format!r}"
        column.refuse(int(np.argmax(bad)), f"is not {wanted}; see time_format.")
    return _in_zone(column, dates, time_zone)


def _in_zone(column: Column, dates: pd.DatetimeIndex, time_zone: str | None) -> pd.DatetimeIndex:
    if time_zone is None:
        return dates
    try:
        if dates.tz is not None:
            return dates.tz_convert(time_zone)
        return dates.tz_localize(time_zone, ambiguous="infer")
    except (ValueError, KeyError, OSError) as error:
        raise DataError(
            f"{column.path}: column {short(column.name)}: these are no times of {time_zone!r}:"
            f" {error}."
        ) from None


def _regular(column: Column, dates: pd.DatetimeIndex, frequency: str | None) -> pd.DatetimeIndex:
    """The dates as an index with its frequency, or the first place that breaks it."""
    steps = np.diff(dates.asi8, prepend=dates.asi8[0] - 1)
    falls = int(np.argmax(steps <= 0))  # the first; 0 where all rise
    frequency = frequency or _infer_frequency(dates)
    if frequency is None and not falls:
        raise DataError(
            f"{column.path}: column {short(column.name)}: no regular frequency can be inferred"
            f" from {len(dates)} date(s); pass frequency."
        )
    expected = dates if frequency is None else _date_range(column, dates, frequency)
    differs = np.asarray(expected != dates)
    row = int(np.argmax(differs)) if differs.any() else len(dates)
    if falls and falls <= row:  # or else an earlier date that lies too far ahead is the fault
        fault = "repeats" if steps[falls] == 0 else "goes back behind"
        raise DataError(
            f"{column.place(falls)}: {_short(dates[falls])} {fault} the date before it,"
            f" {_short(dates[falls - 1])}; dates must rise{_if_clocks_changed(dates, falls)}."
        )
    if row < len(dates):
        raise DataError(
            f"{column.place(row)}: {_short(dates[row])} stands where {_short(expected[row])} was"
            f" expected (frequency {frequency}); {_way_out(dates, row, frequency)}."
        )
    assert frequency is not None  # only where they do not rise
    return pd.DatetimeIndex(dates, freq=_with_holidays(dates) if frequency == "C" else frequency)


def _with_holidays(dates: pd.DatetimeIndex) -> Any:
    """Business days but for those that are missing."""
    days = dates.tz_localize(None)  # NumPy's would be UTC's
    missing = pd.bdate_range(days.min(), days.max()).difference(days)
    return pd.offsets.CustomBusinessDay(holidays=list(missing.to_numpy("datetime64[D]")))


def _way_out(dates: pd.DatetimeIndex, row: int, frequency: str | None) -> str:
    if frequency == "B" and np.all(np.asarray(dates.day_of_week) < 5):
        return "pass frequency C where holidays are left out, or fill the gap"
    return "fill the gap or cut the series" + _if_clocks_changed(dates, row)


def _if_clocks_changed(dates: pd.DatetimeIndex, row: int) -> str:
    """The option that helps where a step of an hour too much or too little may be that."""
    steps = np.diff(dates.to_numpy("datetime64[s]").astype(np.int64))
    jump = abs(steps[row - 1] - steps[0])
    if dates.tz is None and steps[0] < 24 * 3600 and jump == 3600:
        return "; local times across daylight saving need time_zone, such as Europe/Berlin"
    return ""


def _date_range(column: Column, dates: pd.DatetimeIndex, frequency: str) -> pd.DatetimeIndex:
    first: Any = dates[0]
    try:
        step = _with_holidays(dates) if frequency == "C" else to_offset(frequency)
    except ValueError:
        raise DataError(
            f"{frequency!r} is no frequency that pandas knows; pass one such as MS (month"
            " starts), ME (month ends), W, D or h."
        ) from None
    try:
        return pd.date_range(first, periods=len(dates), freq=step)
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{column.place(0)}: {len(dates)} dates from {_short(first)} on, frequency"
            f" {frequency}, lead beyond the dates that pandas holds ({error})."
        ) from None


def _infer_frequency(index: pd.DatetimeIndex) -> str | None:
    """The frequency of the whole, or else of most of its parts."""
    if len(index) < 3:
        return None
    if whole := _infer(index):
        return whole
    for length in (8, 5, 3):  # long pieces tell business days from days
        starts = range(0, len(index) - length + 1, max(1, len(index) // 200))
        found = Counter(filter(None, (_infer(index[i : i + length]) for i in starts)))
        if found:
            return found.most_common(1)[0][0]
    return None


def _infer(index: pd.DatetimeIndex) -> str | None:
    with warnings.catch_warnings():
        # From pandas 3.1 a warning: the answer will become an offset. Both are taken.
        warnings.simplefilter("ignore")
        found = pd.infer_freq(index)
    return None if found is None else to_offset(found).freqstr


def _short(date: Any) -> str:
    return str(date.date()) if date == date.normalize() else str(date)
