"""Forecasting: baselines, errors and pictures."""

from seqjax.forecast.baselines import (
    last_value as last_value,
    least_squares as least_squares,
    mean_change as mean_change,
    month_effects as month_effects,
    seasonal_difference as seasonal_difference,
    seasonal_naive as seasonal_naive,
)
from seqjax.forecast.errors import mae as mae, rmse as rmse
