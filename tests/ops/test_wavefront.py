"""Layers in one loop equal layers one after another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import ops
from seqjax.ops.wavefront import pays, refuses

B, T, I, H, L = 3, 4, 2, 3, 3
LENGTHS = np.array([4, 0, 2])
# Every cell that can: those whose gates are elementwise, and do not look across features.
CELLS = {name: kind() for name, kind in ops.CELLS.items() if refuses(kind()) is None}


def make(cell, layers=L, without=()):
    rng = np.random.default_rng(0)

    def declare(name, shape, init, *, keep_dtype=False):
        return None if name in without else jnp.asarray(rng.normal(size=shape))

    params = [cell.parameters(declare, H if k else I, H) for k in range(layers)]
    carries = [
        jax.tree.map(
            lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)),
            cell.initial_carry(B, H, jnp.float64),
        )
        for _ in params
    ]
    return params, jnp.asarray(rng.normal(size=(B, T, I))), carries


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize(
    ("cell", "without"),
    [
        *((cell, ()) for cell in CELLS.values()),
        (ops.GRUCell(), ("recurrent_bias",)),
        (ops.RNNCell(), ("bias",)),
    ],
    ids=[*CELLS, "gru, one bias", "rnn, no bias"],
)
def test_values_and_gradients_equal_those_of_layers_in_turn(cell, without, lengths, x64):
    params, x, carries = make(cell, without=without)

    def in_turn(params, x, carries):
        ends = []
        for layer, carry in zip(params, carries, strict=True):
            end, x = ops.run(cell, layer, x, carry, seq_lengths=lengths, return_carry=True)
            ends.append(end)
        return tuple(ends), x

    def together(params, x, carries):
        return ops.wavefront(cell, params, x, carries, seq_lengths=lengths, return_carry=True)

    def loss(run):
        def total(*arguments):
            leaves = jax.tree.leaves(run(*arguments))
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in leaves), leaves

        return jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))(params, x, carries)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), loss(together), loss(in_turn)
    )


def test_one_loop_for_all_layers(x64):
    params, x, _ = make(ops.LSTMCell())
    jaxpr = jax.make_jaxpr(lambda p, x: ops.wavefront(ops.LSTMCell(), p, x))(params, x)
    assert str(jaxpr).count("scan[") == 1
    assert f"length={T + L - 1}" in str(jaxpr)


def test_what_cannot_run_together_is_refused(x64):
    cell = ops.RNNCell()
    params, x, carries = make(cell)
    with pytest.raises(ValueError, match="layer norm"):
        ops.wavefront(ops.RNNCell(layer_norm=True), params, x)
    with pytest.raises(ValueError, match="no elementwise function"):
        ops.wavefront(ops.GRUCell(reset_after=False), params, x)
    with pytest.raises(ValueError, match="one dtype, not float32, float64"):
        ops.wavefront(cell, params, x.astype(jnp.float32))
    with pytest.raises(ValueError, match="must be RNNParams, not LSTMParams"):
        ops.wavefront(cell, [params[0], make(ops.LSTMCell())[0][1]], x)
    with pytest.raises(ValueError, match="lack a parameter"):
        ops.wavefront(cell, [params[0], params[1]._replace(bias=None)], x)
    with pytest.raises(ValueError, match="kernel must be"):
        ops.wavefront(cell, [params[0], params[0]], x)
    with pytest.raises(ValueError, match="carry must be"):
        ops.wavefront(cell, params, x, [carry[:, :2] for carry in carries])
    with pytest.raises(ValueError, match="3 layers have as many carries, not 2"):
        ops.wavefront(cell, params, x, carries[:2])
    with pytest.raises(ValueError, match="no option reverse"):
        ops.wavefront(cell, params, x, reverse=True)


def test_it_pays_for_narrow_layers_on_a_cpu(monkeypatch):
    assert pays(20, 2)
    assert not pays(20, 1)
    assert not pays(128, 2)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not pays(20, 2)
