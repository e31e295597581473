"""A cross-validation's long frame as arrays, and the baselines of its windows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from seqjax.data import DataError
from seqjax.forecast.naive_intervals import Season, forecasts
from seqjax.forecast.panel import Panel, only


class Layout(NamedTuple):
    """Where each row of a frame stands, and what was known before it.

    Attributes:
        ids: [series], those that the frame has.
        past: the values up to each cutoff: a panel of [pairs of series and cutoff].
        pair: [rows], place in `past`.
        series: [rows], place in `ids`.
        window: [rows], place of the cutoff among its series' own.
        step: [rows], steps ahead, from 0.
    """

    ids: np.ndarray
    past: Panel
    pair: np.ndarray
    series: np.ndarray
    window: np.ndarray
    step: np.ndarray

    def dense(self, column: Any) -> np.ndarray:
        """A column as [series, windows, steps], NaN where the frame has no row."""
        at = self.series, self.window, self.step
        found = np.full([int(one.max()) + 1 for one in at], np.nan)
        found[at] = np.asarray(column, np.float64)
        return found

    def baselines(self, season: Season, level: Sequence[int | float] = ()) -> dict[str, np.ndarray]:
        """Forecasts of the baselines, and their intervals, by the name of their column, [rows].

        Calibrated before the first cutoff of each series: on none of the values that are scored.
        """
        _, first = np.unique(self.past.ids, return_index=True)
        before, horizon = only(self.past, first), int(self.step.max()) + 1
        found = forecasts(self.past, before, horizon, season, level)
        return {name: one[self.pair, self.step] for name, one in found.items()}


def with_baselines(
    frame: pd.DataFrame,
    panel: Panel,
    season: Season = None,
    level: Sequence[int | float] = (),
    *,
    id_column: str = "unique_id",
    time_column: str = "ds",
) -> pd.DataFrame:
    """The frame with a column for each baseline, from the values up to each cutoff.

    Args:
        frame: columns of ids and times, cutoff, and any others.
        panel: all values.
        season: periods, in steps.
        level: of their intervals, in percent; see `seqjax.forecast.naive_intervals.forecasts`.
        id_column: of ids.
        time_column: of times.

    Returns:
        A new frame, its rows in their order.

    Raises:
        DataError: for an id, time or cutoff that the panel does not have, or a row that is twice.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> panel = panel_of({"a": [1.0, 2.0, 3.0, 2.0]})
        >>> frame = pd.DataFrame({"unique_id": "a", "ds": [2, 3], "cutoff": 1, "y": [3.0, 2.0]})
        >>> with_baselines(frame, panel, 2)[["y", "last value", "seasonal naive, 2"]]
             y  last value  seasonal naive, 2
        0  3.0         2.0                1.0
        1  2.0         2.0                2.0
    """
    layout = layout_of(frame.rename(columns={id_column: "unique_id", time_column: "ds"}), panel)
    return frame.assign(**layout.baselines(season, level))


def layout_of(frame: pd.DataFrame, panel: Panel) -> Layout:
    """Find the rows of a frame in a panel.

    Args:
        frame: columns unique_id, ds and cutoff.
        panel: all values.

    Raises:
        DataError: as `with_baselines`.
    """
    if missing := [name for name in ("unique_id", "ds", "cutoff") if name not in frame]:
        raise DataError(f"cross-validation: there is no column {missing[0]!r} in {list(frame)}.")
    if not len(frame):
        raise DataError("cross-validation: there are no rows; ask for at least one window.")
    series = pd.Index(panel.ids).get_indexer(pd.Index(frame["unique_id"]))
    cutoff = panel.grid.get_indexer(pd.Index(frame["cutoff"]))
    time = panel.grid.get_indexer(pd.Index(frame["ds"]))

    def refuse(wrong: np.ndarray, fault: str) -> None:
        if wrong.any():
            row = frame.iloc[int(np.argmax(wrong))]
            raise DataError(
                f"cross-validation: id {row['unique_id']!r}, ds {row['ds']}, cutoff"
                f" {row['cutoff']}: {fault}."
            )

    refuse(series < 0, "the panel has no such id")
    refuse((cutoff < 0) | (time < 0), "the panel has no such time")
    known = cutoff - panel.origins[series] + 1
    refuse((known < 1) | (known > panel.lengths[series]), "the series has no value at the cutoff")
    refuse(time <= cutoff, "the time forecast must lie behind the cutoff")
    refuse(frame.duplicated(["unique_id", "ds", "cutoff"]).to_numpy(), "the row is there twice")
    used, rows = np.unique(series, return_inverse=True)
    # Pairs of series and cutoff in rising order, and the place of each among its series' own.
    _, first, pair = np.unique(series * len(panel.grid) + cutoff, True, True)
    window = np.arange(len(first)) - np.searchsorted(series[first], series[first])
    of = series[first]
    starts = panel.starts[of]
    past = panel._replace(
        ids=panel.ids[of],
        starts=starts,
        stops=starts + known[first],
        origins=panel.origins[of],
        static=panel.static[of],
    )
    return Layout(panel.ids[used], past, pair, rows, window[pair], time - cutoff - 1)
