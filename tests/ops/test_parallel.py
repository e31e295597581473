"""What holds for every op on the linear recurrence: min_gru, min_lstm, lru."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec as P

from seqjax.ops.lru import LRUParams, lru, lru_cell
from seqjax.ops.minimal import (
    MinGRUParams,
    MinLSTMParams,
    min_gru,
    min_gru_cell,
    min_lstm,
    min_lstm_cell,
)

B, T, I, H, N = 3, 5, 2, 4, 3
LENGTHS = np.array([5, 0, 1])


class Case(NamedTuple):
    op: Any
    cell: Any
    params: Any
    shapes: tuple
    inputs: int = I


LRU_SHAPES = ((N,), (N,), (N,), (H, N), (H, N), (N, H), (N, H), (H,))
CASES = {
    "min_gru": Case(min_gru, min_gru_cell, MinGRUParams, ((I, 2 * H), (2 * H,))),
    "min_lstm, no bias": Case(min_lstm, min_lstm_cell, MinLSTMParams, ((I, 3 * H),)),
    "lru": Case(lru, lru_cell, LRUParams, LRU_SHAPES, inputs=H),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
IMPLEMENTATIONS = ("scan", "associative", "autodiff")
every_implementation = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
OPTIONS = {
    "plain": {},
    "lengths": {"seq_lengths": LENGTHS},
    "reverse, keep order, lengths": {"reverse": True, "keep_order": True, "seq_lengths": LENGTHS},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def make(case: Case, dtype=np.float64, seed=0, steps=T):
    rng = np.random.default_rng(seed)
    params = case.params(*(jnp.asarray(rng.normal(size=s), dtype) for s in case.shapes))
    x = jnp.asarray(rng.normal(size=(B, steps, case.inputs)), dtype)
    if case.op is not lru:
        return params, x, jnp.asarray(rng.normal(size=(B, H)), dtype)
    carry = rng.normal(size=(B, N)) + 1j * rng.normal(size=(B, N))
    return params, x, jnp.asarray(carry, np.result_type(dtype, np.complex64))


def loop(case: Case, params, x, carry, *, seq_lengths=None, reverse=False, keep_order=False):
    """The definition: a Python loop over the one-step cell, ``(carry, y)``."""
    steps, cell = x.shape[1], jax.jit(case.cell)
    lengths = np.full(len(x), steps) if seq_lengths is None else seq_lengths
    outputs = {}
    for t in reversed(range(steps)) if reverse else range(steps):
        valid = (t < lengths)[:, None]
        after, y = cell(params, carry, x[:, t])
        carry = jnp.where(valid, after, carry)
        outputs[t] = jnp.where(valid, y, jnp.zeros_like(y))
    y = jnp.stack([outputs[t] for t in range(steps)], axis=1)
    if reverse and not keep_order:
        y = jnp.stack([jnp.r_[u[:n][::-1], u[n:]] for u, n in zip(y, lengths, strict=True)])
    return carry, y


def assert_close(a, b, tolerance=1e-12):
    jax.tree.map(
        lambda u, v: np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance), a, b
    )


def loss(result):
    leaves = jax.tree.leaves(result)
    return sum(jnp.sum(jnp.sin(u.real)) + jnp.sum(jnp.cos(2 * u.imag)) for u in leaves)


@every_case
@every_option
def test_value_and_gradient_equal_those_of_a_python_loop_over_the_cell(case, options, x64):
    arguments = make(case)

    def value_and_gradient(f):
        def value(*args):
            result = f(*args)
            return loss(result), result

        return jax.jit(jax.value_and_grad(value, (0, 1, 2), has_aux=True))(*arguments)

    (_, result), gradient = value_and_gradient(lambda *args: loop(case, *args, **options))
    for implementation in IMPLEMENTATIONS:
        chosen = {"implementation": implementation, "return_carry": True, **options}
        (_, ours), our_gradient = value_and_gradient(
            lambda *args, chosen=chosen: case.op(*args, **chosen)
        )
        assert_close(ours, result)
        assert_close(our_gradient, gradient, 1e-10)


@every_case
@every_implementation
def test_padded_batch_equals_each_sequence_alone(case, implementation, x64):
    params, x, carry = make(case)
    chosen = {"implementation": implementation, "return_carry": True}
    end, y = case.op(params, x, carry, seq_lengths=LENGTHS, **chosen)
    for i, n in enumerate(LENGTHS):
        one = slice(i, i + 1)
        assert_close((end[one], y[one, :n]), case.op(params, x[one, :n], carry[one], **chosen))
        assert not y[i, n:].any()


@every_case
@every_implementation
def test_padding_may_hold_anything(case, implementation, x64):
    params, x, carry = make(case)
    padded = x.at[1].set(jnp.nan).at[2, 1:].set(jnp.inf)
    options = {"seq_lengths": LENGTHS, "implementation": implementation, "return_carry": True}
    assert_close(case.op(params, padded, carry, **options), case.op(params, x, carry, **options))
    gradient = jax.jit(jax.grad(lambda p, x: loss(case.op(p, x, carry, **options)), (0, 1)))
    gradients = gradient(params, padded)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert not gradients[1][1].any()
    assert not gradients[1][2, 1:].any()


@every_case
@pytest.mark.parametrize("implementation", ["scan", "associative"])
def test_causality_by_gradient(case, implementation, x64):
    params, x, carry = make(case)
    outputs = jax.jacrev(lambda x: case.op(params, x, carry, implementation=implementation)[0])
    reach = np.abs(jax.jit(outputs)(x)[:, :, 0]).sum(axis=(1, 3))  # [T, T]
    assert not np.triu(reach, 1).any()
    assert (np.tril(reach) + np.triu(np.ones((T, T)), 1) > 0).all()


@every_case
@every_implementation
def test_no_steps_leave_the_carry(case, implementation, x64):
    params, x, carry = make(case, steps=0)
    end, y = case.op(params, x, carry, return_carry=True, implementation=implementation)
    assert y.shape == (B, 0, H)
    assert_close(end, carry)
    total = jax.jit(lambda p: case.op(p, x, carry, implementation=implementation).sum())
    gradient = jax.grad(total)(params)
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient))


@every_case
def test_layout_default_carry_and_parts(case, x64):
    params, x, carry = make(case)
    whole = end, y = case.op(params, x, carry, return_carry=True)
    turned = case.op(params, jnp.swapaxes(x, 0, 1), carry, time_major=True)
    assert_close(jnp.swapaxes(turned, 0, 1), y)
    assert_close(case.op(params, x), case.op(params, x, jnp.zeros_like(carry)))
    middle, first = case.op(params, x[:, :3], carry, return_carry=True)
    end, second = case.op(params, x[:, 3:], middle, return_carry=True)
    assert_close((end, jnp.concatenate([first, second], axis=1)), whole)


@every_case
@pytest.mark.parametrize("implementation", ["scan", "associative"])
def test_long_sequences_stay_finite(case, implementation):
    params, x, carry = make(case, np.float32, steps=2000)

    def mean(params, x):
        return jnp.mean(case.op(params, x, carry, implementation=implementation) ** 2)

    result = jax.jit(jax.value_and_grad(mean, (0, 1)))(params, 10 * x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))


@every_case
def test_bfloat16_inputs_keep_wide_carries(case):
    params, x, carry = make(case, np.float32)
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (params, x))
    end, y = case.op(*low, carry, return_carry=True)
    wide = jnp.complex64 if case.op is lru else jnp.float32
    assert (end.dtype, y.dtype) == (wide, jnp.bfloat16)
    reference = case.op(params, x, carry)
    np.testing.assert_allclose(y.astype(np.float32), reference, atol=0.03 * np.ptp(reference))
    end, y = case.cell(low[0], carry, low[1][:, 0])
    assert (end.dtype, y.dtype) == (wide, jnp.bfloat16)


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
    params, x, carry = make(CASES["min_lstm, no bias"])
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
    params, x, carry = make(CASES["lru"])
    p = LRUParams(*map(np.asarray, params))
    eigenvalues = np.exp(-np.exp(p.nu_log) + 1j * np.exp(p.theta_log))
    b, c = p.input_real + 1j * p.input_imag, p.output_real + 1j * p.output_imag
    h, outputs = np.asarray(carry), []
    for t in range(T):
        h = h @ np.diag(eigenvalues) + np.exp(p.gamma_log) * (np.asarray(x[:, t]) @ b)
        outputs.append((h @ c).real + p.skip * np.asarray(x[:, t]))
    assert_close(lru(params, x, carry, return_carry=True), (h, np.stack(outputs, axis=1)))


@every_case
def test_errors_name_the_shapes(case):
    op, cell = case.op.__wrapped__, case.cell.__wrapped__  # without the tests' own type check
    params, x, carry = make(case, np.float32)
    with pytest.raises(ValueError, match="x must be"):
        op(params, x[0], carry)
    with pytest.raises(ValueError, match="x must be"):
        cell(params, carry, x)
    with pytest.raises(ValueError, match=r"(kernel|input_real) must be"):
        op(params, jnp.zeros((B, T, 7)), carry)
    with pytest.raises(ValueError, match=r"the carry must be \[3, "):
        op(params, x, carry[:2])
    with pytest.raises(ValueError, match=r"the carry must be \[3, "):
        cell(params, carry[:2], x[:, 0])


def test_errors_name_the_parameter():
    params, x, _ = make(CASES["min_gru"], np.float32)
    with pytest.raises(ValueError, match=r"min_gru: bias must be \[8\]"):
        min_gru(params._replace(bias=jnp.zeros(1)), x)
    with pytest.raises(ValueError, match=r"kernel must be \[2, 3 \* features\]"):
        min_lstm(MinLSTMParams(params.kernel), x)
    params, x, _ = make(CASES["lru"], np.float32)
    with pytest.raises(ValueError, match=r"output_imag must be \[3, 4\]"):
        lru(params._replace(output_imag=jnp.zeros((N, 1))), x)
    narrow = params._replace(input_real=jnp.zeros((I, N)), input_imag=jnp.zeros((I, N)))
    assert lru(narrow._replace(skip=None), x[:, :, :I]).shape == (B, T, H)
    with pytest.raises(ValueError, match="skip multiplies x feature by feature"):
        lru(narrow, x[:, :, :I])
