"""Cells whose time is split over devices, beside one device."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from seqjax import ops
from seqjax.bench.collectives import collectives
from seqjax.ops.layout import choices, choose_layout
from tests.ops.cells import CASES, assert_close, make, total

T = 12
TIME = jax.make_mesh((4,), ("time",), axis_types=(AxisType.Auto,))


def with_gradients(run, *arguments):
    def loss(*arguments):
        carry, y, *solution = run(*arguments)
        return total((carry, y)), (carry, y, solution)

    every = tuple(range(len(arguments)))
    return jax.jit(jax.value_and_grad(loss, every, has_aux=True))(*arguments)


@pytest.mark.parametrize(
    ("case", "options", "limit"),
    [
        (CASES["lstm"], {"seq_lengths": np.array([12, 0, 5])}, 64),
        (CASES["gru recurrent=diagonal"], {"reverse": True}, 64),
        (CASES["rnn"], {"reverse": True, "seq_lengths": np.array([7, 12, 1])}, 3),
        (CASES["min_gru"], {"seq_lengths": np.array([12, 0, 5])}, None),
    ],
    ids=["lstm", "diagonal gru", "matrices, and the loop", "linear"],
)
def test_values_and_gradients_are_those_of_one_device(case, options, limit, x64):
    """Also after three iterations, which are not enough: the loop goes from device to device."""
    arguments = make(case, steps=T)

    def one(params, x, carry):
        return ops.run(case.cell, params, x, carry, return_carry=True, keep_order=True, **options)

    def split(params, x, carry, counter):
        more: Any = {} if limit is None else {"return_solution": True, "counter": counter}
        given: Any = options | more
        return ops.sequence_parallel(case.cell, params, x, carry, mesh=TIME, **given)

    with choose_layout(choices()._replace(newton_iterations=limit or 0)):
        found = with_gradients(split, *arguments, jnp.zeros(3))
    (_, (*values, solution)), (*gradients, backward) = found
    (_, (*expected, _)), expected_gradients = with_gradients(one, *arguments)
    assert_close((values, tuple(gradients)), (expected, expected_gradients), 1e-9)
    assert backward.tolist() == [int(limit is not None and limit < T)] * 3
    if limit is not None:
        assert solution[0].fallbacks.tolist() == [int(limit < T)] * 3
        assert 1 < solution[0].iterations[0] <= limit


def test_devices_exchange_carries_alone_beside_a_batch_split_over_data():
    mesh = jax.make_mesh((2, 2), ("data", "time"), axis_types=(AxisType.Auto, AxisType.Auto))
    cell, batch, steps = ops.GRUCell(), 4, 128
    params = ops.init(cell, jax.random.key(0), inputs=3, features=3)
    x = jax.random.normal(jax.random.key(1), (batch, steps, 3))

    def loss(run):
        return jax.jit(jax.value_and_grad(lambda params, x: jnp.sum(run(params, x) ** 2)))

    with jax.set_mesh(mesh):
        place = NamedSharding(mesh, P("data", "time"))
        split = loss(lambda params, x: ops.sequence_parallel(cell, params, x)[1])
        compiled = split.lower(params, jax.device_put(x, place)).compile()
        found = compiled(params, jax.device_put(x, place))
    assert_close(found, loss(ops.gru)(params, x), 1e-4)
    # Of a device's share, [2, 64, 3] float32, no collective sends as much as a quarter.
    sent = collectives(compiled.as_text() or "")
    assert {"all-gather", "all-reduce", "collective-permute"} <= {one.op for one in sent}
    assert max(one.size for one in sent) < batch * steps * 3 * 4 / 4 / 4


def test_what_is_compiled_is_of_the_layout_that_was_chosen():
    cell, x = ops.GRUCell(), jnp.ones((1, 8, 3))
    params = ops.init(cell, jax.random.key(0), 3, 4)

    def fell_back():
        solved = ops.sequence_parallel(cell, params, x, mesh=TIME, return_solution=True)
        return solved[2].fallbacks.tolist()

    assert fell_back() == [0]
    with choose_layout(choices()._replace(newton_iterations=1)):
        assert fell_back() == [1]


def test_what_cannot_be_split_is_told():
    cell, x = ops.GRUCell(reset_after=False), jnp.ones((2, 8, 3))
    params = ops.init(cell, jax.random.key(0), 3, 4)
    with pytest.raises(ValueError, match=r"sequence_parallel: GRUCell.* cannot run so: it needs"):
        ops.sequence_parallel(cell, params, x, mesh=TIME)
    cell = ops.LRUCell(4)
    params = ops.init(cell, jax.random.key(0), 3, 4)
    with pytest.raises(ValueError, match="4 devices do not divide 6 steps"):
        ops.sequence_parallel(cell, params, x[:, :6], mesh=TIME)
    given: Any
    for given in ({"return_solution": True}, {"counter": jnp.zeros(2)}):
        with pytest.raises(ValueError, match="lru is linear, and solved at once: there is no solu"):
            ops.sequence_parallel(cell, params, x, mesh=TIME, **given)
