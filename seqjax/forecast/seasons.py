"""The seasons of a panel: out of its frequency, and of the autocorrelation of its series.

A season of p steps is looked for in ``d[t] = m[t] - m[t-b]``, m the mean of the last b values: once
with b = 1, for sharp seasons, and once with b about p / 4, for smooth ones. A shorter season that
is known is taken out by a b that is a multiple of it. Neither a trend, nor a random walk, nor white
noise leaves an autocorrelation in d at lags beyond 2 b, but a season does. At the lag p the
autocorrelation, pooled over the series, must be above

- noise: so many standard errors of Bartlett's formula for a moving average of 2 b steps (M. S.
  Bartlett, J. Royal Stat. Soc. Suppl. 8, 1946), the pairs of values counted as fewer where
  the series move together;
- a floor, below which a lag says nothing that is worth an input;
- its neighbours: the median of those from p / 2 to 3 p / 2, or the mean of these two;

and a quarter of it must be left at the lag 2 p, where there are values enough to tell: a moving
average's correlation is not repeated.

What the frequency suggests has to pass this; what nothing suggests must be the highest of its
neighbours, and pass it with a higher floor and more standard errors, as hundreds of lags are tried.
Noise moves that peak by a step or two, so it is refined by the mean correlation at p, 2 p and 3 p;
where that is as high, but for a standard error of the difference, at a usual period close by or at
a multiple of a season found, that is the season.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from seqjax.forecast.calendar import seconds
from seqjax.forecast.panel import Panel, typical_length

_SAMPLE = 200  # series that are looked at
_VALUES = 2_000_000  # that are looked at
_MOST = 3  # seasons
_DAY = 86_400
# Of steps without dates: quarters, weekdays, months, hours, ...
_USUAL = (4, 5, 7, 12, 24, 30, 48, 52, 96, 144, 168, 288, 336, 365, 672)
_OF_DAYS = (24, 48, 96, 144)  # seven such seasons are a week


class _Bar(NamedTuple):
    """What an autocorrelation must be above."""

    floor: float
    errors: float

    def least(self, error: float) -> float:
        return max(self.floor, self.errors * error)


# M4's test of seasonality asks for 1.645 errors. With 2 a single series of white noise or a
# random walk passes once or twice in a hundred; of a panel the floor decides.
_SUGGESTED = _Bar(0.05, 2.0)
_UNEXPECTED = _Bar(0.2, 3.5)


class _Correlation(NamedTuple):
    """The pooled autocorrelation of d; `error` is its standard error where there is no season."""

    at: np.ndarray  # [lags]
    error: np.ndarray  # [lags]


def find(panel: Panel, limit: int = 750) -> tuple[int, ...]:
    """The seasons that are worth having as inputs, in steps.

    Args:
        panel: the series; of many 200 are looked at.
        limit: no season longer than this is looked for where the frequency suggests none.

    Returns:
        At most 3, ascending; each fits twice at least into the series of the median value.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> months = np.arange(96)
        >>> noise = np.random.default_rng(0).normal(size=96)
        >>> find(panel_of({"a": months + 5 * np.sin(2 * np.pi * months / 12) + noise}))
        (12,)
        >>> find(panel_of({"a": noise}))
        ()
    """
    typical = typical_length(panel)
    suggested = [one.period for one in cycles_of(panel.grid) if 2 <= one.period <= typical // 2]
    usual = suggested if isinstance(panel.grid, pd.DatetimeIndex) else _USUAL
    limit = min(limit, typical // 3)
    found: list[int] = []
    sample = _Sample(panel, 3 * max(limit, *suggested, 1))
    for period in suggested:
        if sample.has(period, found, _SUGGESTED):
            found.append(period)
    period = 2 * max(found, default=1)
    while period <= limit and len(found) < _MOST:
        if sample.has(period, found, _UNEXPECTED, peak=True):
            period = sample.refined(period, found, usual)
            echoes = {one for one in found if one < 4 or sample.explains(period, one)}
            found = [*(one for one in found if one in suggested or one not in echoes), period]
            week, more = 7 * period, period in _OF_DAYS and len(found) < _MOST
            if more and week <= limit and sample.has(week, found, _SUGGESTED):
                found.append(week)
            period = 2 * found[-1]
        else:
            period += 1
    return tuple(found)


class Cycle(NamedTuple):
    """A cycle of the calendar or the clock.

    Attributes:
        period: its steps.
        name: in the plural, "years".
        place: the name of a step in it.
    """

    period: int
    name: str
    place: str


def cycles_of(grid: pd.Index) -> list[Cycle]:
    """Those that a frequency suggests: of hours the day and the week, of days the week and ...

    Example:
        >>> [cycle.name for cycle in cycles_of(pd.date_range("2024", periods=9, freq="h"))]
        ['days', 'weeks']
    """
    if not isinstance(grid, pd.DatetimeIndex) or grid.freq is None:
        return []
    offset: Any = to_offset(grid.freq)
    step = seconds(offset)
    name = "" if type(offset) is pd.DateOffset else offset.rule_code.split("-")[0]
    if isinstance(offset, pd.offsets.Tick) or name == "D":
        place = "hour" if step == 3600 else "time of day"
        week = "weekday" if step == _DAY else "time of the week"
        lengths = ((3600, "hours", "minute"), (_DAY, "days", place), (7 * _DAY, "weeks", week))
        found = [Cycle(round(s / step), *names) for s, *names in lengths if not s % step]
        if step >= _DAY:
            found.append(Cycle(round(365 * _DAY / step), "years", "time of the year"))
        return [cycle for cycle in found if cycle.period > 2]
    if name in ("B", "C"):
        cycles = [Cycle(5, "weeks", "weekday"), Cycle(261, "years", "time of the year")]
        return cycles if offset.n == 1 else []
    if name.endswith("W"):
        return [Cycle(round(52 / offset.n), "years", "week")]
    days = step / _DAY
    if not 25 < days < 190:
        return []
    period = round(365 / days)
    return [Cycle(period, "years", {12: "month", 4: "quarter"}.get(period, "time of the year"))]


class _Sample:
    """The last steps of some series, and correlations of them by scale."""

    def __init__(self, panel: Panel, steps: int) -> None:
        count = len(panel.ids)
        width = min(int(panel.lengths.max()), steps)
        some = np.linspace(0, count - 1, min(count, _SAMPLE, _VALUES // width + 1))
        some = some.round().astype(int)
        # Each at the right end of its row.
        at = panel.stops[some, None] + np.arange(-width, 0)
        inside = at >= panel.starts[some, None]
        self.values = np.where(inside, panel.values[np.maximum(at, 0)], np.nan)
        last = panel.origins + panel.lengths
        self.ends = last[some] - last[some].min()  # in time, of the rows
        self.known: dict[int, _Correlation] = {}

    def correlation(self, width: int) -> _Correlation:
        if width not in self.known:
            self.known[width] = _correlation(self.values, self.ends, width)
        return self.known[width]

    def has(self, period: int, found: list[int], bar: _Bar, *, peak: bool = False) -> bool:
        """Whether there is a season of the period, besides those found.

        Args:
            period: its steps.
            found: shorter ones.
            bar: what the autocorrelation must be above.
            peak: it must be the highest of its neighbours, too.
        """
        inner = max((one for one in found if period % one == 0), default=0)
        if inner and self._adds(period, inner, bar):
            return True
        taken_out, _ = _widths(period, found)
        for one in found:  # shows at its multiples, and beside them where it varies
            if taken_out % one and abs(period - _multiple(one, period)) <= period / 10:
                return False
        return any(self._stands_out(period, width, bar, peak) for width in _widths(period, found))

    def _stands_out(self, period: int, width: int, bar: _Bar, peak: bool) -> bool:
        at, error = self.correlation(width)
        if period >= len(at):
            return False
        half, more = period // 2, min(3 * period // 2, len(at) - 1)
        around = at[half + 1 : more + 1]
        base = min(np.median(around), (at[half] + at[more]) / 2)
        if half == 1:  # where noise alone makes the correlation negative
            base = np.sort(around)[-2]
        if min(at[period], at[period] - base) <= bar.least(error[period]):
            return False
        if peak and at[period] < around.max():
            return False
        left = 2 if period < 4 else 4  # an alternating autoregression fades, too
        return 3 * period > len(at) or bool(left * at[2 * period] > at[period])

    def _adds(self, period: int, inner: int, bar: _Bar) -> bool:
        """Whether at a multiple of a season the correlation exceeds that at those beside it."""
        at, error = self.correlation(1)
        beside = [one for one in (period - inner, period + inner) if one < len(at)]
        return period < len(at) and bool(
            at[period] - max(at[one] for one in beside) > bar.least(error[period])
        )

    def refined(self, period: int, found: list[int], usual: Sequence[int]) -> int:
        """The best close by over several cycles; a likely one, but for sampling error."""
        both = [self.correlation(width) for width in _widths(period, found)]
        at, error = max(both, key=lambda one: one.at[period])
        likely = [*(_multiple(one, period) for one in found), *usual]
        near = [one for one in likely if abs(one - period) <= max(1, period / 20)]
        least = at[period] - error[period] / 2
        beside = [one for one in (period, period - 1, period + 1) if at[one] >= least]
        cycles = [k for k in (1, 2, 3) if 4 * k * max(beside + near) < 3 * len(at)] or [1]

        def fit(one: int) -> float:
            return float(np.mean(at[one * np.array(cycles)]))

        period = max(beside, key=fit)
        best = max(near, key=fit, default=period)
        alike = 2 * max(0.0, 1 - at[abs(best - period)])  # close lags err alike
        least = min(error[period], self.correlation(1).error[period]) * np.sqrt(alike)
        return best if fit(best) >= fit(period) - least else period

    def explains(self, longer: int, period: int) -> bool:
        """Whether a season is but a weak echo of a longer one."""
        at = self.correlation(1).at
        return bool(2 * at[period] < at[longer])


def _widths(period: int, found: list[int]) -> tuple[int, int]:
    """Steps of two means, for sharp seasons and for smooth ones.

    Over the first no season shows that was found; in the second noise averages out, and a smooth
    season of the period does not.
    """
    taken_out = max((one for one in found if 4 * one <= period), default=1)
    fewest = 2 if period > 5 else 1
    return taken_out, taken_out << max(period // (4 * taken_out), fewest).bit_length() - 1


def _multiple(season: int, period: int) -> int:
    return round(period / season) * season


def _correlation(values: np.ndarray, ends: np.ndarray, width: int) -> _Correlation:
    """Of differences of means over `width` steps, pooled over rows; NaN is left out."""
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
    return _Correlation(at, error)


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
