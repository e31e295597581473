"""What "newton" is given to begin with, and what it tells."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.ops.cell import Carry
from seqjax.ops.checks import check_shape
from seqjax.ops.lengths import as_lengths, flip_sequences

OF_NEWTON = ("guess", "return_solution", "counter")  # options that are of use to no other


class Solution(NamedTuple):
    """How "newton" solved sequences: what it counted forwards, and what a next call may begin with.

    All sequences of a call (of its part on a device) are solved together, and so are their counts
    alike; they are arrays so that `fit` can take them for metrics of each example. (The backward
    pass is counted by the gradient of `counter`, see `seqjax.ops.Options`.)

    Attributes:
        solves: [batch], how many solutions there were to find: one, or one for each chunk.
        iterations: [batch], of all of them together.
        fallbacks: [batch], how many of them did not converge, and were left to the loop.
        guess: the outputs, as the `guess` of a next call takes them; of a model
            (`seqjax.models.Model.apply`) those of all its layers; None of
            `seqjax.ops.sequence_parallel`, which takes none.
    """

    solves: Array
    iterations: Array
    fallbacks: Array
    guess: Any = None

    @property
    def metrics(self) -> dict[str, Array]:
        """What a loss may report of it (`seqjax.train.Losses`), [batch] each."""
        return {"iterations": self.iterations, "fallbacks": self.fallbacks}


class Counted(NamedTuple):
    """A carry, and what was counted up to it."""

    carry: Carry
    solution: Solution


def counted(carry: Carry) -> Counted:
    """A carry, with nothing counted yet."""
    none = jnp.zeros(jax.tree.leaves(carry)[0].shape[0], jnp.int32)
    return Counted(carry, Solution(none, none, none))


def check_newton(op: str, iterates: bool, options: Any) -> None:
    """ValueError for an option that only an iteration has, where the call does not iterate."""
    given = [one for one in OF_NEWTON if options.get(one) is not None and options[one] is not False]
    if given and not iterates:
        raise ValueError(
            f"{op}: {' and '.join(given)}: only with implementation='newton', and with a cell that"
            " it iterates for (a linear recurrence is solved at once)."
        )


def checked_counter(op: str, batch: Any, options: Any) -> Array | None:
    """The counter, or None; ValueError for one of another shape, or of no floats."""
    counter = options.get("counter")
    if counter is None:
        return None
    counter = jnp.asarray(counter)
    check_shape(op, "counter", counter, batch)
    if not jnp.issubdtype(counter.dtype, jnp.floating):
        raise ValueError(f"{op}: the counter must be floats, to have a gradient: {counter.dtype}.")
    return counter


def checked_guess(op: str, shape: tuple[Any, ...], features: int, options: Any) -> Array | None:
    """The guess, in the order of the inputs; None where there is none.

    Args:
        op: what to call it in an error.
        shape: of the inputs, the first two dimensions.
        features: the width.
        options: of the call.

    Raises:
        ValueError: for another shape.
    """
    guess, time_major = options.get("guess"), options.get("time_major")
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
