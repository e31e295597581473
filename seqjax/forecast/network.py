"""The network of a forecaster: naive forecasts, mixed by a gate, and a correction.

::

    scaled = (history - median) / mean absolute deviation      of the window
    state  = recurrent layers(scaled values, those one season before, calendar, covariates)
    point  = sum_k gate_k naive_k + correction                 gate and correction from the state

for each step ahead. So training begins near the best of several naive forecasts, at any level
and amplitude of a series.

Dimensions: B batch, W history, L window, H horizon, G naive forecasts, N outputs of the head.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from seqjax import models, nn
from seqjax.forecast.arrays import Windows
from seqjax.forecast.heads import head_of
from seqjax.forecast.settings import Settings

SMALLEST_WIDTH = 0.1  # of a window's scale, as a part of that of its whole history
CONTEXT, AHEAD = 16, 32  # features of the state that a step ahead sees, and of its hidden layer


class Sizes(NamedTuple):
    """What a network's shapes follow from, besides its settings.

    Attributes:
        ahead: features of each time, of calendar and known covariates.
        past: covariates known up to now.
        static: covariates of a series.
    """

    ahead: int
    past: int
    static: int


class Answer(NamedTuple):
    """A network's answer, on the scale of the window.

    Attributes:
        outputs: [B, H, N], see `seqjax.forecast.heads`.
        shift: [B], of the window.
        width: [B]; ``value * width + shift`` is on the scale of the history.
    """

    outputs: Array
    shift: Array
    width: Array


class Network(NamedTuple):
    """The models of a forecaster.

    Attributes:
        encoder: reads a window.
        ahead: reads a part of the state and the features of a time ahead, or None.
    """

    encoder: models.Model
    ahead: models.Model | None

    def init(self, key: Array) -> dict[str, Any]:
        """Parameters; with those of the outputs at zero training begins at the naive forecasts."""
        params = {"encoder": _still(self.encoder, self.encoder.init(jax.random.fold_in(key, 0)))}
        if self.ahead is not None:
            params["ahead"] = _still(self.ahead, self.ahead.init(jax.random.fold_in(key, 1)))
        return params


def _still(model: models.Model, params: Any) -> Any:
    """Parameters with a last dense layer whose kernel is zero."""
    assert isinstance(model.layer, nn.Stack)
    last = f"layers_{len(model.layer.layers) - 1}"

    def still(path: Any, leaf: Array) -> Array:
        names = {jax.tree_util.keystr((entry,), simple=True) for entry in path}
        return jnp.zeros_like(leaf) if {last, "kernel"} <= names else leaf

    return jax.tree_util.tree_map_with_path(still, params)


def network_of(settings: Settings, sizes: Sizes) -> Network:
    """The models of a forecaster."""
    each = len(_naive_names(settings)) + head_of(settings).outputs
    outputs, ahead = settings.answers * each, None
    if sizes.ahead and settings.strategy != "sequence":
        # Times ahead are read by a small network of their own, the same for all of them.
        layers = (nn.Dense(AHEAD, "relu"), nn.Dense(each))
        steps = min(settings.answers, 64)
        ahead = models.from_layer(nn.Stack(layers), CONTEXT + sizes.ahead + steps)
        outputs += CONTEXT
    features = 2 + len(settings.seasons) + sizes.ahead + sizes.past + sizes.static
    if settings.model == "linear":
        # One step of features: the whole window.
        stack = nn.Stack((nn.Dense(outputs),))
        return Network(models.from_layer(stack, settings.window * features, last=True), ahead)
    body = models.layers(settings.model, settings.features, dropout=settings.dropout)
    stack = nn.Stack((*body, nn.Dense(outputs)), dropout=settings.dropout)
    every = settings.strategy == "sequence"
    return Network(models.from_layer(stack, features, last=not every), ahead)


def answer(
    network: Network, settings: Settings, params: Any, windows: Windows, key: Array | None = None
) -> Answer:
    """The forecast of windows. With "sequence" that at their last step.

    Args:
        network: the models.
        settings: of the forecaster.
        params: of the network.
        windows: what it reads; its history has at least ``settings.history`` steps.
        key: for dropout; None for none.
    """
    history, shift, width = _scaled(settings, windows)
    read = _features(settings, history, windows)
    if settings.model == "linear":
        read = read.reshape(len(read), 1, -1)
    raw = network.encoder.apply(params["encoder"], read, key=key)
    if settings.strategy == "sequence":
        raw = raw[:, -1]
    each = len(_naive_names(settings)) + head_of(settings).outputs
    size = settings.answers * each
    rows = raw[:, :size].reshape(len(raw), settings.answers, each)
    if network.ahead is not None:
        rows = rows + _ahead(network.ahead, settings, params["ahead"], raw[:, size:], windows)
    naive, known = _naive(settings, history, 0)
    return Answer(_mix(rows, naive, known), shift, width)


def answers_within(
    network: Network, settings: Settings, params: Any, windows: Windows, key: Array | None = None
) -> Answer:
    """With "sequence": the forecasts at every step of the window, outputs [B, L, H, N]."""
    history, shift, width = _scaled(settings, windows)
    read = _features(settings, history, windows)
    raw = network.encoder.apply(params["encoder"], read, key=key)
    naive, known = jax.vmap(partial(_naive, settings), (None, 0), 1)(
        history, jnp.arange(settings.window - 1, -1, -1)
    )
    rows = raw.reshape(*raw.shape[:2], settings.answers, -1)
    return Answer(_mix(rows, naive, known), shift, width)


def _scaled(settings: Settings, windows: Windows) -> tuple[Array, Array, Array]:
    """The history on the scale of its window, and the scale: median and absolute deviation.

    A constant history has no deviation: a tenth of its value stands for it, or 1 where it is 0,
    in the unit of the series, so that the scale follows from the history alone.
    """
    history = windows.history
    window = history[:, -settings.window :]
    known = jnp.isfinite(window)
    count = jnp.maximum(jnp.sum(known, axis=1), 1)
    shift = jnp.zeros(len(window))
    if settings.loss != "negative_binomial":
        # The middle of the known values, which sort before those that are not.
        ranked = jnp.sort(jnp.where(known, window, jnp.inf), axis=1)
        middle = jnp.stack([(count - 1) // 2, count // 2], axis=1)
        shift = jnp.mean(jnp.take_along_axis(ranked, middle, axis=1), axis=1)
        shift = jnp.where(jnp.any(known, axis=1), shift, 0.0)

    def deviation(values: Array) -> Array:
        known = jnp.isfinite(values)
        distance = jnp.where(known, jnp.abs(values - shift[:, None]), 0.0)
        return jnp.sum(distance, axis=1) / jnp.maximum(jnp.sum(known, axis=1), 1)

    width = jnp.maximum(deviation(window), SMALLEST_WIDTH * deviation(history))
    level = 0.1 * jnp.abs(shift * windows.width + windows.shift)
    still = jnp.where(level > 1e-6 * windows.width, level, 1.0) / windows.width
    width = jnp.where(width > 1e-6, width, still)
    return (history - shift[:, None]) / width[:, None], shift, width


def _features(settings: Settings, history: Array, windows: Windows) -> Array:
    """What the network reads, [B, L, features]."""
    length, steps = history.shape[1], settings.window
    value = history[:, length - steps :]
    columns = [value, jnp.isfinite(value).astype(value.dtype)]
    for season in settings.seasons:  # one season before the step after
        columns.append(history[:, length - steps + 1 - season : length + 1 - season])
    known = jnp.stack([jnp.where(jnp.isfinite(one), one, 0.0) for one in columns], axis=-1)
    static = jnp.broadcast_to(windows.static[:, None], (*known.shape[:2], windows.static.shape[-1]))
    # The time of the step after: what there is to know when it is forecast.
    after = windows.ahead[:, length - steps + 1 : length + 1]
    return jnp.concatenate([known, after, windows.past[:, length - steps :], static], axis=-1)


def _naive_names(settings: Settings) -> list[str]:
    """The naive forecasts that a gate weighs."""
    names = ["median", "last value", "drift"]
    for season in settings.seasons:
        names += [
            f"season {season}",
            f"season {season} and its last change",
            f"season {season} and its drift",
            f"mean of seasons {season} and its drift",
        ]
    return names


RECENT = 8  # steps in which the last known value is looked for
CYCLES = 5  # of a season that are averaged, where the history has so many


def _naive(settings: Settings, history: Array, back: Any) -> tuple[Array, Array]:
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


def _mix(rows: Array, naive: Array, known: Array) -> Array:
    """The head's outputs: the naive forecasts as the gate weighs them, and the correction."""
    count = naive.shape[-1]
    gate = jax.nn.softmax(jnp.where(known, rows[..., :count], -jnp.inf), axis=-1)
    point = jnp.sum(gate * naive, axis=-1, keepdims=True)
    return jnp.concatenate([rows[..., count : count + 1] + point, rows[..., count + 1 :]], axis=-1)


def _ahead(
    model: models.Model, settings: Settings, params: Any, state: Array, windows: Windows
) -> Array:
    """What the times ahead add to the outputs, [B, H, each]."""
    horizon, batch = settings.answers, len(state)
    times = windows.ahead[:, -horizon:]
    steps = min(horizon, 64)
    place = jax.nn.one_hot(jnp.arange(horizon) * steps // horizon, steps)
    columns = (
        jnp.broadcast_to(state[:, None], (batch, horizon, state.shape[-1])),
        times,
        jnp.broadcast_to(place[None], (batch, horizon, steps)),
    )
    return model.apply(params, jnp.concatenate(columns, axis=-1))
