"""Forecasting: `Forecaster` for panels of series; baselines, intervals, errors and pictures.

`naive`, `conformal`, `metrics` and `pictures` are modules, as is `plots`, which is loaded when it
or one of its functions is first used: it needs matplotlib, the extra "plot".
"""

import importlib
from typing import TYPE_CHECKING, Any

from seqjax import data
from seqjax.forecast import (
    conformal as conformal,
    metrics as metrics,
    naive as naive,
    pictures as pictures,
)
from seqjax.forecast.baselines import (
    least_squares as least_squares,
    mean_change_of_rates as mean_change_of_rates,
    month_effects as month_effects,
    one_step_baselines as one_step_baselines,
)
from seqjax.forecast.errors import error_rows as error_rows, mae as mae, rmse as rmse
from seqjax.forecast.evaluate import Scores as Scores, scores as scores
from seqjax.forecast.forecaster import Forecaster as Forecaster
from seqjax.forecast.one_step import (
    Task as Task,
    changes_task as changes_task,
    values_task as values_task,
)
from seqjax.forecast.season import Season as Season, season_of as season_of
from seqjax.forecast.settings import Settings as Settings

if TYPE_CHECKING:
    from seqjax.data import DataError as DataError
    from seqjax.forecast import plots as plots
    from seqjax.forecast.plots import (
        plot_curves as plot_curves,
        plot_examples as plot_examples,
        plot_forecast as plot_forecast,
        plot_losses as plot_losses,
    )
else:
    _PLOTS = ("plot_curves", "plot_examples", "plot_forecast", "plot_losses")

    def __getattr__(name: str) -> Any:
        if name == "DataError":
            return data.DataError  # documented there, and so no name of this module's own
        if name != "plots" and name not in _PLOTS:
            raise AttributeError(f"module 'seqjax.forecast' has no attribute {name!r}")
        plots = importlib.import_module("seqjax.forecast.plots")
        return plots if name == "plots" else getattr(plots, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), "DataError", "plots", *_PLOTS})
