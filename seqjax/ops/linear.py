"""The linear recurrence ``h_t = a_t h_{t-1} + b_t``, step by step or in parallel over time.

Every step is an affine map of the carry, and affine maps compose associatively:
``(a, b)`` then ``(a', b')`` is ``(a' a, a' b + b')``. So all prefixes follow from a
parallel scan of depth ``log T``, where a loop takes ``T`` steps. What has no
products with ``h`` in its gates (minGRU, minLSTM, an LRU) is such a recurrence.

Dimensions: T time, B batch, F features. Everything in this file is time-major.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from seqjax.ops.layout import shift_by_one, vary_alike


def linear_loop(
    a: Array,
    b: Array,
    carry: Array,
    mask: Array | None = None,
    *,
    reverse: bool = False,
    unroll: int = 1,
    implementation: str = "scan",
) -> tuple[Array, Array]:
    """The recurrence in time-major layout.

    Args:
        a: [T, B, F] or [F].
        b: [T, B, F].
        carry: ``h`` before the first step [B, F]; all three in one dtype.
        mask: [T, B, 1], False where the carry stands still; None for all True.
        reverse: run from the last step to the first; outputs stay where their inputs are.
        unroll: steps per iteration of the loop.
        implementation: "scan", "associative" or "autodiff".

    Returns:
        The final carry, and ``h`` [T, B, F] after every step.

    Example:
        >>> import jax.numpy as jnp
        >>> a, b = jnp.full((3, 1, 1), 2.0), jnp.ones((3, 1, 1))
        >>> linear_loop(a, b, jnp.ones((1, 1)))[0].tolist()
        [[15.0]]
    """
    static = _Static(reverse, unroll, implementation)
    a, b, carry, mask = vary_alike((a, b, carry, mask))
    if mask is not None:
        b = jnp.where(mask, b, jnp.zeros_like(b))
        if a.ndim > 1:
            # A factor of one holds the carry. Done here rather than in the loop, NaN in the
            # padding does not reach the gradient of the loop that JAX differentiates.
            a, mask = jnp.where(mask, a, jnp.ones_like(a)), None
    run = _solve if implementation == "autodiff" else _run
    return run(static, a, b, carry, mask)


class _Static(NamedTuple):
    reverse: bool
    unroll: int
    implementation: str


def _advance(a: Array, h: Array, mask: Array | None) -> Array:
    """``a h``, and ``h`` itself where the carry stands still."""
    a = lax.expand_dims(a, range(h.ndim - a.ndim))
    return a * h if mask is None else jnp.where(mask, a * h, h)


def _scan(
    a: Array, b: Array, carry: Array, mask: Array | None, *, reverse: bool, unroll: int
) -> tuple[Array, Array]:
    varying = None if a.ndim == 1 else a

    def body(h: Array, inputs: tuple[Array | None, Array, Array | None]) -> tuple[Array, Array]:
        a_t, b_t, mask_t = inputs
        h = _advance(a if a_t is None else a_t, h, mask_t) + b_t
        return h, h

    return lax.scan(body, carry, (varying, b, mask), reverse=reverse, unroll=unroll)


def _associative(
    a: Array, b: Array, carry: Array, mask: Array | None, *, reverse: bool
) -> tuple[Array, Array]:
    steps = b.shape[0]
    if not steps:
        return carry, b
    if a.ndim == 1:  # [T, 1, F] is enough: products of factors do not depend on the batch
        a = jnp.broadcast_to(a[None, None, :], (steps, 1, *a.shape))
        a = a if mask is None else jnp.where(mask, a, jnp.ones_like(a))
    first, last = (-1, 0) if reverse else (0, -1)
    b = b.at[first].add(a[first] * carry)

    def compose(before: tuple[Array, Array], after: tuple[Array, Array]) -> tuple[Array, Array]:
        return after[0] * before[0], after[0] * before[1] + after[1]

    _, h = lax.associative_scan(compose, (a, b), reverse=reverse)
    return h[last], h


def _solve(
    static: _Static, a: Array, b: Array, carry: Array, mask: Array | None
) -> tuple[Array, Array]:
    """``(final carry, h)``; `mask` holds the carry by its factor only, ``b`` is always added."""
    if static.implementation == "associative":
        return _associative(a, b, carry, mask, reverse=static.reverse)
    return _scan(a, b, carry, mask, reverse=static.reverse, unroll=static.unroll)


_run = jax.custom_vjp(_solve, nondiff_argnums=(0,))


def _run_forward(static: _Static, a: Array, b: Array, carry: Array, mask: Array | None):
    final, h = _solve(static, a, b, carry, mask)
    return (final, h), (a, carry, h, mask)


def _run_backward(static: _Static, saved: Any, cotangents: tuple[Array, Array]):
    """The cotangents ``g_t = dh_t + a_{t+1} g_{t+1}`` by a recurrence in reverse.

    It runs on ``u_t = a_t g_t = a_t u_{t+1} + a_t dh_t``, whose factors need no
    shift, so that constant ones stay a vector; ``u_1`` is the carry's cotangent.
    """
    a, initial, h, mask = saved
    d_final, d_h = cotangents
    backwards = static._replace(reverse=not static.reverse)
    # By _solve, not _run, whose rule is for reverse mode alone: forward over reverse works.
    d_initial, u = _solve(backwards, a, _advance(a, d_h, mask), d_final, mask)
    g = d_h + shift_by_one(d_final, u, reverse=backwards.reverse)
    d_a = g * shift_by_one(initial, h, reverse=static.reverse)
    if a.ndim == 1:
        d_a = d_a if mask is None else jnp.where(mask, d_a, jnp.zeros_like(d_a))
        d_a = jnp.sum(d_a, axis=(0, 1))
    return d_a, g, d_initial, None


_run.defvjp(_run_forward, _run_backward)
