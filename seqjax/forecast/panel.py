"""Many series as a few flat arrays: what forecasters read."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd


class Panel(NamedTuple):
    """Series of unequal length and start, one behind the other, on one grid of times.

    Series ``i`` is ``values[starts[i]:stops[i]]``; its first value stands at
    ``grid[origins[i]]``, the next ones at the times after it.

    Attributes:
        ids: [series], in rising order.
        starts: [series], where each begins in `values`.
        stops: [series], where each ends. Cutting a panel moves these alone, so every cut of a
            panel shares its arrays.
        origins: [series], the place of each first value in `grid`.
        values: [total], float64; NaN where missing.
        grid: the times that the panel spans, a DatetimeIndex with its frequency or a RangeIndex
            for whole numbers.
        past: [total, P], float32: covariates known up to now; NaN where missing.
        known: [total, K], float32: covariates known ahead of time.
        static: [series, S], float32: covariates of a series.
        past_names: of `past`.
        known_names: of `known`.
        static_names: of `static`.
    """

    ids: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    origins: np.ndarray
    values: np.ndarray
    grid: pd.Index
    past: np.ndarray
    known: np.ndarray
    static: np.ndarray
    past_names: tuple[str, ...] = ()
    known_names: tuple[str, ...] = ()
    static_names: tuple[str, ...] = ()

    @property
    def lengths(self) -> np.ndarray:
        """[series], steps of each."""
        return self.stops - self.starts

    def series(self, i: int) -> np.ndarray:
        """The values of one series, [time]; a view."""
        return self.values[self.starts[i] : self.stops[i]]


def typical_length(panel: Panel) -> int:
    """The length of the series that the median value stands in.

    Most values stand in series of about that length, however many short ones are beside them.

    Example:
        >>> typical_length(panel_of({"a": np.zeros(300), "b": [1.0], "c": [2.0, 3.0]}))
        300
    """
    lengths = np.sort(panel.lengths)
    sums = np.cumsum(lengths)
    return int(lengths[np.searchsorted(sums, sums[-1] / 2)])


def hold_back(panel: Panel, steps: int | np.ndarray) -> Panel:
    """Without the last steps of every series, of which one value is always left; arrays are shared.

    Args:
        panel: the panel.
        steps: to leave out; of all, or [series] of each.

    Example:
        >>> whole = panel_of({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0]})
        >>> hold_back(whole, 1).series(0).tolist(), hold_back(whole, 2).lengths.tolist()
        ([1.0, 2.0], [1, 1])
    """
    return panel._replace(stops=np.maximum(panel.stops - steps, panel.starts + 1))


def held_out(horizon: int, windows: int, step: int) -> int:
    """Steps from the first window's start to the last one's end.

    Raises:
        ValueError: for no window, and no step between them.

    Example:
        >>> held_out(6, 3, 2)
        10
    """
    if windows < 1 or step < 1:
        raise ValueError(
            f"cross-validation needs at least 1 window and 1 step, not {windows} and {step}."
        )
    return horizon + (windows - 1) * step


def panel_of(series: dict[str, list[float] | np.ndarray]) -> Panel:
    """A panel of bare series, all beginning at time 0; for tests and small things.

    Example:
        >>> panel_of({"a": [1.0, 2.0, 3.0]}).grid
        RangeIndex(start=0, stop=3, step=1)
    """
    ids = np.array(sorted(series), dtype=object)
    arrays = [np.asarray(series[name], np.float64) for name in ids]
    lengths = np.array([len(one) for one in arrays])
    stops = np.cumsum(lengths)
    total = int(stops[-1])
    return Panel(
        ids=ids,
        starts=stops - lengths,
        stops=stops,
        origins=np.zeros(len(ids), np.int64),
        values=np.concatenate(arrays),
        grid=pd.RangeIndex(int(lengths.max())),
        past=np.zeros((total, 0), np.float32),
        known=np.zeros((total, 0), np.float32),
        static=np.zeros((len(ids), 0), np.float32),
    )


def pasts(values: np.ndarray, start: int) -> Panel:
    """What is known before each step of a series from `start` on: a panel of so many pasts.

    They share the array, so a forecast of one step from each costs no copy.

    Args:
        values: [time].
        start: the first step to forecast, at least 1.

    Example:
        >>> found = pasts(np.array([1.0, 2.0, 4.0]), 1)
        >>> [found.series(i).tolist() for i in range(len(found.ids))]
        [[1.0], [1.0, 2.0]]
    """
    stops = np.arange(start, len(values))
    whole = panel_of({"series": values})
    starts = np.zeros_like(stops)
    static = np.zeros((len(stops), 0), np.float32)
    return whole._replace(ids=stops, starts=starts, stops=stops, origins=starts, static=static)


def tail_of(panel: Panel, steps: int) -> Panel:
    """The last steps of every series, in arrays of their own.

    Args:
        panel: the panel.
        steps: of each series that has so many.

    Example:
        >>> end = tail_of(panel_of({"a": [1.0, 2.0, 3.0], "b": [4.0]}), 2)
        >>> end.values.tolist(), end.origins.tolist(), end.lengths.tolist()
        ([2.0, 3.0, 4.0], [1, 0], [2, 1])
    """
    lengths = np.minimum(panel.lengths, steps)
    stops = np.cumsum(lengths)
    rows = np.arange(stops[-1]) + np.repeat(panel.stops - stops, lengths)
    return panel._replace(
        starts=stops - lengths,
        stops=stops,
        origins=panel.origins + panel.lengths - lengths,
        values=panel.values[rows],
        past=panel.past[rows],
        known=panel.known[rows],
    )


def only(panel: Panel, series: np.ndarray | slice) -> Panel:
    """Some series of a panel; the arrays are shared.

    Args:
        panel: the panel.
        series: their numbers, a range of them, or a mask.

    Example:
        >>> only(panel_of({"a": [1.0], "b": [4.0]}), np.array([1])).ids.tolist()
        ['b']
    """
    names = ("ids", "starts", "stops", "origins", "static")
    return panel._replace(**{name: getattr(panel, name)[series] for name in names})


def last_known(values: np.ndarray, starts: np.ndarray, last: np.ndarray) -> np.ndarray:
    """[places], of each place the nearest one up to it whose value is known.

    Args:
        values: [total], of all series.
        starts: [places], where the series of each begins.
        last: [places]

    Returns:
        Places in `values`; ``starts - 1`` where nothing is known.

    Example:
        >>> values, starts = np.array([np.nan, 1.0, np.nan, 2.0]), np.zeros(3, int)
        >>> last_known(values, starts, np.array([0, 2, 3])).tolist()
        [-1, 1, 3]
    """
    found = np.array(last)
    for i in np.flatnonzero(~np.isfinite(values[last])).tolist():  # seldom many
        known = np.flatnonzero(np.isfinite(values[starts[i] : last[i] + 1]))
        found[i] = starts[i] + (known[-1] if len(known) else -1)
    return found


def unknown_at_end(panel: Panel) -> int:
    """The most missing values that stand at the end of a series.

    Example:
        >>> unknown_at_end(panel_of({"a": [1.0, np.nan, np.nan], "b": [1.0, np.nan]}))
        2
    """
    last = panel.stops - 1
    return int((last - last_known(panel.values, panel.starts, last)).max())


def within(panel: Panel) -> np.ndarray:
    """[total], which values stand within a series and before its end.

    Example:
        >>> within(hold_back(panel_of({"a": [1.0, 2.0, 3.0], "b": [4.0]}), 1)).tolist()
        [True, True, False, True]
    """
    edges = np.zeros(len(panel.values) + 1, np.int8)
    np.add.at(edges, panel.starts, 1)
    np.add.at(edges, panel.stops, -1)
    return np.cumsum(edges[:-1], dtype=np.int8) > 0


def frequency_of(grid: pd.Index) -> Any:
    """The frequency of a grid: an offset of pandas, or the step of whole numbers.

    Example:
        >>> days = pd.date_range("2024", periods=2, freq="D")
        >>> frequency_of(pd.RangeIndex(0, 10, 2)), frequency_of(days)
        (2, <Day>)
    """
    return grid.step if isinstance(grid, pd.RangeIndex) else getattr(grid, "freq", None)
