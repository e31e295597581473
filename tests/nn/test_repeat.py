import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models, nn
from seqjax.ops.layout import choices, choose_layout
from tests.compiled import drawn, run

X = jax.random.normal(jax.random.key(0), (2, 5, 4))


def program(layer):
    params = jax.eval_shape(layer.init, jax.random.key(1), X)
    return jax.jit(jax.grad(lambda p, x: jnp.sum(layer.apply(p, x)))).lower(params, X).as_text()


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_it_is_its_layers_in_turn(kind):
    deep, one = nn.Repeat(kind(4), depth=3), kind(4)
    params = drawn(deep.init, X)
    kernels = jax.jit(deep.init)(jax.random.key(1), X)["params"]["layer"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1])  # each drawn anew
    y, ends = X, []
    for k in range(3):
        own = jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], params["params"]["layer"])
        end, y = run(one.apply, {"params": own}, y, return_carry=True)
        ends.append(end)
    found_ends, found = run(deep.apply, params, X, return_carry=True)
    np.testing.assert_allclose(found, y, atol=1e-6)
    together = jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *ends)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found_ends, together)
    start = deep.initial_carry(2, 4)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.shape, b.shape), found_ends, start)


def test_the_program_does_not_grow_with_the_depth():
    small, large = (len(program(nn.Repeat(nn.GRU(4), depth=depth))) for depth in (2, 16))
    assert large < 1.05 * small
    stacks = [len(program(nn.Stack((nn.GRU(4, unroll=2),) * depth))) for depth in (2, 4)]
    assert stacks[1] > 1.5 * stacks[0]


def test_dropout_stands_between_the_layers():
    """Not before the first: one layer has none."""

    def outputs(depth, *seeds):
        layer = nn.Repeat(nn.Dense(4), depth=depth, dropout=0.5)
        params = drawn(layer.init, X)

        def noisy(seed):
            rngs = {"dropout": jax.random.key(seed)}
            return layer.apply(params, X, deterministic=False, rngs=rngs)

        return run(layer.apply, params, X), *map(jax.jit(noisy), seeds)

    np.testing.assert_allclose(*outputs(1, 0), atol=1e-6)
    plain, one, other = outputs(3, 0, 1)
    assert not np.allclose(one, other)
    assert not np.allclose(one, plain)


def test_newton_in_it_is_counted_and_begins_where_it_ended():
    """And in a layer that stands there twice, each time with a guess of its own."""
    one, other = (nn.GRU(4, implementation="newton") for _ in range(2))
    model = models.from_layer(nn.Stack((one, nn.Repeat(other, 3), one)), 4)
    params = drawn(model.init)

    def loss(params, counter, guess):
        given = {"guess": guess, "counter": counter, "return_solution": True}
        y, solution = model.apply(params, X, **given)
        return jnp.sum(y), (y, solution)

    def solve(guess=None):
        with choose_layout(choices()._replace(newton_iterations=1 if guess is None else 64)):
            derivative = jax.jit(jax.grad(lambda *given: loss(*given), (0, 1), has_aux=True))
            return derivative(params, jnp.zeros(2), guess)

    (_, backward), (y, solution) = solve()
    for count in (*solution[:3], backward):
        np.testing.assert_array_equal(count, [5, 5])
    (_, backward), (again, better) = solve(solution.guess)
    np.testing.assert_allclose(again, y, atol=1e-5)
    for count in (backward, better.fallbacks):
        assert not count.any()
    assert (better.iterations <= 2 * 5).all()


def test_what_it_refuses():
    with pytest.raises(ValueError, match="depth must be at least 1"):
        nn.Repeat(nn.GRU(4), depth=0).init(jax.random.key(0), X)
    with pytest.raises(ValueError, match="must keep the shape and dtype of its input"):
        nn.Repeat(nn.GRU(3), depth=2).init(jax.random.key(0), X)
    with pytest.raises(ValueError, match="must keep the shape and dtype of its input"):
        nn.Repeat(nn.GRU(4), depth=2).init(jax.random.key(0), X.astype(jnp.bfloat16))
    with pytest.raises(ValueError, match=r"dropout rate is in \[0, 1\)"):
        nn.Repeat(nn.GRU(4), depth=2, dropout=1.0).init(jax.random.key(0), X)
