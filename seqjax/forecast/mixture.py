"""The naive forecasts that a network mixes by a gate, and the weights that training begins with.

A naive forecast that has been good is trusted more:

    weights = softmax(logits + trust * scores)

The scores are of the window: how far each forecast was off on the last values known, made from
some steps before them. Logits and trust are those that mix best on windows of the training
(`stacked`), until the network changes them.

Dimensions: B batch, W history, H horizon, G naive forecasts, N outputs of the head, S seasons,
C cycles.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqjax.forecast.arrays import Array, numpy_of
from seqjax.forecast.settings import CYCLES, Settings

FEW = 5  # cycles of a short mean
RECENT = 10  # steps in which the last known value is looked for
EARLIER = 2  # forecasts, one horizon before another, that tell how good each is
_OF_SEASON = (
    "season {}",
    "season {} and its last change",
    "season {} and its drift",
    "mean of seasons {}",
    f"mean of {FEW} seasons {{}} and its drift",
    "mean of seasons {} and its drift",
    "mean of seasons {} at the last level",
    "mean change of seasons {}",
)


class Naive(NamedTuple):
    """The naive forecasts of windows.

    Attributes:
        values: [B, H, G], 0 where there is none.
        known: [B, H, G], which of them exist.
        scores: [B, G], how good each was: minus the logarithm of its mean absolute error, as a
            part of that of all; 0 where it cannot be told.
    """

    values: Array
    known: Array
    scores: Array


class Gate(NamedTuple):
    """The weights of naive forecasts, the same for all windows.

    Attributes:
        logits: [G]
        trust: [], what the scores are multiplied by.
    """

    logits: Array
    trust: Array


def naive_names(settings: Settings) -> list[str]:
    """The naive forecasts that a gate weighs; a season of 1 is none."""
    seasons = (1, *settings.seasons)
    return ["median", "mean", "drift", *(name.format(m) for m in seasons for name in _OF_SEASON)]


def naive(settings: Settings, history: Array, back: Any = 0) -> tuple[Array, Array]:
    """Naive forecasts from so many steps before the end, and which of them exist.

    Means are of at most `CYCLES` cycles. The drift of a season is the change between the means of
    the halves of what is known, in whole cycles; "drift" takes the halves of the window.

    Args:
        settings: of the forecaster.
        history: [B, W], NaN where missing; of NumPy or JAX, as are the forecasts.
        back: steps.

    Returns:
        [B, H, G] values, 0 where there is none, and [B, H, G] whether there is one.
    """
    xp = numpy_of(history)
    end = history.shape[1] - 1 - back  # place of the last value
    ahead, season = np.arange(1, settings.answers + 1), np.array([[1, *settings.seasons]])
    # Steps before each step ahead, of each season and cycle: [S, C, H].
    cycles = -(-ahead // season[0, :, None, None]) + np.arange(CYCLES)[:, None]
    lags = cycles * season[0, :, None, None]
    known = xp.isfinite(history)
    sums = _running(xp.where(known, history, 0.0))
    counts = _running(known.astype(history.dtype))

    def mean(steps: Array, before: Array | int = 0) -> Array:
        """Of so many values, [B, S], up to so many before the last; NaN of too few."""
        stop = xp.maximum(end + 1 - before + 0 * steps, 0)
        start = xp.maximum(stop - steps, 0)
        total, count = (_taken(one, stop) - _taken(one, start) for one in (sums, counts))
        enough = (2 * count >= steps) & (count > 0)
        return xp.where(enough, total / xp.maximum(count, 1.0), np.nan)

    def change(half: Array) -> Array:
        """A step's mean change, between the last so many values and as many before, [B, S]."""
        return (mean(half) - mean(half, half)) / half

    span = xp.maximum(end + 1 - xp.argmax(known, axis=1), 1)[:, None]
    drift = change(xp.maximum(span // (2 * season), 1) * season)
    whole = xp.clip(span // season, 1, CYCLES) * season
    recent = _at(history, (end - np.arange(RECENT))[None])
    first = xp.argmax(xp.isfinite(recent), axis=1)[:, None]
    last = xp.take_along_axis(recent, first, axis=1)
    values = _at(history, (end + (ahead - lags))[None])
    moved = values + drift[..., None, None] * lags[None]
    since = season[..., None] * np.arange(1, CYCLES + 1)
    before_last = _at(history, (end - first)[..., None] - since)
    of_last = mean_of_known(before_last + drift[..., None] * since, axis=2)
    average, drawn = mean_of_known(values, axis=2), mean_of_known(moved, axis=2)
    of_season = (
        values[:, :, 0],
        values[:, :, 0] + (last - before_last[..., 0])[..., None],
        moved[:, :, 0],
        average,
        mean_of_known(moved[:, :, :FEW], axis=2),
        drawn,
        average + (mean(season) - mean(whole))[..., None],
        drawn + (last - of_last)[..., None],
    )
    shape = (len(history), len(ahead))
    line = last + change(np.array([[max(settings.window // 2, 1)]])) * ahead[None]
    others = (xp.zeros(shape), xp.broadcast_to(mean(span), shape), line)
    columns = xp.stack(of_season, axis=2).reshape(len(history), -1, len(ahead))
    found = xp.concatenate([xp.stack(others, axis=1), columns], axis=1)
    found = xp.moveaxis(found, 1, 2)
    there = xp.isfinite(found)
    return xp.where(there, found, 0.0), there


def naive_of(settings: Settings, history: Array, back: Any = 0) -> Naive:
    """The naive forecasts from so many steps before the end, and their scores.

    Args:
        settings: of the forecaster.
        history: [B, W]
        back: steps.

    Returns:
        The forecasts, of NumPy or JAX as the history is.
    """
    xp, steps = numpy_of(history), settings.answers
    batch, length = history.shape
    nothing = xp.full((batch, EARLIER * steps), np.nan, history.dtype)
    padded = xp.concatenate([nothing, history], axis=1)
    first = EARLIER * steps - steps * np.arange(EARLIER + 1)
    shifted = xp.concatenate([padded[:, one : one + length] for one in first.tolist()])
    found, known = (
        one.reshape(EARLIER + 1, batch, steps, -1) for one in naive(settings, shifted, back)
    )
    # What followed each earlier forecast is the end of the history that the next one reads.
    actual = _at(shifted[: EARLIER * batch], (length - back - steps + np.arange(steps))[None])
    actual = actual.reshape(EARLIER, batch, steps, 1)
    there = known[1:] & xp.isfinite(actual)
    off = xp.sum(xp.where(there, xp.abs(found[1:] - actual), 0.0), axis=(0, 2))
    count = xp.sum(there, axis=(0, 2))
    error = off / xp.maximum(count, 1)
    told = xp.sum(count > 0, axis=1, keepdims=True)
    typical = xp.sum(error, axis=1, keepdims=True) / xp.maximum(told, 1)
    share = xp.clip(error / xp.maximum(typical, 1e-6), 1e-2, 1e2)
    return Naive(found[0], known[0], xp.where(count > 0, -xp.log(share), 0.0))


def mixed(rows: Array, found: Naive, trust: Array) -> jax.Array:
    """The head's outputs: the naive forecasts as the gate weighs them, and the correction.

    Args:
        rows: [B, H, G + N], of the network.
        found: of the windows.
        trust: [], in the scores.
    """
    count = found.values.shape[-1]
    point = _mixture(rows[..., :count], trust, found)[..., None]
    return jnp.concatenate([rows[..., count : count + 1] + point, rows[..., count + 1 :]], axis=-1)


def _mixture(logits: Array, trust: Array, found: Naive) -> jax.Array:
    logits = logits + trust * found.scores[:, None, :]
    weights = jax.nn.softmax(logits, axis=-1, where=found.known)
    return jnp.sum(weights * found.values, axis=-1)


# Of Adam, which finds the weights; of the logits that it begins with, the power of each forecast's
# inverse error; and how many values weigh as much as the wish to stay there.
_ROUNDS, _RATE, _POWER, _VALUES = 100, 0.2, 4.0, 10.0


def stacked(found: Naive, targets: Array, counted: Array, values: int) -> Gate:
    """The gate whose mixture of windows' naive forecasts has the least mean absolute error.

    It is kept near weights that follow from the error of each forecast alone, and a trust of 1,
    the nearer the fewer values there are to learn from.

    Args:
        found: of windows, on their scales.
        targets: [B, H], on the same; NaN where missing.
        counted: [B], which windows count.
        values: from how many the windows are drawn.

    Source: L. Breiman, "Stacked regressions", Machine Learning 24 (1996): weights that are
    positive, here with sum 1.
    """
    return _stacked(found, targets, counted, np.float32(_VALUES / values))


@jax.jit
def _stacked(found: Naive, targets: Array, counted: Array, stay: Array) -> Gate:
    there = jnp.isfinite(targets) & counted[:, None]
    targets = jnp.where(there, targets, 0.0)
    both = found.known & there[..., None]
    off = jnp.sum(jnp.where(both, jnp.abs(found.values - targets[..., None]), 0.0), axis=(0, 1))
    count = jnp.sum(both, axis=(0, 1))
    alone = jnp.where(count > 0, off / jnp.maximum(count, 1), jnp.inf)
    share = jnp.clip(alone / jnp.maximum(jnp.min(alone), 1e-6), 1.0, 1e2)
    share = jnp.where(count > 0, share, 1e2)  # the worst; all alike where nothing is told
    start = Gate(-_POWER * jnp.log(share), jnp.ones(()))

    def loss(gate: Gate) -> jax.Array:
        errors = jnp.abs(_mixture(gate.logits[None, None], gate.trust, found) - targets)
        moved = jnp.mean(jnp.square(gate.logits - start.logits)) + jnp.square(gate.trust - 1)
        total = jnp.sum(jnp.where(there, errors, 0.0)) / jnp.maximum(jnp.sum(there), 1)
        return total + stay * moved

    optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, _ROUNDS))

    def better(state: tuple[Gate, Any], _: None) -> tuple[tuple[Gate, Any], None]:
        gate, moments = state
        updates, moments = optimizer.update(jax.grad(loss)(gate), moments)
        return (optax.apply_updates(gate, updates), moments), None  # pyright: ignore

    (gate, _), _ = jax.lax.scan(better, (start, optimizer.init(start)), None, _ROUNDS)
    return gate


def mean_of_known(values: Array, axis: int) -> Array:
    """Of what is not NaN; NaN where nothing is."""
    xp = numpy_of(values)
    known = xp.isfinite(values)
    total = xp.sum(xp.where(known, values, 0.0), axis=axis)
    count = xp.sum(known, axis=axis)
    return xp.where(count > 0, total / xp.maximum(count, 1), np.nan)


def _taken(rows: Array, places: Array) -> Array:
    """Of each row [B, W] the values at its places [B, ...] (of all rows: [1, ...])."""
    xp = numpy_of(rows)
    places = xp.broadcast_to(places, (len(rows), *places.shape[1:]))
    found = xp.take_along_axis(rows, places.reshape(len(rows), -1), axis=1)
    return found.reshape(places.shape)


def _at(history: Array, places: Array) -> Array:
    """As `_taken`; NaN before the first value."""
    xp = numpy_of(history)
    return xp.where(places >= 0, _taken(history, xp.maximum(places, 0)), np.nan)


_BLOCK = 32


def _running(values: Array) -> Array:
    """Sums of the first 0, 1, ... values of each row: two products compile faster than a scan."""
    xp = numpy_of(values)
    batch, length = values.shape
    count = -(-(length + 1) // _BLOCK)
    blocks = xp.pad(values, ((0, 0), (1, count * _BLOCK - length - 1)))
    blocks = blocks.reshape(batch, count, _BLOCK)
    exact = {} if xp is np else {"precision": "highest"}
    within = xp.matmul(blocks, np.triu(np.ones((_BLOCK, _BLOCK), np.float32)), **exact)
    before = np.triu(np.ones((count, count), np.float32), 1)
    sums = within + xp.matmul(within[..., -1], before, **exact)[..., None]
    return sums.reshape(batch, -1)
