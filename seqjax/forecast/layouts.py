"""Tables that are not long: times or series in columns, dates in several columns."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from seqjax.data.cells import short
from seqjax.forecast.marks import MISSING
from seqjax.forecast.notations import iso_of, month_of
from seqjax.forecast.texts import are_dates, are_numbers

_FEWEST = 3  # times in a header
_YEARS = ("year", "jahr", "año", "année", "anno")
_MONTH, _DAY = ("month", "monat", "mes", "mois"), ("day", "tag", "día", "jour")
_YEAR = re.compile(r"((?:18|19|20)\d\d)(?: \[YR\1\])?")  # the World Bank's, too
_QUARTER = re.compile(r"q(?:tr|uarter)? ?([1-4])")
_PART = re.compile(r"\d{1,2}|[^\d\W]+")
_HOURS, _HOUR = ("hour", "hr", "stunde", "hora", "heure"), re.compile(r"[01]?\d|2[0-4]")
_CLOCKS = re.compile(r"time|clock|zeit|uhr", re.IGNORECASE)
_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?( ?[AaPp][Mm])?")


class Names(NamedTuple):
    """The columns of a long table: as asked for, or the usual ones."""

    id: str
    time: str
    target: str


class Layout(NamedTuple):
    """How a table becomes a long one.

    Attributes:
        change: of all its rows; the index of lines is kept.
        notes: what was understood, a sentence each.
    """

    change: Callable[[pd.DataFrame], pd.DataFrame]
    notes: tuple[str, ...]


def layout_of(
    head: pd.DataFrame, names: Names, covariates: Sequence[str] = (), wide: bool = False
) -> Layout | None:
    """How a table becomes a long one, where it is none without doubt.

    Args:
        head: its first rows; columns that are empty or have no name of their own are not in it.
        names: of the columns of the long table.
        covariates: columns to keep.
        wide: each column of numbers is a series; by default only where their names differ by a
            number alone.

    Returns:
        None for a table that is long, or not understood.

    Example:
        >>> table = pd.DataFrame({"shop": ["a", "b"], "2021": [1, 4], "2022": [2, 5], "2023": 3})
        >>> found = layout_of(table, Names("unique_id", "ds", "y"))
        >>> found.change(table).iloc[0].to_dict()
        {'unique_id': 'a', 'ds': '2021', 'y': 1}
        >>> found.notes
        ("columns '2021' to '2023' are taken for times, each row for a series",)
    """
    if names.target not in head:
        found = _times_in_header(head, names) or _months_in_header(head, names)
        if found is not None:
            return found
    dates = _joined_dates(head, names)
    if names.target in head or names.id in head:
        return dates
    after = head if dates is None else dates.change(head)
    series = _series_in_header(after, names, covariates, wide)
    if dates is None or series is None:
        return series or dates
    return Layout(lambda frame: series.change(dates.change(frame)), dates.notes + series.notes)


def _times_in_header(head: Any, names: Names) -> Layout | None:
    """A row for each series, a column for each time."""
    years = {name: found[1] for name in head if (found := _YEAR.fullmatch(name))}
    periods = {name: name for name in head if iso_of([name])}
    dated = [name for name in head if name[:1].isdigit() or month_of(name[:3])]
    dates = dict(zip(dated, dated, strict=True)) if are_dates(pd.Series(dated, dtype=str)) else {}
    times = max(years, periods, dates, key=len)
    others = [name for name in head if name not in times]
    if len(times) < _FEWEST or any(are_dates(head[name]) for name in others):
        return None
    if not all(_numbers(head[name]) for name in times):
        return None
    which = f"{short(next(iter(times)))} to {short(list(times)[-1])}"

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        named = frame.assign(**{names.id: _name(frame, others, names.id)}) if others else frame
        return _melted(named, [names.id] if others else [], times, names.time, names.target)

    def of_parts(frame: pd.DataFrame) -> pd.DataFrame:
        long = _melted(frame, others, times, names.time, names.target)
        parts = long[others[0]].astype(str).map(_part)
        return long.assign(**{names.time: long[names.time] + parts}).drop(columns=others)

    if times is years and len(others) == 1:
        if all(map(_part, head[others[0]].astype(str))):
            return Layout(of_parts, (f"columns {which} are taken for years, rows for parts",))
        if others[0].lower() in (*_MONTH, *_DAY, "week", "woche", "hour"):
            return None  # parts of years, too, but which?
    return Layout(change, (f"columns {which} are taken for times, each row for a series",))


def _months_in_header(head: Any, names: Names) -> Layout | None:
    """A row for each year, a column for each of its months or quarters."""
    parts = {name: part for name in head if (part := _part(name))}
    if len(set(parts.values())) != len(parts) or len(parts) not in (4, 12):
        return None
    years = [
        name
        for name in head
        if name not in parts and all(map(_YEAR.fullmatch, head[name].astype(str)))
    ]
    if len(years) != 1 or not all(_numbers(head[name]) for name in parts):
        return None
    texts = [n for n in head if n not in (*parts, *years) and not are_numbers(head[n])]
    note = f"columns {short(next(iter(parts)))} to {short(list(parts)[-1])} are taken for the parts"
    note += f" of the years in column {short(years[0] or '')}"

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        keys = [*texts, years[0]]
        long = _melted(frame, keys, parts, names.time, names.target)
        long[names.time] = long[years[0]].astype(str) + long[names.time]
        long = long.drop(columns=years)
        if texts:
            long[names.id] = joined(long, texts)
            long = long.drop(columns=[name for name in texts if name != names.id])
        return long

    return Layout(change, (note,))


def _joined_dates(head: Any, names: Names) -> Layout | None:
    """Year, month and day, or day and hour, in columns of their own."""
    clocks = [
        name
        for name in head
        if _all(_CLOCK if _CLOCKS.search(name) else _HOUR, head[name])
        and (_CLOCKS.search(name) or name.lower() in _HOURS)
    ]
    if names.time in head and not clocks:
        return None
    dates = [n for n in head if are_dates(head[n]) and not _has(":", head[n])]
    if len(clocks) == len(dates) == 1 and head[dates[0]].duplicated().any():
        date, clock = dates[0], clocks[0]

        def with_clock(frame: pd.DataFrame) -> pd.DataFrame:
            hours: Any = frame[clock].astype(str)
            hours = hours if _has(":", hours) else hours.str.zfill(2) + ":00"
            texts = frame[date].astype(str) + " " + hours
            return frame.assign(**{date: texts}).drop(columns=clock)

        return Layout(with_clock, (f"columns {short(date)} and {short(clock)} are the time",))
    if dates or names.time in head:
        return None
    found = [
        next((name for name in head if name.lower() in part), None)
        for part in (_YEARS, _MONTH, _DAY)
    ]
    columns = [name for name in found if name is not None]
    if None in found[:2] or not _all(_YEAR, head[columns[0]]):
        return None
    if not all(_all(_PART, head[name]) for name in columns[1:]):
        return None

    def of_parts(frame: pd.DataFrame) -> pd.DataFrame:
        year, *parts = (frame[name].astype(str) for name in columns)
        named = not parts[0].str.isdigit().all()
        for part in parts:
            year = year + (" " if named else "-") + part.str.zfill(0 if named else 2)
        return frame.drop(columns=columns).assign(**{names.time: year})

    which = ", ".join(map(short, columns))
    return Layout(of_parts, (f"columns {which} are the time",))


def _series_in_header(
    head: Any, names: Names, covariates: Sequence[str], wide: bool
) -> Layout | None:
    """A row for each time, a column for each series."""
    numbers = [n for n in head if n not in (*covariates, names.time) and are_numbers(head[n])]
    others = [n for n in head if n not in (*covariates, names.time, *numbers)]
    dates = [names.time] if names.time in head else [n for n in others if are_dates(head[n])]
    stems = {re.sub(r"\d+", "#", name) for name in numbers}
    numbered = len(stems) == 1 and "#" in min(stems) and len(others) + (names.time in head) == 1
    if len(dates) != 1 or len(numbers) < 2 or not (wide or numbered):
        return None
    series = {name: name for name in numbers}

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        return _melted(frame, [dates[0], *covariates], series, names.id, names.target)

    which = f"{short(numbers[0])} to {short(numbers[-1])}"
    return Layout(change, (f"columns {which} are taken for {len(series):,} series",))


def _part(name: str) -> str:
    """A month or a quarter behind its year; "" for other words."""
    if (month := month_of(name)) is not None:
        return f"-{month:02d}"
    found = _QUARTER.fullmatch(name.lower())
    return f"Q{found[1]}" if found else ""


def _melted(
    frame: Any, keys: list[str], columns: Mapping[str, str], place: str, target: str
) -> pd.DataFrame:
    """A row for each cell of the columns that is filled."""
    long: Any = frame[[*keys, *columns]].melt(
        keys, list(columns), var_name=place, value_name=target, ignore_index=False
    )
    long = long[_filled(long[target])]
    return long.assign(**{place: long[place].map(columns).astype(object)})


def _name(frame: Any, columns: list[str], told: str) -> pd.Series:
    """What tells rows apart: the column told, the first that does, or several together."""
    if all(part in columns for part in told.split("/")):
        return joined(frame, told.split("/"))
    for column in columns:
        if frame[column].is_unique:
            return frame[column]
    for count in range(2, len(columns) + 1):
        if not frame.duplicated(columns[:count]).any():
            return joined(frame, columns[:count])
    return frame[columns[0]]  # twice the same: refused where it is seen


def are_years(name: str, cells: pd.Series) -> bool:
    """Whether a column is called year, or time, and holds years.

    Example:
        >>> are_years("Year", pd.Series([1961, 1962])), are_years("sold", pd.Series(["1961"]))
        (True, False)
    """
    return name.lower() in (*_YEARS, "time") and _all(_YEAR, cells)


def joined(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Columns as one name.

    Example:
        >>> joined(pd.DataFrame({"store": ["a"], "item": [7]}), ["store", "item"]).tolist()
        ['a/7']
    """
    names: Any = frame[columns[0]].astype(str)
    for column in columns[1:]:
        names = names + "/" + frame[column].astype(str)
    return names


def _numbers(cells: pd.Series) -> bool:
    return are_numbers(cells) or not _filled(cells).any()


def _filled(cells: pd.Series) -> pd.Series:
    return ~(cells.isna() | cells.isin(list(MISSING)))


def _all(form: re.Pattern[str], cells: pd.Series) -> bool:
    texts = cells.astype(str)
    return len(texts) > 0 and all(map(form.fullmatch, texts))


def _has(mark: str, cells: pd.Series) -> bool:
    return bool(cells.astype(str).str.contains(mark, regex=False).any())
