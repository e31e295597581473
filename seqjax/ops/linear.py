"""The linear recurrence ``h_t = a_t h_{t-1} + b_t``, step by step or in parallel over time.

Every step is an affine map of the carry, and affine maps compose associatively:
``(a, b)`` then ``(a', b')`` is ``(a' a, a' b + b')``. So all prefixes follow from a
parallel scan of depth ``log T``, where a loop takes ``T`` steps. What has no
products with ``h`` in its gates (minGRU, minLSTM, an LRU) is such a recurrence.

Dimensions: T time, B batch, F features. All but `linear_recurrence` is time-major.
"""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Inexact, Int

from seqjax.ops.layout import carry_dtype, shift_by_one, vary_alike
from seqjax.ops.sequence import check_carry, over_sequence

LinearImplementation = Literal["scan", "associative", "autodiff"]


def linear_recurrence(
    a: Inexact[Array, "_batch _time features"] | Inexact[Array, " features"],
    b: Inexact[Array, "_batch _time features"],
    initial_carry: Inexact[Array, "batch features"] | None = None,
    *,
    implementation: LinearImplementation | None = None,
    seq_lengths: Int[ArrayLike, " batch"] | None = None,
    return_carry: bool = False,
    reverse: bool = False,
    keep_order: bool = False,
    time_major: bool = False,
) -> Any:
    """An elementwise linear recurrence, real or complex.

    ``h_t = a_t h_{t-1} + b_t``

    Args:
        a: factors, of the shape of `b`, or [features] where they are the same at
            every step.
        b: inputs [batch, time, features] ([time, batch, features] if `time_major`).
        initial_carry: ``h`` before the first step [batch, features]; zeros by default.
        implementation: None (best), "scan" (a loop over time), "associative" (a
            parallel scan) or "autodiff" (the loop, differentiated by JAX: forward
            mode works). None means "scan" on a CPU, "associative" elsewhere.
        seq_lengths: number of valid steps of each right-padded sequence. Outputs
            after the end are zero; the carry is the one at the sequence's own end.
        return_carry: return ``(carry, y)`` in place of ``y``.
        reverse: run from each sequence's last step to its first.
        keep_order: with `reverse`, return outputs in the order of the inputs
            rather than in the order of computation.
        time_major: a, b and y are [time, batch, features].

    Returns:
        ``y`` [batch, time, features], every ``h_t``, in the dtype of `a` and `b`, or
        ``(carry, y)`` with ``carry`` [batch, features], float32 (complex64) or wider.

    Raises:
        ValueError: where shapes do not fit each other, where the carry is complex
            and `a` and `b` are real, or for an unknown implementation.

    Example:
        >>> import jax.numpy as jnp
        >>> linear_recurrence(jnp.array([0.5]), jnp.ones((1, 4, 1)))[0, :, 0].tolist()
        [1.0, 1.5, 1.75, 1.875]

    Source: Blelloch, "Prefix sums and their applications", 1990; the gradient as
    in Martin and Cundy, arXiv 1709.04057, section 2.
    """
    if b.ndim != 3:
        raise ValueError(
            f"linear_recurrence: b must be [batch, time, features], but its shape is {b.shape}."
        )
    width, batch = b.shape[-1], b.shape[1 if time_major else 0]
    if a.shape not in (b.shape, (width,)):
        raise ValueError(
            f"linear_recurrence: a must be {b.shape}, as b, or [{width}], but its shape is"
            f" {a.shape}."
        )
    dtype = carry_dtype(a, b)
    carry = jnp.zeros((batch, width), dtype) if initial_carry is None else initial_carry
    check_carry("linear_recurrence", carry, batch, width)
    if jnp.iscomplexobj(carry) and not jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError("linear_recurrence: a complex carry needs a or b to be complex.")
    factors = a if time_major or a.ndim == 1 else jnp.swapaxes(a, 0, 1)

    def loop(b: Array, mask: Array | None) -> tuple[Array, Array]:
        return linear_loop(
            factors.astype(dtype),
            b.astype(dtype),
            carry.astype(dtype),
            mask,
            reverse=reverse,
            implementation=implementation,
        )

    return over_sequence(
        loop,
        b,
        seq_lengths=seq_lengths,
        return_carry=return_carry,
        reverse=reverse,
        keep_order=keep_order,
        time_major=time_major,
        dtype=jnp.result_type(a, b),
    )


def linear_loop(
    a: Array,
    b: Array,
    carry: Array,
    mask: Array | None = None,
    *,
    reverse: bool = False,
    implementation: LinearImplementation | None = None,
) -> tuple[Array, Array]:
    """The recurrence in time-major layout, for ops that make `a` and `b` themselves.

    Args:
        a: [T, B, F] or [F].
        b: [T, B, F].
        carry: ``h`` before the first step [B, F]; all three in one dtype.
        mask: [T, B, 1], False where the carry stands still; None for all True.
        reverse: run from the last step to the first; outputs stay where their inputs are.
        implementation: see `linear_recurrence`.

    Returns:
        The final carry, and ``h`` [T, B, F] after every step.

    Example:
        >>> import jax.numpy as jnp
        >>> a, b = jnp.full((3, 1, 1), 2.0), jnp.ones((3, 1, 1))
        >>> linear_loop(a, b, jnp.ones((1, 1)))[0].tolist()
        [[15.0]]
    """
    static = _Static(reverse, _checked(implementation))
    a, b, carry, mask = vary_alike((a, b, carry, mask))
    if mask is not None:
        b = jnp.where(mask, b, jnp.zeros_like(b))
        if a.ndim > 1:
            # A factor of one holds the carry. Done here rather than in the loop, NaN in the
            # padding does not reach the gradient of the loop that JAX differentiates.
            a, mask = jnp.where(mask, a, jnp.ones_like(a)), None
    run = _solve if static.implementation == "autodiff" else _run
    return run(static, a, b, carry, mask)


def _checked(implementation: LinearImplementation | None) -> LinearImplementation:
    known = get_args(LinearImplementation)
    if implementation is None:
        return "scan" if jax.default_backend() == "cpu" else "associative"
    if implementation not in known:
        raise ValueError(f"implementation must be None or one of {known}, not {implementation!r}.")
    return implementation


class _Static(NamedTuple):
    reverse: bool
    implementation: LinearImplementation


def _advance(a: Array, h: Array, mask: Array | None) -> Array:
    """``a h``, and ``h`` itself where the carry stands still."""
    a = lax.expand_dims(a, range(h.ndim - a.ndim))
    return a * h if mask is None else jnp.where(mask, a * h, h)


def _scan(
    a: Array, b: Array, carry: Array, mask: Array | None, *, reverse: bool
) -> tuple[Array, Array]:
    varying = None if a.ndim == 1 else a

    def body(h: Array, inputs: tuple[Array | None, Array, Array | None]) -> tuple[Array, Array]:
        a_t, b_t, mask_t = inputs
        h = _advance(a if a_t is None else a_t, h, mask_t) + b_t
        return h, h

    return lax.scan(body, carry, (varying, b, mask), reverse=reverse)


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
    solve = _associative if static.implementation == "associative" else _scan
    return solve(a, b, carry, mask, reverse=static.reverse)


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
    # By _run, not _solve: a second derivative, too, then keeps only factors and states.
    d_initial, u = _run(backwards, a, _advance(a, d_h, mask), d_final, mask)
    g = d_h + shift_by_one(d_final, u, reverse=backwards.reverse)
    d_a = g * shift_by_one(initial, h, reverse=static.reverse)
    if a.ndim == 1:
        d_a = d_a if mask is None else jnp.where(mask, d_a, jnp.zeros_like(d_a))
        d_a = jnp.sum(d_a, axis=(0, 1))
    return d_a, g, d_initial, None


_run.defvjp(_run_forward, _run_backward)
