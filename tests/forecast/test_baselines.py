"""The baselines on the milk series give the figures of the issue."""

import numpy as np
import pytest

from seqjax import forecast
from seqjax.data import MILK_CSV, DataError, read_series

SERIES = read_series(MILK_CSV, "Date", "Production")
Y = SERIES.to_numpy()
START = 136  # the last 32 months


@pytest.mark.parametrize(
    ("forecasts", "rmse"),
    [
        (forecast.last_value(Y, START), 47.34),
        (forecast.seasonal_naive(Y, START, 12), 15.69),
        (forecast.seasonal_difference(Y, START, 12), 6.50),
        (forecast.least_squares(Y, START, 12), 22.45),
        (forecast.least_squares(Y, START, 13), 7.23),
    ],
    ids=["last value", "seasonal naive", "seasonal difference", "12 lags", "13 lags"],
)
def test_published_figures(forecasts, rmse):
    assert forecasts.shape == (32,)
    assert round(forecast.rmse(forecasts, Y[START:]), 2) == rmse


@pytest.mark.parametrize(
    "baseline",
    [
        lambda y: forecast.last_value(y, START),
        lambda y: forecast.seasonal_naive(y, START, 12),
        lambda y: forecast.seasonal_difference(y, START, 12),
        lambda y: forecast.least_squares(y, START, 13),
        lambda y: forecast.month_effects(y, START, np.arange(168) % 12, np.ones(168)),
        lambda y: forecast.mean_change(y, START, 12, 5, np.ones(168)),
    ],
)
def test_no_baseline_sees_the_value_it_forecasts_or_later_ones(baseline):
    changed = Y.copy()
    changed[150:] += 1000.0
    before, after = baseline(Y), baseline(changed)
    np.testing.assert_array_equal(before[: 150 - START + 1], after[: 150 - START + 1])
    assert (before[150 - START + 1 :] != after[150 - START + 1 :]).any()


def test_exposure_is_taken_out_and_put_back():
    """A rate of 1, 2, 1, 2, ... with exposures that vary is forecast without error."""
    exposure = 1.0 + np.arange(20) % 3
    y = (1.0 + np.arange(20) % 2) * exposure
    np.testing.assert_allclose(forecast.mean_change(y, 10, 2, 3, exposure), y[10:])
    np.testing.assert_allclose(forecast.month_effects(y, 10, np.arange(20) % 2, exposure), y[10:])


def test_too_short_a_series_is_refused():
    with pytest.raises(DataError, match="needs 12 steps before it"):
        forecast.seasonal_naive(Y, 11, 12)


def test_errors_refuse_shapes_that_differ():
    with pytest.raises(ValueError, match="differ in shape"):
        forecast.rmse(np.ones(3), np.ones((3, 1)))
