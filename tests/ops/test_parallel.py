"""What is the linear cells' own: min_gru, min_lstm, lru; the rest stands in test_recurrent.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec as P

from seqjax.ops import (
    LRUParams,
    MinLSTMParams,
    lru,
    min_gru,
    min_gru_cell,
    min_lstm,
    min_lstm_cell,
)
from tests.ops.cells import CASES, B, H, I, T, assert_close, make

N = 3
every_case = pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.linear],
    ids=[name for name, case in CASES.items() if case.linear],
)
LRU = CASES["lru state=3"]


@every_case
@pytest.mark.parametrize("implementation", ["scan", "associative"])
def test_long_sequences_stay_finite(case, implementation):
    params, x, carry = make(case, np.float32, steps=2000)

    def mean(params, x):
        return jnp.mean(case.op(params, x, carry, implementation=implementation) ** 2)

    result = jax.jit(jax.value_and_grad(mean, (0, 1)))(params, 10 * x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))


@every_case
@pytest.mark.parametrize(("implementation", "reverse"), [("scan", True), ("associative", False)])
def test_over_two_devices_as_on_one(case, implementation, reverse):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    params, x, _ = make(case, np.float32)
    x, lengths = jnp.concatenate([x, x])[:4], jnp.array([T, 0, 1, 3])

    def total(params, x, lengths):
        options = {"reverse": reverse, "implementation": implementation}
        return jnp.mean(case.op(params, x, seq_lengths=lengths, **options) ** 2)

    split = jax.shard_map(
        lambda *args: jax.lax.pmean(total(*args), "data"),
        mesh=mesh,
        in_specs=(P(), P("data"), P("data")),
        out_specs=P(),
    )
    ours, reference = (
        jax.jit(jax.value_and_grad(f, (0, 1)))(params, x, lengths) for f in (split, total)
    )
    assert_close(ours, reference, 1e-4)


def test_min_lstm_gates_that_underflow_still_share():
    """At -200 both sigmoids are zero in float32; their shares are not."""
    params = MinLSTMParams(jnp.zeros((1, 3)), jnp.array([-200.0, -200.0, 4.0]))
    x = jnp.zeros((1, 1, 1))
    y, gradient = jax.value_and_grad(lambda p: min_lstm(p, x).sum())(params)
    assert y == 2
    np.testing.assert_allclose(gradient.bias, [-1.0, 1.0, 0.5])


def test_min_lstm_is_its_definition(x64):
    params, x, carry = make(CASES["min_lstm"])
    params = params._replace(bias=jnp.arange(3.0 * H))
    f, i, n = jnp.split(x[:, 0] @ params.kernel + params.bias[None, :], 3, axis=1)
    f, i = jax.nn.sigmoid(f), jax.nn.sigmoid(i)
    expected = f / (f + i) * carry + i / (f + i) * n
    assert_close(min_lstm_cell(params, carry, x[:, 0])[0], expected)


def test_min_gru_is_its_definition(x64):
    params, x, carry = make(CASES["min_gru"])
    z, n = jnp.split(x[:, 0] @ params.kernel + params.bias[None, :], 2, axis=1)
    z = jax.nn.sigmoid(z)
    assert_close(min_gru_cell(params, carry, x[:, 0])[0], (1 - z) * carry + z * n)


def test_lru_is_a_complex_matrix_recurrence(x64):
    """As the paper writes it, with complex B and C and without a parallel scan."""
    params, x, carry = make(LRU)
    p = LRUParams(*map(np.asarray, params))
    eigenvalues = np.exp(-np.exp(p.nu_log) + 1j * np.exp(p.theta_log))
    b, c = p.input_real + 1j * p.input_imag, p.output_real + 1j * p.output_imag
    h, outputs = np.asarray(carry), []
    for t in range(T):
        h = h @ np.diag(eigenvalues) + np.exp(p.gamma_log) * (np.asarray(x[:, t]) @ b)
        outputs.append((h @ c).real + p.skip * np.asarray(x[:, t]))
    assert_close(lru(params, x, carry, return_carry=True), (h, np.stack(outputs, axis=1)))


def test_errors_name_the_parameter():
    params, x, _ = make(CASES["min_gru"], np.float32)
    with pytest.raises(ValueError, match=r"min_gru: bias must be \[10\]"):
        min_gru(params._replace(bias=jnp.zeros(1)), x)
    with pytest.raises(ValueError, match=r"kernel must be \[inputs, 3 \* features\]"):
        min_lstm(MinLSTMParams(params.kernel), x)
    params, x, _ = make(LRU, np.float32)
    with pytest.raises(ValueError, match=r"output_imag must be \[3, 5\]"):
        lru(params._replace(output_imag=jnp.zeros((N, 1))), x)
    narrow = params._replace(input_real=jnp.zeros((I, N)), input_imag=jnp.zeros((I, N)))
    assert lru(narrow._replace(skip=None), x[:, :, :I]).shape == (B, T, H)
    with pytest.raises(ValueError, match="skip is no parameter"):
        lru(narrow, x[:, :, :I])
