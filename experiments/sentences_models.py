"""The networks of `experiments.sentences`: how they are made and trained."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from seqjax import losses, models, nn, train
from seqjax.data.text import PADDING, UNKNOWN

WIDTHS = (3, 4, 5)  # of the convolutions, in tokens


class Settings(NamedTuple):
    """How every network is made and trained.

    Attributes:
        epochs: passes over the training part; the best by validation accuracy counts.
        batch_size: texts in a batch.
        learning_rate: of AdamW, at its height; it falls to zero along a cosine.
        features: width of each direction; of the convolutions together three times as many.
        embedding: features of a token's vector.
        dropout: rate between layers.
        token_dropout: part of the tokens that training replaces by the unknown one.
        label_smoothing: see `seqjax.losses.cross_entropy`.
        buckets: shapes of batches, by length; each is compiled.
    """

    epochs: int
    batch_size: int
    learning_rate: float = 2e-3
    features: int = 64
    embedding: int = 96
    dropout: float = 0.5
    token_dropout: float = 0.1
    label_smoothing: float = 0.1
    buckets: int = 3


def settings_for(count: int) -> Settings:
    """Settings for so many texts to train on: few are read more often, with more dropout."""
    if count < 3_000:
        return Settings(epochs=60, batch_size=32, buckets=1)
    if count < 30_000:
        return Settings(epochs=10, batch_size=32, dropout=0.5 if count < 7_000 else 0.3)
    return Settings(epochs=5, batch_size=64, features=128, embedding=128, dropout=0.3)


def make_model(name: str, vocab_size: int, classes: int, settings: Settings) -> models.Model:
    """A classifier of tokens: "bigru", "bilstm" or "cnn" (Kim, arXiv 1408.5882)."""
    inputs, width = nn.Tokens(vocab_size), settings.features
    if name == "cnn":
        embed = nn.Embed(vocab_size, settings.embedding)
        filters = tuple(nn.CausalConv(width, size, activation="relu") for size in WIDTHS)
        above = nn.Parallel(filters), nn.Pool("max"), nn.Dense(classes)
        return models.from_layer(nn.Stack((embed, *above), settings.dropout), inputs, last=True)
    return models.classifier(
        name.removeprefix("bi"),
        inputs=inputs,
        classes=classes,
        features=(width,),
        embedding=settings.embedding,
        bidirectional=True,
        pool="both",
        dropout=settings.dropout,
    )


def loss_of(model: models.Model, settings: Settings) -> train.Loss:
    """Cross-entropy; in training of one variant of each text, tokens dropped, labels smoothed."""
    rate, smoothing = settings.token_dropout, settings.label_smoothing

    def loss(params: Any, batch: Mapping[str, Array], key: Array | None) -> train.Losses:
        tokens, lengths, labels = batch["tokens"], batch["lengths"], batch["labels"]
        if key is not None:
            key, choosing, dropping = jax.random.split(key, 3)
            which = jax.random.randint(choosing, lengths.shape[:1], 0, lengths.shape[1])
            lengths = jnp.take_along_axis(lengths, which[:, None], axis=1)[:, 0]
            tokens = jnp.take_along_axis(tokens, which[:, None, None], axis=2)[:, :, 0]
            dropped = jax.random.bernoulli(dropping, rate, tokens.shape) & (tokens != PADDING)
            tokens = jnp.where(dropped, UNKNOWN, tokens)
        logits = model.apply(params, tokens, key=key, seq_lengths=lengths)
        smoothed = losses.cross_entropy(
            logits, labels, label_smoothing=0.0 if key is None else smoothing
        )
        return train.Losses(smoothed, metrics={"accuracy": losses.accuracy(logits, labels)})

    return loss


def fit_seeds(
    seeds: Sequence[int],
    model: models.Model,
    settings: Settings,
    examples: Mapping[str, Mapping[str, np.ndarray]],
    **how: Any,
) -> Iterator[tuple[int, train.Fit]]:
    """Train a network from several seeds on the "train" part of the examples."""
    texts, held = examples["train"], examples["validation"]
    batches, validation = (
        train.bucketed_batches(
            part, lengths, size, along=("tokens",), buckets=buckets, shuffle=shuffle
        )
        for part, lengths, size, buckets, shuffle in (
            (texts, texts["lengths"].max(axis=-1), settings.batch_size, settings.buckets, True),
            (held, held["lengths"], 256, 1, False),
        )
    )
    yield from train.fit_seeds(
        loss_of(model, settings),
        model.init,
        train.cosine_adamw(settings.learning_rate, settings.epochs * batches.steps),
        batches,
        seeds=seeds,
        epochs=settings.epochs,
        validation=validation,
        early_stopping=train.EarlyStopping(patience=None, metric="accuracy", mode="max"),
        **how,
    )
