"""The same weights give the same outputs as Keras 3 layers on its JAX backend."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from seqjax import io, models, nn, ops
from tests.compiled import run

# Keras's own variables, under NumPy 2's newest rule.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

B, T, I, H = 3, 9, 4, 6
X = np.random.default_rng(0).normal(size=(B, T, I)).astype(np.float32)


@pytest.fixture(autouse=True)
def keras_on_jax():
    assert keras.backend.backend() == "jax"
    with jax.numpy_rank_promotion("allow"):  # Keras's own habit
        yield


def weights_of(layer):
    layer.build(X.shape)
    rng = np.random.default_rng(1)
    weights = [rng.normal(scale=0.4, size=w.shape).astype(np.float32) for w in layer.get_weights()]
    layer.set_weights(weights)
    return [jnp.asarray(w) for w in weights]


def compare(ours, layer):
    np.testing.assert_allclose(ours, np.asarray(layer(X)), atol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_simple_rnn(activation):
    layer = keras.layers.SimpleRNN(H, return_sequences=True, activation=activation)
    params = io.from_keras("rnn", weights_of(layer))
    compare(run(ops.rnn, params, X, activation=activation), layer)


@pytest.mark.parametrize("use_bias", [True, False])
def test_lstm(use_bias):
    layer = keras.layers.LSTM(H, return_sequences=True, use_bias=use_bias)
    compare(run(ops.lstm, io.from_keras("lstm", weights_of(layer)), X), layer)


def test_reversed_lstm():
    layer = keras.layers.LSTM(H, return_sequences=True, go_backwards=True)
    params = io.from_keras("lstm", weights_of(layer))
    compare(run(ops.lstm, params, X, reverse=True), layer)


@pytest.mark.parametrize("reset_after", [True, False])
def test_gru(reset_after):
    layer = keras.layers.GRU(H, return_sequences=True, reset_after=reset_after)
    params = io.from_keras("gru", weights_of(layer), reset_after=reset_after)
    compare(run(ops.gru, params, X, reset_after=reset_after), layer)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3, "padding": "causal"},
        {"kernel_size": 2, "padding": "causal", "dilation_rate": 4},
        {"kernel_size": 3, "padding": "causal", "groups": 2},
        {"kernel_size": 4, "padding": "valid", "strides": 2},
    ],
)
def test_conv1d(settings):
    layer = keras.layers.Conv1D(H, **settings)
    ours = run(
        ops.causal_conv1d,
        io.from_keras("conv", weights_of(layer)),
        X,
        dilation=settings.get("dilation_rate", 1),
        stride=settings.get("strides", 1),
        groups=settings.get("groups", 1),
        padding=settings["padding"],
    )
    compare(ours, layer)


def test_a_whole_model():
    """Their layers one by one into the parameters of `models.make`, and a bidirectional one."""
    kinds = {"gru": 2, "dense": 1}
    layers = [keras.layers.GRU(H, return_sequences=True) for _ in range(2)]
    model = keras.Sequential([keras.Input((T, I)), *layers, keras.layers.Dense(2)])
    each = [kind for kind, count in kinds.items() for _ in range(count)]
    converted = zip(each, model.layers, strict=True)
    params = io.stack_params([io.from_keras(k, layer.get_weights()) for k, layer in converted])
    ours = models.make("gru", inputs=I, features=(H, H), outputs=2)
    compare(run(ours.apply, params, X), model)

    layer = keras.layers.Bidirectional(keras.layers.LSTM(H, return_sequences=True))
    weights = weights_of(layer)
    forward, backward = (io.from_keras("lstm", part) for part in (weights[:3], weights[3:]))
    both = nn.Bidirectional(nn.LSTM(H))
    params = io.layer_params({"forward": forward, "backward_layer": backward})
    compare(run(both.apply, {"params": params}, X), layer)


@pytest.mark.parametrize(("kind", "name"), [("lstm", "LSTM"), ("gru", "GRU")])
def test_both_directions_at_the_end_of_each_sequence(kind, name):
    """``return_sequences=False``, with a mask: each direction's state at its own end."""
    layer = keras.layers.Bidirectional(getattr(keras.layers, name)(H))
    weights = weights_of(layer)
    half = len(weights) // 2
    forward, backward = (io.from_keras(kind, part) for part in (weights[:half], weights[half:]))
    model = models.from_layer(nn.Bidirectional(nn.LAYERS[kind](H)), I, last=True)
    params = io.layer_params({"forward": forward, "backward_layer": backward})
    compare(run(model.apply, params, X), layer)
    lengths = np.array([9, 2, 5])
    mask = np.arange(T)[None] < lengths[:, None]
    ours = run(model.apply, params, X, seq_lengths=lengths)
    np.testing.assert_allclose(ours, np.asarray(layer(X, mask=mask)), atol=1e-5)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_initialisers_draw_from_the_same_distributions(name):
    """Moments and ranges of each weight, over a wide layer."""
    theirs = {"RNN": keras.layers.SimpleRNN}.get(name, getattr(keras.layers, name, None))(64)
    theirs.build((1, 1, 32))
    ours = getattr(nn, name)(64)
    params = run(ours.init, jax.random.key(0), jnp.zeros((1, 1, 32)))["params"]
    kernel, recurrent, *biases = theirs.get_weights()
    assert params["kernel"].shape == kernel.shape
    np.testing.assert_allclose(np.abs(params["kernel"]).max(), np.abs(kernel).max(), rtol=0.02)
    np.testing.assert_allclose(params["kernel"].std(), kernel.std(), rtol=0.05)
    for matrix in (np.asarray(params["recurrent_kernel"]), recurrent):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(64), atol=1e-5)
    ours_biases = [params[k] for k in ("bias", "recurrent_bias") if k in params]
    np.testing.assert_array_equal(np.ravel(ours_biases), np.ravel(biases))


class LNSimpleRNNCell(keras.layers.Layer):
    """The chapter's cell: layer normalisation between the sum and the activation."""

    def __init__(self, units):
        super().__init__()
        self.state_size = self.output_size = units
        self.cell = keras.layers.SimpleRNNCell(units, activation=None)
        self.norm = keras.layers.LayerNormalization()

    def build(self, input_shape):
        self.cell.build(input_shape)
        self.norm.build((input_shape[0], self.state_size))

    def call(self, inputs, states):
        outputs, _ = self.cell(inputs, states)
        h = keras.activations.tanh(self.norm(outputs))
        return h, [h]


def test_layer_norm_before_the_activation():
    layer = keras.layers.RNN(LNSimpleRNNCell(H), return_sequences=True)
    kernel, recurrent_kernel, bias, scale, offset = weights_of(layer)
    params = ops.RNNParams(kernel, recurrent_kernel, bias, ops.LayerNormParams(scale, offset))
    compare(run(ops.rnn, params, X), layer)


def test_batch_norm_in_training_and_after():
    layer = keras.layers.BatchNormalization()
    scale, offset, mean, variance = weights_of(layer)
    variance = jnp.abs(variance) + 0.5
    layer.set_weights([scale, offset, mean, variance])
    names = ("scale", "offset", "running_mean", "running_variance")
    params = dict(zip(names, (scale, offset, mean, variance), strict=True))
    ours = nn.BatchNorm()
    after = run(ours.apply, {"params": params}, X)
    compare(after, layer)
    during = run(ours.apply, {"params": params}, X, deterministic=False)
    np.testing.assert_allclose(during, np.asarray(layer(X, training=True)), atol=1e-4)


def test_recurrent_dropout_masks_the_product_as_keras_does():
    """With a mask of Keras's own making: SimpleRNN, whose carry stands in the product alone."""
    layer = keras.layers.SimpleRNNCell(H, recurrent_dropout=0.5, seed=3)
    layer.build((B, I))
    kernel, recurrent_kernel, bias = (jnp.asarray(w) for w in layer.get_weights())
    h = jnp.asarray(np.random.default_rng(2).normal(size=(B, H)), jnp.float32)
    mask = jnp.asarray(layer.get_recurrent_dropout_mask(h))
    y, _ = layer(X[:, 0], [h], training=True)
    ours = run(
        ops.rnn,
        ops.RNNParams(kernel, recurrent_kernel, bias),
        X[:, :1],
        h,
        recurrent_mask=mask,
    )
    np.testing.assert_allclose(ours[:, 0], np.asarray(y), atol=1e-5)
