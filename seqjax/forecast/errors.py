"""Errors of a forecast, in the unit of the series."""

from collections.abc import Mapping

import numpy as np

from seqjax.forecast.metrics import mae, rmse
from seqjax.report import Kind, Row


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
            errors = tuple(metric(actual, one) for one in values)
            rows.append(Row(name, kind, "test", metric.__name__, errors, horizon, parameters))
    return rows
