"""Baselines against their recursions, written as loops over one series."""

import numpy as np
import pytest

from seqjax.forecast import naive
from seqjax.forecast.panel import Panel, hold_back, panel_of

HORIZON, M = 30, 7
SERIES = {
    f"s{i}": np.random.default_rng(i).normal(size=40 + 3 * i) + 0.3 * np.arange(40 + 3 * i)
    for i in range(5)
}
PANEL = panel_of(SERIES)


def rolled(past, rule):
    """A one-step rule applied to its own forecasts."""
    values = list(past)
    for h in range(HORIZON):
        values.append(rule(values, len(past), h))
    return values[len(past) :]


def change_of(values, t, cycles):
    return np.mean([values[t - k * M] - values[t - k * M - 1] for k in range(1, cycles + 1)])


def drifted(values, n, h, cycles):
    """The mean of so many cycles at this place, each moved up by the changes since."""
    past = np.array(values[:n])
    step = np.mean(past[M:] - past[:-M])
    ahead = h // M
    at = n + h - (ahead + 1) * M
    return np.mean([past[at - k * M] + (k + 1 + ahead) * step for k in range(cycles)])


RULES = {
    "last value": lambda v, n, h: v[-1],
    "drift": lambda v, n, h: v[-1] + (v[n - 1] - v[0]) / (n - 1),
    "mean of the last 7": lambda v, n, h: np.mean(v[n - M : n]),
    "seasonal naive, 7": lambda v, n, h: v[-M],
    "seasonal naive with drift, 7": lambda v, n, h: drifted(v, n, h, 1),
    "mean of 5 cycles with drift, 7": lambda v, n, h: drifted(v, n, h, 5),
    "mean change of 5 cycles, 7": lambda v, n, h: v[-1] + change_of(v[:n], n + h % M, 5),
    "y[t-7] + y[t-1] - y[t-8]": lambda v, n, h: v[-M] + v[-1] - v[-M - 1],
}


def test_every_baseline_is_its_recursion(monkeypatch):
    found = naive.forecasts(PANEL, HORIZON, M)
    assert list(found) == list(RULES)
    for name, rule in RULES.items():
        expected = np.stack([rolled(SERIES[i], rule) for i in PANEL.ids])
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, err_msg=name)
    monkeypatch.setattr(naive, "_BLOCK", 1)  # series by series
    for name, forecast in naive.forecasts(PANEL, HORIZON, [M]).items():
        np.testing.assert_array_equal(forecast, found[name])


def test_missing_at_the_end_is_a_longer_horizon():
    """Three missing values at the end: steps 4 to 33 of the forecast without them."""
    longer = {name: np.append(values, [np.nan] * 3) for name, values in SERIES.items()}
    expected = naive.forecasts(PANEL, HORIZON + 3, M)
    for name, found in naive.forecasts(panel_of(longer), HORIZON, M).items():
        np.testing.assert_allclose(found, expected[name][:, 3:], err_msg=name)


def test_a_trend_with_a_season_is_forecast_without_error_through_gaps():
    """All with a drift are exact on it, whatever is missing, as long as a pair is left."""
    t = np.arange(80)
    y = np.array([0.0, 4, 1, 3, 9, 2, 5])[t % M] + 0.5 * t
    holed = y[:50].copy()
    holed[[0, 3, 17, 33, 40, 48, 49]] = np.nan
    found = naive.forecasts(panel_of({"a": holed}), HORIZON, M)
    for name in (*RULES,)[4:]:
        np.testing.assert_allclose(found[name][0], y[50:], err_msg=name)


def test_short_and_holed_series_have_a_forecast_while_a_value_is_known():
    nan = np.nan
    few = {"a": [2.0], "b": [nan, 3.0, nan], "c": [1.0, 4.0], "d": [nan] * 9 + [5.0] + [nan] * 30}
    for found in naive.forecasts(panel_of(few), 9, [4, 12]).values():
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found[[0, 1, 3]], [[2.0] * 9, [3.0] * 9, [5.0] * 9])
    for found in naive.forecasts(panel_of(few | {"e": [nan, nan]}), 2, 4).values():
        assert np.isnan(found[4]).all()
        assert np.isfinite(found[:4]).all()


def test_no_baseline_sees_beyond_the_stops():
    values = PANEL.values.copy()
    short = hold_back(PANEL, 10)
    for start, stop in zip(short.stops, PANEL.stops, strict=True):
        values[start:stop] = 1e9
    changed = short._replace(values=values)
    assert isinstance(changed, Panel)
    after = naive.forecasts(changed, HORIZON, M)
    for name, found in naive.forecasts(short, HORIZON, M).items():
        np.testing.assert_array_equal(found, after[name])


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="not 0"):
        naive.forecasts(PANEL, 0)
    with pytest.raises(ValueError, match="periods are whole numbers"):
        naive.forecasts(PANEL, 3, [7, 0])
