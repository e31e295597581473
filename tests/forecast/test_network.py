"""What holds of every network, trained or not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import nn
from seqjax.forecast import naive
from seqjax.forecast.arrays import Windows
from seqjax.forecast.mixture import POWER, errors, gate_of, naive as naive_of, naive_names
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
    params = network.init(jax.random.key(0))  # its outputs are zero
    leaves, tree = jax.tree.flatten(params)
    moved = [one + 0.3 * RNG.normal(size=one.shape).astype(np.float32) for one in leaves]
    params = jax.tree.unflatten(tree, moved)
    return settings, partial(answer, network, settings, params), network, params


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

    gradient = jax.jacobian(points)(history)[:, 0, 0]
    assert (gradient[:, -1] != 0).all()
    assert (gradient != 0).any(axis=0).all()  # and every value of the history counts


def test_naive_forecasts_are_those_of_the_baselines():
    settings = Settings("gru", 8, (3, 5), window=6)
    history = RNG.normal(size=(4, settings.history)).astype(np.float32)
    found, known = naive_of(settings, jnp.asarray(history), 0)
    assert known.all()
    panel = panel_of({str(i): one for i, one in enumerate(history)})
    of_name = dict(zip(naive_names(settings), np.moveaxis(np.asarray(found), -1, 0), strict=True))
    np.testing.assert_array_equal(of_name["median"], 0)
    for name, expected in (
        ("last value", naive.last_value(panel, 8)),
        ("mean of the last 10", naive.mean_of_last(panel, 8, 10)),
        ("season 3", naive.seasonal_naive(panel, 8, 3)),
        ("season 5", naive.seasonal_naive(panel, 8, 5)),
        # That of a level which stays where it is now.
        (
            "season 3 and its last change",
            naive.seasonal_naive(panel, 8, 3) + (history[:, -1:] - history[:, -4:-3]),
        ),
    ):
        np.testing.assert_allclose(of_name[name], expected, rtol=1e-5)
    halves = history[:, -3:].mean(axis=1) - history[:, -6:-3].mean(axis=1)
    ahead = np.arange(1, 9)
    cycles = np.ceil(ahead / 3).astype(int)
    places = history.shape[1] - 1 + ahead[:, None] - (cycles[:, None] + np.arange(3)) * 3
    there = (
        history[:, np.maximum(places, 0)]
        + (cycles[:, None] + np.arange(3)) * (halves[:, None, None])
    )
    expected = np.nanmean(np.where(places >= 0, there, np.nan), axis=-1)
    np.testing.assert_allclose(of_name["mean of seasons 3 and its drift"], expected, rtol=1e-4)
    trend = np.tile(np.arange(settings.history, dtype=np.float32), (4, 1))
    lines, _ = naive_of(settings, jnp.asarray(trend), 0)
    ahead = settings.history + np.arange(8)
    for which, name in enumerate(naive_names(settings)):
        if "drift" in name:
            np.testing.assert_allclose(lines[..., which], np.tile(ahead, (4, 1)), rtol=1e-5)


def test_training_begins_at_the_mean_of_the_naive_forecasts():
    """Weighed by the inverse of their errors to a power, where these are measured."""
    settings, _, network, _ = forecaster(steps=50)
    history = RNG.normal(size=(2, settings.history))
    found = answer(network, settings, network.init(jax.random.key(1)), windows_of(history, 4))
    scaled = (history - np.asarray(found.shift)[:, None]) / np.asarray(found.width)[:, None]
    values, _ = naive_of(settings, jnp.asarray(scaled, jnp.float32), 0)
    np.testing.assert_allclose(found.outputs[..., 0], jnp.mean(values, axis=-1), rtol=1e-4)
    targets = jnp.full((2, 4), 0.5).at[0, 1].set(jnp.nan)
    total, count = errors(settings, jnp.asarray(scaled), targets, jnp.asarray([True, True]))
    off = np.abs(np.asarray(values) - 0.5)
    np.testing.assert_allclose(total[1], off[1, 1], rtol=1e-4)
    assert count[:, 0].tolist() == [2, 1, 2, 2]
    mean = (off[0, [0, 2, 3]].sum(axis=0) + off[1].sum(axis=0)) / 7
    weights = mean**-POWER / np.sum(mean**-POWER)
    gate = jnp.pad(gate_of(settings, total, count), ((0, 0), (0, 1)))
    params = network.init(jax.random.key(1), gate)
    found = answer(network, settings, params, windows_of(history, 4))
    np.testing.assert_allclose(found.outputs[..., 0], values @ weights, rtol=1e-3)


def test_what_is_missing_is_no_naive_forecast():
    settings = Settings("gru", 3, (4,), window=4)
    history = jnp.asarray([[np.nan] * 5 + [2.0, np.nan]], jnp.float32)
    values, known = naive_of(settings, history, 0)
    by_name = dict(zip(naive_names(settings), np.asarray(known[0]).T, strict=True))
    assert by_name["median"].all()
    assert by_name["last value"].all()  # the last that is known
    assert by_name["season 4"].tolist() == [False, False, True]
    assert not by_name["season 4 and its drift"].any()
    assert not by_name["season 4 and its last change"].any()
    assert not by_name["mean of seasons 4 and its drift"].any()
    assert values[0, 0, 1:3].tolist() == [2.0, 2.0]  # the mean of the last, the last
    _, forecast, *_ = forecaster(model="gru", horizon=3, seasons=(4,), window=4)
    nothing = forecast(windows_of(np.full((1, 7), np.nan), 3))
    assert np.isfinite(nothing.outputs).all()


def test_forecasts_within_a_window_end_with_that_behind_it():
    settings, forecast, network, params = forecaster(strategy="sequence")
    windows = windows_of(RNG.normal(size=(2, settings.history)), 4)
    within = answers_within(network, settings, params, windows)
    assert within.outputs.shape == (2, settings.window, 4, 1)
    last = forecast(windows).outputs
    np.testing.assert_allclose(within.outputs[:, -1], last, rtol=1e-5, atol=1e-5)


def test_a_head_that_sees_the_last_state_alone_answers_what_it_answers_at_the_last_step():
    _, _, network, params = forecaster(model="lstm", dropout=0.0)
    whole = nn.Stack(network.encoder.layer.layers)
    x = jnp.asarray(RNG.normal(size=(3, 6, network.encoder.inputs)), jnp.float32)
    every = np.asarray(whole.apply({"params": params["encoder"]}, x))
    one = network.encoder.apply(params["encoder"], x, key=jax.random.key(0))
    np.testing.assert_allclose(one, every[:, -1], atol=1e-5)
