import itertools
import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from pandas.tseries.frequencies import to_offset

from seqjax.bench.forecasters import memory
from seqjax.data import DataError
from seqjax.forecast import blocks, frames, rows, saving, times
from seqjax.forecast.frames import panel_from_frame

MONTHS = pd.DateOffset(months=1)  # from the fourth to the fourth
FREQUENCIES = ["MS", "ME", "QE", "QS-FEB", "YS", "W-WED", "D", "B", "h", "15min", "2h", "2D", "2MS"]


def frame_of(freq="D", tz=None, lengths=(40, 25, 33), seed=0, **columns):
    """Series of unequal length that begin one step after the other."""
    rng = np.random.default_rng(seed)
    grid = pd.date_range("2023-01-04", periods=max(lengths) + len(lengths), freq=freq, tz=tz)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "unique_id": f"s{number}",
                    "ds": grid[number : number + length],
                    "y": rng.normal(size=length),
                }
            )
            for number, length in enumerate(lengths)
        ],
        ignore_index=True,
    ).assign(**columns)


@pytest.mark.parametrize("tz", [None, "Europe/Berlin"])
@pytest.mark.parametrize("freq", [*FREQUENCIES, MONTHS])
def test_a_frame_in_any_order_with_gaps(freq, tz, monkeypatch):
    monkeypatch.setattr(blocks, "ROWS", 7)  # read block by block
    frame = frame_of(freq, tz)
    grid = pd.DatetimeIndex(np.sort(frame["ds"].unique()), freq=freq)
    dropped = [5, 6, 50, 80]
    panel, notes = panel_from_frame(frame.drop(dropped).sample(frac=1, random_state=1))
    assert panel.grid.equals(grid)
    assert panel.grid.dtype == frame["ds"].dtype
    expected = frame["y"].to_numpy(copy=True)
    expected[dropped] = np.nan
    np.testing.assert_array_equal(panel.values, expected)
    assert (panel.ids.tolist(), panel.origins.tolist()) == (["s0", "s1", "s2"], [0, 1, 2])
    assert panel.lengths.tolist() == [40, 25, 33]
    assert len(notes) == 2
    assert notes[0].startswith(
        "3 of 3 series have gaps: 4 steps that are absent are missing (first"
    )
    assert notes[1].startswith("2 of 3 series end before ")  # than the first
    assert "own end (first: 's1', " in notes[1]
    saved = json.loads(json.dumps(saving._grid_to_json(panel.grid)))
    assert saving._grid_from_json(saved).equals(grid)
    saved = json.loads(json.dumps(saving.freq_to_json(freq)))
    assert to_offset(saving.freq_from_json(saved)) == to_offset(freq)
    # What stands in order already is not copied.
    assert np.shares_memory(panel_from_frame(frame)[0].values, frame["y"].to_numpy())


def test_reading_needs_few_bytes_a_row(monkeypatch):
    """Numbers of series and times and a few marks; the values stay where they are."""
    monkeypatch.setattr(blocks, "ROWS", 2**11)
    frame = memory.frame_of(2000, 50)
    tracemalloc.start()
    panel, _ = panel_from_frame(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.shares_memory(panel.values, frame["y"].to_numpy())
    assert peak < 20 * len(frame)


@pytest.mark.parametrize("freq", ["MS", "B", "h", MONTHS])
def test_the_times_behind_come_back(freq):
    frame = frame_of(freq, "Europe/Berlin")
    panel, _ = panel_from_frame(frame)
    values = np.arange(9.0).reshape(3, 3)
    names = {"GRU-hi-80": values, "GRU": values, "GRU-lo-80": values, "GRU-lo-95": values}
    future = frames.future_frame(panel, names | {"GRU-hi-95": values, "GRU-median": values})
    order = "GRU GRU-median GRU-lo-95 GRU-lo-80 GRU-hi-80 GRU-hi-95"
    assert " ".join(future) == f"unique_id ds {order}"
    assert future["ds"].dtype == frame["ds"].dtype
    assert set(map(str, future.dtypes[2:])) == {"float64"}
    for number, name in enumerate(("s0", "s1", "s2")):
        part = future[future["unique_id"] == name]
        last = panel.grid[panel.origins[number] + panel.lengths[number] - 1]
        expected = pd.date_range(last, periods=4, freq=freq)[1:]
        assert pd.DatetimeIndex(part["ds"]).equals(expected)
        assert part["GRU"].tolist() == values[number].tolist()


def test_windows_within_the_series():
    panel, _ = panel_from_frame(frame_of("D"))
    series, last = np.array([0, 2]), panel.starts[[0, 2]] + 9
    found = frames.window_frame(panel, series, last, {"y": np.ones((2, 2))}, id_column="id")
    assert list(found) == ["id", "ds", "cutoff", "y"]
    assert found["cutoff"].tolist() == list(panel.grid[[9, 9, 11, 11]])
    assert found["ds"].tolist() == list(panel.grid[[10, 11, 12, 13]])


def test_whole_numbers_and_names_of_any_type():
    pairs = itertools.product([7, 3], range(1990, 2030, 10))
    frame = pd.DataFrame([(one, ds, float(ds)) for one, ds in pairs], columns=["store", "t", "y"])
    panel, _ = panel_from_frame(frame.drop(1), id_column="store", time_column="t")
    assert panel.grid.equals(pd.RangeIndex(1990, 2030, 10))
    assert panel.ids.tolist() == [3, 7]
    future = frames.future_frame(panel, {"GRU": np.zeros((2, 2))}, id_column="store")
    assert future["ds"].tolist() == [2030, 2040] * 2
    assert (future["store"].dtype, future["ds"].dtype) == (np.int64, np.int64)


def test_texts_of_dates_and_a_single_series():
    frame = pd.DataFrame({"ds": ["2024-03-31", "2024-01-31", "2024-02-29"], "sales": [3, 1, None]})
    panel, notes = panel_from_frame(frame, target_column="sales")
    assert (panel.ids.tolist(), panel.grid.freqstr) == (["sales"], "ME")
    np.testing.assert_array_equal(panel.values, [1, np.nan, 3])
    assert notes == (
        "1 row(s) have no value, in 1 of 1 series: missing (first: series 'sales' at 2024-02-29)",
    )


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("mask", [1, np.nan, np.nan, 4, np.nan, 8, np.nan]),
        ("interpolate", [1, 2, 3, 4, 6, 8, np.nan]),
        ("zero", [0, 1, 0, 0, 4, 0, 8, 0]),
    ],
)
def test_missing_values(missing, expected):
    days = pd.date_range("2024-01-01", periods=8)
    y = [np.nan, 1, np.nan, 4, np.nan, 8, np.nan]  # the fourth day has no row
    frame = pd.DataFrame({"ds": days[[0, 1, 2, 4, 5, 6, 7]], "y": y})
    more = pd.DataFrame({"ds": days, "y": 1.0, "unique_id": "b"})  # its neighbour in the panel
    both = pd.concat([frame.assign(unique_id="a"), more])
    panel, notes = panel_from_frame(both, missing=missing)
    np.testing.assert_array_equal(panel.series(0), expected)
    np.testing.assert_array_equal(panel.series(1), np.ones(8))
    assert len(notes) == (1 if missing == "zero" else 3)
    with pytest.raises(DataError, match=r"series 'a', 2024-01-04 has no row: 1 step\(s\) are"):
        panel_from_frame(both, gaps="error")
    with pytest.raises(DataError, match=r"row 0, column 'y': series 'a' at 2024-01-01 is missing;"):
        panel_from_frame(frame[:3].assign(unique_id="a"), missing="error")


def test_covariates():
    frame = frame_of("D", promo=True, heat=np.arange(98.0))
    sizes = pd.DataFrame({"unique_id": ["s2", "s9", "s0", "s1"], "size": [2, 9, 0, 1]})
    panel, _ = panel_from_frame(
        frame.drop(5), past=["heat"], known=["promo"], static_frame=sizes, static=["size"]
    )
    assert panel.past[4:7, 0].tolist() == pytest.approx([4, np.nan, 6], nan_ok=True)
    assert panel.known.all()  # the absent step has the value before it
    assert panel.static.tolist() == [[0], [1], [2]]
    assert (panel.past_names, panel.known_names, panel.static_names) == (
        ("heat",),
        ("promo",),
        ("size",),
    )
    ahead = frames.future_frame(panel, {"promo": np.arange(12.0).reshape(3, 4)})
    shuffled = ahead.sample(frac=1, random_state=0)
    assert frames.known_future(panel, shuffled, 4)[..., 0].tolist() == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    for spoilt, message in (
        (ahead.drop(5), r"no row of series 's1' at 2023-01-31; it needs one for each of the 4"),
        (pd.concat([ahead, ahead[6:7]]), r"series 's1' at 2023-02-01 stands there a second time"),
        (ahead.replace({"promo": {6.0: np.nan}}), r"row 6, column 'promo': series 's1' at 2023-02"),
        (ahead.assign(promo="no"), "row 0, column 'promo': 'no' is a str, not a number"),
        (
            ahead.assign(ds=range(12)),
            "the times of the series are dates without a time zone, those of futr_df whole num",
        ),
        (ahead.drop(columns="promo"), "futr_df.* has no column 'promo'"),
    ):
        with pytest.raises(DataError, match=message):
            frames.known_future(panel, spoilt, 4)
    for spoilt, message in (
        (None, "static covariates size need a frame"),
        (sizes[1:], r"lacks 1 of 3 series \(first: 's2'\)"),
        (pd.concat([sizes, sizes]), "row 4, column 'unique_id': series 's2' stands there a second"),
        (sizes.assign(size=[2, 9, None, 1]), "row 2, column 'size': series 's0' is missing"),
    ):
        with pytest.raises(DataError, match=message):
            panel_from_frame(frame, static_frame=spoilt, static=["size"])
    with pytest.raises(DataError, match="row 3, column 'promo': series 's0' at 2023-01-07 is miss"):
        panel_from_frame(frame.assign(promo=[1, 1, 1, None] + [1] * 94), known=["promo"])


MONTHS = pd.date_range("2024-01-01", periods=6, freq="MS")


def changed(row, column, value):
    frame = pd.DataFrame({"unique_id": "a", "ds": MONTHS, "y": 1.0}).astype(object)
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (pd.DataFrame({"ds": [], "y": []}), {}, "the frame is empty"),
        (frame_of().rename(columns={"y": "Y1"}), {}, "no column 'y'; its columns are"),
        (frame_of(), {"target_column": "yy"}, "no column 'yy'.* Did you mean 'y'"),
        (frame_of(), {"id_column": "id"}, "no column 'id'"),
        (pd.DataFrame({"y": 1.0}, MONTHS), {}, r"in its index\? Then pass frame.reset_index"),
        (changed(2, "ds", MONTHS[1]), {}, "row 2, column 'ds': series 'a' at 2024-02-01 stands"),
        (changed(2, "y", np.inf), {}, "row 2, column 'y': inf is not finite"),
        (changed(2, "y", "1.5"), {}, "row 2, column 'y': '1.5' is a str.*pd.to_numeric"),
        (changed(2, "ds", "x"), {}, "row 2, column 'ds'|row 0, column 'ds'"),
        (changed(2, "ds", None), {}, "row 2, column 'ds': the time is missing"),
        (changed(2, "unique_id", None), {}, "row 2, column 'unique_id': the series' name is miss"),
        (changed(2, "ds", MONTHS[2].tz_localize("UTC")), {}, "row 2, column 'ds': .*another time"),
        (
            changed(2, "ds", pd.Timestamp("2024-03-02")),
            {},
            "2024-03-02 is off the grid of frequency MS; the nearest there is 2024-03-01",
        ),
        (frame_of(y=np.nan), {}, "series 's0' at .* and all others of its values are missing"),
        (frame_of()[:1], {}, "no regular frequency can be inferred from 1 time.*; pass freq"),
        (
            frame_of(),
            {"freq": "W"},
            "is off the grid of frequency W-SUN; the nearest there is 2023",
        ),
        (frame_of(), {"freq": "month"}, "'month' is no frequency that pandas knows"),
        (frame_of(), {"freq": 1}, "freq 1 is no frequency"),
        (frame_of(ds=range(98)), {"freq": "D"}, "freq 'D' is none of whole numbers"),
        (frame_of(ds=1.5), {}, "1.5 is a float64, not a time|1.5 is a float, not a time"),
        (frame_of(ds="01/31/2024"), {}, r"fit '%m/%d/%Y': pd.to_datetime\(frame\['ds'\], format="),
        (frame_of(x="red"), {"past": ["x"]}, "row 0, column 'x': 'red' is a str.*get_dummies"),
        (frame_of(x=1e300), {"past": ["x"]}, "too large for float32"),
    ],
)
def test_errors_name_the_row_and_a_way_out(frame, options, message):
    with pytest.raises(DataError, match=message):
        panel_from_frame(frame, **options)


def test_the_hour_at_which_clocks_are_put_back_is_there_twice():
    hours = pd.date_range("2024-10-26", periods=72, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"ds": pd.Series(list(hours.to_pydatetime()), dtype=object), "y": 1.0})
    panel, notes = panel_from_frame(frame)
    assert panel.grid.equals(hours)
    assert notes == ()
    with pytest.raises(DataError, match=r"02:00:00 stands there a second time.*tz_localize"):
        panel_from_frame(frame.assign(ds=hours.tz_localize(None)))
    utc = pd.DataFrame({"ds": hours.tz_convert("UTC"), "y": 1.0})  # equal times are seen first
    with pytest.raises(
        DataError, match=r"row 98, column 'ds'.*time zone \(UTC\) than the times be"
    ):
        panel_from_frame(pd.concat([frame, utc]))


def test_days_keep_their_dates_whatever_the_offset():
    days = pd.date_range("2024-03-20", periods=20, tz="Europe/Berlin")  # across a change of clocks
    frame = pd.DataFrame({"ds": [one.isoformat() for one in days], "y": np.arange(20.0)})
    panel, notes = panel_from_frame(frame)
    assert panel.grid.equals(days.tz_localize(None))
    assert "several offsets from UTC: left out" in notes[0]
    summer = times.in_zone_of(frame.tail(5), "ds", panel.grid)  # of one offset
    assert summer["ds"].tolist() == list(panel.grid[-5:])
    known = panel._replace(known_names=("price",))
    ahead = pd.DataFrame({"ds": ["2024-04-09T00:00+02:00"], "price": [3.0]})
    assert frames.known_future(known, ahead, 1).tolist() == [[[3.0]]]
    same = times.in_zone_of(summer, "ds", days)
    assert same["ds"].tolist() == list(days[-5:])
    winter, _ = panel_from_frame(frame.head(12))  # all of one offset, the next of another
    for first in ("2024-04-01T00:00+02:00", "2024-03-31T23:00Z"):
        ahead = pd.DataFrame({"ds": [first], "price": [3.0]})
        known = winter._replace(known_names=("price",))
        assert frames.known_future(known, ahead, 1).tolist() == [[[3.0]]]
    last = pd.Timestamp("2024-01-30") + np.arange(9) * pd.DateOffset(months=1)
    with pytest.raises(
        DataError, match=r"or write the last day of each month: frame\['ds'\] \+ pd.o"
    ):
        panel_from_frame(pd.DataFrame({"ds": last, "y": 1.0}))


@pytest.mark.parametrize(
    ("zone", "clock", "freq"),
    [
        ("Europe/Berlin", 0, "D"),
        ("Europe/Berlin", 0, "MS"),
        ("Europe/London", 0, "D"),
        ("America/New_York", 0, "W-SUN"),
        ("Pacific/Auckland", 0, "D"),
        ("America/New_York", 17, "B"),  # no midnights of Athens, where weekends would have values
    ],
)
def test_days_that_were_exported_in_utc(zone, clock, freq):
    days = pd.date_range("2022-01-01", periods=90 if freq == "W-SUN" else 500, freq=freq)
    utc = (days + pd.Timedelta(hours=clock)).tz_localize(zone).tz_convert("UTC")
    assert len({f"{time:%H}" for time in utc}) == 2
    for given in (utc, utc.tz_localize(None), utc.strftime("%Y-%m-%dT%H:%M:%SZ")):
        panel, notes = panel_from_frame(pd.DataFrame({"ds": given, "y": 1.0}))
        assert panel.grid.equals(pd.DatetimeIndex(days, freq=freq))
        assert "in UTC or so: taken for days" in notes[0]
    known = panel._replace(known_names=("price",))
    ahead = pd.DataFrame({"ds": [utc[-1] + (utc[-1] - utc[-2])], "price": [3.0]})
    if clock == 0 and freq == "D":  # of one hour alone
        assert frames.known_future(known, ahead, 1).tolist() == [[[3.0]]]


def test_what_is_no_frame():
    with pytest.raises(DataError, match=r"the frame is a Series; pass series.rename\(.y.\)"):
        rows.require(pd.Series([1.0]), ["y"])


def test_one_wrong_time_does_not_fill_the_memory():
    times = pd.to_datetime([0, 1_700_000_000, 1_700_000_001], unit="s")
    with pytest.raises(DataError, match=r"would be 1,700,000,\d+ steps of 's'; is one of them"):
        panel_from_frame(pd.DataFrame({"ds": times, "y": 1.0}), freq="s")


def test_the_grid_runs_through_most_times():
    frame = frame_of("h", lengths=(40, 40, 40))
    early = frame["ds"].min() - pd.Timedelta(minutes=90)
    odd = pd.DataFrame({"unique_id": ["s9"], "ds": [early], "y": [1.0]})
    with pytest.raises(DataError, match=r"series 's9' at 2023-01-03 22:30:00 is off .*1 of 121"):
        panel_from_frame(pd.concat([odd, frame]))


def test_seldom_sold_goods_are_on_the_grid_of_all():
    rng = np.random.default_rng(0)
    whole = frame_of("D", lengths=(60,) * 30)
    panel, _ = panel_from_frame(whole[rng.random(len(whole)) < 0.2])
    assert panel.grid.freqstr == "D"


def test_utilsforecast_reads_our_frames():
    losses = pytest.importorskip("utilsforecast.losses")
    processing = pytest.importorskip("utilsforecast.processing")
    panel, _ = panel_from_frame(frame_of("MS"))
    last = panel.stops - 3
    values = {"y": panel.values[last[:, None] + [1, 2]], "GRU": np.zeros((3, 2))}
    found = frames.window_frame(panel, np.arange(3), last, values)
    theirs = losses.mae(found, ["GRU"]).set_index("unique_id")["GRU"]
    np.testing.assert_allclose(theirs[panel.ids], np.abs(values["y"]).mean(axis=1))
    # Its own idea of the times behind every series is ours.
    ours = frames.future_frame(panel, {"GRU": np.zeros((3, 2))})
    theirs = processing.make_future_dataframe(
        pd.Series(panel.ids), pd.Series(panel.grid[panel.origins + panel.lengths - 1]), "MS", 2
    )
    pd.testing.assert_frame_equal(ours[["unique_id", "ds"]], theirs, check_dtype=False)


@pytest.mark.parametrize(("form", "freq"), [("%Y%m%d", "ME"), ("%Y%m", "MS")])
def test_whole_numbers_that_are_dates(form, freq):
    months = pd.date_range("2023-10-31", periods=5, freq=freq)
    panel, notes = panel_from_frame(
        pd.DataFrame({"ds": months.strftime(form).astype(int), "y": 1.0})
    )
    assert panel.grid.equals(months)
    assert notes[0].startswith("column 'ds': whole numbers such as 2023")
