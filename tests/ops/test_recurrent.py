"""What holds for every recurrent op: rnn, lstm, gru in both variants."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import ops
from seqjax.ops import layout

B, T, I, H = 3, 5, 2, 5
LENGTHS = np.array([5, 0, 1])
MASK = np.array([[2.0, 0, 0, 2, 2], [1, 1, 0, 1, 1], [0, 0.5, 0.5, 0, 1]])


class Case(NamedTuple):
    op: Any
    cell: Any
    params: Any
    gates: int
    biases: int


def normed(kernel, recurrent_kernel, bias):
    """Parameters with a layer norm, its scale and offset made from the bias."""
    norm = ops.LayerNormParams(1 + bias, bias - 0.5)
    return ops.RNNParams(kernel, recurrent_kernel, bias, norm)


CASES = {
    "rnn": Case(ops.rnn, ops.rnn_cell, ops.RNNParams, 1, 1),
    "rnn relu": Case(
        functools.partial(ops.rnn, activation="relu"),
        functools.partial(ops.rnn_cell, activation="relu"),
        ops.RNNParams,
        1,
        1,
    ),
    "rnn layer norm": Case(ops.rnn, ops.rnn_cell, normed, 1, 1),
    "lstm": Case(ops.lstm, ops.lstm_cell, ops.LSTMParams, 4, 1),
    "gru": Case(ops.gru, ops.gru_cell, ops.GRUParams, 3, 2),
    "gru original": Case(
        functools.partial(ops.gru, reset_after=False),
        functools.partial(ops.gru_cell, reset_after=False),
        ops.GRUParams,
        3,
        1,
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
OPTIONS = {
    "plain": {},
    "lengths": {"seq_lengths": LENGTHS},
    "reverse, keep order, lengths": {"reverse": True, "keep_order": True, "seq_lengths": LENGTHS},
    "mask, unroll": {"recurrent_mask": MASK, "unroll": 3},
    "mask, chunks, reverse, lengths": {
        "recurrent_mask": MASK,
        "chunk_size": 3,
        "reverse": True,
        "seq_lengths": LENGTHS,
    },
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def make(case: Case, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    width = case.gates * H
    shapes = [(I, width), (H, width)] + [(width,)] * case.biases
    params = case.params(*(jnp.asarray(rng.normal(size=s), dtype) for s in shapes))
    x = jnp.asarray(rng.normal(size=(B, T, I)), dtype)
    h = jnp.asarray(rng.normal(size=(B, H)), dtype)
    carry = ops.LSTMCarry(h - 1, h) if case.params is ops.LSTMParams else h
    return params, x, carry


def loop(case: Case, params, x, carry):
    """The definition: a Python loop over the one-step cell."""
    outputs = []
    for t in range(x.shape[1]):
        carry, y = jax.jit(case.cell)(params, carry, x[:, t])
        outputs.append(y)
    return carry, jnp.stack(outputs, axis=1)


def assert_close(a, b, tolerance=1e-12):
    jax.tree.map(
        lambda u, v: np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance), a, b
    )


@every_case
@pytest.mark.parametrize("implementation", [None, "scan", "autodiff"])
def test_sequence_equals_python_loop_over_cell(case, implementation, x64):
    params, x, carry = make(case)
    result = case.op(params, x, carry, return_carry=True, implementation=implementation)
    assert_close(result, loop(case, params, x, carry))


@every_case
@every_option
def test_gradient_equals_autodiff_of_python_loop(case, options, x64):
    """The hand-written backward pass, through outputs and final carry, to all arguments."""
    params, x, carry = make(case)

    def by_op(params, x, carry):
        c, y = case.op(params, x, carry, return_carry=True, **options)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves((c, y)))

    def by_loop(params, x, carry):
        lengths = options.get("seq_lengths", np.full(B, T))
        total = 0.0
        for b, n in enumerate(lengths):
            c = jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], carry)
            if n:
                xb = x[b : b + 1, :n]
                xb = xb[:, ::-1] if options.get("reverse") else xb
                # (h * mask) U = h (diag(mask) U)
                mask = options.get("recurrent_mask", np.ones((B, H)))[b][:, None]
                masked = params._replace(recurrent_kernel=mask * params.recurrent_kernel)
                c, y = loop(case, masked, xb, c)
                total += jnp.sum(jnp.sin(y))
            total += sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(c))
        return total

    ours, reference = (
        jax.jit(jax.value_and_grad(f, (0, 1, 2)))(params, x, carry) for f in (by_op, by_loop)
    )
    assert_close(ours, reference, 1e-10)


@every_case
def test_padded_batch_equals_each_sequence_alone(case, x64):
    params, x, carry = make(case)
    padded = x.at[1].set(jnp.nan).at[2, 1:].set(jnp.inf)  # padding may hold anything
    end, y = case.op(params, padded, carry, seq_lengths=LENGTHS, return_carry=True)
    for b, n in enumerate(LENGTHS):
        alone = jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], carry)
        if n:
            alone, y_alone = case.op(params, x[b : b + 1, :n], alone, return_carry=True)
            assert_close(y[b : b + 1, :n], y_alone)
        assert not y[b, n:].any()
        assert_close(jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], end), alone)


@every_case
def test_gradient_is_finite_whatever_stands_in_the_padding(case, x64):
    params, x, carry = make(case)
    padded = x.at[1].set(jnp.nan).at[2, 1:].set(jnp.inf)
    gradients = jax.grad(
        lambda p, x: jnp.sum(case.op(p, x, carry, seq_lengths=LENGTHS) ** 2), (0, 1)
    )(params, padded)
    for leaf in jax.tree.leaves(gradients):
        assert np.isfinite(leaf).all()
    assert not gradients[1][1].any()
    assert not gradients[1][2, 1:].any()


@every_case
def test_reverse_orders(case, x64):
    params, x, carry = make(case)
    options = {"reverse": True, "seq_lengths": LENGTHS, "return_carry": True}
    end, computed = case.op(params, x, carry, **options)
    end_kept, kept = case.op(params, x, carry, keep_order=True, **options)
    assert_close(end, end_kept)
    for b, n in enumerate(LENGTHS):
        assert_close(computed[b, :n], kept[b, :n][::-1])
        flipped = x[b : b + 1, :n][:, ::-1]
        if n:
            alone = jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], carry)
            assert_close(computed[b : b + 1, :n], case.op(params, flipped, alone))


@every_case
def test_causality_by_gradient(case, x64):
    params, x, carry = make(case)
    jacobian = jax.jacrev(lambda x: case.op(params, x, carry)[0])(x)[:, :, 0]  # [T, H, T, I]
    reach = np.abs(jacobian).sum(axis=(1, 3))
    assert not np.triu(reach, 1).any()  # nothing from later inputs
    if case is not CASES["rnn relu"]:  # whose units may be off
        assert (np.tril(reach) + np.triu(np.ones((T, T)), 1) > 0).all()  # something from all before


@every_case
def test_time_major(case, x64):
    params, x, carry = make(case)
    y = case.op(params, jnp.swapaxes(x, 0, 1), carry, time_major=True)
    assert_close(jnp.swapaxes(y, 0, 1), case.op(params, x, carry))


@every_case
def test_initial_carry_is_zero_by_default(case, x64):
    params, x, carry = make(case)
    zeros = jax.tree.map(jnp.zeros_like, carry)
    assert_close(case.op(params, x), case.op(params, x, zeros))


@every_case
def test_a_sequence_in_two_parts(case, x64):
    params, x, carry = make(case)
    middle, first = case.op(params, x[:, :3], carry, return_carry=True)
    end, second = case.op(params, x[:, 3:], middle, return_carry=True)
    whole = case.op(params, x, carry, return_carry=True)
    assert_close((end, jnp.concatenate([first, second], axis=1)), whole)


@every_case
def test_the_mask_has_no_gradient_and_both_implementations_agree_on_it(case, x64):
    params, x, carry = make(case)

    def loss(params, mask, implementation):
        y = case.op(params, x, carry, recurrent_mask=mask, implementation=implementation)
        return jnp.sum(y**2)

    (by_hand, of_mask), by_jax = (
        jax.grad(loss, (0, 1))(params, jnp.asarray(MASK), implementation)
        for implementation in ("scan", "autodiff")
    )
    assert_close((by_hand, of_mask), by_jax, 1e-10)
    assert not of_mask.any()


@every_case
def test_no_steps_leave_the_carry(case, x64):
    params, x, carry = make(case)
    end, y = case.op(params, x[:, :0], carry, return_carry=True)
    assert y.shape == (B, 0, H)
    assert_close(end, carry)
    gradient = jax.grad(lambda p: jnp.sum(case.op(p, x[:, :0], carry)))(params)
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient))


@every_case
def test_bfloat16_inputs_keep_float32_carries(case):
    params, x, carry = make(case, np.float32)
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (params, x))
    end, y = case.op(*low, carry, return_carry=True)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(end)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(y.astype(np.float32), case.op(params, x, carry), atol=0.1)
    gradient = jax.grad(lambda p: jnp.sum(case.op(p, low[1], carry).astype(jnp.float32)))(low[0])
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.bfloat16)}
    step_end, step_y = case.cell(low[0], carry, low[1][:, 0])
    assert step_y.dtype == jnp.bfloat16
    assert jax.tree.leaves(step_end)[0].dtype == jnp.float32


@every_case
def test_vmap_over_parameters_equals_one_by_one(case, x64):
    (a, x, carry), (b, _, _) = make(case, seed=0), make(case, seed=1)
    both = jax.tree.map(lambda u, v: jnp.stack([u, v]), a, b)

    def loss(params):
        return jnp.sum(case.op(params, x, carry) ** 2)

    together = jax.vmap(jax.grad(loss))(both)
    assert_close(jax.tree.map(lambda leaf: leaf[1], together), jax.grad(loss)(b), 1e-10)


@every_case
def test_forward_mode_and_second_derivatives(case, x64):
    params, x, carry = make(case)

    def loss(x, implementation):
        return jnp.sum(case.op(params, x, carry, implementation=implementation) ** 2)

    forward = jax.jvp(lambda x: loss(x, "autodiff"), (x,), (x,))[1]
    backward = jnp.vdot(jax.grad(lambda x: loss(x, "scan"))(x), x)
    assert_close(forward, backward, 1e-10)

    def product(implementation):  # a Hessian-vector product, reverse over reverse
        inner = jax.grad(lambda x: loss(x, implementation))
        return jax.jit(jax.grad(lambda y: jnp.vdot(inner(y), x)))(x)

    assert_close(product("scan"), product("autodiff"), 1e-10)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_products_stand_where_they_are_cheap(name):
    """In the loops only products of a step's [B, ...] rows: none sums over the batch."""
    case = CASES[name]
    params, x, carry = make(case, np.float32)

    def loss(params, x):
        return jnp.sum(case.op(params, x, carry))

    jaxpr = jax.make_jaxpr(jax.grad(loss, (0, 1)))(params, x)
    inside = [
        tuple(v.aval.shape for v in eqn.invars)
        for scan in _equations(jaxpr.jaxpr, "scan")
        for eqn in _equations(scan.params["jaxpr"].jaxpr, "dot_general")
    ]
    assert inside
    for left, right in inside:
        assert left[0] == B
        # with U, with U transposed, and of several gates with W and the bias
        assert right[0] in (H, case.gates * H, *((I + 1,) if case.gates > 1 else ()))


def _equations(jaxpr, name):
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == name:
            yield eqn
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _equations(inner, name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rnn", {}),
        ("lstm", {"reverse": True}),
        ("lstm", {"seq_lengths": np.array([6, 0, 4]), "recurrent_mask": MASK}),
        ("gru", {"seq_lengths": np.array([6, 0, 4]), "recurrent_mask": MASK}),
    ],
)
def test_gradients_gathered_a_piece_at_a_time(name, options, x64, monkeypatch):
    """The backward pass of a long sequence works on as many steps as the cache holds."""
    case = CASES[name]
    params, x, carry = make(case)
    x = jnp.concatenate([x, x[:, :1]], axis=1)
    steps = x.shape[1]
    assert steps == 6

    def gradient(implementation):
        def loss(params, x, carry):
            end, y = case.op(
                params, x, carry, return_carry=True, implementation=implementation, **options
            )
            return jnp.sum(jnp.sin(y)) + sum(map(jnp.sum, jax.tree.leaves(end)))

        return jax.jit(jax.grad(loss, (0, 1, 2)))(params, x, carry)

    monkeypatch.setattr(layout, "_CACHE", 1)
    monkeypatch.setattr(layout, "_LEAST_ROWS", 3 * x.shape[0])
    assert layout.steps_at_once(steps, x.shape[0], 1) == 3
    assert_close(gradient("scan"), gradient("autodiff"), 1e-10)


@pytest.mark.parametrize("options", [{"chunk_size": 2}, {"truncation": 2}])
def test_an_empty_batch_has_empty_outputs(options):
    params = ops.RNNParams(jnp.ones((I, H)), jnp.ones((H, H)))
    assert ops.rnn(params, jnp.ones((0, T, I)), **options).shape == (0, T, H)


def test_how_many_steps_at_once(monkeypatch):
    monkeypatch.setattr(layout, "_CACHE", 1000)
    monkeypatch.setattr(layout, "_LEAST_ROWS", 10)
    at_once = layout.steps_at_once
    assert at_once(200, 2, 10) == 50  # fills the cache
    assert at_once(40, 2, 10) == 40  # all fit
    assert at_once(200, 4, 1000) == 2  # a product needs rows, whatever the cache holds
    assert at_once(211, 2, 10) == 211  # a prime number of steps has no pieces
    assert at_once(0, 2, 10) == 0
    assert at_once(200, 0, 10) == 200
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert at_once(200, 2, 10) == 200


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rnn", {}),
        ("lstm", {"reverse": True}),
        ("lstm", {"chunk_size": 2}),
        ("gru", {}),
        ("gru original", {"chunk_size": 2, "reverse": True}),
    ],
)
def test_truncation_cuts_the_gradient_between_groups(name, options, x64):
    """The gradient is that of groups run apart, each from the carry that the last one left."""
    case = CASES[name]
    params, x, carry = make(case)
    size, steps = 3, x.shape[1]
    assert steps % size  # the last group is a shorter one

    def loss(params, x, carry):
        end, y = case.op(params, x, carry, return_carry=True, truncation=size, **options)
        return jnp.sum(jnp.sin(y)) + sum(map(jnp.sum, jax.tree.leaves(end)))

    def by_hand(params, x, carry):
        if options.get("reverse"):
            x = jnp.flip(x, axis=1)
        total = 0.0
        for first in range(0, steps, size):
            if first:
                carry = jax.lax.stop_gradient(carry)
            carry, y = case.op(params, x[:, first : first + size], carry, return_carry=True)
            total += jnp.sum(jnp.sin(y))
        return total + sum(map(jnp.sum, jax.tree.leaves(carry)))

    found, expected = (
        jax.jit(jax.value_and_grad(f, (0, 1, 2)))(params, x, carry) for f in (loss, by_hand)
    )
    assert_close(found, expected, 1e-10)
    whole = jax.grad(lambda p: jnp.sum(jnp.sin(case.op(p, x, carry))))(params)
    cut = jax.grad(lambda p: jnp.sum(jnp.sin(case.op(p, x, carry, truncation=size))))(params)
    assert not np.allclose(whole[1], cut[1])


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_both_layouts_agree(name, backend, x64, monkeypatch):
    """Projected in the loop (CPU) or before it (accelerators) is the same function."""
    case = CASES[name]
    params, x, carry = make(case)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert_close(case.op(params, x, carry), loop(case, params, x, carry)[1])
    gradient = jax.grad(lambda p: jnp.sum(case.op(p, x, carry) ** 2))(params)
    reference = jax.grad(lambda p: jnp.sum(case.op(p, x, carry, implementation="autodiff") ** 2))(
        params
    )
    assert_close(gradient, reference, 1e-10)


@pytest.mark.parametrize("implementation", ["scan", "autodiff"])
@pytest.mark.parametrize("name", ["lstm", "gru original", "rnn layer norm"])
def test_bfloat16_gradients_add_up_in_float32(name, implementation):
    """Over 512 steps, where sums in bfloat16 would lose a few per cent."""
    case = CASES[name]
    params, _, _ = make(case, np.float32)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(B, 512, I)), jnp.float32)

    def gradient(dtype):
        low = jax.tree.map(lambda leaf: 0.1 * leaf.astype(dtype), params)

        def loss(p):
            y = case.op(p, x.astype(dtype), implementation=implementation)
            return jnp.sum(y.astype(jnp.float32))

        found = jax.jit(jax.grad(loss))(low)
        summed = [found.recurrent_kernel]
        if name == "rnn layer norm":
            summed.append(found.layer_norm.offset)
        return [leaf.astype(jnp.float32) for leaf in summed]

    for exact, ours in zip(gradient(jnp.float32), gradient(jnp.bfloat16), strict=True):
        assert jnp.linalg.norm(ours - exact) < 0.015 * jnp.linalg.norm(exact)


def test_a_singular_derivative_in_the_padding_reaches_no_gradient(x64):
    params, x, _ = make(CASES["rnn"])

    def loss(params):
        root = functools.partial(ops.rnn, activation=lambda v: jnp.sqrt(jnp.abs(v)))
        return jnp.sum(root(params._replace(bias=None), x, seq_lengths=np.array([2, 0, 1])))

    nonzero = jax.grad(loss)(params)  # h = 0 and x = 0 in the padding: the root's slope is infinite
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(nonzero))


@every_case
def test_lengths_are_clipped_and_their_shape_is_checked(case, x64):
    params, x, carry = make(case)
    for options in ({}, {"reverse": True}):
        long = case.op(params, x, carry, seq_lengths=np.array([99, T, T]), **options)
        assert_close(long, case.op(params, x, carry, **options))
    with pytest.raises(Exception, match=r"seq_lengths|batch"):
        case.op(params, x, carry, seq_lengths=np.array([3]))


def test_chunks_keep_less_for_the_backward_pass():
    params, _, _ = make(CASES["lstm"], np.float32)
    x = jnp.zeros((4, 1024, I))

    def temporary_bytes(**options):
        step = jax.jit(jax.grad(lambda p: jnp.sum(ops.lstm(p, x, **options))))
        return step.lower(params).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(chunk_size=32) < 0.3 * temporary_bytes()


@every_case
def test_errors_name_the_shapes(case):
    params, x, carry = make(case, np.float32)
    with pytest.raises(ValueError, match=r"kernel must be \[3, "):
        case.op(params, jnp.zeros((B, T, I + 1)), carry)
    with pytest.raises(ValueError, match="recurrent_kernel must be"):
        case.op(params._replace(recurrent_kernel=params.kernel), x)
    with pytest.raises(ValueError, match=r"the carry must be \[2, 5\]"):
        case.op(params, x[:2], carry)
    with pytest.raises(ValueError, match="a bias must be"):
        case.op(params._replace(bias=jnp.zeros(1)), x)
    with pytest.raises(ValueError, match=r"the recurrent_mask must be \[3, 5\]"):
        case.op(params, x, recurrent_mask=jnp.ones((B, H + 1)))


def test_errors_name_the_option():
    params, x, _ = make(CASES["gru"], np.float32)
    with pytest.raises(ValueError, match="recurrent_bias"):
        ops.gru(params, x, reset_after=False)
    with pytest.raises(ValueError, match="chunk_size"):
        ops.gru(params, x, chunk_size=0)


def test_relu_has_no_slope_at_zero():
    """As in Keras and PyTorch; jnp.maximum would give one half."""
    params = ops.RNNParams(jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.zeros(1))
    x = jnp.zeros((1, 1, 1))
    assert jax.grad(lambda x: ops.rnn(params, x, activation="relu").sum())(x).item() == 0.0


def test_activation_may_be_any_function(x64):
    case = CASES["rnn"]
    params, x, carry = make(case)
    y = ops.rnn(params, x, carry, activation=jnp.sin)
    by_cell = functools.partial(ops.rnn_cell, activation=jnp.sin)
    assert_close(y, loop(case._replace(cell=by_cell), params, x, carry)[1])
