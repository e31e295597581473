import numpy as np
import pandas as pd
import pytest

from seqjax.data import MILK_CSV, read_series
from seqjax.forecast.panel import panel_of
from seqjax.forecast.seasons import find

TURN = 2 * np.pi


def panel(count, steps, make, freq=None, seed=0):
    rng = np.random.default_rng(seed)
    found = panel_of({f"{i:04d}": make(rng, np.arange(steps)) for i in range(count)})
    if freq is not None:
        grid = pd.date_range("2020-01-01", periods=steps, freq=freq)
        found = found._replace(grid=grid)
    return found


def hourly(rng, t):
    """Two peaks a day, half as high on two days of the week."""
    profile = np.exp(-(((np.arange(24) - 7) / 2) ** 2)) + np.exp(-(((np.arange(24) - 17) / 2) ** 2))
    weekday = np.where((t // 24) % 7 > 4, 0.5, 1)
    return 6 * profile[t % 24] * weekday + 0.6 * rng.normal(size=len(t))


def daily(rng, t):
    week, year = 3 * rng.normal(size=7)[t % 7], 5 * np.sin(TURN * t / 365.25)
    return 20 + 0.01 * t + week + year + 2 * rng.normal(size=len(t))


def sunspots(rng, t):
    """Cycles of 9 to 13 steps, each of its own height."""
    lengths = rng.integers(9, 14, size=len(t))
    phase = np.concatenate([np.arange(one) / one for one in lengths])[: len(t)]
    heights = np.repeat(60 + 60 * rng.random(len(t)), lengths)[: len(t)]
    return heights * (1 - np.cos(TURN * phase)) + 8 * rng.normal(size=len(t))


def with_holes(rng, t):
    values = walk(rng, t) + 4 * rng.normal(size=7)[t % 7]
    return np.where(rng.random(len(t)) < 0.3, np.nan, values)


def walk(rng, t):
    return np.cumsum(rng.normal(size=len(t)))


def weak(rng, t):
    return 0.01 * t + 0.2 * np.sin(TURN * t / 12 + 6 * rng.random()) + 0.1 * rng.normal(size=len(t))


def smooth(rng, t):
    return np.sin(TURN * t / 52 + 6 * rng.random()) + 0.1 * rng.normal(size=len(t))


def demand(rng, t):
    return rng.poisson(np.where(t % 7 > 4, 0.8, 0.1)).astype(float)


@pytest.mark.parametrize(
    ("made", "seasons"),
    [
        (panel(5, 900, hourly, "h"), (24, 168)),
        (panel(5, 900, hourly), (24, 168)),
        (panel(5, 1100, daily, "D"), (7, 365)),
        (panel(20, 500, with_holes, "D"), (7,)),
        (panel(50, 200, demand, "D"), (7,)),
        (panel(20, 300, lambda rng, t: walk(rng, t) + 4 * rng.normal(size=5)[t % 5], "B"), (5,)),
        (panel(1, 60, weak, "MS"), (12,)),
        (panel(30, 96, weak), (12,)),
        (panel(30, 23, weak, "MS"), ()),  # less than two years
        (panel(5, 260, lambda rng, t: weak(rng, t * 12 / 52.18), "W"), (52,)),
        (panel(20, 40, lambda rng, t: walk(rng, t) + 3 * rng.normal(size=4)[t % 4], "QS"), (4,)),
        (panel(5, 2000, lambda rng, t: hourly(rng, t // 2), "30min"), (48, 336)),
        (panel(1, 309, sunspots, "YS"), (11,)),
        (panel(1, 600, smooth), (52,)),  # and not 2, as noise makes it look
        (panel(1, 600, lambda rng, t: 3.0 * (t % 2) + rng.normal(size=len(t))), (2,)),
    ],
)
def test_seasons_are_found(made, seasons):
    assert find(made) == seasons


@pytest.mark.parametrize("freq", [None, "D", "h"])
@pytest.mark.parametrize(
    "make",
    [
        lambda rng, t: rng.normal(size=len(t)),
        walk,
        lambda rng, t: 0.05 * t + rng.normal(size=len(t)),
        lambda rng, t: rng.poisson(0.1, size=len(t)).astype(float),
    ],
)
def test_noise_has_none(make, freq):
    # Of a single series of noise one in fifty may pass; of a panel none does.
    assert find(panel(20, 500, make, freq)) == ()


def test_series_that_move_together_are_one_series():
    common = np.cumsum(np.random.default_rng(7).normal(size=500))
    assert find(panel(100, 500, lambda rng, t: 2 * common + 0.5 * walk(rng, t), "D")) == ()


def test_many_short_series_hide_no_season():
    long = panel(5, 200, lambda rng, t: 4 * rng.normal(size=7)[t % 7] + rng.normal(size=len(t)))
    series = {name: long.series(i) for i, name in enumerate(long.ids)}
    short = {f"short {i}": np.array([1.0, 2.0]) for i in range(20)}
    assert find(panel_of(series | short)) == find(panel_of(series)) == (7,)


def test_few_and_equal_values():
    assert find(panel_of({"a": [1.0], "b": [1.0, 2.0, np.nan]})) == ()
    assert find(panel_of({"a": np.ones(100), "b": np.full(100, np.nan)})) == ()


def test_the_milk_series():
    assert find(panel_of({"milk": read_series(MILK_CSV, "Date", "Production").to_numpy()})) == (12,)
