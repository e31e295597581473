"""Mixtures of logistics: a law of codes, and draws from it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import logistic

from seqjax import losses
from seqjax.models.logistics import logistic_mixture_log_probability, logistic_sampler
from tests.compiled import run

RNG = np.random.default_rng(0)
Y = np.float32(RNG.normal(size=(4, 9)) * np.repeat([1, 0.7, 2.0], 3))


def definition(y, levels):
    """Probabilities of all codes, [levels], in float64."""
    logits, means, scales = np.split(np.asarray(y, np.float64), 3)
    weights = np.exp(logits) / np.exp(logits).sum()
    edges = np.concatenate([[-np.inf], (2 * np.arange(1, levels) - 1) / (levels - 1) - 1, [np.inf]])
    below = logistic.cdf(edges[:, None], means, np.exp(scales))
    return np.diff(below, axis=0) @ weights


@pytest.mark.parametrize("levels", [2, 7, 256])
def test_the_law_is_that_of_the_definition(levels):
    codes = np.tile(np.arange(levels), len(Y))
    law = functools.partial(logistic_mixture_log_probability, levels=levels)
    found = np.exp(run(law, np.repeat(Y, levels, axis=0), codes)).reshape(len(Y), levels)
    for one, y in zip(found, Y, strict=True):
        np.testing.assert_allclose(one, definition(y, levels), rtol=2e-4, atol=1e-7)


def test_far_from_every_mean_values_and_slopes_are_finite():
    y = np.float32([[0, 0, 1, -1, -300, 40]])  # a needle, and nearly nothing anywhere
    values = jax.jit(jax.value_and_grad(lambda y, code: losses.logistic_mixture(y, code, 256)[0]))
    for code in (0, 128, 255):
        assert all(np.isfinite(found).all() for found in values(y, np.array([code])))
    needle = np.float32([[0, 1, -300]] * 2)
    narrow = run(functools.partial(losses.logistic_mixture, levels=256), needle, np.array([0, 255]))
    assert narrow[0] > 1e3  # and no infinity
    np.testing.assert_allclose(narrow[1], 0, atol=0.13)


def test_draws_follow_the_law():
    draws = 40_000
    y = np.broadcast_to(Y[0], (draws, 9))
    codes = run(logistic_sampler(16), jax.random.key(0), y)
    law = definition(Y[0], 16)
    seen = np.bincount(codes, minlength=16)
    chi = np.sum((seen - draws * law) ** 2 / (draws * law))
    assert chi < 38  # one in a thousand with 15 degrees of freedom
    cold = run(logistic_sampler(16, 0.0), jax.random.key(1), Y)
    best = np.argmax(Y[:, :3], axis=1)
    means = np.clip(np.take_along_axis(np.asarray(Y[:, 3:6]), best[:, None], 1)[:, 0], -1, 1)
    np.testing.assert_array_equal(cold, np.round((means + 1) * 7.5))
    lukewarm = run(logistic_sampler(16, 0.3), jax.random.key(2), y)
    assert np.std(lukewarm) < np.std(codes)


def test_outputs_that_are_no_mixture_are_refused():
    with pytest.raises(ValueError, match="3 outputs for each component"):
        losses.logistic_mixture(jnp.zeros((2, 10)), jnp.zeros(2, int), 256)
    with pytest.raises(ValueError, match="temperature must be 0 or more, not -1"):
        logistic_sampler(256, -1.0)
