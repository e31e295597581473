import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import nn
from seqjax.nn.linear import LRU, MinGRU, MinLSTM
from seqjax.nn.residual import Residual

B, T, I = 3, 8, 4
LENGTHS = np.array([8, 0, 3])
LAYERS = {
    "min_gru": MinGRU(5),
    "min_lstm": MinLSTM(5),
    "lru": LRU(I, 6, r_min=0.5, r_max=0.9),  # with the skip
    "stack": nn.Stack(
        (
            nn.Dense(6),
            Residual(LRU(5, 6), 6),
            Residual(MinGRU(6), 6),
            Residual(nn.CausalConv(5, kernel_size=3, dilation=2), 6),
            nn.Dense(1),
        )
    ),
}
every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
every_recurrence = pytest.mark.parametrize("layer", [MinGRU(5), MinLSTM(5), LRU(5, 6)])


def make(layer):
    x = jax.random.normal(jax.random.key(0), (B, T, I))
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    noise = iter(jax.random.split(jax.random.key(2), 100))
    return x, jax.tree.map(
        lambda leaf: leaf + 0.3 * jax.random.normal(next(noise), leaf.shape), variables
    )


def by_steps(layer, variables, carry, x):
    """The outputs of one step after the other, [batch, time, features]."""
    step = jax.jit(lambda carry, x: layer.apply(variables, carry, x, method="step"))
    outputs = []
    for t in range(x.shape[1]):
        carry, y = step(carry, x[:, t])
        outputs.append(y)
    return np.stack(outputs, axis=1)


@every_layer
def test_one_step_at_a_time_equals_whole_sequence(layer):
    x, variables = make(layer)
    whole = jax.jit(layer.apply)(variables, x)
    assert whole.shape[-1] == layer.output_features(I)
    start = layer.initial_carry(B, I)
    np.testing.assert_allclose(by_steps(layer, variables, start, x), whole, atol=1e-5)
    carry, _ = jax.jit(lambda x: layer.apply(variables, x, return_carry=True))(x[:, :5])
    assert jax.tree.map(jnp.shape, carry) == jax.tree.map(jnp.shape, start)
    np.testing.assert_allclose(by_steps(layer, variables, carry, x[:, 5:]), whole[:, 5:], atol=1e-5)


@every_layer
def test_parameters_are_the_same_made_either_way(layer):
    x, _ = make(layer)
    by_sequence = jax.jit(layer.init)(jax.random.key(1), x)
    by_step = jax.jit(lambda *a: layer.init(*a, method="step"))(
        jax.random.key(1), layer.initial_carry(B, I), x[:, 0]
    )
    jax.tree.map(np.testing.assert_array_equal, by_sequence, by_step)


@every_layer
def test_padded_batch_equals_each_sequence_alone(layer):
    x, variables = make(layer)
    apply = jax.jit(layer.apply)
    y = apply(variables, x, seq_lengths=LENGTHS)
    for b, n in enumerate(LENGTHS):
        if n:
            alone = apply(variables, x[b : b + 1, :n])
            np.testing.assert_allclose(y[b : b + 1, :n], alone, atol=1e-5)


@every_layer
def test_causality_by_gradient(layer):
    x, variables = make(layer)
    jacobian = jax.jit(jax.jacrev(lambda x: layer.apply(variables, x)[0]))(x)[:, :, 0]
    reach = np.abs(jacobian).sum(axis=(1, 3))
    assert not np.triu(reach, 1).any()
    assert (np.diag(reach) > 0).any()


@every_layer
def test_every_layer_offers_the_protocol(layer):
    assert isinstance(layer, nn.Layer)
    assert layer.output_length(T) == T


@every_recurrence
def test_implementations_agree(layer):
    x, variables = make(layer)

    def outputs(implementation):
        chosen = layer.clone(implementation=implementation)
        return jax.jit(lambda x: chosen.apply(variables, x, seq_lengths=LENGTHS))(x)

    for implementation in ("scan", "associative", "autodiff"):
        np.testing.assert_allclose(outputs(implementation), outputs(None), atol=1e-5)


@every_recurrence
def test_both_directions(layer):
    both = nn.Bidirectional(layer)
    x, variables = make(both)
    apply = jax.jit(both.apply)
    y = apply(variables, x, seq_lengths=LENGTHS)
    assert y.shape[-1] == 10
    np.testing.assert_allclose(y[2:, :3], apply(variables, x[2:, :3]), atol=1e-5)
    with pytest.raises(ValueError, match="one step at a time"):
        layer.clone(reverse=True).init(
            jax.random.key(0), layer.initial_carry(B, I), x[:, 0], method="step"
        )


@every_recurrence
def test_dtype_is_that_of_the_computation_not_of_the_parameters(layer):
    x, variables = make(layer)
    layer = layer.clone(dtype=jnp.bfloat16)
    carry, y = layer.apply(variables, x, return_carry=True)
    assert y.dtype == jnp.bfloat16
    assert carry.dtype == layer.initial_carry(B, I).dtype
    assert carry.dtype == (jnp.complex64 if isinstance(layer, LRU) else jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    low = jax.eval_shape(layer.clone(param_dtype=jnp.bfloat16).init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(low)} == {jnp.dtype(jnp.bfloat16)}


def test_minimal_layers_start_with_zero_biases():
    for layer in (MinGRU(3), MinLSTM(3)):
        params = layer.init(jax.random.key(0), jnp.zeros((1, 1, 2)))["params"]
        assert not params["bias"].any()


def test_eigenvalues_start_uniform_on_their_ring():
    layer = LRU(3, 4000, r_min=0.4, r_max=0.9, max_phase=math.pi / 10)
    params = layer.init(jax.random.key(0), jnp.zeros((1, 1, 2)))["params"]
    squared = np.exp(-2 * np.exp(params["nu_log"]))
    phase = np.exp(params["theta_log"])
    for values, low, high in ((squared, 0.16, 0.81), (phase, 0, math.pi / 10)):
        assert low <= values.min() + 1e-6
        assert values.max() <= high + 1e-6
        quartiles = np.quantile(values, [0.25, 0.5, 0.75])
        expected = low + (high - low) * np.array([0.25, 0.5, 0.75])
        np.testing.assert_allclose(quartiles, expected, atol=0.03 * high)
    np.testing.assert_allclose(np.exp(2 * params["gamma_log"]), 1 - squared, rtol=1e-3)
    np.testing.assert_allclose(np.std(params["input_real"]), 0.5, rtol=0.05)
    np.testing.assert_allclose(np.std(params["output_imag"]), 4000**-0.5, rtol=0.05)
    assert "skip" not in params


def test_the_whole_disc_starts_finite_and_learns():
    layer = LRU(2, 5000)
    x = jax.random.normal(jax.random.key(0), (1, 50, 2))
    params = layer.init(jax.random.key(0), x)
    gradient = jax.jit(jax.grad(lambda p: jnp.mean(layer.apply(p, x) ** 2)))(params)
    for leaf in jax.tree.leaves((params, gradient)):
        assert np.isfinite(leaf).all()
    zero, one = LRU(2, 3, r_max=0.0), LRU(2, 3, r_min=1.0)
    for extreme in (zero, one):
        leaves = jax.tree.leaves(extreme.init(jax.random.key(0), x))
        assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_lru_keeps_the_variance_of_noise():
    """Scaled by gamma, each state has the variance of ``x B``: one, whatever its memory."""
    layer = LRU(4, 500, r_min=0.5, r_max=0.95)
    x = jax.random.normal(jax.random.key(0), (8, 400, 16))
    carry, _ = layer.apply(layer.init(jax.random.key(1), x), x, return_carry=True)
    np.testing.assert_allclose(np.mean(np.abs(carry) ** 2), 1.0, rtol=0.15)


def test_errors():
    x = jnp.zeros((1, 2, 3))
    for layer in (LRU(3, 4, r_min=0.9, r_max=0.5), LRU(3, 4, r_max=1.5)):
        with pytest.raises(ValueError, match="0 <= r_min <= r_max <= 1"):
            layer.init(jax.random.key(0), x)
