"""Lengths of right-padded sequences: as arrays, as masks, as an order."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

# Number of sequences: an int, or a symbol where `jax.export` traces for any number.
BatchSize = Any


def as_lengths(seq_lengths: ArrayLike | None, *, batch: BatchSize, steps: int) -> Array | None:
    """`seq_lengths` as int32, clipped to [0, steps]; None stays None.

    Args:
        seq_lengths: integers [batch], of any width.
        batch: number of sequences.
        steps: of the padded sequences.

    Raises:
        ValueError: for another shape, or for what are no integers.

    Example:
        >>> as_lengths(jnp.array([3, 9]), batch=2, steps=5).tolist()
        [3, 5]
    """
    if seq_lengths is None:
        return None
    lengths: Any = seq_lengths if hasattr(seq_lengths, "clip") else jnp.asarray(seq_lengths)
    if lengths.shape != (batch,):
        raise ValueError(
            f"seq_lengths must be [{batch}], one length for each sequence, but its shape is"
            f" {lengths.shape}."
        )
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(
            f"seq_lengths must be integers, numbers of steps, but they are {lengths.dtype}."
        )
    # Clipped as what they are: a narrow type cannot hold `steps`, a wide one is cut by int32.
    most = min(steps, int(jnp.iinfo(lengths.dtype).max))
    return jnp.asarray(lengths.clip(0, most), jnp.int32)


def length_mask(seq_lengths: Array, steps: int) -> Array:
    """[steps, batch]: True at the steps that belong to each sequence.

    Example:
        >>> length_mask(jnp.array([1, 3]), 3).astype(int).T.tolist()
        [[1, 0, 0], [1, 1, 1]]
    """
    return jnp.arange(steps)[:, None] < seq_lengths[None, :]


def flip_sequences(x: Array, seq_lengths: Array | None) -> Array:
    """Reverse each sequence of `x` [T, B, ...] within its own length."""
    if seq_lengths is None:
        return jnp.flip(x, axis=0)
    steps = jnp.arange(x.shape[0])[:, None]
    source = jnp.where(steps < seq_lengths[None, :], seq_lengths[None, :] - 1 - steps, steps)
    return jnp.take_along_axis(x, jax.lax.expand_dims(source, range(2, x.ndim)), axis=0)
