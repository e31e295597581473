"""Forecasting: `Forecaster` for panels of series; baselines, errors and pictures."""

from seqjax.forecast.baselines import (
    last_value as last_value,
    least_squares as least_squares,
    mean_change as mean_change,
    month_effects as month_effects,
    seasonal_difference as seasonal_difference,
    seasonal_naive as seasonal_naive,
)
from seqjax.forecast.errors import error_rows as error_rows, mae as mae, rmse as rmse
from seqjax.forecast.forecaster import Forecaster as Forecaster
from seqjax.forecast.one_step import (
    Task as Task,
    changes_task as changes_task,
    values_task as values_task,
)
from seqjax.forecast.season import (
    Season as Season,
    season_of as season_of,
    seasonal_baselines as seasonal_baselines,
)
from seqjax.forecast.settings import Settings as Settings
