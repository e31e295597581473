"""Cells that no peer has, against their equations in NumPy.

(Others: tests/parity, tests/ops/test_parallel.py.)
"""

import jax
import numpy as np

from seqjax import ops
from tests.ops.cells import CASES, assert_close, make


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def arrays(case):
    params, x, carry = make(case)
    return params, x, carry, jax.tree.map(np.asarray, params)


def test_peephole_lstm(x64):
    """Gers and Schmidhuber, 2000: i and f see the old cell state, o the new one."""
    params, x, carry, p = arrays(CASES["peephole_lstm"])
    c, h, outputs = np.asarray(carry.c), np.asarray(carry.h), []
    for x_t in np.swapaxes(np.asarray(x), 0, 1):
        i, f, g, o = np.split(x_t @ p.kernel + p.bias + h @ p.recurrent_kernel, 4, axis=1)
        new = sigmoid(f + p.peephole[1] * c) * c + sigmoid(i + p.peephole[0] * c) * np.tanh(g)
        h = sigmoid(o + p.peephole[2] * new) * np.tanh(new)
        c = new
        outputs.append(h)
    expected = ops.LSTMCarry(c, h), np.stack(outputs, axis=1)
    assert_close(ops.peephole_lstm(params, x, carry, return_carry=True), expected)


def test_ugrnn(x64):
    """Collins, Sohl-Dickstein and Sussillo, 2016, equations of the update gate RNN."""
    params, x, carry, p = arrays(CASES["ugrnn"])
    h, outputs = np.asarray(carry), []
    for x_t in np.swapaxes(np.asarray(x), 0, 1):
        g, n = np.split(x_t @ p.kernel + p.bias + h @ p.recurrent_kernel, 2, axis=1)
        h = sigmoid(g) * h + (1 - sigmoid(g)) * np.tanh(n)
        outputs.append(h)
    assert_close(ops.ugrnn(params, x, carry, return_carry=True), (h, np.stack(outputs, axis=1)))
