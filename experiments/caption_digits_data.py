"""Captions of scikit-learn's digits: what a picture shows, and what is measured of it, in words."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import digits_data
from experiments.digits_data import SIDE, STEPS, Part
from seqjax import data, losses

SLOTS = {  # what is told of a picture, in words by class
    "digit": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "width": ("narrow", "", "wide"),
    "ink": ("thin", "medium", "thick"),
    "slant": ("slanted to the left", "upright", "slanted to the right"),
}
START, END = 2, 3  # the numbers of `data.START` and `data.END`
LONGEST = 12  # words of "a narrow seven , thin , slanted to the left", and those two


class Captions(NamedTuple):
    """Pictures with their captions.

    Attributes:
        pictures: [examples, 8, 8], ink from 0 to 1.
        classes: by slot (`SLOTS`), [examples].
        tokens: [examples, steps]: `START`, the words, `END`, padding.
        lengths: [examples], words and `END`.
    """

    pictures: np.ndarray
    classes: dict[str, np.ndarray]
    tokens: np.ndarray
    lengths: np.ndarray

    def batch(self) -> dict[str, np.ndarray]:
        """What training reads."""
        pixels = self.pictures.reshape(-1, STEPS)
        return {"pixels": pixels, "tokens": self.tokens, "lengths": self.lengths}


class Task(NamedTuple):
    """The three parts of the digits, captioned.

    Attributes:
        vocabulary: of the captions' words.
        parts: "train", "validation" and "test".
        cuts: by slot, what a measure is at its terciles in the training part.
    """

    vocabulary: data.Vocabulary
    parts: dict[str, Captions]
    cuts: dict[str, tuple[float, float]]


def caption(classes: Mapping[str, int]) -> str:
    """A picture's caption.

    Example:
        >>> caption({"digit": 7, "width": 0, "ink": 0, "slant": 2})
        'a narrow seven , thin , slanted to the right'
        >>> caption({"digit": 8, "width": 1, "ink": 2, "slant": 1})
        'an eight , thick , upright'
    """
    said = {slot: SLOTS[slot][int(value)] for slot, value in classes.items()}
    noun = f"{said['width']} {said['digit']}".strip()
    return f"{'an' if noun == 'eight' else 'a'} {noun} , {said['ink']} , {said['slant']}"


def measures(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """What is measured of pictures, [examples] each.

    "ink" is the mean over the pixels; "width" the ink's standard deviation along the rows, in
    pixels; "slant" how many columns its middle moves to the right by each row upwards.

    Args:
        pictures: [examples, 8, 8].

    Example:
        >>> slash = np.fliplr(np.eye(8))[None]
        >>> {name: round(float(of[0]), 3) for name, of in measures(slash).items()}
        {'ink': 0.125, 'width': 2.291, 'slant': 1.0}
    """
    rows, columns = np.mgrid[:SIDE, :SIDE].reshape(2, -1).astype(np.float64)
    ink = pictures.reshape(-1, STEPS).astype(np.float64)
    share = ink / ink.sum(axis=1, keepdims=True)
    x, y = columns - share @ columns[:, None], rows - share @ rows[:, None]
    xx, xy, yy = ((share * moment).sum(axis=1) for moment in (x * x, x * y, y * y))
    return {"ink": ink.mean(axis=1), "width": np.sqrt(xx), "slant": -xy / yy}


@functools.cache
def task(copies: int = 1) -> Task:
    """The digits with their captions.

    Args:
        copies: of every training picture so many, all but the first shifted and stretched at
            random, each with the caption that is true of it.
    """
    parts = digits_data.digits()._asdict()
    thirds = {
        k: np.quantile(v, (1 / 3, 2 / 3)) for k, v in measures(parts["train"].pictures).items()
    }
    parts["train"] = _copied(parts["train"], copies)
    classes = {
        split: {"digit": part.labels}
        | {k: np.digitize(v, thirds[k]) for k, v in measures(part.pictures).items()}
        for split, part in parts.items()
    }
    words = {word for of in _texts(classes["train"]) for word in of.split()}
    vocabulary = data.Vocabulary("word", (data.START, data.END, *sorted(words)))
    found = {
        split: Captions(part.pictures, classes[split], *_encoded(vocabulary, classes[split]))
        for split, part in parts.items()
    }
    return Task(vocabulary, found, {k: (float(v[0]), float(v[1])) for k, v in thirds.items()})


def _copied(part: Part, copies: int) -> Part:
    keys = jax.random.split(jax.random.key(0), copies - 1)
    moved = [np.asarray(digits_data.moved(key, jnp.asarray(part.pictures))) for key in keys]
    return Part(np.concatenate([part.pictures, *moved]), np.tile(part.labels, copies))


def _texts(classes: Mapping[str, np.ndarray]) -> list[str]:
    columns = zip(*(classes[slot].tolist() for slot in SLOTS), strict=True)
    return [caption(dict(zip(SLOTS, values, strict=True))) for values in columns]


def _encoded(
    vocabulary: data.Vocabulary, classes: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    numbers = [vocabulary.encode(data.START + text + data.END) for text in _texts(classes)]
    tokens, lengths = data.padded(numbers, steps=LONGEST)
    return tokens, lengths - 1


def scores(words: np.ndarray, lengths: np.ndarray, truth: Captions) -> dict[str, float]:
    """How captions agree with the true ones.

    Args:
        words: [examples, steps], without `START`; what follows a caption does not count.
        lengths: [examples], words of each.
        truth: the true ones.

    Returns:
        "exact", the share of captions that are right to the word; "words", the word accuracy:
        one less the edit distance divided by the number of words, over all captions.
    """
    given = (words, truth.tokens[:, 1:], lengths, truth.lengths - 1)
    distance = np.asarray(losses.edit_distance(*map(jnp.asarray, given)))
    wrong = float(distance.sum() / (truth.lengths - 1).sum())
    return {"exact": float(np.mean(distance == 0)), "words": 1 - wrong}


@functools.cache
def baselines() -> dict[str, dict[str, dict[str, float]]]:
    """Captions without a captioner.

    The most frequent caption of the training part; and logistic regression of every slot on the
    64 pixels, each with its own C, chosen on the validation part.

    Returns:
        `scores`, by name and part of the data.
    """
    from sklearn.linear_model import LogisticRegression

    parts, vocabulary = task().parts, task().vocabulary
    pixels = {split: part.batch()["pixels"] for split, part in parts.items()}
    told = np.stack([parts["train"].classes[slot] for slot in SLOTS])
    kinds, counts = np.unique(told, axis=1, return_counts=True)
    common = kinds[:, counts.argmax()]
    fits: dict[str, Any] = {}
    for slot in SLOTS:
        candidates = [
            LogisticRegression(C=c, max_iter=3000).fit(
                pixels["train"], parts["train"].classes[slot]
            )
            for c in (1, 10, 100)
        ]
        right = parts["validation"].classes[slot]
        fits[slot] = max(candidates, key=lambda one: one.score(pixels["validation"], right))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for split in ("validation", "test"):
        count = len(pixels[split])
        guesses = {
            "most frequent caption": dict(zip(SLOTS, np.tile(common[:, None], count), strict=True)),
            "logistic regression of each slot": {
                slot: fit.predict(pixels[split]) for slot, fit in fits.items()
            },
        }
        for name, classes in guesses.items():
            tokens, lengths = _encoded(vocabulary, classes)
            found.setdefault(name, {})[split] = scores(tokens[:, 1:], lengths - 1, parts[split])
    return found
