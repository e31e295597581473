"""Any elementwise cell without a loop over its steps: Newton's method on all of them at once.

A sequence is the solution of T equations ``s_t = f(s_{t-1}, x_t)``, with s the carry. From a guess
of all of them an iteration evaluates f at every step at once (one product with ``U``), and adds the
solution ``d`` of the *linear* recurrence

    ``d_t = J_t d_{t-1} + f(s_{t-1}, x_t) - s_t``

which `seqjax.ops.affine` solves in parallel. ``J_t``, the derivative of f, is diagonals (the cell
is elementwise) and the known ``U``. With all of it this is Newton's method: few iterations, on
matrices. With the diagonal of ``U`` alone it is a quasi-Newton method: more iterations, elementwise
(and Newton's where ``U`` is diagonal). Either way the first k steps are right after k iterations,
and what they converge to is the loop's solution. Where products of factors overflow, they are
damped from there on (`affine.damped`; before that, damping cost iterations: docs/newton.md).

The gradient is that of the solution (implicit function theorem): the cotangents of the carries
solve a linear recurrence in reverse, by the same iteration; parameters take one product each.

Where an iteration does not converge, or is not finite, the engine's loop runs instead, inside the
same compiled program, and `Solution` says so. Under `jax.vmap` all iterate until the last has
converged, and the loop runs if one has not. Weights whose dynamics are chaotic take about as many
iterations as steps: they are the loop's.

It has first derivatives, in reverse mode: for others take "scan" or "autodiff".

Sources: Lim, Zhu, Selfridge and Kasim, "Parallelizing non-linear sequential models over the
sequence length", arXiv 2309.12252 (Newton, and its gradient); Gonzalez, Warrington, Smith and
Linderman, "Towards scalable and stable parallelization of nonlinear RNNs", arXiv 2407.19115 (the
diagonal, damping, and why k steps are right after k iterations); Danieli et al., "ParaRNN", arXiv
2510.21450 (blocks of an LSTM).

Dimensions: T time, B batch, I input features, H features (width), K gates. Time-major.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from seqjax.ops import affine, engine
from seqjax.ops.cell import Carry, Elementwise, Loop, Weights
from seqjax.ops.iteration import iterate
from seqjax.ops.jacobian import linearise, recurrent_parts
from seqjax.ops.layout import compiled, dot, project, shift_by_one, vary_alike
from seqjax.ops.recurrent_kernel import product_back
from seqjax.ops.solution import Counted, Solution


class Over(NamedTuple):
    """Where the steps lie; by default all on one device.

    Attributes:
        shift: ``(initial, stacked, *, reverse)``: what stood before each step.
        solve: as `affine.solve`.
        along: of an array: the largest of all devices that hold steps of the same sequences.
        agree: of a number: the largest of all devices'.
        forwards: the loop that is fallen back to, as `engine._scan_forward`.
        backwards: its gradient, as `engine._scan_backward`.
    """

    shift: Callable[..., Array] = shift_by_one
    solve: Callable[..., Any] = affine.solve
    along: Callable[[Array], Array] = lambda array: array
    agree: Callable[[Array], Array] = lambda number: number
    forwards: Callable[..., Any] = engine._scan_forward
    backwards: Callable[..., Any] = engine._scan_backward


_ONE_DEVICE = Over()


def scan(
    cell: Elementwise,
    loop: Loop,
    own: Any,
    weights: Weights,
    x: Array,
    carry: Carry | Counted,
    mask: Array | None = None,
    recurrent_mask: Array | None = None,
    guess: Array | None = None,
    counter: Array | None = None,
    over: Over = _ONE_DEVICE,
) -> tuple[Carry | Counted, Array]:
    """`seqjax.ops.engine.scan` by Newton's method.

    Args:
        cell: the cell.
        loop: its direction.
        own: the cell's own parameters.
        weights: kernels and bias.
        x: [T, B, I].
        carry: before the first step; `Counted`, and so will the result be.
        mask: [T, B, 1], False where the carry stands still; None for all True.
        recurrent_mask: [B, H] or None, as the engine's.
        guess: of ``h`` [T, B, H], such as that of an earlier call; zeros by default.
        counter: [B]; its gradient is how often the backward pass was left to the loop.
        over: where the steps lie.

    Returns:
        The final carry, and ``h`` [T, B, H] after every step.
    """
    before = carry.carry if isinstance(carry, Counted) else carry
    arguments = vary_alike((own, weights, x, before, mask, recurrent_mask, guess, counter))
    final, h, solution = _solve(cell, loop, over, *arguments)
    if isinstance(carry, Counted):
        return Counted(final, jax.tree.map(jnp.add, carry.solution, solution)), h
    return final, h


# -- forwards and backwards ----------------------------------------------------------


_by_hand: Any = partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))  # Any: its types are too weak


@_by_hand
def _solve(cell, loop, over, *arguments):
    return _solve_forward(cell, loop, over, *arguments)[0]


def _solve_forward(
    cell: Elementwise,
    loop: Loop,
    over: Over,
    own: Any,
    weights: Weights,
    x: Array,
    carry: Carry,
    mask: Array | None,
    recurrent_mask: Array | None,
    guess: Array | None,
    counter: Array | None,
):
    """``(final, h, solution)``; keeps the carry before each step, as the engine does."""
    leaves, tree = jax.tree.flatten(carry)
    dtype, steps = leaves[0].dtype, x.shape[0]
    z = project(x, weights.kernel, weights.bias, dtype)

    def previous_of(unknown: tuple[Array, ...]) -> Carry:
        shift = partial(over.shift, reverse=loop.reverse)
        return jax.tree.map(shift, carry, tree.unflatten(unknown))

    def improve(unknown: tuple[Array, ...], damped: Array) -> Any:
        at = linearise(cell, own, weights, z, previous_of(unknown), mask, recurrent_mask)
        residual = tuple(map(jnp.subtract, at.after, unknown))
        factors = affine.damped(at.factors, damped)
        change = over.solve(factors, at.together(residual), reverse=loop.reverse)
        return at.apart(change), residual

    def completed(start: Carry, given: Carry) -> Carry:
        """The rest of a carry whose ``h`` is given: of an LSTM, c is linear in itself."""
        unknown, known = jax.tree.leaves(start), jax.tree.leaves(given)
        previous = previous_of(tuple(unknown))
        at = linearise(cell, own, weights, z, previous, mask, recurrent_mask, whole=False)
        assert isinstance(at.factors, tuple)
        rest = [1 - one for one in known]
        factors = tuple(
            tuple(u * v * a for v, a in zip(rest, row, strict=True))
            for u, row in zip(rest, at.factors, strict=True)
        )
        residual = tuple(r * (a - b) for r, a, b in zip(rest, at.after, unknown, strict=True))
        change = over.solve(factors, residual, reverse=loop.reverse)
        return tree.unflatten(map(jnp.add, unknown, change))

    def one_by_one() -> tuple[Carry, Carry]:
        (final, _), saved = over.forwards(cell, loop, own, weights, x, carry, mask, recurrent_mask)
        return final, saved[3]

    if steps and leaves[0].size:
        zeros = [jnp.zeros_like(a, shape=(steps, *a.shape)) for a in leaves]
        start = vary_alike((tree.unflatten(zeros), z))[0]
        if guess is not None:
            guess = jnp.where(jnp.isfinite(guess), guess, 0)
            to_carry = jax.vjp(cell.hidden, start)[1]
            start = to_carry(guess.astype(dtype))[0]
            if len(leaves) > 1:
                start = completed(start, to_carry(jnp.ones_like(guess, dtype=dtype))[0])
        no = jnp.zeros_like(leaves[0][0, 0], dtype=bool)
        narrow = weights.recurrent_kernel.dtype
        solved = iterate(improve, tuple(jax.tree.leaves(start)), no, narrow, over.along, over.agree)
        last = 0 if loop.reverse else -1

        found = tree.unflatten([a[last] for a in solved.unknown]), previous_of(solved.unknown)
        final, previous = _unless(solved.converged, found, one_by_one)
        counts = 1, solved.iterations, (~solved.converged).astype(jnp.int32)
        converged = solved.converged
    else:
        (final, previous), counts, converged = one_by_one(), (0, 0, 0), None
    h = shift_by_one(cell.hidden(final), cell.hidden(previous), reverse=not loop.reverse)
    ones = jnp.ones_like(leaves[0][:, 0], dtype=jnp.int32)
    solution = Solution(*(ones * count for count in counts))
    saved = own, weights, x, previous, mask, recurrent_mask, counter, converged
    return (final, h, solution), saved


@compiled(0, 1, 2)
def _solve_backward(cell: Elementwise, loop: Loop, over: Over, saved, cotangents):
    """Cotangents of the carries, iterated; then those of all else, one product each."""
    own, weights, x, previous, mask, recurrent_mask, counter, converged = saved
    d_final, d_h, _ = cotangents
    dtype, back = d_h.dtype, not loop.reverse
    steps, batch = x.shape[:2]
    tree = jax.tree.structure(previous)
    z = project(x, weights.kernel, weights.bias, dtype)
    at = linearise(cell, own, weights, z, previous, mask, recurrent_mask)
    mask_of_steps = None if recurrent_mask is None else recurrent_mask[None]
    recurrent_back = weights.recurrent_kernel.T
    to_carry = jax.vjp(cell.hidden, previous)[1]  # linear: the same at every carry
    outside, ends = (tuple(jax.tree.leaves(a)) for a in (to_carry(d_h)[0], d_final))

    def through(cotangent: tuple[Array, ...]) -> Any:
        """From those of the carries after each step: of the carries before, own, ``z``, ``r``."""
        d_carry = tree.unflatten([a.reshape(steps * batch, -1) for a in cotangent])
        d_own, d_before, d_gates = engine._step_backwards(
            cell, at.valid, own, at.before, at.kept, d_carry
        )
        d_before = engine._select(at.valid, d_before, d_carry)
        d_gates = engine._select(at.valid, d_gates, jax.tree.map(jnp.zeros_like, d_gates))
        d_z = d_r = _side_by_side(d_gates[: cell.gates], d_h)
        if cell.split:
            d_r = _side_by_side(recurrent_parts(cell, d_gates), d_h)
        d_hidden = product_back(d_r, recurrent_back, dtype, cell.gates)
        by_product = jax.tree.leaves(to_carry(engine._masked(d_hidden, mask_of_steps))[0])
        d_before = [a.reshape(d_h.shape) for a in jax.tree.leaves(d_before)]
        return tuple(map(jnp.add, d_before, by_product)), d_own, d_z, d_r if cell.split else None

    shift = partial(over.shift, reverse=back)
    zeros = tuple(map(jnp.zeros_like, ends))

    def improve(cotangent: tuple[Array, ...], damped: Array) -> Any:
        before, *_ = through(cotangent)
        found = map(jnp.add, outside, map(shift, ends, before))
        residual = tuple(map(jnp.subtract, found, cotangent))
        # Of u_t = J_t^T d_t, which needs no shift of J: u_t = J_t^T (u_{t+1} + residual_t).
        factors = affine.transposed(affine.damped(at.factors, damped))
        inputs = affine.apply(factors, at.together(residual))
        u = at.apart(over.solve(factors, inputs, reverse=back))
        return tuple(map(jnp.add, residual, map(shift, zeros, u))), residual

    def one_by_one() -> Any:
        kept = jax.tree.map(lambda a: a.reshape(steps, batch, *a.shape[1:]), at.kept)
        everything = own, weights, x, previous, kept, mask, recurrent_mask
        return over.backwards(cell, loop, everything, (d_final, d_h))[:4]

    if converged is None:  # there was nothing to solve
        return *one_by_one(), *(None,) * 4
    start = vary_alike((tuple(map(jnp.zeros_like, outside)), d_h))[0]
    narrow = weights.recurrent_kernel.dtype
    solved = iterate(improve, start, ~converged, narrow, over.along, over.agree)

    before, d_own, d_z, d_r = through(solved.unknown)
    h = engine._masked(cell.hidden(previous), mask_of_steps)
    d_weights = engine._weight_gradients(weights, x, h, d_z, d_r)
    d_weights = jax.tree.map(lambda d, w: d.astype(w.dtype), d_weights, weights)
    kernel_back = weights.kernel.T.astype(jnp.result_type(x, weights.kernel))
    d_x = dot(d_z, kernel_back, dtype).astype(x.dtype)
    d_initial = tree.unflatten([a[-1 if loop.reverse else 0] for a in before])
    found = _unless(solved.converged, (d_own, d_weights, d_x, d_initial), one_by_one)
    failed = (~solved.converged).astype(jnp.float32)
    times = None if counter is None else jnp.full_like(counter, failed)
    return *found, None, None, None, times


_solve.defvjp(_solve_forward, _solve_backward)


def _side_by_side(parts: tuple[Array, ...], like: Array) -> Array:
    """Rows of gates [T * B, H] each as [T, B, K*H]."""
    together = jnp.concatenate(parts, axis=-1)
    return together.reshape(*like.shape[:2], together.shape[-1])


def _unless(converged: Array, found: Any, one_by_one: Callable[[], Any]) -> Any:
    """What was found, or where it did not converge what the loop gives.

    As a loop of one turn or none, for under `jax.vmap` that turns if one did not converge; of a
    `lax.cond` both branches would always run there.
    """

    def again(_: Any) -> Any:
        return vary_alike((jnp.ones_like(converged), one_by_one()))

    return lax.while_loop(lambda state: ~state[0], again, vary_alike((converged, found)))[1]
