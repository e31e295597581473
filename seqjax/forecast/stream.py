"""A series that grows by one observation at a time, forecast at constant cost."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from seqjax.data import DataError
from seqjax.forecast.calendar import extend
from seqjax.forecast.future import future_frame, known_future
from seqjax.forecast.intervals import predicted
from seqjax.forecast.panel import Panel, tail_of, unknown_at_end
from seqjax.forecast.trained import Trained


class Stream:
    """One series, observation by observation; see `seqjax.forecast.Forecaster.stream`.

    What it keeps, and what a forecast costs, does not grow with the series; a forecast is that
    from the whole series.

    Args:
        trained: the forecaster.
        panel: the past of the one series.
        columns: names of the columns of ids and times.
        seed: of sample paths.
    """

    def __init__(
        self, trained: Trained, panel: Panel, columns: Mapping[str, str], seed: int = 0
    ) -> None:
        self._trained, self._columns, self._seed = trained, columns, seed
        self._panel = panel

    def observe(
        self,
        value: int | float,
        *,
        hist_exog: Sequence[int | float] = (),
        futr_exog: Sequence[int | float] = (),
    ) -> None:
        """Take the value of the next time.

        Args:
            value: in the unit of the series; NaN where missing.
            hist_exog: the covariates known up to now, of that time.
            futr_exog: those known ahead.

        Raises:
            ValueError: for another number of covariates than the forecaster has, and what is
                infinite.
        """
        panel = self._panel
        for name, given, names in (
            ("hist_exog", hist_exog, panel.past_names),
            ("futr_exog", futr_exog, panel.known_names),
        ):
            if len(given) != len(names):
                raise ValueError(
                    f"observe: {name} must be the {len(names)} values of {list(names)}, not"
                    f" {len(given)}."
                )
        if np.isinf([value, *hist_exog, *futr_exog]).any():
            raise ValueError("observe: a value is infinite; take NaN where it is missing.")
        length = int(panel.lengths[0])
        behind = int(panel.origins[0]) + length + 1 - len(panel.grid)
        grid = extend(panel.grid, behind) if behind > 0 else panel.grid
        grown = panel._replace(
            starts=np.array([0]),
            stops=np.array([length + 1]),
            values=np.append(panel.series(0), value),
            past=_appended(panel.past[panel.starts[0] : panel.stops[0]], hist_exog),
            known=_appended(panel.known[panel.starts[0] : panel.stops[0]], futr_exog),
        )
        steps = self._trained.settings.history + unknown_at_end(grown) + 1
        kept = tail_of(grown._replace(grid=grid), steps)
        first = int(kept.origins[0])
        self._panel = kept._replace(grid=grid[first:], origins=np.array([0]))

    def predict(
        self,
        *,
        horizon: int | None = None,
        level: Sequence[int | float] | None = None,
        futr_df: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Forecasts from here; see `seqjax.forecast.Forecaster.predict`."""
        steps = self._trained.settings.horizon if horizon is None else horizon
        future = None
        if self._panel.known_names and futr_df is None:
            names = ", ".join(self._panel.known_names)
            raise DataError(f"predict: {names} must be known ahead; pass them as futr_df.")
        if futr_df is not None:
            future = known_future(self._panel, futr_df, steps, **self._columns)
        found = predicted(
            self._trained, self._panel, steps, tuple(level or ()), seed=self._seed, future=future
        )
        return future_frame(self._panel, found, **self._columns)


def _appended(rows: np.ndarray, row: Sequence[int | float]) -> np.ndarray:
    return np.concatenate([rows, np.asarray(row, rows.dtype).reshape(1, -1)])
