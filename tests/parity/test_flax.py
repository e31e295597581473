"""The same weights give the same outputs as flax.linen's cells."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import ops

B, T, I, H = 3, 9, 4, 6


def flax_layer(cell):
    x = jax.random.normal(jax.random.key(0), (B, T, I))
    layer = linen.RNN(cell)
    variables = layer.init(jax.random.key(1), x)
    noise = iter(jax.random.split(jax.random.key(2), 100))
    variables = jax.tree.map(  # biases start at zero, which would hide them
        lambda leaf: leaf + 0.1 * jax.random.normal(next(noise), leaf.shape), variables
    )
    (weights,) = variables["params"].values()
    return x, layer, variables, weights


def packed(weights, prefix, gates, leaf):
    return jnp.concatenate([weights[prefix + gate][leaf] for gate in gates], axis=-1)


@pytest.mark.parametrize("lengths", [None, np.array([9, 1, 4])])
def test_rnn(lengths):
    x, layer, variables, weights = flax_layer(linen.SimpleCell(H))
    params = ops.RNNParams(weights["i"]["kernel"], weights["h"]["kernel"], weights["i"]["bias"])
    compare(ops.rnn, params, x, layer, variables, lengths)


@pytest.mark.parametrize("lengths", [None, np.array([9, 1, 4])])
def test_lstm(lengths):
    x, layer, variables, weights = flax_layer(linen.OptimizedLSTMCell(H))
    params = ops.LSTMParams(
        packed(weights, "i", "ifgo", "kernel"),
        packed(weights, "h", "ifgo", "kernel"),
        packed(weights, "h", "ifgo", "bias"),
    )
    compare(ops.lstm, params, x, layer, variables, lengths)


@pytest.mark.parametrize("lengths", [None, np.array([9, 1, 4])])
def test_gru(lengths):
    x, layer, variables, weights = flax_layer(linen.GRUCell(H))
    recurrent_bias = jnp.concatenate([jnp.zeros(2 * H), weights["hn"]["bias"]])
    params = ops.GRUParams(
        packed(weights, "i", "rzn", "kernel"),
        packed(weights, "h", "rzn", "kernel"),
        packed(weights, "i", "rzn", "bias"),
        recurrent_bias,
    )
    compare(ops.gru, params, x, layer, variables, lengths)


def compare(op, params, x, layer, variables, lengths):
    lengths = None if lengths is None else jnp.asarray(lengths)
    theirs_end, theirs = layer.apply(variables, x, seq_lengths=lengths, return_carry=True)
    ours_end, ours = op(params, x, seq_lengths=lengths, return_carry=True)
    if lengths is not None:  # what Flax leaves in the padding is no output
        theirs = jnp.where(jnp.arange(T)[None, :, None] < lengths[:, None, None], theirs, 0)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for a, b in zip(jax.tree.leaves(ours_end), jax.tree.leaves(theirs_end), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
