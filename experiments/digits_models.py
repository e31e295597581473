"""The networks of `experiments.digits`: classifiers of equally many parameters."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments import digits_data
from experiments.digits_data import ORDERS, Order
from seqjax import losses, models, train

ARCHITECTURES = ("rnn", "lstm", "gru", "wavenet", "min_gru", "lru")
PARAMETERS = 20_000  # of every network, to 5 %
RATES = dict.fromkeys(ARCHITECTURES, 4e-3) | {"lstm": 1e-2, "gru": 1e-2}


class Settings(NamedTuple):
    """How every network is trained.

    Attributes:
        epochs: passes over the training part.
        learning_rate: of AdamW at its height: it rises for a twentieth of the steps, and falls
            to zero along a cosine.
        batch_size: pictures in a batch.
        dropout: rate between layers and within residual blocks.
        shift: pixels by which a picture is moved at random in training, at most.
        zoom: part by which it is stretched at random, at most.
    """

    epochs: int = 50
    learning_rate: float = 4e-3
    batch_size: int = 32
    dropout: float = 0.05
    shift: float = 1.0
    zoom: float = 0.1


def make_model(architecture: str, order: Order, width: int, dropout: float = 0.0) -> models.Model:
    """A classifier of pictures: layers, their maximum and mean over time, logits of ten digits.

    Args:
        architecture: one of `ARCHITECTURES`.
        order: in which the pixels come.
        width: of a WaveNet's channels, or of each of two layers.
        dropout: rate between layers and within residual blocks.

    Returns:
        The model.
    """
    steps, inputs = ORDERS[order]
    doubling = tuple(2**k for k in range(steps.bit_length() - 1))  # sees all steps
    options: dict[str, Any] = {"dilations": doubling} if architecture == "wavenet" else {}
    return models.classifier(
        architecture,
        inputs=inputs,
        classes=10,
        features=(width,) * (1 if architecture == "wavenet" else 2),
        pool="both",
        dropout=dropout,
        **options,
    )


@functools.cache
def width_of(architecture: str, order: Order, size: int = PARAMETERS) -> int:
    """The width at which a network has about so many parameters: they are quadratic in it.

    Example:
        >>> first, second = 3 * (8 + 64) + 6 * 8, 3 * (64 + 64) + 6 * 8  # two GRUs of 8
        >>> width_of("gru", "pixel", size=first + second + 2 * 8 * 10 + 10)
        8
    """
    widths, counts = (8, 16, 32), []
    for width in widths:
        made = jax.eval_shape(make_model(architecture, order, width).init, jax.random.key(0))
        counts.append(sum(leaf.size for leaf in jax.tree.leaves(made)))
    square, linear, constant = np.polyfit(widths, counts, 2)
    return round(float(max(np.roots([square, linear, constant - size]).real)))


def answers(model: models.Model, params: Any, order: Order, pictures: np.ndarray) -> np.ndarray:
    """The digits [examples] that a network takes pictures [examples, 8, 8] for."""
    read = digits_data.sequences(jnp.asarray(pictures), order)
    return np.asarray(jax.jit(model.apply)(params, read)).argmax(axis=-1)


def loss_of(model: models.Model, order: Order, settings: Settings) -> train.Loss:
    """Cross-entropy; in training, of pictures moved at random."""

    def loss(params: Any, batch: Mapping[str, Array], key: Array | None) -> train.Losses:
        pictures, labels = batch["pictures"], batch["labels"]
        if key is not None:
            key, moving = jax.random.split(key)
            pictures = digits_data.moved(moving, pictures, settings.shift, settings.zoom)
        logits = model.apply(params, digits_data.sequences(pictures, order), key=key)
        right = losses.accuracy(logits, labels)
        return train.Losses(losses.cross_entropy(logits, labels), metrics={"accuracy": right})

    return loss
