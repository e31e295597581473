"""Scalers as pure functions; what they know is three numbers that travel with a checkpoint."""

from typing import NamedTuple

import numpy as np


class Scaler(NamedTuple):
    """An affine scale: ``scaled = (value - shift) / width``.

    Attributes:
        shift: in the unit of the series.
        width: in the unit of the series, positive.
    """

    shift: float
    width: float


def min_max_scaler(values: np.ndarray) -> Scaler:
    """The scale on which `values` fill [0, 1]. Pass the training part alone.

    Args:
        values: finite numbers of any shape; at least one.

    Returns:
        The scaler; of width 1 where all values are equal.

    Raises:
        ValueError: where there is no value, or one is not finite.

    Example:
        >>> min_max_scaler(np.array([2.0, 4.0, 6.0]))
        Scaler(shift=2.0, width=4.0)
    """
    _check("min_max_scaler", values)
    return _scaler(float(np.min(values)), float(np.ptp(values)))


def standard_scaler(values: np.ndarray) -> Scaler:
    """The scale on which `values` have mean 0 and sd 1. Pass the training part alone.

    Args:
        values: finite numbers of any shape; at least one.

    Returns:
        The scaler; of width 1 where all values are equal.

    Raises:
        ValueError: where there is no value, or one is not finite.

    Example:
        >>> standard_scaler(np.array([1.0, 3.0]))
        Scaler(shift=2.0, width=1.0)
    """
    _check("standard_scaler", values)
    return _scaler(float(np.mean(values)), float(np.std(values)))


def scale(scaler: Scaler, values: np.ndarray) -> np.ndarray:
    """``(values - shift) / width``: from the unit of the series to the scale.

    Example:
        >>> scale(Scaler(2.0, 4.0), np.array([2.0, 6.0])).tolist()
        [0.0, 1.0]
    """
    return (values - scaler.shift) / scaler.width


def unscale(scaler: Scaler, values: np.ndarray) -> np.ndarray:
    """``values * width + shift``: back to the unit of the series.

    Example:
        >>> unscale(Scaler(2.0, 4.0), np.array([0.0, 1.0])).tolist()
        [2.0, 6.0]
    """
    return values * scaler.width + scaler.shift


def _scaler(shift: float, width: float) -> Scaler:
    # A constant's sd can round to something above 0.
    constant = width <= 1e-12 * abs(shift)
    return Scaler(shift, 1.0 if constant else width)


def _check(name: str, values: np.ndarray) -> None:
    if np.size(values) == 0:
        raise ValueError(f"{name}: there are no values to take the scale from.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: a value is not finite.")
