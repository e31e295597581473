"""Generated panels follow the law that they say they do."""

import numpy as np
import pandas as pd
import pytest

from seqjax.forecast import conformal, generated
from seqjax.forecast.frames import panel_from_frame

LEVELS = (0.1, 0.5, 0.975)


@pytest.mark.parametrize("name", generated.RECIPES)
def test_the_quantiles_are_those_of_the_values(name):
    """By step and over all: P(y < quantile) <= level <= P(y <= quantile)."""
    series, length = 300, 40
    frame = generated.panel(name, series, length, seed=1)
    true = generated.quantiles(name, series, length, LEVELS, seed=1)
    assert (np.diff(true, axis=-1) >= 0).all()
    row = frame["unique_id"].str[1:].astype(int).to_numpy()
    grid = pd.date_range("2020-01-01", periods=length, freq=generated.RECIPES[name].freq)
    step = grid.get_indexer(pd.Index(frame["ds"]))
    kept = frame["y"].notna().to_numpy()
    y, true = frame["y"].to_numpy()[kept], true[row[kept], step[kept]]
    error = 4 * np.sqrt(np.array(LEVELS) * (1 - np.array(LEVELS)) / len(y))
    assert ((y[:, None] < true).mean(axis=0) <= LEVELS + error).all()
    assert ((y[:, None] <= true).mean(axis=0) >= LEVELS - error).all()
    again = generated.panel(name, series, length, seed=1)
    pd.testing.assert_frame_equal(frame, again)
    assert not frame.equals(generated.panel(name, series, length, seed=2))


def test_what_is_told_of_a_panel_is_there():
    for name, recipe in generated.RECIPES.items():
        frame = generated.panel(name, 40, 60)
        known = ("promotion",) if recipe.covariate else ()
        panel, _ = panel_from_frame(frame, known=known)
        assert pd.tseries.frequencies.to_offset(recipe.freq) == panel.grid.freq
        assert len(panel.ids) == 40
        missing = np.isnan(panel.values).mean()
        assert missing == pytest.approx(recipe.gaps, abs=0.02)
        assert (panel.lengths.min() < 12) == recipe.unequal
    zero = generated.panel("intermittent", 40, 60)["y"] == 0
    assert zero.mean() == pytest.approx(0.75, abs=0.03)
    counts = generated.panel("counts", 40, 60)["y"]
    assert (counts == counts.round()).all()


def test_a_promotion_moves_the_quantiles():
    frame = generated.panel("covariate", 50, 40)
    middle = generated.quantiles("covariate", 50, 40, [0.5])[..., 0]
    on = frame["promotion"].to_numpy().reshape(50, 40) == 1
    assert 0.05 < on.mean() < 0.15
    assert middle[on].mean() > 1.2 * middle[~on].mean()


def test_conformal_intervals_of_the_best_forecast_are_the_true_quantiles():
    """1.28 and 1.96 standard deviations for Gaussian noise, on half of the series."""
    frame = generated.panel("gaussian", 1000, 12)
    y = frame["y"].to_numpy().reshape(1000, 12)
    lo, point, hi = np.moveaxis(generated.quantiles("gaussian", 1000, 12, [0.1, 0.5, 0.9]), -1, 0)
    scale = (hi - point)[:, 0] / 1.2815515655446004
    scores = conformal.quantile_scores(point[:500], point[:500], y[:500], scale[:500])
    half = conformal.half_widths(conformal.calibrate(scores), 80)
    np.testing.assert_allclose(half, 1.2816, rtol=0.15)
    np.testing.assert_allclose(half.mean(), 1.2816, rtol=0.03)
    known = conformal.quantile_scores(lo[:500], hi[:500], y[:500], scale[:500])
    moved = conformal.half_widths(conformal.calibrate(known), 80)
    np.testing.assert_allclose(moved, 0, atol=0.2)  # what is right stays


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"no generated panel 'gausian'.*gaussian"):
        generated.panel("gausian", 1, 1)
