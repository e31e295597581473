"""The one-step baselines on the milk series give the figures of the issue."""

import numpy as np
import pandas as pd
import pytest

from seqjax import forecast
from seqjax.data import MILK_CSV, DataError, read_series

SERIES = read_series(MILK_CSV, "Date", "Production")
START = 136  # the last 32 months
SEASON = forecast.season_of(SERIES, per_day=True)


def table_of(series, window=62):
    return forecast.one_step_baselines(series, SEASON, 32, window=window, cycles=5)


@pytest.mark.parametrize(
    ("name", "rmse"),
    [
        ("last value", 47.34),
        ("seasonal naive, y[t-12]", 15.69),
        ("y[t-12] + y[t-1] - y[t-13]", 6.50),
        ("least squares, 12 lags (the same window)", 22.45),
        ("least squares, 13 lags", 7.23),
    ],
)
def test_published_figures(name, rmse):
    found = table_of(SERIES, window=12)[name]
    assert found.shape == (32,)
    assert round(forecast.rmse(found, SERIES.to_numpy()[START:]), 2) == rmse


def test_no_baseline_sees_the_value_it_forecasts_or_later_ones():
    changed = SERIES.copy()
    changed.iloc[150:] += 1000.0
    after = table_of(changed)
    for name, before in table_of(SERIES).items():
        np.testing.assert_array_equal(before[: 150 - START + 1], after[name][: 150 - START + 1])
        assert (before[150 - START + 1 :] != after[name][150 - START + 1 :]).any(), name


def test_exposure_is_taken_out_and_put_back():
    """A rate of 1, 2, 1, 2, ... with exposures that vary is forecast without error."""
    exposure = 1.0 + np.arange(20) % 3
    y = (1.0 + np.arange(20) % 2) * exposure
    np.testing.assert_allclose(forecast.mean_change_of_rates(y, 10, 2, 3, exposure), y[10:])
    np.testing.assert_allclose(forecast.month_effects(y, 10, np.arange(20) % 2, exposure), y[10:])


@pytest.mark.parametrize(
    ("freq", "period", "days"),
    [("MS", 12, [31, 29, 31]), ("ME", 12, [31, 29, 31]), ("QS-FEB", 4, [90, 92, 92])],
)
def test_days_of_months_and_quarters(freq, period, days):
    """Of 2024; quarters that begin with February end with April."""
    index = pd.date_range("2024-01-01", periods=9, freq=freq)
    season = forecast.season_of(pd.Series(range(9), index), per_day=True)
    assert season.period == period
    assert season.exposure[:3].tolist() == days


def test_too_short_a_series_is_refused():
    with pytest.raises(DataError, match="needs 13 steps before it"):
        forecast.one_step_baselines(SERIES[:44], SEASON, 32, window=12)
    years = pd.Series(range(9), pd.date_range("2000-01-01", periods=9, freq="YS"))
    with pytest.raises(DataError, match="no season known here"):
        forecast.season_of(years, per_day=True)


def test_errors_refuse_shapes_that_differ():
    with pytest.raises(ValueError, match="differ in shape"):
        forecast.rmse(np.ones(3), np.ones((3, 1)))
