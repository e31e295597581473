"""The linear recurrence ``h_t = a_t h_{t-1} + b_t``, step by step or in parallel over time.

Every step is an affine map of the carry, and affine maps compose associatively:
``(a, b)`` then ``(a', b')`` is ``(a' a, a' b + b')``. So all prefixes follow from a
parallel scan of depth ``log T``, where a loop takes ``T`` steps. What has no
products with ``h`` in its gates (minGRU, minLSTM, an LRU) is such a recurrence.

Dimensions: T time, B batch, F features. Everything in this file is time-major.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from seqjax.ops.cell import Loop
from seqjax.ops.layout import compiled, shift_by_one, vary_alike


@compiled(0)
def scan(
    loop: Loop, a: Array, b: Array, carry: Array, mask: Array | None = None
) -> tuple[Array, Array]:
    """The recurrence step by step, with the backward pass below.

    Args:
        loop: its direction, and steps per iteration.
        a: [T, B, F] or [F].
        b: [T, B, F].
        carry: ``h`` before the first step [B, F]; all three in one dtype.
        mask: [T, B, 1], False where the carry stands still; None for all True.

    Returns:
        The final carry, and ``h`` [T, B, F] after every step.

    Example:
        >>> import jax.numpy as jnp
        >>> a, b = jnp.full((3, 1, 1), 2.0), jnp.ones((3, 1, 1))
        >>> scan(Loop(), a, b, jnp.ones((1, 1)))[0].tolist()
        [[15.0]]
    """
    return _run(_scan, loop, *_still(a, b, carry, mask))


@compiled(0)
def associative(
    loop: Loop, a: Array, b: Array, carry: Array, mask: Array | None = None
) -> tuple[Array, Array]:
    """`scan` in parallel over time."""
    return _run(_associative, loop, *_still(a, b, carry, mask))


@compiled(0)
def autodiff(
    loop: Loop, a: Array, b: Array, carry: Array, mask: Array | None = None
) -> tuple[Array, Array]:
    """`scan`, differentiated by JAX."""
    return _scan(loop, *_still(a, b, carry, mask))


def _still(a: Array, b: Array, carry: Array, mask: Array | None) -> Any:
    """What holds the carry where the mask says so; a mask is left for constant factors only."""
    a, b, carry, mask = vary_alike((a, b, carry, mask))
    if mask is not None:
        b = jnp.where(mask, b, jnp.zeros_like(b))
        if a.ndim > 1:
            # A factor of one holds the carry. Done here rather than in the loop, NaN in the
            # padding does not reach the gradient of the loop that JAX differentiates.
            a, mask = jnp.where(mask, a, jnp.ones_like(a)), None
    return a, b, carry, mask


def _advance(a: Array, h: Array, mask: Array | None) -> Array:
    """``a h``, and ``h`` itself where the carry stands still."""
    a = lax.expand_dims(a, range(h.ndim - a.ndim))
    return a * h if mask is None else jnp.where(mask, a * h, h)


def _scan(loop: Loop, a: Array, b: Array, carry: Array, mask: Array | None) -> tuple[Array, Array]:
    varying = None if a.ndim == 1 else a

    def body(h: Array, inputs: tuple[Array | None, Array, Array | None]) -> tuple[Array, Array]:
        a_t, b_t, mask_t = inputs
        h = _advance(a if a_t is None else a_t, h, mask_t) + b_t
        return h, h

    return lax.scan(body, carry, (varying, b, mask), **loop._asdict())


def _associative(
    loop: Loop, a: Array, b: Array, carry: Array, mask: Array | None
) -> tuple[Array, Array]:
    steps = b.shape[0]
    if not steps:
        return carry, b
    if a.ndim == 1:  # [T, 1, F] is enough: products of factors do not depend on the batch
        a = jnp.broadcast_to(a[None, None, :], (steps, 1, *a.shape))
        a = a if mask is None else jnp.where(mask, a, jnp.ones_like(a))
    first, last = (-1, 0) if loop.reverse else (0, -1)
    b = b.at[first].add(a[first] * carry)

    def compose(before: tuple[Array, Array], after: tuple[Array, Array]) -> tuple[Array, Array]:
        return after[0] * before[0], after[0] * before[1] + after[1]

    _, h = lax.associative_scan(compose, (a, b), reverse=loop.reverse)
    return h[last], h


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run(
    solve: Callable[..., tuple[Array, Array]],
    loop: Loop,
    a: Array,
    b: Array,
    carry: Array,
    mask: Array | None,
) -> tuple[Array, Array]:
    """``(final carry, h)``; `mask` holds the carry by its factor only, ``b`` is always added."""
    return solve(loop, a, b, carry, mask)


def _run_forward(solve, loop: Loop, a: Array, b: Array, carry: Array, mask: Array | None):
    final, h = solve(loop, a, b, carry, mask)
    return (final, h), (a, carry, h, mask)


@compiled(0, 1)
def _run_backward(solve, loop: Loop, saved: Any, cotangents: tuple[Array, Array]):
    """The cotangents ``g_t = dh_t + a_{t+1} g_{t+1}`` by a recurrence in reverse.

    It runs on ``u_t = a_t g_t = a_t u_{t+1} + a_t dh_t``, whose factors need no
    shift, so that constant ones stay a vector; ``u_1`` is the carry's cotangent.
    """
    a, initial, h, mask = saved
    d_final, d_h = cotangents
    backwards = loop._replace(reverse=not loop.reverse)
    # By solve, not _run, whose rule is for reverse mode alone: forward over reverse works.
    d_initial, u = solve(backwards, a, _advance(a, d_h, mask), d_final, mask)
    g = d_h + shift_by_one(d_final, u, reverse=backwards.reverse)
    d_a = g * shift_by_one(initial, h, reverse=loop.reverse)
    if a.ndim == 1:
        d_a = d_a if mask is None else jnp.where(mask, d_a, jnp.zeros_like(d_a))
        d_a = jnp.sum(d_a, axis=(0, 1))
    return d_a, g, d_initial, None


_run.defvjp(_run_forward, _run_backward)
