"""Layers without a memory: dense ones, and embeddings of tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models, nn
from tests.compiled import drawn, run

TOKENS = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0]], np.int32)


def test_an_embedding_is_a_product_with_one_hot_vectors():
    layer = nn.Embed(10, features=4)
    variables = run(layer.init, jax.random.key(0), TOKENS)
    table = variables["params"]["embedding"]
    y = run(layer.apply, variables, TOKENS)
    np.testing.assert_allclose(y, np.eye(10)[TOKENS] @ table, atol=1e-6)
    _, step = run(layer.apply, variables, (), TOKENS[:, 0], method="step")
    np.testing.assert_array_equal(step, y[:, 0])
    assert layer.output_features(nn.Tokens(10)) == 4
    drawn = run(nn.Embed(500, 200).init, jax.random.key(0), TOKENS)["params"]["embedding"]
    np.testing.assert_allclose(drawn.std(), 200**-0.5, rtol=0.05)  # vectors of length one


def test_a_token_outside_the_vocabulary_is_seen():
    layer = nn.Embed(4, features=2)
    variables = run(layer.init, jax.random.key(0), TOKENS)
    tokens, padded = TOKENS.copy(), TOKENS.copy()
    tokens[0, 0], padded[:, 2:] = -1, 99
    y = run(layer.apply, variables, tokens)
    outside = ((tokens >= 4) | (tokens < 0))[..., None]
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(outside, y.shape))
    # But not in the padding.
    y = run(layer.apply, variables, padded, seq_lengths=np.array([2, 0]))
    assert np.isfinite(y[0, 0]).all() == (TOKENS[0, 0] < 4)
    assert np.isfinite(y[:, 2:]).all()


def test_tokens_become_a_model():
    layer = nn.Stack((nn.Embed(10, 4), nn.Bidirectional(nn.LSTM(3)), nn.GRU(3), nn.Dense(10)))
    model = models.from_layer(layer, nn.Tokens(10))
    params = drawn(model.init)
    assert run(model.apply, params, TOKENS).shape == (2, 5, 10)
    forward = nn.Stack((nn.Embed(10, 4), nn.GRU(3), nn.Dense(10)))
    model = models.from_layer(forward, nn.Tokens(10))
    params = drawn(model.init)
    y = run(model.apply, params, TOKENS)
    carry, step = model.initial_carry(2), jax.jit(model.step)
    for t in range(5):
        carry, y_t = step(params, carry, TOKENS[:, t])
        np.testing.assert_allclose(y_t, y[:, t], atol=1e-6)

    def sample(key, y):
        return jax.random.categorical(key, y)

    known = jnp.asarray(TOKENS)
    more = models.generate(model, params, known, 7, key=jax.random.key(1), sample=sample)
    assert more.shape == (2, 7)
    assert more.dtype == TOKENS.dtype
    dirty = TOKENS.copy()
    dirty[1, 3:] = 77
    padded = run(model.apply, params, dirty, seq_lengths=np.array([5, 3]))
    np.testing.assert_allclose(padded[1, :3], y[1, :3], atol=1e-6)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.Dense, nn.MinGRU])
def test_tokens_that_reach_a_layer_of_floats_are_told_where_to_go(kind):
    layer = kind(3)
    with pytest.raises(ValueError, match=r"x holds int32, shape \(2, 5\).*nn\.Embed"):
        run(layer.init, jax.random.key(0), TOKENS)
    if kind is not nn.LSTM:
        return
    with pytest.raises(ValueError, match=r"nn\.Embed"):
        models.from_layer(nn.Stack((layer,)), nn.Tokens(10)).init(jax.random.key(0))


def test_floats_that_reach_an_embedding_are_refused():
    with pytest.raises(
        ValueError, match=r"tokens must be integers \[batch, time\], but x is float"
    ):
        nn.Embed(3, 2).init(jax.random.key(0), jnp.ones((2, 5, 1)))


def test_a_dense_activation_goes_by_name():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    layer = nn.Dense(2, activation="gelu")
    variables = run(layer.init, jax.random.key(1), x)
    plain = run(nn.Dense(2).apply, variables, x)
    np.testing.assert_allclose(run(layer.apply, variables, x), run(jax.nn.gelu, plain), atol=1e-6)
