"""The command line, from a file to a folder and again."""

import dataclasses
import io
import json
import re
import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from seqjax import cli
from seqjax.data import DataError
from seqjax.forecast.command import _measurable
from seqjax.forecast.forecaster import Forecaster
from seqjax.forecast.inputs import read_inputs, with_columns_of, write_record
from seqjax.forecast.options import Options
from seqjax.forecast.panel import hold_back
from seqjax.forecast.settings import Settings

IDS = ["007", "</td><script>alert(1)</script>", "Köln, süd"]
HORIZON = 3
HOW = ["--horizon", "3", "--season", "7", "--model", "linear", "--steps", "20", "--quick"]


def sales():
    """Three series of a week's season and a little noise, under names of their own."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=80, freq="D")
    week = np.array([5.0, 6, 7, 8, 9, 20, 15])[days.day_of_week]
    parts = [
        pd.DataFrame({"shop": name, "day": days.strftime("%Y-%m-%d")}).assign(
            units=week * (k + 1) + rng.normal(0, 0.5, len(days)), price=1.5
        )
        for k, name in enumerate(IDS)
    ]
    return pd.concat(parts).sample(frac=1, random_state=0)  # in any order


def planned(first):
    """Prices of five days to come."""
    days = pd.date_range(first, periods=5).strftime("%Y-%m-%d")
    return pd.DataFrame([{"shop": name, "day": day, "price": 1.5} for name in IDS for day in days])


NAMES = ["--id-column", "shop", "--time-column", "day", "--target-column", "units"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run, and the file that it read."""
    folder = tmp_path_factory.mktemp("forecast")
    sales().to_csv(folder / "sales.csv", index=False)
    planned("2024-03-21").to_csv(folder / "planned.csv", index=False)
    pd.DataFrame({"shop": IDS, "size": [3, 1, 2]}).to_csv(folder / "shops.csv", index=False)
    beside = ["--futr-exog", "price", "--futr-csv", str(folder / "planned.csv")]
    beside += ["--stat-exog", "size", "--static-csv", str(folder / "shops.csv")]
    args = ["forecast", str(folder / "sales.csv"), *HOW, *NAMES, *beside]
    assert cli.run([*args, "--out", str(folder / "run")]) == 0
    return folder


def test_the_folder_holds_forecasts_scores_and_the_model(finished, capsys):
    run = finished / "run"
    there = {path.name for path in run.iterdir()}
    assert there >= {
        "config.json", "result.json", "forecasts.csv", "cross_validation.csv", "report.html",
        "forecasts.png", "horizon.png", "calibration.png", "model",
    }  # fmt: skip
    future = pd.read_csv(run / "forecasts.csv", dtype={"shop": str})
    ends = [f"Linear-{end}" for end in ("lo-95", "lo-80", "hi-80", "hi-95")]
    assert list(future)[:8] == ["shop", "day", "Linear", "Linear-median", *ends]
    best, *of_best = list(future)[8:]  # of the baselines, beside the network
    assert of_best == [end.replace("Linear", best) for end in ends]
    assert sorted(set(future["shop"])) == sorted(IDS)
    assert set(future["day"]) == {"2024-03-21", "2024-03-22", "2024-03-23"}
    assert (np.diff(future[[ends[0], ends[1], "Linear", ends[2], ends[3]]]) >= 0).all()
    crossed = pd.read_csv(run / "cross_validation.csv", dtype={"shop": str})
    assert len(crossed) == 3 * 3 * HORIZON
    both = crossed.merge(sales(), on=["shop", "day"], suffixes=("", "_file"))
    assert len(both) == len(crossed)
    np.testing.assert_array_equal(both["units"], both["units_file"])
    result = json.loads((run / "result.json").read_text())
    rows = {(row["model"], row["metric"]): row for row in result["rows"]}
    error = (crossed["Linear"] - crossed["units"]).abs().mean()
    assert rows["Linear", "MAE"]["mean"] == pytest.approx(error)
    assert rows["Linear", "MAE"]["kind"] == "model"
    assert rows["seasonal naive, 7", "MASE"]["kind"] == "baseline"
    errors = {
        model: row["mean"]
        for (model, metric), row in rows.items()
        if metric == "MASE" and row["kind"] == "baseline"
    }
    assert best == min(errors, key=errors.__getitem__)
    assert errors.keys() < set(crossed)
    for name in errors:
        error = (crossed[name] - crossed["units"]).abs().mean()
        assert rows[name, "MAE"]["mean"] == pytest.approx(error)
        assert (name, "wQL") in rows
    by_series = pd.read_csv(run / "scores_by_series.csv", dtype={"shop": str})
    assert list(by_series) == ["shop", "Linear MAE", "seasonal naive, 7 MAE", "MAE skill"]
    page = (run / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;/td&gt;&lt;script&gt;alert(1)" in page
    assert "sales.csv: the next 3 days" in page


def test_a_finished_run_is_kept_and_other_data_are_refused(finished, capsys, monkeypatch):
    def trains(*_, **__):
        raise AssertionError("there is nothing to train")

    monkeypatch.setattr(Forecaster, "fit", trains)
    monkeypatch.setattr(Forecaster, "cross_validation", trains)
    run, kept = finished / "run", finished / "kept"
    before = (run / "forecasts.csv").read_bytes()
    assert cli.run(["forecast", "--resume", "--out", str(run)]) == 0  # it knows its options
    assert (run / "forecasts.csv").read_bytes() == before
    assert "seasonal naive, 7" in capsys.readouterr().out
    shutil.copytree(run, kept)
    changed = finished / "other" / "sales.csv"
    changed.parent.mkdir()
    sales().assign(units=1.5).to_csv(changed, index=False)
    assert cli.run(["forecast", str(changed), "--resume", "--out", str(kept)]) == 2
    assert "choose another --out" in one_line(capsys)


def one_line(capsys):
    """What stands on stderr behind what was found in the data: one line."""
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if not line.startswith("  ")]
    assert captured.out == ""
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    return errors[0]


def test_predict_goes_on_from_its_own_data_and_from_new(finished, capsys, monkeypatch):
    run, out = finished / "run", finished / "next.csv"
    assert cli.run(["predict", str(run)]) == 0
    again = pd.read_csv(io.StringIO(capsys.readouterr().out))
    pd.testing.assert_frame_equal(pd.read_csv(run / "forecasts.csv")[list(again)], again)
    later = sales()
    later = later[later["day"] < "2024-03-10"]
    # Each file in another form of dates than the run's.
    for name, form, rows in (
        ("new.csv", "%d.%m.%Y", later),
        ("later.csv", "%d/%m/%Y", planned("2024-03-10")),
    ):
        days = pd.to_datetime(rows["day"]).dt.strftime(form)
        rows.assign(day=days).to_csv(finished / name, index=False)
    args = ["predict", str(run), str(finished / "new.csv"), "--horizon", "2", "--level", "90"]
    assert cli.run([*args, "--out", str(out)]) == 2
    assert "2024-03-10" in one_line(capsys)  # of which the run's own prices say nothing
    args += ["--futr-csv", str(finished / "later.csv")]
    assert cli.run([*args, "--out", str(out)]) == 0
    found = pd.read_csv(out, dtype={"shop": str})
    assert list(found) == ["shop", "day", "Linear", "Linear-median", "Linear-lo-90", "Linear-hi-90"]
    assert set(found["day"]) == {"2024-03-10", "2024-03-11"}
    # Levels that the run could not calibrate are left out, which is said.
    predict = Forecaster.predict

    def few(self, *args, level=(), **how):
        if 95 in level:
            raise DataError("too few windows")
        return predict(self, *args, level=level, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Forecaster, "predict", few)
        assert cli.run(["predict", str(run)]) == 0
    captured = capsys.readouterr()
    assert "no intervals of 95 %: too few values to calibrate" in captured.err
    assert "\nshop,day,Linear,Linear-median,Linear-lo-80,Linear-hi-80\n" in captured.out
    weekend = found[found["day"] == "2024-03-10"].set_index("shop")["Linear"]
    np.testing.assert_allclose(weekend[IDS], [15, 30, 45], rtol=0.2)  # a Sunday


def test_what_cannot_be_done_is_told_in_one_line(finished, capsys, tmp_path):
    file, run = str(finished / "sales.csv"), str(finished / "run")
    out = ["--out", str(tmp_path / "run")]
    twice, few, soon = (tmp_path / name for name in ("twice.csv", "few.csv", "soon.csv"))
    pd.DataFrame({"shop": IDS[:2], "size": [3, 1]}).to_csv(few, index=False)
    planned("2024-03-19").to_csv(soon, index=False)
    static = ["--stat-exog", "size", "--static-csv", str(few)]
    ahead = ["--futr-exog", "price", "--futr-csv", str(soon)]
    pd.concat([sales(), sales().tail(1)]).to_csv(twice, index=False)
    for args, message in (
        (["forecast", *out], "name a CSV or Parquet file"),
        (["forecast", file, *out], "--horizon 14"),
        (["forecast", "nowhere.csv", "--horizon", "3", *out], "nowhere.csv"),
        (["forecast", file, "--horizon", "0", *out], "horizon must be at least 1"),
        (["forecast", file, "--horizon", "3", "--windows", "0", *out], "--windows"),
        (["forecast", file, *HOW, *NAMES, "--level", "120", *out], "120"),
        (["forecast", file, "--horizon", "3", *NAMES, "--season", "0", *out], "1 or more, not 0"),
        (["forecast", str(twice), *HOW, *NAMES, *out], "stands there a second time"),
        (["forecast", file, *HOW, *NAMES[:4], "--target-column", "unit", *out], "'units'"),
        (["forecast", file, *HOW, *NAMES, "--futr-exog", "price", *out], "--futr-csv"),
        (["forecast", file, *HOW, *NAMES, "--horizon", "79", *out], "leave nothing"),
        (["forecast", file, *HOW, *NAMES, *static, *out], f"error: {few} lacks 1 of 3 series"),
        (["forecast", file, *HOW, *NAMES, *ahead, "--horizon", "5", *out], f"error: {soon} has no"),
        (["predict", str(tmp_path)], "config.json"),
        (["predict", run, "nowhere.csv"], "nowhere.csv"),
        (["predict", run, "--horizon", "0"], "horizon"),
        (["predict", run, "--static-csv", "nowhere.csv"], "--static-csv is of new series"),
        (["predict", run, "--level", "99.99"], "99.99"),
        (["predict", run, "--out", str(tmp_path / "no" / "next.csv")], "no"),
    ):
        assert cli.run(args) == 2, args
        line = one_line(capsys)
        assert message in line, args
        assert line.count(str(twice)) <= 1
        assert not (tmp_path / "run").exists()  # nothing in the next attempt's way


def test_what_is_measured_is_what_was_known(tmp_path):
    """Lines are not drawn across the held-out windows; each step is calibrated by itself."""
    days = pd.date_range("2024-01-01", periods=60)
    y = np.random.default_rng(0).normal(size=60)
    y[28:52] = np.nan
    y[50] = 1.0  # the one known value before the windows: no error one or two steps ahead
    frame = pd.DataFrame({"ds": days, "y": y})
    frame.to_csv(tmp_path / "gap.csv", index=False)
    options = Options(tmp_path / "gap.csv", 3, missing="interpolate")
    inputs = read_inputs(options, tmp_path / "gap.csv")
    np.testing.assert_array_equal(inputs.panel.values, y)
    assert "interpolated" in " ".join(inputs.notes)
    settings = Settings("linear", 3)
    assert _measurable((30.0, 80.0), settings, hold_back(inputs.panel, 9)) == ()
    write_record(tmp_path, dataclasses.replace(options, time_format="%d/%m/%Y"))
    assert with_columns_of(tmp_path, options).time_format == "%d/%m/%Y"  # as new data are read
    whole = read_inputs(dataclasses.replace(options, missing="zero"), options.file).panel
    assert _measurable((30.0, 80.0), settings, hold_back(whole, 9)) == (30.0, 80.0)


def test_a_run_is_named_after_its_file(monkeypatch):
    seen = []
    monkeypatch.setattr(cli.launch, "launch", lambda *a: seen.append(a[-1][-1]) or 0)
    cli.run(["forecast", "--futr-csv", "planned.csv", "--horizon", "3", "some sales.csv"])
    assert seen == [str(cli.launch.RUNS / "some_sales")]
    assert cli.Forecast().seeds == Forecaster("gru", horizon=3).settings.seeds


def test_other_commands_become_other_programs(capsys, monkeypatch):
    became = []

    def becomes(path, args):
        became.append(args)
        raise SystemExit

    monkeypatch.setattr(cli.os, "execv", becomes)
    for args in (["run", "milk", "--quick"], ["bench", "layers"]):
        with pytest.raises(SystemExit):
            cli.run(args)
    assert became == [
        [sys.executable, "-m", "experiments.milk", "--quick"],
        [sys.executable, "-m", "seqjax.bench", "layers"],
    ]
    assert cli.run(["run"]) == 0
    assert re.search(r"^  milk: Forecast monthly", capsys.readouterr().out, re.MULTILINE)
    assert cli.run(["run", "os"]) == 2
    assert cli.run(["forcast"]) == 2
    assert "usage: seqjax" in capsys.readouterr().err
