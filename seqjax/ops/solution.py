"""What "newton" is given to begin with, and what it tells."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.ops.cell import Carry
from seqjax.ops.lengths import as_lengths, flip_sequences


class Solution(NamedTuple):
    """How "newton" solved sequences: counts of the forward pass.

    All sequences of a call (of its part on a device) are solved together, and so are their counts
    alike; they are arrays so that `fit` can take them for metrics of each example.

    Attributes:
        solves: [batch], how many solutions there were to find: one, or one for each chunk.
        iterations: [batch], of all of them together.
        fallbacks: [batch], how many of them did not converge, and were left to the loop.
    """

    solves: Array
    iterations: Array
    fallbacks: Array


class Counted(NamedTuple):
    """A carry, and what was counted up to it."""

    carry: Carry
    solution: Solution


def counted(carry: Carry) -> Counted:
    """A carry, with nothing counted yet."""
    none = jnp.zeros(jax.tree.leaves(carry)[0].shape[0], jnp.int32)
    return Counted(carry, Solution(none, none, none))


def checked_guess(
    op: str, iterates: bool, shape: tuple[Any, ...], features: int, options: Any
) -> Array | None:
    """The guess, in the order of the inputs; None where there is none.

    Args:
        op: what to call it in an error.
        iterates: whether the call has use for one.
        shape: of the inputs, the first two dimensions.
        features: the width.
        options: of the call.

    Raises:
        ValueError: for another shape, and for what only an iteration has.
    """
    guess, time_major = options.get("guess"), options.get("time_major")
    if not iterates and (guess is not None or options.get("return_solution")):
        raise ValueError(
            f"{op}: guess and return_solution are options of implementation='newton', and of a"
            " cell that it iterates for (a linear recurrence is solved at once)."
        )
    if guess is None:
        return None
    guess = jax.lax.stop_gradient(jnp.asarray(guess))
    if guess.shape != (*shape, features):
        raise ValueError(
            f"{op}: the guess must be {[*shape, features]}, as the outputs are, but its shape is"
            f" {guess.shape}."
        )
    if not options.get("reverse") or options.get("keep_order"):
        return guess
    turned = guess if time_major else jnp.swapaxes(guess, 0, 1)
    steps, batch = turned.shape[:2]
    lengths = as_lengths(options.get("seq_lengths"), batch=batch, steps=steps)
    turned = flip_sequences(turned, lengths)
    return turned if time_major else jnp.swapaxes(turned, 0, 1)
