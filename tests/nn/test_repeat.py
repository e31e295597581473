import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models, nn

X = jax.random.normal(jax.random.key(0), (2, 5, 4))


def program(layer):
    params = jax.eval_shape(layer.init, jax.random.key(1), X)
    return jax.jit(jax.grad(lambda p, x: jnp.sum(layer.apply(p, x)))).lower(params, X).as_text()


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_it_is_its_layers_in_turn(kind):
    deep, one = nn.Repeat(kind(4), depth=3), kind(4)
    params = deep.init(jax.random.key(1), X)
    kernels = params["params"]["layer"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1])  # each drawn anew
    y, ends = X, []
    for k in range(3):
        own = {"params": jax.tree.map(lambda leaf, k=k: leaf[k], params["params"]["layer"])}
        end, y = one.apply(own, y, return_carry=True)
        ends.append(end)
    found_ends, found = deep.apply(params, X, return_carry=True)
    np.testing.assert_allclose(found, y, atol=1e-6)
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *ends)
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

    def run(depth, seed):
        layer = nn.Repeat(nn.Dense(4), depth=depth, dropout=0.5)
        params = layer.init(jax.random.key(1), X)
        rngs = {"dropout": jax.random.key(seed)}
        return layer.apply(params, X, deterministic=False, rngs=rngs), layer.apply(params, X)

    noisy, plain = run(1, 0)
    np.testing.assert_allclose(noisy, plain, atol=1e-6)
    assert not np.allclose(run(3, 0)[0], run(3, 1)[0])
    assert not np.allclose(*run(3, 0))


def test_newtons_iterations_in_it_are_counted():
    one, other = (nn.GRU(4, implementation="newton") for _ in range(2))
    model = models.from_layer(nn.Stack((one, nn.Repeat(other, 3))), 4)
    solution = model.apply(model.init(jax.random.key(1)), X, return_solution=True)[1]
    np.testing.assert_array_equal(solution.solves, [4, 4])


def test_what_it_refuses():
    with pytest.raises(ValueError, match="depth must be at least 1"):
        nn.Repeat(nn.GRU(4), depth=0).init(jax.random.key(0), X)
    with pytest.raises(ValueError, match="must keep the shape and dtype of its input"):
        nn.Repeat(nn.GRU(3), depth=2).init(jax.random.key(0), X)
    with pytest.raises(ValueError, match="must keep the shape and dtype of its input"):
        nn.Repeat(nn.GRU(4), depth=2).init(jax.random.key(0), X.astype(jnp.bfloat16))
    with pytest.raises(ValueError, match=r"dropout rate is in \[0, 1\)"):
        nn.Repeat(nn.GRU(4), depth=2, dropout=1.0).init(jax.random.key(0), X)
