"""Shapes and structure; that the outputs are the same, tests/parity compares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import io, models, nn, ops


def ones(*shape):
    return np.ones(shape, np.float32)


KERAS = {
    "rnn": [ones(3, 2), ones(2, 2), ones(2)],
    "lstm": [ones(3, 8), ones(2, 8), ones(8)],
    "gru": [ones(3, 6), ones(2, 6), ones(2, 6)],
    "conv": [ones(4, 3, 2), ones(2)],
    "dense": [ones(3, 2), ones(2)],
}
TORCH = {"e.weight_ih_l1": ones(8, 3), "e.weight_hh_l1": ones(8, 2), "e.bias_ih_l1": ones(8)}


@pytest.mark.parametrize("kind", KERAS)
def test_a_layer_without_biases_is_one_with_zeros(kind):
    *weights, bias = KERAS[kind]
    without, zeros = (io.from_keras(kind, w) for w in (weights, [*weights, 0 * bias]))
    assert jax.tree.structure(without) == jax.tree.structure(zeros)
    jax.tree.map(np.testing.assert_array_equal, without, zeros)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(zeros))


@pytest.mark.parametrize(
    ("kind", "weights", "words"),
    [
        ("transformer", [], "kind must be one of"),
        (
            "lstm",
            [ones(3, 8)],
            r"and perhaps a bias, but here are 1, of shapes \[\(3, 8\)",
        ),
        ("gru", KERAS["lstm"], r"weights\[1\].*\[features, 3 \* features\].*\[2, 8\].*'lstm'"),
        ("lstm", [ones(3, 6), ones(2, 8)], r"weights\[0\].*\[inputs, 8\], but is \[3, 6\]"),
        ("lstm", [ones(3, 8), ones(2, 8), ones(6)], r"weights\[2\].*\[8\], but is \[6\]"),
        ("lstm", [ones(8), ones(2, 8)], r"weights\[0\]"),
        ("lstm", [ones(3, 8), ones()], r"weights\[1\]"),
        ("gru", [ones(3, 6), ones(2, 6), ones(6)], r"\[2, 6\], but is \[6\].*reset_after=False"),
        ("conv", [ones(3, 2)], r"\[kernel_size, inputs, features\], but is \[3, 2\]"),
        ("dense", [ones(3, 2), ones(3)], r"weights\[1\], the bias, must be \[2\]"),
    ],
)
def test_from_keras_names_the_array_and_both_shapes(kind, weights, words):
    with pytest.raises(ValueError, match=words):
        io.from_keras.__wrapped__(kind, weights)


@pytest.mark.parametrize(
    ("kind", "state", "options", "words"),
    [
        ("lstm", TORCH, {}, r"no 'weight_ih_l0'.*e\.weight_ih_l1"),
        ("lstm", TORCH, {"prefix": "d."}, r"no 'd\.weight_ih_l0'; it has nothing with the prefix"),
        ("lstm", TORCH, {"reverse": True, "prefix": "e.", "layer": 1}, "l1_reverse"),
        (
            "gru",
            TORCH,
            {"prefix": "e.", "layer": 1},
            r"e\.weight_hh_l1.*\[3 \* fea",
        ),
        ("lstm", {"weight_hr_l0": ones(1, 2)}, {}, "proj_size"),
        ("dense", {"weight": ones(3)}, {}, r"weight.*\[features, inputs\], but is \[3\]"),
        ("conv", {"weight": ones(3, 2)}, {}, r"\[features, inputs, kernel_size\]"),
        ("dense", {"weight": ones(3, 2), "bias": ones(2)}, {}, r"bias.* must be \[3\]"),
        (
            "lstm",
            {"weight_ih_l0": ones(8, 3), "weight_hh_l0": ones(8, 2), "bias_hh_l0": ones(2)},
            {},
            r"bias_hh_l0, a bias, must be \[8\]",
        ),
        (
            "lstm",
            TORCH,
            {"prefix": "e."},
            "the state has a 'e.weight_ih_l1', too; say layer=0 or 1",
        ),
        ("rnn", {"weight_ih_l0_reverse": ones(2, 2)}, {}, "too; say reverse=False or True"),
    ],
)
def test_from_torch_names_the_array_and_both_shapes(kind, state, options, words):
    with pytest.raises(ValueError, match=words):
        io.from_torch(kind, state, **options)


def test_a_bias_alone_of_pytorchs_two_is_the_sum():
    params = io.from_torch("lstm", TORCH, prefix="e.", layer=1)
    assert params.bias.tolist() == [1] * 8
    assert params.kernel.shape == (3, 8)


def test_stacks_of_all_kinds_take_converted_layers():
    lstm, gru = io.from_keras("lstm", KERAS["lstm"]), io.from_keras("gru", KERAS["gru"])
    original = io.from_keras("gru", KERAS["gru"][:2], reset_after=False)
    norm = ops.LayerNormParams(jnp.ones(2), jnp.zeros(2))
    rnn = ops.RNNParams(jnp.ones((2, 2)), jnp.ones((2, 2)), None, norm)
    wide = io.from_keras("gru", [ones(4, 6), *KERAS["gru"][1:]])
    layers = [
        (nn.Bidirectional(nn.LSTM(2)), {"forward": lstm, "backward_layer": lstm}),
        (nn.GRU(2), wide),
        (nn.RNN(2, layer_norm=True), rnn),
        (nn.CausalConv(3, 1), ops.ConvParams(jnp.ones((1, 2, 3)))),
        (nn.GRU(2, reset_after=False), original),
        (nn.Dense(2), io.from_keras("dense", [ones(2, 2)])),
    ]
    assert gru.recurrent_bias is not None
    stack = nn.Stack(tuple(layer for layer, _ in layers))
    params = io.stack_params([params for _, params in layers])
    like = jax.eval_shape(models.from_layer(stack, 3).init, jax.random.key(0))
    assert jax.tree.structure(params) == jax.tree.structure(like)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, like)
    with pytest.raises(ValueError, match="not ConvCarry"):
        io.stack_params([ops.conv_carry(1, 1, 2)])
