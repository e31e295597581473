"""Texts of `experiments.char_lm` as tokens and batches, and the n-gram models beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from seqjax import data, ngram, study, train
from seqjax.data import corpus
from seqjax.report import Row

ORDER = 8  # the longest n-grams
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


def whole(documents: Sequence[np.ndarray], lanes: int, steps: int) -> train.Batches:
    """All documents once, in order; each lane reads 256 tokens before those that count."""
    found = corpus.pieces(documents, lanes, steps, warm_up=-(-256 // steps))
    arrays: Any = {
        name: array.reshape(-1, *array.shape[2:]) for name, array in found._asdict().items()
    }
    return train.array_batches(arrays, lanes, shuffle=False)


def ngram_rows(text: Text, *, test: bool) -> list[Row]:
    """Bits of the n-gram models of all orders; on the test part of the one that is best before.

    Args:
        text: the text.
        test: whether to look at the test part.
    """
    model = ngram.fit(text.train, ORDER, text.vocabulary.size)

    def bits(documents: Sequence[np.ndarray]) -> np.ndarray:
        found = [ngram.log2_probabilities(model, one) for one in documents]
        return -np.concatenate(found, axis=1).mean(axis=1)

    def row(order: int, split: str, figure: float) -> Row:
        return Row(f"{order}-gram", "baseline", split, f"{split} bits", (float(figure),))

    validation = bits(text.validation)
    best = int(validation.argmin())
    found = [row(best + 1, "test", bits(text.test)[best])] if test else []
    return found + [row(order, "validation", figure) for order, figure in enumerate(validation, 1)]


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
