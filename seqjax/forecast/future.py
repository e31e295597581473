"""From forecasts of a Panel back to long frames, and covariates of the future."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from seqjax.data import DataError
from seqjax.forecast.calendar import extend
from seqjax.forecast.panel import Panel
from seqjax.forecast.rows import name_of, numbers, refuse, require, told
from seqjax.forecast.times import in_zone_of, read_times

_END = re.compile(r"-(median|lo|hi)(?:-([\d.]+))?$")


def future_times(panel: Panel, horizon: int) -> tuple[pd.Index, np.ndarray]:
    """The steps behind the end of every series.

    Args:
        panel: the series.
        horizon: steps.

    Returns:
        The panel's grid, as much longer as it takes, and places in it, [series, horizon].

    Raises:
        DataError: where pandas' times end before.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> grid, places = future_times(panel_of({"a": [1.0, 2.0], "b": [3.0]}), 2)
        >>> grid, places.tolist()
        (RangeIndex(start=0, stop=4, step=1), [[2, 3], [1, 2]])
    """
    places = (panel.origins + panel.lengths)[:, None] + np.arange(horizon)
    return _until(panel.grid, places), places


def future_frame(
    panel: Panel,
    values: Mapping[str, np.ndarray],
    *,
    id_column: str = "unique_id",
    time_column: str = "ds",
) -> pd.DataFrame:
    """Forecasts behind the end of every series as a long frame.

    Args:
        panel: the series.
        values: by the name of their column, [series, horizon].
        id_column: the series' names.
        time_column: the times.

    Returns:
        A row for each series and step. Intervals stand in Nixtla's order: NAME, NAME-median,
        NAME-lo-95, NAME-lo-80, NAME-hi-80, NAME-hi-95.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> future_frame(panel_of({"a": [1.0, 2.0]}), {"GRU": np.array([[3.0]])})
          unique_id  ds  GRU
        0         a   2  3.0
    """
    horizon = next(iter(values.values())).shape[1]
    grid, places = future_times(panel, horizon)
    return pd.DataFrame(
        {id_column: np.repeat(panel.ids, horizon), time_column: grid.take(places.reshape(-1))}
        | _flat(values)
    )


def window_frame(
    panel: Panel,
    series: np.ndarray,
    last: np.ndarray,
    values: Mapping[str, np.ndarray],
    *,
    id_column: str = "unique_id",
    time_column: str = "ds",
) -> pd.DataFrame:
    """Forecasts from within the series, as of a cross-validation.

    Args:
        panel: the series.
        series: of each window, [windows].
        last: places in `panel.values` of the last values known, [windows].
        values: by the name of their column, [windows, horizon].
        id_column: the series' names.
        time_column: the times.

    Returns:
        As from `future_frame`, and in ``cutoff`` the last time known.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> panel, at = panel_of({"a": [1.0, 2.0, 3.0]}), np.array([0])
        >>> window_frame(panel, at, at + 1, {"y": np.array([[3.0]])})
          unique_id  ds  cutoff    y
        0         a   2       1  3.0
    """
    horizon = next(iter(values.values())).shape[1]
    known = panel.origins[series] + last - panel.starts[series]
    places = known[:, None] + np.arange(1, horizon + 1)
    grid = _until(panel.grid, places)
    return pd.DataFrame(
        {
            id_column: np.repeat(panel.ids[series], horizon),
            time_column: grid.take(places.reshape(-1)),
            "cutoff": grid.take(np.repeat(known, horizon)),
        }
        | _flat(values)
    )


def known_future(
    panel: Panel,
    frame: pd.DataFrame,
    horizon: int,
    *,
    id_column: str = "unique_id",
    time_column: str = "ds",
) -> np.ndarray:
    """The covariates known ahead of time, of the steps behind every series.

    Args:
        panel: the series; its `known_names` are columns of the frame.
        frame: a row for each series and step; more series and more steps are not read.
        horizon: steps.
        id_column: the series' names; a frame without is that of a single series.
        time_column: the times.

    Returns:
        float32, [series, horizon, known].

    Raises:
        DataError: for a step that is missing or stands there twice, and what is no number.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> panel = panel_of({"a": [1.0, 2.0]})._replace(known_names=("price",))
        >>> known_future(panel, pd.DataFrame({"ds": [2], "price": [9.5]}), 1).tolist()
        [[[9.5]]]
    """
    names, count = panel.known_names, len(panel.ids)
    one = count == 1 and isinstance(frame, pd.DataFrame) and id_column not in frame.columns
    columns = [*([] if one else [id_column]), time_column, *names]
    require(frame, columns, "the frame of the future (futr_df)")
    series = (
        np.zeros(len(frame), np.int64)
        if one
        else pd.Index(panel.ids).get_indexer(pd.Index(frame[id_column]))
    )
    if isinstance(panel.grid, pd.DatetimeIndex):
        frame = in_zone_of(frame, time_column, panel.grid)
    codes, times = read_times(frame, time_column)
    grid, places = future_times(panel, horizon)
    at: Any = _places_of(grid, times)
    ahead = at[codes] - places[series, 0]
    asked = (series >= 0) & (at[codes] >= 0) & (ahead >= 0) & (ahead < horizon)
    flat = (series * horizon + ahead)[asked]
    counts = np.bincount(flat, minlength=count * horizon)

    def of(step: int) -> str:
        time = grid[places.reshape(-1)[step]]
        return f"series {name_of(panel.ids[step // horizon])} at {told(time)}"

    if (counts > 1).any():
        again = int(np.flatnonzero(asked)[pd.Series(flat).duplicated().argmax()])
        step = int(series[again] * horizon + ahead[again])
        refuse(frame, again, time_column, f"{of(step)} stands there a second time; drop one.")
    if (counts == 0).any():
        named = frame.attrs.get("source", "the frame of the future (futr_df)")
        raise DataError(
            f"{named} has no row of {of(int(counts.argmin()))}; it needs one for each of the"
            f" {horizon} steps behind each of {count:,} series, and"
            f" {int((counts == 0).sum()):,} are missing."
        )
    found = np.empty((count * horizon, len(names)), np.float32)
    for column, name in enumerate(names):
        values = numbers(frame, name)
        if (bad := asked & np.isnan(values)).any():
            row = int(bad.argmax())
            step = int(series[row] * horizon + ahead[row])
            refuse(frame, row, name, f"{of(step)} is missing; fill it.")
        found[flat, column] = values[asked]
    return found.reshape(count, horizon, len(names))


def _places_of(grid: pd.Index, times: pd.Index) -> np.ndarray:
    ours, theirs = _sort_of(grid), _sort_of(times)
    if ours != theirs:
        raise DataError(f"the times of the series are {ours}, those of futr_df {theirs}.")
    return grid.get_indexer(times)


def _sort_of(times: pd.Index) -> str:
    if not isinstance(times, pd.DatetimeIndex):
        return "whole numbers"
    return "dates without a time zone" if times.tz is None else "dates with a time zone"


def _until(grid: pd.Index, places: np.ndarray) -> pd.Index:
    behind = int(places.max(initial=0)) + 1 - len(grid)
    return extend(grid, behind) if behind > 0 else grid


def _flat(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns by name, flat: model by model, the ends of intervals from the lowest up."""
    order = {name: place for place, name in enumerate(values)}

    def rank(name: str) -> tuple[int, int, float]:
        end = _END.search(name)
        if end is None or (end[1] == "median") == bool(end[2]):
            return order[name], 0, 0.0
        level = float(end[2] or 0)
        of_end = {"median": (1, 0.0), "lo": (2, -level), "hi": (3, level)}[end[1]]
        return order.get(name[: end.start()], order[name]), *of_end

    return {name: np.asarray(values[name]).reshape(-1) for name in sorted(values, key=rank)}
