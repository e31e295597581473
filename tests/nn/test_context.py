"""What layers read besides their input goes through layers made of layers, and models."""

from typing import Any

import jax
import numpy as np
import pytest
from jax import Array

from seqjax import models, nn
from tests.compiled import drawn, run

B, T, F = 3, 6, 4
X = np.random.default_rng(0).normal(size=(B, T, F)).astype(np.float32)
SHIFT = np.random.default_rng(1).normal(size=(B, F)).astype(np.float32)


class Shift(nn.Layer):
    """A layer of a user's own: it adds what the context says."""

    def __call__(self, x: Array, initial_carry: Any = None, *, context=None, **options: Any) -> Any:
        y = x + context["shift"][:, None] if context else x
        return ((), y) if options.get("return_carry") else y

    def step(self, carry: Any, x: Array, *, context=None) -> Any:
        return carry, x + context["shift"] if context else x

    def context_names(self) -> frozenset[str]:
        return frozenset({"shift"})


WITHIN = {
    "stack": nn.Stack((nn.Dense(F), Shift(), nn.GRU(F))),
    "remat": nn.Stack((Shift(), nn.GRU(F)), remat=True),
    "repeat": nn.Repeat(nn.Stack((Shift(), nn.GRU(F))), depth=2),
    "residual": nn.Residual(nn.Stack((Shift(), nn.GRU(F))), F),
    "all": nn.Stack((nn.Repeat(nn.Residual(Shift(), F), depth=2), nn.Dense(2))),
}


@pytest.mark.parametrize("layer", WITHIN.values(), ids=WITHIN)
def test_it_reaches_the_layers_within(layer):
    model = models.from_layer(layer, F)
    params = drawn(model.init)
    context = {"shift": SHIFT}
    y = run(model.apply, params, X, context=context)
    assert (y[0] != run(model.apply, params, X)[0]).any()
    moved = SHIFT + np.array([[0], [1], [0]], np.float32)
    other = run(model.apply, params, X, context={"shift": moved})
    assert (other[1] != y[1]).any()
    np.testing.assert_allclose(other[::2], y[::2], atol=1e-6)
    carry, step = model.initial_carry(B), jax.jit(model.step)
    for t in range(T):
        carry, y_t = step(params, carry, X[:, t], context=context)
        np.testing.assert_allclose(y_t, y[:, t], atol=1e-5)
    assert layer.context_names() == {"shift"}
    with pytest.raises(
        ValueError, match=r"no layer reads the context \['shfit'\]; they read \['sh"
    ):
        run(model.apply, params, X, context={"shfit": SHIFT})


def test_it_reaches_both_directions_and_the_end():
    class Reading(nn.GRU):
        """A recurrent layer that reads the context."""

        def __call__(self, x, initial_carry=None, *, context=None, **options):
            x = x + context["shift"][:, None] if context else x
            return super().__call__(x, initial_carry, context=context, **options)

        def context_names(self):
            return frozenset({"shift"})

    both = nn.Bidirectional(Reading(3))
    model = models.from_layer(nn.Stack((both, nn.Dense(2))), F, last=True)
    params = drawn(model.init)
    y = run(model.apply, params, X, context={"shift": SHIFT})
    expected = run(model.apply, params, X + SHIFT[:, None])
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_a_context_that_nobody_reads_is_refused():
    model = models.make("gru", inputs=F, features=(3,), outputs=1)
    with pytest.raises(ValueError, match="they read none"):
        run(model.apply, model.init(jax.random.key(0)), X, context={"shift": SHIFT})
