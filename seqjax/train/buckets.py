"""Sequences of unequal length in batches of few shapes: little padding, one program."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from seqjax.train.batches import Batches, take_rows

_CANDIDATES = 512  # limits that are tried; more lengths are thinned out


class Buckets(NamedTuple):
    """Where sequences are put by their length.

    Attributes:
        limits: steps of each bucket, ascending; the last holds the longest.
        valid: steps of all sequences together.
        padded: steps of all, each padded to its bucket's limit.
        longest: steps of all, each padded to the longest.
    """

    limits: tuple[int, ...]
    valid: int
    padded: int
    longest: int

    @property
    def spared(self) -> float:
        """Part of the steps of one shape for all that is not computed.

        Example:
            >>> length_buckets([2, 2, 2, 10], 2).spared
            0.6
        """
        return 1 - self.padded / self.longest


def length_buckets(lengths: Any, buckets: int = 4) -> Buckets:
    """The limits that leave the least padding.

    Args:
        lengths: [examples], integers.
        buckets: how many there may be.

    Returns:
        The buckets; none is empty.

    Raises:
        ValueError: for no lengths, a negative one, or no bucket.

    Example:
        >>> length_buckets([3, 4, 4, 9, 10, 30], 3).limits
        (4, 10, 30)
    """
    lengths = np.maximum(_checked(lengths), 1)
    if buckets < 1:
        raise ValueError(f"length_buckets: there must be at least 1 bucket, not {buckets}.")
    values, counts = np.unique(lengths, return_counts=True)
    if len(values) > _CANDIDATES:
        at = np.linspace(0, len(values) - 1, _CANDIDATES).round().astype(int)
        groups = np.searchsorted(at, np.arange(len(values)))
        counts, values = np.bincount(groups, counts).astype(int), values[at]
    # By dynamic programming: least[j] is the least cost of the first j lengths.
    before = np.concatenate([[0], np.cumsum(counts)])
    least, choices = np.where(before == 0, 0.0, np.inf), []
    for _ in range(min(buckets, len(values))):
        # [i, j]: the first i as they were, those from i to j padded to length number j - 1.
        cost = least[:-1, None] + (before[None, 1:] - before[:-1, None]) * values[None, :]
        cost[np.tril_indices(len(values), -1)] = np.inf
        choices.append(np.argmin(cost, axis=0))
        least = np.concatenate([[0.0], np.min(cost, axis=0)])
    limits, end = [], len(values)
    for choice in reversed(choices):
        if not end:
            break
        limits.append(int(values[end - 1]))
        end = int(choice[end - 1])
    limits = tuple(reversed(limits))
    padded = np.asarray(limits)[np.searchsorted(limits, lengths)].sum()
    return Buckets(limits, int(lengths.sum()), int(padded), int(lengths.max() * len(lengths)))


def bucketed_batches(
    arrays: Mapping[str, Any],
    lengths: Any,
    batch_size: int,
    *,
    along: Sequence[str],
    buckets: int | Buckets = 4,
    shuffle: bool = True,
) -> Batches:
    """Batches of sequences, each cut to the steps of its bucket.

    All shapes are in one compiled program, and shuffled batch by batch; a last batch of a
    bucket is filled up with examples of weight 0. (Where `fit_seeds` puts several seeds on one
    device, which is not the default on a CPU, every seed computes the batches of all shapes:
    then `array_batches` is as fast.)

    Args:
        arrays: with the examples along their first axis.
        lengths: [examples], valid steps of each.
        batch_size: examples in a batch; cut to the number of examples.
        along: names of the arrays whose second axis is time.
        buckets: how many shapes at most, or those of `length_buckets`.
        shuffle: a new order in every epoch, a function of the epoch's key.

    Returns:
        The batches, for `fit`'s `batches` or `validation`.

    Raises:
        ValueError: for arrays of other sizes, or sequences longer than their arrays or than
            the last bucket.

    Example:
        >>> tokens = np.array([[5, 6, 0, 0], [7, 0, 0, 0], [1, 2, 3, 4]])
        >>> lengths = np.array([2, 1, 4])
        >>> batches = bucketed_batches({"x": tokens, "n": lengths}, lengths, 2, along=["x"],
        ...                            buckets=2, shuffle=False)
        >>> which, rows = batches.plan(batches.data, jax.random.key(0))
        >>> for step, k in enumerate(which):
        ...     row = jax.tree.map(lambda a: a[step], rows)
        ...     batch, weights = batches.batch[k](batches.data, row)
        ...     print(batch["x"].tolist(), weights.tolist())
        [[5, 6], [7, 0]] [1.0, 1.0]
        [[1, 2, 3, 4], [1, 2, 3, 4]] [1.0, 0.0]
    """
    lengths = _checked(lengths)
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    sizes = {name: array.shape[:1] for name, array in arrays.items()}
    if unequal := [name for name, size in sizes.items() if size != lengths.shape]:
        raise ValueError(
            f"bucketed_batches: {unequal[0]!r} has {sizes[unequal[0]]} examples, but there are"
            f" {len(lengths)} lengths."
        )
    if missing := [name for name in along if name not in arrays]:
        raise ValueError(f"bucketed_batches: there is no array {missing[0]!r} to cut.")
    if batch_size < 1:
        raise ValueError(f"bucketed_batches: batch_size must be at least 1, not {batch_size}.")
    if not isinstance(buckets, Buckets):
        buckets = length_buckets(lengths, buckets)
    steps = min([arrays[name].shape[1] for name in along], default=buckets.limits[-1])
    if lengths.max() > min(steps, buckets.limits[-1]):
        raise ValueError(
            f"bucketed_batches: a sequence has {lengths.max()} steps, but the arrays have {steps}"
            f" and the last bucket {buckets.limits[-1]}."
        )
    places = np.searchsorted(buckets.limits, np.maximum(lengths, 1))
    members = [np.flatnonzero(places == k) for k in range(len(buckets.limits))]
    data = tuple(
        {
            name: jnp.asarray(array[held, :limit] if name in along else array[held])
            for name, array in arrays.items()
        }
        for limit, held in zip(buckets.limits, members, strict=True)
        if len(held)
    )
    size = min(batch_size, len(lengths))
    counts = tuple(len(held) for held in members if len(held))
    take = tuple(_take(k) for k in range(len(counts)))
    steps = sum(-(-count // size) for count in counts)
    return Batches(data, _plan(counts, size, shuffle), take, steps)


def _checked(lengths: Any) -> np.ndarray:
    found = np.asarray(lengths)
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu" or found.min() < 0:
        raise ValueError(
            f"lengths must be integers [examples], 0 or more, at least one, not {lengths!r}."
        )
    return found


@functools.cache  # the same function for the same arguments: see Batches
def _plan(counts: tuple[int, ...], size: int, shuffle: bool) -> Callable[[Any, Array], Any]:
    def plan(data: Any, key: Array) -> tuple[Array, tuple[Array, Array]]:
        which, rows, weights = [], [], []
        for k, count in enumerate(counts):
            steps = -(-count // size)
            order = jnp.arange(count)
            if shuffle:
                order = jax.random.permutation(jax.random.fold_in(key, k), order)
            rows.append(jnp.resize(order, (steps, size)))  # wraps round to the first examples
            counted = jnp.arange(steps * size) < count
            weights.append(counted.astype(jnp.float32).reshape(steps, size))
            which.append(jnp.full(steps, k, jnp.int32))
        joined = tuple(map(jnp.concatenate, (which, rows, weights)))
        if shuffle:
            order = jax.random.permutation(jax.random.fold_in(key, len(counts)), len(joined[0]))
            joined = jax.tree.map(lambda a: a[order], joined)
        return joined[0], (joined[1], joined[2])

    return plan


@functools.cache
def _take(bucket: int) -> Callable[[Any, Any], tuple[Any, Array]]:
    def take(data: Any, row: tuple[Array, Array]) -> tuple[dict[str, Array], Array]:
        return take_rows(data[bucket], row)

    return take
