"""Windows over a series, and chronological splits."""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from seqjax.data.cells import DataError


class Windows(NamedTuple):
    """Windows and what follows each of them; views of the series.

    Attributes:
        inputs: [windows, input_length, ...]
        targets: [windows, horizon, ...]
    """

    inputs: np.ndarray
    targets: np.ndarray


def windows(values: np.ndarray, input_length: int, horizon: int = 1, stride: int = 1) -> Windows:
    """Every window of `input_length` steps, and the `horizon` steps after it.

    Args:
        values: [time] or [time, features].
        input_length: steps of a window.
        horizon: steps to forecast.
        stride: steps between the starts of neighbouring windows.

    Returns:
        Read-only views of `values`; window ``i`` starts at ``i * stride``.

    Raises:
        DataError: where the series is shorter than one window and its horizon.
        ValueError: where a length is less than 1.

    Example:
        >>> inputs, targets = windows(np.arange(5), input_length=3)
        >>> inputs.tolist(), targets.tolist()
        ([[0, 1, 2], [1, 2, 3]], [[3], [4]])
    """
    for name, n in (("input_length", input_length), ("horizon", horizon), ("stride", stride)):
        if n < 1:
            raise ValueError(f"windows: {name} must be at least 1, not {n}.")
    length = input_length + horizon
    if len(values) < length:
        raise DataError(
            f"The series has {len(values)} steps, but a window of {input_length} and a"
            f" horizon of {horizon} need {length}; shorten the window or lengthen the series."
        )
    pieces = np.moveaxis(sliding_window_view(values, length, axis=0), -1, 1)[::stride]
    return Windows(pieces[:, :input_length], pieces[:, input_length:])


def next_values(series: np.ndarray, horizon: int) -> Windows:
    """Inputs and, at every step of them, the next `horizon` values: sequence to sequence.

    Args:
        series: [count, time].
        horizon: steps to forecast at every step.

    Returns:
        Read-only views: inputs [count, time - horizon] and targets [count,
        time - horizon, horizon]; the targets at the last step follow the inputs.

    Raises:
        ValueError: where no step has so many values after it.

    Example:
        >>> inputs, targets = next_values(np.arange(5)[None], horizon=2)
        >>> inputs.tolist(), targets.tolist()
        ([[0, 1, 2]], [[[1, 2], [2, 3], [3, 4]]])
    """
    if series.ndim != 2 or not 1 <= horizon < series.shape[1]:
        raise ValueError(
            f"next_values: a horizon of {horizon} needs series [count, time] of more steps,"
            f" but their shape is {series.shape}."
        )
    targets = sliding_window_view(series[:, 1:], horizon, axis=1)
    return Windows(series[:, :-horizon], targets)


class Split(NamedTuple):
    """Three neighbouring ranges in the order of time."""

    train: slice
    validation: slice
    test: slice


def chronological_split(n: int, *, validation: float | int = 0.1, test: float | int = 0.2) -> Split:
    """Cut `n` samples, in the order of time, into training, validation and test parts.

    The test part stands last, the validation part before it.

    Args:
        n: number of samples.
        validation: number of samples (an int), or share of those that are not
            the test part (a float, rounded up as scikit-learn and Keras round).
        test: number of samples (an int), or share of all samples (a float).

    Returns:
        Slices of ``range(n)``.

    Raises:
        ValueError: where a share is not in [0, 1), or a number is negative.
        DataError: where no sample is left to train on.

    Example:
        >>> split = chronological_split(156)
        >>> split.train, split.validation.start, split.test.start
        (slice(0, 111, None), 111, 124)
    """
    before_test = n - _count("test", test, n)
    before_validation = before_test - _count("validation", validation, before_test)
    if before_validation < 1:
        raise DataError(
            f"{n} sample(s) leave none to train on beside {validation} for validation and"
            f" {test} for the test; lengthen the series or shorten the window."
        )
    return Split(
        slice(0, before_validation), slice(before_validation, before_test), slice(before_test, n)
    )


def _count(name: str, part: float | int, n: int) -> int:
    if part < 0 or (isinstance(part, float) and part >= 1):
        raise ValueError(
            f"chronological_split: {name} must be a share in [0, 1) or a number, not {part}."
        )
    if isinstance(part, int | np.integer):
        return int(part)
    # Shares are decimals: 0.2 * 5 must not round up to 2 for a bit in the last place.
    return int(np.ceil(round(max(n, 0) * part, 9)))
