"""Split-conformal intervals: half-widths from the errors on windows that were not trained on.

    scores = quantile_scores(point, point, actual, scale)  # of calibration windows
    half = half_widths(calibrate(scores), level=80)        # [horizon]
    lo, hi = intervals(point, point, half, scale)          # of new forecasts

With n scores of a step that are exchangeable with the new one, the interval covers with
probability at least ``level / 100``, and at most 1 / (n + 1) more where scores do not tie (Vovk,
Gammerman, Shafer 2005; Lei and others 2018). Scores are in units of their series and pooled over
series, so the guarantee holds for the mean over series and windows, not for each series; windows
of one series that overlap, or a series that changes, make it approximate. Each step of the
horizon is calibrated by itself.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqjax.data import DataError

LIMIT = 10_000  # windows that are kept: coverage has a standard deviation of half a point at most


class Calibration(NamedTuple):
    """Sorted scores of each step of the horizon.

    Attributes:
        scores: [kept, horizon], each column rising; NaN behind the last where values were missing.
    """

    scores: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """[horizon], scores of each step."""
        return np.sum(~np.isnan(self.scores), axis=0)


def quantile_scores(
    lo: np.ndarray, hi: np.ndarray, actual: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """``max(lo - actual, actual - hi) / scale``: negative within the interval.

    Conformalised quantile regression (Romano, Patterson, Candes 2019); of a point, given as both
    ends, its absolute error.

    Args:
        lo: [windows, horizon], the lower quantile's forecast.
        hi: [windows, horizon], the upper one's.
        actual: [windows, horizon], NaN where missing.
        scale: [windows], positive: that of the window's series.

    Returns:
        [windows, horizon], NaN where the actual value is missing.

    Raises:
        ValueError: where shapes do not fit, a scale is not positive, or a forecast is NaN where
            the value is known.

    Example:
        >>> lo, hi = np.array([[1.0, 1.0]]), np.array([[3.0, 3.0]])
        >>> quantile_scores(lo, hi, np.array([[2.5, 5.0]]), np.array([2.0])).tolist()
        [[-0.25, 1.0]]
    """
    scale = _checked("scores", scale, actual, lo, hi)
    return np.maximum(lo - actual, actual - hi) / scale


def calibrate(scores: np.ndarray, *, limit: int = LIMIT, seed: int = 0) -> Calibration:
    """Sort the scores of each step.

    Args:
        scores: [windows, horizon], NaN where there is none.
        limit: scores kept of each step: of more a random part, which keeps the guarantee.
        seed: of that choice.

    Returns:
        The calibration; its array is all that it is, for JSON or npz.

    Example:
        >>> calibrate(np.array([[3.0, np.nan], [1.0, 5.0]])).counts.tolist()
        [2, 1]
    """
    if len(scores) > limit:
        # Each step in a random order, what is missing behind the rest.
        order = np.random.default_rng(seed).permuted(scores, axis=0)
        rank = np.argsort(np.isnan(order), axis=0, kind="stable")[:limit]
        scores = np.take_along_axis(order, rank, axis=0)
    return Calibration(np.sort(np.asarray(scores, np.float64), axis=0))


def half_widths(calibration: Calibration, level: int | float) -> np.ndarray:
    """The score of rank ``ceil((n + 1) level / 100)`` of each step.

    Args:
        calibration: of the forecasts.
        level: in percent, within (0, 100).

    Returns:
        [horizon], in units of the scale; negative ones shrink quantiles.

    Raises:
        DataError: where a step has too few scores for the level: it says how many there must be.
        ValueError: for a level out of range.

    Example:
        >>> scores = np.arange(1.0, 10.0)[:, None]
        >>> half_widths(calibrate(scores), 80).tolist()  # of 9 the 8th
        [8.0]
    """
    if not 0 < level < 100:
        raise ValueError(f"level is percent, within (0, 100), not {level}.")
    counts = calibration.counts
    ranks = np.ceil(np.round((counts + 1) * level / 100, 9)).astype(int)
    if (short := np.flatnonzero(ranks > counts)).size:
        needed = math.ceil(round(level / (100 - level), 9))
        most = math.floor(100 * counts.min() / (counts.min() + 1))
        raise DataError(
            f"A level of {level} % needs {needed} calibration windows with a known value, but step"
            f" {short[0] + 1} of the horizon has {counts[short[0]]}; calibrate on more windows or"
            f" series{f', or ask for at most {most} %' if most else ''}."
        )
    return np.take_along_axis(calibration.scores, ranks[None] - 1, axis=0)[0]


def intervals(
    lo: np.ndarray, hi: np.ndarray, half: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``lo - half scale`` and ``hi + half scale``; where they cross, their middle for both.

    Args:
        lo: [series, horizon], the lower quantile; or the point forecast.
        hi: [series, horizon], the upper quantile, or the point forecast.
        half: [horizon], from `half_widths`, or [series, horizon].
        scale: [series], positive: as that of the scores.

    Returns:
        lo and hi, [series, horizon].

    Raises:
        ValueError: as `quantile_scores`.

    Example:
        >>> point = np.array([[10.0, 10.0]])
        >>> lo, hi = intervals(point, point, np.array([1.0, 2.0]), np.array([3.0]))
        >>> lo.tolist(), hi.tolist()
        ([[7.0, 4.0]], [[13.0, 16.0]])
    """
    scale = _checked("intervals", scale, lo, lo, hi)
    half = np.broadcast_to(half, lo.shape)
    lo, hi = lo - half * scale, hi + half * scale
    middle = (lo + hi) / 2
    return np.minimum(lo, middle), np.maximum(hi, middle)


def nested(
    los: Sequence[np.ndarray], his: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Intervals of rising levels, each widened to hold those of lower levels.

    Quantiles are calibrated level by level, so that intervals may cross by a little; widening
    takes nothing from their coverage.

    Args:
        los: of each level, rising: [series, horizon].
        his: of each level.

    Example:
        >>> nested([np.array([[2.0]]), np.array([[3.0]])], [np.array([[4.0]]), np.array([[6.0]])])
        ([array([[2.]]), array([[2.]])], [array([[4.]]), array([[6.]])])
    """
    return (
        list(np.minimum.accumulate(np.stack(los))),
        list(np.maximum.accumulate(np.stack(his))),
    )


def _checked(
    name: str, scale: np.ndarray, actual: np.ndarray, lo: np.ndarray, hi: np.ndarray
) -> np.ndarray:
    """The scale as [windows, 1]."""
    if not (actual.ndim == 2 and actual.shape == lo.shape == hi.shape):
        raise ValueError(f"{name}: {lo.shape}, {hi.shape} and {actual.shape} must be one shape.")
    if scale.shape != actual.shape[:1] or not (scale > 0).all():
        raise ValueError(f"{name}: the scale must be positive, one for each of {len(actual)} rows.")
    if (np.isnan(lo + hi) & ~np.isnan(actual)).any():
        raise ValueError(f"{name}: a forecast is NaN where the value is known.")
    return scale[:, None]
