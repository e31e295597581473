"""Transforms of the values before all else, and their inverses."""

import numpy as np

from seqjax.data import DataError
from seqjax.forecast.panel import Panel, last_known
from seqjax.forecast.settings import Transform


def transformed(panel: Panel, transform: Transform | None) -> Panel:
    """A panel with the logarithm or the changes of its values.

    The first change of a series is missing.

    Args:
        panel: the series.
        transform: "log", "difference" or None.

    Raises:
        DataError: for logarithms of values that are not positive; it names the series.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> transformed(panel_of({"a": [1.0, 3.0]}), "difference").values.tolist()
        [nan, 2.0]
    """
    if transform is None:
        return panel
    if transform == "log":
        if (low := panel.values <= 0).any():
            place = int(np.argmax(low))
            series = int(np.searchsorted(panel.starts, place, side="right")) - 1
            raise DataError(
                f"series {panel.ids[series]!r} has the value {panel.values[place]:g}, which has no"
                " logarithm; leave transform out, or shift the values."
            )
        return panel._replace(values=np.log(panel.values))
    changes = np.diff(panel.values, prepend=np.nan)
    changes[panel.starts] = np.nan
    return panel._replace(values=changes)


def restored(panel: Panel, series: np.ndarray, last: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """Values out of forecast changes: the last value that is known, and the sum of the changes.

    Args:
        panel: the series in their own unit.
        series: [B], which series.
        last: [B], the place in ``panel.values`` of each last value.
        changes: [B, horizon]

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> panel = panel_of({"a": [1.0, 3.0]})
        >>> restored(panel, np.array([0]), np.array([1]), np.array([[2.0, 2.0]])).tolist()
        [[5.0, 7.0]]
    """
    place = last_known(panel.values, panel.starts[series], last)
    if (place < panel.starts[series]).any():
        name = panel.ids[series[np.argmax(place < panel.starts[series])]]
        raise DataError(f"series {name!r} has no known value to add changes to.")
    return panel.values[place][:, None] + np.cumsum(changes, axis=1)
