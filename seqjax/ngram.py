"""N-gram models of tokens with interpolated modified Kneser-Ney smoothing: the baseline of text.

Everything is sorted arrays: a context's number is found from the number of the context one token
shorter and the token before it, so that a text of some megabytes takes seconds.
Dimensions: T tokens of a text, K orders.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

Integers: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.integer]]
Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.floating]]

BEGIN = 0  # stands before the first token of every text


class Estimates(NamedTuple):
    """What one level adds to the level below: ``p(w | h) = seen(h w) + left(h) p(w | h')``.

    Attributes:
        seen: [n-grams], ``max(c(h w) - D, 0) / c(h .)``.
        left: [contexts], the mass that the discounts leave.
    """

    seen: Floats
    left: Floats


class Level(NamedTuple):
    """The n-grams of one length, n, of the training texts.

    Attributes:
        contexts: sorted keys of the contexts of ``n - 1`` tokens.
        grams: sorted keys of the n-grams.
        highest: estimates from how often an n-gram occurs, for a model of order n.
        lower: from how many tokens it follows, for the models of higher orders.
    """

    contexts: Integers
    grams: Integers
    highest: Estimates
    lower: Estimates


class NGram(NamedTuple):
    """A model of every order from 1 to that of `fit`.

    Attributes:
        vocab_size: tokens are 0, ..., vocab_size - 1.
        levels: of one token, of two, ...
    """

    vocab_size: int
    levels: tuple[Level, ...]


def fit(texts: Sequence[Integers], order: int, vocab_size: int) -> NGram:
    """Count the n-grams of some texts.

    ``p(w | h) = max(c(h w) - D(c), 0) / c(h .) + left(h) p(w | h')``, ``h'`` being ``h``
    without its first token. On the levels below the highest ``c(h w)`` is the number of
    different tokens that ``h w`` follows, and the lowest level backs off to ``1 / vocab_size``.
    ``D`` is one of three discounts, for counts of 1, of 2, and of 3 and more, estimated from
    the counts of counts of each level.

    Args:
        texts: [T] each, tokens from 0 to vocab_size - 1; none sees those before it.
        order: the longest n-grams, n.
        vocab_size: number of tokens.

    Returns:
        The model, of this order and all below.

    Raises:
        ValueError: for no tokens, tokens outside of the vocabulary, or an order below 1.

    Example:
        >>> model = fit([np.array([1, 2, 1, 2, 1, 2, 3])], order=2, vocab_size=4)
        >>> bits = log2_probabilities(model, np.array([1, 2, 1, 2]))
        >>> bits.shape, bool(bits[1].mean() > bits[0].mean())
        ((2, 4), True)

    Source: Chen and Goodman, "An empirical study of smoothing techniques for language modeling",
    Harvard TR-10-98, 1998, section 3.
    """
    if order < 1:
        raise ValueError(f"fit: order must be at least 1, not {order}.")
    for text in texts:
        _check(text, vocab_size)
    tokens = np.concatenate([np.zeros(0, np.int64), *texts]).astype(np.int64)
    if not len(tokens):
        raise ValueError("fit: there are no tokens.")
    context, gram = np.zeros_like(tokens), tokens
    found = []
    for n in range(1, order + 1):
        if n > 1:
            before = np.concatenate([_before(text, n - 1) for text in texts])
            context = context * vocab_size + before
            gram = gram * vocab_size + before
        contexts, context = np.unique(context, return_inverse=True)
        grams, gram, counts = np.unique(gram, return_inverse=True, return_counts=True)
        context_of = np.empty(len(grams), np.int64)
        context_of[gram] = context
        found.append((contexts, grams, context_of, counts))
    levels = []
    for n, (contexts, grams, context_of, counts) in enumerate(found, 1):
        # An n-gram of the next level begins with the token before the one of this level.
        follows = np.ones_like(counts)
        if n < order:
            follows = np.bincount(found[n][1] // vocab_size, minlength=len(grams))
        estimates = [_estimates(c, context_of, len(contexts)) for c in (counts, follows)]
        levels.append(Level(contexts, grams, *estimates))
    return NGram(vocab_size, tuple(levels))


def log2_probabilities(model: NGram, text: Integers) -> Floats:
    """How likely a text's tokens are, each after those before it, by the model of each order.

    Args:
        model: of `fit`.
        text: [T], tokens.

    Returns:
        [K, T], in bits; minus their mean over T are the bits per token of orders 1, ..., K.

    Raises:
        ValueError: for tokens outside of the vocabulary.
    """
    _check(text, model.vocab_size)
    before = [_before(text, n) for n in range(1, len(model.levels))]
    return np.log2(_probabilities(model, before, text.astype(np.int64)))


def next_probabilities(model: NGram, context: Integers) -> Floats:
    """The distribution of the token after a context, by the model of each order.

    Args:
        model: of `fit`.
        context: [T], tokens; a text from its begin, if shorter than the order.

    Returns:
        [K, vocab_size], each row with the sum 1.

    Example:
        >>> model = fit([np.array([1, 2, 1, 2, 1, 2, 3])], order=2, vocab_size=4)
        >>> np.round(next_probabilities(model, np.array([1])).sum(axis=1), 6).tolist()
        [1.0, 1.0]
        >>> int(next_probabilities(model, np.array([1]))[1].argmax())
        2
    """
    _check(context, model.vocab_size)
    every = np.arange(model.vocab_size)
    text = np.append(context, 0)
    before = [np.full_like(every, _before(text, n)[-1]) for n in range(1, len(model.levels))]
    return _probabilities(model, before, every)


def _probabilities(model: NGram, before: Sequence[Integers], tokens: Integers) -> Floats:
    """[K, T] of tokens [T] after those before them, [T] each, the nearest first."""
    context, gram = np.zeros_like(tokens), tokens
    lower = np.full(len(tokens), 1 / model.vocab_size)
    found = []
    for n, level in enumerate(model.levels, 1):
        if n > 1:
            context = _extended(context, before[n - 2], model.vocab_size)
            gram = _extended(gram, before[n - 2], model.vocab_size)
        context, gram = _place(level.contexts, context), _place(level.grams, gram)
        found.append(_interpolated(level.highest, context, gram, lower))
        lower = _interpolated(level.lower, context, gram, lower)
    return np.stack(found)


def _interpolated(one: Estimates, context: Integers, gram: Integers, lower: Floats) -> Floats:
    seen = np.where(gram < 0, 0.0, one.seen[gram])
    return seen + np.where(context < 0, 1.0, one.left[context]) * lower


def _extended(number: Integers, token: Integers, vocab_size: int) -> Integers:
    """The key of what begins one token earlier; -1 where it is not known already."""
    return np.where(number < 0, -1, number * vocab_size + token)


def _place(keys: Integers, wanted: Integers) -> Integers:
    """Where each key stands, or -1."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, -1)


def _before(text: Integers, count: int) -> Integers:
    """The token `count` places before each."""
    return np.concatenate([np.full(count, BEGIN), text])[: len(text)].astype(np.int64)


def _estimates(counts: Integers, context_of: Integers, contexts: int) -> Estimates:
    discount = _discounts(counts)[np.minimum(counts, 3)]
    totals = np.bincount(context_of, counts, contexts)
    left = np.bincount(context_of, discount, contexts) / totals
    return Estimates((counts - discount) / totals[context_of], left)


def _discounts(counts: Integers) -> Floats:
    """``D`` by count, of 0, 1, 2, and 3 and more."""
    n1, n2, n3, n4 = (int(np.sum(counts == k)) for k in (1, 2, 3, 4))
    if not n1 * n2 * n3 * n4:  # as on the lowest level, where few tokens are rare
        return np.array([0, 0.5, 0.5, 0.5])
    y = n1 / (n1 + 2 * n2)
    found = np.array([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    # Something must be left for what was not seen, and no count become negative.
    return np.clip(found, [0, 0.1, 0.1, 0.1], [0, 1, 2, 3])


def _check(text: Integers, vocab_size: int) -> None:
    if len(text) and not 0 <= text.min() <= text.max() < vocab_size:
        raise ValueError(
            f"tokens are from 0 to {vocab_size - 1}, but the text has those from {text.min()} to"
            f" {text.max()}."
        )
