"""Texts as tokens, for `experiments.sentences`."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments.sentences_data import Parts
from seqjax import data
from seqjax.data.pieces import Pieces, pieces

Unit = Literal["piece", "word", "character"]
Vocabulary = data.Vocabulary | Pieces
MOST_VARIANTS = 200_000  # of all texts together


class Task(NamedTuple):
    """Labelled texts as a network reads them.

    Attributes:
        parts: the texts.
        vocabulary: of the training part.
        steps: of a text, at most; 99 % of the training part have fewer.
        examples: of each part by its name, see `as_tokens`, and "labels" [texts]; those of the
            training part in several variants, along the last axis.
    """

    parts: Parts
    vocabulary: Vocabulary
    steps: int
    examples: dict[str, dict[str, np.ndarray]]

    @property
    def extra(self) -> dict[str, Any]:
        """What a prediction needs besides the network, JSON."""
        names = list(self.parts.train.names)
        return {"vocabulary": self.vocabulary.to_json(), "steps": self.steps, "labels": names}


def task_of(parts: Parts, unit: Unit) -> Task:
    """The parts as tokens of a vocabulary of the training part."""
    vocabulary, texts = vocabulary_of(unit, parts.train.texts), parts.train.texts
    variants = [[vocabulary.encode(text) for text in texts]]
    if isinstance(vocabulary, Pieces):
        rng = random.Random(0)
        count = int(np.clip(MOST_VARIANTS // len(texts), 2, 8))
        variants = [[vocabulary.variant(text, rng) for text in texts] for _ in range(count)]
    longest = np.quantile([len(one) for some in variants for one in some], 0.99)
    steps = 8 * int(np.ceil((longest + 1) / 8))  # alike in all folds: they share programs
    padded = [as_arrays(some, steps) for some in variants]
    examples = {
        "train": {key: np.stack([one[key] for one in padded], axis=-1) for key in padded[0]},
        "validation": as_tokens(vocabulary, parts.validation.texts, steps),
        "test": as_tokens(vocabulary, parts.test.texts, steps),
    }
    for name, part in parts._asdict().items():
        examples[name]["labels"] = part.labels
    return Task(parts, vocabulary, steps, examples)


def vocabulary_of(unit: Unit, texts: list[str]) -> Vocabulary:
    """What stands in the texts twice at least; of pieces so many as the number of texts allows."""
    if unit == "piece":
        return pieces(texts, most=int(np.clip(len(texts) // 100 * 100, 1000, 8000)))
    return data.words(texts) if unit == "word" else data.characters(texts, at_least=2)


def saved_vocabulary(saved: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary that a run was trained with, out of its JSON."""
    return (Pieces if saved.get("unit") == "piece" else data.Vocabulary).from_json(saved)


def as_tokens(vocabulary: Vocabulary, texts: Sequence[str], steps: int) -> dict[str, np.ndarray]:
    """Texts as "tokens" [texts, steps] and "lengths" [texts]; longer ones are cut."""
    return as_arrays([vocabulary.encode(text) for text in texts], steps)


def as_arrays(numbers: Sequence[np.ndarray], steps: int) -> dict[str, np.ndarray]:
    """A length is 1 at least: a text without tokens is padding."""
    tokens, lengths = data.padded(numbers, steps=steps)
    return {"tokens": tokens, "lengths": np.maximum(lengths, 1)}
