"""A diagonal recurrent kernel: the full one that is zero off its diagonals."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import nn, ops
from seqjax.io import from_keras, from_torch
from seqjax.nn.spec import layer_from_json, layer_to_json
from seqjax.ops.backends import Call
from seqjax.ops.pallas import shapes
from tests.ops.cells import LENGTHS, MASK, Case, assert_close, make, total

DIAGONAL = (
    ops.RNNCell(recurrent="diagonal"),
    ops.LSTMCell(recurrent="diagonal"),
    ops.PeepholeLSTMCell(recurrent="diagonal"),
    ops.GRUCell(recurrent="diagonal"),
    ops.GRUCell(recurrent="diagonal", reset_after=False),
    ops.UGRNNCell(recurrent="diagonal"),
)


@pytest.mark.parametrize("cell", DIAGONAL, ids=repr)
def test_values_and_gradients_are_those_of_the_full_kernel_with_zeros(cell, x64):
    params, x, carry = make(Case(cell))
    full = dataclasses.replace(cell, recurrent="full")

    def filled(params):
        blocks = map(jnp.diag, jnp.split(params.recurrent_kernel, cell.gates))
        return params._replace(recurrent_kernel=jnp.concatenate([*blocks], axis=1))

    def with_gradients(run):
        value = jax.value_and_grad(lambda *a: total(run(*a)), argnums=(0, 1, 2))
        return jax.jit(value)(params, x, carry)

    options = {"seq_lengths": LENGTHS, "recurrent_mask": MASK, "return_carry": True}
    found = with_gradients(lambda *a: ops.run(cell, *a, **options))
    assert_close(found, with_gradients(lambda p, *a: ops.run(full, filled(p), *a, **options)))

    # A face is told by the parameters.
    names = {"reset_after"} & {field.name for field in dataclasses.fields(cell)}
    given = {name: getattr(cell, name) for name in names}
    face, one_step = getattr(ops, cell.name), getattr(ops, f"{cell.name}_cell")

    @jax.jit
    def on_one_step(params, x, carry):
        carry, _ = face(params, x, carry, **given, return_carry=True)
        return [one_step(p, carry, x[:, 0], **given) for p in (params, filled(params))]

    assert_close(*on_one_step(params, x, carry))


def test_a_layer_draws_vectors_goes_to_json_and_runs_in_bfloat16():
    layer = nn.Stack((nn.LSTM(6, recurrent="diagonal"), nn.LSTM(6, recurrent="diagonal")))
    again = layer_from_json(layer_to_json(layer))
    assert again == layer
    x = jnp.ones((2, 5, 3))
    variables: Any = jax.jit(again.init)(jax.random.key(0), x)
    kernel = variables["params"]["layers_1"]["recurrent_kernel"]
    assert kernel.shape == (24,)
    assert -1 <= kernel.min() < -0.5 < 0.5 < kernel.max() <= 1
    apply = jax.jit(layer.apply)
    wide: Any = apply(variables, x)
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), variables)
    narrow: Any = apply(half, x.astype(jnp.bfloat16))
    np.testing.assert_allclose(narrow.astype(np.float32), wide, atol=0.02)
    assert layer_from_json({"kind": "GRU", "features": 8}).recurrent == "full"  # of old files


def test_what_cannot_run_or_is_no_kernel_says_so():
    cell = ops.LSTMCell(recurrent="diagonal")
    params = ops.init(cell, jax.random.key(0), 3, 4)
    x = jnp.ones((2, 5, 3))
    unchecked = object.__new__(ops.LSTMCell)  # as where types are not checked
    object.__setattr__(unchecked, "recurrent", "diag")
    with pytest.raises(ValueError, match=r"lstm: recurrent must be 'full' or 'diagonal', not 'di"):
        unchecked.__post_init__()
    with pytest.raises(ValueError, match=r"gru: a diagonal recurrent_kernel must be \[3 \* feat"):
        ops.gru(ops.GRUParams(jnp.ones((3, 12)), jnp.ones(11)), x)
    with pytest.raises(ValueError, match=r"recurrent_kernel must be \[features, 4 \* features\]"):
        ops.run(ops.LSTMCell(), params, x)
    with pytest.raises(ValueError, match=r"recurrent_kernel must be \[4 \* features\], but its"):
        ops.run(cell, ops.init(ops.LSTMCell(), jax.random.key(0), 3, 4), x)
    layer = nn.LSTM(4, recurrent="diagonal", recurrent_init=jax.nn.initializers.orthogonal())
    with pytest.raises(ValueError, match=r"LSTM: recurrent_init cannot draw the \[16\] of recurr"):
        layer.init(jax.random.key(0), x)
    layer = nn.LSTM(4, recurrent="diagonal", recurrent_init=jax.nn.initializers.ones)
    assert (layer.init(jax.random.key(0), x)["params"]["recurrent_kernel"] == 1).all()
    with pytest.raises(ValueError, match="no room for the layer above"):
        ops.wavefront(cell, [params], x)
    arrays = [np.ones((3, 16)), np.ones(16)]
    with pytest.raises(ValueError, match="from_keras: LSTM has no recurrent='diagonal'"):
        from_keras("lstm", arrays, recurrent="diagonal")
    with pytest.raises(ValueError, match="the recurrent kernel, must be"):
        from_torch("lstm", {"weight_ih_l0": arrays[0].T, "weight_hh_l0": arrays[1]})


def test_the_kernels_of_a_gpu_refuse_it(monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 11, 2))
    monkeypatch.setattr(shapes, "INTERPRET", True)

    def refused(cell):
        return shapes.refuses(Call("lstm", cell.form, (2, 5, 3), 64, jnp.dtype("bfloat16"), {}))

    assert refused(ops.LSTMCell()) is None
    assert "a product with h" in (refused(ops.LSTMCell(recurrent="diagonal")) or "")
