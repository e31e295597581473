import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pandas as pd
import pytest

from experiments import milk, milk_selection
from seqjax import data, forecast, launch, runs, train

SERIES = data.read_series(data.MILK_CSV, "Date", "Production")
SEASON = forecast.season_of(SERIES, per_day=True)


def task_of(series, recipe):
    if recipe == "textbook":
        return forecast.values_task(series, milk.TEXTBOOK_WINDOW, 32)
    return forecast.changes_task(series, SEASON, 5, 32)


def rows_of(folder):
    rows = json.loads((folder / "result.json").read_text())["rows"]
    return {(row["model"], row["metric"]): row for row in rows}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A short run of the default recipe, through the command line."""
    folder = tmp_path_factory.mktemp("milk") / "run"
    args = ["--out", str(folder), "--seeds", "2", "--epochs", "3"]
    assert launch.launch("experiments.milk", milk.Config, milk.run, "", args) == 0
    return folder


def test_the_folder_holds_what_the_design_says(quick):
    names = {path.name for path in quick.iterdir()}
    assert names == {
        "config.json", "result.json", "metrics.jsonl", "checkpoints", "rows", "forecast.csv",
        "forecast.png", "loss.png",
    }  # fmt: skip
    for picture in ("forecast.png", "loss.png"):
        assert (quick / picture).read_bytes()[:4] == b"\x89PNG"


def test_rows_are_the_model_and_all_baselines(quick):
    rows = rows_of(quick)
    model = rows["seasonal LSTM", "rmse"]
    assert (model["kind"], model["split"], model["horizon"]) == ("model", "test", 1)
    assert len(model["seeds"]) == 2
    assert model["mean"] == pytest.approx(np.mean(model["seeds"]))
    for name, rmse in (
        ("last value", 47.34),
        ("seasonal naive, y[t-12]", 15.69),
        ("y[t-12] + y[t-1] - y[t-13]", 6.50),
        ("least squares, 13 lags", 7.23),
        ("least squares, mean change per day into each month", 4.57),
    ):
        assert rows[name, "rmse"]["kind"] == "baseline"
        assert rows[name, "rmse"]["mean"] == pytest.approx(rmse, abs=0.005)
    assert any("same window" in name for name, _ in rows)
    assert rows["SARIMA (1,0,0)(0,1,1)12", "rmse"]["kind"] == "published"
    assert {metric for _, metric in rows} == {"rmse", "mae"}


def test_the_table_of_forecasts_agrees_with_the_rows(quick):
    table = pd.read_csv(quick / "forecast.csv", parse_dates=["date"])
    assert len(table) == 32
    np.testing.assert_array_equal(table["actual"], SERIES.iloc[-32:])
    errors = [np.sqrt(np.mean((table[f"seed {s}"] - table["actual"]) ** 2)) for s in (0, 1)]
    np.testing.assert_allclose(errors, rows_of(quick)["seasonal LSTM", "rmse"]["seeds"], rtol=1e-6)
    np.testing.assert_allclose(table["forecast"], table[["seed 0", "seed 1"]].mean(axis=1))


@pytest.mark.parametrize("recipe", ["textbook", "seasonal"])
def test_nothing_of_the_later_parts_reaches_training(recipe):
    """Scaler and training examples stay the same whatever validation and test hold."""
    task = task_of(SERIES, recipe)
    known = len(SERIES) - (len(task.inputs) - task.split.train.stop)
    other = SERIES.copy()
    other.iloc[known:] *= 2.0
    changed = task_of(other, recipe)
    assert task.scaler == changed.scaler
    part = task.split.train
    np.testing.assert_array_equal(task.inputs[part], changed.inputs[part])
    np.testing.assert_array_equal(task.targets[part], changed.targets[part])
    assert task.split.test == slice(len(task.inputs) - 32, len(task.inputs))


@pytest.mark.parametrize("recipe", ["textbook", "seasonal"])
def test_perfect_outputs_are_the_actual_values(recipe):
    task = task_of(SERIES, recipe)
    values = task.forecasts(task.targets[:, 0], slice(None))
    np.testing.assert_allclose(values, SERIES.to_numpy()[-len(values) :], rtol=1e-5)


def test_the_textbook_recipe_is_the_notebooks():
    task = task_of(SERIES, "textbook")
    assert [(s.start, s.stop) for s in task.split] == [(0, 111), (111, 124), (124, 156)]
    assert task.inputs.shape == (156, 12, 1)
    train = task.inputs[: task.split.train.stop]
    assert (train.min(), train.max()) == (0.0, 1.0)
    recipe = milk.RECIPES["textbook"]
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (100, 32, 1e-3)


def test_golden_result(tmp_path):
    """One seed of the default recipe, all epochs.

    Legitimate to change when the recipe, the initialisers, the order of random
    draws or a jax release that changes float32 sums changes; then state the old
    and the new figure in the commit. A change of more than 0.1 is no rounding.
    """
    result = milk.run(milk.Config(seeds=1), tmp_path)
    rmse = next(row.mean for row in result.rows if row.kind == "model" and row.metric == "rmse")
    assert rmse == pytest.approx(GOLDEN_RMSE, abs=0.02)


GOLDEN_RMSE = 4.557


def test_golden_textbook_result(tmp_path):
    """One seed, ten epochs; what the golden result above says of changes holds here too."""
    config = milk.Config(seeds=1, epochs=10, recipe="textbook")
    rows = milk.run(config, tmp_path).rows
    rmse = next(row.mean for row in rows if row.kind == "model" and row.metric == "rmse")
    assert rmse == pytest.approx(GOLDEN_TEXTBOOK_RMSE, abs=0.2)


GOLDEN_TEXTBOOK_RMSE = 65.94


@pytest.mark.parametrize("args", [(), ("--split-batches",)])
def test_batches_are_split_on_request(tmp_path, monkeypatch, args, capsys):
    meshes = []

    def fit_seeds(*_, mesh=None, **__):
        meshes.append(mesh)
        raise launch.RunError("far enough")

    monkeypatch.setattr(milk.train, "fit_seeds", fit_seeds)
    command = ["--out", str(tmp_path / "run"), "--seeds", "1", *args]
    assert launch.launch("experiments.milk", milk.Config, milk.run, "", command) == 2
    assert "far enough" in capsys.readouterr().err
    assert [mesh and mesh.size for mesh in meshes] == [jax.device_count() if args else None]


def test_checkpoints_hold_seed_scaler_and_settings(quick):
    saved = next((quick / "checkpoints" / "seed-1").glob("*/metadata/metadata"))
    metadata = json.loads(saved.read_text())
    metadata = metadata["run"]
    assert metadata["seed"] == metadata["fit"]["seed"] == 1
    assert metadata["settings"] == milk.RECIPES["seasonal"]._replace(epochs=3)._asdict()
    task = task_of(SERIES, "seasonal")
    assert data.Scaler(**metadata["scaler"]) == task.scaler
    config = json.loads((quick / "config.json").read_text())
    assert config["settings"] == metadata["settings"]


def test_a_finished_run_is_loaded_for_prediction(quick):
    """Model, parameters and scaler: the forecasts of the table again."""
    run = runs.load(quick, seed=1)
    scaler = data.Scaler(**run.extra["scaler"])
    task = task_of(SERIES, "seasonal")._replace(scaler=scaler)
    outputs = jax.jit(run.model.apply)(run.params, task.inputs[task.split.test])[:, 0]
    table = pd.read_csv(quick / "forecast.csv")
    np.testing.assert_array_equal(task.forecasts(outputs, task.split.test), table["seed 1"])
    assert (run.step, len(run.history)) == (9, 3)


def csv_of(tmp_path, series, header="when,sold"):
    path = tmp_path / "other.csv"
    lines = [f"{date.date()},{value}" for date, value in series.items()]
    path.write_text("\n".join([header, *lines]) + "\n")
    return ["--csv", str(path), "--time-column", "when", "--value-column", "sold"]


def test_another_csv_of_quarters(tmp_path, capsys):
    index = pd.date_range("1990-01-01", periods=60, freq="QS")
    args = csv_of(tmp_path, pd.Series(100.0 + np.arange(60) % 4 * 10 + np.arange(60), index))
    args += ["--out", str(tmp_path / "run"), "--seeds", "1", "--epochs", "2"]
    assert launch.launch("experiments.milk", milk.Config, milk.run, "", args) == 0
    assert ("seasonal naive, y[t-4]", "rmse") in rows_of(tmp_path / "run")
    assert "sold" in capsys.readouterr().out


def test_daily_values_have_weeks_and_weekdays(tmp_path):
    index = pd.date_range("2024-01-01", periods=100, freq="D")
    args = csv_of(tmp_path, pd.Series(50.0 + np.arange(100) % 7 + np.sin(np.arange(100)), index))
    args += ["--out", str(tmp_path / "run"), "--seeds", "1", "--epochs", "1"]
    assert launch.launch("experiments.milk", milk.Config, milk.run, "", args) == 0
    rows = rows_of(tmp_path / "run")
    assert ("mean change of the last 5 weeks", "rmse") in rows
    assert rows["least squares, mean change into each weekday", "rmse"]["mean"] < 2.0


def test_values_that_are_no_sums_are_not_divided_by_days():
    assert set(forecast.season_of(SERIES, per_day=True).exposure) == {28, 29, 30, 31}
    assert set(forecast.season_of(SERIES, per_day=False).exposure) == {1}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--csv", "missing.csv"], "missing.csv: there is no such file"),
        (["--value-column", "Milk"], "no column 'Milk'; the columns are 'Date', 'Production'"),
        (["--epochs", "0"], "--epochs must be at least 1"),
    ],
)
def test_bad_input_ends_before_training(tmp_path, capsys, args, message):
    args = [*args, "--out", str(tmp_path / "run")]
    assert launch.launch("experiments.milk", milk.Config, milk.run, "", args) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "epoch" not in captured.err.replace("--epochs", "")


def test_too_short_a_series_is_told(tmp_path, capsys):
    args = [*csv_of(tmp_path, SERIES.iloc[:60]), "--out", str(tmp_path / "run")]
    assert launch.launch("experiments.milk", milk.Config, milk.run, "", args) == 2
    message = capsys.readouterr().err
    assert "other.csv: column 'sold': The series has 59 steps" in message
    assert not (tmp_path / "run").exists()  # nothing in the corrected attempt's way


EPOCHS = 6
OPTIONS = ["--recipe", "textbook", "--seeds", "2", "--save-every", "1"]


def start(folder, *more):
    """The experiment as a process."""
    command = [sys.executable, "-m", "experiments.milk", *OPTIONS, "--epochs", str(EPOCHS)]
    command += ["--out", str(folder), *more]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled")},
    )


def signalled(process, folder, lines, number):
    """Ended by a signal once so many epochs are logged."""
    metrics, deadline = folder / "metrics.jsonl", time.monotonic() + 120
    while not metrics.exists() or len(metrics.read_text().splitlines()) < lines:
        assert process.poll() is None, "it ended before the signal"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, number)
    process.communicate()
    assert not (folder / "result.json").exists()


def test_stopped_and_resumed_it_ends_bit_for_bit_the_same(tmp_path, monkeypatch, capsys):
    """Parameters, metrics and forecasts equal the uninterrupted run's."""
    folder, whole = tmp_path / "stopped", tmp_path / "whole"

    def run(folder, *more):
        args = [*OPTIONS, "--epochs", str(EPOCHS), "--out", str(folder), *more]
        return launch.launch("experiments.milk", milk.Config, milk.run, "", args)

    lines, write = iter(range(1, 1000)), train.MetricsLog.write

    def write_and_ask(*args):
        write(*args)
        if next(lines) == 4:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(train.MetricsLog, "write", write_and_ask)
        assert run(folder) == launch.STOPPED == 75
    said = capsys.readouterr().err
    assert f"is saved in {folder}/checkpoints/seed-0" in said
    assert "Go on with the same command and --resume" in said
    assert not (folder / "result.json").exists()
    assert run(folder, "--resume") == run(whole) == 0
    assert_same(folder, whole)


@pytest.mark.soak
def test_killed_and_resumed_it_ends_bit_for_bit_the_same(tmp_path, record_property):
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    assert start(whole).communicate()[1].count("Traceback") == 0
    for more, lines in (([], 4), (["--resume"], EPOCHS + 3)):
        signalled(start(folder, *more), folder, lines, signal.SIGKILL)
    assert start(folder, "--resume").communicate()[1].count("Traceback") == 0
    assert_same(folder, whole)
    record_property(
        "figure", "1 killed anywhere: experiments.milk, two seeds, killed in each: bit for bit"
    )


def assert_same(folder, whole):
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert (folder / "forecast.csv").read_bytes() == (whole / "forecast.csv").read_bytes()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(line["seed"], line["step"]) for line in lines] == [
        (seed, 4 * epoch) for seed in (0, 1) for epoch in range(1, EPOCHS + 1)
    ]
    a, b = (final_state(path / "checkpoints" / "seed-1") for path in (folder, whole))
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def final_state(folder):
    """Every leaf of the last checkpoint: parameters, optimiser state, step."""
    import orbax.checkpoint as ocp

    step = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    assert step == 4 * EPOCHS
    tree = ocp.StandardCheckpointer().restore((folder / str(step) / "state").absolute())
    return {jax.tree_util.keystr(key): leaf for key, leaf in jax.tree.leaves_with_path(tree)}


def test_the_one_standard_error_rule():
    def recipe(features, epochs):
        return milk.RECIPES["seasonal"]._replace(features=features, epochs=epochs)

    small, large, poor = recipe(8, 30), recipe(32, 30), recipe(4, 30)
    noise = np.random.default_rng(0).normal(size=(3, 48))
    errors = {large: 1.0 + 0 * noise, small: 1.01 + noise, poor: 9.0 + noise}
    sizes = {small: 10, large: 100, poor: 5}
    assert milk_selection.choose(errors, sizes) == small
    errors[small] = 9.0 + noise
    assert milk_selection.choose(errors, sizes) == large
