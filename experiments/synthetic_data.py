"""The data of `experiments.synthetic_forecast`, as examples, and what its baselines make of it."""

import functools
from typing import NamedTuple

import numpy as np

from experiments.chapter15 import WINDOW, Recipe
from seqjax import data, train

SERIES = 10_000
TRAIN, VALIDATION, TEST = slice(0, 7_000), slice(7_000, 9_000), slice(9_000, SERIES)


class Task(NamedTuple):
    """Series and, after every step, the values that follow.

    Attributes:
        inputs: [series, time, 1].
        targets: [series, time, horizon].
    """

    inputs: np.ndarray
    targets: np.ndarray

    def part(self, piece: slice) -> "Task":
        """Some of the series."""
        return Task(self.inputs[piece], self.targets[piece])


@functools.cache
def task(horizon: int) -> Task:
    """The book's series for so many steps ahead, drawn anew for each horizon."""
    series = data.two_sines(SERIES, WINDOW + horizon)
    inputs, targets = data.next_values(series, horizon)
    return Task(inputs[..., None], targets)


def batches_of(recipe: Recipe, part: slice, *, size: int, shuffle: bool) -> train.Batches:
    """The examples of a part of the data, as a recipe wants them."""
    piece = task(1 if recipe.targets == "iterative" else recipe.horizon).part(part)
    targets = {
        "last": piece.targets[:, -1],
        "iterative": piece.targets[:, -1],
        "every": piece.targets,
        "strided": piece.targets[:, 3::2],
    }[recipe.targets]
    return train.array_batches({"x": piece.inputs, "y": targets}, size, shuffle=shuffle)


def last_value(horizon: int) -> float:
    """Validation MSE of repeating the last value."""
    piece = task(horizon).part(VALIDATION)
    return float(np.mean((piece.targets[:, -1] - piece.inputs[:, -1]) ** 2))


def least_squares(horizon: int) -> float:
    """Validation MSE of the best linear function of the window, in closed form."""

    def design(part: slice) -> tuple[np.ndarray, np.ndarray]:
        piece = task(horizon).part(part)
        x = piece.inputs[..., 0].astype(np.float64)
        return np.column_stack([x, np.ones(len(x))]), piece.targets[:, -1]

    x, y = design(TRAIN)
    weights = np.linalg.lstsq(x, y)[0]
    x, y = design(VALIDATION)
    return float(np.mean((x @ weights - y) ** 2))
