"""What the networks of `experiments.sentences` say of sentences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from experiments.sentences_tokens import as_tokens, saved_vocabulary
from seqjax import models, runs
from seqjax.storage.same import same

_AT_ONCE = 256  # texts that are read at once


class Reader:
    """A network's probabilities of texts, compiled once for all its parameters."""

    def __init__(self, model: models.Model) -> None:
        def read(params: Any, tokens: Array, lengths: Array) -> Array:
            return jax.nn.softmax(model.apply(params, tokens, seq_lengths=lengths))

        self._read = jax.jit(same(read))

    def __call__(self, params: Any, examples: Mapping[str, np.ndarray]) -> np.ndarray:
        """Probabilities [texts, classes] of "tokens" and "lengths"."""
        tokens, lengths = examples["tokens"], examples["lengths"]
        found = []
        for start in range(0, len(tokens), _AT_ONCE):
            rows = np.arange(start, start + _AT_ONCE) % len(tokens)  # all calls of one shape
            found.append(np.asarray(self._read(params, tokens[rows], lengths[rows])))
        return np.concatenate(found)[: len(tokens)]


def predict(folder: str | Path, sentences: Sequence[str]) -> list[dict[str, float]]:
    """The classes of new sentences by all networks of a finished run together.

    Args:
        folder: the run's.
        sentences: any.

    Returns:
        For each its classes' probabilities by their names.

    Raises:
        RunError: where there is no such run.
    """
    found = []
    rows = sorted(path.name for path in (Path(folder) / "rows").glob("*") if path.is_dir())
    for row in rows or [""]:
        for seed in runs.seeds_of(Path(folder), row) or [None]:
            one = runs.load(folder, row, seed)
            vocabulary = saved_vocabulary(one.extra["vocabulary"])
            examples = as_tokens(vocabulary, sentences, one.extra["steps"])
            found.append((one.extra["labels"], Reader(one.model)(one.params, examples)))
    labels = found[0][0]
    mean = np.mean([shares for _, shares in found], axis=0)
    return [dict(zip(labels, map(float, shares), strict=True)) for shares in mean]
