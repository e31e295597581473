"""Draws from logits, and tokens as they come."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from tests.compiled import drawn, run

LOGITS = jnp.log(jnp.array([[0.1, 0.4, 0.2, 0.3], [0.7, 0.1, 0.1, 0.1]]))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0.1, 0.4, 0.2, 0.3], [0.7, 0.1, 0.1, 0.1]]),
        ({"temperature": 0.5}, [[1 / 30, 16 / 30, 4 / 30, 9 / 30], [49 / 52] + [1 / 52] * 3]),
        ({"temperature": 0.0}, [[0, 1, 0, 0], [1, 0, 0, 0]]),
        ({"top_k": 2}, [[0, 4 / 7, 0, 3 / 7], [7 / 8, 1 / 8, 0, 0]]),
        ({"top_p": 0.7}, [[0, 4 / 7, 0, 3 / 7], [1, 0, 0, 0]]),
        ({"top_p": 0.1}, [[0, 1, 0, 0], [1, 0, 0, 0]]),
        ({"top_k": 3, "top_p": 0.9}, [[0, 4 / 9, 2 / 9, 3 / 9], [7 / 9, 1 / 9, 1 / 9, 0]]),
    ],
)
def test_draws_follow_the_distribution(options, expected):
    draw, count = models.sampler(**options), 20_000
    keys = jax.random.split(jax.random.key(0), count)
    tokens = run(jax.vmap(draw, in_axes=(0, None)), keys, LOGITS)
    for row, probabilities in enumerate(expected):
        found = np.bincount(tokens[:, row], minlength=4) / count
        np.testing.assert_allclose(found, probabilities, atol=0.015)
        assert not found[np.array(probabilities) == 0].any()


@pytest.mark.parametrize(
    ("options", "match"),
    [({"temperature": -1.0}, "temperature"), ({"top_k": 0}, "top_k"), ({"top_p": 0.0}, "top_p")],
)
def test_numbers_out_of_bounds(options, match):
    with pytest.raises(ValueError, match=match):
        models.sampler(**options)


def test_tokens_as_they_come_are_those_of_generate():
    model = models.captioner("gru", vocab_size=7, condition=2, features=5, embedding=3)
    params, x = drawn(model.init), np.array([[1, 2], [3, 0]])
    how = {"key": jax.random.key(1), "sample": models.sampler(0.8, top_k=5)}
    how |= {"seq_lengths": np.array([2, 1]), "context": {"condition": np.ones((2, 2))}}
    whole = models.generate(model, params, x, 10, **how)
    pieces = list(models.stream(model, params, x, 10, chunk=4, **how))
    assert [piece.shape for piece in pieces] == [(2, 4), (2, 4), (2, 2)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
    endless = itertools.islice(models.stream(model, params, x, None, chunk=4, **how), 3)
    np.testing.assert_array_equal(np.concatenate(list(endless), axis=1)[:, :10], whole)
    with pytest.raises(ValueError, match="at least 1"):
        models.stream(model, params, x[:, :0], 3, key=jax.random.key(0))
