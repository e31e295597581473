"""What every recurrent op shares around the loop: layout, lengths, order, dtypes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

# (x [T, B, I], mask [T, B, 1] or None) -> (final carry, h [T, B, H])
TimeMajorLoop = Callable[[Array, Array | None], tuple[Any, Array]]

# Number of sequences: an int, or a symbol where `jax.export` traces for any number.
BatchSize = Any


def as_lengths(seq_lengths: ArrayLike | None, *, batch: BatchSize, steps: int) -> Array | None:
    """`seq_lengths` as an array, clipped to [0, steps]."""
    if seq_lengths is None:
        return None
    lengths = jnp.asarray(seq_lengths)
    if lengths.shape != (batch,):
        raise ValueError(
            f"seq_lengths must be [{batch}], one length for each sequence, but its shape is"
            f" {lengths.shape}."
        )
    return jnp.clip(lengths, 0, steps)


def length_mask(seq_lengths: Array, steps: int) -> Array:
    """[T, B]: True at the steps that belong to each sequence."""
    return jnp.arange(steps)[:, None] < seq_lengths[None, :]


def flip_sequences(x: Array, seq_lengths: Array | None) -> Array:
    """Reverse each sequence of `x` [T, B, F] within its own length."""
    if seq_lengths is None:
        return jnp.flip(x, axis=0)
    steps = jnp.arange(x.shape[0])[:, None]
    source = jnp.where(steps < seq_lengths[None, :], seq_lengths[None, :] - 1 - steps, steps)
    return jnp.take_along_axis(x, source[:, :, None], axis=0)


def over_sequence(
    loop: TimeMajorLoop,
    x: Array,
    *,
    seq_lengths: ArrayLike | None,
    return_carry: bool,
    reverse: bool,
    keep_order: bool,
    time_major: bool,
    dtype: jnp.dtype,
) -> Any:
    """Run a time-major `loop` (already set to its direction) on `x`.

    Padding is set to zero before the loop, so that whatever stood there, NaN
    included, reaches neither an output nor a gradient.
    """
    if not time_major:
        x = jnp.swapaxes(x, 0, 1)
    lengths = as_lengths(seq_lengths, batch=x.shape[1], steps=x.shape[0])
    mask = None
    if lengths is not None:
        mask = length_mask(lengths, x.shape[0])[:, :, None]
        x = jnp.where(mask, x, jnp.zeros_like(x))
    carry, h = loop(x, mask)
    y = h.astype(dtype)
    if mask is not None:
        y = jnp.where(mask, y, jnp.zeros_like(y))
    if reverse and not keep_order:
        y = flip_sequences(y, lengths)
    if not time_major:
        y = jnp.swapaxes(y, 0, 1)
    return (carry, y) if return_carry else y


def check_shapes(op: str, params: Any, x: Array, gates: int, ndim: int) -> None:
    """Raise ValueError where inputs and parameters do not fit each other."""
    kernel, recurrent_kernel, *biases = params
    if x.ndim != ndim:
        dims = {2: "[batch, features]", 3: "[batch, time, features]"}[ndim]
        raise ValueError(f"{op}: x must be {dims}, but its shape is {x.shape}.")
    width = recurrent_kernel.shape[0]
    if recurrent_kernel.shape != (width, gates * width):
        raise ValueError(
            f"{op}: recurrent_kernel must be [features, {gates} * features],"
            f" but its shape is {recurrent_kernel.shape}."
        )
    if kernel.shape != (x.shape[-1], gates * width):
        raise ValueError(
            f"{op}: kernel must be [{x.shape[-1]}, {gates * width}] for x with"
            f" {x.shape[-1]} features and a recurrent_kernel of width {width},"
            f" but its shape is {kernel.shape}."
        )
    for bias in biases:
        if bias is not None and bias.shape != (gates * width,):
            raise ValueError(f"{op}: a bias must be [{gates * width}], but one is {bias.shape}.")


def check_carry(op: str, carry: Any, batch: BatchSize, width: int, what: str = "carry") -> None:
    """Raise ValueError where a leaf of the carry (or of `what`) is not [batch, features]."""
    for leaf in jax.tree.leaves(carry):
        if leaf.shape != (batch, width):
            raise ValueError(
                f"{op}: the {what} must be [{batch}, {width}] (batch, features), but its"
                f" shape is {leaf.shape}."
            )
