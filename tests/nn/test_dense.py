"""Layers without a memory: dense ones, and embeddings of tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models, nn

TOKENS = jnp.array([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0]])


def test_an_embedding_is_a_product_with_one_hot_vectors():
    layer = nn.Embed(10, features=4)
    variables = layer.init(jax.random.key(0), TOKENS)
    table = variables["params"]["embedding"]
    y = layer.apply(variables, TOKENS)
    np.testing.assert_allclose(y, jax.nn.one_hot(TOKENS, 10) @ table, atol=1e-6)
    _, step = layer.apply(variables, (), TOKENS[:, 0], method="step")
    np.testing.assert_array_equal(step, y[:, 0])
    assert layer.output_features(nn.Tokens(10)) == 4
    drawn = nn.Embed(500, 200).init(jax.random.key(0), TOKENS)["params"]["embedding"]
    np.testing.assert_allclose(drawn.std(), 200**-0.5, rtol=0.05)  # vectors of length one


def test_a_token_outside_the_vocabulary_is_seen():
    layer = nn.Embed(4, features=2)
    variables = layer.init(jax.random.key(0), TOKENS)
    tokens = TOKENS.at[0, 0].set(-1)
    y = layer.apply(variables, tokens)
    outside = ((tokens >= 4) | (tokens < 0))[..., None]
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(outside, y.shape))
    # But not in the padding.
    y = layer.apply(variables, TOKENS.at[:, 2:].set(99) % 100, seq_lengths=jnp.array([2, 0]))
    assert np.isfinite(y[0, 0]).all() == (TOKENS[0, 0] < 4)
    assert np.isfinite(y[:, 2:]).all()


def test_tokens_become_a_model():
    layer = nn.Stack((nn.Embed(10, 4), nn.Bidirectional(nn.LSTM(3)), nn.GRU(3), nn.Dense(10)))
    model = models.from_layer(layer, nn.Tokens(10))
    params = model.init(jax.random.key(0))
    assert model.apply(params, TOKENS).shape == (2, 5, 10)
    forward = nn.Stack((nn.Embed(10, 4), nn.GRU(3), nn.Dense(10)))
    model = models.from_layer(forward, nn.Tokens(10))
    params = model.init(jax.random.key(0))
    y = model.apply(params, TOKENS)
    carry = model.initial_carry(2)
    for t in range(5):
        carry, y_t = model.step(params, carry, TOKENS[:, t])
        np.testing.assert_allclose(y_t, y[:, t], atol=1e-6)

    def sample(key, y):
        return jax.random.categorical(key, y)

    more = models.generate(model, params, TOKENS, 7, key=jax.random.key(1), sample=sample)
    assert more.shape == (2, 7)
    assert more.dtype == TOKENS.dtype
    lengths = jnp.array([5, 3])
    padded = model.apply(params, TOKENS.at[1, 3:].set(77), seq_lengths=lengths)
    np.testing.assert_allclose(padded[1, :3], y[1, :3], atol=1e-6)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.Dense, nn.MinGRU])
def test_tokens_that_reach_a_layer_of_floats_are_told_where_to_go(kind):
    layer = kind(3)
    with pytest.raises(ValueError, match=r"x holds int32, shape \(2, 5\).*nn\.Embed"):
        layer.init(jax.random.key(0), TOKENS)
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
    x = jax.random.normal(jax.random.key(0), (2, 3, 4))
    layer = nn.Dense(2, activation="gelu")
    variables = layer.init(jax.random.key(1), x)
    plain = nn.Dense(2).apply(variables, x)
    np.testing.assert_allclose(layer.apply(variables, x), jax.nn.gelu(plain), atol=1e-6)
