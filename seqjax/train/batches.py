"""Batches as pure functions of seed, epoch and step."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Arrays = Any  # a pytree of arrays that share their first axis
MakeBatch = Callable[[Any, Any], tuple[Any, Array]]


class Batches(NamedTuple):
    """Where a training loop gets its batches from.

    `plan` is called once an epoch and `batch` at every step, both inside jit;
    they must be the same objects from call to call, or each call compiles anew.

    Attributes:
        data: a pytree of arrays, handed to both functions.
        plan: ``(data, key) -> plan`` of one epoch, `key` being the epoch's own: a
            pytree whose leaves have `steps` rows, one for each step.
        batch: ``(data, row) -> (batch, weights)``; weights [batch] count each
            example (0 for padding). Or a tuple of such functions, one for each shape of
            batch; rows are then ``(which, row)``, the function's number first.
        steps: batches in an epoch.
    """

    data: Any
    plan: Callable[[Any, Array], Any]
    batch: MakeBatch | tuple[MakeBatch, ...]
    steps: int


def array_batches(arrays: Arrays, batch_size: int, *, shuffle: bool = True) -> Batches:
    """Batches of examples held in memory; the last of an epoch may be a smaller one.

    Args:
        arrays: a pytree of arrays with the examples along the first axis.
        batch_size: examples in a batch; cut to the number of examples.
        shuffle: a new order in every epoch, a function of the epoch's key.

    Returns:
        The batches. A short last batch is filled up with examples of weight 0.

    Raises:
        ValueError: where arrays differ in the number of examples, or have none.

    Example:
        >>> batches = array_batches({"x": jnp.arange(5)}, batch_size=2, shuffle=False)
        >>> plan = batches.plan(batches.data, jax.random.key(0))
        >>> batch, weights = batches.batch(batches.data, jax.tree.map(lambda a: a[2], plan))
        >>> batches.steps, batch["x"].tolist(), weights.tolist()
        (3, [4, 0], [1.0, 0.0])
    """
    for path, leaf in jax.tree.leaves_with_path(arrays):
        if not getattr(leaf, "shape", ()):
            raise ValueError(
                f"array_batches: arrays{jax.tree_util.keystr(path)} is {type(leaf).__name__}, no"
                " array with the examples along its first axis; np.asarray makes one of a list."
            )
    counts = {leaf.shape[0] for leaf in jax.tree.leaves(arrays)}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(
            f"array_batches: the arrays have {sorted(counts)} examples along their first"
            " axis; all must have the same number, at least 1."
        )
    if batch_size < 1:
        raise ValueError(f"array_batches: batch_size must be at least 1, not {batch_size}.")
    (count,) = counts
    size = min(batch_size, count)
    data = jax.tree.map(jnp.asarray, arrays)
    return Batches(data, _plan(count, size, shuffle), take_rows, -(-count // size))


@functools.cache  # the same function for the same arguments: see Batches
def _plan(count: int, size: int, shuffle: bool) -> Callable[[Any, Array], Any]:
    steps = -(-count // size)

    def plan(data: Any, key: Array) -> tuple[Array, Array]:
        order = jax.random.permutation(key, count) if shuffle else jnp.arange(count)
        rows = jnp.resize(order, (steps, size))  # wraps round to the first examples
        weights = (jnp.arange(steps * size) < count).astype(jnp.float32)
        return rows, weights.reshape(steps, size)

    return plan


def take_rows(data: Arrays, row: tuple[Array, Array]) -> tuple[Arrays, Array]:
    """The examples of a row, ``(indices, weights)``, of a plan."""
    indices, weights = row
    return jax.tree.map(lambda a: a[indices], data), weights
