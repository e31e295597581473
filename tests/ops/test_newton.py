"""Newton's method over time is the loop: values, gradients, options, and when it falls back."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from seqjax import ops
from seqjax.ops import affine, engine, newton
from seqjax.ops.cell import Loop
from seqjax.ops.layout import choices, choose_layout
from seqjax.ops.solution import counted
from tests.compiled import run
from tests.ops.cells import CASES, MASK, B, H, assert_close, make, total

ITERATED = {
    name: case for name, case in CASES.items() if isinstance(case.cell.form, ops.Elementwise)
}
LENGTHS = np.array([17, 0, 6])
DIAGONAL, WHOLE = {"newton_units": 0}, {"newton_units": 64}


def with_gradients(cell, *arguments, how: Any = None, **options):
    """``(gradients, (carry, y))`` of a loss of both; with solution and counter's gradient."""

    def value(counter, *arguments):
        result = ops.run(cell, *arguments, return_carry=True, counter=counter, **options)
        return total(result[:2]), result

    iterated = options.get("implementation") == "newton"
    counter = jnp.zeros(arguments[1].shape[0], np.float32) if iterated else None
    with choose_layout(choices()._replace(**how or {})):
        derivative = jax.jit(jax.grad(value, (0, 1, 2, 3), has_aux=True))
        (backward, *gradients), result = derivative(counter, *arguments)
    return tuple(gradients), (*result, backward) if iterated else result


def beside_scan(cell, *arguments, how: Any = None, tolerance: Any = 1e-9, **options):
    """Newton's solution, once it has been held to the loop's."""
    expected = with_gradients(cell, *arguments, **options)
    options |= {"implementation": "newton", "return_solution": True}
    run = with_gradients(cell, *arguments, how=how, **options)
    gradients, (*found, solution, backward) = run
    assert not backward.any()
    np.testing.assert_array_equal(solution.guess, found[1])
    for ours, loops in ((found, expected[1]), (gradients, expected[0])):
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(tuple(loops)), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(initial=0))
    return solution


def drawn(cell, inputs=2, steps=300, features=H, dtype: Any = np.float32, scale=1.0, batch=1):
    """Parameters as a layer draws them, inputs of unit variance."""
    keys = jax.random.split(jax.random.key(3))
    params = ops.init(cell, keys[0], inputs, features, dtype)
    params = params._replace(recurrent_kernel=scale * params.recurrent_kernel)
    x = jax.random.normal(keys[1], (batch, steps, inputs), dtype)
    return params, x, cell.initial_carry(batch, features, dtype)


@pytest.mark.parametrize("case", ITERATED.values(), ids=ITERATED.keys())
def test_values_and_gradients_are_those_of_scan(case, x64):
    """With weights that let differences grow, in both directions, with lengths and dropout."""
    options = {"seq_lengths": LENGTHS, "recurrent_mask": MASK, "reverse": True, "keep_order": True}
    params, x, carry = make(case, steps=17)
    solution = beside_scan(case.cell, params, x, carry, how=DIAGONAL, **options)
    assert not solution.fallbacks.any()
    # The first k steps are right after k iterations; one more finds that nothing is left.
    assert (solution.iterations <= 18).all()
    if case.cell.form.diagonal:  # exact Jacobians: the errors are squared
        assert (solution.iterations <= 9).all()


def test_whole_jacobians_take_few_iterations(x64):
    params, x, carry = make(ITERATED["lstm"], steps=17)
    options = {"seq_lengths": LENGTHS, "recurrent_mask": MASK}
    solution = beside_scan(ops.LSTMCell(), params, x, carry, how=WHOLE, **options)
    assert not solution.fallbacks.any()
    by_diagonal = beside_scan(ops.LSTMCell(), params, x, carry, how=DIAGONAL, **options)
    assert (solution.iterations < by_diagonal.iterations).all()


@pytest.mark.parametrize(("name", "how"), [("lstm", DIAGONAL), ("gru", WHOLE)])
def test_off_the_cpu_the_linear_recurrence_has_no_loop(name, how, x64, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    params, x, carry = make(ITERATED[name], steps=17)
    solution = beside_scan(ITERATED[name].cell, params, x, carry, how=how, reverse=True)
    assert not solution.fallbacks.any()


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_short_sequences(steps, x64):
    params, x, carry = make(ITERATED["lstm"], steps=steps)
    solution = beside_scan(ops.LSTMCell(), params, x, carry)
    assert (solution.iterations <= steps + 1).all()
    assert (solution.solves == (steps > 0)).all()


def test_long_sequences():
    arguments = drawn(ops.GRUCell(), steps=16384, features=4)
    for how, most in ((DIAGONAL, 20), (WHOLE, 6)):
        solution = beside_scan(ops.GRUCell(), *arguments, how=how, tolerance=1e-4)
        assert not solution.fallbacks.any()
        assert (solution.iterations <= most).all()


@pytest.mark.parametrize("cell", [ops.RNNCell(), ops.GRUCell(), ops.UGRNNCell()], ids=str)
def test_what_it_finds_solves_the_equations(cell):
    """``h_t = f(h_{t-1}, x_t)``, with weights of one to three times the size, chaotic ones too."""

    @jax.jit
    def run(params, x):
        y, solution = ops.run(cell, params, x, implementation="newton", return_solution=True)
        before = jnp.concatenate([jnp.zeros_like(y[:, :1]), y[:, :-1]], axis=1)
        return y[0] - ops.step(cell, params, before[0], x[0])[0], solution

    for scale in (1.0, 2.0, 3.0):
        left, _ = run(*drawn(cell, features=16, scale=scale)[:2])
        assert np.abs(left).max() < 1e-5


def test_what_is_small_is_solved_as_well_as_what_is_large():
    """A sequence beside one a million times as large, units beside one that counts."""
    kernel = jnp.asarray(1.2 * np.roll(np.eye(16), 1, 1), jnp.float32)  # news goes a unit a step
    params = ops.RNNParams(jnp.ones((1, 16)), kernel)
    x = jnp.zeros((2, 100, 1)).at[0].set(5).at[1, 0].set(1e-6)
    weight = jnp.zeros((2, 100, 16)).at[0].set(1).at[1, -1].set(1e-7)

    def gradients(implementation):
        def loss(x):
            y = ops.rnn(params, x, implementation=implementation)
            return jnp.sum(y * weight), y

        return jax.device_get(jax.jit(jax.grad(loss, has_aux=True))(x))

    for ours, loops in zip(gradients("newton"), gradients("scan"), strict=True):
        for sequence, expected in zip(ours, loops, strict=True):
            np.testing.assert_allclose(sequence, expected, atol=1e-4 * np.abs(expected).max())
    kernel, recurrent, bias = map(np.array, ops.init(ops.LSTMCell(), jax.random.key(0), 1, 16)[:3])
    recurrent[0] = 0
    for gate in range(3):
        kernel[:, 16 * gate] = recurrent[:, 16 * gate] = 0
        bias[16 * gate] = 20
    x = jax.random.normal(jax.random.key(1), (1, 2000, 1))
    counting = ops.LSTMParams(*map(jnp.asarray, (kernel, recurrent, bias)))
    by_newton, by_scan = (
        run(ops.lstm, counting, x, implementation=name) for name in ("newton", "scan")
    )
    assert_close(by_newton, by_scan, 1e-5)


def test_what_does_not_converge_is_left_to_the_loop(x64):
    """Its very numbers, and the count says so: once for each chunk."""
    params, x, carry = make(ITERATED["peephole_lstm"], steps=20)
    cell, how = ops.PeepholeLSTMCell(), {"implementation": "newton", "return_solution": True}
    one, options = DIAGONAL | {"newton_iterations": 1}, {"chunk_size": 8}
    found = with_gradients(cell, params, x, carry, how=one, **how, **options)
    expected = with_gradients(cell, params, x, carry, **options)
    assert_close((found[0], found[1][:2]), expected, 1e-13)
    solution, backward = found[1][2:]
    for counts in (*solution[:3], backward):
        assert (counts == 3).all()


def test_chunks_and_truncation(x64):
    params, x, carry = make(ITERATED["gru"], steps=20)
    options = {"chunk_size": 4, "truncation": 10, "seq_lengths": np.array([20, 0, 13])}
    solution = beside_scan(ops.GRUCell(), params, x, carry, how=DIAGONAL, **options)
    assert (solution.solves == 6).all()
    assert not solution.fallbacks.any()


def test_what_is_not_finite_is_as_in_the_loop():
    params, x, carry = drawn(ops.LSTMCell(), steps=12, batch=2)
    for bad in (np.nan, np.inf):
        x = np.array(x)
        x[0, 5] = bad
        gradients, (_, y, solution, backward) = with_gradients(
            ops.LSTMCell(), params, x, carry, implementation="newton", return_solution=True
        )
        expected, (_, loops) = with_gradients(ops.LSTMCell(), params, x, carry)
        assert_close((y, gradients), (loops, expected), 1e-5)
        assert np.isfinite(y[1]).all()
        assert (solution.fallbacks == 1).all()
        assert (backward == 1).all()


def test_a_guess_saves_iterations_and_changes_nothing(x64):
    """Outputs of slightly other parameters, as of the training step before."""
    cell = ops.LSTMCell()
    params, x, _ = drawn(cell, steps=40, batch=3, dtype=np.float64)
    options = {"reverse": True, "seq_lengths": np.array([40, 0, 23]), "time_major": True}
    x = jnp.swapaxes(x, 0, 1)
    of_cell = functools.partial(ops.run, cell, **options)
    solve = jax.jit(functools.partial(of_cell, implementation="newton", return_solution=True))
    before = jax.tree.map(lambda a: a * (1 + 1e-6), params)
    y, cold = solve(params, x)
    warm_y, warm = solve(params, x, guess=jax.jit(of_cell)(before, x))
    assert_close(warm_y, y, 1e-9)
    assert (warm.iterations < cold.iterations).all()
    _, again = solve(params, x, guess=cold.guess)
    assert (again.iterations <= 2).all()


def test_bfloat16_has_a_carry_of_float32():
    params, x, carry = drawn(ops.GRUCell(), steps=50, batch=3, dtype=jnp.bfloat16)
    carry = carry.astype(jnp.float32)
    how: Any = {"implementation": "newton", "return_solution": True}
    run = with_gradients(ops.GRUCell(), params, x, carry, **how)
    gradients, (end, y, solution, _) = run
    expected, (_, loops) = with_gradients(ops.GRUCell(), params, x, carry)
    assert (end.dtype, y.dtype) == (jnp.float32, jnp.bfloat16)
    assert not solution.fallbacks.any()
    np.testing.assert_allclose(*(a.astype(np.float32) for a in (y, loops)), atol=0.02)
    for a, b in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        a, b = a.astype(np.float32), b.astype(np.float32)
        np.testing.assert_allclose(a, b, atol=0.05 * np.abs(b).max())


def test_seeds_side_by_side_and_devices(x64):
    """Under `jax.vmap`, and a batch over two devices, which need not agree on iterations."""
    cell = ops.GRUCell()
    params, x, _ = drawn(cell, steps=17, batch=4, dtype=np.float64)
    x = x.at[2:].multiply(0.01)

    def loss(params, implementation: Any = "newton", mesh=None):
        run = functools.partial(ops.run, cell, implementation=implementation, mesh=mesh)
        return jnp.sum(run(params, x) ** 2)

    expected = jax.jit(jax.grad(functools.partial(loss, implementation="scan")))
    both = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), params)
    together = jax.jit(jax.vmap(jax.grad(loss)))(both)
    assert_close(jax.tree.map(lambda a: a[0], together), expected(params), 1e-9)
    assert_close(
        jax.tree.map(lambda a: a[1], together),
        expected(jax.tree.map(lambda a: 2 * a, params)),
        1e-9,
    )
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    split = jax.jit(jax.grad(functools.partial(loss, mesh=mesh)))(params)
    assert_close(split, expected(params), 1e-9)
    _, solution = jax.jit(
        lambda x: ops.run(cell, params, x, implementation="newton", return_solution=True, mesh=mesh)
    )(x)
    assert solution.iterations[2] < solution.iterations[0]


def test_under_vmap_the_loop_runs_only_where_one_does_not_converge(x64):
    cell, ran = ops.GRUCell(), []
    params, x, carry = drawn(cell, steps=17, dtype=np.float64)

    def loop(*arguments):
        jax.debug.callback(lambda: ran.append(1))
        return engine._scan_forward(*arguments)

    @jax.jit
    @jax.vmap
    def solve(scale):
        own = params._replace(recurrent_kernel=scale * params.recurrent_kernel)
        weights, of_cell = cell.weights(own, x.dtype)
        over = newton.Over(forwards=loop)
        given = of_cell, weights, jnp.swapaxes(x, 0, 1), counted(carry)
        (_, solution), h = newton.scan(cell.form, Loop(), *given, over=over)
        expected = ops.gru(own, x, implementation="scan")
        return jnp.max(jnp.abs(jnp.swapaxes(h, 0, 1) - expected)), solution.fallbacks[0]

    with choose_layout(choices()._replace(**DIAGONAL, newton_iterations=12)):
        for scales, expected in (([0.1, 0.2], [0, 0]), ([0.1, 9.0], [0, 1])):
            errors, fallbacks = solve(jnp.array(scales))
            assert errors.max() < 1e-9
            assert fallbacks.tolist() == expected
            jax.effects_barrier()
            assert bool(ran) == any(expected)


def test_what_it_cannot_run_has_a_reason():
    original = ops.GRUCell(reset_after=False)
    params, x, _ = drawn(original, steps=3)
    with pytest.raises(ValueError, match=r"'newton' cannot run this: .*reset_after=True"):
        ops.run(original, params, x, implementation="newton")
    params, x, _ = drawn(ops.RNNCell(), steps=3)
    guess = jnp.zeros((1, 3, H))
    with pytest.raises(ValueError, match="rnn: guess: only with implementation='newton'"):
        ops.rnn(params, x, guess=guess)
    with pytest.raises(ValueError, match=r"rnn: the guess must be \[1, 3, 5\], .* \(1, 2, 5\)"):
        ops.rnn(params, x, guess=guess[:, 1:], implementation="newton")
    with pytest.raises(ValueError, match=r"rnn: the counter must be \[1\], .* \(3,\)"):
        ops.rnn(params, x, counter=jnp.zeros(3), implementation="newton")
    with pytest.raises(ValueError, match="rnn: the counter must be floats"):
        ops.rnn(params, x, counter=jnp.zeros(1, int), implementation="newton")
    with pytest.raises(TypeError, match="linear_recurrence: no option is named 'guess'"):
        ops.linear_recurrence(guess, guess, guess=guess)


def test_a_linear_recurrence_is_solved_at_once(x64):
    params, x, carry = make(CASES["min_gru"])
    by_newton, by_scan = (
        run(ops.min_gru, params, x, carry, implementation=name) for name in ("newton", "scan")
    )
    assert_close(by_newton, by_scan)
    with pytest.raises(ValueError, match=r"min_gru: .*a linear recurrence is solved at once"):
        ops.min_gru(params, x, implementation="newton", return_solution=True)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("units", [None, 2])
def test_affine_recurrences(units, reverse, x64):
    """Blocks of two arrays, and matrices: the loop, and the parallel prefix."""
    draw = np.random.default_rng(0).normal
    if units is None:
        factors = tuple(tuple(draw(size=(7, B, H)) for _ in "ab") for _ in "ab")
        inputs = tuple(draw(size=(7, B, H)) for _ in "ab")
    else:
        factors = draw(size=(7, B, units, units))
        inputs = draw(size=(7, B, units))
    h = jax.tree.map(lambda b: np.zeros_like(b[0]), inputs)
    expected: list[Any] = [None] * 7
    for t in reversed(range(7)) if reverse else range(7):
        at = jax.tree.map(lambda a, t=t: a[t], factors)
        if units is None:
            h = tuple(
                row[0] * h[0] + row[1] * h[1] + b[t] for row, b in zip(at, inputs, strict=True)
            )
        else:
            h = np.einsum("bij,bj->bi", at, h) + inputs[t]
        expected[t] = h
    expected = jax.tree.map(lambda *steps: np.stack(steps), *expected)

    @jax.jit
    def found(factors, inputs):
        products, by_prefix = affine.prefix(factors, inputs, reverse=reverse)
        # From another start: the recurrence is affine in it.
        first = -1 if reverse else 0
        start = jax.tree.map(lambda b: jnp.ones_like(b[0]), inputs)
        begun = affine.apply(jax.tree.map(lambda a: a[first], factors), start)
        moved = jax.tree.map(lambda b, s: b.at[first].add(s), inputs, begun)
        everywhere = jax.tree.map(lambda s: jnp.broadcast_to(s[None], (7, *s.shape)), start)
        by_products = jax.tree.map(jnp.add, affine.apply(products, everywhere), by_prefix)
        by_solve, from_there = (affine.solve(factors, b, reverse=reverse) for b in (inputs, moved))
        return by_solve, by_prefix, by_products, from_there

    by_solve, by_prefix, by_products, from_there = found(factors, inputs)
    assert_close(by_solve, expected)
    assert_close(by_prefix, expected)
    assert_close(by_products, from_there)
