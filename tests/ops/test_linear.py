"""The linear recurrence: every implementation, real and complex, factors varying or constant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec as P

from seqjax.ops import linear_recurrence
from tests.compiled import run

B, T, F = 3, 5, 4
LENGTHS = np.array([5, 0, 1])
IMPLEMENTATIONS = ("scan", "associative", "autodiff")
by_hand = pytest.mark.parametrize("implementation", ["scan", "associative"])
every_implementation = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
KINDS = {  # the dtypes of a and b, and whether a is the same at every step
    "real": (float, float, False),
    "complex": (complex, complex, False),
    "real constant, complex b": (float, complex, True),
    "complex constant, real b": (complex, float, True),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
OPTIONS = {
    "plain": {},
    "lengths": {"seq_lengths": LENGTHS},
    "reverse": {"reverse": True},
    "reverse, lengths": {"reverse": True, "seq_lengths": LENGTHS},
    "reverse, keep order, lengths": {"reverse": True, "keep_order": True, "seq_lengths": LENGTHS},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def draw(rng, shape, dtype):
    values = rng.normal(size=shape)
    return jnp.asarray(values + 1j * rng.normal(size=shape) if dtype is complex else values)


def make(kind=(float, float, False), steps=T):
    a_dtype, b_dtype, constant = kind
    rng = np.random.default_rng(0)
    a = 0.7 * draw(rng, (F,) if constant else (B, steps, F), a_dtype)
    b = draw(rng, (B, steps, F), b_dtype)
    return a, b, draw(rng, (B, F), complex if complex in kind[:2] else float)


def loop(a, b, carry, *, seq_lengths=None, reverse=False, keep_order=False):
    """The definition, step by step: ``(carry, y)``."""
    steps = b.shape[1]
    lengths = np.full(len(b), steps) if seq_lengths is None else seq_lengths
    a = jnp.broadcast_to(a[None, None, :], b.shape) if a.ndim == 1 else a
    outputs = {}
    for t in reversed(range(steps)) if reverse else range(steps):
        valid = (t < lengths)[:, None]
        carry = jnp.where(valid, a[:, t] * carry + b[:, t], carry)
        outputs[t] = jnp.where(valid, carry, jnp.zeros_like(carry))
    y = jnp.stack([outputs[t] for t in range(steps)], axis=1)
    if reverse and not keep_order:
        y = jnp.stack([jnp.r_[u[:n][::-1], u[n:]] for u, n in zip(y, lengths, strict=True)])
    return carry, y


def assert_close(a, b, tolerance=1e-12):
    jax.tree.map(
        lambda u, v: np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance), a, b
    )


def loss(result):
    """Real, and sensitive to real and imaginary parts of outputs and final carry."""
    leaves = jax.tree.leaves(result)
    return sum(jnp.sum(jnp.sin(u.real)) + jnp.sum(jnp.cos(2 * u.imag)) for u in leaves)


@every_kind
@every_option
def test_value_and_gradient_equal_those_of_a_python_loop(kind, options, x64):
    """The hand-written gradient of all arguments, through outputs and final carry."""
    arguments = make(kind)

    def value_and_gradient(f, **options):
        def value(*args):
            result = f(*args, **options)
            return loss(result), result

        return jax.jit(jax.value_and_grad(value, (0, 1, 2), has_aux=True))(*arguments)

    (_, result), gradient = value_and_gradient(loop, **options)
    for implementation in IMPLEMENTATIONS:
        chosen = {"implementation": implementation, "return_carry": True}
        (_, ours), our_gradient = value_and_gradient(linear_recurrence, **chosen, **options)
        assert_close(ours, result)
        assert_close(our_gradient, gradient, 1e-10)
        assert [u.dtype for u in our_gradient] == [u.dtype for u in arguments]


@by_hand
@pytest.mark.parametrize("options", [OPTIONS["lengths"], OPTIONS["reverse, lengths"]])
@pytest.mark.parametrize("kind", [(float, float, False), (complex, complex, True)])
def test_second_derivatives(kind, options, implementation, x64):
    arguments = make(kind)

    def product(f):  # a Hessian-vector product, reverse over reverse
        inner = jax.grad(lambda *args: loss(f(*args, **options)), (0, 1, 2))

        def along(*args):
            pairs = zip(inner(*args), arguments, strict=True)
            return sum(jnp.sum((u * v).real) for u, v in pairs)

        return jax.jit(jax.grad(along, (0, 1, 2)))(*arguments)

    def by_op(*args, **options):
        return linear_recurrence(*args, return_carry=True, implementation=implementation, **options)

    assert_close(product(by_op), product(loop), 1e-9)


@by_hand
def test_forward_mode_of_the_gradient(implementation, x64):
    a, b, carry = make()

    def gradient(implementation):
        return jax.grad(
            lambda b: loss(linear_recurrence(a, b, carry, implementation=implementation))
        )

    @jax.jit
    def products(b, tangent):
        return [
            jax.jvp(gradient(name), (b,), (tangent,))[1] for name in (implementation, "autodiff")
        ]

    assert_close(*products(b, np.asarray(carry)[:, None] * np.asarray(b)), 1e-10)


def test_chunks_change_nothing(x64):
    a, b, carry = make()

    def of(**options):
        def value(a, b, carry):
            return loss(
                linear_recurrence(a, b, carry, seq_lengths=LENGTHS, return_carry=True, **options)
            )

        return jax.jit(jax.value_and_grad(value, (0, 1, 2)))(a, b, carry)

    assert_close(of(chunk_size=2, unroll=2), of(), 1e-10)


def test_forward_mode_of_autodiff(x64):
    a, b, carry = make()

    def by(implementation):
        return lambda b: loss(linear_recurrence(a, b, carry, implementation=implementation))

    forward = jax.jit(lambda b: jax.jvp(by("autodiff"), (b,), (b,))[1])(b)
    assert_close(forward, np.vdot(jax.jit(jax.grad(by("scan")))(b), b), 1e-10)


@pytest.mark.parametrize("constant", [False, True])
@every_implementation
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_may_hold_anything(constant, implementation, reverse, x64):
    a, b, carry = make((float, complex, constant))
    valid = (np.arange(T)[None, :] < LENGTHS[:, None])[:, :, None]
    dirty = (a if constant else np.where(valid, a, np.nan)), np.where(valid, b, np.inf)
    options = {"implementation": implementation, "seq_lengths": LENGTHS, "reverse": reverse}

    def value(a, b, carry):
        return loss(linear_recurrence(a, b, carry, return_carry=True, **options))

    gradient = jax.jit(jax.value_and_grad(value, (0, 1, 2)))
    ours, reference = gradient(*dirty, carry), gradient(a, b, carry)
    assert_close(ours, reference)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(ours))


@every_implementation
def test_a_constant_factor_above_one_does_not_grow_in_the_padding(implementation):
    a, b = jnp.full((1,), 2.0), jnp.ones((1, 300, 1))  # 2^300 is no float32
    options = {"implementation": implementation, "seq_lengths": np.array([3])}
    for reverse in (False, True):

        def end(a, reverse=reverse):
            return linear_recurrence(a, b, return_carry=True, reverse=reverse, **options)[0].sum()

        value, gradient = jax.jit(jax.value_and_grad(end))(a)
        assert value == 1 + 2 + 4
        assert gradient == 1 + 2 * 2


@every_implementation
@pytest.mark.parametrize("constant", [False, True])
def test_padded_batch_equals_each_sequence_alone(implementation, constant, x64):
    a, b, carry = jax.device_get(make((complex, float, constant)))
    chosen = {"implementation": implementation, "return_carry": True}
    end, y = run(linear_recurrence, a, b, carry, seq_lengths=LENGTHS, **chosen)
    for i, n in enumerate(LENGTHS):
        one = slice(i, i + 1)
        factors = a if constant else a[one, :n]
        alone = run(linear_recurrence, factors, b[one, :n], carry[one], **chosen)
        assert_close((end[one], y[one, :n]), alone)
        assert not y[i, n:].any()


@every_kind
@every_implementation
def test_no_steps_leave_the_carry(kind, implementation, x64):
    a, b, carry = make(kind, steps=0)

    def total(*args):
        end, y = linear_recurrence(*args, return_carry=True, implementation=implementation)
        return end.real.sum(), (end, y)

    gradients, (end, y) = run(jax.grad(total, (0, 1, 2), has_aux=True), a, b, carry)
    assert y.shape == (B, 0, F)
    assert_close(end, carry)
    assert not gradients[0].any()
    assert_close(gradients[2], np.ones_like(carry))


@every_implementation
def test_causality_by_gradient(implementation, x64):
    a, b, carry = make()

    def outputs(a, b):
        return linear_recurrence(a, b, carry, implementation=implementation)[0]

    for jacobian in run(jax.jacrev(outputs, (0, 1)), a, b):
        reach = np.abs(jacobian[:, :, 0]).sum(axis=(1, 3))  # [T, T]
        assert not np.triu(reach, 1).any()
        assert (np.tril(reach) + np.triu(np.ones((T, T)), 1) > 0).all()


@every_implementation
def test_time_major_and_a_sequence_in_two_parts(implementation, x64):
    a, b, carry = jax.device_get(make())
    chosen = {"implementation": implementation, "return_carry": True}
    whole = run(linear_recurrence, a, b, carry, **chosen)
    end, y = run(
        linear_recurrence,
        np.swapaxes(a, 0, 1),
        np.swapaxes(b, 0, 1),
        carry,
        time_major=True,
        **chosen,
    )
    assert_close((end, np.swapaxes(y, 0, 1)), whole)
    middle, first = run(linear_recurrence, a[:, :3], b[:, :3], carry, **chosen)
    end, second = run(linear_recurrence, a[:, 3:], b[:, 3:], middle, **chosen)
    assert_close((end, np.concatenate([first, second], axis=1)), whole)


def test_initial_carry_is_zero_by_default(x64):
    a, b, carry = make()
    zero = np.zeros_like(carry)
    assert_close(run(linear_recurrence, a, b), run(linear_recurrence, a, b, zero))


@every_implementation
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_any_number_of_steps(implementation, steps, x64):
    for kind in ((float, float, False), (complex, complex, True)):
        arguments = make(kind, steps=steps)
        chosen = {"return_carry": True, "implementation": implementation}
        assert_close(run(linear_recurrence, *arguments, **chosen), run(loop, *arguments))


@pytest.mark.parametrize("constant", [False, True])
def test_long_sequences_stay_finite_and_agree(constant):
    rng = np.random.default_rng(0)
    shape = (F,) if constant else (2, 2000, F)
    a = jnp.asarray(rng.uniform(0.0, 1.0, size=shape) ** 0.01, jnp.float32)
    b = jnp.asarray(rng.normal(size=(2, 2000, F)), jnp.float32)

    def value_and_gradients(implementation):
        def mean(a, b):
            y = linear_recurrence(a, b, implementation=implementation)
            return jnp.mean(y**2), y

        return jax.jit(jax.value_and_grad(mean, (0, 1), has_aux=True))(a, b)

    results = [value_and_gradients(implementation) for implementation in IMPLEMENTATIONS]
    for result in results:
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
        for ours, reference in zip(
            jax.tree.leaves(result), jax.tree.leaves(results[-1]), strict=True
        ):
            np.testing.assert_allclose(ours, reference, atol=1e-4 * np.abs(reference).max())


@by_hand
def test_only_factors_and_states_are_kept_for_the_gradient(implementation):
    a, b = jnp.full((B, 32, F), 0.5), jnp.ones((B, 32, F))

    def kept_bytes(a):
        def outputs(a, b):
            return linear_recurrence(a, b, implementation=implementation)

        pullback = jax.eval_shape(lambda a, b: jax.vjp(outputs, a, b)[1], a, b)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pullback))

    assert kept_bytes(a) <= 2.1 * b.nbytes
    assert kept_bytes(a[0, 0]) <= 1.1 * b.nbytes


@every_implementation
def test_bfloat16_inputs_keep_float32_carries(implementation):
    a, b, carry = make()
    low = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    chosen = {"return_carry": True, "implementation": implementation}
    end, y = run(linear_recurrence, *low, carry.astype(jnp.float32), **chosen)
    assert (end.dtype, y.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(
        y.astype(np.float32), run(linear_recurrence, a, b, carry, implementation="scan"), atol=0.1
    )
    end, y = run(linear_recurrence, low[0].astype(jnp.complex64), low[1], return_carry=True)
    assert (end.dtype, y.dtype) == (jnp.complex64, jnp.complex64)


@by_hand
@pytest.mark.parametrize(("constant", "reverse"), [(False, True), (True, False)])
def test_over_two_devices_as_on_one(implementation, constant, reverse):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    rng = np.random.default_rng(0)
    a = jnp.asarray(rng.normal(size=(F,) if constant else (4, T, F)), jnp.float32)
    b = jnp.asarray(rng.normal(size=(4, T, F)), jnp.float32)
    lengths = jnp.array([T, 0, 1, 3])

    def total(a, b, lengths):
        options = {"reverse": reverse, "implementation": implementation}
        return jnp.sum(linear_recurrence(a, b, seq_lengths=lengths, **options) ** 2)

    split = jax.shard_map(
        lambda *args: jax.lax.psum(total(*args), "data"),
        mesh=mesh,
        in_specs=(P() if constant else P("data"), P("data"), P("data")),
        out_specs=P(),
    )
    ours, reference = (
        jax.jit(jax.value_and_grad(f, (0, 1)))(a, b, lengths) for f in (split, total)
    )
    assert_close(ours, reference, 1e-4)


@by_hand
def test_vmap_over_factors_equals_one_by_one(implementation, x64):
    _, b, carry = make()
    factors = jnp.asarray(np.random.default_rng(1).normal(size=(2, F)))

    def value(a):
        return loss(linear_recurrence(a, b, carry, implementation=implementation))

    gradient = jax.jit(jax.grad(value))
    together = jax.jit(jax.vmap(gradient))(factors)
    assert_close(together, jnp.stack([gradient(a) for a in factors]), 1e-10)


def test_errors_say_what_is_wrong():
    run = linear_recurrence.__wrapped__  # without the tests' own type check
    a, b, carry = make()
    with pytest.raises(ValueError, match=r"b must be \[batch, time, features\]"):
        run(a, b[0])
    with pytest.raises(ValueError, match=r"a must be \(3, 5, 4\), as b, or \[4\]"):
        run(a[:, :2], b)
    with pytest.raises(ValueError, match=r"the carry must be \[3, 4\]"):
        run(a, b, carry[:2])
    with pytest.raises(ValueError, match="no product with h"):
        run(a, b, recurrent_mask=carry)
    with pytest.raises(ValueError, match="a complex carry"):
        run(a, b, carry + 1j)
    with pytest.raises(ValueError, match="seq_lengths must be"):
        run(a, b, seq_lengths=np.array([3]))
    with pytest.raises(ValueError, match=r"one of 'scan', 'autodiff', .*, not 'fast'"):
        run(a, b, implementation="fast")
