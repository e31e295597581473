"""The same weights give the same outputs as torch.nn's layers.

PyTorch is an extra: ./scripts/test --torch installs it and runs this file too.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import ops

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; ./scripts/test --torch installs it and runs this"
)
pytestmark = pytest.mark.torch

B, T, I, H = 3, 9, 4, 6
X = np.random.default_rng(0).normal(size=(B, T, I)).astype(np.float32)


def weights_of(layer, suffix=""):
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    found = [jnp.asarray(getattr(layer, name + suffix).detach().numpy()) for name in names]
    return found[0].T, found[1].T, found[2], found[3]


def run(layer):
    with torch.no_grad():
        y, end = layer(torch.from_numpy(X))
    ends = end if isinstance(end, tuple) else (end,)
    return y.numpy(), [e[0].numpy() for e in ends]


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_rnn(activation):
    layer = torch.nn.RNN(I, H, batch_first=True, nonlinearity=activation)
    kernel, recurrent, b1, b2 = weights_of(layer)
    params = ops.RNNParams(kernel, recurrent, b1 + b2)
    end, y = ops.rnn(params, jnp.asarray(X), activation=activation, return_carry=True)
    theirs, (h,) = run(layer)
    np.testing.assert_allclose(y, theirs, atol=1e-5)
    np.testing.assert_allclose(end, h, atol=1e-5)


def test_lstm():
    layer = torch.nn.LSTM(I, H, batch_first=True)
    kernel, recurrent, b1, b2 = weights_of(layer)
    end, y = ops.lstm(ops.LSTMParams(kernel, recurrent, b1 + b2), jnp.asarray(X), return_carry=True)
    theirs, (h, c) = run(layer)
    np.testing.assert_allclose(y, theirs, atol=1e-5)
    np.testing.assert_allclose(end.h, h, atol=1e-5)
    np.testing.assert_allclose(end.c, c, atol=1e-5)


def test_gru():
    layer = torch.nn.GRU(I, H, batch_first=True)
    end, y = ops.gru(ops.GRUParams(*weights_of(layer)), jnp.asarray(X), return_carry=True)
    theirs, (h,) = run(layer)
    np.testing.assert_allclose(y, theirs, atol=1e-5)
    np.testing.assert_allclose(end, h, atol=1e-5)


def test_bidirectional_lstm():
    layer = torch.nn.LSTM(I, H, batch_first=True, bidirectional=True)
    outputs = []
    for suffix, reverse in (("", False), ("_reverse", True)):
        kernel, recurrent, b1, b2 = weights_of(layer, suffix)
        params = ops.LSTMParams(kernel, recurrent, b1 + b2)
        outputs.append(ops.lstm(params, jnp.asarray(X), reverse=reverse, keep_order=True))
    theirs, _ = run(layer)
    np.testing.assert_allclose(jnp.concatenate(outputs, axis=-1), theirs, atol=1e-5)


def test_gradients():
    """Both sides' gradients of the same loss with respect to the weights."""
    layer = torch.nn.GRU(I, H, batch_first=True)
    params = ops.GRUParams(*weights_of(layer))
    import jax

    ours = jax.grad(lambda p: jnp.sum(ops.gru(p, jnp.asarray(X)) ** 2))(params)
    (layer(torch.from_numpy(X))[0] ** 2).sum().backward()
    for mine, name in zip(ours[:2], ("weight_ih_l0", "weight_hh_l0"), strict=True):
        np.testing.assert_allclose(mine, getattr(layer, name).grad.numpy().T, atol=1e-4)
