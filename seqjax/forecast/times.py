"""A column of times: dates, texts of dates, or whole numbers."""

import contextlib
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from seqjax.data import DataError
from seqjax.data.cells import short
from seqjax.forecast.blocks import blocks
from seqjax.forecast.calendar import seconds
from seqjax.forecast.notations import ISO, days_of, digits_of, forms_of, iso_of, meant, read
from seqjax.forecast.rows import place, refuse

_OFFSET = re.compile(r"\d[ ]?(Z|[+-](?:0\d|1[0-4]):?\d\d)$")  # 14 hours at most: -2024 is a year
_CLOCK = ("now", "today")  # pandas reads them as the time of the call


def read_times(
    frame: pd.DataFrame, column: str, time_format: str = ISO
) -> tuple[np.ndarray, pd.Index]:
    """The times of a frame, each but once, and which one stands in each row.

    Args:
        frame: the rows.
        column: dates, with a zone or without, texts of dates, or whole numbers, which are dates
            where all are days (20240131) or months (202401).
        time_format: of texts, as in `pandas.to_datetime`; or ISO 8601, and quarters (1962Q1).

    Returns:
        For each row the number of its time; the times, rising: a DatetimeIndex, or an Index of
        whole numbers.

    Raises:
        DataError: for a time that is missing, none, or in another zone than those before it.

    Example:
        >>> frame = pd.DataFrame({"ds": ["2024-02-01", "2024-01-01", "2024-02-01"]})
        >>> codes, times = read_times(frame, "ds")
        >>> codes.tolist(), times[0]
        ([1, 0, 1], Timestamp('2024-01-01 00:00:00'))
    """
    values = frame[column]
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    elif pd.api.types.infer_dtype(values, skipna=True) == "datetime":
        with contextlib.suppress(ValueError):  # Python's take the hour at which clocks are put
            values = pd.to_datetime(values)  # back for the one before
    codes, unique = _each_once(pd.Series(values))
    if (codes < 0).any():
        refuse(frame, int((codes < 0).argmax()), column, "the time is missing; drop the row.")

    def fault(which: int, words: str) -> Any:
        refuse(frame, int((codes == which).argmax()), column, words)

    dates = _dates(unique, fault, time_format, column, place(frame, 0, column))
    if isinstance(dates, pd.DatetimeIndex):
        each = dates.unique().sort_values()
        if (days := days_of(each)) is not None:
            dates = days.take(each.get_indexer(dates))
    of_dates, rising = pd.factorize(dates, sort=True)  # two texts may be one time
    return of_dates.astype(np.int32)[codes], pd.Index(rising)


def in_zone_of(frame: pd.DataFrame, column: str, grid: pd.DatetimeIndex) -> pd.DataFrame:
    """A frame with its times in the zone of a grid, whose clock and calendar were learned.

    Days and what is longer keep their dates, whatever a midnight's offset.

    Args:
        frame: the rows.
        column: its times; whole numbers stay what they are.
        grid: with its frequency.

    Raises:
        DataError: for times with a zone where the grid has none, and the reverse.

    Example:
        >>> frame = pd.DataFrame({"ds": ["2024-07-01T02:00+02:00"]})
        >>> hours = pd.date_range("2024", periods=2, freq="h", tz="UTC")
        >>> in_zone_of(frame, "ds", hours)["ds"][0]
        Timestamp('2024-07-01 00:00:00+0000', tz='UTC')
    """
    dtype: Any = frame[column].dtype
    same = str(getattr(dtype, "tz", None)) == str(grid.tz)
    if same and pd.api.types.is_datetime64_any_dtype(dtype):
        return frame  # nothing to read
    codes, times = read_times(frame, column)
    if not isinstance(times, pd.DatetimeIndex) or str(times.tz) == str(grid.tz):
        return frame
    days, bare = seconds(grid.freq) >= 86_400, times.tz is None or grid.tz is None
    # A midnight of another zone is meant as the grid's, but not what is its midnight in UTC.
    if days and (_of_one_clock(times) if bare else _of_one_clock(times, grid[:1])):
        wall = times.tz_localize(None)
        if grid.tz is None and _of_one_clock(grid[:1], wall.normalize()):
            wall = meant(wall)
        there = wall.tz_localize(grid.tz, nonexistent="shift_forward")
        return frame.assign(**{column: there.take(codes)})
    if bare:
        have, had = ("have no", f"one, {grid.tz}") if times.tz is None else ("have a", "none")
        way = "dt.tz_localize(zone)" if times.tz is None else "dt.tz_localize(None)"
        raise DataError(
            f"column {short(column)}: the times {have} zone, but those of the training had {had};"
            f" frame[{column!r}].{way} gives them the same."
        )
    return frame if days else frame.assign(**{column: times.tz_convert(grid.tz).take(codes)})


def _each_once(values: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """The number of each value, -1 where missing, and the values."""
    if pd.api.types.is_string_dtype(values.dtype) or values.dtype == object:
        codes, unique = pd.factorize(values)
        return codes.astype(np.int32), pd.Index(unique)
    # Of fixed width: read twice, never copied as a whole.
    parts = [pd.Index(values.iloc[rows].unique()) for rows in blocks(len(values))]
    unique = parts[0].append(parts[1:]).unique().dropna()
    codes = np.empty(len(values), np.int32)
    for rows in blocks(len(values)):
        codes[rows] = unique.get_indexer(pd.Index(values.iloc[rows]))
    return codes, unique


def _dates(unique: pd.Index, fault: Any, time_format: str, column: str, where: str) -> pd.Index:
    if isinstance(unique, pd.DatetimeIndex):
        return unique
    found = pd.api.types.infer_dtype(unique)
    if found == "integer" or pd.api.types.is_integer_dtype(unique.dtype):
        if time_format == ISO and len(str(unique[0])) not in (6, 8):  # quickly past counts
            return unique.astype(np.int64)
        texts = [str(one) for one in unique]
        form = digits_of(texts) if time_format == ISO else time_format
        return _parsed(texts, fault, form, column, where) if form else unique.astype(np.int64)
    if found in ("string", "date", "datetime", "datetime64"):
        texts = [str(one) for one in unique]
        for which, text in enumerate(texts):
            if text.strip().lower() in _CLOCK:
                fault(which, f"{short(text)} is no time.")
        if found == "string":
            return _parsed(texts, fault, time_format, column, where)
        try:
            return pd.DatetimeIndex(pd.to_datetime(list(unique)))
        except ValueError:
            _one_zone(texts, fault, [str(getattr(one, "tzinfo", None)) for one in unique])
            raise
    advice = "pass dates, or whole numbers"
    if isinstance(unique.dtype, pd.PeriodDtype):
        advice = f"pass frame[{column!r}].dt.to_timestamp()"
    elif pd.api.types.is_float_dtype(unique.dtype):
        advice = f"whole numbers can be: frame[{column!r}].astype(int)"
    return fault(0, f"{unique[0]} is a {type(unique[0]).__name__}, not a time; {advice}.")


def _parsed(
    texts: list[str], fault: Any, time_format: str, column: str, where: str
) -> pd.DatetimeIndex:
    if time_format == ISO and (days := iso_of(texts)):
        return read(days, ISO)
    several = several_offsets(texts)
    try:
        dates = read(texts, time_format, utc=several)
        if several:
            local = read([_OFFSET.sub(_of_clock, text) for text in texts], time_format)
            dates = local if not local.isna().any() and _of_one_clock(local) else dates
    except ValueError as error:
        zones = [found[1] if (found := _OFFSET.search(text)) else "none" for text in texts]
        _one_zone(texts, fault, zones)
        raise DataError(f"{where}: {time_format!r} is no form of dates: {error}.") from None
    if (bad := np.asarray(dates.isna() | (dates.year < 1))).any():
        which = int(bad.argmax())
        wanted = "an ISO 8601 date" if time_format == ISO else f"of the form {time_format!r}"
        fault(which, f"{short(texts[which])} is not {wanted}{_way_out(texts, column, where)}.")
    return dates


def _of_clock(time: re.Match[str]) -> str:
    """The last digit of a time, without its offset."""
    return time[0][0]


def _of_one_clock(*times: pd.DatetimeIndex) -> bool:
    """Whether all stand at the same time of the day, where they are: days, weeks, months."""
    walls = [one.tz_localize(None) for one in times]
    return len({clock for wall in walls for clock in wall - wall.normalize()}) == 1


def offsets_note(column: str, given: Any, times: pd.Index) -> tuple[str, ...]:
    """A sentence on what became of digits, offsets from UTC that differ, hours that summer moves.

    Args:
        column: its name.
        given: the column, as it was.
        times: as they were read.

    Example:
        >>> texts = pd.Series(["2024-03-01T00+01:00", "2024-04-01T00+02:00"])
        >>> offsets_note("ds", texts, pd.Index([]))
        ("column 'ds': at the same hour of every day, with several offsets from UTC: left out",)
    """
    zone: Any = getattr(times, "tz", None)
    if not len(given) or str(zone) not in ("None", "UTC"):
        return ()
    some = map(str, given.iloc[:: len(given) // 50 + 1])
    hours = {found[1] for one in some if (found := re.search(r"\d[T ](\d\d:\d\d)", one))}
    bare = zone is None and isinstance(times, pd.DatetimeIndex)
    if bare and pd.api.types.is_integer_dtype(given):
        return (f"column {short(column)}: whole numbers such as {given.iloc[0]} are read as dates",)
    if bare and hours - {f"{times[0]:%H:%M}", "24:00"} and _of_one_clock(pd.DatetimeIndex(times)):
        said = "the same hour of every day, but for summer time, in UTC or so: taken for days"
        return (f"column {short(column)}: {said}",)
    if not pd.api.types.is_string_dtype(given) or not several_offsets(given):
        return ()
    if zone is not None:
        return (f"column {short(column)}: times of several offsets are taken to UTC",)
    said = "at the same hour of every day, with several offsets from UTC: left out"
    return (f"column {short(column)}: {said}",)


def several_offsets(texts: Iterable[Any]) -> bool:
    """Whether times have offsets from UTC, each its own, and not all the same.

    As summer and winter have where clocks are changed. Then UTC is meant, but for days and what is
    longer: there the offsets are left out.

    Example:
        >>> several_offsets(["2024-03-31T01:00+01:00", "2024-03-31T03:00+02:00"])
        True
        >>> several_offsets(["2024-03-31T01:00+01:00", "2024-03-31T03:00"])
        False
    """
    found = set()
    for text in texts:
        if not isinstance(text, str) or (offset := _OFFSET.search(text)) is None:
            return False
        found.add(offset[1].replace(":", "").replace("Z", "+0000"))
    return len(found) > 1


def _way_out(texts: list[str], column: str, where: str) -> str:
    fitting = forms_of(texts[:: len(texts) // 1000 + 1])
    if not fitting:
        return "; write 2024-01-31, or 2024-01-31 12:00"
    told = " or ".join(map(repr, fitting[:3]))
    if ": line " in where:  # of a file
        way = "pass that as time_format (--time-format), or write 2024-01-31"
        return f"; the dates fit {told}: {way}"
    return f"; the dates fit {told}: pd.to_datetime(frame[{column!r}], format={fitting[0]!r})"


def _one_zone(texts: list[str], fault: Any, zones: list[str]) -> None:
    """Refuse the first time in another zone than the first one's."""
    for which, zone in enumerate(zones):
        if zone != zones[0]:
            fault(
                which,
                f"{short(texts[which])} has another time zone ({zone}) than the times before it"
                f" ({zones[0]}); convert all to one: pd.to_datetime(..., utc=True).",
            )
