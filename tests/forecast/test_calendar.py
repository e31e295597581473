import numpy as np
import pandas as pd
import pytest

from seqjax.data import DataError
from seqjax.forecast import calendar


@pytest.mark.parametrize(
    ("freq", "shown"),
    [
        ("MS", "month_of_year"),
        ("QE", "month_of_year"),
        ("W-SUN", "day_of_year"),
        ("D", "day_of_week day_of_month day_of_year"),
        ("B", "day_of_week day_of_month day_of_year"),
        ("h", "time_of_day day_of_week day_of_year"),
        ("15min", "minute_of_hour time_of_day day_of_week"),
        ("s", "second_of_minute minute_of_hour time_of_day"),
        ("YS", ""),
    ],
)
def test_the_cycles_of_each_frequency(freq, shown):
    names, values = calendar.features(pd.date_range("2023-01-01", periods=100, freq=freq))
    assert names == tuple(f"{name}_{w}" for name in shown.split() for w in ("sin", "cos"))
    assert values.shape == (100, len(names))
    assert values.dtype == np.float32
    assert np.abs(values).max(initial=0) <= 1
    # sin^2 + cos^2 = 1 in every pair, and no pair stands still.
    pairs = values.reshape(100, -1, 2)
    np.testing.assert_allclose((pairs**2).sum(-1), 1, atol=1e-6)
    assert (np.ptp(pairs, axis=0).max(axis=-1) > 5e-3).all()


def test_equal_places_of_a_cycle_have_equal_features():
    names, values = calendar.features(pd.date_range("2023-01-01", periods=24 * 14, freq="h"))
    daily, weekly = names.index("time_of_day_sin"), names.index("day_of_week_cos")
    np.testing.assert_allclose(values[:24, daily], values[24:48, daily], atol=1e-6)
    np.testing.assert_allclose(values[:168, weekly], values[168:, weekly], atol=1e-6)
    assert np.unique(values[:168, weekly].round(4)).size > 80  # the hours of a week differ


def test_times_with_a_zone_go_by_the_wall_clock():
    grid = pd.date_range("2024-03-30", periods=48, freq="h", tz="Europe/Berlin")
    names, values = calendar.features(grid)
    hour = np.asarray(grid.hour)  # 2 o'clock is missing on the second day
    np.testing.assert_allclose(
        values[:, names.index("time_of_day_sin")], np.sin(2 * np.pi * hour / 24), atol=1e-6
    )


@pytest.mark.parametrize("freq", ["MS", "ME", "W-WED", "D", "B", "h", "15min", "2MS", "YE"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_an_extended_grid_is_the_longer_range(freq, zone):
    whole = pd.date_range("2024-01-01", periods=40, freq=freq, tz=zone, unit="s")
    longer = calendar.extend(whole[:25], 15)
    assert longer.equals(whole)
    assert (longer.freq, longer.dtype) == (whole.freq, whole.dtype)


def test_whole_numbers_have_no_calendar():
    assert calendar.features(pd.RangeIndex(5))[1].shape == (5, 0)
    assert calendar.extend(pd.RangeIndex(1990, 2000), 3).equals(pd.RangeIndex(1990, 2003))


def test_the_end_of_time():
    grid = pd.date_range("2262-01-01", periods=3, freq="MS", unit="ns")
    with pytest.raises(DataError, match=r"99 steps of MS behind 2262-03-01.*as_unit"):
        calendar.extend(grid, 99)
    with pytest.raises(DataError, match="no frequency; pass freq"):
        calendar.features(pd.DatetimeIndex(["2024-01-01", "2024-01-03", "2024-01-04"]))
