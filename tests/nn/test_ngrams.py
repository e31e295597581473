import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.nn import NGramEmbed
from seqjax.nn.recall import recall

LAYER = NGramEmbed(num_embeddings=7, features=3, order=3, buckets=1000)
RECALL = LAYER.clone(recall=(2, 4))


@pytest.fixture(scope="module")
def params():
    found = jax.jit(RECALL.init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
    shapes = {name: jnp.shape(a) for name, a in found["params"].items() if name != "embed"}
    assert shapes == {"ngrams": (2000, 3), "recalled": (2 * 15, 3)}
    rng = np.random.default_rng(0)
    drawn = {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()
    }
    return {"params": {**found["params"], **drawn}}


def tokens(*shape):
    return np.random.default_rng(0).integers(0, 7, shape, np.int32)


@functools.cache
def run(layer, **options):
    """The layer's `apply`, compiled."""
    compiled = jax.jit(functools.partial(layer.apply, **options))
    return lambda *args, **lengths: jax.device_get(compiled(*args, **lengths))


def test_before_training_it_is_an_embedding():
    x = tokens(2, 9)
    params = jax.jit(LAYER.init)(jax.random.key(0), x)
    table = np.asarray(params["params"]["embed"]["embedding"])
    np.testing.assert_array_equal(run(LAYER)(params, x), table[x])


def test_a_vector_for_each_ngram(params):
    """E[x_t] + T_2[x_{t-1}, x_t] + T_3[x_{t-2}, x_{t-1}, x_t], as dictionaries tell them."""
    x = tokens(20, 50)
    y = run(LAYER)(params, x) - np.asarray(params["params"]["embed"]["embedding"])[x]
    rows = np.asarray(params["params"]["ngrams"])
    of_pair, of_triple = {}, {}
    padded = np.pad(np.asarray(x), ((0, 0), (2, 0)))
    for b, t in np.ndindex(*x.shape):
        triple = tuple(padded[b, t : t + 3].tolist())
        of_triple.setdefault(triple, y[b, t])
        np.testing.assert_allclose(of_triple[triple], y[b, t], atol=1e-5)
        of_pair.setdefault(triple[1:], []).append(y[b, t])
    assert len(of_triple) > 200
    # What two triples with the same end differ by is a difference of rows of the second table.
    one, other = next(
        (a, b)
        for a in of_triple
        for b in of_triple
        if a[1:] == b[1:] and a[0] < b[0] and np.any(of_triple[a] != of_triple[b])
    )
    difference = of_triple[one] - of_triple[other]
    gaps = np.abs(rows[1000:, None] - rows[None, 1000:] - difference).max(axis=-1)
    assert gaps.min() < 1e-5


def test_few_ngrams_share_a_row():
    x = jnp.asarray([[a, b, c] for a in range(7) for b in range(7) for c in range(7)])
    rows = np.asarray(LAYER._rows(x, 1))[:, 0]
    assert len(set(rows[:, 0])) >= 45  # of 49 pairs
    assert (rows[:, 0] < 1000).all()
    assert (rows[:, 1] >= 1000).all()
    triples = len(set(rows[:, 1]))
    expected = 1000 * (1 - (1 - 1 / 1000) ** 343)  # of balls in bins: 290
    assert abs(triples - expected) < 25


@pytest.mark.parametrize("layer", [LAYER, RECALL])
def test_steps_and_pieces_are_the_whole(params, layer):
    x = tokens(4, 40)
    whole = run(layer)(params, x)
    carry, first = run(layer, return_carry=True)(params, x[:, :5])
    np.testing.assert_array_equal(first, whole[:, :5])
    np.testing.assert_allclose(run(layer)(params, x[:, 5:], carry), whole[:, 5:], rtol=1e-6)
    carry = layer.initial_carry(4, 0)
    step = jax.jit(lambda carry, x: layer.apply(params, carry, x, method="step"))
    for t in range(40):
        carry, y = step(carry, x[:, t])
        np.testing.assert_allclose(y, whole[:, t], rtol=1e-5)
    last = carry[0] if layer.recall else carry
    np.testing.assert_array_equal(last, x[:, -last.shape[1] :])


def test_a_padded_sequence_is_the_sequence_alone(params):
    x, lengths = tokens(3, 30), np.array([17, 1, 0])
    apply = run(RECALL, return_carry=True)
    carry, y = apply(params, x, seq_lengths=lengths)
    for row in (0, 1):
        length = int(lengths[row])
        alone, expected = apply(params, x[row : row + 1, :length])
        np.testing.assert_array_equal(y[row, :length], expected[0])
        for kept, its_own in zip(carry, alone, strict=True):
            np.testing.assert_array_equal(kept[row], its_own[0])
    assert not any(np.any(kept[2]) for kept in carry)


def test_what_followed_last_is_recalled_and_whether_that_was_right(params):
    """Of a dictionary for each length; a table of which every row is a power of two."""
    of_pairs, of_fours = 2.0 ** jnp.arange(15), -(2.0 ** jnp.arange(15))
    table = jnp.concatenate([of_pairs, of_fours])[:, None] * jnp.array([[1.0, 0.0, 0.0]])
    x = tokens(6, 200)
    x[3:] %= 2  # what comes again, and is long known
    own = {"params": {**params["params"], "recalled": table}}
    y = (run(RECALL)(own, x) - run(LAYER)(params, x))[..., 0]
    for row in range(len(x)):
        padded = (0, 0, 0, 0, *x[row].tolist())
        expected = np.zeros(200)
        for n, sign in ((2, 1), (4, -1)):
            followed, before = {}, None
            for t, token in enumerate(x[row].tolist()):
                right = before == token
                followed[padded[t + 4 - n : t + 4]] = token
                before = followed.get(padded[t + 5 - n : t + 5])
                number = 0 if before is None else 1 + before + 7 * right
                expected[t] += sign * 2.0**number
        equal = np.isclose(y[row], expected, rtol=1e-4, atol=1e-2)
        assert equal.mean() > 0.96  # two n-grams in one bucket are rare


def test_a_full_memory_forgets_and_never_takes_one_ngram_for_another():
    """200 n-grams through 16 buckets: what is found was the last continuation, most is lost."""
    rng = np.random.default_rng(0)
    hashed = rng.integers(0, 2**32, 200, dtype=np.uint32)[rng.integers(0, 200, (1, 601))]
    following = rng.integers(0, 50, (1, 600))
    lengths = jnp.array([600])
    memory = jnp.zeros((1, 16), jnp.uint32)
    memory, found = jax.device_get(jax.jit(recall)(memory, hashed, following, lengths))
    last, hits = {}, 0
    for t, n_gram in enumerate(hashed[0].tolist()):
        if t:
            last[hashed[0, t - 1]] = following[0, t - 1]
        if found[0, t]:
            assert found[0, t] == 1 + last[n_gram]
            hits += 1
    assert 10 < hits < 200
    assert np.count_nonzero(memory) == 16


def test_dropout_takes_an_ngram_and_all_longer_ones(params):
    """Of tables of ones and of tens: 0, 1, or 11, never 10."""
    rows = jnp.repeat(jnp.array([[1.0], [10.0]]), 1000, axis=0) * jnp.ones((1, 3))
    own = {"params": {"embed": {"embedding": jnp.zeros((7, 3))}, "ngrams": rows}}
    layer, x = LAYER.clone(dropout=0.25), tokens(50, 40)
    np.testing.assert_array_equal(run(layer)(own, x), 11)
    y = run(layer, deterministic=False)(own, x, rngs={"dropout": jax.random.key(0)})
    assert (np.ptp(y, axis=-1) == 0).all()
    values, counts = np.unique(y[..., 0], return_counts=True)
    assert values.tolist() == [0, 1, 11]
    np.testing.assert_allclose(counts / x.size, [0.25, 0.75 * 0.25, 0.75**2], atol=0.04)


def test_bad_tokens_and_orders_are_told(params):
    assert np.isnan(run(LAYER)(params, np.array([[1, 7]]))[0, 1]).all()
    with pytest.raises(ValueError, match="tokens must be integers"):
        LAYER.apply(params, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="order must be at least 2, not 1"):
        jax.jit(LAYER.clone(order=1).init)(jax.random.key(0), tokens(1, 3))
    with pytest.raises(ValueError, match=r"recall takes lengths of 2 or more.*\(1, 3\) of 7"):
        jax.jit(LAYER.clone(recall=(1, 3)).init)(jax.random.key(0), tokens(1, 3))
