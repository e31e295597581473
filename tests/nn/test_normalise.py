import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen

from seqjax import models, nn, train
from tests.compiled import run

X = np.random.default_rng(0).normal(3, 2, (16, 10, 4)).astype(np.float32)


def test_training_normalises_with_the_batchs_moments_and_follows_them():
    layer = nn.BatchNorm()
    params = run(layer.init, jax.random.key(0), X)["params"]
    y = run(layer.apply, {"params": params}, X, deterministic=False)
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1)), 1, atol=1e-3)
    for scale in (1.0, 1e6):  # whatever the loss

        def loss(params, x, scale=scale):
            return scale * jnp.sum(layer.apply({"params": params}, x, deterministic=False) ** 3)

        gradient = run(jax.grad(loss), params, X)
        np.testing.assert_allclose(gradient["running_mean"], -X.mean((0, 1)), rtol=1e-5)
        np.testing.assert_allclose(gradient["running_variance"], 1 - X.var((0, 1)), rtol=1e-4)


def test_padding_does_not_count():
    layer = nn.BatchNorm()
    variables = run(layer.init, jax.random.key(0), X)
    lengths = np.array([10] * 8 + [0] * 8)
    dirty = X.copy()
    dirty[8:] = np.nan
    y = run(layer.apply, variables, dirty, seq_lengths=lengths, deterministic=False)
    alone = run(layer.apply, variables, X[:8], deterministic=False)
    np.testing.assert_allclose(y[:8], alone, atol=1e-5)
    assert not y[8:].any()


def test_a_fitted_model_has_the_moving_average_and_uses_it():
    """Against the moving average in numpy, over the batches in their order."""
    layer = nn.Stack((nn.BatchNorm(), nn.Dense(1)))
    model = models.from_layer(layer, inputs=4)

    def loss(params, batch, key):
        return jnp.mean(model.apply(params, batch, key=key) ** 2, axis=(1, 2))

    batches = train.array_batches(X, 4, shuffle=False)
    optimizer = train.with_running_statistics(optax.adam(1e-2), momentum=0.9)
    done = train.fit(loss, model.init(jax.random.key(0)), optimizer, batches, epochs=3)
    mean, variance = np.zeros(4), np.ones(4)
    for _ in range(3):
        for rows in range(0, 16, 4):
            batch = X[rows : rows + 4]
            mean = 0.9 * mean + 0.1 * batch.mean((0, 1))
            variance = 0.9 * variance + 0.1 * batch.var((0, 1))
    fitted = done.params["layers_0"]
    np.testing.assert_allclose(fitted["running_mean"], mean, rtol=1e-4)
    np.testing.assert_allclose(fitted["running_variance"], variance, rtol=1e-4)
    one = run(nn.BatchNorm().apply, {"params": fitted}, X)
    expected = (X - mean) / np.sqrt(variance + 1e-3) * np.asarray(fitted["scale"])
    expected += np.asarray(fitted["offset"])
    np.testing.assert_allclose(one, expected, atol=1e-4)


def test_moments_are_as_precise_as_the_data(x64):
    x = 1e4 + 1e-3 * (np.arange(8.0) % 2).reshape(1, 8, 1)
    layer = nn.BatchNorm()
    variables = run(layer.init, jax.random.key(0), x)
    y = run(layer.apply, variables, x, deterministic=False)
    expected = (x - x.mean()) / np.sqrt(x.var() + 1e-3)
    np.testing.assert_allclose(y, expected, atol=1e-7)


def test_a_layer_norm_is_that_of_flax():
    layer, params = nn.LayerNorm(), {"scale": X[0, 0], "offset": X[1, 0]}
    theirs = {"params": {"scale": X[0, 0], "bias": X[1, 0]}}
    y = run(layer.apply, {"params": params}, X)
    np.testing.assert_allclose(y, run(linen.LayerNorm().apply, theirs, X), rtol=1e-4, atol=1e-5)
    far, one = X + 3000.0, {"scale": jnp.ones_like(X[0, 0]), "offset": jnp.zeros_like(X[0, 0])}
    exact = np.asarray(far, np.float64)
    exact = (exact - exact.mean(-1, keepdims=True)) / exact.std(-1, keepdims=True)
    np.testing.assert_allclose(run(layer.apply, {"params": one}, far), exact, atol=1e-2)
