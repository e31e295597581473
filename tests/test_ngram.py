from collections import Counter

import numpy as np
import pytest

from seqjax import ngram

V = 5


def texts(*lengths, seed=0):
    """Tokens 1, ..., V - 1, each much like the two before it."""
    rng = np.random.default_rng(seed)
    found = []
    for length in lengths:
        text = list(rng.integers(1, V, 2))
        while len(text) < length:
            follows = 1 + (text[-1] * 3 + text[-2]) % (V - 1)
            text.append(follows if rng.random() < 0.8 else rng.integers(1, V))
        found.append(np.array(text[:length]))
    return found


def by_definition(train, history, token, order):
    """Chen and Goodman's equations, with dictionaries: p(token | history)."""
    padded = [(0,) * (order - 1) + tuple(text.tolist()) for text in train]

    def grams(n):
        for text in padded:
            for end in range(order, len(text) + 1):
                yield text[end - n : end]

    def counts(n):
        if n == order:
            return Counter(grams(n))
        return Counter(gram[1:] for gram in set(grams(n + 1)))

    def discounts(found):
        n1, n2, n3, n4 = (sum(c == k for c in found.values()) for k in (1, 2, 3, 4))
        if 0 in (n1, n2, n3, n4):
            return [0, 0.5, 0.5, 0.5]
        y = n1 / (n1 + 2 * n2)
        ds = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        return [0, *(min(max(d, 0.1), k) for k, d in enumerate(ds, 1))]

    p = 1 / V
    for n in range(1, order + 1):
        found = counts(n)
        ds = discounts(found)
        context = ((0,) * order + tuple(history))[len(history) + order - n + 1 :]
        following = {gram[-1]: c for gram, c in found.items() if gram[:-1] == context}
        if total := sum(following.values()):
            left = sum(ds[min(c, 3)] for c in following.values()) / total
            own = following.get(token, 0)
            p = (own - ds[min(own, 3)]) / total + left * p
    return p


def test_it_is_its_definition():
    train, (text,) = texts(60, 1, 80), texts(12, seed=1)
    model = ngram.fit(train, 4, V)
    found = 2 ** ngram.log2_probabilities(model, text)
    assert found.shape == (4, 12)
    for order in (1, 2, 3, 4):
        expected = [by_definition(train, text[:t], text[t], order) for t in range(len(text))]
        np.testing.assert_allclose(found[order - 1], expected, rtol=1e-12)


@pytest.mark.parametrize("lengths", [(2000,), (60, 30), (1,)])
def test_probabilities_are_positive_and_sum_to_one(lengths):
    model = ngram.fit(texts(*lengths), 5, V)
    for context in ([], [1], [3, 1, 2], [4, 4, 4, 4, 4, 4], [0, 0]):
        found = ngram.next_probabilities(model, np.array(context, int))
        assert (found > 0).all()
        np.testing.assert_allclose(found.sum(axis=1), 1)


def test_the_next_token_is_the_one_of_the_text():
    model, (text,) = ngram.fit(texts(500), 3, V), texts(20, seed=1)
    bits = ngram.log2_probabilities(model, text)
    for t in (0, 1, 7, 19):
        np.testing.assert_allclose(
            ngram.next_probabilities(model, text[:t])[:, text[t]], 2 ** bits[:, t]
        )


def test_it_finds_the_order_of_a_markov_chain():
    """Entropy of the chain: 0.8 + 0.2 / 4 on one token, 0.2 / 4 on the three others."""
    model = ngram.fit(texts(200_000), 5, V)
    (text,) = texts(20_000, seed=1)
    bits = -ngram.log2_probabilities(model, text).mean(axis=1)
    p = np.array([0.85, 0.05, 0.05, 0.05])
    assert bits.argmin() == 2
    np.testing.assert_allclose(bits[2], -np.sum(p * np.log2(p)), atol=0.01)
    assert bits[1] > bits[2] + 0.5


def test_texts_do_not_see_each_other():
    one, other = texts(40, 50)
    both = ngram.fit([one, other], 3, V)
    swapped = ngram.fit([other, one], 3, V)
    joined = ngram.fit([np.concatenate([one, other])], 3, V)
    (text,) = texts(30, seed=2)
    found = ngram.log2_probabilities(both, text)
    np.testing.assert_array_equal(found, ngram.log2_probabilities(swapped, text))
    assert np.any(found != ngram.log2_probabilities(joined, text))


def test_bad_arguments_are_told():
    with pytest.raises(ValueError, match="order must be at least 1"):
        ngram.fit([np.array([1])], 0, V)
    with pytest.raises(ValueError, match="no tokens"):
        ngram.fit([], 2, V)
    with pytest.raises(ValueError, match="from 0 to 4, but the text has those from 1 to 5"):
        ngram.fit([np.array([1, 5])], 2, V)
    with pytest.raises(ValueError, match="from 0 to 4"):
        ngram.log2_probabilities(ngram.fit([np.array([1])], 1, V), np.array([-1]))
