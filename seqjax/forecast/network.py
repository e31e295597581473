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

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from seqjax import models, nn
from seqjax.forecast.arrays import Windows
from seqjax.forecast.heads import head_of
from seqjax.forecast.mixture import mixed, naive, naive_names
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

    def init(self, key: Array, gate: Array | None = None) -> dict[str, Any]:
        """Parameters; with those of the outputs at zero training begins at the naive forecasts.

        Args:
            key: of the draws.
            gate: [H, G + N], what is added to the outputs' biases: logits of the gate, and zeros.
        """
        encoder = self.encoder.init(jax.random.fold_in(key, 0))
        params = {"encoder": _still(self.encoder, encoder, gate)}
        if self.ahead is not None:
            params["ahead"] = _still(self.ahead, self.ahead.init(jax.random.fold_in(key, 1)))
        return params


def _still(model: models.Model, params: Any, gate: Array | None = None) -> Any:
    """Parameters with a last dense layer whose kernel is zero; to its bias the gate's is added."""
    assert isinstance(model.layer, nn.Stack)
    last = f"layers_{len(model.layer.layers) - 1}"

    def still(path: Any, leaf: Array) -> Array:
        names = {jax.tree_util.keystr((entry,), simple=True) for entry in path}
        if {last, "bias"} <= names and gate is not None:
            return leaf.at[: gate.size].add(gate.reshape(-1))
        return jnp.zeros_like(leaf) if {last, "kernel"} <= names else leaf

    return jax.tree_util.tree_map_with_path(still, params)


def network_of(settings: Settings, sizes: Sizes) -> Network:
    """The models of a forecaster."""
    each = len(naive_names(settings)) + head_of(settings).outputs
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
    stack = Summary((*body, nn.Dense(outputs)), dropout=settings.dropout)
    every = settings.strategy == "sequence"
    return Network(models.from_layer(stack, features, last=not every), ahead)


class Summary(nn.Stack):
    """A stack whose layers above the recurrent ones see the last state alone.

    The same function as a `Stack`'s end; its dense layer, which answers all horizons, costs a
    third of a training step where it answers at every step of the window.
    """

    @property
    def ends_apart(self) -> bool:
        """True."""
        return True


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
    found, known = naive(settings, history, 0)
    return Answer(mixed(rows, found, known), shift, width)


def answers_within(
    network: Network, settings: Settings, params: Any, windows: Windows, key: Array | None = None
) -> Answer:
    """With "sequence": the forecasts at every step of the window, outputs [B, L, H, N]."""
    history, shift, width = scaled_history(settings, windows)
    read = _features(settings, history, windows)
    raw = network.encoder.apply(params["encoder"], read, key=key)
    found, known = jax.vmap(partial(naive, settings), (None, 0), 1)(
        history, jnp.arange(settings.window - 1, -1, -1)
    )
    rows = raw.reshape(*raw.shape[:2], settings.answers, -1)
    return Answer(mixed(rows, found, known), shift, width)


def scaled_history(settings: Settings, windows: Windows) -> tuple[Array, Array, Array]:
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
