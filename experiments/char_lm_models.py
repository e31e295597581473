"""The models of `experiments.char_lm`, and how they are trained."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from seqjax import losses, models, train
from seqjax.data.text import PADDING

EPOCHS = 10  # a training has so many validations, however long the text is
_PASSES = 40  # over a short text, at most


class Recipe(NamedTuple):
    """How a row is trained.

    Attributes:
        title: of the row.
        architecture: of `seqjax.models.language_model`.
        features: width of each layer.
        characters: to read in training, millions, all passes over the text together.
        learning_rate: of Adam, at its highest.
        dropout: between layers.
        batch_size: places of the text that are read side by side.
        steps: of back-propagation.
        embedding: features of a character's vector.
        ngrams: order of the n-grams that have vectors, too (`seqjax.nn.NGramEmbed`); 0 for none.
        ngram_dropout: of these vectors.
        recall: lengths of n-grams whose last continuation in the document is an input, too.
        resets: of the carried states, at each piece: a text may begin anywhere.
        options: of the layers.
    """

    title: str
    architecture: str
    features: tuple[int, ...]
    characters: float = 2.0
    learning_rate: float = 4e-3
    dropout: float = 0.0
    batch_size: int = 32
    steps: int = 32
    embedding: int = 64
    ngrams: int = 0
    ngram_dropout: float = 0.0
    recall: tuple[int, ...] = ()
    resets: float = 0.05
    options: Mapping[str, Any] = {}

    def for_text(self, size: int, **asked: Any) -> "Recipe":
        """The same on a text of `size` characters: a short one is read less, with dropout."""
        characters = asked.get("characters", min(self.characters, _PASSES * size / 1e6))
        passes = characters * 1e6 / size
        found = self._replace(characters=characters, dropout=dropout_for(passes))
        return found._replace(**asked)

    @property
    def before(self) -> int:
        """Characters that are read, and do not count, before a place that is measured."""
        return 2048 if self.recall else 256

    def updates(self) -> int:
        """Of an epoch."""
        of_all = self.characters * 1e6 / (self.batch_size * self.steps)
        return max(round(of_all / EPOCHS), 1)

    def model(self, vocab_size: int) -> models.Model:
        """The model."""
        return models.language_model(
            self.architecture,
            vocab_size=vocab_size,
            features=self.features,
            embedding=self.embedding,
            ngrams=self.ngrams,
            ngram_dropout=self.ngram_dropout,
            recall=self.recall,
            dropout=self.dropout,
            **self.options,
        )


_WAVENET = {"dilations": (1, 2, 4, 8, 16, 32)}
RECIPES = {
    "rnn": Recipe("two simple recurrent layers", "rnn", (256, 256), learning_rate=1e-3),
    "lstm": Recipe("two LSTM layers", "lstm", (128, 128)),
    "gru": Recipe("two GRU layers", "gru", (144, 144)),
    "min_gru": Recipe("two residual blocks of minGRU", "min_gru", (128, 128)),
    "lru": Recipe("two residual blocks of linear recurrent units", "lru", (128, 128)),
    "wavenet": Recipe("six dilated convolutions", "wavenet", (96, 128), options=_WAVENET),
    "lstm-ngrams": Recipe("two LSTM layers, vectors of n-grams", "lstm", (128, 128), ngrams=4),
    "best": Recipe(
        "a larger GRU, vectors of n-grams and of what followed them before, longer",
        "gru",
        (512,),
        characters=8,
        learning_rate=3e-3,
        steps=64,
        ngrams=4,
        ngram_dropout=0.1,
        recall=(3, 5, 8, 12),
        resets=0.02,
    ),
}


def dropout_for(passes: float) -> float:
    """The rate for a text that is read so often: what is read again can be learned by heart."""
    return round(min(max(0.1 * math.log2(passes / 3), 0.0), 0.5), 3)


def loss_of(model: models.Model, resets: float = 0.0) -> train.Loss:
    """Cross-entropy of each character after those before it, the state carried on.

    Args:
        model: a language model.
        resets: part of the states that training drops.

    Example:
        >>> import numpy as np
        >>> model = RECIPES["gru"].model(vocab_size=5)
        >>> batch = {"tokens": jnp.array([[0, 3, 4]]), "begins": jnp.array([True])}
        >>> batch["counts"] = jnp.ones(1)
        >>> carry, params = model.initial_carry(1), model.init(jax.random.key(0))
        >>> found = loss_of(model)(params, batch, None, carry)
        >>> found.values.shape, found.weights.tolist()
        ((1, 2), [[1.0, 1.0]])
    """

    def loss(
        params: Any, batch: Mapping[str, Array], key: Array | None, carry: Any
    ) -> train.Losses:
        tokens, begins = batch["tokens"], batch["begins"]
        if key is not None:
            key, reset_key = jax.random.split(key)
            begins |= jax.random.bernoulli(reset_key, resets, begins.shape)

        def anew(old: Array, start: Array) -> Array:
            return jnp.where(begins.reshape(-1, *(1,) * (old.ndim - 1)), start, old)

        carry = jax.tree.map(anew, carry, model.initial_carry(tokens.shape[0]))
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        carry, logits = model.apply(params, inputs, carry, key=key, return_carry=True)
        values = losses.cross_entropy(logits, targets)
        weights = (targets != PADDING) * batch["counts"][:, None]
        return train.Losses(values, weights, carry, {"bits": (losses.bits(values), weights)})

    return loss


def fit_seeds(
    seeds: Sequence[int],
    recipe: Recipe,
    model: models.Model,
    parts: tuple[train.Stream, train.Batches],
    epochs: int,
    **how: Any,
) -> Iterator[tuple[int, train.Fit]]:
    """Train a row; the best epoch's parameters are kept.

    Args:
        seeds: the seeds.
        recipe: the row's.
        model: of the recipe.
        parts: what to train on, and to validate with.
        epochs: as `parts` counts them.
        **how: see `seqjax.train.fit_seeds`.
    """
    batches, validation = parts
    total = batches.steps * epochs
    rate = optax.warmup_cosine_decay_schedule(
        0.0, recipe.learning_rate, min(100, total // 4), total
    )
    yield from train.fit_seeds(
        loss_of(model, recipe.resets),
        model.init,
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b2=0.99)),
        batches,
        seeds=seeds,
        epochs=epochs,
        carry=model.initial_carry(recipe.batch_size),
        validation=validation,
        early_stopping=train.EarlyStopping(patience=None),
        **how,
    )
