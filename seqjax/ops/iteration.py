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
        sizes: of each, the largest that every unit of every sequence is [B, H].
        damped: whether it is from here on, as a change overflowed.
        moved: the last change, of the unit that changed most for its size.
        iterations: so far.
        converged: to the solution.
        failed: not finite even where damped.
    """

    unknown: tuple[Array, ...]
    sizes: tuple[Array, ...]
    damped: Array
    moved: Array
    iterations: Array
    converged: Array
    failed: Array


def iterate(
    improve: Callable[[tuple[Array, ...], Array], tuple[tuple[Array, ...], tuple[Array, ...]]],
    start: tuple[Array, ...],
    skip: Array,
    narrow: Any,
    along: Callable[[Array], Array],
    agree: Callable[[Array], Array],
) -> Iterated:
    """``s += change(s)`` until the change, or what is left of the equations, is rounding.

    Every unit of every sequence is judged by its own size: one that is large says nothing of how
    far a small one still has to go.

    Args:
        improve: ``(unknown, damped) -> (change, residual)``.
        start: the first unknown.
        skip: True where there is nothing to be done.
        narrow: the dtype of the products.
        along: of an array, the largest of all devices that hold steps of the same sequences.
        agree: of a number, the largest of all devices'.

    Returns:
        The last of it, converged, failed or at the limit (`Choices.newton_iterations`).
    """
    dtype = start[0].dtype
    rounding = 4 * float(jnp.finfo(dtype).eps)
    tolerance = _tolerance(max(float(jnp.finfo(narrow).eps), float(jnp.finfo(dtype).eps)))
    limit = choices().newton_iterations

    def sizes(tree: tuple[Array, ...]) -> tuple[Array, ...]:  # [B, H] each
        return tuple(along(jnp.max(jnp.abs(a), axis=0)) for a in tree)

    def relative(these: tuple[Array, ...], to: tuple[Array, ...]) -> Array:
        # A unit much smaller than its neighbours is not asked for more digits than they leave it;
        # a carry that counts (an LSTM's c) is not among them.
        floor = jnp.min(jnp.stack([jnp.max(a, axis=-1, keepdims=True) for a in to]), axis=0)
        parts = [
            jnp.max(jnp.where(a == 0, 0, a / jnp.maximum(b, 0.1 * floor)))
            for a, b in zip(these, to, strict=True)
        ]
        return agree(jnp.max(jnp.stack(parts)))

    def more(state: Iterated) -> Array:
        return ~(state.converged | state.failed) & (state.iterations < limit)

    def again(state: Iterated) -> Iterated:
        change, residual = improve(state.unknown, state.damped)
        unknown = jax.tree.map(jnp.add, state.unknown, change)
        scales, changes = sizes(unknown), sizes(change)
        moved = relative(changes, scales)
        finite = jnp.isfinite(agree(jnp.max(jnp.stack([*map(jnp.max, scales + changes)]))))
        # What is still to come of a series of changes, each so much smaller than the one before.
        ratio = moved / state.moved
        to_come = jnp.where(ratio < 1, moved * jnp.maximum(1, ratio / (1 - ratio)), jnp.inf)
        # The residual is that of the last unknown: a change out of all proportion excuses none.
        exact = relative(sizes(residual), state.sizes) <= rounding
        done = (to_come <= tolerance) | exact
        # Damped from the start an LSTM would lose its memory, and more iterations than it saves.
        found, last = (unknown, scales), (state.unknown, state.sizes)
        unknown, scales = jax.tree.map(lambda a, b: jnp.where(finite, a, b), found, last)
        return Iterated(
            unknown=unknown,
            sizes=scales,
            damped=~finite | state.damped,
            moved=jnp.where(finite, moved, jnp.inf),
            iterations=state.iterations + 1,
            converged=finite & done,
            failed=~finite & state.damped,
        )

    no = jnp.zeros_like(skip)
    zero = jnp.zeros_like(skip, dtype=jnp.int32)
    much = jnp.full_like(skip, jnp.inf, dtype=dtype)
    # Not those of the start: where it is zeros XLA would fold them, for seconds.
    small = tuple(jnp.zeros_like(a[0]) for a in start)
    begun = Iterated(start, small, no, much, zero, no, skip)
    return lax.while_loop(more, again, vary_alike(begun))


def _tolerance(eps: float) -> float:
    """Of what is still to come, relative to the largest that a unit was.

    5e-6 in float32, 2e-12 in float64. In half precisions products are as rough as that allows.
    """
    return eps**0.75 if eps < 1e-4 else eps / 4
