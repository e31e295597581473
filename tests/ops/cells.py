"""Every cell of the registry as cases of the tests: a new one is tested by being there."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import ops

B, T, I, H = 3, 5, 2, 5
LENGTHS = np.array([5, 0, 1])
MASK = np.array([[2.0, 0, 0, 2, 2], [1, 1, 0, 1, 1], [0, 0.5, 0.5, 0, 1]])

# Options worth a case of their own; other cells have none.
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "rnn": ({}, {"activation": "relu"}, {"layer_norm": True}),
    "gru": ({}, {"reset_after": False}, {"recurrent": "diagonal"}),
    "lru": ({"state": 3},),
}


class Case(NamedTuple):
    """A cell, and what is drawn for it."""

    cell: ops.Cell
    inputs: int = I
    biased: bool = True

    @property
    def op(self):
        return functools.partial(ops.run, self.cell)

    def run(self, params, x, carry=None, **options):
        """What `op` gives, of one compiled program: one by one its operations would be thirty."""
        return jax.device_get(jax.jit(functools.partial(self.op, **options))(params, x, carry))

    @property
    def step(self):
        return functools.partial(ops.step, self.cell)

    @property
    def linear(self):
        return isinstance(self.cell.form, ops.Linear)

    @property
    def implementations(self):
        return (*self.by_hand, "autodiff")

    @property
    def by_hand(self):
        """Those that have a backward pass of their own."""
        return ("scan", "associative") if self.linear else ("scan",)


def _named(name, options):
    return " ".join([name, *(f"{key}={value}" for key, value in options.items())])


CASES = {
    _named(name, options): Case(kind(**options))
    for name, kind in ops.CELLS.items()
    for options in VARIANTS.get(name, ({},))
}
CASES["lru state=3"] = Case(ops.LRUCell(3), inputs=H)  # with D
CASES["min_lstm"] = Case(ops.MinLSTMCell(), biased=False)

# One of each form of a recurrence, with and without a derivative of its own.
FORMS = ("rnn layer_norm=True", "lstm", "gru", "gru reset_after=False", "lru state=3")
every_form = pytest.mark.parametrize("case", [CASES[name] for name in FORMS], ids=FORMS)
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
# With a matrix of their own in the loop, where dropout masks stand.
every_recurrent_case = pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if not case.linear],
    ids=[name for name, case in CASES.items() if not case.linear],
)


def make(case: Case, dtype=np.float64, seed=0, steps=T):
    """Parameters, inputs and a carry, all drawn."""
    rng = np.random.default_rng(seed)

    def declare(name, shape, init, *, keep_dtype=False):
        if name.endswith("bias") and not case.biased:
            return None
        return jnp.asarray(rng.normal(size=shape), dtype)

    params = case.cell.parameters(declare, case.inputs, H)
    x = jnp.asarray(rng.normal(size=(B, steps, case.inputs)), dtype)

    def draw(zero):
        drawn = rng.normal(size=zero.shape) + 1j * rng.normal(size=zero.shape)
        return jnp.asarray(drawn if jnp.iscomplexobj(zero) else drawn.real, zero.dtype)

    return params, x, jax.tree.map(draw, case.cell.initial_carry(B, H, jnp.dtype(dtype)))


def loop(case, params, x, carry, valid, mask=None):
    """The definition: a Python loop over the one-step cell, sequence by sequence: (carry, y).

    A sequence stands still, and answers zero, at the steps where `valid` [batch, time] is false.
    """

    def row(x, carry, valid, mask):
        # (h * mask) U = h (diag(mask) U)
        own = params if mask is None else masked(params, mask)
        outputs = []
        for t in range(len(x)):
            before = jax.tree.map(lambda leaf: leaf[None], carry)
            after, y = case.step(own, before, x[t][None])
            carry = jax.tree.map(lambda a, b, v=valid[t]: jnp.where(v, a[0], b), after, carry)
            outputs.append(jnp.where(valid[t], y[0], jnp.zeros_like(y[0])))
        return carry, jnp.stack(outputs)

    axes = (0, 0, 0, None if mask is None else 0)
    return jax.vmap(row, in_axes=axes)(x, carry, valid, mask)


def masked(params, mask):
    kernel = params.recurrent_kernel
    rows = mask[:, None] if kernel.ndim == 2 else jnp.tile(mask, kernel.size // mask.size)
    return params._replace(recurrent_kernel=rows * kernel)


def total(tree):
    """A loss of everything in a tree, real or complex."""
    leaves = jax.tree.leaves(tree)
    return sum(jnp.sum(jnp.sin(u.real)) + jnp.sum(jnp.cos(2 * u.imag)) for u in leaves)


def assert_close(a, b, tolerance=1e-12, of=""):
    def close(u, v):
        np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance, err_msg=of)

    jax.tree.map(close, a, b)


def alone(tree, b):
    """One sequence of a batch."""
    return jax.tree.map(lambda leaf: leaf[b : b + 1], tree)
