"""A batch split over devices: the ops under jax.shard_map, and under a mesh that XLA partitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from seqjax import ops

B, T, I, H = 4, 5, 2, 3
MESH = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
CASES = {
    "rnn": (ops.rnn, ops.RNNParams, 1),
    "lstm": (ops.lstm, ops.LSTMParams, 4),
    "gru": (ops.gru, ops.GRUParams, 3),
    "gru original": (lambda *a, **k: ops.gru(*a, reset_after=False, **k), ops.GRUParams, 3),
}


def make(name):
    op, kind, gates = CASES[name]
    rng = np.random.default_rng(0)
    shapes = [(I, gates * H), (H, gates * H), (gates * H,)]
    params = kind(*(jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes))
    return op, params, jnp.asarray(rng.normal(size=(B, T, I)), jnp.float32)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("options", [{}, {"chunk_size": 2}, {"reverse": True}])
def test_loss_and_gradient_equal_those_of_one_device(name, options):
    op, params, x = make(name)
    lengths = jnp.array([5, 0, 1, 3])

    def loss(params, x, lengths):
        return jnp.sum(op(params, x, seq_lengths=lengths, **options) ** 2)

    def over_devices(params, x, lengths):
        return jax.lax.psum(loss(params, x, lengths), "data")

    split = jax.shard_map(
        over_devices, mesh=MESH, in_specs=(P(), P("data"), P("data")), out_specs=P()
    )
    ours = jax.jit(jax.value_and_grad(split, (0, 1)))(params, x, lengths)
    reference = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, x, lengths)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours, reference)


@pytest.mark.parametrize("name", CASES)
def test_a_loop_runs_on_each_device_alone(name):
    """XLA's partitioner would sum gradients over the devices inside the loop, at every turn."""
    op, params, x = make(name)
    lengths = jnp.array([5, 0, 1, 3])

    def loss(params, x):
        return jnp.sum(op(params, x, seq_lengths=lengths, chunk_size=2) ** 2)

    reference = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, x)
    with jax.set_mesh(MESH):
        split = jax.device_put(x, NamedSharding(MESH, P("data")))
        compiled = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(params, split).compile()
        ours = compiled(params, split)
    assert ours[1][1].sharding.spec == P("data")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours, reference)
    blocks = compiled.as_text().split("\n\n")
    assert any("all-reduce" in block for block in blocks)
    loops = [block for block in blocks if "region" in block.partition("(")[0]]
    assert loops
    assert not any("all-reduce(" in block for block in loops)


def test_a_batch_that_does_not_divide_is_not_split():
    x = jnp.ones((3, T, I))
    params = ops.RNNParams(jnp.ones((I, H)), jnp.ones((H, H)))
    with jax.set_mesh(MESH):
        y = jax.jit(lambda x: ops.rnn(params, x))(x)
    np.testing.assert_allclose(y, ops.rnn(params, x), atol=1e-6)


def test_inside_a_shard_map_over_another_axis_a_loop_simply_runs():
    kinds = (AxisType.Auto, AxisType.Auto)
    mesh = jax.make_mesh((1, 2), ("data", "model"), axis_types=kinds)
    x = jnp.ones((B, T, I))
    params = ops.RNNParams(jnp.ones((I, H)), jnp.ones((H, H)))
    with jax.set_mesh(mesh):
        split = jax.shard_map(
            ops.rnn, in_specs=(P(), P()), out_specs=P(), axis_names={"model"}, check_vma=False
        )
        y = jax.jit(split)(params, x)
    np.testing.assert_allclose(y, ops.rnn(params, x), atol=1e-6)
