"""The tasks of `experiments.memory`: what is shown early decides what is right at the end."""

import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments import digits_data
from seqjax import losses, models, train

Name = Literal["adding", "copy", "digits"]
Examples = Mapping[str, Array]

SYMBOLS, COPIED = 8, 10  # kinds of symbols, and how many are to be remembered
BLANK, GO = 0, SYMBOLS + 1  # two more tokens
EXPLODED = 1e6  # answers that validation tells no further apart
EPOCH = 100  # steps between two validations
VALIDATED, TESTED = 256, 1000  # sequences


def adding(key: Array, size: int, steps: int) -> dict[str, Array]:
    """The adding problem: two of many numbers are marked; what is their sum?

    Numbers are uniform in [0, 1), marks 1 at two different steps and 0 elsewhere. Whoever
    always answers 1 has a squared error of 1/6 in the mean.

    Args:
        key: of the draw.
        size: number of sequences.
        steps: length T of each, at least 2.

    Returns:
        "x" [size, steps, 2], numbers and marks; "y" [size], the sums; "lag" [size], the steps
        from the earlier mark to the last step.

    Raises:
        ValueError: for less than 2 steps.

    Example:
        >>> drawn = adding(jax.random.key(0), size=3, steps=20)
        >>> numbers, marks = drawn["x"][..., 0], drawn["x"][..., 1]
        >>> marks.sum(axis=1).tolist(), bool(jnp.allclose((numbers * marks).sum(1), drawn["y"]))
        ([2.0, 2.0, 2.0], True)

    Source: Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9, 1997,
    section 5.4; as in Bai, Kolter and Koltun, arXiv 1803.01271, section 4.
    """
    if steps < 2:
        raise ValueError(f"the adding problem needs 2 steps or more, not {steps}.")
    values, places, others = jax.random.split(key, 3)
    numbers = jax.random.uniform(values, (size, steps))
    first = jax.random.randint(places, (size,), 0, steps)
    second = (first + jax.random.randint(others, (size,), 1, steps)) % steps  # another one
    marks = jax.nn.one_hot(first, steps) + jax.nn.one_hot(second, steps)
    x = jnp.stack([numbers, marks], axis=-1)
    return {
        "x": x,
        "y": jnp.sum(numbers * marks, axis=1),
        "lag": steps - 1 - jnp.minimum(first, second),
    }


def copy_memory(key: Array, size: int, lag: int) -> dict[str, Array]:
    """Copy memory: ten symbols, a long silence, and all ten are to be said again.

    ``s_1 ... s_10 0 ... 0 9 9 ... 9`` with ``T - 1`` zeros and eleven nines is answered by
    ``0 ... 0 s_1 ... s_10``. Whoever knows when to speak but nothing of the symbols has a
    cross-entropy of ``10 log(8) / (T + 20)`` a step.

    Args:
        key: of the draw.
        size: number of sequences.
        lag: T, at least 1; a symbol is to be said ``T + 10`` steps after it was shown.

    Returns:
        "x" [size, T + 20, 10], the tokens 0 to 9 one-hot; "y" [size, T + 20], the answers.

    Raises:
        ValueError: for a lag below 1.

    Example:
        >>> drawn = copy_memory(jax.random.key(0), size=1, lag=3)
        >>> tokens = drawn["x"].argmax(-1)
        >>> tokens[0, 10:].tolist(), bool((tokens[0, :10] == drawn["y"][0, -10:]).all())
        ([0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], True)

    Source: Hochreiter and Schmidhuber, 1997; as in Bai, Kolter and Koltun, arXiv 1803.01271,
    section 4.
    """
    if lag < 1:
        raise ValueError(f"copy memory needs a lag of 1 or more, not {lag}.")
    symbols = jax.random.randint(key, (size, COPIED), 1, SYMBOLS + 1)
    silence = jnp.full((size, lag - 1), BLANK)
    tokens = jnp.concatenate([symbols, silence, jnp.full((size, COPIED + 1), GO)], axis=1)
    answers = jnp.concatenate([jnp.full((size, lag + COPIED), BLANK), symbols], axis=1)
    return {"x": jax.nn.one_hot(tokens, SYMBOLS + 2), "y": answers}


class Task(NamedTuple):
    """What is to be remembered.

    Attributes:
        name: "adding", "copy" or "digits".
        lag: T, the steps to be bridged; of the digits, which have their own 64, it means nothing.
        length: steps of a sequence.
        inputs: features of a step.
        outputs: numbers, or logits, that a network answers with.
        last: it answers at the end only.
        metric: what is told of it.
        solved: where it counts as solved: a loss at most so large, or an accuracy at least.
        trivial: what a network without memory does, in words, and the metric that it gets.
    """

    name: Name
    lag: int
    length: int
    inputs: int
    outputs: int
    last: bool
    metric: Literal["loss", "accuracy"]
    solved: float
    trivial: tuple[str, float]

    @property
    def keep(self) -> train.EarlyStopping:
        """Which epoch's parameters are kept: those of the best validation."""
        return train.EarlyStopping(None, self.metric, "min" if self.metric == "loss" else "max")

    def solves(self, line: Mapping[str, Any]) -> bool:
        """Whether a line of a training's history says that it is solved."""
        figure = line[f"validation_{self.metric}"]
        return figure <= self.solved if self.metric == "loss" else figure >= self.solved


def task_of(name: Name, lag: int) -> Task:
    """A task at a lag.

    Example:
        >>> words, loss = task_of("copy", 1000).trivial
        >>> round(loss, 4)
        0.0204
    """
    if name == "adding":
        return Task(name, lag, lag, 2, 1, True, "loss", 1e-3, ("always 1", 1 / 6))
    if name == "copy":
        guessed = COPIED * float(np.log(SYMBOLS)) / (lag + 2 * COPIED)
        trivial = ("symbols at random", guessed)
        size, length = SYMBOLS + 2, lag + 2 * COPIED
        return Task(name, lag, length, size, size, False, "loss", guessed / 100, trivial)
    return Task(name, lag, digits_data.STEPS, 1, 10, True, "accuracy", 0.8, ("at random", 0.1))


def _draw(task: Task, key: Array, size: int) -> Examples:
    return {"adding": adding, "copy": copy_memory}[task.name](key, size, task.lag)


@functools.cache  # the same functions for the same arguments: see train.Batches
def endless(task: Task, size: int) -> train.Batches:
    """Batches that are drawn as they are needed, a pure function of seed and step.

    Args:
        task: adding or copy.
        size: sequences in a batch.

    Returns:
        The batches; an epoch is `EPOCH` of them, and no draw comes twice.
    """

    def plan(data: Any, key: Array) -> Array:
        del data
        return jax.random.split(key, EPOCH)

    def batch(data: Any, key: Array) -> tuple[Examples, Array]:
        del data
        return _draw(task, key, size), jnp.ones(size)

    return train.Batches(jnp.zeros(0), plan, batch, EPOCH)


@functools.cache
def part_of(task: Task, part: Literal["train", "validation", "test"]) -> Examples:
    """The examples of a part; the endless tasks have no training part but `endless`."""
    if task.name == "digits":
        found = getattr(digits_data.digits(), part)
        pixels = digits_data.sequences(jnp.asarray(found.pictures), "permuted")
        return {"x": pixels, "y": jnp.asarray(found.labels)}
    seed, size = {"validation": (2**32 - 1, VALIDATED), "test": (2**32 - 2, TESTED)}[part]
    return jax.jit(_draw, static_argnums=(0, 2))(task, jax.random.key(seed), size)


def batches_of(task: Task, size: int) -> train.Batches:
    """What a task is trained on."""
    if task.name == "digits":
        return train.array_batches(part_of(task, "train"), size)
    return endless(task, size)


def loss_of(task: Task, model: models.Model) -> train.Loss:
    """The squared error of the sum, or cross-entropy: a mean over all steps, as it is published.

    The metric "accuracy" is that of the digits, and of the ten symbols to be copied.
    """
    name = task.name

    def loss(params: Any, batch: Examples, key: Array | None) -> train.Losses:
        y, target = model.apply(params, batch["x"], key=key), batch["y"]
        if key is None:  # a network that has exploded is bad, but no reason to end the others
            y = jnp.clip(jnp.nan_to_num(y), -EXPLODED, EXPLODED)
        if name == "adding":
            return train.Losses(jnp.square(y[:, 0] - target))
        right = losses.accuracy(y, target)
        asked = right if name == "digits" else jnp.mean(right[:, -COPIED:], axis=1)
        return train.Losses(losses.cross_entropy(y, target), metrics={"accuracy": asked})

    return loss


def by_lag(task: Task, errors: Array, lags: Array) -> list[float | None]:
    """Mean loss by the lag of the earlier mark: of each tenth of the lags, the shortest first.

    Args:
        task: the adding problem.
        errors: [batch], losses.
        lags: [batch], from 0 to below the task's length.

    Returns:
        Ten means; None where there was no such lag.

    Example:
        >>> by_lag(task_of("adding", 20), jnp.array([1.0, 3.0, 5.0]), jnp.array([0, 1, 19]))[::9]
        [2.0, 5.0]
    """
    tenth = np.asarray(lags) * 10 // task.length
    return [
        float(np.mean(np.asarray(errors)[tenth == k])) if (tenth == k).any() else None
        for k in range(10)
    ]
