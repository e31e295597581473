"""A recurrence whose time is split over devices beside the same one on one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from seqjax import ops
from seqjax.bench.collectives import collectives

B, T, F = 3, 8, 2
TIME = jax.make_mesh((4,), ("time",), axis_types=(AxisType.Auto,))
parallel = ops.sequence_parallel_linear_recurrence


def arrays(dtype, constant=False):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((F,) if constant else (B, T, F), (B, T, F), (B, F), (B, T, F))
    return [jax.random.normal(key, s, dtype) for key, s in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize(
    ("dtype", "constant", "options"),
    [
        ("float32", False, {"reverse": True, "seq_lengths": jnp.array([8, 0, 3])}),
        ("complex64", True, {"seq_lengths": jnp.array([5, 2, 99])}),
        ("complex64", True, {"reverse": True, "implementation": "associative"}),
    ],
)
def test_values_and_gradients_are_those_of_one_device(dtype, constant, options):
    a, b, carry, weights = arrays(dtype, constant)
    if "seq_lengths" in options:  # whatever the padding holds
        b = b.at[2, 3:].set(jnp.nan) if not constant else b.at[0, 5:].set(jnp.nan)

    def loss(run):
        def both(a, b, carry):
            end, h = run(a, b, carry)
            return jnp.sum(jnp.abs(h + weights) ** 2) + jnp.sum(jnp.abs(end + 1) ** 2), (end, h)

        return jax.jit(jax.value_and_grad(both, (0, 1, 2), has_aux=True))

    def whole(a, b, carry):
        keep = {"keep_order": True} if "reverse" in options else {}
        return ops.linear_recurrence(a, b, carry, return_carry=True, **keep, **options)

    ours = loss(lambda *args: parallel(*args, mesh=TIME, **options))(a, b, carry)
    expected = loss(whole)(a, b, carry)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-4), ours, expected
    )


def test_devices_exchange_carries_alone_beside_a_batch_split_over_data():
    auto = (AxisType.Auto, AxisType.Auto)
    mesh = jax.make_mesh((2, 2), ("data", "time"), axis_types=auto)
    cell = ops.LRUCell(state=F)
    form = cell.form
    assert isinstance(form, ops.Linear)
    params = ops.init(cell, jax.random.key(1), inputs=3, features=3)
    x = jax.random.normal(jax.random.key(2), (4, 64, 3))

    def run(params, x):
        a, u = form.coefficients(params, x, jnp.dtype("float32"))
        _, h = parallel(a, u)
        return form.output(params, h, x, jnp.dtype("float32"))

    def loss(run):
        return jax.jit(jax.value_and_grad(lambda params, x: jnp.sum(run(params, x) ** 2)))

    with jax.set_mesh(mesh):
        split = jax.device_put(x, NamedSharding(mesh, P("data", "time")))
        compiled = loss(run).lower(params, split).compile()
        ours = compiled(params, split)
    expected = loss(ops.lru)(params, x)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3), ours, expected
    )
    sent = collectives(compiled.as_text() or "")
    assert {"all-gather", "all-reduce"} <= {one.op for one in sent}
    # A device's [2, 32, 2] complex steps are 1024 bytes: only carries and weights are smaller.
    assert max(one.size for one in sent) < 1024
    assert sum(one.size for one in sent) < 1024


def test_what_cannot_be_split_is_told():
    a, b, carry, _ = arrays("float32")
    with pytest.raises(ValueError, match=r"no axis 'data', only \('time',\)"):
        parallel(a, b, mesh=TIME, axis="data")
    with pytest.raises(ValueError, match="4 devices do not divide 6 steps; pad"):
        parallel(a[:, :6], b[:, :6], mesh=TIME)
    with pytest.raises(ValueError, match="a must be"):
        parallel(a[:1], b[:1, :4], mesh=TIME)
    with pytest.raises(ValueError, match="complex carry"):
        parallel(a, b, carry + 1j, mesh=TIME)
