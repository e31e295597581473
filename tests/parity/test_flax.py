"""The same weights give the same outputs as flax.linen's cells."""

import flax.linen as linen
import jax
import numpy as np
import pytest

from seqjax import ops
from tests.compiled import run

B, T, I, H = 3, 9, 4, 6


def flax_layer(cell):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, T, I)).astype(np.float32)
    layer = linen.RNN(cell)
    variables = run(layer.init, jax.random.key(1), x)
    variables = jax.tree.map(  # biases start at zero, which would hide them
        lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32), variables
    )
    (weights,) = variables["params"].values()
    return x, layer, variables, weights


def packed(weights, prefix, gates, leaf):
    return np.concatenate([weights[prefix + gate][leaf] for gate in gates], axis=-1)


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
    recurrent_bias = np.concatenate([np.zeros(2 * H, np.float32), weights["hn"]["bias"]])
    params = ops.GRUParams(
        packed(weights, "i", "rzn", "kernel"),
        packed(weights, "h", "rzn", "kernel"),
        packed(weights, "i", "rzn", "bias"),
        recurrent_bias,
    )
    compare(ops.gru, params, x, layer, variables, lengths)


def compare(op, params, x, layer, variables, lengths):
    options = {"seq_lengths": lengths, "return_carry": True}
    theirs_end, theirs = run(layer.apply, variables, x, **options)
    ours_end, ours = run(op, params, x, **options)
    if lengths is not None:  # what Flax leaves in the padding is no output
        theirs = np.where(np.arange(T)[:, None] < lengths[:, None, None], theirs, 0)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for a, b in zip(jax.tree.leaves(ours_end), jax.tree.leaves(theirs_end), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
