"""The recurrence engine: one loop over time for every elementwise cell.

A cell is a function without matrix products::

    z_t     = x_t W + b                              all steps at once, before the loop
    carry_t = step(params, carry_{t-1}, gates_t)     gates_t made of z_t and h_{t-1} U

and the engine supplies everything else: the hoisted input projection, the
loop, sequence lengths, the direction, the recurrent dropout mask, recomputation
in chunks, and the backward pass. The backward pass is a reverse scan that
differentiates the cell alone (by `jax.vjp`, or by a derivative that the cell
brings) and emits the gradients of the gates; ``dU``, ``dW``, ``db`` and ``dx``
are one product or sum each after the loop. (XLA would otherwise accumulate
``dU`` as one small product a step; see docs/performance.md.)

Dimension glossary: T time, B batch, I input features, H features (width),
K gates. Everything in this file is time-major.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from seqjax.ops.layout import (
    block_count,
    dot,
    project,
    shift_by_one,
    split_kernel,
    to_gates,
    vary_alike,
    widen,
)

Implementation = Literal["scan", "autodiff"]
Carry = Any  # a pytree of [B, H] arrays; which one is the cell's affair


def _identity(carry: Array) -> Array:
    return carry


class Derivative(NamedTuple):
    """A cell's own derivative, where `jax.vjp` of its step is measured to be slower.

    Attributes:
        forward: ``(params, carry, gates) -> (carry, saved)``; the carry is that of the
            cell's step, `saved` a tuple of [B, H] arrays.
        backward: ``(params, previous, carry, saved, d_carry) -> (d_params, d_previous,
            d_gates)``, with the carries before and after the step.
    """

    forward: Callable[[Any, Carry, tuple[Array, ...]], tuple[Carry, tuple[Array, ...]]]
    backward: Callable[
        [Any, Carry, Carry, tuple[Array, ...], Carry], tuple[Any, Carry, tuple[Array, ...]]
    ]


class Cell(NamedTuple):
    """A recurrent cell as an elementwise function.

    Attributes:
        step: ``(params, carry, gates) -> carry``. ``gates`` is a tuple of
            [B, H] arrays: first the `summed` gates, each ``z_k + (h U)_k``; then
            the input parts ``z_k`` of the `split` gates; then their recurrent
            parts ``(h U)_k``. ``params`` is a pytree of the cell's own small
            parameters (``()`` where there are none); they get gradients too.
        summed: number of gates that see only the sum of both parts.
        split: number of gates that see the two parts apart (the GRU's candidate).
        hidden: picks ``h`` out of the carry; linear in it.
        derivative: the cell's own, or None for that of JAX.
    """

    step: Callable[[Any, Carry, tuple[Array, ...]], Carry]
    summed: int
    split: int = 0
    hidden: Callable[[Carry], Array] = _identity
    derivative: Derivative | None = None

    @property
    def gates(self) -> int:
        """K, the number of [I, H] blocks side by side in the kernels."""
        return self.summed + self.split

    def combine(self, z: tuple[Array, ...], r: tuple[Array, ...]) -> tuple[Array, ...]:
        """The gates from their input parts `z` and recurrent parts `r`, K each."""
        s = self.summed
        sums = tuple(a + b for a, b in zip(z[:s], r[:s], strict=True))
        return sums + tuple(z[s:]) + tuple(r[s:])


class Weights(NamedTuple):
    """What the engine multiplies with; `bias` may be None."""

    kernel: Array  # [I, K*H]
    recurrent_kernel: Array  # [H, K*H]
    bias: Array | None  # [K*H]


# -- the loop ------------------------------------------------------------------


def _select(mask: Array | None, new: Carry, old: Carry) -> Carry:
    if mask is None:
        return new
    return jax.tree.map(lambda a, b: jnp.where(mask, a, b), new, old)


def scan_steps(
    step: Callable[[Carry, tuple[Array, ...]], Carry],
    hidden: Callable[[Carry], Array],
    z: tuple[Array, ...],
    carry: Carry,
    mask: Array | None,
    *,
    reverse: bool,
    unroll: int,
) -> tuple[Carry, Array]:
    """Any step function over time, differentiated by JAX: ``(final carry, h [T, B, H])``.

    For cells that do not fit `Cell` because they multiply twice a step. Where
    `mask` ([T, B, 1]) is False the carry stands still.
    """

    def body(carry: Carry, inputs: tuple[Any, Array | None]) -> tuple[Carry, Array]:
        z_t, mask_t = inputs
        carry = _select(mask_t, step(carry, z_t), carry)
        return carry, hidden(carry)

    return lax.scan(body, carry, (z, mask), reverse=reverse, unroll=unroll)


class _Static(NamedTuple):
    cell: Cell
    reverse: bool
    unroll: int


def _masked(h: Array, recurrent_mask: Array | None) -> Array:
    return h if recurrent_mask is None else h * recurrent_mask


def _gates(
    cell: Cell,
    kernels: tuple[Array, ...],
    carry: Carry,
    z_t: tuple[Array, ...],
    recurrent_mask: Array | None = None,
) -> tuple[Array, ...]:
    h = _masked(cell.hidden(carry), recurrent_mask)
    r = tuple(dot(h, u, h.dtype) for u in kernels)
    return cell.combine(to_gates(z_t, cell.gates), to_gates(r, cell.gates))


def _run_autodiff(static, params, weights, x, carry, mask, recurrent_mask):
    cell = static.cell
    dtype = cell.hidden(carry).dtype
    kernels = split_kernel(weights.recurrent_kernel, block_count(cell.gates))
    wide = widen(kernels, dtype)

    def step(carry: Carry, z_t: tuple[Array, ...]) -> Carry:
        narrow = tuple(w.astype(u.dtype) for w, u in zip(wide, kernels, strict=True))
        return cell.step(params, carry, _gates(cell, narrow, carry, z_t, recurrent_mask))

    return scan_steps(
        step,
        cell.hidden,
        project(x, weights.kernel, weights.bias, cell.gates, dtype),
        carry,
        mask,
        reverse=static.reverse,
        unroll=static.unroll,
    )


_run = jax.custom_vjp(_run_autodiff, nondiff_argnums=(0,))


def _derivative(cell: Cell) -> Derivative:
    if cell.derivative is not None:
        return cell.derivative

    def backward(params, previous, carry, gates, d_carry):
        del carry
        return jax.vjp(cell.step, params, previous, gates)[1](d_carry)

    return Derivative(lambda *inputs: (cell.step(*inputs), inputs[-1]), backward)


def _run_forward(static: _Static, params, weights, x, carry, mask, recurrent_mask):
    cell = static.cell
    kernels = split_kernel(weights.recurrent_kernel, block_count(cell.gates))
    z = project(x, weights.kernel, weights.bias, cell.gates, cell.hidden(carry).dtype)
    forward = _derivative(cell).forward

    def body(carry, inputs):
        z_t, mask_t = inputs
        gates = _gates(cell, kernels, carry, z_t, recurrent_mask)
        after, kept = forward(params, carry, gates)
        carry = _select(mask_t, after, carry)
        return carry, (carry, kept)

    final, (carries, kept) = lax.scan(
        body, carry, (z, mask), reverse=static.reverse, unroll=static.unroll
    )
    saved = params, weights, x, carry, carries, kept, mask, recurrent_mask
    return (final, cell.hidden(carries)), saved


def _run_backward(static: _Static, saved, cotangents):
    """The gates' gradients travel packed, [B, K*H]: one product a step, one for each kernel."""
    cell = static.cell
    params, weights, x, initial, carries, kept, mask, recurrent_mask = saved
    d_final, d_hidden = cotangents
    dtype = cell.hidden(initial).dtype
    backward = _derivative(cell).backward
    previous = jax.tree.map(partial(shift_by_one, reverse=static.reverse), initial, carries)

    def hidden_cotangent(carry: Carry, d_h: Array) -> Carry:
        return jax.vjp(cell.hidden, carry)[1](d_h)[0]

    def body(accumulated, inputs):
        d_carry, d_params = accumulated
        d_h, before, after, kept_t, mask_t = inputs
        d_carry = _add(d_carry, hidden_cotangent(after, d_h))
        zeros = jax.tree.map(jnp.zeros_like, d_carry)
        d_params_t, d_previous, d_gates = backward(
            params, before, after, kept_t, _select(mask_t, d_carry, zeros)
        )
        # Where the carry stood still its gradient passes by the cell, whose own
        # derivative may be infinite there.
        d_previous = _select(mask_t, d_previous, d_carry)
        d_gates = _select(mask_t, d_gates, jax.tree.map(jnp.zeros_like, d_gates))
        d_z = jnp.concatenate(d_gates[: cell.gates], axis=-1)
        d_r = d_z
        if cell.split:
            d_r = jnp.concatenate(d_gates[: cell.summed] + d_gates[cell.gates :], axis=-1)
        d_h = _masked(dot(d_r, weights.recurrent_kernel.T, dtype), recurrent_mask)
        d_previous = _add(d_previous, hidden_cotangent(before, d_h))
        return (d_previous, _add(d_params, d_params_t)), (d_z, d_r if cell.split else None)

    (d_initial, d_params), (d_z, d_r) = lax.scan(
        body,
        (d_final, jax.tree.map(jnp.zeros_like, params)),
        (d_hidden, previous, carries, kept, mask),
        reverse=not static.reverse,
        unroll=static.unroll,
    )
    d_r = d_z if d_r is None else d_r
    mask_of_steps = None if recurrent_mask is None else recurrent_mask[None]
    h = _masked(cell.hidden(previous), mask_of_steps)
    product_dtype = jnp.result_type(x, weights.kernel)
    d_weights = Weights(
        kernel=_outer(x.astype(product_dtype), d_z).astype(weights.kernel.dtype),
        recurrent_kernel=_outer(h.astype(weights.recurrent_kernel.dtype), d_r),
        bias=None if weights.bias is None else jnp.sum(d_z, (0, 1)).astype(weights.bias.dtype),
    )
    d_x = dot(d_z, weights.kernel.T.astype(product_dtype), dtype).astype(x.dtype)
    return d_params, d_weights, d_x, d_initial, None, None


_run.defvjp(_run_forward, _run_backward)


def _outer(a: Array, d: Array) -> Array:
    """Sum of the outer products over all steps, [A, D], in the precision of `a`."""
    product = jnp.einsum("tba,tbd->ad", a, d.astype(a.dtype), preferred_element_type=d.dtype)
    return product.astype(a.dtype)


def _add(a: Carry, b: Carry) -> Carry:
    return jax.tree.map(jnp.add, a, b)


# -- the whole -----------------------------------------------------------------


def single_step(cell: Cell, params: Any, weights: Weights, x: Array, carry: Carry) -> Carry:
    """One step of an elementwise cell on `x` [B, I]: the carry after it."""
    dtype = cell.hidden(carry).dtype
    z = project(x, weights.kernel, weights.bias, cell.gates, dtype)
    kernels = split_kernel(weights.recurrent_kernel, len(z))
    return cell.step(params, carry, _gates(cell, kernels, carry, z))


def recurrence(
    cell: Cell,
    params: Any,
    weights: Weights,
    x: Array,
    carry: Carry,
    mask: Array | None = None,
    *,
    recurrent_mask: ArrayLike | None = None,
    reverse: bool = False,
    unroll: int = 1,
    chunk_size: int | None = None,
    implementation: Implementation | None = None,
) -> tuple[Carry, Array]:
    """Run an elementwise cell over a sequence.

    Args:
        cell: the cell.
        params: the cell's own parameters.
        weights: kernels and bias.
        x: [T, B, I].
        carry: the carry before the first step, a pytree of [B, H] arrays.
        mask: [T, B, 1], False where the carry stands still; None for all True.
        recurrent_mask: [B, H]; ``h U`` becomes ``(h * recurrent_mask) U``, the same at
            every step (recurrent dropout). It gets no gradient.
        reverse: run from the last step to the first; outputs stay where their inputs are.
        unroll: steps per loop iteration, as in `jax.lax.scan`.
        chunk_size: see `in_chunks`.
        implementation: "scan" (the hand-written backward pass; the default) or
            "autodiff" (JAX differentiates the loop: forward mode works).

    Returns:
        The final carry, and ``h`` [T, B, H] after every step.
    """
    if recurrent_mask is not None:
        dtype = cell.hidden(carry).dtype
        recurrent_mask = lax.stop_gradient(jnp.asarray(recurrent_mask, dtype))
    params, weights, x, carry, mask, recurrent_mask = vary_alike(
        (params, weights, x, carry, mask, recurrent_mask)
    )
    run = _run_autodiff if _checked(implementation) == "autodiff" else _run
    static = _Static(cell, reverse, unroll)

    def piece(carry: Carry, inputs: tuple[Array, Array | None]) -> tuple[Carry, Array]:
        x, mask = inputs
        return run(static, params, weights, x, carry, mask, recurrent_mask)

    return in_chunks(piece, carry, (x, mask), chunk_size, reverse=reverse)


def _checked(implementation: Implementation | None) -> Implementation:
    known = get_args(Implementation)
    if implementation is not None and implementation not in known:
        raise ValueError(f"implementation must be None or one of {known}, not {implementation!r}.")
    return implementation or "scan"


def in_chunks(
    piece: Callable[[Carry, Any], tuple[Carry, Array]],
    carry: Carry,
    inputs: tuple[Array, Array | None],
    size: int | None,
    *,
    reverse: bool,
) -> tuple[Carry, Array]:
    """``piece(carry, inputs)``, recomputed in the backward pass `size` steps at a time.

    Only the carry before each chunk is kept; memory for the backward pass is
    then about ``T / size`` carries and `size` steps, least near ``sqrt(T)``,
    for the time of one more forward pass. Without a `size` all steps are kept.
    """
    if size is None:
        return piece(carry, inputs)
    if size < 1:
        raise ValueError(f"chunk_size must be at least 1, not {size}.")
    # In a loop XLA does not merge the recomputation with the first computation, so the
    # barrier that prevents it elsewhere would only cost.
    piece = jax.checkpoint(piece, prevent_cse=False)
    steps = inputs[0].shape[0]
    whole = steps - steps % size
    shape = (whole // size, size)
    body = jax.tree.map(lambda a: a[:whole].reshape(*shape, *a.shape[1:]), inputs)
    tail = jax.tree.map(lambda a: a[whole:], inputs)

    def over_body(carry: Carry) -> tuple[Carry, Array]:
        carry, h = lax.scan(piece, carry, body, reverse=reverse)
        return carry, h.reshape(whole, *h.shape[2:])

    if whole == steps:
        return over_body(carry)
    if reverse:
        carry, h_tail = piece(carry, tail)
        carry, h_body = over_body(carry)
    else:
        carry, h_body = over_body(carry)
        carry, h_tail = piece(carry, tail)
    return carry, jnp.concatenate([h_body, h_tail])
