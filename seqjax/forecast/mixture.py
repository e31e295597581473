"""The naive forecasts that a network mixes by a gate, and how good each is before training.

Dimensions: B batch, W history, H horizon, G naive forecasts, N outputs of the head.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.forecast.settings import FEWEST_STEPS, Settings


def naive_names(settings: Settings) -> list[str]:
    """The naive forecasts that a gate weighs."""
    names = ["median", f"mean of the last {RECENT}", "last value", "drift"]
    for season in settings.seasons:
        names += [
            f"season {season}",
            f"season {season} and its last change",
            f"season {season} and its drift",
            f"mean of seasons {season} and its drift",
        ]
    return names


RECENT = 10  # steps of a mean, and in which the last known value is looked for
CYCLES = 5  # of a season that are averaged, where the history has so many


def naive(settings: Settings, history: Array, back: Any) -> tuple[Array, Array]:
    """Naive forecasts from so many steps before the end, and which of them exist.

    Drifts are changes of means: of the window's halves, and of the last two cycles.

    Returns:
        [B, H, G] values, 0 where there is none, and [B, H, G] whether there is one.
    """
    end = history.shape[1] - 1 - back  # place of the last value
    ahead = jnp.arange(1, settings.answers + 1)
    shape = (len(history), settings.answers)

    def at(places: Array) -> Array:
        """The values there, of [places] or [B, places]; NaN before the first."""
        places = jnp.broadcast_to(places, (len(history), places.shape[-1]))
        there = jnp.take_along_axis(history, jnp.maximum(places, 0), axis=1)
        return jnp.where(places >= 0, there, jnp.nan)

    known = jnp.isfinite(history)
    before_first = jnp.zeros((len(history), 1))
    sums, counts = (
        jnp.concatenate([before_first, jnp.cumsum(one, axis=1)], axis=1)
        for one in (jnp.where(known, history, 0.0), known.astype(history.dtype))
    )

    def change(steps: int) -> Array:
        """The mean of the last steps, less that of as many before; NaN of too few, [B, 1]."""
        edges = jnp.maximum(end + 1 - steps * jnp.arange(3), 0)
        total, count = (one[:, edges[:2]] - one[:, edges[1:]] for one in (sums, counts))
        means = jnp.where(2 * count >= steps, total / jnp.maximum(count, 1.0), jnp.nan)
        return means[:, :1] - means[:, 1:]

    recent = at(end - jnp.arange(RECENT))
    first = jnp.argmax(jnp.isfinite(recent), axis=1)[:, None]
    last = jnp.take_along_axis(recent, first, axis=1)
    half = max(settings.window // 2, 1)
    columns = [
        jnp.zeros(shape),
        jnp.broadcast_to(_mean(recent, axis=1)[:, None], shape),
        jnp.broadcast_to(last, shape),
        last + change(half) / half * ahead[None],
    ]
    for season in settings.seasons:
        cycles = (ahead + season - 1) // season
        before = at(end + ahead - cycles * season)
        last_change = last - at(end - first - season)  # of a level that stays where it is now
        drift = change(season)
        each = [
            at(end + ahead - (cycles + more) * season) + (cycles + more)[None] * drift
            for more in range(min(CYCLES, max(history.shape[1] // season, 1)))
        ]
        columns += [before, before + last_change, each[0], _mean(jnp.stack(each), axis=0)]
    values = jnp.stack(columns, axis=-1)
    there = jnp.isfinite(values)
    return jnp.where(there, values, 0.0), there


def _mean(values: Array, axis: int) -> Array:
    """Of what is not NaN; NaN where nothing is."""
    known = jnp.isfinite(values)
    total = jnp.sum(jnp.where(known, values, 0.0), axis=axis)
    count = jnp.sum(known, axis=axis)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)


def mixed(rows: Array, found: Array, known: Array) -> Array:
    """The head's outputs: the naive forecasts as the gate weighs them, and the correction."""
    count = found.shape[-1]
    gate = jax.nn.softmax(jnp.where(known, rows[..., :count], -jnp.inf), axis=-1)
    point = jnp.sum(gate * found, axis=-1, keepdims=True)
    return jnp.concatenate([rows[..., count : count + 1] + point, rows[..., count + 1 :]], axis=-1)


def errors(
    settings: Settings, history: Array, targets: Array, counted: Array
) -> tuple[Array, Array]:
    """How far each naive forecast is off, summed over windows, and of how many.

    Args:
        settings: of the forecaster.
        history: [B, W], on the scale of its window.
        targets: [B, H], on the same; NaN where missing.
        counted: [B], which windows count.

    Returns:
        [H, G] each.
    """
    found, there = naive(settings, history, 0)
    known = jnp.isfinite(targets) & counted[:, None]
    there &= known[..., None]
    off = jnp.abs(found - jnp.where(known, targets, 0.0)[..., None])
    return jnp.sum(jnp.where(there, off, 0.0), axis=0), jnp.sum(there, axis=0)


# The powers 0, 2, 4 and 8 were tried on seven short series, where 4 is the best; long trainings
# on many series end better where they begin at the mean of all (docs/forecast_measures.md).
POWER = 4.0


def gate_of(settings: Settings, total: Array, count: Array) -> Array:
    """Logits [H, G] that weigh each naive forecast by a power of its mean error's inverse.

    The error is that of all steps ahead; a forecast that never existed weighs as the worst. With
    squared errors and the power 1 these are the weights of J. M. Bates and C. W. J. Granger, "The
    combination of forecasts", Operational Research Quarterly 20 (1969). The power is the
    smaller the longer a training is, which finds weights of its own.

    Args:
        settings: resolved.
        total: [H, G], see `errors`.
        count: [H, G], see `errors`.
    """
    power = POWER * min(1.0, FEWEST_STEPS / max(settings.steps, 1))
    seen = jnp.sum(count, axis=0)
    mean = jnp.sum(total, axis=0) / jnp.maximum(seen, 1)
    least = jnp.min(jnp.where(mean > 0, mean, jnp.inf))
    logits = -power * jnp.log(jnp.clip(mean / least, 1e-3, 1e3))
    logits = jnp.where(seen > 0, logits, jnp.min(jnp.where(seen > 0, logits, jnp.inf)))
    return jnp.broadcast_to(jnp.where(jnp.any(seen > 0), logits, 0.0), total.shape)
