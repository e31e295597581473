"""The forecaster as its users call it, on little data and few steps."""

import json

import jax
import numpy as np
import pandas as pd
import pytest

from seqjax.data import DataError
from seqjax.forecast import Forecaster, Settings, auto, frames, training
from seqjax.forecast.fitting import _blocks
from seqjax.forecast.panel import hold_back
from seqjax.forecast.trained import rolling
from seqjax.train import TrainingStopped, options

SMALL = {"season": 4, "window": 8, "features": (4,), "seeds": 2, "steps": 20}
LEVEL = [80, 95]


def a_frame(count: int = 12, length: int = 60, seed: int = 0, **columns) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    t = np.arange(length)
    pieces = [
        pd.DataFrame(
            {
                "unique_id": f"s{i:02d}",
                "ds": pd.date_range("2020-01-01", periods=length - i, freq="QS"),
                "y": (100 + 10 * i + 20 * np.sin(np.pi * t / 2) + rng.normal(0, 3, length))[i:],
            }
        )
        for i in range(count)
    ]
    return pd.concat(pieces, ignore_index=True).assign(**columns)


FRAME = a_frame()


@pytest.fixture(scope="module")
def fitted() -> Forecaster:
    return Forecaster("gru", horizon=3, **SMALL).fit(FRAME)


def test_forecasts_stand_behind_each_series(fitted: Forecaster):
    found = fitted.predict(level=LEVEL)
    assert list(found) == [
        *("unique_id", "ds", "GRU", "GRU-median"),
        *("GRU-lo-95", "GRU-lo-80", "GRU-hi-80", "GRU-hi-95"),
    ]
    ends = FRAME.groupby("unique_id")["ds"].max()
    for name, group in found.groupby("unique_id"):
        expected = pd.date_range(ends[name], periods=4, freq="QS")[1:]
        assert group["ds"].tolist() == expected.tolist()
    columns = found.iloc[:, [4, 5, 2, 6, 7]].to_numpy()
    assert (np.diff(columns, axis=1) >= 0).all()
    # In any order of rows, and of a frame that is given again.
    again = fitted.predict(FRAME.sample(frac=1, random_state=0), level=LEVEL, baselines=True)
    pd.testing.assert_frame_equal(again[list(found)], found, rtol=1e-5)
    naive = list(again)[8:13]
    assert [one.removeprefix("last value") for one in naive] == [
        *("", "-lo-95", "-lo-80", "-hi-80", "-hi-95")
    ]
    expected = FRAME.groupby("unique_id")["y"].last()
    assert (
        again.groupby("unique_id")["last value"].unique().str[0].equals(expected.rename(naive[0]))
    )
    with pytest.raises(ValueError, match="baselines need the whole past"):
        fitted.predict(baselines=True)


def test_farther_horizons_go_on_from_nearer_ones(fitted: Forecaster):
    near, far = (fitted.predict(horizon=h, level=[1, 80]) for h in (3, 8))
    parts = far.groupby("unique_id").head(3).reset_index(drop=True)
    pd.testing.assert_frame_equal(parts, near, rtol=1e-6)
    assert not far.isna().any(axis=None)
    assert (far["GRU-lo-80"] < far["GRU-hi-80"]).all()
    assert far["GRU-median"].between(far["GRU-lo-1"], far["GRU-hi-1"]).all()
    # A block's forecasts are what the next one reads, of each network its own.
    trained = fitted._fitted()
    alone = Forecaster("gru", horizon=3, **SMALL)
    alone.settings, alone._tail = fitted.settings, fitted._tail
    alone._trained = trained._replace(params=trained.params[:1])
    far, near = (alone.predict(horizon=h) for h in (8, 3))
    first = near[["unique_id", "ds"]].assign(y=near["GRU"])
    then = alone.predict(pd.concat([FRAME, first]))["GRU"].to_numpy().reshape(12, 3)
    np.testing.assert_allclose(far["GRU"].to_numpy().reshape(12, 8)[:, 3:6], then, rtol=1e-4)


def test_saved_it_forecasts_the_same_without_its_data(fitted: Forecaster, tmp_path):
    fitted.save(tmp_path / "model")
    again = Forecaster.load(tmp_path / "model")
    for given in ({"horizon": 5, "level": LEVEL}, {"frame": FRAME[FRAME["unique_id"] == "s03"]}):
        pd.testing.assert_frame_equal(again.predict(**given), fitted.predict(**given))
    settings = tmp_path / "model" / "forecaster.json"
    saved = settings.read_text()
    other = json.loads(saved)
    wider = other | {"settings": other["settings"] | {"features": [5]}}
    for one in (other | {"format": 1}, wider):
        settings.write_text(json.dumps(one))
        with pytest.raises(DataError, match="of another version of seqjax"):
            Forecaster.load(tmp_path / "model")
    settings.write_text(saved)
    arrays = tmp_path / "model" / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:1000])
    with pytest.raises(DataError, match="damaged"):
        Forecaster.load(tmp_path / "model")
    with pytest.raises(DataError, match="there is no forecaster"):
        Forecaster.load(tmp_path)


def test_stopped_it_goes_on_where_it_was(tmp_path, monkeypatch):
    def linear(folder=None) -> pd.DataFrame:
        given = {"horizon": 3} | SMALL | {"seeds": 1}
        return Forecaster("linear", **given).fit(FRAME, folder=folder).predict(level=[80])

    asked = iter([False] * 30 + [True] * 100)
    with monkeypatch.context() as patch:
        patch.setitem(options._DEFAULTS, "stop", lambda: next(asked))  # within the second training
        with pytest.raises(TrainingStopped):
            linear(tmp_path)
    pd.testing.assert_frame_equal(linear(tmp_path), linear(), check_exact=True)


def test_a_stream_is_the_whole_series_at_constant_size(fitted: Forecaster):
    stream = fitted.stream("s02")
    one = FRAME[FRAME["unique_id"] == "s02"]
    sizes = set()
    for value in (3.0, np.nan, 170.0, 90.0):
        stream.observe(value)
        more = pd.DataFrame(
            {
                "unique_id": "s02",
                "ds": pd.date_range(one["ds"].max(), periods=2, freq="QS")[1:],
                "y": [value],
            }
        )
        one = pd.concat([one, more])
        whole = fitted.predict(one, level=[80], horizon=4)
        pd.testing.assert_frame_equal(stream.predict(level=[80], horizon=4), whole, rtol=1e-4)
        sizes.add(len(stream._panel.values))
    assert max(sizes) <= fitted.settings.history + 2  # and a value that was missing
    with pytest.raises(DataError, match="no series 'x'"):
        fitted.stream("x")


def test_series_never_seen_and_of_one_value_are_forecast(fitted: Forecaster):
    times = pd.date_range("2024-01-01", periods=1, freq="QS")
    new = pd.DataFrame({"unique_id": "new", "ds": times, "y": [7.0]})
    found = fitted.predict(new, horizon=4)
    np.testing.assert_allclose(found["GRU"], 7.0, atol=20)  # no other value is known
    assert found["ds"].tolist() == pd.date_range("2024-04-01", periods=4, freq="QS").tolist()


def test_cross_validation_sees_nothing_behind_its_cutoffs():
    model = Forecaster("gru", horizon=3, **SMALL)
    given = {"n_windows": 2, "step_size": 2, "level": [80], "baselines": True}
    found = model.cross_validation(FRAME, **given)
    assert list(found)[:8] == [
        *("unique_id", "ds", "cutoff", "y", "GRU", "GRU-median", "GRU-lo-80", "GRU-hi-80")
    ]
    assert {"drift", "seasonal naive, 4-lo-80", "seasonal naive, 4-hi-80"} < set(found)
    assert len(found) == 12 * 2 * 3
    actual = found.merge(FRAME, on=["unique_id", "ds"], suffixes=("", "_of_frame"))
    assert (actual["y"] == actual["y_of_frame"]).all()
    # Values behind the last cutoff change no forecast.
    last = found.groupby("unique_id")["cutoff"].transform("max")
    spoilt = FRAME.merge(found.assign(last=last)[["unique_id", "last"]].drop_duplicates())
    spoilt.loc[spoilt["ds"] > spoilt["last"], "y"] *= 100
    other = Forecaster("gru", horizon=3, **SMALL).cross_validation(spoilt, **given)
    np.testing.assert_allclose(other.iloc[:, 4:], found.iloc[:, 4:], rtol=1e-4)


def test_refitting_compiles_nothing_anew():
    model = Forecaster("linear", horizon=3, **SMALL)
    model.cross_validation(FRAME, n_windows=1, refit=True)
    before, compiled = _blocks.cache_info().misses, []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: (
            compiled.append(event) if event.endswith("backend_compile_duration") else None
        )
    )
    found = model.cross_validation(FRAME, n_windows=3, refit=True)
    assert found["cutoff"].groupby(found["unique_id"]).nunique().eq(3).all()
    assert _blocks.cache_info().misses == before
    assert not compiled


@pytest.mark.parametrize(
    "given",
    [
        {"loss": "quantile"},
        {"loss": "negative_binomial", "model": "linear"},
        {"transform": "log", "model": "linear"},
        {"transform": "difference", "strategy": "recursive", "model": "linear"},
        {"loss": "negative_binomial", "strategy": "recursive", "model": "linear"},
        {"strategy": "sequence", "model": "wavenet"},
    ],
    ids=lambda given: "-".join(given.values()),
)
def test_every_head_strategy_and_transform_forecasts(given: dict):
    given = {"model": "gru"} | given
    model = Forecaster(given.pop("model"), horizon=3, **SMALL | {"seeds": 1} | given).fit(FRAME)
    found = model.predict(horizon=4, level=LEVEL)
    name = model.name
    ends = [f"{name}-lo-95", f"{name}-lo-80", f"{name}-hi-80", f"{name}-hi-95"]
    columns = [*ends[:2], f"{name}-median", *ends[2:]]
    assert (np.diff(found[columns], axis=1) >= 0).all()
    near = found.groupby("unique_id").head(3)
    assert near[columns[0]].le(near[name]).all()
    assert near[name].le(near[columns[-1]]).all()
    # The forecast is the median, but of counts the mean.
    assert near[name].equals(near[f"{name}-median"]) == (model.settings.loss[:8] != "negative")
    # Within reach of the values, though hardly trained.
    ratio = found.groupby("unique_id")[name].mean() / FRAME.groupby("unique_id")["y"].mean()
    assert ratio.between(0.3, 3).all()


def test_covariates_are_read_and_must_be_there():
    rng = np.random.default_rng(1)
    frame = FRAME.assign(price=rng.normal(size=len(FRAME)), rain=rng.normal(size=len(FRAME)))
    static = pd.DataFrame({"unique_id": FRAME["unique_id"].unique(), "size": np.arange(12.0)})
    model = Forecaster(
        "gru",
        horizon=3,
        futr_exog_list=["price"],
        hist_exog_list=["rain"],
        stat_exog_list=["size"],
        **SMALL | {"seeds": 1},
    ).fit(frame, static)
    future = model_future(frame, 4)
    found = model.predict(horizon=4, futr_df=future)
    moved = future.assign(price=future["price"] + 3)
    assert (model.predict(horizon=4, futr_df=moved)["GRU"] != found["GRU"]).all()
    wetter = frame.assign(rain=frame["rain"] + 3)
    other = model.predict(wetter, horizon=4, futr_df=future, static_df=static)
    assert (other["GRU"] != found["GRU"]).all()
    with pytest.raises(DataError, match="price must be known for the 3 steps"):
        model.predict()


def model_future(frame: pd.DataFrame, steps: int) -> pd.DataFrame:
    ends = frame.groupby("unique_id")["ds"].max()
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "unique_id": name,
                    "ds": pd.date_range(end, periods=steps + 1, freq="QS")[1:],
                    "price": np.linspace(-1, 1, steps),
                }
            )
            for name, end in ends.items()
        ]
    )


def test_sample_paths_are_as_wide_as_the_intervals(fitted: Forecaster):
    paths = fitted.sample_paths(200, horizon=3)
    assert list(paths) == ["unique_id", "ds", "sample", "GRU"]
    assert len(paths) == 200 * 12 * 3
    ends = fitted.predict(level=[80]).set_index(["unique_id", "ds"])
    inside = paths.join(ends[["GRU-lo-80", "GRU-hi-80"]], on=["unique_id", "ds"])
    share = inside["GRU"].between(inside["GRU-lo-80"], inside["GRU-hi-80"]).mean()
    assert 0.7 < share < 0.9


def test_auto_measures_on_several_windows_and_says_so(monkeypatch):
    panel, _ = frames.panel_from_frame(FRAME)
    settings = Settings("gru", 3, (4,), window=8, features=(4,), seeds=2, steps=20)
    monkeypatch.setattr(auto, "CANDIDATES", ("linear", "gru"))
    seen = []

    def train_panel(candidate, before, **how):
        seen.append(before.lengths)
        return training.train_panel(candidate, before, **how)

    monkeypatch.setattr(auto, "train_panel", train_panel)
    with pytest.raises(DataError, match=r'"auto" needs 14 values .* but the longest has 12'):
        auto.choose(Settings("gru", 12), hold_back(panel, panel.lengths - 12))
    chosen, (tried,) = auto.choose(settings, panel, seconds=0.0)
    np.testing.assert_array_equal(seen, [panel.lengths - 3 * 3])
    assert (chosen.model, chosen.seeds, tried["windows"]) == ("linear", 2, 3)
    assert 0 < tried["error"] < 1  # by the scale of the window


def test_auto_chooses_anew_for_what_is_held_back(monkeypatch):
    panel, _ = frames.panel_from_frame(FRAME)
    seen = []
    chosen = (Settings("linear", 3), [])
    monkeypatch.setattr(auto, "choose", lambda _, one, **__: (seen.append(one.lengths), chosen)[1])
    model = Forecaster("auto", horizon=3)
    for one in (panel, hold_back(panel, 9)):
        model._prepare(one)
        assert model.settings.model == "linear"
    np.testing.assert_array_equal(seen, [panel.lengths, panel.lengths - 9])


def test_series_too_short_to_give_up_values_are_trained_on_as_a_whole(monkeypatch):
    short = FRAME[FRAME["unique_id"] < "s03"].groupby("unique_id").tail(14)
    panel, _ = frames.panel_from_frame(pd.concat([short, FRAME[FRAME["unique_id"] >= "s03"]]))
    model = Forecaster("linear", horizon=3, **SMALL | {"seeds": 1})
    plan = training.calibration_windows(model.settings, panel)
    assert plan.series.tolist() == [False] * 3 + [True] * 9
    seen, fit = [], training._fit
    monkeypatch.setattr(training, "_fit", lambda *a: (seen.append(a[2].lengths), fit(*a))[1])
    trained = training.train_panel(model.settings, panel)
    held = plan.held(3)
    assert (panel.lengths - seen[0]).tolist() == [0] * 3 + [held] * 9
    assert len(trained.residuals) == 9 * plan.windows
    # However many of them there are.
    pairs = pd.concat([FRAME.head(2).assign(unique_id=f"x{i:02d}") for i in range(30)])
    whole, panel = (frames.panel_from_frame(one)[0] for one in (FRAME, pd.concat([FRAME, pairs])))
    plan = training.calibration_windows(model.settings, panel)
    assert plan.series.sum() == 12
    assert plan.windows == training.calibration_windows(model.settings, whole).windows


def test_what_cannot_be_forecast_is_told():
    with pytest.raises(ValueError, match="not fitted yet"):
        Forecaster("gru", horizon=3).predict()
    with pytest.raises(
        TypeError, match=r"no argument 'idcolumn'. Did you mean 'id_column'\? It has"
    ):
        Forecaster("gru", horizon=3, idcolumn="shop")
    with pytest.raises(TypeError, match="Forecaster has no argument 'h': say horizon"):
        Forecaster("gru", h=3)  # as Nixtla's users know it
    with pytest.raises(TypeError, match="fit has no argument 'df': say frame"):
        Forecaster("gru", horizon=3).fit(df=FRAME)
    with pytest.raises(TypeError, match=r"cross_validation has .* say horizon, of Forecaster"):
        Forecaster("gru", horizon=3).cross_validation(FRAME, h=3)
    assert Forecaster("gru", horizon=3, features=32).settings.features == (32,)
    for name, wrong in (("learning_rate", 0.0), ("weight_decay", -1.0), ("features", [0])):
        with pytest.raises(ValueError, match=f"{name} must be"):
            Forecaster("gru", horizon=3, **{name: wrong})
    with pytest.raises(ValueError, match="at least 1 window and 1 step, not -3 and 3"):
        Forecaster("linear", horizon=3).cross_validation(FRAME, n_windows=-3)
    assert Forecaster("linear", horizon=3, level=80).settings.level == (80.0,)
    with pytest.raises(ValueError, match="periods are whole numbers of steps, 1 or more, not 0"):
        Forecaster("gru", horizon=3, season=[0, 7])
    short = FRAME.groupby("unique_id").head(1)
    with pytest.raises(DataError, match="column 'rain' has no value to train on; leave it out"):
        Forecaster(horizon=3, hist_exog_list="rain", **SMALL).fit(FRAME.assign(rain=np.nan))
    with pytest.raises(DataError, match="nothing to learn from"):
        Forecaster("linear", horizon=3, season=4, freq="QS", **{"steps": 2}).fit(short)
    few = FRAME[FRAME["unique_id"] == "s00"].head(9)
    model = Forecaster("linear", horizon=3, season=[4, 40], seeds=1, steps=2).fit(few)
    assert model.notes[-1].startswith("a season of 40 steps is no input")
    with pytest.raises(DataError, match="needs 4 calibration windows"):
        model.predict(level=[80])
    with pytest.raises(DataError, match="leave nothing of the longest"):
        model.cross_validation(few, n_windows=4)


def test_series_of_two_values_and_constant_ones_are_forecast():
    """Of two values calibration leaves one: no window has a target, no naive forecast a past."""
    frames = [
        pd.DataFrame({"unique_id": f"s{i:02d}", "ds": [0, 1], "y": [1.0, 2.0]}) for i in range(30)
    ]
    given = {"season": 1, "features": (4,), "steps": 10}
    found = Forecaster("linear", horizon=1, **given).fit(pd.concat(frames)).predict(level=[50])
    assert np.isfinite(found["Linear"]).all()
    still = pd.DataFrame({"unique_id": "a", "ds": range(60), "y": 5.0})
    found = Forecaster("linear", horizon=3, **given).fit(still).predict(level=[80])
    np.testing.assert_allclose(found.filter(like="Linear"), 5.0, rtol=1e-6)


def test_what_is_below_zero_may_be_forecast_there():
    """Counts are not; what falls below 0 after the windows of calibration is no count."""
    days = pd.date_range("2024-01-01", periods=60, freq="D")
    falling = pd.DataFrame({"unique_id": "a", "ds": days, "y": np.linspace(40, -20, 60)})
    model = Forecaster("linear", horizon=3, season=1, window=6, seeds=1, steps=20)
    assert (model.fit(falling).predict()["Linear"] < 0).all()
    assert not any("never vary" in note for note in model.notes)
    counts = pd.DataFrame({"unique_id": "b", "ds": days, "y": np.arange(60) % 7 == 0})
    counts["y"] = counts["y"].astype(float)
    found = model.fit(counts).predict(level=[80])
    assert (found[["Linear", "Linear-lo-80"]] >= 0).all(axis=None)


def test_a_series_that_stands_still_is_forecast_from_its_window_alone(fitted: Forecaster):
    still = FRAME[FRAME["unique_id"] == "s00"].assign(unique_id="still")
    still.loc[still.index[-20:], "y"] = 0.0
    tail = still.tail(fitted.settings.history + 1)
    pd.testing.assert_frame_equal(
        fitted.predict(still, level=[80]), fitted.predict(tail, level=[80]), rtol=1e-4, atol=1e-4
    )


def test_new_data_have_the_frequency_of_the_old(fitted: Forecaster):
    one = FRAME[FRAME["unique_id"] == "s01"]
    found = fitted.predict(one.tail(1).assign(unique_id="new"))
    assert found["ds"].iloc[0] == one["ds"].max() + pd.offsets.QuarterBegin(startingMonth=1)
    months = one.assign(ds=pd.date_range("2020-01-01", periods=len(one), freq="MS"))
    with pytest.raises(DataError, match="off the grid of frequency QS"):
        fitted.predict(months)


def test_new_data_are_read_by_the_clock_of_the_old(fitted: Forecaster):
    hours = pd.date_range("2024-03-30", periods=80, freq="h", tz="Europe/Berlin")
    texts = [time.isoformat() for time in hours]  # of two offsets, so taken to UTC
    frame = pd.DataFrame({"unique_id": "a", "ds": texts, "y": np.arange(80) % 5.0})
    model = Forecaster("linear", horizon=3, season=1, window=6, seeds=1, steps=10).fit(frame)
    summer = frame.tail(30)  # of one offset
    inferred = summer.assign(ds=pd.to_datetime(summer["ds"], utc=True))
    pd.testing.assert_frame_equal(model.predict(summer), model.predict(inferred))
    with pytest.raises(DataError, match="the times have no zone, but those of the training"):
        model.predict(inferred.assign(ds=inferred["ds"].dt.tz_localize(None)))
    with pytest.raises(DataError, match="the times have a zone, but those of the training"):
        fitted.predict(inferred)


def test_what_a_prediction_does_not_use_is_refused(fitted: Forecaster):
    assert list(fitted.predict(level=80)) == list(fitted.predict(level=[80]))
    with pytest.raises(DataError, match="futr_df is given, but none of its columns"):
        fitted.predict(futr_df=FRAME)
    with pytest.raises(DataError, match="static_df is of new series"):
        fitted.predict(static_df=FRAME)
    with pytest.raises(ValueError, match="horizon must be at least 1, a whole number, not 0"):
        fitted.sample_paths(3, horizon=0)
    with pytest.raises(ValueError, match="a value is infinite"):
        fitted.stream("s02").observe(np.inf)


def test_calibration_takes_every_day_of_the_week():
    days = pd.date_range("2024-01-01", periods=140, freq="D")
    rows = [
        pd.DataFrame({"unique_id": f"s{i}", "ds": days, "y": 10.0 + i + days.day_of_week})
        for i in range(100)
    ]
    frame = pd.concat(rows, ignore_index=True)
    frame = frame[frame["ds"].dt.day_of_week < 6]  # closed on Sundays
    model = Forecaster("linear", horizon=14, season=7, freq="D", seeds=1, steps=10).fit(frame)
    assert not model.predict(level=[80]).isna().any(axis=None)
    assert len(model.sample_paths(3)) == 3 * 100 * 14


def test_behind_missing_values_a_forecast_is_one_of_more_steps(fitted: Forecaster):
    """Of a series whose last two values are missing it is that of three steps and more."""
    whole = FRAME[FRAME["unique_id"] == "s01"]
    late = whole.copy()
    late.loc[late.index[-2:], "y"] = np.nan
    early = fitted.predict(whole.iloc[:-2], horizon=5, level=[80])
    found = fitted.predict(late, horizon=3, level=[80])
    assert found["ds"].tolist() == early["ds"].tolist()[2:]
    np.testing.assert_allclose(found["GRU"], early["GRU"].iloc[2:], rtol=1e-4)
    widths = found["GRU-hi-80"] - found["GRU-lo-80"]
    np.testing.assert_allclose(widths.iloc[0], (early["GRU-hi-80"] - early["GRU-lo-80"]).iloc[2])
    given = {"transform": "difference"} | SMALL | {"seeds": 1}
    changes = Forecaster("linear", horizon=3, **given).fit(FRAME)
    early = changes.predict(whole.iloc[:-2], horizon=5)["Linear"]
    found = changes.predict(late, level=[80])
    np.testing.assert_allclose(found["Linear"], early.iloc[2:], rtol=1e-4)
    ends = found[["Linear-lo-80", "Linear-median", "Linear-hi-80"]]
    assert (np.diff(ends, axis=1) > 0).all()
    assert (found["Linear"] / whole["y"].mean()).between(0.3, 3).all()  # values, not changes


def test_lines_end_before_each_window_of_calibration():
    """An interpolated value is no actual one, nor is a line drawn across a cutoff."""
    spoilt = FRAME.assign(y=FRAME["y"].where(np.random.default_rng(0).random(len(FRAME)) > 0.4))
    spoilt = spoilt[spoilt["unique_id"] == "s00"]
    given = {"horizon": 3, "missing": "interpolate"} | SMALL | {"seeds": 1}
    model = Forecaster("linear", **given).fit(spoilt)
    panel, _ = frames.panel_from_frame(spoilt)
    plan = training.calibration_windows(model.settings, panel)
    last = len(panel.values) - 4 - plan.step * np.arange(plan.windows)[::-1]
    actual = panel.values[last[:, None] + np.arange(1, 4)]
    residuals = model._fitted().residuals
    assert np.isnan(actual).any()
    np.testing.assert_array_equal(np.isnan(residuals), np.isnan(actual))
    # What a window reads is what a forecast from there reads.
    trained = model._fitted()
    _, places, found, _ = rolling(trained, panel, plan.windows, plan.step, lines=True)
    for place, point in zip(places[-3:], found.point[-3:], strict=True):
        again = model.predict(spoilt.iloc[: place + 1])["Linear"]
        np.testing.assert_allclose(again, point, rtol=1e-4)
