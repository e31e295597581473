"""Generated panels whose noise is known: for tests, examples and measures of calibration.

Every series is a mean that can be forecast and noise that cannot, independent from step to step:

    mean[t] = level + trend t + season(t) + effect of a covariate
    y[t] ~ law(mean[t])

so that the quantiles of every step are known at any horizon, and an interval of 80 % that is as
narrow as can be is that between the quantiles 0.1 and 0.9.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from seqjax.storage.strict_json import nearest


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a panel is generated from.

    Attributes:
        freq: of the times, a pandas alias.
        seasons: periods, in steps.
        noise: the law: "gaussian", "student_t" (3 degrees of freedom), "counts" (negative
            binomial, variance mean + mean^2 / 4) or "intermittent" (0 at three steps of four,
            otherwise 1 and more).
        gaps: part of the steps that are missing: half of them have no row, half NaN.
        unequal: series end together but begin anywhere, the shortest with 3 steps.
        covariate: a promotion, known ahead: column "promotion", 0 or 1.
    """

    freq: str = "D"
    seasons: tuple[int, ...] = (7,)
    noise: str = "gaussian"
    gaps: float = 0.0
    unequal: bool = False
    covariate: bool = False


RECIPES = {
    "gaussian": Recipe(),
    "student_t": Recipe(noise="student_t"),
    "counts": Recipe(noise="counts"),
    "intermittent": Recipe(noise="intermittent"),
    "monthly": Recipe("MS", (12,)),
    "weekly": Recipe("W", (52,)),
    "hourly": Recipe("h", (24, 168)),
    "short": Recipe("MS", (12,), unequal=True),
    "gaps": Recipe(gaps=0.1),
    "covariate": Recipe(covariate=True),
}


class _Process(NamedTuple):
    mean: np.ndarray  # [series, length]
    sd: np.ndarray  # [series, 1], of Gaussian noise, in the unit of the mean
    promotion: np.ndarray  # [series, length]
    first: np.ndarray  # [series], the first step that there is
    rng: np.random.Generator


def panel(name: str, series: int, length: int, seed: int = 0) -> pd.DataFrame:
    """A long frame of generated series.

    Args:
        name: of the recipe, a key of `RECIPES`.
        series: how many.
        length: steps of the longest.
        seed: of everything.

    Returns:
        Columns unique_id, ds, y, and "promotion" where the recipe has one.

    Raises:
        ValueError: for a name that is none.

    Example:
        >>> panel("counts", series=2, length=2)
          unique_id         ds     y
        0        s0 2020-01-01  36.0
        1        s0 2020-01-02  92.0
        2        s1 2020-01-01  12.0
        3        s1 2020-01-02   0.0
    """
    recipe, process = _process(name, series, length, seed)
    uniform = process.rng.uniform(size=process.mean.shape)
    y = _quantile(recipe, process, uniform)
    states = process.rng.uniform(size=y.shape)
    y = np.where(states < recipe.gaps / 2, np.nan, y)
    there = (states < 1 - recipe.gaps / 2) & (np.arange(length) >= process.first[:, None])
    there[:, -1] = True
    width = len(str(series - 1))
    ids = np.array([f"s{i:0{width}}" for i in range(series)])
    times = pd.date_range("2020-01-01", periods=length, freq=recipe.freq)
    row, step = np.nonzero(there)
    columns = {"unique_id": ids[row], "ds": times[step], "y": y[there]}
    if recipe.covariate:
        columns["promotion"] = process.promotion[there]
    return pd.DataFrame(columns)


def quantiles(
    name: str, series: int, length: int, levels: Sequence[float], seed: int = 0
) -> np.ndarray:
    """The true quantiles of every step of `panel` with the same arguments.

    Args:
        name: of the recipe.
        series: how many.
        length: steps.
        levels: within (0, 1).
        seed: as of the panel.

    Returns:
        [series, length, levels], steps of the longest series and those that are missing included.

    Raises:
        ValueError: for a name that is none.

    Example:
        >>> quantiles("gaussian", 3, 10, [0.1, 0.5, 0.9]).shape
        (3, 10, 3)
    """
    recipe, process = _process(name, series, length, seed)
    return np.stack([_quantile(recipe, process, level) for level in levels], axis=-1)


def _process(name: str, series: int, length: int, seed: int) -> tuple[Recipe, _Process]:
    if name not in RECIPES:
        hint = nearest(name, RECIPES)
        raise ValueError(f"There is no generated panel {name!r} among {', '.join(RECIPES)}.{hint}")
    recipe = RECIPES[name]
    rng = np.random.default_rng(seed)
    size = 10 ** rng.uniform(0.5, 2.5, size=(series, 1))  # of a series, from 3 to 300
    mean = np.ones((series, length)) + rng.normal(0, 0.3, (series, 1)) * np.arange(length) / 500
    for period in recipe.seasons:
        # Two waves of any phase.
        for wave, height in ((1, 0.3), (2, 0.15)):
            phase = rng.uniform(0, 2 * np.pi, (series, 1))
            mean += height * np.sin(2 * np.pi * wave * np.arange(length) / period + phase)
    first = np.zeros(series, int)
    if recipe.unequal:
        first = rng.integers(0, max(length - 2, 1), size=series)
    promotion = np.zeros((series, length))
    if recipe.covariate:
        promotion = (rng.uniform(size=(series, length)) < 0.1).astype(float)
        mean += 0.5 * promotion
    return recipe, _Process(size * mean, 0.15 * size, promotion, first, rng)


def _quantile(recipe: Recipe, process: _Process, at: np.ndarray | float) -> np.ndarray:
    """The value that is not exceeded with probability `at`; of a uniform one a draw."""
    mean = process.mean
    if recipe.noise == "gaussian":
        return mean + process.sd * stats.norm.ppf(at)
    if recipe.noise == "student_t":
        return mean + process.sd * stats.t.ppf(at, 3)
    positive = np.maximum(mean, 0.05 * process.sd)
    if recipe.noise == "counts":
        return stats.nbinom.ppf(at, 4, 4 / (4 + positive))
    # 0 with probability 3/4; above it one more than a count.
    above = (np.asarray(at) - 0.75) / 0.25
    counts = 1 + stats.nbinom.ppf(np.clip(above, 0, 1), 4, 4 / (4 + positive))
    return np.where(above <= 0, 0.0, counts)
