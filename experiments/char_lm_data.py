"""Texts of `experiments.char_lm` as tokens and batches, and the n-gram models beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from seqjax import data, ngram, study, train
from seqjax.data import corpus
from seqjax.report import Row

ORDER = 8  # the longest n-grams
RECALLED = (12, 8, 5, 3)  # lengths of what is looked for in the document itself
Unit = Literal["character", "byte"]


class Text(NamedTuple):
    """A corpus as numbers.

    Attributes:
        vocabulary: of the training part; a character that stands there once is unknown.
        train: documents, [time] each.
        validation: likewise.
        test: likewise.
        origin: a hash of the documents, and how they are divided.
    """

    vocabulary: data.Vocabulary
    train: list[np.ndarray]
    validation: list[np.ndarray]
    test: list[np.ndarray]
    origin: str

    @property
    def size(self) -> int:
        """Characters of the training part."""
        return sum(map(len, self.train))


def read(paths: Sequence[Path], unit: Unit, *, quick: bool) -> Text:
    """Some files, or the standard library.

    Raises:
        DataError: see `seqjax.data.corpus.read_corpus`.
    """
    if paths:
        found = corpus.read_corpus(paths, unit=unit)
    else:
        found = corpus.standard_library(100_000 if quick else 2_000_000)
    if unit == "byte":
        vocabulary = data.utf8_bytes()
    else:
        vocabulary = data.characters(map(str, found.train), at_least=2)
    parts = ([corpus.encode(vocabulary, one) for one in part] for part in found[:3])
    return Text(vocabulary, *parts, origin=f"{found.digest}, {found.split}")


def training(text: Text, lanes: int, steps: int, updates: int) -> train.Stream:
    """The training part without end; `updates` of it count as an epoch."""
    return train.stream(corpus.passes(text.train, lanes, steps), updates)


def whole(
    documents: Sequence[np.ndarray], lanes: int, steps: int, before: int = 256
) -> train.Batches:
    """All documents once, in order; each lane reads `before` tokens ahead of those that count."""
    found = corpus.pieces(documents, lanes, steps, warm_up=-(-before // steps))
    arrays: Any = {
        name: array.reshape(-1, *array.shape[2:]) for name, array in found._asdict().items()
    }
    return train.array_batches(arrays, lanes, shuffle=False)


class Measured(NamedTuple):
    """What n-gram models say of a part of the text.

    Attributes:
        shares: the probability of each character by the models of all orders, [order, time].
        level: [time], which of `RECALLED` is the longest that stood in the document before.
        right: [time], whether the character that followed it then comes again.
    """

    shares: np.ndarray
    level: np.ndarray
    right: np.ndarray

    def with_recall(self, order: int, weights: np.ndarray) -> np.ndarray:
        """Probabilities of one order, mixed with what followed before, by length of the match."""
        weight = weights[self.level]
        return (1 - weight) * self.shares[order - 1] + weight * self.right


def recalled(document: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`level` and `right` of `Measured`, of one document; the level of no match is the last.

    Example:
        >>> level, right = recalled(np.array([1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 5]))
        >>> level.tolist(), np.flatnonzero(right).tolist()
        ([4, 4, 4, 4, 4, 4, 4, 3, 3, 2, 2, 2], [7, 8, 9, 10])
    """
    tokens = tuple(document.tolist())
    level, right = np.full(len(tokens), len(RECALLED)), np.zeros(len(tokens), bool)
    for number, n in reversed(tuple(enumerate(RECALLED))):
        followed: dict[tuple[int, ...], int] = {}
        for at in range(n, len(tokens)):
            before = tokens[at - n : at]
            if before in followed:
                level[at], right[at] = number, followed[before] == tokens[at]
            followed[before] = tokens[at]
    return level, right


def weights_of(part: Measured, order: int) -> np.ndarray:
    """How far to trust each length of a match: most likely on a part (Jelinek and Mercer, 1980)."""
    weights = np.full(len(RECALLED) + 1, 0.5)
    counts = np.maximum(np.bincount(part.level, minlength=len(weights)), 1)
    for _ in range(50):  # of expectation maximisation
        share = weights[part.level] * part.right / part.with_recall(order, weights)
        weights = np.bincount(part.level, share, len(weights)) / counts
    return weights


def ngram_rows(text: Text, *, test: bool) -> list[Row]:
    """Bits of the n-gram models of all orders, and of the best with what its document says itself.

    The best order and the weights of what is recalled are those of the validation part.

    Args:
        text: the text.
        test: whether to look at the test part.
    """
    model = ngram.fit(text.train, ORDER, text.vocabulary.size)

    def measured(documents: Sequence[np.ndarray]) -> Measured:
        shares = [2.0 ** ngram.log2_probabilities(model, one) for one in documents]
        matches = zip(*map(recalled, documents), strict=True)
        return Measured(np.concatenate(shares, axis=1), *map(np.concatenate, matches))

    def row(name: str, split: str, shares: np.ndarray) -> Row:
        bits = float(-np.log2(shares).mean())
        return Row(name, "baseline", split, f"{split} bits", (bits,))

    validation = measured(text.validation)
    best = 1 + int(np.log2(validation.shares).mean(axis=1).argmax())
    weights = weights_of(validation, best)
    rows = []
    for split, part in (
        ("test", measured(text.test) if test else None),
        ("validation", validation),
    ):
        if part is not None:
            orders = range(1, ORDER + 1) if split == "validation" else (best,)
            rows += [row(f"{order}-gram", split, part.shares[order - 1]) for order in orders]
            mixed = part.with_recall(best, weights)
            rows.append(row(f"{best}-gram with recall", split, mixed))
    return rows


def network_rows(outcomes: Mapping[str, Sequence[study.Outcome]]) -> list[Row]:
    """Bits of the networks, by part; a look has none of the test part."""

    def row(name: str, part: str, found: Sequence[study.Outcome]) -> Row:
        return study.row_of(
            name, found, lambda one: one.figures[part], split=part, metric=f"{part} bits"
        )

    return [
        row(name, part, done)
        for part in ("test", "validation")
        for name, found in outcomes.items()
        if (done := [one for one in found if part in one.figures])
    ]
