"""The guarantee of split-conformal intervals, measured by simulation."""

import numpy as np
import pytest
from scipy.stats import betabinom

from seqjax.data import DataError
from seqjax.forecast import conformal

RNG = np.random.default_rng


@pytest.mark.parametrize(("windows", "level"), [(9, 80), (50, 80), (99, 95)])
def test_coverage_is_beta_binomial(windows, level):
    """Of m new scores k are covered as often as the beta-binomial law of finite samples says.

    Coverage given the calibration is Beta(r, n + 1 - r), r the rank (Vovk 2012), for any
    continuous law of the scores: here a heavy-tailed one.
    """
    trials, new = 4000, 20
    scores = np.abs(RNG(0).standard_t(2, size=(windows, trials)))  # a step for each trial
    half = conformal.half_widths(conformal.calibrate(scores), level)
    covered = np.sum(np.abs(RNG(1).standard_t(2, size=(new, trials))) <= half, axis=0)
    rank = int(np.ceil((windows + 1) * level / 100 - 1e-9))
    law = betabinom(new, rank, windows + 1 - rank)
    assert law.mean() >= new * level / 100
    error = 4 * law.std() / np.sqrt(trials)  # four standard errors
    assert covered.mean() == pytest.approx(law.mean(), abs=error)
    found = np.bincount(covered, minlength=new + 1) / trials
    chance = law.pmf(np.arange(new + 1))
    assert (np.abs(found - chance) <= 5 * np.sqrt(chance * (1 - chance) / trials) + 1e-3).all()


def test_ranks_by_hand():
    """(n + 1) (1 - a), rounded up, each step with its own n; 19 scores are just enough for 95 %."""
    scores = np.tile(RNG(0).permutation(np.arange(1.0, 21.0))[:, None], (1, 3))
    scores[scores[:, 1] > 19, 1] = np.nan
    scores[scores[:, 2] > 6, 2] = np.nan
    calibration = conformal.calibrate(scores)
    np.testing.assert_array_equal(calibration.counts, [20, 19, 6])
    np.testing.assert_array_equal(conformal.half_widths(calibration, 80), [17, 16, 6])
    first = conformal.Calibration(calibration.scores[:, :2])
    np.testing.assert_array_equal(conformal.half_widths(first, 95), [20, 19])


def test_too_few_windows_say_how_many_there_must_be():
    calibration = conformal.calibrate(np.array([[1.0, np.nan], [2.0, 2.0], [3.0, 3.0]]))
    with pytest.raises(DataError, match=r"95 % needs 19 .*, but step 1 .* has 3; .* at most 66 %"):
        conformal.half_widths(calibration, 95)
    with pytest.raises(DataError, match=r"70 % needs 3 .*, but step 2 of the horizon has 2;"):
        conformal.half_widths(calibration, 70)
    with pytest.raises(ValueError, match="percent"):
        conformal.half_widths(calibration, 100)


def test_quantiles_that_are_wrong_are_put_right():
    """Too wide and too narrow ones, on series of scales a thousandfold apart; by step."""
    rng, n = RNG(0), 4000
    scale = 10.0 ** rng.integers(-1, 3, size=2 * n)
    actual = rng.gumbel(size=(2 * n, 2)) * scale[:, None] * [1.0, 3.0]
    lo, hi = -0.1 * scale[:, None] * np.ones((1, 2)), 6.0 * scale[:, None] * np.ones((1, 2))
    old, new = slice(n), slice(n, None)
    scores = conformal.quantile_scores(lo[old], hi[old], actual[old], scale[old])
    half = conformal.half_widths(conformal.calibrate(scores), 80)
    low, high = conformal.intervals(lo[new], hi[new], half, scale[new])
    covered = ((low <= actual[new]) & (actual[new] <= high)).mean(axis=0)
    np.testing.assert_allclose(covered, 0.8, atol=0.03)
    shrunk, _ = conformal.intervals(lo, lo, np.array([-1.0, -1.0]), scale)
    np.testing.assert_allclose(shrunk, lo)  # crossed: their middle


def test_a_random_part_of_many_scores_leaves_out_missing_ones_first():
    scores = RNG(0).exponential(size=(3000, 2))
    scores[::2, 1] = np.nan
    few = conformal.calibrate(scores, limit=1000)
    assert few.counts.tolist() == [1000, 1000]
    assert np.isin(few.scores, scores).all()
    np.testing.assert_allclose(
        conformal.half_widths(few, 80),
        conformal.half_widths(conformal.calibrate(scores), 80),
        rtol=0.1,
    )
    other = conformal.calibrate(scores, limit=1000, seed=1)
    assert (other.scores != few.scores).any()


def test_what_does_not_fit_is_refused():
    ones = np.ones((2, 3))
    for point, actual, scale, words in (
        (ones, ones[:, :2], np.ones(2), "one shape"),
        (ones, ones, np.array([1.0, 0.0]), "scale must be positive"),
        (np.full((2, 3), np.nan), ones, np.ones(2), "NaN where the value is known"),
    ):
        with pytest.raises(ValueError, match=words):
            conformal.quantile_scores(point, point, actual, scale)
