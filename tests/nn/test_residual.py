"""What is the residual block's own; as a layer it stands in test_layers.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import nn
from seqjax.nn import LRU
from seqjax.nn.residual import Residual
from tests.compiled import run

B, T, F = 3, 8, 4
LENGTHS = np.array([8, 0, 3])


def make(block):
    x = np.random.default_rng(0).normal(size=(B, T, F)).astype(np.float32)
    return x, jax.jit(block.init)(jax.random.key(1), x)


def test_it_is_its_equation():
    block = Residual(LRU(6, 5), F)
    x, variables = make(block)

    def equation(variables, x):
        params = variables["params"]
        normal = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)
        inner = jax.nn.gelu(LRU(6, 5).apply({"params": params["layer"]}, normal))
        value, gate = jnp.split(inner @ params["gate"]["kernel"], 2, axis=-1)
        return x + value * jax.nn.sigmoid(gate)

    found, expected = (run(f, variables, x) for f in (block.apply, equation))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_padding_may_hold_anything():
    block = Residual(LRU(6, 5), F)
    x, variables = make(block)
    padded = x.copy()
    padded[1], padded[2, 3:] = np.nan, np.inf
    apply = jax.jit(lambda v, x: block.apply(v, x, seq_lengths=LENGTHS))
    y = apply(variables, padded)
    np.testing.assert_allclose(y, apply(variables, x), atol=1e-6)
    assert not y[1].any()
    assert not y[2, 3:].any()
    gradients = run(jax.grad(lambda v, x: jnp.sum(apply(v, x) ** 2), (0, 1)), variables, padded)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_dropout_acts_on_the_branch_only():
    block = Residual(LRU(6, 5), F, dropout=0.4)
    x, variables = make(block)

    @jax.jit
    def draw(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return block.apply(variables, jnp.asarray(x), deterministic=False, rngs=rngs)

    np.testing.assert_array_equal(draw(0), draw(0))
    branch, dropped = run(block.apply, variables, x) - x, draw(0) - x
    kept = np.abs(dropped) > 1e-6
    assert 0.4 < kept.mean() < 0.8
    np.testing.assert_allclose(dropped[kept], branch[kept] / 0.6, atol=1e-5)


def test_dtype_is_that_of_the_computation():
    block = Residual(LRU(6, 5, dtype=jnp.bfloat16), F, dtype=jnp.bfloat16)
    x, variables = make(block)
    assert jax.eval_shape(block.apply, variables, x).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_errors_say_what_does_not_fit():
    x = jnp.zeros((B, T, F))
    cases = {
        "x must have 5 features": Residual(LRU(6, 5), 5),
        "must not have a stride": Residual(nn.CausalConv(4, kernel_size=2, stride=2), F),
        "keep_order=True": Residual(nn.LSTM(3, reverse=True), F),
    }
    for message, block in cases.items():
        with pytest.raises(ValueError, match=message):
            block.init(jax.random.key(0), x)
