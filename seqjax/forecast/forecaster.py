"""`Forecaster`: from a data frame of many series to forecasts with intervals, in five lines."""

import dataclasses
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqjax.data import DataError
from seqjax.forecast import auto, frames, naive, saving, seasons
from seqjax.forecast.arguments import names_told
from seqjax.forecast.folds import with_baselines
from seqjax.forecast.found import standing_still
from seqjax.forecast.panel import Panel, held_out, hold_back, tail_of, unknown_at_end, within
from seqjax.forecast.predictor import Levels, Predictor, levels_of
from seqjax.forecast.rolling import cross_validated
from seqjax.forecast.settings import LONGEST_SEASON, Settings
from seqjax.forecast.trained import Trained
from seqjax.forecast.training import train_panel

_SETTINGS = {field.name for field in dataclasses.fields(Settings)} - {"seasons"}


class Forecaster(Predictor):
    """One network for all series of a frame, with calibrated intervals.

    Frames and columns are as those of Nixtla's libraries: a long frame with the columns
    `unique_id`, `ds` and `y`; forecasts in columns named after the model.

    Args:
        model: "linear", "rnn", "lstm", "gru", "min_gru", "lru", "wavenet", or "auto", which
            chooses by validation on the last values before training.
        horizon: steps ahead that the network is trained for; `predict` takes any.
        season: length of the season in steps, or several; by default found in the data.
        freq: of the times, a pandas alias or offset, of whole numbers the step; by default
            inferred.
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
            `strategy="recursive"`, `transform="log"`, `features=64`, `seeds=5`, `steps=1000`.

    Attributes:
        settings: resolved, after `fit`.
        notes: what was found in the data, after `fit`.
        tried: of the last choice of "auto", a dict for each model: its name, validation error, the
            windows of each series that it was measured on, and seconds.

    Raises:
        TypeError: for a setting that does not exist.
        ValueError: for settings that do not fit, by themselves or each other.

    Example:
        >>> times = pd.date_range("2020-01-01", periods=60, freq="MS")
        >>> level = 10 + 5 * np.sin(np.arange(60) * 2 * np.pi / 12)
        >>> frame = pd.DataFrame({"unique_id": "a", "ds": times, "y": level})
        >>> model = Forecaster("linear", horizon=3, season=12, seeds=1, steps=20).fit(frame)
        >>> model.predict(level=[80]).columns.tolist()
        ['unique_id', 'ds', 'Linear', 'Linear-median', 'Linear-lo-80', 'Linear-hi-80']
    """

    @names_told(_SETTINGS)
    def __init__(
        self,
        model: str = "gru",
        *,
        horizon: int,
        season: int | Sequence[int] | None = None,
        freq: Any = None,
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
        self._seasons_given = season is not None
        settings |= {name: tuple(one) for name, one in settings.items() if isinstance(one, list)}
        if isinstance(width := settings.get("features"), Integral):
            settings["features"] = (width,)
        if "level" in settings:
            settings["level"] = tuple(map(float, levels_of(settings["level"])))
        self.settings = self._asked = Settings(
            "gru" if self._auto else model,
            horizon,
            seasons=naive.periods(season),
            window=window,
            **settings,
        )
        self._columns = {
            "id_column": id_column,
            "time_column": time_column,
            "target_column": target_column,
            "past": _names(hist_exog_list),
            "known": _names(futr_exog_list),
            "static": _names(stat_exog_list),
        }
        self._freq = freq
        self._missing: frames.Missing = missing
        self._seed, self._progress = seed, progress
        self.notes: tuple[str, ...] = ()
        self.tried: list[dict[str, Any]] = []
        self._trained: Trained | None = None
        self._tail: Panel | None = None

    @names_told()
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
        saving.freq_to_json(self._freq)  # what could not be saved is told before training
        self._prepare(panel)
        self._trained = train_panel(
            self.settings,
            panel,
            seed=self._seed,
            progress=self._progress,
            folder=None if folder is None else Path(folder),
            lines=self._lines,
        )
        self.notes += standing_still(panel)
        wanted, self.settings = self.settings.seasons, self._trained.settings
        if lost := sorted(set(wanted) - set(self.settings.seasons)):
            self.notes += (
                f"a season of {', '.join(map(str, lost))} steps is no input: those that are have at"
                f" most {LONGEST_SEASON}, and no more than the longest series",
            )
        panel = self._drawn(panel)
        self._tail = tail_of(panel, self.settings.history + unknown_at_end(panel) + 1)
        return self

    def _prepare(self, seen: Panel) -> None:
        """The settings that follow from what may be seen."""
        for name, column in zip(seen.past_names, seen.past.T, strict=True):
            if np.isnan(column[within(seen)]).all():
                raise DataError(f"column {name!r} has no value to train on; leave it out.")
        self.settings = self._asked
        if not self._seasons_given:
            self.settings = dataclasses.replace(self._asked, seasons=seasons.find(seen))
        if self._auto:  # anew: an earlier choice may have seen what is held back now
            self.settings, self.tried = auto.choose(
                self.settings,
                seen,
                seed=self._seed,
                progress=self._progress,
                lines=self._lines,
            )

    @names_told()
    def cross_validation(
        self,
        frame: pd.DataFrame,
        *,
        n_windows: int = 1,
        step_size: int | None = None,
        refit: bool = False,
        level: Levels | None = None,
        static_df: pd.DataFrame | None = None,
        baselines: bool = False,
    ) -> pd.DataFrame:
        """Forecasts of the last windows of every series, each from what was known before it.

        With ``missing="interpolate"`` lines end at the last value known before each cutoff, and
        what is missing behind it is no actual value.

        Args:
            frame: see `fit`.
            n_windows: how many.
            step_size: steps between them; by default the horizon.
            refit: train anew for every window; otherwise once, before the first.
            level: of intervals, in percent; calibrated before the windows, too.
            static_df: see `fit`.
            baselines: as of `predict`; their intervals, too, are calibrated before the windows.

        Returns:
            A frame with `id_column`, `time_column`, ``cutoff`` (the last time known), the actual
            value in `target_column`, and the columns of `predict`.

        Raises:
            DataError: see `fit`.
        """
        panel = self._read(frame, static_df, self._freq)
        horizon = self._asked.horizon
        step = horizon if step_size is None else step_size
        self._prepare(hold_back(panel, held_out(horizon, n_windows, step)))
        target = self._columns["target_column"]
        folds = cross_validated(
            self.settings,
            panel,
            n_windows,
            step,
            refit=refit,
            level=levels_of(level),
            seed=self._seed,
            progress=self._progress,
            lines=self._lines,
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
        found = pd.concat(pieces, ignore_index=True)
        if baselines:
            given = self.settings.seasons, levels_of(level)
            found = with_baselines(found, panel, *given, **self._index_columns)
        order = [self._columns["id_column"], "cutoff", self._columns["time_column"]]
        return found.sort_values(order, ignore_index=True)

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
            freq=saving.freq_from_json(saved["freq"]),
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


def _names(columns: Sequence[str]) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns)
