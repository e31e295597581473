import dataclasses
import json
import sys
import time

import numpy as np
import pandas as pd
import pytest

from seqjax.bench import forecasting
from seqjax.bench.forecasters import memory, ours
from seqjax.bench.report import Figure, read, write
from seqjax.bench.turns import BenchError
from seqjax.forecast import Forecaster

NAIVE = """
import json, pathlib, sys
import numpy as np, pandas as pd
request = json.loads(pathlib.Path(sys.argv[1]).read_text())
frame = pd.read_csv(request["train"], parse_dates=["ds"])
parts = []
for name, one in frame.groupby("unique_id"):
    ds = pd.date_range(one.ds.max(), periods=request["horizon"] + 1, freq=request["freq"])[1:]
    cycle = one.y.to_numpy()[-24:]
    parts.append(pd.DataFrame({"ds": ds, "unique_id": name, "forecast": np.resize(cycle, len(ds))}))
table = pd.concat(parts).sample(frac=1, random_state=0)
table.to_csv(request["forecasts"], index=False)
answer = {"fit": 6.0, "predict": 2.0, "processors": 9.0}
answer |= {"parameters": 5, "settings": {}, "versions": {}}
pathlib.Path(request["answer"]).write_text(json.dumps(answer))
"""
SMALL = forecasting.Forecast(
    only=("hourly",), models=("gru",), python=forecasting.Path(sys.executable), series=8, length=100
)


def rows(table):
    return list(zip(*(list(column.cells) for column in table.columns), strict=True))


def test_a_peer_stands_beside_ours_on_the_same_panel(monkeypatch, tmp_path):
    """A peer that answers with the seasonal naive has its error."""
    child = tmp_path / "naive.py"
    child.write_text(NAIVE)
    for who in forecasting.CHILDREN:
        monkeypatch.setitem(forecasting.CHILDREN, who, child)
    report = forecasting.run(SMALL)
    by_name = {(figure.contestant, figure.labels["model"]): figure for figure in report.figures}
    naive, theirs = by_name["baseline", "seasonal naive, 24"], by_name["neuralforecast", "GRU"]
    assert theirs.rounds == by_name["seqjax", "GRU"].rounds == [8.0]
    for name in ("mase", "mae", "smape"):
        np.testing.assert_allclose(theirs.labels[name], naive.labels[name])
    assert len(read(write(report, tmp_path / "forecast.json"))) == len(report.figures)


def test_ours(tmp_path):
    """What it writes is what the forecaster gives, in seconds that add up."""
    found = forecasting.data_of(forecasting.PANELS["monthly"], 3, 60, 12)
    files = {key: str(tmp_path / key) for key in ("train", "forecasts", "answer")}
    found.train.to_csv(files["train"], index=False)
    settings = {"steps": 3, "seeds": 1}
    request = {"model": "LINEAR", "horizon": 12, "freq": "MS", "seed": 0, "settings": settings}
    path = tmp_path / "request.json"
    path.write_text(json.dumps(request | files))
    begun = time.perf_counter()
    ours.main(path)
    whole = time.perf_counter() - begun
    answer = json.loads((tmp_path / "answer").read_text())
    assert 0 < answer["fit"] + answer["predict"] < whole
    assert answer["processors"] > 0
    assert answer["settings"].items() >= settings.items()
    model = Forecaster("linear", horizon=12, freq="MS", **settings).fit(found.train)
    expected = model.predict().rename(columns={"Linear": "forecast"})
    table = pd.read_csv(files["forecasts"], parse_dates=["ds"])
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)


def test_memory_is_that_of_a_process(monkeypatch, tmp_path):
    found = memory.main(
        {"series": 3, "length": 60, "horizon": 5, "model": "linear", "settings": {"steps": 3}}
    )
    assert found["frame"] > 3 * 60 * 16  # times and values, and codes of a byte
    assert found["peak"] >= found["libraries"] > 10e6
    child = tmp_path / "memory.py"
    child.write_text(f"print({json.dumps(json.dumps(found | {'peak': 3 * 10**9}))})")
    monkeypatch.setitem(forecasting.CHILDREN, "seqjax", child)
    report = forecasting.run(dataclasses.replace(SMALL, memory=True))
    assert rows(report.tables[0])[0][:2] == ("GRU", "3.00")
    assert read(write(report, tmp_path / "memory.json"))[0].unit == "bytes"


def test_a_peer_that_fails_is_told(monkeypatch, tmp_path):
    child = tmp_path / "fails.py"
    child.write_text("raise ModuleNotFoundError('no neuralforecast here')")
    found = forecasting.data_of(forecasting.PANELS["hourly"], 2, 60, 24)
    answer = forecasting._ask(SMALL.python, child, {}, found)
    assert answer == {"problem": "status 1: ModuleNotFoundError: no neuralforecast here"}
    with pytest.raises(BenchError, match="scripts/bench forecast makes an environment"):
        forecasting.run(dataclasses.replace(SMALL, python=tmp_path / "python"))


def test_the_known_part_ends_before_what_is_measured():
    found = forecasting.data_of(forecasting.PANELS["daily"], series=3, length=50, horizon=24)
    whole = forecasting.generated.panel("counts", 3, 74).groupby("unique_id")["y"]
    for place, (_, values) in enumerate(whole):
        np.testing.assert_array_equal(found.past.series(place), values[:50])
        np.testing.assert_array_equal(found.actual[place], values[50:])


def test_table():
    shape = {"panel": "hourly", "series": 8, "length": 100, "horizon": 24}
    errors, gru = {"mase": 0.5, "mae": 2.0, "smape": 10.0}, shape | {"model": "GRU"}
    figures = [
        Figure("baseline", shape | {"model": "drift"} | errors, []),
        Figure("seqjax", gru | {"parameters": 1000, "processors": [3.0]} | errors, [2.0]),
        Figure("neuralforecast", gru | {"parameters": 2000, "processors": [9.0]} | errors, [8.0]),
        Figure("neuralforecast", shape | {"model": "LSTM"}, [], "status 1: no message"),
    ]
    same = ("0.5000", "2", "10.00")
    assert rows(forecasting.make_table(figures)) == [
        ("hourly", "baseline", "drift", "", "", "", *same, ""),
        ("hourly", "seqjax", "GRU", "2.0", "1.00", "3.0", *same, "1,000"),
        ("hourly", "neuralforecast", "GRU", "8.0", "4.00", "9.0", *same, "2,000"),
        ("hourly", "neuralforecast", "LSTM", "status 1: no message", *[""] * 6),
    ]
