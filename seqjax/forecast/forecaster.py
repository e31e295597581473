"""`Forecaster`: from a data frame of many series to forecasts with intervals, in five lines."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqjax.data import DataError
from seqjax.forecast import auto, frames, saving, seasons
from seqjax.forecast.intervals import predicted, sample_paths
from seqjax.forecast.panel import Panel, frequency_of, hold_back, only, tail_of, unknown_at_end
from seqjax.forecast.rolling import cross_validated
from seqjax.forecast.settings import Settings
from seqjax.forecast.stream import Stream
from seqjax.forecast.trained import Trained
from seqjax.forecast.training import train_panel

Levels = Sequence[int | float]


class Forecaster:
    """One network for all series of a frame, with calibrated intervals.

    Conventions are those of Nixtla's libraries: a long frame with the columns `unique_id`, `ds`
    and `y`; forecasts in columns named after the model.

    Args:
        model: "linear", "rnn", "lstm", "gru", "min_gru", "lru", "wavenet", or "auto", which
            chooses by validation on the last values before training.
        horizon: steps ahead that the network is trained for; `predict` takes any.
        season: length of the season in steps, or several; by default found in the data.
        freq: of the times, a pandas alias; by default inferred.
        window: steps to read; by default three of the shortest season.
        futr_exog_list: columns known ahead of time.
        hist_exog_list: columns known up to now.
        stat_exog_list: columns of `static_df`, one value for each series.
        id_column: of the series; without it the frame is one series.
        time_column: dates, or whole numbers.
        target_column: the values.
        missing: what becomes of missing values; "mask" tells the network which they are.
        seed: of the first network.
        progress: a label for progress bars, or None for silence.
        **settings: further fields of `seqjax.forecast.Settings`, such as `loss="quantile"`,
            `strategy="recursive"`, `transform="log"`, `seeds=5`, `steps=1000`.

    Attributes:
        settings: resolved, after `fit`.
        notes: what was found in the data, after `fit`.
        tried: of "auto", a dict for each model: its name, validation error and seconds.

    Raises:
        ValueError: for settings that do not exist or fit each other.

    Example:
        >>> times = pd.date_range("2020-01-01", periods=60, freq="MS")
        >>> level = 10 + 5 * np.sin(np.arange(60) * 2 * np.pi / 12)
        >>> frame = pd.DataFrame({"unique_id": "a", "ds": times, "y": level})
        >>> model = Forecaster("linear", horizon=3, season=12, seeds=1, steps=20).fit(frame)
        >>> model.predict(level=[80]).columns.tolist()
        ['unique_id', 'ds', 'Linear', 'Linear-lo-80', 'Linear-hi-80']
    """

    def __init__(
        self,
        model: str = "gru",
        *,
        horizon: int,
        season: int | Sequence[int] | None = None,
        freq: str | None = None,
        window: int = 0,
        futr_exog_list: Sequence[str] = (),
        hist_exog_list: Sequence[str] = (),
        stat_exog_list: Sequence[str] = (),
        id_column: str = "unique_id",
        time_column: str = "ds",
        target_column: str = "y",
        missing: frames.Missing = "mask",
        seed: int = 0,
        progress: str | None = None,
        **settings: Any,
    ) -> None:
        self._auto = model == "auto"
        known = {field.name for field in dataclasses.fields(Settings)}
        if unknown := sorted(settings.keys() - known):
            raise ValueError(f"Forecaster has no setting {unknown[0]!r}; it has {sorted(known)}.")
        self._seasons_given = season is not None
        found = () if season is None else np.atleast_1d(np.asarray(season, int)).tolist()
        settings |= {name: tuple(one) for name, one in settings.items() if isinstance(one, list)}
        if "level" in settings:
            settings["level"] = tuple(float(one) for one in settings["level"])
        self.settings = self._asked = Settings(
            "gru" if self._auto else model,
            horizon,
            seasons=tuple(sorted({int(one) for one in found if one > 1})),
            window=window,
            **settings,
        )
        self._columns = {
            "id_column": id_column,
            "time_column": time_column,
            "target_column": target_column,
            "past": tuple(hist_exog_list),
            "known": tuple(futr_exog_list),
            "static": tuple(stat_exog_list),
        }
        self._freq: str | None = freq
        self._missing: frames.Missing = missing
        self._seed, self._progress = seed, progress
        self.notes: tuple[str, ...] = ()
        self.tried: list[dict[str, Any]] = []
        self._trained: Trained | None = None
        self._tail: Panel | None = None

    # -- fitting ---------------------------------------------------------------

    def fit(
        self,
        frame: pd.DataFrame,
        static_df: pd.DataFrame | None = None,
        *,
        folder: str | Path | None = None,
    ) -> "Forecaster":
        """Train on every series of a frame, and calibrate the intervals.

        Args:
            frame: long, one row for each series and time, in any order.
            static_df: one row for each series: `id_column` and `stat_exog_list`.
            folder: for checkpoints; called again with the same, training goes on there.

        Returns:
            Itself.

        Raises:
            DataError: for data that cannot be used; the message names series, column and row.
        """
        panel = self._read(frame, static_df, self._freq)
        self._prepare(panel)
        self._trained = train_panel(
            self.settings,
            panel,
            seed=self._seed,
            progress=self._progress,
            folder=None if folder is None else Path(folder),
        )
        self.settings = self._trained.settings
        self._tail = tail_of(panel, self.settings.history + unknown_at_end(panel) + 1)
        return self

    def _prepare(self, seen: Panel) -> None:
        """The settings that follow from what may be seen."""
        self.settings = self._asked
        if not self._seasons_given:
            self.settings = dataclasses.replace(self._asked, seasons=seasons.find(seen))
        if self._auto:
            if not self.tried:
                chosen, self.tried = auto.choose(
                    self.settings, seen, seed=self._seed, progress=self._progress
                )
                self._asked = dataclasses.replace(self._asked, model=chosen.model)
            self.settings = dataclasses.replace(self.settings, model=self._asked.model)

    def _read(
        self,
        frame: pd.DataFrame,
        static_df: pd.DataFrame | None,
        freq: Any,
        missing: frames.Missing | None = None,
    ) -> Panel:
        if static_df is not None and not self._columns["static"]:
            raise DataError("static_df is given, but no column of it: name them, stat_exog_list.")
        panel, self.notes = frames.panel_from_frame(
            frame,
            **self._columns,
            freq=freq,
            static_frame=static_df,
            missing=missing or self._missing,
        )
        return panel

    # -- forecasting -----------------------------------------------------------

    def predict(
        self,
        frame: pd.DataFrame | None = None,
        *,
        horizon: int | None = None,
        level: Levels | None = None,
        futr_df: pd.DataFrame | None = None,
        static_df: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Forecasts of the steps behind every series.

        Args:
            frame: the past, of the same or other series; by default that of `fit`.
            horizon: steps; by default those trained for. Farther ones are forecast block by
                block, their intervals by sample paths.
            level: of intervals, in percent.
            futr_df: `id_column`, `time_column` and `futr_exog_list` of the times to forecast.
            static_df: of a frame with static covariates.

        Returns:
            A frame with `id_column`, `time_column`, the forecast in a column of the model's name,
            and for each level ``NAME-lo-LEVEL`` and ``NAME-hi-LEVEL``.

        Raises:
            DataError: for data that cannot be used, or too few windows to calibrate a level.
        """
        trained = self._fitted()
        panel = self._past(frame, static_df)
        horizon = trained.settings.horizon if horizon is None else horizon
        if horizon < 1:
            raise ValueError(f"predict: horizon must be at least 1, not {horizon}.")
        future = self._future(panel, futr_df, horizon)
        found = predicted(
            trained, panel, horizon, tuple(level or ()), seed=self._seed, future=future
        )
        return frames.future_frame(panel, found, **self._index_columns)

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
        horizon = trained.settings.horizon if horizon is None else horizon
        future = self._future(panel, futr_df, horizon)
        paths = sample_paths(trained, panel, horizon, count, seed=self._seed, future=future)
        pieces = []
        for number, path in enumerate(paths):
            piece = frames.future_frame(panel, {self.name: path}, **self._index_columns)
            piece.insert(2, "sample", number)
            pieces.append(piece)
        return pd.concat(pieces, ignore_index=True)

    def cross_validation(
        self,
        frame: pd.DataFrame,
        *,
        n_windows: int = 1,
        step_size: int | None = None,
        refit: bool = False,
        level: Levels | None = None,
        static_df: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Forecasts of the last windows of every series, each from what was known before it.

        With ``missing="interpolate"`` what is missing is masked here, since a line would know what
        stands behind a cutoff.

        Args:
            frame: see `fit`.
            n_windows: how many.
            step_size: steps between them; by default the horizon.
            refit: train anew for every window; otherwise once, before the first.
            level: of intervals, in percent; calibrated before the windows, too.
            static_df: see `fit`.

        Returns:
            A frame with `id_column`, `time_column`, ``cutoff`` (the last time known), the actual
            value in `target_column`, and the columns of `predict`.

        Raises:
            DataError: see `fit`.
        """
        # Lines between known values would be drawn across the cutoffs.
        lines = self._missing == "interpolate"
        panel = self._read(frame, static_df, self._freq, "mask" if lines else None)
        horizon = self._asked.horizon
        step = horizon if step_size is None else step_size
        self._prepare(hold_back(panel, horizon + (n_windows - 1) * step))
        target = self._columns["target_column"]
        folds = cross_validated(
            self.settings,
            panel,
            n_windows,
            step,
            refit=refit,
            level=tuple(level or ()),
            seed=self._seed,
            progress=self._progress,
        )
        pieces, used = [], []
        for fold in folds:
            used += fold.series.tolist()
            values = {target: fold.actual} | fold.columns
            where = (panel, fold.series, fold.last)
            pieces.append(frames.window_frame(*where, values, **self._index_columns))
        if out := sorted(set(range(len(panel.ids))) - set(np.unique(used))):
            self.notes += (
                f"{len(out):,} of {len(panel.ids):,} series are too short for every window and left"
                f" out of cross-validation (first: {panel.ids[out[0]]!r})",
            )
        order = [self._columns["id_column"], "cutoff", self._columns["time_column"]]
        return pd.concat(pieces, ignore_index=True).sort_values(order, ignore_index=True)

    # -- keeping ---------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write all that `predict` needs: parameters, calibration, the last values of each series.

        Args:
            folder: made where it does not exist.
        """
        saving.save(Path(folder), self._fitted(), self._past(None, None), self._as_json())

    @classmethod
    def load(cls, folder: str | Path) -> "Forecaster":
        """A forecaster that was saved.

        Raises:
            DataError: where there is none, or it is damaged.
        """
        trained, tail, saved = saving.load(Path(folder))
        columns = saved["columns"]
        found = cls(
            trained.settings.model,
            horizon=trained.settings.horizon,
            season=trained.settings.seasons or 1,
            freq=saved["freq"],
            futr_exog_list=columns["known"],
            hist_exog_list=columns["past"],
            stat_exog_list=columns["static"],
            **{name: columns[name] for name in ("id_column", "time_column", "target_column")},
            missing=saved["missing"],
            seed=saved["seed"],
        )
        found.settings = found._asked = trained.settings
        found._trained, found._tail = trained, tail
        found.notes, found.tried = tuple(saved["notes"]), saved["tried"]
        return found

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
        one = only(tail, int(places[0]))
        one = tail_of(one, self.settings.history + unknown_at_end(one) + 1)
        return Stream(self._fitted(), one, self._index_columns, self._seed)

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
            "freq": self._freq,
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
        if frame is None:
            return self._fitted_tail()
        return self._read(frame, static_df, frequency_of(self._fitted_tail().grid))

    def _future(
        self, panel: Panel, futr_df: pd.DataFrame | None, horizon: int
    ) -> np.ndarray | None:
        known = self._columns["known"]
        if not known:
            return None
        if futr_df is None:
            raise DataError(
                f"predict: {', '.join(known)} must be known for the {horizon} steps to forecast;"
                " pass them as futr_df."
            )
        return frames.known_future(panel, futr_df, horizon, **self._index_columns)

    @property
    def _index_columns(self) -> dict[str, str]:
        return {name: self._columns[name] for name in ("id_column", "time_column")}
