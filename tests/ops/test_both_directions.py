"""Both directions of a recurrence as one op; as one kernel, see tests/ops/test_pallas.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import ops
from tests.compiled import run

CELL = ops.GRUCell()
PARAMS = tuple(
    jax.jit(ops.init, static_argnums=(0, 2, 3))(CELL, jax.random.key(k), 3, features)
    for k, features in ((0, 4), (1, 5))
)
X = np.random.default_rng(2).normal(size=(2, 6, 3)).astype(np.float32)


def test_it_is_each_direction_alone():
    """Widths of their own, lengths, carries, masks."""
    lengths = np.array([6, 3])
    carries = np.full((2, 4), 0.5, np.float32), np.full((2, 5), -0.5, np.float32)
    masks = tuple(np.float32(2 * (np.arange(c.size).reshape(c.shape) % 2)) for c in carries)
    both, one = (functools.partial(op, CELL) for op in (ops.bidirectional, ops.run))
    options = {"recurrent_mask": masks, "seq_lengths": lengths, "return_carry": True}
    ends, y = run(both, PARAMS, X, carries, **options)
    assert y.shape == (2, 6, 9)
    for row, steps in enumerate((6, 3)):
        x = X[row : row + 1, :steps]
        for k, of in enumerate((np.s_[:4], np.s_[4:])):
            carry, mask = (a[k][row : row + 1] for a in (carries, masks))
            turned = x[:, :: -1 if k else 1]
            alone = run(one, PARAMS[k], turned, carry, recurrent_mask=mask)[0]
            np.testing.assert_allclose(ends[k][row], alone[-1], rtol=1e-6, atol=1e-6)
            found = y[row, :steps, of]
            np.testing.assert_allclose(found, alone[:: -1 if k else 1], rtol=1e-6, atol=1e-6)
    assert not y[1, 3:].any()


def test_what_it_does_not_take():
    x = jnp.asarray(X)
    with pytest.raises(TypeError, match="gru: takes no reverse, guess;"):
        ops.bidirectional(CELL, PARAMS, x, reverse=True, guess=x)
    with pytest.raises(ValueError, match="gru: carry must be a pair, forwards and backwards"):
        ops.bidirectional(CELL, PARAMS, x, jnp.zeros((2, 4)))
    with pytest.raises(ValueError, match="recurrent_mask must be a pair"):
        ops.bidirectional(CELL, PARAMS, x, recurrent_mask=jnp.ones((2, 4)))
