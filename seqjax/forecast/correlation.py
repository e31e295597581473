"""Autocorrelations of many series as one, that trends and shorter seasons leave alone."""

import warnings
from typing import NamedTuple

import numpy as np

_PART = 0.8  # of the lags have pairs enough to tell
_LASTS = 0.7  # of the correlation at one cycle


class Correlation(NamedTuple):
    """The pooled autocorrelation of differences of means.

    Attributes:
        at: [lags].
        error: [lags], its standard errors where there is no season.
        width: steps of the means.
    """

    at: np.ndarray
    error: np.ndarray
    width: int

    def cycles(self, period: float, most: int) -> int:
        """How many of a period there are pairs enough of, at least 1."""
        return min(most, max(int(_PART * len(self.at) / period), 1))

    def lasting(self, period: int, most: int) -> int:
        """How many cycles the correlation outlasts, 3 at least: few where they vary in length."""
        for count in range(4, most + 1):
            around = self.at[count * (period - 1) : count * (period + 1) + 1]
            if not len(around) or around.max() < _LASTS * self.at[period]:
                return count - 1
        return most

    def around(self, period: int, reach: float, cycles: int) -> tuple[np.ndarray, np.ndarray]:
        """Periods close by, at least 1.5, and their fits."""
        steps = int(4 * max(reach, cycles))
        tried = period + reach * np.arange(-steps, steps + 1) / steps
        tried = tried[tried >= 1.5]
        return tried, self.fits(tried, cycles)

    def fits(self, periods: np.ndarray, cycles: int) -> np.ndarray:
        """[periods], the mean correlation over whole cycles: what these have in common.

        Args:
            periods: [periods], in steps, and parts of them.
            cycles: how many.
        """
        lags = self._lags(periods, cycles)
        weights = self.error[lags] ** -2.0
        return (self.at[lags] * weights).sum(-1) / weights.sum(-1)

    def error_between(self, period: float, other: float, cycles: int) -> float:
        """The standard error of the difference of two fits.

        Close lags err alike: the correlation of white noise falls from 1 at 0 to -1/2 at the width,
        and rises to 0 at twice the width. A season of the part r of the variance leaves 1 - r^2.
        """
        lags, others = self._lags(np.array([period, other]), cycles)
        apart = np.abs(lags - others) / self.width
        unlike = np.minimum(1.5 * apart, 1 + np.maximum(2 - apart, 0) / 2)
        weights = self.error[lags] ** -2.0
        variance = 2 * unlike / weights * self._noise(period, cycles)
        return float(np.sqrt(np.square(weights / weights.sum()) @ variance))

    def repeats(self, period: float, parts: int, cycles: int, share: float) -> bool:
        """Whether the parts of a period are alike.

        Args:
            period: in steps.
            parts: of it.
            cycles: how many periods to look at.
            share: what the correlation after whole periods may exceed that after parts of them by,
                of the former, one and a half of its standard errors included.
        """
        lags = self._lags(np.array([period / parts]), parts * cycles)[0]
        weights = self.error[lags] ** -2.0
        whole = np.arange(1, len(lags) + 1) % parts == 0
        more = np.average(self.at[lags], weights=weights * whole)
        more -= np.average(self.at[lags], weights=weights * ~whole)
        error = np.sqrt(1 / weights[whole].sum() + 1 / weights[~whole].sum())
        error *= np.sqrt(self._noise(period, cycles))
        return bool(more + 1.5 * error < share * self.fits(np.array([period]), cycles)[0])

    def _lags(self, periods: np.ndarray, cycles: int) -> np.ndarray:
        lags = np.round(periods[:, None] * np.arange(1, cycles + 1)).astype(int)
        return np.minimum(lags, len(self.at) - 1)

    def _noise(self, period: float, cycles: int) -> float:
        return float(1 - np.clip(self.fits(np.array([period]), cycles)[0], 0, 0.999) ** 2)


def correlation_of(values: np.ndarray, ends: np.ndarray, width: int) -> Correlation:
    """The autocorrelation of ``d[t] = m[t] - m[t-b]``, m the mean of the last b values.

    Its error is Bartlett's for a moving average of 2 b steps (M. S. Bartlett, J. Royal Stat. Soc.
    Suppl. 8, 1946), the pairs of values counted as fewer where the series move together.

    Args:
        values: [rows, time]; NaN is left out.
        ends: [rows], where each row ends in time.
        width: b, in steps.

    Example:
        >>> waves = np.sin(2 * np.pi * np.arange(240) / 12)
        >>> found = correlation_of(waves[None], np.zeros(1, int), 2)
        >>> found.at[[6, 12]].round(2).tolist()
        [-1.0, 1.0]
    """
    known = ~np.isnan(values)
    sums = np.pad(np.cumsum(np.where(known, values, 0.0), axis=1), ((0, 0), (1, 0)))
    counts = np.pad(np.cumsum(known, axis=1), ((0, 0), (1, 0)))
    total, count = sums[:, width:] - sums[:, :-width], counts[:, width:] - counts[:, :-width]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(2 * count >= width, total / count, np.nan)
    d = means[:, width:] - means[:, :-width]
    used = ~np.isnan(d)
    d, used = _standard(d, used)
    lags, size = d.shape[1], 2 * d.shape[1]
    pairs = np.fft.irfft(np.square(np.abs(np.fft.rfft(used, size))).sum(0), size)
    products = np.fft.irfft(np.square(np.abs(np.fft.rfft(d, size))).sum(0), size)
    pairs, products = np.maximum(pairs[:lags].round(), 1), products[:lags]
    at = products / pairs / max(products[0] / pairs[0], 1e-12)
    error = np.sqrt((1 + 2 * np.square(at[1 : 2 * width]).sum()) * _together(d, used, ends) / pairs)
    return Correlation(at, error, width)


def _standard(d: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of mean 0 and variance 1, without outliers; 0 where not used, as constant rows are."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # rows of NaN
        middle = np.nanmedian(d, axis=1, keepdims=True)
        spread = 4 * 1.4826 * np.nanmedian(np.abs(d - middle), axis=1, keepdims=True)
        d = np.where(spread > 0, np.clip(d, middle - spread, middle + spread), d)
        d = d - np.nanmean(d, axis=1, keepdims=True)
        size = np.sqrt(np.nanmean(np.square(d), axis=1, keepdims=True))
        largest = np.nanmax(np.abs(middle) + np.abs(d), axis=1, keepdims=True)
    used = used & (size > 1e-9 * largest)
    return np.where(used, d / np.where(used, size, 1), 0.0), used


def _together(d: np.ndarray, used: np.ndarray, ends: np.ndarray) -> float:
    """How many series move as one: the variance of their sum over that of independent ones."""
    times = (ends[:, None] + np.arange(d.shape[1])).reshape(-1)
    sums = np.bincount(times, d.reshape(-1))
    counts = np.bincount(times, used.reshape(-1))
    return max(1.0, float(np.square(sums).sum() / max(counts.sum(), 1)))
