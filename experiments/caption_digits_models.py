"""The captioners of `experiments.caption_digits`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments import caption_digits_data as captions
from experiments.digits_data import STEPS
from seqjax import losses, models, nn, train

BEAMS = {"greedy": 1, "beam of 4": 4}


class Settings(NamedTuple):
    """How every captioner is made and trained.

    Attributes:
        epochs: passes over the training part and its copies.
        learning_rate: of AdamW at its height: it rises for a twentieth of the steps, and falls
            to zero along a cosine.
        copies: of every training picture, all but the first moved at random.
        batch_size: captions in a batch.
        dropout: rate between layers.
        features: width of the recurrent layer, of the two layers over the pixels, and of a
            word's vector.
    """

    epochs: int = 12
    learning_rate: float = 2e-3
    copies: int = 60
    batch_size: int = 64
    dropout: float = 0.0
    features: int = 128


def make_model(architecture: str, settings: Settings, words: int) -> models.Model:
    """A captioner of pictures, [batch, 64] pixels, in a vocabulary of so many words."""
    dense = nn.Dense(settings.features, "relu")
    return models.captioner(
        architecture,
        vocab_size=words,
        condition=STEPS,
        features=(settings.features,),
        embedding=settings.features,
        encoder=nn.Stack((dense, dense.clone())),
        dropout=settings.dropout,
    )


def loss_of(model: models.Model) -> train.Loss:
    """Cross-entropy of each word given those before it; metrics of whole captions."""

    def loss(params: Any, batch: Mapping[str, Array], key: Array | None) -> train.Losses:
        before, words = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        logits = model.apply(params, before, key=key, context={"condition": batch["pixels"]})
        weights = losses.token_weights(batch["lengths"], words.shape[1])
        values = losses.cross_entropy(logits, words)
        # Right at every word, given those before: what greedy decoding writes is right.
        exact = losses.exact_match(jnp.argmax(logits, axis=-1), words, weights)
        return train.Losses(values, weights, metrics={"exact": exact.astype(values.dtype)})

    return loss


def write(
    model: models.Model, params: Any, part: captions.Captions, beams: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The captions of some pictures: ``(words [examples, steps], lengths [examples])``."""
    start = jnp.full((len(part.pictures), 1), captions.START)
    context = {"condition": jnp.asarray(part.batch()["pixels"])}
    steps = captions.LONGEST - 1
    found = models.beam_search(
        model, params, start, steps, end=captions.END, beams=beams, context=context
    )
    return np.asarray(found.tokens[:, 0]), np.asarray(found.lengths[:, 0])
