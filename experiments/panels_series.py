"""The series that come with statsmodels, beside its SARIMAX and its exponential smoothing.

CO2 at Mauna Loa (weeks, 1958 to 2001; 59 are missing), sunspots (years, 1700 to 2008), the sea's
temperature in El Nino's region (months, 1950 to 2010) and the flow of the Nile (years, 1871 to
1970). Orders are those of textbooks or, for CO2's long season, a harmonic regression.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from experiments.panels_rows import rows_of
from seqjax.data import DataError
from seqjax.forecast import Forecaster, evaluate
from seqjax.forecast.frames import panel_from_frame
from seqjax.report import Row

MODELS = ("gru", "linear")
OTHERS = ("SARIMAX", "ETS")
HARMONICS = 4  # of CO2's year


class Series(NamedTuple):
    """How a series is forecast.

    Attributes:
        horizon: steps.
        windows: origins, `step` steps apart; the last forecast ends with the series.
        step: steps between origins.
        season: of the seasonal naive and of MASE; 1 for none.
        sarimax: keyword arguments of SARIMAX.
        ets: keyword arguments of ExponentialSmoothing.
        harmonics: the year's waves as regressors of SARIMAX, which no seasonal order then has.
    """

    horizon: int
    windows: int
    step: int
    season: int
    sarimax: Mapping[str, Any]
    ets: Mapping[str, Any]
    harmonics: int = 0


_ADDITIVE = {"trend": "add", "seasonal": "add"}
SERIES = {
    "co2": Series(52, 6, 26, 52, {"order": (1, 1, 1), "trend": "t"}, _ADDITIVE, HARMONICS),
    "elnino": Series(
        12, 6, 12, 12, {"order": (2, 0, 0), "seasonal_order": (0, 1, 1, 12)}, {"seasonal": "add"}
    ),
    "sunspots": Series(11, 6, 11, 11, {"order": (9, 0, 0), "trend": "c"}, {"seasonal": "add"}),
    "nile": Series(10, 6, 5, 1, {"order": (0, 1, 1)}, {}),
}


def frame_of(name: str) -> pd.DataFrame:
    """One of the series: columns ds (a date, or the year) and y.

    Raises:
        DataError: without statsmodels.
    """
    try:
        from statsmodels import datasets
    except ModuleNotFoundError:
        raise DataError(
            "the bundled series need statsmodels: pip install -e '.[experiments]'"
            " (or leave them out: --only milk coverage)."
        ) from None
    table = getattr(datasets, name).load_pandas().data
    if name == "co2":
        return table["co2"].asfreq("W-SAT").rename("y").rename_axis("ds").reset_index()
    if name == "elnino":
        values = table.drop(columns="YEAR").to_numpy().reshape(-1)
        times = pd.date_range(f"{int(table['YEAR'].iloc[0])}", periods=len(values), freq="MS")
        return pd.DataFrame({"ds": times, "y": values})
    return pd.DataFrame({"ds": table.iloc[:, 0].astype(int), "y": table.iloc[:, 1]})


def classical(how: Series, values: np.ndarray, horizon: int) -> dict[str, np.ndarray]:
    """Forecasts of statsmodels' models that are fitted on these values: [horizon] each.

    Args:
        how: their orders.
        values: [time], NaN where missing.
        horizon: steps.
    """
    from statsmodels.tsa import holtwinters as smoothing
    from statsmodels.tsa.statespace import sarimax as statespace

    waves = np.arange(1, how.harmonics + 1)[None] * np.arange(len(values) + horizon)[:, None]
    angles = 2 * np.pi * waves / (365.25 / 7)
    extra = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    past, ahead = (extra[: len(values)], extra[len(values) :]) if how.harmonics else (None, None)
    filled = pd.Series(values).interpolate().to_numpy()  # smoothing takes no missing values
    seasonal: dict[str, Any] = {"seasonal_periods": how.season} if "seasonal" in how.ets else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence: what comes of it is measured
        arima: Any = statespace.SARIMAX(values, exog=past, **how.sarimax).fit(disp=0)
        smooth = cast(Any, smoothing.ExponentialSmoothing(filled, **how.ets, **seasonal).fit())
    found = (arima.forecast(horizon, exog=ahead), smooth.forecast(horizon))
    return dict(zip(OTHERS, found, strict=True))


def scores(
    name: str,
    others: Callable[..., dict[str, np.ndarray]] = classical,
    models: tuple[str, ...] = MODELS,
    **settings: Any,
) -> evaluate.Scores:
    """The forecasts of a series from several origins, ours trained once, before the first.

    Args:
        name: of the series.
        others: gives the forecasts of the classical models, fitted anew at every origin.
        models: of ours.
        **settings: of the `Forecaster`.
    """
    how, frame = SERIES[name], frame_of(name)
    panel, _ = panel_from_frame(frame)
    ours = [
        Forecaster(model, horizon=how.horizon, **settings).cross_validation(
            frame, n_windows=how.windows, step_size=how.step
        )
        for model in models
    ]
    keys = ["unique_id", "ds", "cutoff", "y"]
    whole = ours[0]
    for one in ours[1:]:
        whole = whole.merge(one, on=keys)
    parts = []
    for cutoff, part in whole.groupby("cutoff"):
        known = int(panel.grid.get_indexer(pd.Index([cutoff]))[0]) + 1
        found = others(how, panel.values[:known], how.horizon)
        parts.append(part.sort_values("ds").assign(**found))
    return evaluate.scores(pd.concat(parts, ignore_index=True), panel, how.season)


def run(names: Sequence[str] = tuple(SERIES), **settings: Any) -> list[Row]:
    """The rows of some series."""
    rows = []
    for name in names:
        rows += rows_of(name, scores(name, progress=f"series: {name}", **settings), OTHERS)
    return rows
