"""What holds of every network, trained or not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import nn
from seqjax.forecast import naive
from seqjax.forecast.arrays import Windows
from seqjax.forecast.mixture import Gate, Naive, naive_names, naive_of, stacked
from seqjax.forecast.network import Sizes, answer, answers_within, network_of
from seqjax.forecast.panel import panel_of
from seqjax.forecast.settings import Settings

RNG = np.random.default_rng(0)
SIZES = Sizes(2, 1, 1)


def windows_of(history: np.ndarray, horizon: int) -> Windows:
    batch, length = history.shape
    rng = np.random.default_rng(1)
    return Windows(
        jnp.asarray(history, jnp.float32),
        jnp.asarray(rng.normal(size=(batch, length, 1)), jnp.float32),
        jnp.asarray(rng.normal(size=(batch, length + horizon, 2)), jnp.float32),
        jnp.asarray(rng.normal(size=(batch, 1)), jnp.float32),
        jnp.zeros(batch),
        jnp.ones(batch),
    )


def forecaster(**given):
    settings = Settings(
        **({"model": "gru", "horizon": 4, "seasons": (3,), "window": 6, "features": (5,)} | given)
    )
    network = network_of(settings, SIZES)
    leaves, tree = jax.tree.flatten(network.init(jax.random.key(0)))  # its outputs are zero
    moved = [np.float32(one + 0.3 * RNG.normal(size=one.shape)) for one in map(np.asarray, leaves)]
    params = jax.tree.map(jnp.asarray, jax.tree.unflatten(tree, moved))
    return settings, jax.jit(partial(answer, network, settings, params)), network, params


@pytest.mark.parametrize("model", ["gru", "wavenet", "linear", "lru"])
def test_forecasts_follow_level_and_amplitude(model: str):
    """Of ``a y + b`` the forecast is ``a`` times that of ``y``, and ``b``."""
    settings, forecast, *_ = forecaster(model=model)
    history = RNG.normal(size=(3, settings.history))
    history[1, 3] = np.nan
    one = forecast(windows_of(history, 4))
    other = forecast(windows_of(300 + 7 * history, 4))
    first, second = (
        (found.outputs[..., 0] * found.width[:, None] + found.shift[:, None])
        for found in (one, other)
    )
    np.testing.assert_allclose(second, 300 + 7 * first, rtol=2e-4)


def test_every_step_ahead_has_seen_the_last_value():
    _, forecast, *_ = forecaster()
    history = jnp.asarray(RNG.normal(size=(1, 8)), jnp.float32)
    rest = windows_of(np.asarray(history), 4)

    def points(history):
        found = forecast(rest._replace(history=history))
        return (found.outputs[0, :, 0] * found.width + found.shift)[:, None]

    gradient = np.asarray(jax.jit(jax.jacobian(points))(history))[:, 0, 0]
    assert (gradient[:, -1] != 0).all()
    assert (gradient != 0).any(axis=0).all()  # and every value of the history counts


def test_naive_forecasts_are_those_of_the_baselines():
    settings = Settings("gru", 8, (3, 5), window=6)
    history = RNG.normal(size=(4, settings.history)).astype(np.float32)
    found = naive_of(settings, history)
    assert found.known.all()
    for one, compiled in zip(found, jax.jit(partial(naive_of, settings))(history), strict=True):
        np.testing.assert_allclose(compiled, one, atol=2e-4)  # by NumPy and by JAX
    panel = panel_of({str(i): one for i, one in enumerate(history)})
    values = np.moveaxis(np.asarray(found.values), -1, 0)
    of_name = dict(zip(naive_names(settings), values, strict=True))
    np.testing.assert_array_equal(of_name["median"], 0)
    for name, expected in (
        ("season 1", naive.last_value(panel, 8)),
        ("mean of seasons 1", naive.mean_of_last(panel, 8, 20)),
        ("mean", naive.mean_of_last(panel, 8, settings.history)),
        ("season 3", naive.seasonal_naive(panel, 8, 3)),
        ("season 5", naive.seasonal_naive(panel, 8, 5)),
        # That of a level which stays where it is now.
        (
            "season 3 and its last change",
            naive.seasonal_naive(panel, 8, 3) + (history[:, -1:] - history[:, -4:-3]),
        ),
    ):
        np.testing.assert_allclose(of_name[name], expected, rtol=1e-4, atol=1e-5)
    cycle = history[:, -60:].reshape(4, 20, 3)
    level = history[:, -3:].mean(axis=1) - cycle.mean(axis=(1, 2))
    average = np.tile(cycle.mean(axis=1), 3)[:, :8]
    np.testing.assert_allclose(of_name["mean of seasons 3"], average, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        of_name["mean of seasons 3 at the last level"], average + level[:, None], atol=1e-5
    )


def test_naive_forecasts_are_right_where_a_series_is_what_they_take_it_for():
    """A line and seasons: all that know of a drift; whatever comes before the series."""
    settings = Settings("gru", 8, (3,), window=6)
    time = np.arange(settings.history + 8.0)
    wave = np.array([1.0, 5.0, -2.0])[time.astype(int) % 3]
    for slope, words in ((0.5, ("drift", "change of")), (0.0, ("season 3", "seasons 3"))):
        whole = np.stack([slope * time + wave] * 2).astype(np.float32)
        whole[1, :7] = np.nan
        history, ahead = whole[:, :-8], whole[:, -8:]
        found = naive_of(settings, history)
        exact = [
            which
            for which, name in enumerate(naive_names(settings))
            if "s 3" in name.replace("season 3", "seasons 3") and any(one in name for one in words)
        ]
        assert len(exact) >= 4
        expected = np.broadcast_to(ahead[..., None], (2, 8, len(exact)))
        np.testing.assert_allclose(found.values[..., exact], expected, atol=1e-3)
        # The forecasts that were right just before are trusted, the others are not.
        scores = np.asarray(found.scores)
        others = np.setdiff1d(np.arange(scores.shape[-1]), exact)
        assert scores[:, exact].min() > 3 > scores[:, others].min(axis=1).max()


def test_training_begins_at_the_mixture_that_is_best_on_what_is_known():
    settings, _, network, _ = forecaster()
    history = RNG.normal(size=(200, settings.history)).astype(np.float32)
    found = naive_of(settings, history)
    names = naive_names(settings)
    pair = [names.index("season 1"), names.index("season 3")]
    values = np.asarray(found.values)
    targets = values[..., pair] @ np.array([0.3, 0.7])
    targets[0, 1] = np.nan
    targets[1:3] = 100.0
    counted = np.arange(200) > 2
    gate, few = (stacked(found, targets, counted, values) for values in (10**6, 1))

    def errors(point: np.ndarray) -> np.ndarray:
        return np.nanmean(np.abs(point - targets[..., None])[counted], axis=(0, 1))

    def mixture(gate: Gate, found: Naive) -> np.ndarray:
        weights = np.exp(np.asarray(gate.logits) + np.asarray(gate.trust) * found.scores)
        weights = weights / weights.sum(axis=-1, keepdims=True)
        return np.sum(weights[:, None] * found.values, axis=-1)

    # What the targets are made of; of little data the power of each forecast's inverse error.
    off = errors(values)
    assert errors(mixture(gate, found)[..., None]) < 0.05 * off.min()
    np.testing.assert_allclose(few.logits, -4 * np.log(off / off.min()), atol=0.1)
    np.testing.assert_allclose(few.trust, 1.0, atol=0.05)
    windows = windows_of(history[:5], 4)
    begun = network.init(jax.random.key(1), few)
    answered = jax.jit(partial(answer, network, settings))(begun, windows)
    shift, width = (np.asarray(one)[:, None] for one in answered[1:])
    own = naive_of(settings, (history[:5] - shift) / width)
    np.testing.assert_allclose(answered.outputs[..., 0], mixture(few, own), rtol=1e-3, atol=1e-4)


def test_what_is_missing_is_no_naive_forecast():
    settings = Settings("gru", 3, (4,), window=4)
    history = np.full((1, settings.history), np.nan, np.float32)
    history[0, -2] = 2.0
    found = naive_of(settings, history)
    by_name = dict(zip(naive_names(settings), np.asarray(found.known[0]).T, strict=True))
    assert by_name["median"].all()
    assert by_name["mean of seasons 1"].all()  # the last that is known
    assert by_name["season 4"].tolist() == [False, False, True]
    for name in ("and its last change", "and its drift"):
        assert not by_name[f"season 4 {name}"].any()
    assert not by_name["mean change of seasons 4"].any()
    assert found.values[0, :, 1].tolist() == [2.0] * 3
    assert not found.scores.any()
    _, forecast, *_ = forecaster(model="gru", horizon=3, seasons=(4,), window=4)
    nothing = forecast(windows_of(np.full((1, settings.history), np.nan), 3))
    assert np.isfinite(nothing.outputs).all()


def test_forecasts_within_a_window_end_with_that_behind_it():
    settings, forecast, network, params = forecaster(strategy="sequence")
    windows = windows_of(RNG.normal(size=(2, settings.history)), 4)
    within = jax.jit(partial(answers_within, network, settings))(params, windows)
    assert within.outputs.shape == (2, settings.window, 4, 1)
    last = forecast(windows).outputs
    np.testing.assert_allclose(within.outputs[:, -1], last, rtol=1e-5, atol=1e-5)


def test_a_head_that_sees_the_last_state_alone_answers_what_it_answers_at_the_last_step():
    _, _, network, params = forecaster(model="lstm", dropout=0.0)
    whole = nn.Stack(network.encoder.layer.layers)
    x = jnp.asarray(RNG.normal(size=(3, 6, network.encoder.inputs)), jnp.float32)
    every = np.asarray(jax.jit(whole.apply)({"params": params["encoder"]}, x))
    one = jax.jit(network.encoder.apply)(params["encoder"], x, key=jax.random.key(0))
    np.testing.assert_allclose(one, every[:, -1], atol=1e-5)
