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
"""

import warnings
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
    limit = min(limit, typical // 3)
    found: list[int] = []
    sample = _Sample(panel, 3 * max(limit, *suggested, 1))
    for period in suggested:
        if sample.has(period, found, _SUGGESTED):
            found.append(period)
    period = 2 * max(found, default=1)
    while period <= limit and len(found) < _MOST:
        if sample.has(period, found, _UNEXPECTED, peak=True):
            period = sample.refined(period, found)
            echoes = {one for one in found if one < 4 or sample.explains(period, one)}
            found = [*(one for one in found if one in suggested or one not in echoes), period]
            period *= 2
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
        return [Cycle(5, "weeks", "weekday")] if offset.n == 1 else []
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
        taken_out = max((one for one in found if 4 * one <= period), default=1)
        for one in found:  # shows at its multiples, and beside them where it varies
            if taken_out % one and abs(period - _multiple(one, period)) <= period / 10:
                return False
        smooth = taken_out << max(period // (4 * taken_out), 1).bit_length() - 1
        return any(self._stands_out(period, width, bar, peak) for width in {taken_out, smooth})

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
        return 3 * period > len(at) or bool(4 * at[2 * period] > at[period])

    def _adds(self, period: int, inner: int, bar: _Bar) -> bool:
        """Whether at a multiple of a season the correlation exceeds that at those beside it."""
        at, error = self.correlation(1)
        beside = [one for one in (period - inner, period + inner) if one < len(at)]
        return period < len(at) and bool(
            at[period] - max(at[one] for one in beside) > bar.least(error[period])
        )

    def refined(self, period: int, found: list[int]) -> int:
        """A multiple of a season close by, where the correlation is higher there."""
        at = self.correlation(1).at
        for one in found:
            multiple = _multiple(one, period)
            if abs(multiple - period) <= period / 50 and at[multiple] > at[period]:
                return multiple
        return period

    def explains(self, longer: int, period: int) -> bool:
        """Whether a season is but a weak echo of a longer one."""
        at = self.correlation(1).at
        return bool(2 * at[period] < at[longer])


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
    size = 2 * d.shape[1]
    pairs = np.fft.irfft(np.square(np.abs(np.fft.rfft(used, size))).sum(0), size)
    products = np.fft.irfft(np.square(np.abs(np.fft.rfft(d, size))).sum(0), size)
    lags = d.shape[1]
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
