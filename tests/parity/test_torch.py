"""The same weights give the same outputs as torch.nn's layers.

PyTorch is an extra: ./scripts/test --torch installs it and runs this file too.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import io, models, nn, ops
from tests.compiled import run

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; ./scripts/test --torch installs it and runs this"
)
pytestmark = pytest.mark.torch

B, T, I, H = 3, 9, 4, 6
X = np.random.default_rng(0).normal(size=(B, T, I)).astype(np.float32)


def state_of(module):
    return {name: value.numpy() for name, value in module.state_dict().items()}


def run_torch(layer):
    with torch.no_grad():
        y, end = layer(torch.from_numpy(X))
    ends = end if isinstance(end, tuple) else (end,)
    return y.numpy(), [e[0].numpy() for e in ends]


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_rnn(activation):
    layer = torch.nn.RNN(I, H, batch_first=True, nonlinearity=activation)
    params = io.from_torch("rnn", state_of(layer))
    end, y = run(ops.rnn, params, X, activation=activation, return_carry=True)
    theirs, (h,) = run_torch(layer)
    np.testing.assert_allclose(y, theirs, atol=1e-5)
    np.testing.assert_allclose(end, h, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_lstm(bias):
    layer = torch.nn.LSTM(I, H, batch_first=True, bias=bias)
    params = io.from_torch("lstm", state_of(layer))
    end, y = run(ops.lstm, params, X, return_carry=True)
    theirs, (h, c) = run_torch(layer)
    np.testing.assert_allclose(y, theirs, atol=1e-5)
    np.testing.assert_allclose(end.h, h, atol=1e-5)
    np.testing.assert_allclose(end.c, c, atol=1e-5)


def test_gru():
    layer = torch.nn.GRU(I, H, batch_first=True)
    params = io.from_torch("gru", state_of(layer))
    end, y = run(ops.gru, params, X, return_carry=True)
    theirs, (h,) = run_torch(layer)
    np.testing.assert_allclose(y, theirs, atol=1e-5)
    np.testing.assert_allclose(end, h, atol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_two_bidirectional_layers_in_a_module(kind):
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind]
    layer = layer(I, H, num_layers=2, batch_first=True, bidirectional=True)
    state = state_of(torch.nn.ModuleDict({"encoder": layer}))
    y = X
    for k in (0, 1):
        outputs = []
        for reverse in (False, True):
            params = io.from_torch(kind, state, prefix="encoder.", layer=k, reverse=reverse)
            op = {"lstm": ops.lstm, "gru": ops.gru}[kind]
            outputs.append(run(op, params, y, reverse=reverse, keep_order=True))
        y = np.concatenate(outputs, axis=-1)
    np.testing.assert_allclose(y, run_torch(layer)[0], atol=1e-5)


def test_a_projection_is_refused():
    layer = torch.nn.LSTM(I, H, proj_size=2)
    with pytest.raises(ValueError, match="proj_size"):
        io.from_torch("lstm", state_of(layer))


def test_convolution_and_dense_layer():
    conv, dense = torch.nn.Conv1d(I, H, 3, dilation=2, groups=2), torch.nn.Linear(H, 2)
    params = io.from_torch("conv", state_of(conv))
    ours = run(ops.causal_conv1d, params, X, dilation=2, groups=2, padding="valid")
    params = jax.device_get(io.from_torch("dense", state_of(dense))["dense"])
    ours = ours @ params["kernel"] + params["bias"]
    with torch.no_grad():
        theirs = dense(conv(torch.from_numpy(X).swapaxes(1, 2)).swapaxes(1, 2)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_gradients():
    """Both sides' gradients of the same loss with respect to the weights."""
    layer = torch.nn.GRU(I, H, batch_first=True)
    params = io.from_torch("gru", state_of(layer))
    ours = run(jax.grad(lambda p, x: jnp.sum(ops.gru(p, x) ** 2)), params, X)
    (layer(torch.from_numpy(X))[0] ** 2).sum().backward()
    for mine, name in zip(ours[:2], ("weight_ih_l0", "weight_hh_l0"), strict=True):
        np.testing.assert_allclose(mine, getattr(layer, name).grad.numpy().T, atol=1e-4)


@pytest.mark.parametrize(("kind", "name"), [("lstm", "LSTM"), ("gru", "GRU"), ("rnn", "RNN")])
def test_both_directions_at_the_end_of_each_sequence(kind, name):
    """The final states of a packed batch."""
    layer = getattr(torch.nn, name)(I, H, batch_first=True, bidirectional=True)
    halves = [io.from_torch(kind, state_of(layer), reverse=reverse) for reverse in (False, True)]
    lengths = np.array([9, 2, 5])
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.from_numpy(X), torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
    )
    with torch.no_grad():
        end = layer(packed)[1]
    h = (end[0] if isinstance(end, tuple) else end).numpy()  # [2, batch, features]
    model = models.from_layer(nn.Bidirectional(nn.LAYERS[kind](H)), I, last=True)
    params = io.layer_params({"forward": halves[0], "backward_layer": halves[1]})
    ours = run(model.apply, params, X, seq_lengths=lengths)
    np.testing.assert_allclose(ours, np.concatenate([h[0], h[1]], axis=-1), atol=1e-5)
