"""Definitions worked out by hand, and utilsforecast's figures."""

import warnings

import numpy as np
import pandas as pd
import pytest

from seqjax.forecast import metrics
from seqjax.forecast.panel import hold_back, panel_of

with warnings.catch_warnings(action="ignore"):  # an invalid escape, told where it is compiled
    import utilsforecast.losses as peer

HORIZON, SEASON = 6, 4
LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def case():
    """Twelve series of unequal length; the last HORIZON values are forecast."""
    rng = np.random.default_rng(0)
    series = {f"s{i:02}": rng.gamma(2.0, 5.0, size=30 + i) for i in range(12)}
    panel = panel_of(series)
    y = np.stack([panel.series(i)[-HORIZON:] for i in range(12)])
    point = y + rng.normal(size=y.shape) * 3
    quantiles = point[..., None] + np.array([-4.0, 0.0, 4.0])
    ids = panel.ids
    frame = pd.DataFrame(
        {"unique_id": np.repeat(ids, HORIZON), "ds": np.tile(range(HORIZON), 12), "y": y.ravel()}
    )
    frame["M"] = point.ravel()
    frame["M-lo-80"], frame["M-median"], frame["M-hi-80"] = quantiles.reshape(-1, 3).T
    train = hold_back(panel, HORIZON)
    past = pd.concat(
        pd.DataFrame({"unique_id": name, "ds": range(len(s) - HORIZON), "y": s[:-HORIZON]})
        for name, s in series.items()
    )
    return y, point, quantiles, metrics.seasonal_scale(train, SEASON), frame, past


@pytest.mark.parametrize(
    ("ours", "theirs", "factor"),
    [
        (lambda y, f, q, s: metrics.mae(y, f, -1), lambda d, t: peer.mae(d, ["M"]), 1),
        (lambda y, f, q, s: metrics.rmse(y, f, -1), lambda d, t: peer.rmse(d, ["M"]), 1),
        (lambda y, f, q, s: metrics.smape(y, f, -1), lambda d, t: peer.smape(d, ["M"]), 200),
        (
            lambda y, f, q, s: metrics.mase(y, f, s, -1),
            lambda d, t: peer.mase(d, ["M"], SEASON, t),
            1,
        ),
        (
            lambda y, f, q, s: metrics.crps(y, q, LEVELS, -1),
            lambda d, t: peer.mqloss(d, {"M": list(d.columns[-3:])}, np.array(LEVELS)),
            2,
        ),
        (
            lambda y, f, q, s: metrics.weighted_quantile_loss(y, q, LEVELS, -1),
            lambda d, t: peer.scaled_crps(d, {"M": list(d.columns[-3:])}, np.array(LEVELS)),
            1,
        ),
        (
            lambda y, f, q, s: metrics.coverage(y, q[..., 0], q[..., 2], -1),
            lambda d, t: peer.coverage(d, ["M"], 80),
            1,
        ),
        (
            lambda y, f, q, s: metrics.msis(y, q[..., 0], q[..., 2], s, 80, -1) * s,
            lambda d, t: peer.winkler_score(d, ["M"], 80),
            1,
        ),
    ],
    ids=["mae", "rmse", "smape", "mase", "crps", "wql", "coverage", "winkler"],
)
def test_utilsforecast_agrees_by_series(case, ours, theirs, factor):
    *arrays, frame, past = case
    expected = theirs(frame, past)
    assert expected["unique_id"].tolist() == sorted(set(frame["unique_id"]))
    np.testing.assert_allclose(ours(*arrays), factor * expected["M"], rtol=1e-9)


def test_a_missing_value_is_as_if_it_were_not_there(case):
    y, point, quantiles, scale, *_ = case
    holed = y.copy()
    holed[:, 2] = np.nan
    kept = [0, 1, 3, 4, 5]
    lo, hi = quantiles[..., 0], quantiles[..., 2]
    for axis in (None, -1):
        pairs = [
            (metrics.rmse, (point,)),
            (metrics.mae, (point,)),
            (metrics.smape, (point,)),
            (metrics.coverage, (lo, hi)),
        ]
        for metric, others in pairs:
            whole = metric(y[:, kept], *(one[:, kept] for one in others), axis)
            np.testing.assert_allclose(metric(holed, *others, axis), whole)
        for metric in (metrics.crps, metrics.weighted_quantile_loss):
            whole = metric(y[:, kept], quantiles[:, kept], LEVELS, axis)
            np.testing.assert_allclose(metric(holed, quantiles, LEVELS, axis), whole)
        whole = metrics.mase(y[:, kept], point[:, kept], scale, axis)
        np.testing.assert_allclose(metrics.mase(holed, point, scale, axis), whole)
        whole = metrics.msis(y[:, kept], lo[:, kept], hi[:, kept], scale, 80, axis)
        np.testing.assert_allclose(metrics.msis(holed, lo, hi, scale, 80, axis), whole)
    assert np.isnan(metrics.mae(holed, point, 0)[2])
    assert np.isnan(metrics.mae(y, np.where(np.isnan(holed), np.nan, point)))  # a lost forecast


def test_a_series_without_scale_is_left_out():
    panel = panel_of({"a": [1.0, 3.0, np.nan, 9.0], "b": [2.0, 2.0, 2.0], "c": [np.nan], "d": [4]})
    scale = metrics.seasonal_scale(panel, 2)
    np.testing.assert_array_equal(scale, [6.0, np.nan, np.nan, np.nan])
    y, forecast = np.full((4, 1), 3.0), np.full((4, 1), 6.0)
    assert metrics.mase(y, forecast, scale) == 0.5
    np.testing.assert_array_equal(metrics.mase(y, forecast, scale, -1), [0.5, *[np.nan] * 3])


def test_fine_quantiles_give_the_crps_of_a_normal_distribution():
    """Gneiting and Raftery 2007, at y = 0.7."""
    from scipy.stats import norm

    levels = (np.arange(2000) + 0.5) / 2000
    z = 0.7
    exact = z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)
    found = metrics.crps([z], norm.ppf(levels)[None], levels.tolist())
    assert found == pytest.approx(exact, abs=1e-4)
    assert metrics.crps([z], [[2.0] * 3], LEVELS) == pytest.approx(2.0 - z)  # of a point


def test_windows_are_one_more_axis(case):
    y, point, _, scale, *_ = case
    twice, forecasts = np.stack([y, y], 1), np.stack([point, point + 1], 1)
    scales = np.stack([scale, 2 * scale], 1)
    of_first = metrics.mase(y, point, scale, 0)
    of_second = metrics.mase(y, point + 1, 2 * scale, 0)
    by_step = metrics.mase(twice, forecasts, scales, (0, 1))
    np.testing.assert_allclose(by_step, (of_first + of_second) / 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.mae(np.ones((2, 3)), np.ones((3, 2))), r"y \(2, 3\) and forecast \(3, 2"),
        (lambda: metrics.mase(np.ones((2, 3)), np.ones((2, 3)), np.ones(3)), "a scale for each"),
        (lambda: metrics.crps(np.ones(3), np.ones((3, 2)), [0.5]), "one for each"),
        (lambda: metrics.crps(np.ones(3), np.ones((3, 1)), [50.0]), r"within \(0, 1\)"),
        (lambda: metrics.msis(*[np.ones((1, 2))] * 3, np.ones(1), 0.95 * 200), "percent"),
        (lambda: metrics.seasonal_scale(panel_of({"a": [1.0]}), 0), "at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
