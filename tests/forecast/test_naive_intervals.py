"""Intervals of the baselines: by the definition, on known noise, and nothing of the future."""

import numpy as np
import pytest

from seqjax.forecast import metrics, naive, training
from seqjax.forecast.naive_intervals import forecasts
from seqjax.forecast.panel import Panel, hold_back, panel_of
from seqjax.forecast.settings import Settings

HORIZON, SEASON = 3, 4


def a_panel(count: int = 120, length: int = 60) -> Panel:
    rng = np.random.default_rng(0)
    season = np.tile([0.0, 6.0, 2.0, 9.0], length // 4)
    scales = rng.uniform(1, 30, count)
    noise = rng.normal(size=(count, length))
    each = 100 + scales[:, None] * (season + noise)
    return panel_of({f"s{i:03d}": one for i, one in enumerate(each)})


def test_half_widths_are_quantiles_of_the_errors_of_windows_before():
    panel = a_panel(3)
    found = forecasts(panel, panel, HORIZON, SEASON, [80])
    plan = training.calibration_windows(Settings("gru", HORIZON, (SEASON,)), panel)
    errors = []
    for window in range(plan.windows):
        behind = HORIZON + window * plan.step
        then = hold_back(panel, behind)
        scale = metrics.seasonal_scale(then, SEASON)
        actual = np.stack([panel.series(i)[60 - behind :][:HORIZON] for i in range(3)])
        point = naive.seasonal_naive(then, HORIZON, SEASON)
        errors.append(np.abs(actual - point) / scale[:, None])
    errors = np.sort(np.concatenate(errors), axis=0)
    half = errors[int(np.ceil((len(errors) + 1) * 0.8)) - 1]
    name, scale = "seasonal naive, 4", metrics.seasonal_scale(panel, SEASON)
    np.testing.assert_allclose(found[f"{name}-hi-80"] - found[name], half * scale[:, None])
    np.testing.assert_allclose(found[name] - found[f"{name}-lo-80"], half * scale[:, None])


def test_intervals_cover_what_they_say_and_know_nothing_of_it():
    panel = a_panel()
    past = hold_back(panel, HORIZON)
    found = forecasts(past, past, HORIZON, SEASON, [95, 80])
    actual = np.stack([panel.series(i)[-HORIZON:] for i in range(len(panel.ids))])
    names = [*naive.forecasts(past, HORIZON, SEASON)][3:]  # others err by the place of the cycle
    assert names[0] == "seasonal naive, 4"
    for name in names:
        for level in (80, 95):
            ends = (found[f"{name}-{side}-{level}"] for side in ("lo", "hi"))
            assert metrics.coverage(actual, *ends) == pytest.approx(level / 100, abs=0.06)
    assert next(iter(found)) == "last value"
    # Values that are held back change nothing; later pasts have the widths of earlier windows.
    behind = np.arange(len(panel.values)) % 60 >= 60 - HORIZON
    spoilt = panel._replace(values=np.where(behind, np.nan, panel.values))
    again = forecasts(hold_back(spoilt, HORIZON), hold_back(spoilt, HORIZON), HORIZON, SEASON, [80])
    for name, one in again.items():
        np.testing.assert_array_equal(one, found[name])
    later = forecasts(panel, past, HORIZON, 1, [80])
    half, of_past = (
        (one["last value-hi-80"] - one["last value"]) / metrics.seasonal_scale(known, 1)[:, None]
        for one, known in ((later, panel), (forecasts(past, past, HORIZON, 1, [80]), past))
    )
    np.testing.assert_allclose(half, of_past)


def test_counts_constants_and_too_few_windows():
    rng = np.random.default_rng(0)
    counts = {f"s{i}": rng.poisson(0.5, 60).astype(float) for i in range(20)} | {"t": np.ones(60)}
    panel = panel_of(counts)
    found = forecasts(panel, panel, HORIZON, None, [80])
    for name, point in naive.forecasts(panel, HORIZON).items():
        lo, hi = found[f"{name}-lo-80"], found[f"{name}-hi-80"]
        assert (lo >= np.minimum(point, 0)).all()  # where the point itself is not below
        assert (lo <= point).all()
        assert (point <= hi).all()
    few = panel_of({"a": np.arange(12.0)})
    assert "drift-lo-30" in forecasts(few, few, HORIZON, None, [30, 95])
    assert "drift-lo-95" not in forecasts(few, few, HORIZON, None, [30, 95])
    one = panel_of({"a": [1.0]})
    assert list(forecasts(one, one, 1, None, [80])) == list(naive.forecasts(one, 1))
