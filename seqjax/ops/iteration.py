"""The iteration of `seqjax.ops.newton`: when it is damped, when it ends."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from seqjax.ops.layout import choices, vary_alike


class Iterated(NamedTuple):
    """Where an iteration stands.

    Attributes:
        unknown: arrays.
        damped: whether it is from here on, as a change overflowed.
        iterations: so far.
        converged: to the solution.
        failed: not finite even where damped.
    """

    unknown: tuple[Array, ...]
    damped: Array
    iterations: Array
    converged: Array
    failed: Array


def iterate(
    improve: Callable[[tuple[Array, ...], Array], tuple[tuple[Array, ...], tuple[Array, ...]]],
    start: tuple[Array, ...],
    skip: Array,
    narrow: Any,
    agree: Callable[[Array], Array],
) -> Iterated:
    """``s += change(s)`` until the change, or what is left of the equations, is rounding.

    Args:
        improve: ``(unknown, damped) -> (change, residual)``.
        start: the first unknown.
        skip: True where there is nothing to be done.
        narrow: the dtype of the products.
        agree: of a number, the largest of all devices'.

    Returns:
        The last of it, converged, failed or at the limit (`Choices.newton_iterations`).
    """
    dtype = start[0].dtype
    rounding = 4 * float(jnp.finfo(dtype).eps)
    tolerance = _tolerance(max(float(jnp.finfo(narrow).eps), float(jnp.finfo(dtype).eps)))
    limit = choices().newton_iterations

    def size(tree: tuple[Array, ...]) -> Array:
        return agree(jnp.max(jnp.stack([jnp.max(jnp.abs(a)) for a in tree])))

    def more(state: Iterated) -> Array:
        return ~(state.converged | state.failed) & (state.iterations < limit)

    def again(state: Iterated) -> Iterated:
        change, residual = improve(state.unknown, state.damped)
        unknown = jax.tree.map(jnp.add, state.unknown, change)
        scale, changed = size(unknown), size(change)
        finite = jnp.isfinite(scale + changed)
        # The residual is that of the last unknown: a change out of all proportion excuses none.
        exact = size(residual) <= rounding * size(state.unknown)
        done = (changed <= tolerance * scale) | exact
        # Damped from the start an LSTM would lose its memory, and more iterations than it saves.
        unknown = jax.tree.map(lambda a, b: jnp.where(finite, a, b), unknown, state.unknown)
        return Iterated(
            unknown=unknown,
            damped=~finite | state.damped,
            iterations=state.iterations + 1,
            converged=finite & done,
            failed=~finite & state.damped,
        )

    no = jnp.zeros_like(skip)
    zero = jnp.zeros_like(skip, dtype=jnp.int32)
    return lax.while_loop(more, again, vary_alike(Iterated(start, no, zero, no, skip)))


def _tolerance(eps: float) -> float:
    """Of a change relative to the largest unknown; an iteration's error is less than its change.

    5e-6 in float32, 2e-12 in float64. In half precisions products are as rough as that allows.
    """
    return eps**0.75 if eps < 1e-4 else eps / 4
