"""Errors of a forecast, in the unit of the series."""

from collections.abc import Mapping

import numpy as np

from seqjax.report import Kind, Row


def rmse(forecast: np.ndarray, actual: np.ndarray) -> float:
    """Root of the mean squared error.

    Args:
        forecast: any shape.
        actual: the same shape.

    Returns:
        The error, in the unit of the series.

    Raises:
        ValueError: where the shapes differ.

    Example:
        >>> rmse(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
        1.4142135623730951
    """
    return float(np.sqrt(np.mean(np.square(_difference("rmse", forecast, actual)))))


def mae(forecast: np.ndarray, actual: np.ndarray) -> float:
    """Mean absolute error.

    Args:
        forecast: any shape.
        actual: the same shape.

    Returns:
        The error, in the unit of the series.

    Raises:
        ValueError: where the shapes differ.

    Example:
        >>> mae(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
        1.0
    """
    return float(np.mean(np.abs(_difference("mae", forecast, actual))))


def _difference(name: str, forecast: np.ndarray, actual: np.ndarray) -> np.ndarray:
    if np.shape(forecast) != np.shape(actual):
        raise ValueError(
            f"{name}: forecast {np.shape(forecast)} and actual {np.shape(actual)} differ in shape."
        )
    return np.asarray(forecast, np.float64) - np.asarray(actual, np.float64)


def error_rows(
    forecasts: Mapping[str, tuple[np.ndarray, Kind, int | None]], actual: np.ndarray, horizon: int
) -> list[Row]:
    """Rows of RMSE and MAE over the test part.

    Args:
        forecasts: by name: [seeds, steps], of what kind, and the number of parameters.
        actual: [steps].
        horizon: steps ahead.
    """
    rows = []
    for name, (values, kind, parameters) in forecasts.items():
        for metric in (rmse, mae):
            errors = tuple(metric(one, actual) for one in values)
            rows.append(Row(name, kind, "test", metric.__name__, errors, horizon, parameters))
    return rows
