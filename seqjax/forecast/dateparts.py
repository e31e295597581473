"""Times of a table whose parts stand in columns of their own."""

import re
from typing import Any

import pandas as pd

from seqjax.data.cells import short
from seqjax.forecast.tables import Layout, Names, parts_of
from seqjax.forecast.texts import are_dates, are_numbers

_YEARS = ("year", "jahr", "año", "année", "anno")
MONTH, DAY = ("month", "monat", "mes", "mois"), ("day", "tag", "día", "jour")
YEAR = re.compile(r"((?:18|19|20)\d\d)(?: \[YR\1\])?")  # the World Bank's, too
_PART = re.compile(r"\d{1,2}|[^\d\W]+")
_HOURS, _HOUR = ("hour", "hr", "stunde", "hora", "heure"), re.compile(r"[01]?\d|2[0-4]")
_CLOCKS = re.compile(r"time|clock|zeit|uhr", re.IGNORECASE)
_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?( ?[AaPp][Mm])?")


def joined_dates(head: Any, names: Names) -> Layout | None:
    """Year, month and day, or day and hour, in columns of their own.

    Example:
        >>> table = pd.DataFrame({"Jahr": [2024, 2024], "Monat": [1, 2], "v": [3, 4]})
        >>> joined_dates(table, Names("unique_id", "ds", "y")).change(table)["ds"].tolist()
        ['2024-01', '2024-02']
    """
    clocks = [
        name
        for name in head
        if _all(_CLOCK if _CLOCKS.search(name) else _HOUR, head[name])
        and (_CLOCKS.search(name) or name.lower() in _HOURS)
    ]
    if names.time in head and not clocks:
        return None
    dates = [n for n in head if are_dates(head[n]) and not _has(":", head[n])]
    if len(clocks) == len(dates) == 1 and _splits(head, dates, clocks[0], names):
        date, clock = dates[0], clocks[0]

        def with_clock(frame: pd.DataFrame) -> pd.DataFrame:
            texts = frame[date].astype(str) + " " + _hours(frame[clock])
            return frame.assign(**{date: texts}).drop(columns=clock)

        return Layout(with_clock, [f"columns {short(date)} and {short(clock)} are the time"])
    if dates or names.time in head:
        return None
    found = [
        next((name for name in head if name.lower() in part), None) for part in (_YEARS, MONTH, DAY)
    ]
    columns = [name for name in found if name is not None]
    if None in found[:2] or not _all(YEAR, head[columns[0]]):
        return None
    if not all(_all(_PART, head[name]) for name in columns[1:]):
        return None
    hours = clocks if len(columns) == 3 and len(clocks) == 1 else []
    hours = hours if hours and _splits(head, columns, hours[0], names) else []

    def of_parts(frame: pd.DataFrame) -> pd.DataFrame:
        year, *parts = (frame[name].astype(str) for name in columns)
        named = not parts[0].str.isdigit().all()
        for part in parts:
            year = year + (" " if named else "-") + part.str.zfill(0 if named else 2)
        for clock in hours:
            year = year + " " + _hours(frame[clock])
        return frame.drop(columns=[*columns, *hours]).assign(**{names.time: year})

    which = ", ".join(map(short, [*columns, *hours]))
    return Layout(of_parts, [f"columns {which} are the time"])


def _splits(head: Any, dates: list[str], clock: str, names: Names) -> bool:
    """Whether a clock parts the rows of one series and day."""
    ids = [name for name in parts_of(names.id, list(head)) if name in head]
    texts = [name for name in head if name not in (*dates, clock) and not are_numbers(head[name])]
    if not head.duplicated([*(ids or texts), *dates]).any():
        return False
    return not ids or not head.duplicated([*ids, *dates, clock]).any()


def _hours(cells: Any) -> Any:
    texts = cells.astype(str)
    return texts if _has(":", texts) else texts.str.zfill(2) + ":00"


def are_years(name: str, cells: pd.Series) -> bool:
    """Whether a column is called year, or time, and holds years.

    Example:
        >>> are_years("Year", pd.Series([1961, 1962])), are_years("sold", pd.Series(["1961"]))
        (True, False)
    """
    return name.lower() in (*_YEARS, "time") and _all(YEAR, cells)


def _all(form: re.Pattern[str], cells: pd.Series) -> bool:
    texts = cells.astype(str)
    return len(texts) > 0 and all(map(form.fullmatch, texts))


def _has(mark: str, cells: pd.Series) -> bool:
    return bool(cells.astype(str).str.contains(mark, regex=False).any())
