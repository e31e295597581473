"""Long frames, one row for each series and time, as a Panel."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from seqjax.data import DataError
from seqjax.forecast.blocks import counts_of, places_of
from seqjax.forecast.calendar import seconds
from seqjax.forecast.frequency import grid_of, infer
from seqjax.forecast.future import (
    future_frame as future_frame,
    future_times as future_times,
    known_future as known_future,
    window_frame as window_frame,
)
from seqjax.forecast.lines import interpolated
from seqjax.forecast.panel import Panel
from seqjax.forecast.rows import (
    Rows,
    name_of,
    numbers,
    place,
    require,
    series_of,
    static_columns,
    told,
)
from seqjax.forecast.times import offsets_note, read_times
from seqjax.storage.strict_json import nearest

Missing = Literal["mask", "interpolate", "zero", "error"]
Gaps = Literal["fill", "error"]

_ASKED = 200  # series whose frequency is looked at


def panel_from_frame(
    frame: pd.DataFrame,
    *,
    id_column: str = "unique_id",
    time_column: str = "ds",
    target_column: str = "y",
    freq: Any = None,
    past: Sequence[str] = (),
    known: Sequence[str] = (),
    static_frame: pd.DataFrame | None = None,
    static: Sequence[str] = (),
    missing: Missing = "mask",
    gaps: Gaps = "fill",
    lines: bool = True,
) -> tuple[Panel, tuple[str, ...]]:
    """Read a long frame: one row for each series and time, in any order.

    Steps at which a series has no row are missing values, as NaN is. Missing values before the
    first one of a series are dropped, those behind its last one stay; both are told.

    Args:
        frame: the rows.
        id_column: whose values name the series; a frame without `unique_id` is one series.
        time_column: dates (with a zone, too), texts of dates, or whole numbers; those that are all
            days (20240131) or months (202401) are dates.
        target_column: the values; NaN where missing.
        freq: of the times: a pandas alias, of whole numbers the step; that of most series by
            default.
        past: columns of covariates known up to now; NaN where missing.
        known: columns of covariates known ahead of time, complete. At absent rows the value
            before is taken.
        static_frame: one row for each series with its covariates.
        static: columns of it.
        missing: "mask" leaves NaN; "interpolate" draws lines, and leaves NaN behind a series'
            last value; "zero" takes 0, "error" refuses.
        gaps: "fill" takes absent rows as missing, "error" refuses.
        lines: False leaves the lines of "interpolate" to be drawn before each cutoff.

    Returns:
        The panel, and what was found on the way, a sentence each.

    Raises:
        DataError: for anything that cannot be used; the message names row, column, series and
            time, and a way out.

    Example:
        >>> days = pd.date_range("2024-01-01", periods=4)
        >>> frame = pd.DataFrame({"ds": days[[0, 1, 3]], "y": [1.0, 2.0, 4.0]})
        >>> panel, notes = panel_from_frame(frame, freq="D")
        >>> panel.series(0).tolist()
        [1.0, 2.0, nan, 4.0]
        >>> print(notes[0])
        1 of 1 series has gaps: 1 step that is absent is missing (first: 'series', 2024-01-03)
    """
    for value, name, choices in ((missing, "missing", Missing), (gaps, "gaps", Gaps)):
        if value not in get_args(choices):
            listed = ", ".join(get_args(choices))
            hint = nearest(value, get_args(choices))
            raise ValueError(f"{name} must be one of {listed}, not {value!r}.{hint}")
    named = id_column != "unique_id" or (
        isinstance(frame, pd.DataFrame) and id_column in frame.columns
    )
    require(frame, [*([id_column] if named else []), time_column, target_column, *past, *known])
    if named:
        codes, ids = series_of(frame, id_column)
    else:
        codes = np.zeros(len(frame), np.int64)
        ids = np.array(["series" if target_column == "y" else target_column], object)
    rows = _on_grid(Rows(frame, codes, ids, *read_times(frame, time_column)), time_column, freq)
    grid, at = rows.times, rows.time_codes

    values = numbers(frame, target_column)
    if missing == "zero":
        values = np.nan_to_num(values)
    present = ~np.isnan(values)
    places = places_of(codes, at, present, len(ids))
    if (without := places.origins >= places.stops).any():
        fault = "and all others of its values are missing; drop it."
        rows.refuse(without[codes], target_column, fault)
    total = int(places.ends[-1])
    if total > max(20 * len(frame), 10_000_000):
        raise DataError(
            f"{len(frame):,} rows would fill {total:,} steps of frequency {_name(grid)}; pass a"
            " coarser freq, or look for a time that is wrong."
        )
    begun, filled = places.begun(), places.filled()
    if np.count_nonzero(begun) > np.count_nonzero(filled):
        by = f"[{id_column!r}, {time_column!r}]" if named else repr(time_column)
        fault = f"stands there a second time; add up or drop: frame.groupby({by}).sum()"
        hint = "; where columns name the series, say it: id_column (--id-column store item; of a"
        hint += ' frame first join them: frame["store"] + "/" + frame["item"])'
        hint = "" if named else hint
        if isinstance(grid, pd.DatetimeIndex) and grid.tz is None and seconds(grid.freq) <= 3600:
            hint += '; where clocks were put back: dt.tz_localize(zone, ambiguous="infer")'
        rows.refuse(places.again(), time_column, f"{fault}{hint}.")

    def spread(column: str, told_missing: str | None = None) -> np.ndarray:
        found = numbers(frame, column)
        if told_missing is not None:
            rows.refuse(begun & np.isnan(found), column, told_missing)
        with np.errstate(over="ignore"):
            narrow = found.astype(np.float32)
        rows.refuse(np.isinf(narrow), column, "has a number too large for float32; scale it.")
        return places.spread(narrow, np.float32)

    panel = Panel(
        ids=ids,
        starts=places.ends - (places.stops - places.origins),
        stops=places.ends,
        origins=places.origins,
        values=places.spread(values, np.float64),
        grid=grid,
        past=np.array([spread(one) for one in past], np.float32).reshape(-1, total).T,
        known=np.array([spread(one, _KNOWN) for one in known], np.float32).reshape(-1, total).T,
        static=static_columns(static_frame, static, id_column, ids),
        past_names=tuple(past),
        known_names=tuple(known),
        static_names=tuple(static),
    )
    absent = ~filled
    if missing == "zero" and absent.any():
        panel = panel._replace(values=np.nan_to_num(panel.values))
    if known and absent.any():  # a series begins with a row, so there is one before
        panel = panel._replace(
            known=panel.known[np.maximum.accumulate(np.where(absent, 0, np.arange(total)))]
        )
    if gaps == "error" or missing == "error":
        _refuse_gaps(panel, absent, gaps)
    if missing == "error":
        rows.refuse(~present, target_column, 'is missing; fill it, or pass missing="mask".')
    notes = offsets_note(time_column, frame[time_column], grid)
    notes += _notes(panel, rows, absent, begun & ~present, ~begun, missing)
    return interpolated(panel) if missing == "interpolate" and lines else panel, notes


_KNOWN = (
    "is missing, but is known ahead of time by its name; fill it, or pass it as one of the past."
)


def _on_grid(rows: Rows, column: str, freq: Any) -> Rows:
    """The rows with their places on the grid, which spans all times."""
    inferred = freq is None
    if freq is None:
        freq = infer(_some_series(rows), rows.times)
    if freq is None and not isinstance(rows.times, pd.DatetimeIndex):
        freq = 1
    if freq is None:
        raise DataError(
            f"column {column!r}: no regular frequency can be inferred from {len(rows.times)}"
            f" time(s) of {len(rows.ids)} series; pass freq, such as MS, W-SUN, D, h or 15min."
        )
    grid = grid_of(rows.times, freq, counts_of(rows.time_codes, len(rows.times)))
    at = grid.get_indexer(rows.times).astype(np.int32)
    if (at < 0).any():
        off = (at < 0)[rows.time_codes]
        row = int(off.argmax())
        time = rows.times[rows.time_codes[row]]
        near = grid[grid.get_indexer(pd.Index([time], dtype=grid.dtype), method="nearest")]
        expected = f"; the nearest there is {told(near[0])}" if len(grid) else ""
        way = "pass freq if most series have another" if inferred else "pass another freq"
        if isinstance(rows.times, pd.DatetimeIndex) and (rows.times.day >= 28).all():
            ends = f"frame[{column!r}] + pd.offsets.MonthEnd(0)"
            way = f"write the last day of each month: {ends}"
        raise DataError(
            f"{place(rows.frame, row, column)}: {rows.of(row)} is off the grid of frequency"
            f" {_name(grid)}{expected} ({int(off.sum()):,} of {len(off):,} rows are off); move or"
            f" drop these rows, or {way}."
        )
    return rows._replace(time_codes=at[rows.time_codes], times=grid)


def _some_series(rows: Rows) -> list[pd.Index]:
    count = len(rows.ids)
    asked = np.zeros(count, bool)
    asked[np.linspace(0, count - 1, min(count, _ASKED)).round().astype(int)] = True
    which = asked[rows.codes]
    order = np.lexsort((rows.time_codes[which], rows.codes[which]))
    codes, times = rows.codes[which][order], rows.time_codes[which][order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return [rows.times[np.unique(part)] for part in np.split(times, starts[1:])]


def _refuse_gaps(panel: Panel, absent: np.ndarray, gaps: Gaps) -> None:
    if absent.any():
        first = int(absent.argmax())
        way = 'gaps="fill"' if gaps == "error" else 'missing="mask"'
        raise DataError(
            f"{_first(panel, first, 'series ')} has no row: {int(absent.sum()):,} step(s) are"
            f" absent; add them, or pass {way} to take them as missing."
        )


def _notes(
    panel: Panel,
    rows: Rows,
    absent: np.ndarray,
    unknown: np.ndarray,
    early: np.ndarray,
    missing: Missing,
) -> tuple[str, ...]:
    taken = {"zero": "0", "interpolate": "interpolated"}.get(missing, "missing")
    notes = []
    if absent.any():
        count, where = int(absent.sum()), np.flatnonzero(absent)
        series = len(np.unique(np.searchsorted(panel.stops, where, side="right")))
        steps = "1 step that is absent is" if count == 1 else f"{count:,} steps that are absent are"
        notes.append(
            f"{series:,} of {len(panel.ids):,} series {'has' if series == 1 else 'have'} gaps:"
            f" {steps} {taken} (first: {_first(panel, int(where[0]))})"
        )
    for which, fate in ((unknown, taken), (early, "dropped, before the first value of a series")):
        if which.any():
            series = len(np.unique(rows.codes[which]))
            notes.append(
                f"{int(which.sum()):,} row(s) have no value, in {series:,} of"
                f" {len(rows.ids):,} series: {fate} (first: {rows.of(int(which.argmax()))})"
            )
    return (*notes, *_ends(panel))


def _ends(panel: Panel) -> tuple[str, ...]:
    """Sentences on series that end early, and on those of one value."""
    notes, ends, count = [], panel.origins + panel.lengths, f"of {len(panel.ids):,} series"
    if (early := ends < ends.max()).any():
        place = int(ends.argmin())
        last = told(panel.grid[int(ends[place]) - 1])
        notes.append(
            f"{int(early.sum()):,} {count} end before {told(panel.grid[int(ends.max()) - 1])}, and"
            f" each is forecast from its own end (first: {name_of(panel.ids[place])}, {last})"
        )
    if len(panel.ids) > 1 and (single := panel.lengths == 1).any():
        first = name_of(panel.ids[int(single.argmax())])
        notes.append(
            f"{int(single.sum()):,} {count} have one value: nothing tells how they vary, and their"
            f" intervals are a guess (first: {first})"
        )
    return tuple(notes)


def _first(panel: Panel, flat: int, what: str = "") -> str:
    series = int(np.searchsorted(panel.stops, flat, side="right"))
    time = panel.grid[int(panel.origins[series] + flat - panel.starts[series])]
    return f"{what}{name_of(panel.ids[series])}, {told(time)}"


def _name(grid: pd.Index) -> str:
    return str(grid.freqstr if isinstance(grid, pd.DatetimeIndex) else grid[1:2].tolist() or 1)
