"""The linear recurrence as an op of its own."""

from functools import partial
from typing import Any, Unpack

import jax.numpy as jnp
from jax import Array
from jaxtyping import Inexact

from seqjax.ops.backends import BACKENDS, Call, choose
from seqjax.ops.cell import Linear
from seqjax.ops.checks import check_shape
from seqjax.ops.layout import carry_dtype
from seqjax.ops.options import Options
from seqjax.ops.sequence import loop_of, over_sequence

FORM = Linear(coefficients=lambda params, x, dtype: (params, x))


def linear_recurrence(
    a: Inexact[Array, "_batch _time features"] | Inexact[Array, " features"],
    b: Inexact[Array, "_batch _time features"],
    initial_carry: Inexact[Array, "batch features"] | None = None,
    **options: Unpack[Options],
) -> Any:
    """An elementwise linear recurrence, real or complex.

    ``h_t = a_t h_{t-1} + b_t``

    Args:
        a: factors, of the shape of `b`, or [features] where they are the same at
            every step.
        b: inputs [batch, time, features] ([time, batch, features] if `time_major`).
        initial_carry: ``h`` before the first step [batch, features]; zeros by default.
        **options: see `seqjax.ops.Options`.

    Returns:
        ``y`` [batch, time, features], every ``h_t``, in the dtype of `a` and `b`, or
        ``(carry, y)`` with ``carry`` [batch, features], float32 (complex64) or wider.

    Raises:
        ValueError: where shapes do not fit each other, where the carry is complex
            and `a` and `b` are real, or for an unknown implementation.

    Example:
        >>> linear_recurrence(jnp.array([0.5]), jnp.ones((1, 4, 1)))[0, :, 0].tolist()
        [1.0, 1.5, 1.75, 1.875]

    Source: Blelloch, "Prefix sums and their applications", 1990; the gradient as
    in Martin and Cundy, arXiv 1709.04057, section 2.
    """
    op = "linear_recurrence"
    if b.ndim != 3:
        raise ValueError(f"{op}: b must be [batch, time, features], but its shape is {b.shape}.")
    width, batch = b.shape[-1], b.shape[1 if options.get("time_major") else 0]
    carry, dtype = first_carry(op, a, b, initial_carry, batch)
    if options.get("recurrent_mask") is not None:
        raise ValueError(f"{op} has no product with h for recurrent_mask to stand in.")
    out_dtype = jnp.result_type(a, b)
    name = choose(Call(op, FORM, b.shape, width, out_dtype, options))
    over_time = partial(BACKENDS[name].loops[Linear], loop_of(options))
    constant = a.ndim == 1
    factors, inputs = a.astype(dtype), b.astype(dtype)

    def loop(shared: Any, inputs: Any, carry: Array, mask: Array | None) -> tuple[Array, Array]:
        a, b = (*shared, inputs) if constant else inputs
        return over_time(a, b, carry, mask)

    return over_sequence(
        op,
        loop,
        (factors,) if constant else (),
        inputs if constant else (factors, inputs),
        carry.astype(dtype),
        options,
        shared_axes=(None,) if constant else (),
        dtype=out_dtype,
    )


def first_carry(
    op: str, a: Array, b: Array, given: Array | None, batch: int
) -> tuple[Array, jnp.dtype]:
    """The carry before the first step [batch, features], and the dtype that it is run in.

    Args:
        op: what to call it in an error.
        a: factors, of the shape of `b`, or [features].
        b: inputs, features last.
        given: the carry, or None for zeros.
        batch: sequences.

    Raises:
        ValueError: where shapes do not fit each other, and for a complex carry of real arrays.
    """
    width = b.shape[-1]
    if a.shape not in (b.shape, (width,)):
        raise ValueError(
            f"{op}: a must be {b.shape}, as b, or [{width}], but its shape is {a.shape}."
        )
    dtype = carry_dtype(a, b)
    carry = jnp.zeros((batch, width), dtype) if given is None else given
    check_shape(op, "carry", carry, batch, width)
    if jnp.iscomplexobj(carry) and not jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"{op}: a complex carry needs a or b to be complex.")
    return carry, dtype
