import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.train import array_batches


def epoch_of(batches, epoch):
    """The examples of an epoch, padding left out, as lists."""
    plan = batches.plan(batches.data, jax.random.fold_in(jax.random.key(0), epoch))
    found = []
    for step in range(batches.steps):
        row = jax.tree.map(lambda leaf, step=step: leaf[step], plan)
        batch, weights = batches.batch(batches.data, row)
        found.append(np.asarray(batch)[np.asarray(weights) > 0].tolist())
    return found


@pytest.mark.parametrize(("n", "size"), [(10, 4), (12, 4), (3, 8), (1, 1)])
def test_an_epoch_holds_every_example_once(n, size):
    batches = array_batches(jnp.arange(n), size)
    for epoch in range(3):
        found = epoch_of(batches, epoch)
        assert sorted(example for batch in found for example in batch) == list(range(n))
        assert {len(batch) for batch in found[:-1]} <= {min(size, n)}


def test_order_is_a_function_of_the_epoch():
    batches = array_batches(jnp.arange(50), 8)
    assert epoch_of(batches, 0) == epoch_of(batches, 0)
    assert epoch_of(batches, 0) != epoch_of(batches, 1)


def test_without_shuffling_examples_stay_in_order():
    assert epoch_of(array_batches(jnp.arange(5), 2, shuffle=False), 7) == [[0, 1], [2, 3], [4]]


def test_equal_sizes_share_the_functions_that_jit_compiles():
    a, b = array_batches(jnp.zeros(5), 2), array_batches(jnp.ones(5), 2)
    assert a.plan is b.plan
    assert a.batch is b.batch


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"\[2, 3\] examples"):
        array_batches({"x": jnp.zeros(2), "y": jnp.zeros(3)}, 2)
    with pytest.raises(ValueError, match="batch_size"):
        array_batches(jnp.zeros(2), 0)
    with pytest.raises(ValueError, match=r"arrays\['x'\]\[0\] is float, no array .* np.asarray"):
        array_batches({"x": [1.0, 2.0]}, 2)
