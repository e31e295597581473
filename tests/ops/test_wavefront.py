"""Layers in one loop equal layers one after another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import ops
from seqjax.ops.wavefront import pays

B, T, I, H, L = 3, 4, 2, 3, 3
LENGTHS = np.array([4, 0, 2])
KINDS = {
    "rnn": (ops.rnn, ops.RNNParams, 1, 1),
    "lstm": (ops.lstm, ops.LSTMParams, 4, 1),
    "gru": (ops.gru, ops.GRUParams, 3, 2),
    "gru, one bias": (ops.gru, ops.GRUParams, 3, 1),
    "rnn, no bias": (ops.rnn, ops.RNNParams, 1, 0),
}


def make(name, layers=L):
    _, kind, gates, biases = KINDS[name]
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape))

    params = [
        kind(
            normal(H if k else I, gates * H),
            normal(H, gates * H),
            *(normal(gates * H) for _ in range(biases)),
        )
        for k in range(layers)
    ]
    carries = [normal(B, H) for _ in params]
    if kind is ops.LSTMParams:
        carries = [ops.LSTMCarry(h - 1, h) for h in carries]
    return params, normal(B, T, I), carries


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", KINDS)
def test_values_and_gradients_equal_those_of_layers_in_turn(name, lengths, x64):
    params, x, carries = make(name)

    def in_turn(params, x, carries):
        ends = []
        for layer, carry in zip(params, carries, strict=True):
            end, x = KINDS[name][0](layer, x, carry, seq_lengths=lengths, return_carry=True)
            ends.append(end)
        return tuple(ends), x

    def together(params, x, carries):
        return ops.wavefront(params, x, carries, seq_lengths=lengths, return_carry=True)

    def loss(run):
        def total(*arguments):
            leaves = jax.tree.leaves(run(*arguments))
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in leaves), leaves

        return jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))(params, x, carries)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), loss(together), loss(in_turn)
    )


def test_one_loop_for_all_layers(x64):
    params, x, _ = make("lstm")
    jaxpr = jax.make_jaxpr(lambda p, x: ops.wavefront(p, x))(params, x)
    assert str(jaxpr).count("scan[") == 1
    assert f"length={T + L - 1}" in str(jaxpr)


def test_what_cannot_run_together_is_refused(x64):
    params, x, carries = make("rnn")
    norm = ops.LayerNormParams(jnp.ones(H), jnp.zeros(H))
    with pytest.raises(ValueError, match="layer norm"):
        ops.wavefront([params[0]._replace(layer_norm=norm)], x)
    with pytest.raises(ValueError, match="one dtype, not float32, float64"):
        ops.wavefront(params, x.astype(jnp.float32))
    with pytest.raises(ValueError, match="one kind"):
        ops.wavefront([params[0], make("lstm")[0][1]], x)
    with pytest.raises(ValueError, match="kernel must be"):
        ops.wavefront([params[0], params[0]], x)
    with pytest.raises(ValueError, match="carry must be"):
        ops.wavefront(params, x, [carry[:, :2] for carry in carries])


def test_it_pays_for_narrow_layers_on_a_cpu(monkeypatch):
    assert pays(20, 2)
    assert not pays(20, 1)
    assert not pays(128, 2)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not pays(20, 2)
