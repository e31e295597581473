"""Lines between known values, drawn from what was known at the time."""

import numpy as np

from seqjax.forecast.panel import Panel, last_known, within


def interpolated(panel: Panel) -> Panel:
    """Missing values on lines between known ones of their series; behind its last one NaN stays.

    What is held back of a panel draws no line, and stays as it is.

    Example:
        >>> from seqjax.forecast.panel import hold_back, panel_of
        >>> panel = panel_of({"a": [1.0, np.nan, 3.0, np.nan, 5.0], "b": [1.0]})
        >>> interpolated(panel).values.tolist()
        [1.0, 2.0, 3.0, 4.0, 5.0, 1.0]
        >>> interpolated(hold_back(panel, 1)).values.tolist()
        [1.0, 2.0, 3.0, nan, 5.0, 1.0]
    """
    inside, missing = within(panel), np.isnan(panel.values)
    known, holes = np.flatnonzero(inside & ~missing), np.flatnonzero(inside & missing)
    after = np.searchsorted(known, holes)
    between = (after > 0) & (after < len(known))
    holes, after = holes[between], after[between]
    series = np.searchsorted(panel.starts, holes, side="right") - 1
    own = (known[after - 1] >= panel.starts[series]) & (known[after] < panel.stops[series])
    holes = holes[own]
    if not len(holes):
        return panel
    values = panel.values.copy()
    values[holes] = np.interp(holes, known, panel.values[known])
    return panel._replace(values=values)


def drawn_before(
    panel: Panel, series: np.ndarray, last: np.ndarray, history: int, horizon: int
) -> Panel:
    """A series for each place, with lines up to that place and the values behind it as they are.

    Args:
        panel: the series, missing values NaN.
        series: [places], which series.
        last: [places], in ``panel.values``; the last values that are known.
        history: steps to keep at least before the last known value of each.
        horizon: steps to keep behind each place.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> panel = panel_of({"a": [1.0, np.nan, 3.0, np.nan, 5.0]})
        >>> drawn_before(panel, np.zeros(2, int), np.array([2, 3]), 3, 1).values.tolist()
        [1.0, 2.0, 3.0, nan, 1.0, 2.0, 3.0, nan, 5.0]
    """
    starts = panel.starts[series]
    begin = np.maximum(last_known(panel.values, starts, last) - history + 1, starts)
    begin = np.maximum(last_known(panel.values, starts, begin), starts)  # where a line begins
    lengths = last + 1 + horizon - begin
    stops = np.cumsum(lengths)
    rows = np.arange(stops.max(initial=0)) + np.repeat(begin + lengths - stops, lengths)
    each = panel._replace(
        ids=panel.ids[series],
        starts=stops - lengths,
        stops=stops - horizon,
        origins=panel.origins[series] + begin - starts,
        values=panel.values[rows],
        past=panel.past[rows],
        known=panel.known[rows],
        static=panel.static[series],
    )
    return interpolated(each)._replace(stops=stops)
