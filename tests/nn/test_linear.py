"""What is these layers' own; as layers they stand in test_layers.py."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import nn
from seqjax.nn import LRU, MinGRU, MinLSTM
from tests.compiled import run

B, T, I = 3, 8, 4
LENGTHS = np.array([8, 0, 3])
every_recurrence = pytest.mark.parametrize("layer", [MinGRU(5), MinLSTM(5), LRU(5, 6)])


def make(layer):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, T, I)).astype(np.float32)
    return x, jax.tree.map(
        lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32),
        run(layer.init, jax.random.key(1), x),
    )


@every_recurrence
def test_implementations_agree(layer):
    x, variables = make(layer)

    def outputs(implementation):
        chosen = layer.clone(implementation=implementation)
        return run(chosen.apply, variables, x, seq_lengths=LENGTHS)

    chosen_by_itself = outputs(None)
    for implementation in ("scan", "associative", "autodiff"):
        np.testing.assert_allclose(outputs(implementation), chosen_by_itself, atol=1e-5)


@every_recurrence
def test_both_directions(layer):
    both = nn.Bidirectional(layer)
    x, variables = make(both)
    y = run(both.apply, variables, x, seq_lengths=LENGTHS)
    assert y.shape[-1] == 10
    np.testing.assert_allclose(y[2:, :3], run(both.apply, variables, x[2:, :3]), atol=1e-5)
    backwards, carry = layer.clone(reverse=True), layer.initial_carry(B, I)
    with pytest.raises(ValueError, match="one step at a time"):
        run(backwards.init, jax.random.key(0), carry, x[:, 0], method="step")


@every_recurrence
def test_dtype_is_that_of_the_computation_not_of_the_parameters(layer):
    x, variables = make(layer)
    layer = layer.clone(dtype=jnp.bfloat16)
    carry, y = run(layer.apply, variables, x, return_carry=True)
    assert y.dtype == jnp.bfloat16
    assert carry.dtype == layer.initial_carry(B, I).dtype
    assert carry.dtype == (jnp.complex64 if isinstance(layer, LRU) else jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    low = jax.eval_shape(layer.clone(param_dtype=jnp.bfloat16).init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(low)} == {jnp.dtype(jnp.bfloat16)}


def test_minimal_layers_start_with_zero_biases():
    for layer in (MinGRU(3), MinLSTM(3)):
        params = run(layer.init, jax.random.key(0), jnp.zeros((1, 1, 2)))["params"]
        assert not params["bias"].any()


def test_eigenvalues_start_uniform_on_their_ring():
    layer = LRU(3, 4000, r_min=0.4, r_max=0.9, max_phase=math.pi / 10)
    params = run(layer.init, jax.random.key(0), jnp.zeros((1, 1, 2)))["params"]
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
    x = np.random.default_rng(0).normal(size=(1, 50, 2)).astype(np.float32)
    params = run(layer.init, jax.random.key(0), x)
    gradient = run(jax.grad(lambda p, x: jnp.mean(layer.apply(p, x) ** 2)), params, x)
    for leaf in jax.tree.leaves((params, gradient)):
        assert np.isfinite(leaf).all()
    zero, one = LRU(2, 3, r_max=0.0), LRU(2, 3, r_min=1.0)
    for extreme in (zero, one):
        leaves = jax.tree.leaves(run(extreme.init, jax.random.key(0), x))
        assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_lru_keeps_the_variance_of_noise():
    """Scaled by gamma, each state has the variance of ``x B``: one, whatever its memory."""
    layer = LRU(4, 500, r_min=0.5, r_max=0.95)
    x = np.random.default_rng(0).normal(size=(8, 400, 16)).astype(np.float32)
    variables = run(layer.init, jax.random.key(1), x)
    carry, _ = run(layer.apply, variables, x, return_carry=True)
    np.testing.assert_allclose(np.mean(np.abs(carry) ** 2), 1.0, rtol=0.15)


def test_errors():
    x = jnp.zeros((1, 2, 3))
    for layer in (LRU(3, 4, r_min=0.9, r_max=0.5), LRU(3, 4, r_max=1.5)):
        with pytest.raises(ValueError, match="0 <= r_min <= r_max <= 1"):
            layer.init(jax.random.key(0), x)
