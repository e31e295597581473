"""What a trained forecaster does: forecasts, sample paths, streams, files."""

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqjax.data import DataError
from seqjax.forecast import frames, naive_intervals, saving
from seqjax.forecast.arguments import names_told
from seqjax.forecast.intervals import predicted, sample_paths
from seqjax.forecast.lines import interpolated
from seqjax.forecast.panel import Panel, frequency_of, only, tail_of, unknown_at_end
from seqjax.forecast.rows import require
from seqjax.forecast.settings import Settings
from seqjax.forecast.stream import Stream
from seqjax.forecast.times import in_zone_of
from seqjax.forecast.trained import Trained

Levels = int | float | Sequence[int | float]


def levels_of(level: Levels | None) -> tuple[int | float, ...]:
    """One level or several as a tuple.

    Example:
        >>> levels_of(80), levels_of([80, 95]), levels_of(None)
        ((80,), (80, 95), ())
    """
    return () if level is None else tuple(np.atleast_1d(np.asarray(level)).tolist())


def _steps(name: str, value: int) -> int:
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be at least 1, a whole number, not {value!r}.")
    return int(value)


class Predictor:
    """The half of a `seqjax.forecast.Forecaster` that needs no training.

    Attributes:
        settings: resolved, after `fit`.
        notes: what was found in the data, after `fit`.
        tried: of "auto", a dict for each model; see there.
    """

    settings: Settings
    notes: tuple[str, ...]
    tried: list[dict[str, Any]]
    _columns: dict[str, Any]
    _freq: Any
    _missing: frames.Missing
    _seed: int
    _trained: Trained | None
    _tail: Panel | None

    @names_told()
    def predict(
        self,
        frame: pd.DataFrame | None = None,
        *,
        horizon: int | None = None,
        level: Levels | None = None,
        futr_df: pd.DataFrame | None = None,
        static_df: pd.DataFrame | None = None,
        baselines: bool = False,
    ) -> pd.DataFrame:
        """Forecasts of the steps behind every series.

        Args:
            frame: the past, of the same or other series; by default that of `fit`.
            horizon: steps; by default those trained for. Farther ones are forecast block by
                block, their intervals by sample paths.
            level: of intervals, in percent.
            futr_df: `id_column`, `time_column` and `futr_exog_list` of the times to forecast.
            static_df: of a frame with static covariates.
            baselines: those of `seqjax.forecast.naive` beside it, from the whole past: `frame`
                must be given. Without intervals where there are too few windows to calibrate them.

        Returns:
            A frame with `id_column`, `time_column`, the forecast in a column of the model's name,
            and with levels ``NAME-median``, and of each ``NAME-lo-LEVEL`` and ``NAME-hi-LEVEL``.

        Raises:
            DataError: for data that cannot be used, or too few windows to calibrate a level.
        """
        trained = self._fitted()
        if baselines and frame is None:
            raise ValueError("baselines need the whole past, which is not kept: pass the frame.")
        panel = self._past(frame, static_df)
        horizon = _steps("horizon", trained.settings.horizon if horizon is None else horizon)
        future = self._future(panel, futr_df, horizon)
        levels = levels_of(level)
        found = predicted(trained, panel, horizon, levels, seed=self._seed, future=future)
        if baselines:
            seasons = trained.settings.seasons
            found |= naive_intervals.forecasts(panel, panel, horizon, seasons, levels)
        return frames.future_frame(panel, found, **self._index_columns)

    @names_told()
    def sample_paths(
        self,
        count: int,
        frame: pd.DataFrame | None = None,
        *,
        horizon: int | None = None,
        futr_df: pd.DataFrame | None = None,
        static_df: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Paths of the future, for sums and maxima over several steps.

        Args:
            count: paths of each series.
            frame: see `predict`.
            horizon: see `predict`.
            futr_df: see `predict`.
            static_df: see `predict`.

        Returns:
            A frame with `id_column`, `time_column`, ``sample`` and the model's name.
        """
        trained = self._fitted()
        panel = self._past(frame, static_df)
        horizon = _steps("horizon", trained.settings.horizon if horizon is None else horizon)
        count = _steps("count", count)
        future = self._future(panel, futr_df, horizon)
        paths = sample_paths(trained, panel, horizon, count, seed=self._seed, future=future)
        pieces = []
        for number, path in enumerate(paths):
            piece = frames.future_frame(panel, {self.name: path}, **self._index_columns)
            piece.insert(2, "sample", number)
            pieces.append(piece)
        return pd.concat(pieces, ignore_index=True)

    def save(self, folder: str | Path) -> None:
        """Write all that `predict` needs: parameters, calibration, the last values of each series.

        Args:
            folder: made where it does not exist.
        """
        saving.save(Path(folder), self._fitted(), self._past(None, None), self._as_json())

    def stream(self, unique_id: Any) -> Stream:
        """One series, observation by observation, at constant cost.

        Args:
            unique_id: of a series of `fit`.

        Raises:
            DataError: where there is no such series.
        """
        tail = self._past(None, None)
        places = np.flatnonzero(tail.ids == unique_id)
        if not len(places):
            raise DataError(f"stream: there is no series {unique_id!r}.")
        one = only(tail, places[:1])
        one = tail_of(one, self.settings.history + unknown_at_end(one) + 1)
        return Stream(self._fitted(), one, self._index_columns, self._seed)

    @property
    def ids(self) -> np.ndarray:
        """[series], of `fit`."""
        return self._past(None, None).ids

    @property
    def name(self) -> str:
        """Of the column of forecasts."""
        return self.settings.name

    @property
    def history(self) -> tuple[list[dict[str, Any]], ...]:
        """Of the training, lines of each seed."""
        return self._fitted().history

    def _as_json(self) -> dict[str, Any]:
        return {
            "columns": self._columns,
            "freq": saving.freq_to_json(self._freq),
            "missing": self._missing,
            "seed": self._seed,
            "notes": list(self.notes),
            "tried": self.tried,
        }

    def _fitted(self) -> Trained:
        if self._trained is None:
            raise ValueError("this forecaster is not fitted yet: call fit(frame) first.")
        return self._trained

    def _fitted_tail(self) -> Panel:
        self._fitted()
        assert self._tail is not None
        return self._tail

    def _past(self, frame: pd.DataFrame | None, static_df: pd.DataFrame | None) -> Panel:
        if frame is None and static_df is not None:
            raise DataError("static_df is of new series: pass their frame, too.")
        if frame is None:
            return self._fitted_tail()
        grid, time = self._fitted_tail().grid, self._columns["time_column"]
        if isinstance(grid, pd.DatetimeIndex):
            require(frame, [time])
            frame = in_zone_of(frame, time, grid)
        return self._drawn(self._read(frame, static_df, frequency_of(grid)))

    def _future(
        self, panel: Panel, futr_df: pd.DataFrame | None, horizon: int
    ) -> np.ndarray | None:
        known = self._columns["known"]
        if not known and futr_df is not None:
            raise DataError("futr_df is given, but none of its columns was named at training.")
        if not known:
            return None
        if futr_df is None:
            raise DataError(
                f"predict: {', '.join(known)} must be known for the {horizon} steps to forecast;"
                " pass them as futr_df."
            )
        return frames.known_future(panel, futr_df, horizon, **self._index_columns)

    @property
    def _lines(self) -> bool:
        return self._missing == "interpolate"

    def _drawn(self, panel: Panel) -> Panel:
        return interpolated(panel) if self._lines else panel

    @property
    def _index_columns(self) -> dict[str, str]:
        return {name: self._columns[name] for name in ("id_column", "time_column")}

    def _read(
        self,
        frame: pd.DataFrame,
        static_df: pd.DataFrame | None,
        freq: Any,
    ) -> Panel:
        """Missing values stay: lines are drawn up to each cutoff, not across it."""
        if static_df is not None and not self._columns["static"]:
            raise DataError("static_df is given, but no column of it: name them, stat_exog_list.")
        panel, self.notes = frames.panel_from_frame(
            frame,
            **self._columns,
            freq=freq,
            static_frame=static_df,
            missing=self._missing,
            lines=False,
        )
        return panel
