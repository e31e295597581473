"""The recurrence engine: one loop over time for every elementwise cell.

A cell is a function without matrix products::

    z_t     = x_t W + b
    carry_t = step(own, carry_{t-1}, gates_t)     gates_t made of z_t and h_{t-1} U

and the engine supplies everything else: the products, the loop, the mask of sequence
lengths, the direction, the recurrent dropout mask, and the backward pass. That is a reverse scan
that differentiates the cell alone (by `jax.vjp`, or by a derivative that the cell
brings) and emits the gradients of the gates; ``dU``, ``dW``, ``db`` and ``dx`` are one
product each for many steps together. (Differentiated by JAX, a loop takes each of them
as one small product a step; see docs/performance.md.)

Dimension glossary: T time, B batch, I input features, H features (width),
K gates. Everything in this file is time-major.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from seqjax.ops.cell import Carry, Derivative, Elementwise, Loop, Weights
from seqjax.ops.layout import (
    compiled,
    dot,
    outer,
    over_rows,
    project,
    projection,
    shift_by_one,
    steps_at_once,
    widen,
    with_ones,
)
from seqjax.ops.recurrent_kernel import product, product_back, product_gradient

# -- forwards ------------------------------------------------------------------


def _select(mask: Array | None, new: Carry, old: Carry) -> Carry:
    if mask is None:
        return new
    return jax.tree.map(lambda a, b: jnp.where(over_rows(mask, a), a, b), new, old)


def scan_steps(
    step: Callable[[Carry, Any], Carry],
    hidden: Callable[[Carry], Array],
    inputs: Any,
    carry: Carry,
    mask: Array | None,
    loop: Loop,
) -> tuple[Carry, Array]:
    """Any step function over time, differentiated by JAX: ``(final carry, h [T, B, H])``.

    Where `mask` ([T, B, 1]) is False the carry stands still.
    """

    def body(carry: Carry, inputs: tuple[Any, Array | None]) -> tuple[Carry, Array]:
        x_t, mask_t = inputs
        carry = _select(mask_t, step(carry, x_t), carry)
        return carry, hidden(carry)

    return lax.scan(body, carry, (inputs, mask), **loop._asdict())


def _masked(h: Array, recurrent_mask: Array | None) -> Array:
    return h if recurrent_mask is None else h * recurrent_mask


def _gates(
    cell: Elementwise, kernel: Array, carry: Carry, z_t: Array, recurrent_mask: Array | None = None
) -> tuple[Array, ...]:
    h = _masked(cell.hidden(carry), recurrent_mask)
    return cell.combine(z_t, product(h, kernel, h.dtype))


def _run_steps(cell, loop, own, weights, steps, z_of, carry, mask=None, recurrent_mask=None):
    narrow = weights.recurrent_kernel.dtype
    wide = widen(weights.recurrent_kernel, cell.hidden(carry).dtype)

    def step(carry: Carry, x_t: Array) -> Carry:
        gates = _gates(cell, wide.astype(narrow), carry, z_of(x_t), recurrent_mask)
        return cell.advance(own, carry, gates)

    return scan_steps(step, cell.hidden, steps, carry, mask, loop)


_by_hand: Any = partial(jax.custom_vjp, nondiff_argnums=(0, 1))  # Any: its types are too weak


@_by_hand
def scan(
    cell: Elementwise,
    loop: Loop,
    own: Any,
    weights: Weights,
    x: Array,
    carry: Carry,
    mask: Array | None = None,
    recurrent_mask: Array | None = None,
) -> tuple[Carry, Array]:
    """Run an elementwise cell over a sequence, with the backward pass below.

    Args:
        cell: the cell.
        loop: its direction, and steps per iteration.
        own: the cell's own parameters.
        weights: kernels and bias.
        x: [T, B, I].
        carry: the carry before the first step, a pytree of [B, H] arrays.
        mask: [T, B, 1], False where the carry stands still; None for all True.
        recurrent_mask: [B, H]; ``h U`` becomes ``(h * recurrent_mask) U``, the same at
            every step (recurrent dropout). It gets no gradient.

    Returns:
        The final carry, and ``h`` [T, B, H] after every step.
    """
    dtype = cell.hidden(carry).dtype
    steps, z_of = projection(x, weights.kernel, weights.bias, cell.gates, dtype)
    return _run_steps(cell, loop, own, weights, steps, z_of, carry, mask, recurrent_mask)


def autodiff(
    cell: Elementwise, loop: Loop, own: Any, weights: Weights, x: Array, carry: Carry, *masks: Any
) -> tuple[Carry, Array]:
    """`scan`, differentiated by JAX: forward mode works.

    Projected before the loop: JAX's derivative of the projection is then one product.
    """
    z = project(x, weights.kernel, weights.bias, cell.hidden(carry).dtype)
    return _run_steps(cell, loop, own, weights, z, lambda z_t: z_t, carry, *masks)


def single_step(cell: Elementwise, own: Any, weights: Weights, x: Array, carry: Carry) -> Carry:
    """One step of an elementwise cell on `x` [B, I]: the carry after it."""
    z = project(x, weights.kernel, weights.bias, cell.hidden(carry).dtype)
    return cell.advance(own, carry, _gates(cell, weights.recurrent_kernel, carry, z))


def _scan_forward(cell: Elementwise, loop: Loop, own, weights, x, carry, mask, recurrent_mask):
    """Keeps the carry *before* each step: the outputs are the same numbers, one step on."""
    dtype = cell.hidden(carry).dtype
    steps, z_of = projection(x, weights.kernel, weights.bias, cell.gates, dtype)
    forward = cell.derivative().forward

    def body(carry, inputs):
        x_t, mask_t = inputs
        gates = _gates(cell, weights.recurrent_kernel, carry, z_of(x_t), recurrent_mask)
        after, kept = forward(own, carry, gates)
        return _select(mask_t, after, carry), (carry, kept)

    final, (previous, kept) = lax.scan(body, carry, (steps, mask), **loop._asdict())
    h = shift_by_one(cell.hidden(final), cell.hidden(previous), reverse=not loop.reverse)
    return (final, h), (own, weights, x, previous, kept, mask, recurrent_mask)


# -- backwards -----------------------------------------------------------------


@compiled(0, 1)
def _scan_backward(cell: Elementwise, loop: Loop, saved, cotangents):
    """A reverse scan over pieces: in each, one over its steps, then the products of them all.

    The gates' gradients travel packed, [B, K*H], and a piece's fit into the cache.
    """
    own, weights, x, previous, kept, mask, recurrent_mask = saved
    d_final, d_hidden = cotangents
    dtype = d_hidden.dtype
    steps, rows, _ = d_hidden.shape
    size = steps_at_once(steps, rows, weights.kernel.shape[1] * dtype.itemsize)
    # Transposed once: a product with a transposed kernel is slow in a loop on a CPU.
    kernel_back = weights.kernel.T.astype(jnp.result_type(x, weights.kernel))
    recurrent_back = weights.recurrent_kernel.T
    over_steps = partial(_steps_backwards, cell, loop, own, recurrent_back, recurrent_mask)
    mask_of_steps = None if recurrent_mask is None else recurrent_mask[None]

    def piece(state, inputs):
        (d_carry, d_own), d_weights = state
        of_steps, x, h = inputs
        (d_carry, d_own), (d_z, d_r) = over_steps((d_carry, d_own), of_steps)
        more = _weight_gradients(weights, x, _masked(h, mask_of_steps), d_z, d_r)
        d_x = dot(d_z, kernel_back, dtype).astype(x.dtype)
        return ((d_carry, d_own), _add(d_weights, more)), d_x

    state = (
        (d_final, jax.tree.map(jnp.zeros_like, own)),
        jax.tree.map(lambda w: jnp.zeros_like(w, dtype=dtype), weights),
    )
    inputs = (d_hidden, previous, kept, mask), x, cell.hidden(previous)
    if size == steps:
        state, d_x = piece(state, inputs)
    else:
        pieces = jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), inputs)
        state, d_x = lax.scan(piece, state, pieces, reverse=not loop.reverse)
        d_x = d_x.reshape(x.shape)
    (d_initial, d_own), d_weights = state
    d_weights = jax.tree.map(lambda d, w: d.astype(w.dtype), d_weights, weights)
    return d_own, d_weights, d_x, d_initial, None, None


scan.defvjp(_scan_forward, _scan_backward)


def _steps_backwards(
    cell: Elementwise, loop: Loop, own, recurrent_back, recurrent_mask, state, inputs
):
    """``((d_carry, d_own), (d_z, d_r))``; `d_r` is None where it equals `d_z`."""
    backward = partial(_step_backwards, cell)
    backwards = loop._replace(reverse=not loop.reverse)

    def body(state, inputs):
        d_carry, d_own = state
        d_h, before, kept_t, mask_t = inputs
        dtype = d_h.dtype
        to_carry = jax.vjp(cell.hidden, before)[1]  # linear: the same at every carry
        d_carry = _add(d_carry, to_carry(d_h)[0])
        d_own_t, d_previous, d_gates = backward(mask_t, own, before, kept_t, d_carry)
        # Where the carry stood still its gradient passes by the cell, whose own
        # derivative may be infinite there.
        d_previous = _select(mask_t, d_previous, d_carry)
        d_gates = _select(mask_t, d_gates, jax.tree.map(jnp.zeros_like, d_gates))
        d_z = d_r = jnp.concatenate(d_gates[: cell.gates], axis=-1)
        if cell.split:
            d_r = jnp.concatenate(d_gates[: cell.summed] + d_gates[cell.gates :], axis=-1)
        d_h = _masked(product_back(d_r, recurrent_back, dtype, cell.gates), recurrent_mask)
        d_previous = _add(d_previous, to_carry(d_h)[0])
        return (d_previous, _add(d_own, d_own_t)), (d_z, d_r if cell.split else None)

    return lax.scan(body, state, inputs, **backwards._asdict())


def _step_backwards(
    cell: Elementwise, mask: Array | None, own: Any, before: Carry, kept: Any, d_carry: Carry
) -> tuple[Any, Carry, tuple[Array, ...]]:
    """A cell's derivative at one step, in which sequences that stand still have no part."""
    backward = cell.derivative().backward
    if mask is None:
        return backward(own, before, kept, d_carry)
    d_carry = _select(mask, d_carry, jax.tree.map(jnp.zeros_like, d_carry))
    if isinstance(cell.step, Derivative) or not jax.tree.leaves(own):
        return backward(own, before, kept, d_carry)

    # Zero times an infinite derivative is no zero: the gradients of the cell's own parameters
    # are summed over the sequences only where the padding is left out.
    def row(*of_row: Any) -> Any:
        of_row = jax.tree.map(lambda a: a[None], of_row)
        d_own, *rest = backward(own, *of_row)
        return d_own, *jax.tree.map(lambda a: a[0], rest)

    d_own, d_previous, d_gates = jax.vmap(row)(before, kept, d_carry)

    def total(rows: Array) -> Array:  # [B, ..., H], and a mask for some features, perhaps
        valid = mask[:, 0] if rows.ndim == 1 else lax.expand_dims(mask, range(1, rows.ndim - 1))
        return jnp.sum(jnp.where(valid, rows, jnp.zeros_like(rows)), axis=0)

    return jax.tree.map(total, d_own), d_previous, d_gates


def _weight_gradients(
    weights: Weights, x: Array, h: Array, d_z: Array, d_r: Array | None
) -> Weights:
    """Sums of outer products over all steps, in the dtype of `d_z`.

    One product where kernels, bias and gradients share dtype and rows; the column of
    ones is the bias's.
    """
    x = x.astype(jnp.result_type(x, weights.kernel))
    h = h.astype(weights.recurrent_kernel.dtype)
    together = d_r is None and x.dtype == h.dtype == d_z.dtype
    if together and weights.recurrent_kernel.ndim == 2:
        features = x.shape[-1]
        sums = outer(jnp.concatenate([with_ones(x), h], axis=-1), d_z)
        bias = None if weights.bias is None else sums[features]
        return Weights(sums[:features], sums[features + 1 :], bias)
    bias = None if weights.bias is None else jnp.sum(d_z, (0, 1))
    d_r = d_z if d_r is None else d_r
    return Weights(outer(x, d_z), product_gradient(h, d_r, weights.recurrent_kernel), bias)


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)
