import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from seqjax.forecast.heads import head_of
from seqjax.forecast.settings import Settings

RNG = np.random.default_rng(0)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def test_likelihoods_and_quantiles_are_scipys():
    outputs = RNG.normal(size=(50, 3))
    y = RNG.normal(size=50)
    one, levels = np.ones(50), (0.05, 0.5, 0.9)
    sigma, nu = softplus(outputs[:, 1]) + 1e-3, softplus(outputs[:, 2]) + 2
    for loss, law, constant in (
        ("normal", stats.norm(outputs[:, 0], sigma), 0.5 * np.log(2 * np.pi)),
        ("student_t", stats.t(nu, outputs[:, 0], sigma), 0.0),
    ):
        head = head_of(Settings("gru", 1, loss=loss))
        given = outputs[:, : head.outputs].astype(np.float32)
        found = head.losses(jnp.asarray(given), jnp.asarray(y, jnp.float32), jnp.asarray(one))
        np.testing.assert_allclose(found + constant, -law.logpdf(y), rtol=2e-4, atol=2e-4)
        assert head.quantiles is not None
        found = head.quantiles(given, levels, one)
        expected = np.stack([law.ppf(level) for level in levels], axis=-1)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_counts_have_the_negative_binomial_law_in_their_own_unit():
    head = head_of(Settings("gru", 1, loss="negative_binomial"))
    unit = np.array([1.0, 4.0, 10.0])
    outputs = np.array([[2.0, 0.3], [1.5, -1.0], [0.7, 1.0]], np.float32)
    counts = np.array([3.0, 0.0, 9.0])
    mean = 0.1 * softplus(10 * outputs[:, 0].astype(float)) + 1e-4
    size = 1 / (softplus(outputs[:, 1].astype(float)) + 1e-3)
    law = stats.nbinom(size, size / (size + mean * unit))
    scaled = jnp.asarray(counts / unit, jnp.float32)
    found = head.losses(jnp.asarray(outputs), scaled, jnp.asarray(unit, jnp.float32))
    np.testing.assert_allclose(found, -law.logpmf(counts), rtol=1e-4)
    assert head.quantiles is not None
    quantiles = head.quantiles(outputs, (0.1, 0.9), unit) * unit[:, None]
    np.testing.assert_allclose(quantiles, np.stack([law.ppf(0.1), law.ppf(0.9)], axis=-1))


def test_quantiles_cannot_cross_and_their_loss_is_the_pinball_loss():
    settings = Settings("gru", 1, loss="quantile", level=(80.0, 95.0))
    head = head_of(settings)
    outputs = 10 * RNG.normal(size=(100, 5)).astype(np.float32)
    assert head.quantiles is not None
    found = head.quantiles(outputs, settings.quantiles, np.ones(100))
    assert (np.diff(found, axis=-1) >= 0).all()
    np.testing.assert_array_equal(found[:, 2].astype(np.float32), outputs[:, 0])
    y = RNG.normal(size=100)
    errors = y[:, None] - found
    tau = np.array([0.025, 0.1, 0.5, 0.9, 0.975])
    expected = 2 * np.mean(np.maximum(tau * errors, (tau - 1) * errors), axis=-1)
    losses = head.losses(jnp.asarray(outputs), jnp.asarray(y, jnp.float32), jnp.ones(100))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    between = head.quantiles(outputs, (0.05, 0.3, 0.99), np.ones(100))
    rising = np.stack([found[:, 0], between[:, 0], found[:, 1], between[:, 1], found[:, 2]])
    assert (np.diff(rising, axis=0) >= -1e-12).all()
    assert (found[:, 4] <= between[:, 2]).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": "grru"}, "Did you mean 'gru'"),
        ({"level": (80.0, 100.0)}, "between 0 and 100, not 100"),
        ({"seasons": (1,)}, "at least 2 steps"),
        ({"model": "linear", "strategy": "sequence"}, "not 'sequence'"),
        ({"horizon": 0}, "horizon must be at least 1"),
    ],
)
def test_settings_that_do_not_fit_are_told(given: dict, words: str):
    with pytest.raises(ValueError, match=words):
        Settings(**({"model": "gru", "horizon": 3} | given))
