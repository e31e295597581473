"""The network of a forecaster: naive forecasts, mixed by a gate, and a correction.

::

    scaled = (history - median) / mean absolute deviation      of the window
    state  = recurrent layers(scaled values, those one season before, calendar, covariates)
    point  = sum_k gate_k naive_k + correction                 gate and correction from the state

for each step ahead. The gate begins with weights that follow from the errors of the naive
forecasts (`mixture.gate_of`), so training begins near the best of them, at any level
and amplitude of a series.

Dimensions: B batch, W history, L window, H horizon, G naive forecasts, N outputs of the head.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import models, nn
from seqjax.forecast.arrays import Array, Windows, numpy_of
from seqjax.forecast.heads import head_of
from seqjax.forecast.mixture import Gate, mean_of_known, mixed, naive_names, naive_of
from seqjax.forecast.settings import CYCLES, Settings

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

    outputs: jax.Array
    shift: Array
    width: Array


class Network(NamedTuple):
    """The models of a forecaster.

    Attributes:
        encoder: reads a window.
        ahead: reads a part of the state and the features of a time ahead, or None.
        answers: steps that it forecasts at once.
        each: numbers for each of them: the gate's logits, and the head's outputs.
    """

    encoder: models.Model
    ahead: models.Model | None
    answers: int
    each: int

    def init(self, key: Array, gate: Gate | None = None) -> dict[str, Any]:
        """Parameters; with those of the outputs at zero training begins at the naive forecasts.

        Args:
            key: of the draws.
            gate: where training begins; None for one of equal weights.
        """
        encoder = self.encoder.init(jax.random.fold_in(key, 0))
        bias = jnp.zeros((self.answers, self.each))
        if gate is not None:
            bias = bias.at[:, : gate.logits.size].set(gate.logits)
        params = {"encoder": _still(self.encoder, encoder, bias)}
        params["trust"] = jnp.ones(()) if gate is None else jnp.asarray(gate.trust)
        if self.ahead is not None:
            params["ahead"] = _still(self.ahead, self.ahead.init(jax.random.fold_in(key, 1)))
        return params


def _still(model: models.Model, params: Any, bias: Array | None = None) -> Any:
    """Parameters with a last dense layer whose kernel is zero; to its bias another is added."""
    assert isinstance(model.layer, nn.Stack)
    last = f"layers_{len(model.layer.layers) - 1}"

    def still(path: Any, leaf: jax.Array) -> jax.Array:
        names = {jax.tree_util.keystr((entry,), simple=True) for entry in path}
        if {last, "bias"} <= names and bias is not None:
            return leaf.at[: bias.size].add(bias.reshape(-1))
        return jnp.zeros_like(leaf) if {last, "kernel"} <= names else leaf

    return jax.tree_util.tree_map_with_path(still, params)


def network_of(settings: Settings, sizes: Sizes) -> Network:
    """The models of a forecaster."""
    each = len(naive_names(settings)) + head_of(settings).outputs
    outputs, ahead, of_step = settings.answers * each, None, (settings.answers, each)
    if sizes.ahead and settings.strategy != "sequence":
        # Times ahead are read by a small network of their own, the same for all of them.
        layers = (nn.Dense(AHEAD, "relu"), nn.Dense(each))
        steps = min(settings.answers, 64)
        ahead = models.from_layer(nn.Stack(layers), CONTEXT + sizes.ahead + steps)
        outputs += CONTEXT
    features = 2 + 2 * len(settings.seasons) + sizes.ahead + sizes.past + sizes.static
    if settings.model == "linear":
        # One step of features: the whole window.
        stack = nn.Stack((nn.Dense(outputs),))
        return Network(
            models.from_layer(stack, settings.window * features, last=True), ahead, *of_step
        )
    body = models.layers(settings.model, settings.features, dropout=settings.dropout)
    stack = nn.Stack((*body, nn.Dense(outputs)), dropout=settings.dropout)
    every = settings.strategy == "sequence"
    return Network(models.from_layer(stack, features, last=not every), ahead, *of_step)


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
    history, shift, width = scaled_history(settings, windows)
    read = _features(settings, history, windows)
    if settings.model == "linear":
        read = read.reshape(len(read), 1, -1)
    raw = network.encoder.apply(params["encoder"], read, key=key)
    if settings.strategy == "sequence":
        raw = raw[:, -1]
    each = len(naive_names(settings)) + head_of(settings).outputs
    size = settings.answers * each
    rows = raw[:, :size].reshape(len(raw), settings.answers, each)
    if network.ahead is not None:
        rows = rows + _ahead(network.ahead, settings, params["ahead"], raw[:, size:], windows)
    found = naive_of(settings, history)
    return Answer(mixed(rows, found, params["trust"]), shift, width)


def answers_within(
    network: Network, settings: Settings, params: Any, windows: Windows, key: Array | None = None
) -> Answer:
    """With "sequence": the forecasts at every step of the window, outputs [B, L, H, N]."""
    history, shift, width = scaled_history(settings, windows)
    read = _features(settings, history, windows)
    raw = network.encoder.apply(params["encoder"], read, key=key)
    rows = raw.reshape(*raw.shape[:2], settings.answers, -1)

    def outputs(rows: Array, back: Array) -> jax.Array:
        return mixed(rows, naive_of(settings, history, back), params["trust"])

    backs = jnp.arange(settings.window - 1, -1, -1)
    return Answer(jax.vmap(outputs, (1, 0), 1)(rows, backs), shift, width)


def scaled_history(settings: Settings, windows: Windows) -> tuple[Array, Array, Array]:
    """The history on the scale of its window, and the scale: median and absolute deviation.

    A constant history has no deviation: a tenth of its value stands for it, or 1 where it is 0,
    in the unit of the series, so that the scale follows from the history alone.
    """
    history = windows.history
    xp = numpy_of(history)
    window = history[:, -settings.window :]
    known = xp.isfinite(window)
    count = xp.maximum(xp.sum(known, axis=1), 1)
    shift = xp.zeros(len(window), window.dtype)
    if settings.loss != "negative_binomial":
        # The middle of the known values, which sort before those that are not.
        ranked = xp.sort(xp.where(known, window, np.inf), axis=1)
        middle = xp.stack([(count - 1) // 2, count // 2], axis=1)
        shift = xp.mean(xp.take_along_axis(ranked, middle, axis=1), axis=1)
        shift = xp.where(xp.any(known, axis=1), shift, 0.0)

    def deviation(values: Array) -> Array:
        known = xp.isfinite(values)
        distance = xp.where(known, xp.abs(values - shift[:, None]), 0.0)
        return xp.sum(distance, axis=1) / xp.maximum(xp.sum(known, axis=1), 1)

    width = xp.maximum(deviation(window), SMALLEST_WIDTH * deviation(history))
    level = 0.1 * xp.abs(shift * windows.width + windows.shift)
    still = xp.where(level > 1e-6 * windows.width, level, 1.0) / windows.width
    width = xp.where(width > 1e-6, width, still)
    return (history - shift[:, None]) / width[:, None], shift, width


def _features(settings: Settings, history: Array, windows: Windows) -> Array:
    """What the network reads, [B, L, features]."""
    length, steps = history.shape[1], settings.window
    value = history[:, length - steps :]
    columns = [value, jnp.isfinite(value).astype(value.dtype)]
    for season in settings.seasons:  # one season before the step after
        columns.append(history[:, length - steps + 1 - season : length + 1 - season])
        columns.append(_cycle_means(history, season, steps))
    known = jnp.stack([jnp.where(jnp.isfinite(one), one, 0.0) for one in columns], axis=-1)
    static = jnp.broadcast_to(windows.static[:, None], (*known.shape[:2], windows.static.shape[-1]))
    # The time of the step after: what there is to know when it is forecast.
    after = windows.ahead[:, length - steps + 1 : length + 1]
    return jnp.concatenate([known, after, windows.past[:, length - steps :], static], axis=-1)


def _cycle_means(history: Array, season: int, steps: int) -> Array:
    """[B, L], of the step after each the mean of the values known cycles before; NaN of none."""
    first = history.shape[1] - steps + 1
    cycles = np.arange(1, max(min(CYCLES, first // season), 1) + 1)
    values = history[:, first + np.arange(steps) - season * cycles[:, None]]
    return mean_of_known(values, axis=1)


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
