"""The networks of `experiments.translate_dates`: what they are, their loss, and their answers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from experiments import dates_data as dates
from seqjax import data, launch, losses, models, runs, train

CHUNK = 500  # examples of one search


class Recipe(NamedTuple):
    """What a row trains."""

    architecture: str
    attention: Literal["dot", "additive"] | None
    features: int = 128
    embedding: int = 32
    dropout: float = 0.2
    learning_rate: float = 3e-3
    epochs: int = 10

    def model(self, vocabulary: data.Vocabulary) -> models.Model:
        """The network."""
        return models.seq2seq(
            self.architecture,
            source_vocab_size=vocabulary.size,
            target_vocab_size=dates.TARGET.size,
            features=(self.features,),
            embedding=self.embedding,
            attention=self.attention,
            dropout=self.dropout,
        )

    def optimizer(self, steps: int) -> optax.GradientTransformation:
        """Adam with warm-up and a cosine, for so many steps in an epoch."""
        steps, rate = steps * self.epochs, self.learning_rate
        schedule = optax.warmup_cosine_decay_schedule(0.0, rate, steps // 20, steps, rate / 100)
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


RECIPES = {
    "gru": Recipe("gru", "dot"),
    "gru-additive": Recipe("gru", "additive"),
    "lstm": Recipe("lstm", "dot"),
    "gru-plain": Recipe("gru", None),
}


def source_of(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What the encoder reads."""
    return {"source": jnp.asarray(batch["source"]), "source_lengths": jnp.asarray(batch["lengths"])}


def loss_of(model: models.Model) -> train.Loss:
    """Cross-entropy of every character; in validation, exact match, too.

    A decoder that is right at every step where it reads the truth is right where it reads itself.
    """

    def loss(params: Any, batch: dict[str, Array], key: Array | None) -> train.Losses:
        target, context = batch["target"], source_of(batch)
        logits = model.apply(params, target[:, :-1], key=key, context=context)
        right = jnp.all(losses.accuracy(logits, target[:, 1:]), axis=-1)
        return train.Losses(losses.cross_entropy(logits, target[:, 1:]), metrics={"exact": right})

    return loss


def search(model: models.Model, params: Any, arrays: Mapping[str, Any], beams: int) -> np.ndarray:
    """The best translations, tokens [n, 11]."""
    found = []
    for at in range(0, len(arrays["lengths"]), CHUNK):
        some = {name: array[at : at + CHUNK] for name, array in arrays.items()}
        start = jnp.full((len(some["lengths"]), 1), dates.START)
        how = {"end": dates.END, "beams": beams, "context": source_of(some)}
        found.append(models.beam_search(model, params, start, 11, **how).tokens[:, 0])
    return np.concatenate(found)


def best(folder: Path, *, attentive: bool = False) -> tuple[str, int] | None:
    """The row and seed of a run that are best on the validation part; None where none is done.

    Args:
        folder: the run's.
        attentive: of those with attention.
    """
    found = {}
    for row in sorted(path.name for path in (folder / "rows").glob("*")):
        recipe = RECIPES.get(row.split()[0])  # a swept option may follow
        if recipe is None or (attentive and recipe.attention is None):
            continue
        for seed in runs.seeds_of(folder, row):
            outcome = json.loads(runs.outcome_path(folder, row, seed).read_text())
            found[row, seed] = outcome["figures"]["validation greedy"]
    return max(found, key=lambda one: found[one], default=None)


def predict(folder: Path, texts: Sequence[str], beams: int = 4) -> list[str]:
    """Dates by the best model of a run.

    Args:
        folder: the run's.
        texts: dates as people write them.
        beams: candidates of the search.

    Returns:
        What the model makes of them, normally YYYY-MM-DD.

    Raises:
        RunError: where no row is finished, or a text is empty.
    """
    if not all(text.strip() for text in texts):
        raise launch.RunError("--predict: a text is empty.")
    if (chosen := best(folder)) is None:
        raise launch.RunError(f"{folder}: there is no finished row to translate with.")
    run = runs.load(folder, *chosen)
    vocabulary = data.Vocabulary.from_json(run.extra["source"])
    source, lengths = data.padded([vocabulary.encode(text.strip()) for text in texts])
    tokens = search(run.model, run.params, {"source": source, "lengths": lengths}, beams)
    return [dates.TARGET.decode(row).strip(data.END) for row in tokens]
