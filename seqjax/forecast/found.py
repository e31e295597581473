"""What a panel holds, in words: for the terminal and the report."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from seqjax.forecast.outlook import when
from seqjax.forecast.panel import Panel, within
from seqjax.forecast.rows import name_of

_STEPS = {
    "min": "minute", "h": "hour", "D": "day", "B": "business day", "C": "business day",
    "W": "week", "MS": "month", "ME": "month", "QS": "quarter", "QE": "quarter", "YS": "year",
    "YE": "year", "s": "second", "<DateOffset: months=1>": "month",
    "<DateOffset: months=3>": "quarter", "<DateOffset: months=12>": "year",
}  # fmt: skip


def step_of(grid: pd.Index) -> str:
    """A step of a grid in words; "step" where it has no name.

    Example:
        >>> step_of(pd.date_range("2024", periods=3, freq="W-SUN")), step_of(pd.RangeIndex(3))
        ('week', 'step')
    """
    if not isinstance(grid, pd.DatetimeIndex):
        return "step"
    return _STEPS.get(str(grid.freqstr).partition("-")[0], "step")


def standing_still(panel: Panel) -> tuple[str, ...]:
    """A sentence on series that have two values and more, all the same.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> print(*standing_still(panel_of({"a": [1.0, 2.0], "b": [3.0, 3.0], "c": [3.0]})))
        1 of 3 series never vary: their intervals are a guess (first: 'b')
    """
    spread = [np.ptp(one[np.isfinite(one)]) for one in map(panel.series, range(len(panel.ids)))]
    still = (np.array(spread) == 0) & (panel.lengths > 1)
    if not still.any():
        return ()
    first = name_of(panel.ids[int(still.argmax())])
    return (
        f"{int(still.sum()):,} of {len(panel.ids):,} series never vary: their intervals are a guess"
        f" (first: {first})",
    )


def describe(panel: Panel, seasons: Sequence[int]) -> dict[str, Any]:
    """What the data are, by name.

    Args:
        panel: the series.
        seasons: found in them, in steps.

    Returns:
        Texts.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> panel = panel_of({"a": [1.0, float("nan"), 3.0], "b": [4.0, 5.0]})
        >>> for name, text in describe(panel, ()).items():
        ...     print(f"{name}: {text}")
        series: 2, of 2 to 3 steps
        times: 0 to 2, every 1
        seasons: none
        missing: 1 of 5 values
    """
    shortest, longest = int(panel.lengths.min()), int(panel.lengths.max())
    grid, count = panel.grid, len(panel.ids)
    step = step_of(grid)
    lengths = f"{longest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"
    last = int((panel.origins + panel.lengths).max()) - 1
    if isinstance(grid, pd.DatetimeIndex):
        alias = str(grid.freqstr)
        every = f"every {step} ({alias})" if step != "step" else f"every {alias}"
        if alias.startswith("<"):  # of pandas' code, no alias
            every = f"every {step}"
        every += f", {grid.tz}" if grid.tz is not None else ""
    else:
        every = f"every {grid[1] - grid[0]}" if len(grid) > 1 else "one"
    missing, values = int(np.sum(np.isnan(panel.values) & within(panel))), panel.lengths.sum()
    found = {
        "series": f"{count:,}, of {lengths} steps" if count > 1 else f"1, of {lengths} steps",
        "times": f"{when(grid[0])} to {when(grid[last])}, {every}",
        "seasons": ", ".join(f"{one} steps" for one in seasons) or "none",
        "missing": f"{missing:,} of {values:,} values" if missing else "none",
    }
    covariates = {
        "known ahead": panel.known_names,
        "known up to now": panel.past_names,
        "of the series": panel.static_names,
    }
    for name, columns in covariates.items():
        if columns:
            found[f"covariates {name}"] = ", ".join(columns)
    return found
