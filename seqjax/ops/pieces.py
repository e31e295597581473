"""A loop over time cut into pieces: for less memory, or for a shorter reach of the gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from seqjax.ops.layout import over_rows

# (carry, (inputs, mask)) -> (carry, h [T, B, H])
Piece = Callable[[Any, Any], tuple[Any, Array]]


def in_pieces(
    piece: Piece,
    carry: Any,
    inputs: Any,
    mask: Array | None,
    *,
    chunk_size: int | None,
    truncation: int | None,
    reverse: bool,
) -> tuple[Any, Array]:
    """``piece(carry, (inputs, mask))``, with recomputation, truncation, both or neither.

    Args:
        piece: a loop over any number of steps.
        carry: before the first step.
        inputs: a pytree of arrays that begin with the time.
        mask: [T, B, 1], False where the carry stands still, a sequence's padding, which
            comes last; or None.
        chunk_size: recompute the backward pass so many steps at a time. Only the carry
            before each chunk is kept; memory for the backward pass is then about
            ``T / chunk_size`` carries and `chunk_size` steps, least near ``sqrt(T)``,
            for the time of one more forward pass. None keeps all steps.
        truncation: the gradient does not pass from one group of so many steps to the
            group before it: truncated back-propagation through time. Within a group it
            is exact, so it reaches back between 1 and `truncation` steps. Groups are
            counted from the first step of the loop, whose carry does get its gradient; a
            group of nothing but padding cuts nothing. None lets the gradient pass everywhere.
        reverse: the loop runs from the last step to the first.

    Returns:
        ``(carry, h)`` of the whole; the values do not depend on the sizes.

    Raises:
        ValueError: for a size below 1.
    """
    for name, size in (("chunk_size", chunk_size), ("truncation", truncation)):
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}.")

    def group(carry: Any, inputs: Any) -> tuple[Any, Array]:
        if chunk_size is None:
            return piece(carry, inputs)
        # In a loop XLA does not merge the recomputation with the first computation, so
        # the barrier that prevents it elsewhere would only cost.
        again = jax.checkpoint(piece, prevent_cse=False)
        return _one_after_another(again, carry, inputs, chunk_size, reverse=reverse)

    if truncation is None:
        return group(carry, (inputs, mask))

    def cut(state: tuple[Any, Array], inputs: Any) -> tuple[tuple[Any, Array], Array]:
        carry, first = state
        # Padding only holds the carry of a sequence that is over: its gradient passes.
        passes = first if inputs[1] is None else first | ~inputs[1][0]
        carry = jax.tree.map(
            lambda a: jnp.where(over_rows(passes, a), a, lax.stop_gradient(a)), carry
        )
        carry, h = group(carry, inputs)
        return (carry, jnp.zeros_like(first)), h

    # Made of the carry, so that it has its type under `jax.shard_map`.
    leaf = jax.tree.leaves(carry)[0]
    one = leaf[:1, None] if leaf.ndim == 1 else leaf[(slice(1), slice(1), *(0,) * (leaf.ndim - 2))]
    first = jnp.ones_like(one, dtype=bool)
    (carry, _), h = _one_after_another(
        cut, (carry, first), (inputs, mask), truncation, reverse=reverse
    )
    return carry, h


def _one_after_another(
    piece: Piece, carry: Any, inputs: Any, size: int, *, reverse: bool
) -> tuple[Any, Array]:
    """``piece`` over `size` steps at a time, and once over what is left."""
    steps = jax.tree.leaves(inputs)[0].shape[0]
    # A reverse loop begins with the last step, and so do its pieces.
    left = steps % size
    whole = slice(left, None) if reverse else slice(steps - left)
    rest = slice(left) if reverse else slice(steps - left, None)

    def cut(a: Array) -> Array:
        return a[whole].reshape(steps // size, size, *a.shape[1:])

    carry, h = lax.scan(piece, carry, jax.tree.map(cut, inputs), reverse=reverse)
    h = h.reshape(steps - left, *h.shape[2:])
    if not left:
        return carry, h
    carry, h_rest = piece(carry, jax.tree.map(lambda a: a[rest], inputs))
    return carry, jnp.concatenate([h_rest, h] if reverse else [h, h_rest])
