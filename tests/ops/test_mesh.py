"""A batch split over devices: the ops under jax.shard_map, and under a mesh that XLA partitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from seqjax import ops
from tests.ops.cells import CASES, H, I, T, every_form, make

B = 4
MESH = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
LENGTHS = jnp.array([5, 0, 1, 3])


def four(case):
    """Parameters and four sequences."""
    params, x, _ = make(case, np.float32)
    return jax.tree.map(lambda leaf: 0.5 * leaf, params), jnp.concatenate([x, x])[:B]


@every_form
@pytest.mark.parametrize("options", [{}, {"chunk_size": 2, "reverse": True}])
def test_loss_and_gradient_equal_those_of_one_device(case, options):
    op, (params, x), lengths = case.op, four(case), LENGTHS

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


@every_form
def test_a_loop_runs_on_each_device_alone(case):
    """XLA's partitioner would sum gradients over the devices inside the loop, at every turn."""
    params, x = four(case)

    def loss(params, x):
        return jnp.sum(case.op(params, x, seq_lengths=LENGTHS, chunk_size=2) ** 2)

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


def test_an_argument_may_say_the_mesh():
    params, x = four(CASES["lstm"])
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    found = jax.jit(lambda x: ops.lstm(params, x, mesh=mesh))
    assert "shard_map" in str(jax.make_jaxpr(found)(x))
    np.testing.assert_allclose(found(x), ops.lstm(params, x), atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "min_gru"])
def test_weights_split_over_another_axis_stay_split(name):
    kinds = (AxisType.Auto, AxisType.Auto)
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=kinds)
    params, x = four(CASES[name])
    gradient = jax.jit(
        jax.value_and_grad(lambda p, x: jnp.sum(CASES[name].op(p, x, chunk_size=2) ** 2), (0, 1))
    )
    expected = gradient(params, x)
    by_columns = NamedSharding(mesh, P(None, "model"))
    split = params._replace(kernel=jax.device_put(params.kernel, by_columns))
    with jax.set_mesh(mesh):
        ours = gradient(split, jax.device_put(x, NamedSharding(mesh, P("data"))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours, expected)
    of_kernel = ours[1][0].kernel
    assert of_kernel.addressable_shards[0].data.shape[1] == of_kernel.shape[1] // 2


def test_an_explicit_axis_is_refused_where_the_batch_is_split_over_it():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))
    params, x = four(CASES["rnn"])
    expected = ops.rnn(params, x)
    with jax.set_mesh(mesh):
        np.testing.assert_allclose(ops.rnn(params, x), expected, atol=1e-6)
        split = jax.device_put(x, NamedSharding(mesh, P("data")))
        with pytest.raises(ValueError, match=r"explicit axis.*AxisType\.Auto"):
            ops.rnn(params, split)
