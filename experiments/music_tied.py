"""A network for each key, all of the same weights: music moved up is the same music."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments.music_laws import by_interval
from seqjax import models
from seqjax.data.music import KEYS

SHARED = 64  # units that read the intervals, and of the law
_AT_ONCE = 2048  # steps of a batch, each of which is computed once for every key


def for_each_key(inner: models.Model, low: int, count: int) -> models.Model:
    """A model once for each key, of the same weights, that reads what sounds relative to it.

    ``x_k = relu(b + sum_j frames_j w_{j-k})`` goes into `inner`: music that is moved by a
    semitone moves all that is said of it.

    Args:
        inner: of `SHARED` inputs.
        low: the lowest key.
        count: how many there are.

    Returns:
        A model of [..., 88], whose outputs are those for each key, one after the other.
    """

    def init(key: Array) -> Any:
        key, own = jax.random.split(key)
        reads = 0.3 * jax.random.normal(own, (2 * count - 1, SHARED))
        return {"reads": reads, "bias": jnp.zeros(SHARED), "inner": inner.init(key)}

    def seen(params: Any, x: Array) -> Array:
        """[batch, time, 88] as [batch * keys, time, units]."""
        found = jnp.einsum("btj,jkh->bkth", x[..., low : low + count], by_interval(params["reads"]))
        found = jax.nn.relu(found + params["bias"][None, None, None])
        return found.reshape(-1, *found.shape[2:])

    def apart(carry: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), carry)

    def together(carry: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.reshape(-1, count, *leaf.shape[1:]), carry)

    def apply(
        params: Any,
        x: Array,
        initial_carry: Any = None,
        *,
        key: Array | None = None,
        return_carry: bool = False,
    ) -> Any:
        carry, y = inner.apply(
            params["inner"],
            seen(params, x),
            None if initial_carry is None else apart(initial_carry),
            key=key,
            return_carry=True,
        )
        y = jnp.swapaxes(y.reshape(len(x), count, *y.shape[1:]), 1, 2)
        y = y.reshape(*y.shape[:2], -1)
        return (together(carry), y) if return_carry else y

    def step(params: Any, carry: Any, x: Array) -> Any:
        carry, y = inner.step(params["inner"], apart(carry), seen(params, x[:, None])[:, 0])
        return together(carry), y.reshape(len(x), -1)

    def initial_carry(batch: int) -> Any:
        return together(inner.initial_carry(batch * count))

    return models.Model(init, apply, initial_carry, step, inputs=KEYS)


def keys_of(rolls: Sequence[np.ndarray]) -> tuple[int, int]:
    """The lowest key that sounds in pieces, and how many there are up to the highest."""
    used = np.flatnonzero(np.any([roll.any(axis=0) for roll in rolls], axis=0))
    return (int(used[0]), int(used[-1] - used[0] + 1)) if len(used) else (0, KEYS)


def most_at_once(parts: Iterable[Sequence[np.ndarray]]) -> int:
    """How many pieces may be in a batch, so that the longest fit into memory; 1 at least.

    Example:
        >>> most_at_once([[np.zeros((100, 88))], [np.zeros((700, 88))]])
        2
    """
    return max(1, _AT_ONCE // max(len(roll) for rolls in parts for roll in rolls))
