"""Measures of forecasts, pure functions of arrays: whose definition each is, and how others differ.

`y` is [series, horizon], or any shape that ends in the horizon; NaN in it is a value that is
missing, and not counted. A forecast that is NaN where `y` is known makes its figure NaN.

As in NumPy, `axis` names what is averaged away: None (all) pools every value, -1 leaves a figure
for each series, 0 one for each step of the horizon. Where nothing is counted the figure is NaN.
Shapes that do not fit, and levels out of range, are a ValueError.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seqjax.forecast.panel import Panel

Axis = int | tuple[int, ...] | None


def rmse(y: ArrayLike, forecast: ArrayLike, axis: Axis = None) -> Any:
    """``sqrt(mean((y - forecast)^2))``

    Pooled, large series outweigh small ones; utilsforecast's are by series.

    Args:
        y: [series, horizon], NaN where missing.
        forecast: the same shape.
        axis: what is averaged away.

    Returns:
        In the unit of `y`: a float for all, an array of the axes that are left otherwise.

    Example:
        >>> rmse([[1.0, 2.0], [0.0, np.nan]], [[1.0, 4.0], [3.0, 9.0]], axis=0).round(3).tolist()
        [2.121, 2.0]
    """
    y, forecast = _pair("rmse", y, forecast)
    return _mean(np.square(y - forecast), ~np.isnan(y), axis) ** 0.5


def mae(y: ArrayLike, forecast: ArrayLike, axis: Axis = None) -> Any:
    """``mean(|y - forecast|)``

    Args:
        y: [series, horizon], NaN where missing.
        forecast: the same shape.
        axis: what is averaged away.

    Returns:
        In the unit of `y`: a float for all, an array of the axes that are left otherwise.

    Example:
        >>> mae([[1.0, 2.0], [0.0, np.nan]], [[1.0, 4.0], [3.0, 9.0]], axis=1).tolist()
        [1.0, 3.0]
    """
    y, forecast = _pair("mae", y, forecast)
    return _mean(np.abs(y - forecast), ~np.isnan(y), axis)


def smape(y: ArrayLike, forecast: ArrayLike, axis: Axis = None) -> Any:
    """``200 mean(|y - forecast| / (|y| + |forecast|))``, in percent.

    As in the M4 competition (Makridakis, Spiliotis, Assimakopoulos 2020): from 0 to 200.
    utilsforecast's goes from 0 to 1, `gluonts.evaluation`'s from 0 to 2. Where both are 0 the
    term is 0, as in utilsforecast; GluonTS gives NaN.

    Args:
        y: [series, horizon], NaN where missing.
        forecast: the same shape.
        axis: what is averaged away.

    Returns:
        Percent: a float for all, an array of the axes that are left otherwise.

    Example:
        >>> smape([1.0, 0.0], [3.0, 0.0])
        50.0
    """
    y, forecast = _pair("smape", y, forecast)
    size = np.abs(y) + np.abs(forecast)
    with np.errstate(invalid="ignore"):
        term = np.where(size == 0, 0.0, np.abs(y - forecast) / size)
    return 200 * _mean(term, ~np.isnan(y), axis)


def seasonal_scale(panel: Panel, period: int) -> np.ndarray:
    """``mean(|y[t] - y[t - period]|)`` of each series: what MASE and MSIS divide by.

    Over the pairs of which both are known. A series without one is taken with period 1, as
    GluonTS takes those no longer than the period (utilsforecast gives NaN).

    Args:
        panel: what was known when the forecast was made.
        period: of the season; 1 for none.

    Returns:
        [series], in the unit of the values. NaN where no scale is to be had: a series that is
        constant, of fewer than two values, or exactly periodic.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> panel = panel_of({"a": [1.0, 2.0, 4.0, 6.0], "b": [5.0, 5.0, 5.0], "c": [1.0, 3.0]})
        >>> seasonal_scale(panel, 2).tolist()  # (3 + 4) / 2; constant; with period 1
        [3.5, nan, 2.0]
    """
    if period < 1:
        raise ValueError(f"seasonal_scale: period must be at least 1, not {period}.")
    found = np.full(len(panel.ids), np.nan)
    for i in range(len(found)):
        values = panel.series(i)
        for lag in (period, 1):
            changes = np.abs(values[lag:] - values[:-lag])
            known = changes[~np.isnan(changes)]
            if known.size:
                found[i] = known.mean() or np.nan
                break
    return found


def mase(y: ArrayLike, forecast: ArrayLike, scale: ArrayLike, axis: Axis = None) -> Any:
    """``mean(|y - forecast| / scale)``, `scale` the seasonal naive's error in-sample.

    Hyndman and Koehler 2006; utilsforecast's and GluonTS's by series. A series without a scale
    (`seasonal_scale`) is left out of means, and has NaN itself; utilsforecast gives infinity
    there, sktime divides by the machine epsilon. Pooled, every value counts alike: the mean of
    the series' figures, which M4 takes, where all have as many values.

    Args:
        y: [series, horizon], NaN where missing.
        forecast: the same shape.
        scale: [series], from `seasonal_scale`: the shape of `y` without the horizon.
        axis: what is averaged away.

    Returns:
        Without unit: a float for all, an array of the axes that are left otherwise.

    Example:
        >>> mase([[1.0, 2.0], [7.0, 7.0]], [[2.0, 4.0], [0.0, 0.0]], [2.0, np.nan])
        0.75
    """
    y, forecast = _pair("mase", y, forecast)
    scale = _scale("mase", scale, y)
    return _mean(np.abs(y - forecast) / scale, ~np.isnan(y) & ~np.isnan(scale), axis)


def weighted_quantile_loss(
    y: ArrayLike, quantiles: ArrayLike, levels: Sequence[float], axis: Axis = None
) -> Any:
    """``2 sum(pinball(y, quantile)) / sum(|y|)``, the mean over the levels.

    `gluonts.evaluation`'s mean_wQuantileLoss (Salinas and others 2020), pooled; utilsforecast's
    scaled_crps is the same by series; its scaled_quantile_loss, without the 2, has MASE's scale.

    Args:
        y: [series, horizon], NaN where missing.
        quantiles: [series, horizon, levels].
        levels: of the quantiles, within (0, 1).
        axis: of `y`, what is summed over.

    Returns:
        Without unit: a float for all, an array of the axes that are left otherwise.

    Example:
        >>> weighted_quantile_loss([4.0, 1.0], [[2.0, 5.0], [0.0, 3.0]], [0.25, 0.75])
        0.3
    """
    y, losses = _pinball("weighted_quantile_loss", y, quantiles, levels)
    counted = ~np.isnan(y)
    size = np.sum(np.abs(y), axis, where=counted)
    found = [_ratio(2 * np.sum(loss, axis, where=counted), size) for loss in losses]
    return sum(found) / len(found)


def crps(y: ArrayLike, quantiles: ArrayLike, levels: Sequence[float], axis: Axis = None) -> Any:
    """``mean(2 pinball(y, quantile))`` over values and levels: the CRPS, from quantiles.

    CRPS is twice the pinball loss integrated over all levels (Gneiting and Ranjan 2011). Each
    level counts for the part of (0, 1) about it, the finer the levels the better. Of a point
    forecast (every quantile the same, the levels symmetric) it is the absolute error. Of evenly
    spaced levels utilsforecast's mqloss is half of it.

    Args:
        y: [series, horizon], NaN where missing.
        quantiles: [series, horizon, levels].
        levels: of the quantiles, within (0, 1).
        axis: of `y`, what is averaged away.

    Returns:
        In the unit of `y`: a float for all, an array of the axes that are left otherwise.

    Example:
        >>> crps([4.0, 1.0], [[2.0, 5.0], [0.0, 3.0]], [0.25, 0.75])
        0.75
    """
    y, losses = _pinball("crps", y, quantiles, levels)
    share = np.gradient(np.asarray(levels, np.float64)) if len(levels) > 1 else np.ones(1)
    return 2 * _mean(np.average(losses, axis=0, weights=share), ~np.isnan(y), axis)


def coverage(y: ArrayLike, lo: ArrayLike, hi: ArrayLike, axis: Axis = None) -> Any:
    """``mean(lo <= y <= hi)``, the part of the values within their intervals, as utilsforecast.

    Args:
        y: [series, horizon], NaN where missing.
        lo: the same shape.
        hi: the same shape.
        axis: what is averaged away.

    Returns:
        From 0 to 1: a float for all, an array of the axes that are left otherwise.

    Example:
        >>> coverage([[1.0, 2.0, np.nan, 4.0]], [[1.0, 0.0, 0.0, 0.0]], [[1.0, 1.0, 9.0, 9.0]])
        0.6666666666666666
    """
    (y, lo), (_, hi) = _pair("coverage", y, lo), _pair("coverage", y, hi)
    within = np.where(np.isnan(lo) | np.isnan(hi), np.nan, (lo <= y) & (y <= hi))
    return _mean(within, ~np.isnan(y), axis)


def msis(
    y: ArrayLike,
    lo: ArrayLike,
    hi: ArrayLike,
    scale: ArrayLike,
    level: int | float,
    axis: Axis = None,
) -> Any:
    """``mean(hi - lo + 2/a max(lo - y, 0) + 2/a max(y - hi, 0)) / scale``, ``a = 1 - level/100``.

    M4's mean scaled interval score, which GluonTS has too; utilsforecast's winkler_score is
    without the scale. Series without a scale are left out, as in `mase`.

    Args:
        y: [series, horizon], NaN where missing.
        lo: the same shape.
        hi: the same shape.
        scale: [series], from `seasonal_scale`: the shape of `y` without the horizon.
        level: of the interval, in percent; M4's is 95.
        axis: what is averaged away.

    Returns:
        Without unit: a float for all, an array of the axes that are left otherwise.

    Example:
        >>> msis([[5.0, 9.0]], [[4.0, 4.0]], [[6.0, 8.0]], [2.0], level=80)  # (2 + 4 + 10) / 2 / 2
        4.0
    """
    if not 0 < level < 100:
        raise ValueError(f"msis: level is percent, within (0, 100), not {level}.")
    (y, lo), (_, hi) = _pair("msis", y, lo), _pair("msis", y, hi)
    scale = _scale("msis", scale, y)
    outside = np.maximum(lo - y, 0) + np.maximum(y - hi, 0)
    score = (hi - lo + 200 / (100 - level) * outside) / scale
    return _mean(score, ~np.isnan(y) & ~np.isnan(scale), axis)


def _pair(name: str, y: ArrayLike, forecast: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    y, forecast = np.asarray(y, np.float64), np.asarray(forecast, np.float64)
    if y.shape != forecast.shape:
        raise ValueError(f"{name}: y {y.shape} and forecast {forecast.shape} differ in shape.")
    return y, forecast


def _scale(name: str, scale: ArrayLike, y: np.ndarray) -> np.ndarray:
    scale = np.asarray(scale, np.float64)
    if scale.shape != y.shape[:-1]:
        raise ValueError(
            f"{name}: y {y.shape} needs a scale for each series, {y.shape[:-1]}, not {scale.shape}."
        )
    return scale[..., None]


def _pinball(
    name: str, y: ArrayLike, quantiles: ArrayLike, levels: Sequence[float]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """``max(q (y - quantile), (q - 1) (y - quantile))`` for each level q."""
    y, quantiles = np.asarray(y, np.float64), np.asarray(quantiles, np.float64)
    if not len(levels) or not all(0 < level < 1 for level in levels):
        raise ValueError(f"{name}: levels must lie within (0, 1), at least one, not {levels}.")
    if quantiles.shape != (*y.shape, len(levels)):
        raise ValueError(
            f"{name}: quantiles {quantiles.shape} must have the shape of y and one for each"
            f" level: {(*y.shape, len(levels))}."
        )
    errors = np.moveaxis(y[..., None] - quantiles, -1, 0)
    return y, [np.maximum(q * one, (q - 1) * one) for q, one in zip(levels, errors, strict=True)]


def _mean(loss: np.ndarray, counted: np.ndarray, axis: Axis) -> Any:
    return _ratio(np.sum(loss, axis, where=counted), np.sum(counted, axis))


def _ratio(total: Any, size: Any) -> Any:
    """NaN where there is nothing to divide by; a plain float for all, which JSON takes."""
    found = np.divide(total, size, out=np.full(np.shape(total), np.nan), where=size > 0)
    return found if found.ndim else found.item()
