"""One series as a picture shows it: its last values, what was forecast of them, what comes."""

from typing import NamedTuple

import pandas as pd


class Outlook(NamedTuple):
    """A series with its forecasts.

    Attributes:
        title: the series' id, and what is to be said of it.
        history: columns ds and y; the values drawn.
        past: columns ds, cutoff and `name`: forecasts of held-out windows.
        future: columns ds, `name`, and for each level ``NAME-lo-LEVEL`` and ``NAME-hi-LEVEL``.
        name: of the model.
        levels: of the intervals, in percent.
    """

    title: str
    history: pd.DataFrame
    past: pd.DataFrame
    future: pd.DataFrame
    name: str
    levels: tuple[float, ...]

    def describe(self) -> str:
        """The picture in words."""
        first, last = self.future.iloc[0], self.future.iloc[-1]
        text = (
            f"{self.title}: {self.name} forecasts {first[self.name]:.4g} for {when(first['ds'])}"
            f" and {last[self.name]:.4g} for {when(last['ds'])}"
        )
        if self.levels:
            level = max(self.levels)
            low, high = (last[f"{self.name}-{side}-{level:g}"] for side in ("lo", "hi"))
            text += f", there between {low:.4g} and {high:.4g} at {level:g} %"
        return text + "."


def when(time: object) -> str:
    """A time in short: without a clock at midnight.

    Example:
        >>> when(pd.Timestamp("2024-03-01")), when(pd.Timestamp("2024-03-01 06:00")), when(7)
        ('2024-03-01', '2024-03-01 06:00', '7')
    """
    if not isinstance(time, pd.Timestamp):
        return str(time)
    return time.strftime("%Y-%m-%d" if time == time.normalize() else "%Y-%m-%d %H:%M")
