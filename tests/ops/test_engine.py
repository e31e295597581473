import functools
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import ops
from seqjax.ops import Elementwise, Weights, engine
from seqjax.ops.cell import Loop
from tests.compiled import run


def test_a_cell_with_parameters_of_its_own_gets_their_gradients(x64):
    """Layer norm before the activation: what someone who adds a cell relies on."""

    def step(params, h, gates):
        (z,) = gates
        centred = z - jnp.mean(z, axis=-1, keepdims=True)
        normal = centred / jnp.sqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-3)
        return jnp.tanh(normal * params["scale"][None, :] + params["shift"][None, :])

    cell = Elementwise(step=step, summed=1)
    rng = np.random.default_rng(0)
    params = {"scale": jnp.asarray(rng.normal(size=4)), "shift": jnp.asarray(rng.normal(size=4))}
    weights = Weights(
        jnp.asarray(rng.normal(size=(2, 4))),
        jnp.asarray(rng.normal(size=(4, 4))),
        jnp.asarray(rng.normal(size=4)),
    )
    x, h = jnp.asarray(rng.normal(size=(6, 3, 2))), jnp.asarray(rng.normal(size=(3, 4)))
    mask = np.arange(6)[:, None, None] < np.array([6, 2, 0])[None, :, None]

    def loss(params, weights, x, h, run):
        end, outputs = run(cell, Loop(reverse=True), params, weights, x, h, jnp.asarray(mask))
        return jnp.sum(jnp.sin(end)) + jnp.sum(jnp.cos(outputs))

    by_hand, by_jax = (
        run(jax.grad(functools.partial(loss, run=by), (0, 1, 2, 3)), params, weights, x, h)
        for by in (engine.scan, engine.autodiff)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), by_hand, by_jax
    )
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(by_hand))


class MemoryParams(NamedTuple):
    kernel: jax.Array  # [I, 2 H]


def _memory_step(params, carry, z, recurrent_mask):
    h, memory = carry
    key, value = jnp.split(z, 2, axis=-1)
    memory = 0.5 * memory + key[:, :, None] * value[:, None, :]
    return jnp.tanh(jnp.einsum("bk,bkv->bv", key + h, memory)), memory


class FastWeightsCell(ops.Cell):
    """A user's own cell: its carry holds a matrix for every sequence (Ba et al., 2016)."""

    name: ClassVar = "fast_weights"
    Params: ClassVar = MemoryParams
    gates: ClassVar = 2

    recurrence: ClassVar = ops.Steps(
        lambda params, x, dtype: x @ params.kernel, _memory_step, lambda carry: carry[0]
    )

    def features(self, params):
        return params.kernel.shape[1] // 2

    def parameters(self, declare, inputs, features):
        return MemoryParams(declare("kernel", (inputs, 2 * features), None))

    def initial_carry(self, batch, features, dtype):
        return jnp.zeros((batch, features), dtype), jnp.zeros((batch, features, features), dtype)


@pytest.mark.parametrize("options", [{}, {"truncation": 2}, {"chunk_size": 2, "reverse": True}])
def test_a_carry_of_any_rank_stands_still_in_the_padding(options, x64):
    """Batch and features alike, where a mask of the wrong axis would go unnoticed."""
    cell, rng = FastWeightsCell(), np.random.default_rng(0)
    params = MemoryParams(jnp.asarray(rng.normal(size=(2, 6))))
    x, lengths = rng.normal(size=(3, 5, 2)), np.array([5, 0, 2])
    whole = functools.partial(ops.run, cell, return_carry=True, **options)
    end, y = run(whole, params, x, seq_lengths=lengths)
    for b, n in enumerate(lengths):
        if n:
            jax.tree.map(
                lambda a, c, b=b: np.testing.assert_allclose(a[b : b + 1], c, atol=1e-12),
                (end, y[:, :n]),
                run(whole, params, x[b : b + 1, :n]),
            )
    carry, _ = run(functools.partial(ops.step, cell), params, end, x[:, 0])
    assert carry[1].shape == (3, 3, 3)
    with pytest.raises(
        ValueError, match=r"the carry must be \[3, 3, 3\], but its shape is \(3, 3\)"
    ):
        ops.run(cell, params, jnp.asarray(x), (jnp.asarray(end[0]), jnp.asarray(end[0])))
