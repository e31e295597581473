import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax import losses
from tests.compiled import run

RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(3, 5, 7)) * 3, jnp.float32)
TARGETS = jnp.asarray(RNG.integers(0, 7, (3, 5)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_is_that_of_smoothed_labels(smoothing):
    """Against Optax's own, of dense labels; values and gradients, in bfloat16 too."""
    labels = optax.smooth_labels(jax.nn.one_hot(TARGETS, 7), smoothing)

    def ours(logits):
        return losses.cross_entropy(logits, TARGETS, label_smoothing=smoothing)

    def values_and_gradient(f):
        def total(x):
            values = f(x)
            return jnp.sum(values), values

        return run(jax.value_and_grad(total, has_aux=True), LOGITS)

    (_, found), gradient = values_and_gradient(ours)
    (_, expected), of_optax = values_and_gradient(lambda x: optax.softmax_cross_entropy(x, labels))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, of_optax, atol=1e-6)
    narrow = run(ours, LOGITS.astype(jnp.bfloat16))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, expected, atol=0.1)
    logits = np.array([[1e4, -1e4]], np.float32)
    large = run(losses.cross_entropy, logits, np.array([0]), label_smoothing=smoothing)
    np.testing.assert_allclose(large, [smoothing * 1e4], rtol=1e-6)


def test_a_smoothing_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"in \[0, 1\), not 1.0"):
        losses.cross_entropy(LOGITS, TARGETS, label_smoothing=1.0)


def test_means_by_weights_are_those_of_each_sequence_alone():
    lengths = jnp.array([5, 0, 2])
    weights = losses.token_weights(lengths, 5)
    values = losses.cross_entropy(LOGITS, TARGETS)
    right = losses.accuracy(LOGITS, TARGETS)
    rows = [(values[i, :n], right[i, :n]) for i, n in enumerate(lengths.tolist())]
    for padded, alone in zip((values, right), zip(*rows, strict=True), strict=True):
        expected = np.concatenate(alone).mean()
        assert jnp.sum(padded * weights) / jnp.sum(weights) == pytest.approx(expected, rel=1e-6)
    assert losses.perplexity(float(np.log(7.0))) == pytest.approx(7.0, rel=1e-6)
    np.testing.assert_allclose(losses.bits(jnp.log(jnp.array([8.0]))), [3.0], rtol=1e-6)


def levenshtein(a, b):
    """The definition, by recursion over a table."""
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[:, 0], table[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i, j] = min(
                table[i - 1, j] + 1,
                table[i, j - 1] + 1,
                table[i - 1, j - 1] + (a[i - 1] != b[j - 1]),
            )
    return table[-1, -1]


def test_edit_distance_is_levenshteins_whatever_the_padding():
    a, b = RNG.integers(0, 3, (40, 6)), RNG.integers(0, 3, (40, 9))
    lengths_a, lengths_b = RNG.integers(0, 7, 40), RNG.integers(0, 10, 40)
    found = jax.jit(losses.edit_distance)(*map(jnp.asarray, (a, b, lengths_a, lengths_b)))
    rows = zip(a, b, lengths_a, lengths_b, strict=True)
    assert found.tolist() == [levenshtein(x[:m], y[:n]) for x, y, m, n in rows]
    back = losses.edit_distance(*map(jnp.asarray, (b, a, lengths_b, lengths_a)))
    assert back.tolist() == found.tolist()


def test_exact_match_sees_no_padding():
    lengths = jnp.array([2, 0, 3])
    weights = losses.token_weights(lengths, 3)
    tokens = jnp.arange(9).reshape(3, 3)
    assert losses.exact_match(tokens.at[0, 2].set(9), tokens, weights).all()
    assert losses.exact_match(tokens.at[0, 1].set(9), tokens, weights).tolist() == [
        False,
        True,
        True,
    ]
