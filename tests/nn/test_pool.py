"""Pooling over time, and layers side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models, nn
from tests.compiled import drawn, run

LENGTHS = np.array([5, 1, 3, 0])
# Maxima below the padding's zero.
X = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32) - 2
X[np.arange(5) >= LENGTHS[:, None]] = np.nan


@pytest.mark.parametrize("kind", ["max", "mean", "both"])
def test_pooling_is_that_of_each_sequence_alone(kind):
    pool = nn.Pool(kind)
    y = run(pool.apply, {}, X, seq_lengths=LENGTHS, method="last")
    every = run(pool.apply, {}, X, seq_lengths=LENGTHS)
    for b, length in enumerate(LENGTHS):
        alone = X[b, :length]
        parts = {"max": alone.max(0, initial=-np.inf), "mean": alone.sum(0) / max(length, 1)}
        parts["max"] = np.where(length, parts["max"], 0)
        expected = np.concatenate([parts[k] for k in ("max", "mean") if kind in (k, "both")])
        np.testing.assert_allclose(y[b], expected, rtol=1e-6)
        np.testing.assert_allclose(every[b, -1], expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["max", "mean", "both"])
def test_pooling_in_pieces_and_step_by_step(kind):
    pool, x = nn.Pool(kind), X[:1]
    whole = run(pool.apply, {}, x)
    carry, first = run(pool.apply, {}, x[:, :2], return_carry=True)
    carry, rest = run(pool.apply, {}, x[:, 2:], carry, return_carry=True)
    np.testing.assert_allclose(np.concatenate([first, rest], axis=1), whole, rtol=1e-6)
    again, nothing = run(pool.apply, {}, x[:, :0], carry, return_carry=True)
    assert nothing.shape == (1, 0, whole.shape[-1])
    jax.tree.map(np.testing.assert_array_equal, again, carry)
    stepped, ys = pool.initial_carry(1, 2), []
    step = jax.jit(lambda carry, x: pool.apply({}, carry, x, method="step"))
    for t in range(5):
        stepped, y = step(stepped, x[:, t])
        ys.append(y)
    np.testing.assert_allclose(np.stack(ys, axis=1), whole, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), stepped, carry)


CONVS = nn.Parallel(tuple(nn.CausalConv(3, kernel_size=k, activation="relu") for k in (2, 3)))
NETS = {
    "recurrent": nn.Stack((nn.Embed(9, 4), nn.Bidirectional(nn.GRU(3)), nn.Pool(), nn.Dense(2))),
    "convolutions": nn.Stack((nn.Embed(9, 4), CONVS, nn.Pool("max"), nn.Dense(2))),
    "side by side": nn.Stack(
        (nn.Embed(9, 4), nn.Parallel((nn.GRU(2), nn.Bidirectional(nn.RNN(2)))), nn.Dense(2))
    ),
}


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_padded_equals_alone_values_and_gradients(net):
    model = models.from_layer(net, nn.Tokens(9), last=True)
    params = drawn(model.init)
    tokens = np.random.default_rng(2).integers(0, 9, (2, 5), np.int32)

    def loss(params, tokens, lengths=None):
        y = model.apply(params, tokens, seq_lengths=lengths)[-1]
        return jnp.sum(jnp.sin(y)), y

    of_last = jax.jit(jax.value_and_grad(loss, has_aux=True))
    beside, alone = of_last(params, tokens, np.array([5, 2])), of_last(params, tokens[1:, :2])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), beside, alone)


def test_side_by_side_is_each_layer_alone():
    x = X[:1]
    layers = (nn.GRU(2), nn.CausalConv(3, 2))
    params = run(nn.Parallel(layers).init, jax.random.key(1), x)
    y = run(nn.Parallel(layers).apply, params, x)
    own = [
        run(layer.apply, {"params": params["params"][f"layers_{k}"]}, x)
        for k, layer in enumerate(layers)
    ]
    np.testing.assert_allclose(y, np.concatenate(own, axis=-1), rtol=1e-6)
    model = models.from_layer(nn.Parallel(layers), 2)
    carry, ys, step = model.initial_carry(1), [], jax.jit(model.step)
    for t in range(5):
        carry, y_t = step(params["params"], carry, x[:, t])
        ys.append(y_t)
    np.testing.assert_allclose(np.stack(ys, axis=1), y, atol=1e-6)
    with pytest.raises(ValueError, match="without strides"):
        run(nn.Parallel((nn.CausalConv(3, 2, stride=2),)).init, jax.random.key(0), x)
