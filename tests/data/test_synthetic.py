import numpy as np
import pytest

from seqjax.data import NOISE_VARIANCE, next_values, two_sines


@pytest.mark.parametrize(("horizon", "published"), [(1, 0.0202113669), (10, 0.2569740414)])
def test_the_books_naive_baselines_to_the_digit(horizon, published):
    series = two_sines(10_000, 50 + horizon)
    assert series.dtype == np.float32
    inputs, targets = next_values(series, horizon)
    error = np.mean((targets[7_000:9_000, -1] - inputs[7_000:9_000, -1:]) ** 2)
    np.testing.assert_allclose(error, published, rtol=3e-7)


def test_the_noise_floor_is_that_of_the_noise():
    t = np.linspace(0, 1, 4001)  # so fine that neighbours differ by noise alone
    series = two_sines(200, len(t))
    np.testing.assert_allclose(np.mean(np.diff(series) ** 2) / 2, NOISE_VARIANCE, rtol=0.02)


def test_a_seed_is_a_series():
    np.testing.assert_array_equal(two_sines(3, 9, seed=1), two_sines(3, 9, seed=1))
    assert (two_sines(3, 9, seed=1) != two_sines(3, 9, seed=2)).all()
    with pytest.raises(ValueError, match="at least 1"):
        two_sines(0, 9)


def test_next_values_at_every_step():
    series = np.arange(24.0).reshape(2, 12)
    inputs, targets = next_values(series, 3)
    assert inputs.shape == (2, 9)
    assert targets.shape == (2, 9, 3)
    for t in range(9):
        np.testing.assert_array_equal(targets[:, t], series[:, t + 1 : t + 4])
    with pytest.raises(ValueError, match="horizon of 12"):
        next_values(series, 12)
