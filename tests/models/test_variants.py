"""The same model in another way: the same function of the same parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import synthetic_forecast
from experiments.chapter15 import RECIPES
from seqjax import models, nn
from seqjax.launch import RunError
from seqjax.nn.newton import COUNTS, iterates
from tests.compiled import drawn, run

X = jax.random.normal(jax.random.key(0), (2, 7, 3))


def test_an_implementation_reaches_every_recurrent_layer_and_no_other():
    shared = nn.GRU(3)
    within = (nn.Bidirectional(nn.LSTM(3)), nn.Repeat(nn.RNN(6), 2), nn.Residual(nn.GRU(6), 6))
    layers = (shared, nn.CausalConv(3, 2), *within, nn.Dense(3), shared)
    model = models.from_layer(nn.Stack(layers), 3)
    other = models.in_implementation(model, "newton").layer
    first, conv, both, deep, residual, _, last = other.layers
    assert first is last  # their parameters are the same
    assert conv.implementation is None
    for layer in (first, both.forward, deep.layer, residual.layer):
        assert iterates(layer)
    assert not iterates(model.layer)
    params = drawn(model.init)
    for given in ({"return_solution": True}, {"guess": {}}, {"counter": jnp.zeros(2)}):
        with pytest.raises(ValueError, match=r"counter: no layer of this model iterates"):
            jax.eval_shape(functools.partial(model.apply, **given), params, X)


def test_a_guess_of_other_layers_is_told():
    model = models.from_layer(nn.GRU(3, implementation="newton"), 3)
    params = drawn(model.init)
    _, solution = run(model.apply, params, X, return_solution=True)
    for guess in ({"layers_0": solution.guess}, {"nonsense": X}, {}, X):
        with pytest.raises(ValueError, match=r"guess: it must be .* {'solution': .*, not "):
            jax.eval_shape(functools.partial(model.apply, guess=guess), params, X)
    assert run(model.apply, params, X, guess=solution.guess).shape == X.shape


def test_experiments_take_one_and_count_its_iterations():
    """Of the same batch the same loss and gradient, and what `fit` is to track beside it."""
    recipe = RECIPES["gru"]
    batch = {"x": jnp.sin(jnp.ones((4, 20, 1)).cumsum(1)), "y": jnp.ones((4, 20, 10))}
    config = synthetic_forecast.Config(implementation="newton")
    plain, model = recipe.model(), config.cast(recipe.model())
    params = drawn(plain.init, scale=0.1)

    def value(model, params, counter):
        loss, more = synthetic_forecast.loss_of(recipe, model), {}
        if iterates(model.layer):
            more = {"counter": counter}
        losses = loss(params, batch, jax.random.key(1), **more)
        values, metrics = (losses.values, losses.metrics) if more else (losses, {})
        return jnp.mean(values), metrics

    derivative = jax.jit(jax.value_and_grad(value, (1, 2), has_aux=True), static_argnums=0)
    (loss, counts), (gradient, backward) = derivative(model, params, jnp.zeros(4))
    (expected, _), (of_scan, _) = derivative(plain, params, jnp.zeros(4))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), gradient, of_scan)
    assert counts.keys() == {*COUNTS} - {"backward_fallbacks"}
    assert (counts["iterations"] > 1).all()
    assert not counts["fallbacks"].any()
    assert not backward.any()
    with pytest.raises(RunError, match=r"--implementation associative: gru: .* cannot run this"):
        synthetic_forecast.Config(implementation="associative").cast(plain)
