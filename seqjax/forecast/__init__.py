"""Forecasting: `Forecaster` for panels of series; baselines, errors and pictures."""

from seqjax.forecast import metrics as metrics
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
