"""Distributions of the keys of a step: each alone, each after the lower ones, weights shared."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Float

from seqjax.data.music import KEYS

HIDDEN = 32  # units of a NADE
_RARE = -10.0  # logit of a key beyond those of the training part


class Law(NamedTuple):
    """What the outputs of a network say of the keys that sound next.

    Attributes:
        init: ``key -> params`` of its own.
        logits: ``(params, y [..., outputs], frames [..., 88]) -> [..., 88]``; those of a key may
            read the lower ones of `frames`.
        draw: ``(params, key, y [batch, outputs]) -> frames [batch, 88]``.
    """

    init: Callable[[Array], dict[str, Array]]
    logits: Callable[[Any, Array, Array], Array]
    draw: Callable[[Any, Array, Array], Array]


def nats(
    law: Law,
    params: Any,
    y: Float[Array, "batch time outputs"],
    frames: Float[Array, "batch time 88"],
) -> Float[Array, "batch time"]:
    """Negative log-likelihood of each step, the sum over its keys.

    ``-sum_k x_k log p_k + (1 - x_k) log(1 - p_k)``, ``p = sigmoid(logits)``.

    Args:
        law: of the keys.
        params: the law's own.
        y: a network's outputs.
        frames: the keys that sound, zeros and ones.

    Returns:
        Nats.

    Source: Boulanger-Lewandowski et al., arXiv 1206.6392.
    """
    logits = law.logits(params, y.astype(jnp.float32), frames)
    return jnp.sum(optax.sigmoid_binary_cross_entropy(logits, frames), axis=-1)


def apart() -> Law:
    """Keys that do not depend on each other; 88 outputs are their logits."""

    def draw(params: Any, key: Array, y: Array) -> Array:
        return jax.random.bernoulli(key, jax.nn.sigmoid(y)).astype(y.dtype)

    return Law(lambda key: {}, lambda params, y, frames: y, draw)


def nade() -> Law:
    """Each key after the lower ones: ``p_k = sigmoid(b_k + v_k sigmoid(c + sum_{j<k} x_j w_j))``.

    Outputs are [b, c], 88 and 32.

    Source: Larochelle and Murray, AISTATS 2011; with a recurrent network Boulanger-Lewandowski et
    al., arXiv 1206.6392.
    """

    def init(key: Array) -> dict[str, Array]:
        own = 0.01 * jax.random.normal(key, (2, KEYS, HIDDEN))
        return {"reads": own[0], "writes": own[1]}

    def logits(params: Any, y: Array, frames: Array) -> Array:
        # [j, k, hidden]: what key j tells key k; one product in place of running sums.
        lower = jnp.triu(jnp.ones((KEYS, KEYS)), 1)[:, :, None] * params["reads"][:, None]
        told = jnp.einsum("btj,jkh->btkh", frames, lower)
        hidden = jax.nn.sigmoid(y[..., None, KEYS:] + told)
        return y[..., :KEYS] + jnp.sum(hidden * params["writes"][None, None], axis=-1)

    def draw(params: Any, key: Array, y: Array) -> Array:
        def one(told: Array, own: tuple[Array, ...]) -> tuple[Array, Array]:
            bias, reads, writes, noise = own
            logit = bias + jax.nn.sigmoid(told) @ writes
            drawn = (noise < jax.nn.sigmoid(logit)).astype(y.dtype)
            return told + drawn[:, None] * reads[None], drawn

        noise = jax.random.uniform(key, (KEYS, len(y)))
        own = (y[:, :KEYS].T, params["reads"], params["writes"], noise)
        return lax.scan(one, y[:, KEYS:], own)[1].T

    return Law(init, logits, draw)


def tied(low: int, count: int, hidden: int, *, nade: bool) -> Law:
    """A NADE whose weights depend on intervals, not on keys; or without its sum, each key alone.

    ``p_k = sigmoid(b + v relu(c_k + e_k + sum_{j<k} x_j w_{k-j}))``, c_k the outputs for a key.

    Args:
        low: the lowest key that may sound, 0 to 87; beyond them all are all but silent.
        count: how many there are.
        hidden: units; outputs are [count * hidden].
        nade: whether keys depend on the lower ones.

    Source: Johnson, "Generating polyphonic music using tied parallel networks", EvoMUSART 2017,
    whose networks for each key share their weights; the law is a NADE's.
    """

    def init(key: Array) -> dict[str, Array]:
        reads, writes = jax.random.split(key)
        found = {
            "own": jnp.zeros((count, hidden)),
            "writes": jax.random.normal(writes, (hidden,)) / hidden**0.5,
            "bias": jnp.array(-3.0),  # most keys are silent
        }
        if nade:
            found["reads"] = 0.1 * jax.random.normal(reads, (count - 1, hidden))
        return found

    def inside(params: Any, y: Array) -> Array:
        shape = *y.shape[:-1], count, hidden
        return y.reshape(shape) + jnp.expand_dims(params["own"], range(y.ndim - 1))

    def answer(params: Any, units: Array) -> Array:
        return jax.nn.relu(units) @ params["writes"] + params["bias"]

    def logits(params: Any, y: Array, frames: Array) -> Array:
        units = inside(params, y)
        if nade:
            none = jnp.zeros((count, hidden))
            reads = by_interval(jnp.concatenate([params["reads"][::-1], none]))
            units = units + jnp.einsum("btj,jkh->btkh", frames[..., low : low + count], reads)
        ends = [(0, 0)] * (y.ndim - 1) + [(low, KEYS - low - count)]
        return jnp.pad(answer(params, units), ends, constant_values=_RARE)

    def draw(params: Any, key: Array, y: Array) -> Array:
        def one(lower: Array, own: tuple[Array, Array]) -> tuple[Array, Array]:
            units, noise = own
            if nade:
                units = units + lower @ params["reads"]
            drawn = (noise < jax.nn.sigmoid(answer(params, units))).astype(y.dtype)
            return jnp.concatenate([drawn[:, None], lower], axis=1)[:, :-1], drawn

        noise = jax.random.uniform(key, (count, len(y)))
        silent = jnp.zeros((len(y), count - 1), y.dtype)  # a semitone below, two, ...
        drawn = lax.scan(one, silent, (jnp.swapaxes(inside(params, y), 0, 1), noise))[1]
        return jnp.pad(drawn.T, ((0, 0), (low, KEYS - low - count)))

    return Law(init, logits, draw)


def by_interval(weights: Array) -> Array:
    """Weights of intervals as those of pairs of keys: ``[j, k] = weights[j - k + n - 1]``.

    Args:
        weights: [2 n - 1, features], the widest interval downwards first.

    Returns:
        What key j tells key k, [n, n, features].

    Example:
        >>> by_interval(jnp.array([[-1], [0], [1]]))[..., 0].tolist()
        [[0, -1], [1, 0]]
    """
    count = (len(weights) + 1) // 2
    at = jnp.arange(count)
    return weights[at[:, None] - at[None] + count - 1]
