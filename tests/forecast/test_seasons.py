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


def parts(rng, t):
    return rng.poisson(0.3 * np.exp(0.9 * np.sin(TURN * t / 7))).astype(float)


def two_waves(rng, t):
    wave = np.sin(TURN * t / 24) + 0.5 * np.sin(2 * TURN * t / 24)
    return 3 * wave * np.where(t // 24 % 7 > 4, 0.5, 1) + 0.7 * rng.normal(size=len(t))


def three_and_a_week(rng, t):
    """Seasons of 6, 42, 96 and 7 * 96 steps."""
    wave = np.sin(TURN * t / 96) * np.where(t // 96 % 7 > 4, 0.3, 1)
    sharp = rng.normal(size=6)[t % 6] + rng.normal(size=42)[t % 42]
    return 4 * wave + sharp + 0.1 * rng.normal(size=len(t))


def day_and(steps):
    def made(rng, t):
        peak = np.exp(-(((t % 24 - 12) / 3) ** 2))
        return np.sin(TURN * t / steps) + 3 * peak + 0.3 * rng.normal(size=len(t))

    return made


def yearly(steps, level):
    def made(rng, t):
        wave = np.sin(TURN * t / steps + 6 * rng.random())
        return 0.01 * t + level * wave + np.cumsum(0.2 * rng.normal(size=len(t)))

    return made


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
        (panel(8, 400, parts, "D"), (7,)),
        (panel(1, 900, two_waves, seed=110), (24, 168)),  # one alone: 23 and 24 are as high
        (panel(1, 96, yearly(12, 2)), (12,)),
        (panel(1, 300, yearly(52.18, 2), seed=105), (52,)),
        (panel(1, 80, yearly(13, 2), "28D"), (13,)),
        (panel(3, 900, yearly(261, 9), "B"), (261,)),
        (panel(2, 1200, day_and(150)), (24, 150)),  # and not six days
        (panel(2, 1200, day_and(150), "h"), (24, 150)),
        (panel(1, 2400, three_and_a_week, "4h", seed=1), (6, 42, 96)),  # three at most
        (panel(1, 600, smooth), (52,)),  # and not 2, as noise makes it look
        (panel(1, 600, lambda rng, t: 3.0 * (t % 2) + rng.normal(size=len(t))), (2,)),
        # What the data say, where it is not what the frequency suggests.
        (panel(3, 1600, yearly(250, 9), "B"), (250,)),
        (panel(1, 500, yearly(23, 1), "h"), (23,)),
        (panel(3, 260, yearly(13, 2), "W"), (13,)),
        (panel(1, 200, weak, "QS"), (12,)),
        (panel(1, 1500, day_and(350), "h"), (24, 350)),
    ],
)
def test_seasons_are_found(made, seasons):
    assert find(made) == seasons


@pytest.mark.parametrize("season", [23, 25, 29, 31, 50, 100])
def test_a_clear_season_is_no_usual_one_close_by(season):
    t = np.arange(12 * season)
    assert find(panel_of({"a": np.sin(TURN * t / season)})) == (season,)


@pytest.mark.parametrize("freq", [None, "D", "h"])
@pytest.mark.parametrize(
    "make",
    [
        lambda rng, t: rng.normal(size=len(t)),
        walk,
        lambda rng, t: 0.05 * t + rng.normal(size=len(t)),
        lambda rng, t: rng.poisson(0.1, size=len(t)).astype(float),
        lambda rng, t: (y := rng.normal(size=len(t) + 2))[2:] - 0.7 * y[1:-1] + 0.4 * y[:-2],
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
