"""A panel as arrays, and the windows that are drawn from it on the fly.

No window is kept: a batch is places in the flat arrays, and what stands around them is
gathered inside the jitted step; for forecasts by NumPy, which needs no program for each size.

Dimensions: B batch, W history, H horizon, K covariates.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from seqjax.forecast.panel import Panel

Array = jax.Array | np.ndarray


def numpy_of(array: Array) -> Any:
    """NumPy, or JAX's, as the array is: what runs once, before training, compiles nothing."""
    return array.__array_namespace__()


class Arrays(NamedTuple):
    """A panel, of NumPy's arrays or on the device.

    Attributes:
        values: [total], each series on its own scale; NaN where missing.
        starts: [series], of each in `values`.
        stops: [series]; nothing from there on is read as a target.
        origins: [series], the place of each first value in `calendar`.
        calendar: [times, C], features of the times.
        past: [total, P], known up to now.
        known: [total, K], known ahead of time.
        static: [series, S]
        shift: [series], of the scales.
        width: [series], of the scales.
    """

    values: Array
    starts: Array
    stops: Array
    origins: Array
    calendar: Array
    past: Array
    known: Array
    static: Array
    shift: Array
    width: Array


class Windows(NamedTuple):
    """What a forecast is made from.

    Attributes:
        history: [B, W], oldest first; NaN where missing or before the series.
        past: [B, W, P]
        ahead: [B, W + H, C + K], calendar and known covariates, of the history and the horizon.
        static: [B, S]
        shift: [B]
        width: [B], with which ``value * width + shift`` is in the unit of the series.
    """

    history: Array
    past: Array
    ahead: Array
    static: Array
    shift: Array
    width: Array


def scales(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Median and mean absolute deviation of each series, [series] float64 each.

    They only bring the values into float32's range: a forecast is scaled by its window again.
    """
    shift, width = np.zeros(len(panel.ids)), np.ones(len(panel.ids))
    for i in range(len(panel.ids)):
        known = panel.series(i)
        known = known[np.isfinite(known)]
        if not len(known):
            continue
        shift[i] = np.median(known)
        spread = np.mean(np.abs(known - shift[i]))
        # Of a constant the rounding of its mean is no width.
        if spread > 1e-12 * abs(shift[i]):
            width[i] = spread
    return shift, width


def place(
    panel: Panel,
    calendar: np.ndarray,
    *,
    centred: bool = True,
    room: tuple[int, int] | None = None,
    future: np.ndarray | None = None,
) -> Arrays:
    """A panel as NumPy's arrays, of the types that a device wants.

    Args:
        panel: the panel.
        calendar: [times, C] of its grid and, for forecasts, of the times behind it.
        centred: on a scale with the median at 0; counts stay where 0 is.
        room: ``(history, ahead)``: keep so many steps before each end, and so many places
            behind it; all series then have the same number of places. None keeps everything.
        future: [series, ahead, K], the known covariates of the places behind the end.
    """
    shift, width = scales(panel)
    if not centred:
        width = np.where(shift > 0, shift + width, width)
        shift = np.zeros_like(shift)
    starts, stops, origins = panel.starts, panel.stops, panel.origins
    past, known = panel.past, panel.known
    if room is None:
        scaled = np.full(len(panel.values), np.nan, np.float32)
        for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            scaled[start:stop] = (panel.values[start:stop] - shift[i]) / width[i]
    else:
        before, ahead = room
        lengths = np.minimum(before, stops - starts)
        rows = stops[:, None] + np.arange(-before, ahead)
        inside = (rows >= starts[:, None]) & (rows < stops[:, None])
        rows = np.clip(rows, 0, len(panel.values) - 1)
        kept = np.where(inside, panel.values[rows], np.nan)
        scaled = ((kept - shift[:, None]) / width[:, None]).reshape(-1)
        past, known = past[rows], known[rows]
        if future is not None:
            known[:, before:] = future
        past, known = (one.reshape(len(scaled), -1) for one in (past, known))
        origins = origins + (stops - starts) - lengths
        stops = np.arange(len(panel.ids)) * (before + ahead) + before
        starts = stops - lengths
    places = (one.astype(np.int32) for one in (starts, stops, origins))
    of_times = (calendar, past, known, panel.static)
    features = (np.nan_to_num(one).astype(np.float32, copy=False) for one in of_times)
    values, *scale = (one.astype(np.float32, copy=False) for one in (scaled, shift, width))
    return Arrays(values, *[*places, *features, *scale])


def windows_at(
    arrays: Arrays, series: Array, last: Array, history: int, horizon: int
) -> tuple[Windows, Array]:
    """The windows that end with given values, and what follows them.

    Args:
        arrays: the panel.
        series: [B], which series.
        last: [B], the place in `values` of each window's last value.
        history: W.
        horizon: H.

    Returns:
        The windows, and the targets [B, H]: NaN where missing, or from the end of the series on;
        arrays of the panel's kind.
    """
    xp = numpy_of(arrays.values)
    steps = last[:, None] + xp.arange(1 - history, horizon + 1)[None, :]
    start, stop = arrays.starts[series][:, None], arrays.stops[series][:, None]
    total = arrays.values.shape[0]
    around = xp.where(
        (steps >= start) & (steps < stop), arrays.values[xp.clip(steps, 0, total - 1)], np.nan
    )
    # A step before the series takes the time of its first value, whose mask says that it is none.
    inside = xp.clip(steps, start, total - 1)
    time = xp.maximum(steps, start) - start + arrays.origins[series][:, None]
    time = xp.minimum(time, len(arrays.calendar) - 1)
    windows = Windows(
        around[:, :history],
        arrays.past[inside[:, :history]],
        xp.concatenate([arrays.calendar[time], arrays.known[inside]], axis=-1),
        arrays.static[series],
        arrays.shift[series],
        arrays.width[series],
    )
    return windows, around[:, history:]
