"""Baselines for every step of a horizon and every series of a panel at once.

Each takes a panel (its values before the stops are the past) and the horizon, and gives
[series, horizon], float64. Where values are missing it goes on from the last known one, in step
with the season; what falls back on what is told with each, so that a forecast is NaN only where
nothing of a series is known. One step ahead over one series: of `seqjax.forecast.panel.pasts`.
"""

from collections.abc import Sequence

import numpy as np

from seqjax.forecast.panel import Panel, only

_BACK = 10  # cycles that are looked through for a known value
_CYCLES = 5  # of means, as in the milk experiment
_WINDOW = 10  # values of the mean without a season
_BLOCK = 2**22  # values of all series that are looked at together: it bounds the memory


def forecasts(
    panel: Panel, horizon: int, season: int | Sequence[int] | None = None
) -> dict[str, np.ndarray]:
    """All baselines by name: those without a season, and of each season those with one.

    Args:
        panel: the past.
        horizon: steps.
        season: periods, in steps; None or 1 for none.

    Returns:
        By name: [series, horizon].

    Raises:
        ValueError: for a horizon or period below 1.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> panel = panel_of({"a": [1.0, 5.0, 2.0, 6.0, 3.0, 7.0]})
        >>> for name, forecast in forecasts(panel, 3, 2).items():
        ...     print(f"{name:<32}", forecast[0].round(2).tolist())
        last value                       [7.0, 7.0, 7.0]
        drift                            [8.2, 9.4, 10.6]
        mean of the last 2               [5.0, 5.0, 5.0]
        seasonal naive, 2                [3.0, 7.0, 3.0]
        seasonal naive with drift, 2     [4.0, 8.0, 5.0]
        mean of 5 cycles with drift, 2   [4.0, 8.0, 5.0]
        mean change of 5 cycles, 2       [4.0, 8.0, 5.0]
        y[t-2] + y[t-1] - y[t-3]         [4.0, 8.0, 5.0]
    """
    seasons = periods(season)
    if len(panel.ids) > (rows := max(1, _BLOCK // (_BACK * max(seasons, default=1)))):
        parts = [
            forecasts(only(panel, slice(i, i + rows)), horizon, seasons)
            for i in range(0, len(panel.ids), rows)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    window = max(seasons, default=_WINDOW)
    found = {
        "last value": last_value(panel, horizon),
        "drift": drift(panel, horizon),
        f"mean of the last {window}": mean_of_last(panel, horizon, window),
    }
    for m in seasons:
        found |= {
            f"seasonal naive, {m}": seasonal_naive(panel, horizon, m),
            f"seasonal naive with drift, {m}": seasonal_drift(panel, horizon, m),
            f"mean of {_CYCLES} cycles with drift, {m}": seasonal_mean(panel, horizon, m),
            f"mean change of {_CYCLES} cycles, {m}": mean_change(panel, horizon, m),
            f"y[t-{m}] + y[t-1] - y[t-{m + 1}]": seasonal_difference(panel, horizon, m),
        }
    return found


def periods(season: int | Sequence[int] | None) -> tuple[int, ...]:
    """The periods of a season, rising, without those of one step.

    Example:
        >>> periods(None), periods(12), periods([168, 24])
        ((), (12,), (24, 168))
    """
    given = () if season is None else np.atleast_1d(np.asarray(season)).tolist()
    if wrong := [m for m in given if m != int(m) or m < 1]:
        raise ValueError(f"season: periods are whole numbers of steps, 1 or more, not {wrong[0]}.")
    return tuple(sorted({int(m) for m in given} - {1}))


def last_value(panel: Panel, horizon: int) -> np.ndarray:
    """``y[T]``, the last known value: [series, horizon]."""
    known, ahead = _from_last_known(panel, horizon)
    return np.broadcast_to(tail(known, 1), ahead.shape).copy()


def drift(panel: Panel, horizon: int) -> np.ndarray:
    """``y[T] + h (y[T] - y[1]) / (T - 1)``: the line through the first and the last known value.

    Of a single known value: that value.
    """
    known, ahead = _from_last_known(panel, horizon)
    last, first = tail(known, 1), known.values.take(known.starts, mode="clip")[:, None]
    slope = (last - first) / np.maximum(known.lengths - 1, 1)[:, None]
    return last + slope * (ahead + 1)


def mean_of_last(panel: Panel, horizon: int, window: int) -> np.ndarray:
    """The mean of what is known of the `window` values up to the last known one."""
    known, ahead = _from_last_known(panel, horizon)
    return np.broadcast_to(_mean(tail(known, window), 1)[:, None], ahead.shape).copy()


def seasonal_naive(panel: Panel, horizon: int, period: int) -> np.ndarray:
    """``y[T+h-m]``, iterated: the last known value at this place of the cycle.

    Where none of the last ten cycles has one: the last known value.

    Args:
        panel: the past.
        horizon: steps.
        period: m, steps of a cycle.

    Returns:
        [series, horizon]

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> panel = panel_of({"a": [1.0, 2.0, 3.0, 4.0, np.nan, 6.0, np.nan]})
        >>> seasonal_naive(panel, 3, 3).tolist()  # follow places of 2, 6 and 4
        [[2.0, 6.0, 4.0]]
    """
    known, ahead = _from_last_known(panel, horizon)
    return _at_place(_last_cycle(known, period), ahead)


def seasonal_drift(panel: Panel, horizon: int, period: int) -> np.ndarray:
    """`seasonal_naive`, and for each cycle ahead the mean of all ``y[t] - y[t-m]``.

    As SNAIVE with drift of the R package fable. Without a pair of values a cycle apart: without
    the drift.

    Args:
        panel: the past.
        horizon: steps.
        period: m, steps of a cycle.

    Returns:
        [series, horizon]
    """
    known, ahead = _from_last_known(panel, horizon)
    change = _change_per_cycle(known, period)
    return _at_place(_last_cycle(known, period), ahead) + (ahead // period + 1) * change


def seasonal_mean(panel: Panel, horizon: int, period: int, cycles: int = _CYCLES) -> np.ndarray:
    """The mean at this place of the last `cycles` cycles, each moved up by the drift since.

    As `seasonal_drift`, with less noise and a later answer to a change. A place that is known
    in none of these cycles: as there.

    Args:
        panel: the past.
        horizon: steps.
        period: steps of a cycle.
        cycles: at most so many.

    Returns:
        [series, horizon]
    """
    known, ahead = _from_last_known(panel, horizon)
    change = _change_per_cycle(known, period)
    values = _cycles(known, period, cycles)
    ages = np.arange(values.shape[1], 0, -1)[:, None]
    mean = _mean(values + ages * change[..., None], 1)
    mean = np.where(np.isnan(mean), _last_cycle(known, period) + change, mean)
    return _at_place(mean, ahead) + (ahead // period) * change


def seasonal_difference(panel: Panel, horizon: int, period: int) -> np.ndarray:
    """``y[t-m] + y[t-1] - y[t-m-1]``, iterated over its own forecasts.

    That is `seasonal_naive` and for each cycle ahead ``y[T] - y[T-m]``; where that value is
    missing, the change per cycle since the last known one before it, or none.

    Args:
        panel: the past.
        horizon: steps.
        period: m, steps of a cycle.

    Returns:
        [series, horizon]
    """
    known, ahead = _from_last_known(panel, horizon)
    same = tail(known, _BACK * period + 1)[:, ::-period]  # y[T], y[T-m], y[T-2m], ...
    change = _first_known((same[:, :1] - same[:, 1:]) / np.arange(1, _BACK + 1))
    cycles = ahead // period + 1
    return _at_place(_last_cycle(known, period), ahead) + cycles * np.nan_to_num(change)[:, None]


def mean_change(panel: Panel, horizon: int, period: int, cycles: int = _CYCLES) -> np.ndarray:
    """From each step to the next the mean change into its place in the last `cycles` cycles.

    ``y[T+h] = y[T+h-1] + mean over k of (y[T+h-km] - y[T+h-km-1])``, beyond a cycle with the same
    means. The milk table's strongest baseline. A place that no change is known of: no change.

    Args:
        panel: the past.
        horizon: steps.
        period: m, steps of a cycle.
        cycles: at most so many.

    Returns:
        [series, horizon]
    """
    known, ahead = _from_last_known(panel, horizon)
    changes = np.diff(tail(known, cycles * period + 1))
    means = np.nan_to_num(_mean(changes.reshape(-1, cycles, period), 1))
    total = np.cumsum(means, axis=1)
    return tail(known, 1) + _at_place(total, ahead) + (ahead // period) * total[:, -1:]


def tail(panel: Panel, steps: int) -> np.ndarray:
    """The last values of every series, NaN before its beginning.

    Args:
        panel: the series.
        steps: of each.

    Returns:
        [series, steps]

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> tail(panel_of({"a": [1.0, 2.0, 3.0], "b": [4.0]}), 2).tolist()
        [[2.0, 3.0], [nan, 4.0]]
    """
    at = panel.stops[:, None] + np.arange(-steps, 0)
    return np.where(at >= panel.starts[:, None], panel.values[np.maximum(at, 0)], np.nan)


def _from_last_known(panel: Panel, horizon: int) -> tuple[Panel, np.ndarray]:
    """The panel between known values; [series, horizon], steps behind the last one, from 0.

    A series of which nothing is known becomes an empty one.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, not {horizon}.")
    starts, stops = panel.starts.copy(), panel.stops.copy()
    first, last = panel.values.take(starts, mode="clip"), tail(panel, 1)[:, 0]
    for i in np.flatnonzero(np.isnan(first + last)).tolist():
        known = np.flatnonzero(~np.isnan(panel.series(i)))
        begin, end = (known[0], known[-1] + 1) if known.size else (0, 0)
        starts[i], stops[i] = panel.starts[i] + begin, panel.starts[i] + end
    ahead = (panel.stops - stops)[:, None] + np.arange(horizon)
    return panel._replace(starts=starts, stops=stops), ahead


def _cycles(panel: Panel, period: int, cycles: int) -> np.ndarray:
    """[series, cycles, period], the last ones; no more than the longest series reaches into."""
    cycles = min(cycles, max(1, -(-int(panel.lengths.max()) // period)))
    return tail(panel, cycles * period).reshape(-1, cycles, period)


def _last_cycle(panel: Panel, period: int) -> np.ndarray:
    """[series, period], the last known value at each place."""
    found = _first_known(np.moveaxis(_cycles(panel, period, _BACK)[:, ::-1], 1, -1))
    return np.where(np.isnan(found), tail(panel, 1), found)


def _change_per_cycle(panel: Panel, period: int) -> np.ndarray:
    """[series, 1], the mean of all changes over a cycle; 0 where none is known."""
    change = np.zeros((len(panel.ids), 1))
    for i in range(len(change)):
        values = panel.series(i)
        changes = values[period:] - values[:-period]
        changes = changes[~np.isnan(changes)]
        change[i] = changes.mean() if changes.size else 0.0
    return change


def _first_known(values: np.ndarray) -> np.ndarray:
    """Along the last axis; NaN where there is none."""
    first = np.argmin(np.isnan(values), axis=-1)
    return np.take_along_axis(values, first[..., None], axis=-1)[..., 0]


def _at_place(cycle: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    return np.take_along_axis(cycle, ahead % cycle.shape[1], axis=1)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Of what is known; NaN where nothing is."""
    counts = np.sum(~np.isnan(values), axis)
    total = np.nansum(values, axis)
    return np.divide(total, counts, out=np.full(total.shape, np.nan), where=counts > 0)
