"""Tables that are not long: times or series in columns, dates in several columns."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from seqjax.data import DataError
from seqjax.data.cells import short
from seqjax.forecast.dateparts import DAY, MONTH, YEAR, are_years, joined_dates
from seqjax.forecast.marks import are_filled
from seqjax.forecast.notations import iso_of, month_of
from seqjax.forecast.rows import refuse
from seqjax.forecast.tables import Layout, Names, is_nameless, joined, parts_of, unread
from seqjax.forecast.texts import are_dates, are_numbers, floats_of

_FEWEST = 3  # times in a header
_QUARTER = re.compile(r"q(?:tr|uarter)? ?([1-4])")


def layout_of(
    head: pd.DataFrame, names: Names, covariates: Sequence[str] = (), wide: bool = False
) -> Layout | None:
    """How a table becomes a long one, where it is none without doubt.

    Args:
        head: its first rows; columns that are empty or have no name of their own are not in it.
        names: of the columns of the long table.
        covariates: columns to keep.
        wide: each column but the times' is a series; by default those of numbers, where their names
            differ by a number alone.

    Returns:
        None for a table that is long, or not understood.

    Raises:
        DataError: for a table that contradicts `wide`, and one whose series are not told apart.

    Example:
        >>> table = pd.DataFrame({"shop": ["a", "b"], "2021": [1, 4], "2022": [2, 5], "2023": 3})
        >>> found = layout_of(table, Names("unique_id", "ds", "y"))
        >>> found.change(table).iloc[0].to_dict()
        {'unique_id': 'a', 'ds': '2021', 'y': 1}
        >>> found.notes
        ["columns '2021' to '2023' are taken for times, each row for a series"]
    """
    if names.target not in head:
        found = _times_in_header(head, names) or _months_in_header(head, names)
        if found is not None:
            return found
    dates = joined_dates(head, names)
    if wide and (there := [name for name in parts_of(names.id, list(head)) if name in head]):
        raise DataError(
            f"{_source(head)}: column {short(there[0])} names the series of each row, so they do"
            " not stand in columns; leave --wide (wide=True) out, or take this column out."
        )
    if (names.target in head and not wide) or names.id in head:
        return dates
    after = head if dates is None else dates.change(head)
    series = _series_in_header(after, names, covariates, wide)
    if dates is None or series is None:
        return series or dates
    return Layout(lambda frame: series.change(dates.change(frame)), dates.notes + series.notes)


def _times_in_header(head: Any, names: Names) -> Layout | None:
    """A row for each series, a column for each time."""
    years = {name: found[1] for name in head if (found := YEAR.fullmatch(name))}
    periods = {name: name for name in head if iso_of([name])}
    dated = [name for name in head if name[:1].isdigit() or month_of(name[:3])]
    dates = dict(zip(dated, dated, strict=True)) if are_dates(pd.Series(dated, dtype=str)) else {}
    times = max(years, periods, dates, key=len)
    others = [name for name in head if name not in times]
    others = [name for name in others if not is_nameless(name)] or others
    others.sort(key=lambda name: are_numbers(head[name]))  # texts name, ranks do not
    if len(times) < _FEWEST or any(are_dates(head[name]) for name in others):
        return None
    if not all(_numbers(head[name]) for name in times):
        return None
    which = f"{short(next(iter(times)))} to {short(list(times)[-1])}"

    notes = [f"columns {which} are taken for times, each row for a series"]

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        if not others:
            return _melted(frame, [], times, names.time, names.target)
        by = _naming(frame, others, names.id)
        if len(others) > 1:
            notes.append(f"the series are named by {' and '.join(map(short, by))} (--id-column)")
            notes.extend(unread(name for name in others if name not in by))
        named = frame.assign(**{names.id: joined(frame, by) if len(by) > 1 else frame[by[0]]})
        return _melted(named, [names.id], times, names.time, names.target)

    def of_parts(frame: pd.DataFrame) -> pd.DataFrame:
        long = _melted(frame, others, times, names.time, names.target)
        parts = long[others[0]].astype(str).map(_part)
        return long.assign(**{names.time: long[names.time] + parts}).drop(columns=others)

    if times is years and len(others) == 1:
        if all(map(_part, head[others[0]].astype(str))):
            return Layout(of_parts, [f"columns {which} are taken for years, rows for parts"])
        if others[0].lower() in (*MONTH, *DAY, "week", "woche", "hour"):
            return None  # parts of years, too, but which?
    return Layout(change, notes)


def _months_in_header(head: Any, names: Names) -> Layout | None:
    """A row for each year, a column for each of its months or quarters."""
    parts = {name: part for name in head if (part := _part(name))}
    if len(set(parts.values())) != len(parts) or len(parts) not in (4, 12):
        return None
    years = [
        name
        for name in head
        if name not in parts and all(map(YEAR.fullmatch, head[name].astype(str)))
    ]
    if len(years) != 1 or not all(_numbers(head[name]) for name in parts):
        return None
    year = years[0]
    others = [n for n in head if n not in (*parts, year) and not is_nameless(n)]
    keys = [name for name in parts_of(names.id, others) if name in others]
    if not keys and (numbers := [name for name in others if are_numbers(head[name])]):
        raise DataError(
            f"{_source(head)}: column {short(numbers[0])} stands beside the parts of the years in"
            f" column {short(year)}; where it names the series say --id-column {numbers[0]}"
            f" (id_column={numbers[0]!r}), else take it out."
        )
    keys = keys or [name for name in others if are_filled(head[name]).any()]
    note = f"columns {short(next(iter(parts)))} to {short(list(parts)[-1])} are taken for the parts"
    note += f" of the years in column {short(year)}"

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        twice = frame.duplicated([*keys, year]).to_numpy()
        if twice.any():
            row = int(twice.argmax())
            fault = f"{frame[year].tolist()[row]} stands there a second time"
            refuse(frame, row, year, fault + "; name the series: --id-column (id_column).")
        long = _melted(frame, [*keys, year], parts, names.time, names.target)
        long[names.time] = long[year].astype(str) + long[names.time]
        long = long.drop(columns=year)
        if keys and keys != [names.id]:
            long = long.assign(**{names.id: joined(long, keys)}).drop(columns=keys)
        return long

    return Layout(change, [note, *unread(name for name in others if name not in keys)])


def _series_in_header(
    head: Any, names: Names, covariates: Sequence[str], wide: bool
) -> Layout | None:
    """A row for each time, a column for each series."""
    columns = [n for n in head if n not in (*covariates, names.time)]
    columns = [n for n in columns if not is_nameless(n) or are_dates(head[n])]
    dates = [names.time] if names.time in head else [n for n in columns if are_dates(head[n])]
    if wide:
        dates = dates or [name for name in columns if are_years(name, head[name])]
        numbers = [name for name in columns if name not in dates]
        if len(dates) != 1:
            raise DataError(
                f"{_source(head)}: of series in columns one column is of times, but {len(dates)}"
                " hold dates; name it: --time-column (time_column)."
            )
    else:
        stems = {name: re.sub(r"\d+", "#", name) for name in columns}
        found = {stems[name] for name in columns if are_numbers(head[name])}
        numbers = [n for n in columns if stems[n] in found and _numbers(head[n])]
        others = len(columns) - len(numbers) + (names.time in head)
        if len(found) != 1 or "#" not in min(found) or not len(dates) == others == 1:
            return None
    if len(numbers) < (1 if wide else 2):
        return None
    series = {name: name for name in numbers}

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        long = _melted(frame, [dates[0], *covariates], series, names.id, names.target)
        return long.rename(columns={dates[0]: names.time}) if is_nameless(dates[0]) else long

    which = f"{short(numbers[0])} to {short(numbers[-1])}"
    return Layout(change, [f"columns {which} are taken for {len(series):,} series"])


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
    for column in columns:
        if pd.api.types.is_string_dtype(frame[column].dtype):
            try:
                floats_of(frame, column)
            except DataError:  # while the column has its name
                if not are_numbers(frame[column]):
                    raise
    value = "".join((*keys, *columns))  # no column's name
    long: Any = frame[[*keys, *columns]].melt(
        keys, list(columns), var_name=place, value_name=value, ignore_index=False
    )
    long = long[are_filled(long[value])].rename(columns={value: target})
    return long.assign(**{place: long[place].map(columns).astype(object)})


def _naming(frame: Any, columns: list[str], told: str) -> list[str]:
    """What tells rows apart: the column told, the first that does, or several together."""
    if all(part in columns for part in told.split("/")):
        return told.split("/")
    for count in range(1, len(columns) + 1):
        for some in [[name] for name in columns] if count == 1 else [columns[:count]]:
            if not frame.duplicated(some).any():
                return some
    return columns[:1]  # twice the same: refused where it is seen


def _numbers(cells: pd.Series) -> bool:
    return are_numbers(cells) or not are_filled(cells).any()


def _source(head: Any) -> str:
    return head.attrs.get("source", "the table")
