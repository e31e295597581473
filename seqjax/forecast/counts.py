"""Numbers that count time: days of Excel, seconds of Unix, weeks of years."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from seqjax.data import DataError
from seqjax.forecast.notations import iso_of, read

COUNTS = {
    "D": "days since 1899-12-30, as Excel counts them",
    "W": "years and weeks",
    "Y": "years and parts of them",
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
}
"""What `counted` tells, in words."""

_DIGITS = re.compile(r"(19|20)\d{6}")
_WEEK = re.compile(r"(19|20)\d\d([0-4]\d|5[0-3])")
_WEEKS = re.compile(r"week|woche|^kw$|semaine|semana", re.IGNORECASE)
_EXCEL = frozenset(("date", "dates", "datum", "fecha", "datetime"))  # whole words: no candidates
_CLOCK = _EXCEL | {
    *("time", "timestamp", "zeit", "uhrzeit", "zeitstempel", "zeitpunkt", "epoch"),
    *("unix", "unixtime", "ts"),
}
_WORD = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![a-z])")
_DAY_ZERO = pd.Timestamp("1899-12-30")  # of Excel, which knows a 29 February 1900
_DAYS = (20_000, 80_000)  # of Excel: 1954 to 2119
_SECONDS = (315_532_800, 4_102_444_800)  # of Unix: 1980 to 2100
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def counted(name: str, cells: Sequence[Any], *, told: bool = False) -> str | None:
    """What a column of numbers counts, where it counts time.

    Args:
        name: of the column; one of dates counts Excel's days, one of times the seconds of Unix.
        cells: numbers, or texts.
        told: the column is known to hold times.

    Returns:
        "D" for Excel's days since 1899-12-30; "s", "ms", "us" or "ns" since 1970; "W" for year and
        week, 202401; "Y" for months or quarters as R prints them, 1949.083.

    Example:
        >>> counted("Date", ["45292", "45293"]), counted("load", ["45292"])
        ('D', None)
        >>> counted("time", [1704067200, 1704070800]), counted("t", ["1704067200000"], told=True)
        ('s', 'ms')
    """
    if len(cells) and _WEEKS.search(name) and all(_WEEK.fullmatch(str(cell)) for cell in cells):
        return "W"
    try:
        values = np.array([float(cell) for cell in cells])
    except (TypeError, ValueError):
        return None
    if len(values) < (1 if told else 2):
        return None
    least, most = values.min(), values.max()
    if _called(name, _EXCEL) and _DAYS[0] <= least <= most <= _DAYS[1]:
        return "D"
    if not (told or _called(name, _CLOCK)):
        return None
    if (values % 1 != 0).any():
        months = np.round(values * 12)
        sure = np.abs(values * 12 - months).max() < 0.05 and 1500 <= least <= most <= 2200
        return "Y" if sure and len(set(np.diff(np.unique(months)))) == 1 else None
    within = (u for u, n in _UNITS.items() if _SECONDS[0] * n <= least <= most <= _SECONDS[1] * n)
    return next(within, None)


def are_digits(name: str, cells: Sequence[Any]) -> bool:
    """Whether a column of dates, by its name, holds days in digits.

    Example:
        >>> are_digits("Date", ["20240131"]), are_digits("sold", ["20240131"])
        (True, False)
    """
    texts = list(map(str, cells))
    sure = bool(texts) and _called(name, _CLOCK) and all(map(_DIGITS.fullmatch, texts))
    return sure and not read(texts, "%Y%m%d").isna().any()


def _called(name: str, words: frozenset[str]) -> bool:
    return not words.isdisjoint(word.lower() for word in _WORD.findall(name))


def dates_of(counts: Sequence[Any], unit: str) -> pd.DatetimeIndex:
    """Counts of time as dates; Excel's fractions of days to the second.

    Args:
        counts: numbers, or texts.
        unit: as `counted` tells it.

    Raises:
        DataError: for the 53rd week of a year that has none.

    Example:
        >>> dates_of(["45292.5"], "D")[0], dates_of([1704067200], "s")[0]
        (Timestamp('2024-01-01 12:00:00'), Timestamp('2024-01-01 00:00:00'))
    """
    if unit == "W":
        days = [iso_of([f"{str(one)[:4]}W{str(one)[4:]}"]) for one in counts]
        if None in days:
            raise DataError(f"{counts[days.index(None)]!r} is no week: that year has 52.")
        return pd.DatetimeIndex([day[0] for day in days if day])
    values = np.array([float(one) for one in counts])
    if unit == "Y":
        months = np.round(values * 12).astype(np.int64)
        return pd.DatetimeIndex([f"{month // 12}-{month % 12 + 1:02d}" for month in months])
    if unit != "D":
        whole = np.array([int(str(one).partition(".")[0]) for one in counts], np.int64)
        return pd.DatetimeIndex(pd.to_datetime(whole, unit=unit))  # pyright: ignore[reportArgumentType]
    seconds = np.round(values * 86_400).astype(np.int64)
    return pd.DatetimeIndex(_DAY_ZERO + pd.to_timedelta(seconds, unit="s"))
