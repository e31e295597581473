"""Scikit-learn's handwritten digits as sequences, and what its classifiers make of them."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from seqjax import launch

SIDE = 8  # pixels
STEPS = SIDE * SIDE
TEST, VALIDATION = 360, 270  # of 1,797
PERMUTATION = tuple(np.random.default_rng(0).permutation(STEPS).tolist())

Order = Literal["pixel", "row", "permuted"]
ORDERS: dict[Order, tuple[int, int]] = {  # steps, inputs
    "pixel": (STEPS, 1),
    "row": (SIDE, SIDE),
    "permuted": (STEPS, 1),
}


class Part(NamedTuple):
    """Pictures and what they show.

    Attributes:
        pictures: [examples, 8, 8], ink from 0 to 1.
        labels: [examples], 0 to 9.
    """

    pictures: np.ndarray
    labels: np.ndarray


class Digits(NamedTuple):
    """The three parts, each with the digits in the same proportions."""

    train: Part
    validation: Part
    test: Part


@functools.cache
def digits() -> Digits:
    """The 1,797 pictures, split with a fixed seed into 1,167, 270 and 360.

    They come with scikit-learn: the test part of UCI's "Optical recognition of handwritten
    digits", of 13 writers, each of whom may be in all three parts here.

    Raises:
        RunError: without scikit-learn.

    Source: Alpaydin and Kaynak, UCI Machine Learning Repository, 1998.
    """
    try:
        from sklearn import datasets, model_selection
    except ModuleNotFoundError:
        raise launch.RunError(
            "the digits come with scikit-learn: pip install -e '.[experiments]'."
        ) from None
    found: Any = datasets.load_digits()
    pictures, labels = (found.images / 16).astype(np.float32), found.target.astype(np.int32)
    rest: Any = np.arange(len(labels))
    parts = []
    for size in (TEST, VALIDATION):
        rest, part = model_selection.train_test_split(
            rest, test_size=size, stratify=labels[rest], random_state=0
        )
        parts.append(np.sort(part))
    test, validation, train = (Part(pictures[of], labels[of]) for of in (*parts, np.sort(rest)))
    return Digits(train, validation, test)


def sequences(pictures: Float[Array, "batch 8 8"], order: Order) -> Float[Array, "batch time _"]:
    """Pictures as sequences.

    Args:
        pictures: the pictures.
        order: "pixel": along the rows, 64 steps of one pixel; "row": 8 steps of a row;
            "permuted": 64 steps of one pixel in an order drawn once (`PERMUTATION`).

    Returns:
        The sequences, by `ORDERS`.

    Example:
        >>> pictures = jnp.arange(64.0).reshape(1, 8, 8)
        >>> sequences(pictures, "pixel")[0, 8:10, 0].tolist(), sequences(pictures, "row").shape
        ([8.0, 9.0], (1, 8, 8))

    Source: pixel by pixel and permuted, Le et al., "A simple way to initialize recurrent networks
    of rectified linear units", arXiv 1504.00941, section 4.2.
    """
    if order == "row":
        return pictures
    pixels = pictures.reshape(-1, STEPS, 1)
    return pixels if order == "pixel" else pixels[:, jnp.array(PERMUTATION)]


def moved(
    key: Array, pictures: Float[Array, "batch 8 8"], shift: float = 1.0, zoom: float = 0.1
) -> Float[Array, "batch 8 8"]:
    """Each picture shifted and stretched at random, interpolated; beyond its edge is no ink.

    Args:
        key: of the noise.
        pictures: the pictures.
        shift: up to so many pixels, uniform, along each axis.
        zoom: up to such a part larger or smaller, uniform, along each axis.

    Returns:
        The pictures.

    Example:
        >>> pictures = jax.random.uniform(jax.random.key(0), (2, 8, 8))
        >>> same = moved(jax.random.key(1), pictures, shift=0.0, zoom=0.0)
        >>> bool(jnp.allclose(same, pictures))
        True
    """
    centred = jnp.arange(SIDE) - (SIDE - 1) / 2
    offset, scale = jax.random.uniform(key, (2, 2, len(pictures), 1), minval=-1.0, maxval=1.0)
    place = (1 + zoom * scale) * centred[None, None] + shift * offset  # [axis, batch, new pixel]
    # Of the two pixels beside that place, by their distance: interpolation as two products.
    rows, columns = jnp.maximum(1 - jnp.abs(place[..., None] - centred[None, None, None]), 0)
    return jnp.einsum("bip,bpq,bjq->bij", rows, pictures, columns)


class Score(NamedTuple):
    """What a classifier of scikit-learn makes of the pixels.

    Attributes:
        name: of the classifier.
        setting: chosen on the validation part.
        right: the share of right answers by part.
    """

    name: str
    setting: str
    right: dict[str, float]


@functools.cache
def baselines() -> list[Score]:
    """Classifiers of the 64 pixels at once, fitted to the training part."""
    from sklearn import linear_model, neighbors, svm

    candidates = {
        "logistic regression": {
            f"C = {c}": linear_model.LogisticRegression(C=c, max_iter=2000)
            for c in (0.01, 0.1, 1, 10, 100)
        },
        "nearest neighbours": {f"k = {k}": neighbors.KNeighborsClassifier(k) for k in range(1, 11)},
        "support vectors, Gaussian kernel": {f"C = {c}": svm.SVC(C=c) for c in (0.3, 1, 3, 10, 30)},
    }
    parts = {
        split: (part.pictures.reshape(-1, STEPS), part.labels)
        for split, part in digits()._asdict().items()
    }
    found = []
    for name, settings in candidates.items():
        scores = {
            setting: one.fit(*parts["train"]).score(*parts["validation"])
            for setting, one in settings.items()
        }
        best = max(scores, key=lambda setting: scores[setting])
        tested = settings[best].score(*parts["test"])
        found.append(Score(name, best, {"validation": scores[best], "test": tested}))
    return found
