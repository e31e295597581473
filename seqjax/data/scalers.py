"""Scalers as pure functions; what they know, shift and width, travels with a checkpoint as JSON."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from seqjax.data.cells import DataError

Axis = int | tuple[int, ...] | None


class Scaler(NamedTuple):
    """An affine scale: ``scaled = (value - shift) / width``.

    Attributes:
        shift: in the unit of the series: a number, or an array that goes with the values by
            NumPy's rules, such as [features].
        width: likewise; positive.
    """

    shift: float | np.ndarray
    width: float | np.ndarray

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes, such as for the `extra` of a `seqjax.study.Trial`."""
        return {name: np.asarray(value).tolist() for name, value in self._asdict().items()}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Scaler":
        """A scaler that was saved with a run.

        Raises:
            DataError: for anything else.

        Example:
            >>> Scaler.from_json(Scaler(2.0, 4.0).to_json())
            Scaler(shift=2.0, width=4.0)
        """
        fault = DataError("a scaler is JSON with shift and width, alike, of numbers, width > 0.")
        try:
            shift, width = (np.asarray(saved[name], np.float64) for name in cls._fields)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise fault from None
        good = len(saved) == 2 and shift.shape == width.shape and (width > 0).all()
        if not good or not np.isfinite((shift, width)).all():
            raise fault
        return cls(_plain(shift), _plain(width))


def min_max_scaler(values: ArrayLike, *, axis: Axis = None) -> Scaler:
    """The scale on which `values` fill [0, 1]. Pass the training part alone.

    Args:
        values: finite numbers of any shape; at least one.
        axis: to take the scale over; what is left has scales of its own. None is one scale for
            all values, 0 of [time, features] and (0, 1) of [batch, time, features] one for each
            feature.

    Returns:
        The scaler; of width 1 where all values are equal.

    Raises:
        ValueError: where there is no value, or one is not finite.

    Example:
        >>> min_max_scaler([2.0, 4.0, 6.0])
        Scaler(shift=2.0, width=4.0)
    """
    array = _checked("min_max_scaler", values)
    return _scaler(np.min(array, axis, keepdims=True), np.ptp(array, axis, keepdims=True))


def standard_scaler(values: ArrayLike, *, axis: Axis = None) -> Scaler:
    """The scale on which `values` have mean 0 and sd 1. Pass the training part alone.

    Args:
        values: finite numbers of any shape; at least one.
        axis: to take the scale over, see `min_max_scaler`: 0 of [time, features] for a scale of
            each feature.

    Returns:
        The scaler; of width 1 where all values are equal.

    Raises:
        ValueError: where there is no value, or one is not finite.

    Example:
        >>> standard_scaler([1.0, 3.0])
        Scaler(shift=2.0, width=1.0)
        >>> series = np.array([[1.0, 0.0], [3.0, 4000.0]])  # [time, features]
        >>> scaler = standard_scaler(series, axis=0)
        >>> scaler.width.tolist(), scale(scaler, series).tolist()
        ([1.0, 2000.0], [[-1.0, -1.0], [1.0, 1.0]])
    """
    array = _checked("standard_scaler", values)
    return _scaler(np.mean(array, axis, keepdims=True), np.std(array, axis, keepdims=True))


def scale(scaler: Scaler, values: np.ndarray) -> np.ndarray:
    """``(values - shift) / width``: from the unit of the series to the scale.

    Example:
        >>> scale(Scaler(2.0, 4.0), np.array([2.0, 6.0])).tolist()
        [0.0, 1.0]
    """
    return (values - _for(values, scaler.shift)) / _for(values, scaler.width)


def unscale(scaler: Scaler, values: np.ndarray) -> np.ndarray:
    """``values * width + shift``: back to the unit of the series.

    Example:
        >>> unscale(Scaler(2.0, 4.0), np.array([0.0, 1.0])).tolist()
        [2.0, 6.0]
    """
    return values * _for(values, scaler.width) + _for(values, scaler.shift)


def _scaler(shift: np.ndarray, width: np.ndarray) -> Scaler:
    # A constant's sd can round to something above 0.
    return Scaler(_plain(shift), _plain(np.where(width <= 1e-12 * abs(shift), 1.0, width)))


def _plain(found: np.ndarray) -> float | np.ndarray:
    """One number as such, an array without leading axes of size 1, which say nothing."""
    while found.ndim and len(found) == 1:
        found = found[0]
    return found if found.ndim else float(found)


def _for(values: np.ndarray, number: float | np.ndarray) -> float | np.ndarray:
    """In the precision of the values, as NumPy itself takes a single number."""
    if not isinstance(number, np.ndarray) or not isinstance(values, np.ndarray):
        return number
    return number.astype(values.dtype) if values.dtype.kind == "f" else number


def _checked(name: str, values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.size == 0:
        raise ValueError(f"{name}: there are no values to take the scale from.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: a value is not finite.")
    return array
