"""What holds for every cell of the registry, whatever its recurrence."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import ops
from seqjax.ops import layout
from tests.ops.cells import (
    CASES,
    LENGTHS,
    MASK,
    B,
    Case,
    H,
    I,
    T,
    alone,
    assert_close,
    every_case,
    every_recurrent_case,
    loop,
    make,
    total,
)

OPTIONS = {
    "plain": {},
    "lengths, mask, unroll": {"seq_lengths": LENGTHS, "recurrent_mask": MASK, "unroll": 3},
    "reverse, keep order, mask, chunks, lengths": {
        "reverse": True,
        "keep_order": True,
        "recurrent_mask": MASK,
        "chunk_size": 3,
        "seq_lengths": LENGTHS,
    },
}
WHOLE = np.ones((B, T), bool)


def dirty(x):
    """What stands in the padding may be anything."""
    padded = np.array(x)
    padded[1], padded[2, 1:] = np.nan, np.inf
    return padded


@every_case
def test_value_and_gradient_equal_those_of_a_python_loop(case, x64):
    """Every implementation, through outputs and final carry, to all arguments."""
    params, x, carry = jax.device_get(make(case))

    def of(f):
        def value(*args):
            result = f(*args)
            return total(result), result

        return jax.jit(jax.value_and_grad(value, (0, 1, 2), has_aux=True))

    definition = of(functools.partial(loop, case))
    for name, options in OPTIONS.items():
        mask = None if case.linear else options.get("recurrent_mask", np.ones_like(MASK))
        valid = np.arange(T) < options.get("seq_lengths", np.full(B, T))[:, None]
        way = np.s_[:, :: -1 if options.get("reverse") else 1]  # backwards: all of it turned round
        (_, (end, y)), (of_params, of_x, of_carry) = jax.device_get(
            definition(params, x[way], carry, valid[way], mask)
        )
        expected = (end, y[way]), (of_params, of_x[way], of_carry)
        chosen = {k: v for k, v in options.items() if k != "recurrent_mask" or mask is not None}
        for implementation in case.by_hand if options else case.implementations:
            chosen |= {"implementation": implementation, "return_carry": True}
            (_, result), gradient = of(functools.partial(case.op, **chosen))(params, x, carry)
            assert_close((result, gradient), expected, 1e-10, f"{name}, {implementation}")


@pytest.mark.parametrize("name", ops.CELLS)
def test_the_faces_are_the_cells(name, x64):
    """`ops.lstm` is `ops.run` of the LSTM's description, `ops.lstm_cell` its `ops.step`."""
    case = next(case for case in CASES.values() if case.cell.name == name)
    params, x, carry = make(case)
    face, step = getattr(ops, name), getattr(ops, f"{name}_cell")
    options = {"seq_lengths": LENGTHS, "return_carry": True}
    by_face = jax.jit(functools.partial(face, **options))(params, x, carry)
    assert_close(by_face, case.run(params, x, carry, **options))
    one = np.asarray(x)[:, 0]
    assert_close(*(jax.jit(f)(params, carry, one) for f in (step, case.step)))
    with pytest.raises(TypeError, match=r"no option is named 'seq_length'.*'seq_lengths'"):
        face(params, x, seq_length=LENGTHS)


@every_case
def test_padded_batch_equals_each_sequence_alone(case, x64):
    params, x, carry = jax.device_get(make(case))
    padded = dirty(x)
    for implementation in case.by_hand:
        options = {"return_carry": True, "implementation": implementation}
        end, y = case.run(params, padded, carry, seq_lengths=LENGTHS, **options)
        for b, n in enumerate(LENGTHS):
            own = alone(carry, b)
            if n:
                own, y_alone = case.run(params, x[b : b + 1, :n], own, **options)
                assert_close(y[b : b + 1, :n], y_alone)
            assert not y[b, n:].any()
            assert_close(alone(end, b), own)


@every_case
def test_gradient_is_finite_whatever_stands_in_the_padding(case, x64):
    params, x, carry = make(case)
    padded = dirty(x)
    for implementation in case.implementations:
        options = {"seq_lengths": LENGTHS, "implementation": implementation}
        gradients = jax.jit(
            jax.grad(lambda p, x, o=options: total(case.op(p, x, carry, **o)), (0, 1))
        )(params, padded)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
        of_x = np.asarray(gradients[1])
        assert not of_x[1].any()
        assert not of_x[2, 1:].any()


@every_case
def test_reverse_orders(case, x64):
    params, x, carry = jax.device_get(make(case))
    options = {"reverse": True, "seq_lengths": LENGTHS, "return_carry": True}
    end, computed = case.run(params, x, carry, **options)
    end_kept, kept = case.run(params, x, carry, keep_order=True, **options)
    assert_close(end, end_kept)
    for b, n in enumerate(LENGTHS):
        assert_close(computed[b, :n], kept[b, :n][::-1])
        flipped = x[b : b + 1, :n][:, ::-1]
        if n:
            assert_close(computed[b : b + 1, :n], case.run(params, flipped, alone(carry, b)))


@every_case
def test_causality_by_gradient(case, x64):
    params, x, carry = make(case)
    for implementation in case.by_hand:
        outputs = functools.partial(case.op, implementation=implementation)
        jacobian = jax.jit(jax.jacrev(lambda x, f=outputs: f(params, x, carry)[0]))(x)[:, :, 0]
        reach = np.abs(jacobian).sum(axis=(1, 3))  # [T, T]
        assert not np.triu(reach, 1).any()  # nothing from later inputs
        if case is not CASES["rnn activation=relu"]:  # whose units may be off
            # something from all before
            assert (np.tril(reach) + np.triu(np.ones((T, T)), 1) > 0).all()


@every_case
def test_layouts_default_carry_and_parts(case, x64):
    params, x, carry = jax.device_get(make(case))
    whole = end, y = case.run(params, x, carry, return_carry=True)
    turned = case.run(params, np.swapaxes(x, 0, 1), carry, time_major=True)
    assert_close(np.swapaxes(turned, 0, 1), y)
    zeros = jax.tree.map(np.zeros_like, carry)
    assert_close(case.run(params, x), case.run(params, x, zeros, return_carry=True)[1])
    middle, first = case.run(params, x[:, :3], carry, return_carry=True)
    end, second = case.run(params, x[:, 3:], middle, return_carry=True)
    assert_close((end, np.concatenate([first, second], axis=1)), whole)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(end)} == {B}


@every_recurrent_case
def test_the_mask_has_no_gradient_and_both_implementations_agree_on_it(case, x64):
    params, x, carry = make(case)

    def loss(params, mask, implementation):
        y = case.op(params, x, carry, recurrent_mask=mask, implementation=implementation)
        return jnp.sum(y**2)

    (by_hand, of_mask), by_jax = (
        jax.jit(jax.grad(functools.partial(loss, implementation=implementation), (0, 1)))(
            params, MASK
        )
        for implementation in ("scan", "autodiff")
    )
    assert_close((by_hand, of_mask), by_jax, 1e-10)
    assert not of_mask.any()


@every_case
def test_no_steps_leave_the_carry(case, x64):
    params, x, carry = make(case, steps=0)
    for implementation in case.by_hand:
        op = functools.partial(case.op, implementation=implementation, return_carry=True)

        def loss(params, op=op):
            end, y = op(params, x, carry)
            return jnp.sum(y), (end, y)

        gradient, (end, y) = jax.jit(jax.grad(loss, has_aux=True))(params)
        assert y.shape == (B, 0, H)
        assert_close(end, carry)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


@every_case
def test_bfloat16_inputs_keep_wide_carries(case):
    params, x, carry = make(case, np.float32)
    low = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.bfloat16), (params, x))
    end, y = case.run(*low, carry, return_carry=True)
    assert y.dtype == jnp.bfloat16
    wide = {jnp.dtype(jnp.complex64 if case.cell.name == "lru" else jnp.float32)}
    assert {leaf.dtype for leaf in jax.tree.leaves(end)} == wide
    reference = case.run(params, x, carry)
    tolerance = 0.03 * np.ptp(reference) if case.linear else 0.1
    np.testing.assert_allclose(y.astype(np.float32), reference, atol=tolerance)

    def loss(params):
        return jnp.sum(case.op(params, low[1], carry).astype(jnp.float32))

    gradient = jax.jit(jax.grad(loss))(low[0])
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.bfloat16)}
    step_end, step_y = jax.jit(case.step)(low[0], carry, np.asarray(low[1])[:, 0])
    assert step_y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(step_end)} == wide


@every_recurrent_case
def test_vmap_over_parameters_equals_one_by_one(case, x64):
    (a, x, carry), (b, _, _) = make(case, seed=0), make(case, seed=1)
    both = jax.tree.map(lambda u, v: np.stack([u, v]), a, b)

    def loss(params):
        return jnp.sum(case.op(params, x, carry) ** 2)

    together = jax.device_get(jax.jit(jax.vmap(jax.grad(loss)))(both))
    assert_close(jax.tree.map(lambda leaf: leaf[1], together), jax.jit(jax.grad(loss))(b), 1e-10)


@every_case
def test_forward_mode_and_second_derivatives(case, x64):
    """Hessian-vector products: reverse over reverse, forward over reverse, those of JAX alone."""
    params, x, carry = make(case)

    def gradient(implementation):
        chosen = functools.partial(case.op, params, implementation=implementation)
        return jax.grad(lambda x: jnp.sum(chosen(x, carry) ** 2))

    @jax.jit
    def products(x, direction):
        by_hand, by_jax = gradient("scan"), gradient("autodiff")
        reverse = jax.grad(lambda x: jnp.vdot(by_hand(x), direction))(x)
        return reverse, *(jax.jvp(f, (x,), (direction,)) for f in (by_hand, by_jax))

    reverse, by_jvp, (backward, expected) = products(x, x)
    assert_close(by_jvp, (backward, expected), 1e-10)
    assert_close(reverse, expected, 1e-10)


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
    gates = case.cell.gates
    for left, right in inside:
        assert left[0] == B
        # with U, with U transposed, and of several gates with W and the bias
        assert right[0] in (H, gates * H, *((I + 1,) if gates > 1 else ()))


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
            chosen = {"return_carry": True, "implementation": implementation, **options}
            return total(case.op(params, x, carry, **chosen))

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
        ("gru reset_after=False", {"chunk_size": 2, "reverse": True}),
        ("min_gru", {}),
    ],
)
def test_truncation_cuts_the_gradient_between_groups(name, options, x64):
    """The gradient is that of groups run apart, each from the carry that the last one left."""
    case = CASES[name]
    params, x, carry = make(case)
    size, steps = 3, x.shape[1]
    assert steps % size  # the last group is a shorter one

    def loss(params, x, carry):
        return total(case.op(params, x, carry, return_carry=True, truncation=size, **options))

    def by_hand(params, x, carry):
        if options.get("reverse"):
            x = jnp.flip(x, axis=1)
        found = 0.0
        for first in range(0, steps, size):
            if first:
                carry = jax.lax.stop_gradient(carry)
            carry, y = case.op(params, x[:, first : first + size], carry, return_carry=True)
            found += total(y)
        return found + total(carry)

    found, expected = (
        jax.jit(jax.value_and_grad(f, (0, 1, 2)))(params, x, carry) for f in (loss, by_hand)
    )
    assert_close(found, expected, 1e-10)
    whole = jax.jit(jax.grad(lambda p: total(case.op(p, x, carry, return_carry=True, **options))))
    assert not np.allclose(whole(params).kernel, found[1][0].kernel)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {}),
        ("lstm", {"reverse": True, "keep_order": True}),
        ("gru reset_after=False", {"reverse": True}),
        ("min_gru", {}),
    ],
)
def test_truncation_sees_no_padding(name, options, x64):
    """Groups are counted from each sequence's own first step; a held carry is not cut."""
    case = CASES[name]
    params, x, carry = make(case, steps=9)
    lengths = np.array([9, 0, 3])

    def padded(params, x, carry):
        chosen = {"truncation": 4, "return_carry": True, **options}
        return total(case.op(params, x, carry, seq_lengths=lengths, **chosen))

    def one_by_one(params, x, carry):
        found = 0.0
        for b, n in enumerate(lengths):
            end, y = alone(carry, b), jnp.zeros((1, 0, H))
            if n:
                chosen = {"truncation": 4, "return_carry": True, **options}
                end, y = case.op(params, x[b : b + 1, :n], end, **chosen)
            found += total((end, y)) + (x.shape[1] - n) * total(jnp.zeros((1, H)))
        return found

    found, expected = (
        jax.jit(jax.value_and_grad(f, (0, 1, 2)))(params, x, carry) for f in (padded, one_by_one)
    )
    assert_close(found, expected, 1e-10)
    assert np.abs(found[1][0].kernel).max() > 0


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_both_layouts_agree(name, backend, x64, monkeypatch):
    """Projected in the loop (CPU) or before it (accelerators) is the same function."""
    case = CASES[name]
    params, x, carry = make(case)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)

    def of(f):
        return jax.jit(jax.value_and_grad(lambda p: jnp.sum(f(p, x, carry) ** 2)))(params)

    assert_close(of(case.op), of(lambda *a: loop(case, *a, WHOLE)[1]), 1e-10)


@pytest.mark.parametrize("implementation", ["scan", "autodiff"])
@pytest.mark.parametrize("name", ["lstm", "gru reset_after=False", "rnn layer_norm=True"])
def test_bfloat16_gradients_add_up_in_float32(name, implementation):
    """Over 512 steps, where sums in bfloat16 would lose a few per cent."""
    case = CASES[name]
    params, _, _ = make(case, np.float32)
    if name == "rnn layer_norm=True":  # not a scale near zero, whose sums cancel
        norm = ops.LayerNormParams(1 + params.bias, params.bias - 0.5)
        params = params._replace(layer_norm=norm)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(B, 512, I)), jnp.float32)

    def gradient(dtype):
        low = jax.tree.map(lambda leaf: 0.1 * leaf.astype(dtype), params)

        def loss(p):
            y = case.op(p, x.astype(dtype), implementation=implementation)
            return jnp.sum(y.astype(jnp.float32))

        found = jax.jit(jax.grad(loss))(low)
        summed = [found.recurrent_kernel]
        if name == "rnn layer_norm=True":
            summed.append(found.layer_norm.offset)
        return [leaf.astype(jnp.float32) for leaf in summed]

    for exact, ours in zip(gradient(jnp.float32), gradient(jnp.bfloat16), strict=True):
        assert jnp.linalg.norm(ours - exact) < 0.015 * jnp.linalg.norm(exact)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_singular_derivative_in_the_padding_reaches_no_gradient(layer_norm, x64):
    """h = 0, x = 0 and an offset of 0 in the padding, where the root's slope is infinite."""
    case = Case(ops.RNNCell(activation=lambda v: jnp.sqrt(jnp.abs(v)), layer_norm=layer_norm))
    params, x, _ = make(case)
    norm = ops.LayerNormParams(jnp.ones(H), jnp.zeros(H)) if layer_norm else None
    params = params._replace(bias=None, layer_norm=norm)

    def loss(params):
        return jnp.sum(case.op(params, x, seq_lengths=np.array([2, 0, 1])))

    gradients = jax.jit(jax.grad(loss))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))

    def one_by_one(params):
        return sum(jnp.sum(case.op(params, x[b : b + 1, :n])) for b, n in ((0, 2), (2, 1)))

    assert_close(gradients, jax.jit(jax.grad(one_by_one))(params), 1e-10)


@every_case
def test_lengths_are_clipped_and_their_shape_is_checked(case, x64):
    params, x, carry = make(case)
    for options in ({}, {"reverse": True}):
        long = case.run(params, x, carry, seq_lengths=np.array([99, T, T]), **options)
        assert_close(long, case.run(params, x, carry, return_carry=True, **options)[1])
    with pytest.raises(ValueError, match=r"seq_lengths must be \[3\]"):
        case.op(params, x, carry, seq_lengths=np.array([3]))


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, np.uint16, np.uint32, np.int64, np.uint64]
)
def test_lengths_of_any_width_are_what_they_say(dtype):
    for steps in (50, 128, 300, 70_000):
        given = np.array([100, 0, 7], dtype)
        found = ops.as_lengths(given, batch=3, steps=steps)
        assert found.dtype == jnp.int32
        assert found.tolist() == [min(100, steps), 0, 7]
    most = np.array([np.iinfo(dtype).max], dtype)
    with jax.enable_x64(True):
        assert ops.as_lengths(most, batch=1, steps=60).tolist() == [60]
    if np.issubdtype(dtype, np.signedinteger):
        assert ops.as_lengths(-most, batch=1, steps=60).tolist() == [0]


def test_a_narrow_length_in_a_long_sequence():
    params = ops.RNNParams(jnp.eye(1), jnp.eye(1))
    x, activation = jnp.ones((1, 300, 1)), "relu"
    carry, _ = ops.rnn(
        params, x, activation=activation, seq_lengths=np.array([100], np.uint8), return_carry=True
    )
    assert carry.item() == 100


@pytest.mark.parametrize("lengths", [np.array([5.0, 0, 1]), np.array([True, False, True])])
def test_lengths_are_integers(lengths):
    params, x, _ = make(CASES["rnn"], np.float32)
    with pytest.raises(ValueError, match="must be integers"):
        ops.rnn(params, x, seq_lengths=lengths)


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
    with pytest.raises(ValueError, match=r"(kernel|input_real) must be \[7, "):
        case.op(params, jnp.zeros((B, T, 7)), carry)
    with pytest.raises(ValueError, match=r"the carry must be \[2, "):
        case.op(params, x[:2], carry)
    with pytest.raises(ValueError, match=r"the carry must be \[2, "):
        case.step(params, carry, x[:2, 0])
    with pytest.raises(ValueError, match="the carry must be"):
        case.op(params, x, (carry, carry))
    with pytest.raises(ValueError, match=r"x must be \[batch, time, features\]"):
        case.op(params, x[0], carry)
    with pytest.raises(ValueError, match=r"x must be \[batch, features\]"):
        case.step(params, carry, x)
    with pytest.raises(ValueError, match=r"x holds int32.*nn\.Embed"):
        case.op(params, x.astype(int), carry)
    if "bias" in params._fields and params.bias is not None:
        with pytest.raises(ValueError, match="bias must be"):
            case.op(params._replace(bias=jnp.zeros(1)), x)
    if case.linear:
        with pytest.raises(ValueError, match="no product with h"):
            case.op(params, x, recurrent_mask=MASK)
        return
    with pytest.raises(ValueError, match="recurrent_kernel must be"):
        case.op(params._replace(recurrent_kernel=params.kernel), x)
    with pytest.raises(ValueError, match=r"the recurrent_mask must be \[3, 5\]"):
        case.op(params, x, recurrent_mask=jnp.ones((B, H + 1)))


@every_case
def test_errors_name_the_implementation_and_the_reason(case):
    params, x, _ = make(case, np.float32)
    with pytest.raises(ValueError, match=r"one of 'scan', 'autodiff', .*not 'nonsense'"):
        case.op(params, x, implementation="nonsense")
    if not case.linear:
        with pytest.raises(
            ValueError, match="'associative' cannot run this: it needs a recurrence"
        ):
            case.op(params, x, implementation="associative")


def test_a_missing_parameter_is_named():
    params, x, _ = make(CASES["gru"], np.float32)
    with pytest.raises(ValueError, match="recurrent_kernel is missing"):
        ops.run(ops.GRUCell(), params._replace(recurrent_kernel=None), x)
    params, x, _ = make(CASES["rnn"], np.float32)
    with pytest.raises(ValueError, match="has layer_norm, but it is missing"):
        ops.run(ops.RNNCell(layer_norm=True), params, x)


def test_errors_name_the_option():
    params, x, _ = make(CASES["gru"], np.float32)
    with pytest.raises(ValueError, match="recurrent_bias is no parameter"):
        ops.gru(params, x, reset_after=False)
    with pytest.raises(ValueError, match="chunk_size"):
        ops.gru(params, x, chunk_size=0)


def test_relu_has_no_slope_at_zero():
    """As in Keras and PyTorch; jnp.maximum would give one half."""
    params = ops.RNNParams(jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.zeros(1))
    x = jnp.zeros((1, 1, 1))
    slope = jax.jit(jax.grad(lambda x: ops.rnn(params, x, activation="relu").sum()))(x)
    assert slope.item() == 0.0


def test_activation_may_be_any_function(x64):
    case = Case(ops.RNNCell(activation=jnp.sin))
    params, x, carry = make(case)
    y = case.run(params, x, carry)
    expected = jax.jit(functools.partial(loop, case))(params, x, carry, WHOLE)
    assert_close(y, expected[1])


@pytest.mark.parametrize("name", ["gru", "lru state=3"])
def test_the_gradient_is_exported_for_any_batch(name):
    case = CASES[name]
    params, x, _ = make(case, np.float32)
    gradient = jax.jit(jax.value_and_grad(lambda p, x: jnp.sum(case.op(p, x) ** 2)))
    (batch,) = jax.export.symbolic_shape("batch")
    symbolic = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
    exported = jax.export.export(gradient)(params, symbolic)
    for some in (x, x[:1]):
        assert_close(exported.call(params, some), gradient(params, some), 1e-5)
