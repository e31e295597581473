"""The seasons of a panel: out of its frequency, and of the autocorrelation of its series.

A season of p steps is looked for in ``d[t] = m[t] - m[t-b]``, m the mean of the last b values: once
with b = 1, for sharp seasons, and once with b about p / 4, for smooth ones. A shorter season that
is known is taken out by a b that is a multiple of it. Neither a trend, nor a random walk, nor white
noise leaves an autocorrelation in d at lags beyond 2 b, but a season does. At the lag p the
autocorrelation, pooled over the series, must be above

- noise: so many standard errors;
- a floor, below which a lag says nothing that is worth an input;
- its neighbours: the median of those from p / 2 to 3 p / 2, or the mean of these two;

and a quarter of it must be left at the lag 2 p, where there are values enough to tell: a moving
average's correlation is not repeated.

What the frequency suggests has to pass this; what nothing suggests must be the highest of its
neighbours, and pass it with a higher floor and more standard errors, as hundreds of lags are tried.

Then the data say how long it is, by the mean correlation at the multiples of p: of periods close
by, and of those up to a quarter off where a suggested one is at the edge of these. Where that is as
high at what was suggested, but for two standard errors of the difference (at a usual period, one),
that is the season: some of M4's hourly series return after 23 hours. A suggested period whose parts
are alike is a multiple of the season: a wave of 13 weeks is no year.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from seqjax.forecast.calendar import cycles_of
from seqjax.forecast.correlation import Correlation, correlation_of
from seqjax.forecast.panel import Panel, typical_length

_SAMPLE = 200  # series that are looked at
_VALUES = 2_000_000  # that are looked at
_MOST = 3  # seasons
# Of steps without dates: quarters, weekdays, months, hours, ...
_USUAL = (4, 5, 7, 12, 24, 30, 48, 52, 96, 144, 168, 288, 336, 365, 672)
_CYCLES = 12  # that tell a period apart from those close by
_TIE = 2.0  # standard errors that a suggested period may be worse by; others half of it
_ALIKE = 0.3  # part of a season's correlation
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
            period = sample.refined(period, found, [period], expected=True)
            if period not in found and period <= typical // 2:
                found.append(period)
    sure = tuple(found)
    period = 2 * max(found, default=1)
    while period <= limit and len(found) < _MOST:
        if sample.has(period, found, _UNEXPECTED, peak=True):
            period = sample.refined(period, found, usual)
            echoes = {one for one in found if one < 4 or sample.explains(period, one)}
            found = [*(one for one in found if one in sure or one not in echoes), period]
            week, more = 7 * period, period in _OF_DAYS and len(found) < _MOST
            if more and week <= limit and sample.has(week, found, _SUGGESTED):
                found.append(week)
            period = 2 * found[-1]
        else:
            period += 1
    return tuple(found)


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
        self.known: dict[int, Correlation] = {}

    def correlation(self, width: int) -> Correlation:
        if width not in self.known:
            self.known[width] = correlation_of(self.values, self.ends, width)
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
        at, error, _ = self.correlation(width)
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
        at, error, _ = self.correlation(1)
        beside = [one for one in (period - inner, period + inner) if one < len(at)]
        return period < len(at) and bool(
            at[period] - max(at[one] for one in beside) > bar.least(error[period])
        )

    def refined(
        self, period: int, found: list[int], usual: Sequence[int], *, expected: bool = False
    ) -> int:
        """The period that the correlation at its multiples tells; a usual one, but for its error.

        Args:
            period: about so many steps.
            found: shorter seasons.
            usual: periods that win ties.
            expected: the period is what a frequency suggests, and need be no peak.
        """
        both = [self.correlation(width) for width in _widths(period, found)]
        one = max(both, key=lambda one: one.at[period])
        part, tie = (10, _TIE) if expected else (20, _TIE / 2)
        cycles = one.cycles(1.25 * period, _CYCLES if expected else one.lasting(period, _CYCLES))
        tried, fits = one.around(period, max(1.4, period / part), cycles)
        if expected and fits.argmax() in (0, len(fits) - 1):  # it lies farther away
            tried, fits = one.around(period, period / 4, cycles)
        best, whole = int(fits.argmax()), np.round(tried).astype(int)
        for each in usual:
            if (close := np.flatnonzero(whole == each)).size:
                rival = int(close[fits[close].argmax()])
                error = one.error_between(tried[best], tried[rival], cycles)
                if fits[best] - fits[rival] <= tie * error:
                    best = rival
                    break
        period, longest = int(whole[best]), 2 * max(found, default=1)
        for parts in range(min(_CYCLES, period // max(longest, 3)), 1, -1) if expected else ():
            part = round(tried[best] / parts)
            whole_steps = abs(parts * part - tried[best]) <= period / 50
            if whole_steps and one.repeats(tried[best], parts, cycles, _ALIKE):
                return part
        return period

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
