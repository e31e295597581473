import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest

from experiments import chapter15, synthetic_data, synthetic_forecast as experiment
from seqjax import data, launch, nn


@pytest.fixture(autouse=True)
def few_series(monkeypatch, tmp_path):
    """The same experiment on 120 of the book's series."""
    monkeypatch.setattr(synthetic_data, "TRAIN", slice(0, 60))
    monkeypatch.setattr(synthetic_data, "VALIDATION", slice(60, 100))
    monkeypatch.setattr(synthetic_data, "TEST", slice(100, 120))
    monkeypatch.chdir(tmp_path)


def call(*args):
    config = experiment.Config
    return launch.launch(experiment.NAME, config, experiment.run, "The table.", list(args))


def result(folder):
    return json.loads((folder / "result.json").read_text())


def row_of(rows, model, kind="model", split="validation"):
    (found,) = [r for r in rows if (r["model"], r["kind"], r["split"]) == (model, kind, split)]
    return found


PUBLISHED = {  # parameters, validation MSE: the anchors' table
    "linear": (51, 0.004168),
    "rnn-1": (3, 0.010882),
    "rnn-20-20-1": (1282, 0.002911),
    "rnn-20-20": (1281, 0.002624),
    "iterative": (1281, 0.027511),
    "linear-10": (510, 0.0187),
    "seq2vec": (1470, 0.0085),
    "seq2seq": (1470, 0.0096),
    "layer-norm": (1550, 0.0121),
    "lstm": (5250, 0.008561),
    "gru": (4110, 0.010263),
    "conv-gru": (5350, 0.0080),
    "wavenet": (6010, 0.0072),
}


@pytest.mark.parametrize("name", chapter15.RECIPES)
def test_every_row_has_its_parameters_and_answers_in_its_shape(name):
    recipe = chapter15.RECIPES[name]
    model = recipe.model()
    params = jax.eval_shape(model.init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert count == recipe.parameters
    assert (count, recipe.published) == PUBLISHED.get(name, (count, None))
    x = jax.ShapeDtypeStruct((2, 50, 1), np.float32)
    y = jax.eval_shape(lambda p, x: experiment.forecast(recipe, model, p, x), params, x)
    assert y.shape == (2, recipe.horizon)
    batch = synthetic_data.batches_of(recipe, slice(0, 2), size=2, shuffle=False)
    loss = experiment.loss_of(recipe, model)
    examples = jax.eval_shape(lambda d: d, batch.data)
    for key in (None, jax.random.key(0)):
        losses = jax.eval_shape(lambda p, e, key=key: loss(p, e, key), params, examples)
        assert losses.shape == (2,)


def test_all_published_rows_are_there():
    assert PUBLISHED.keys() <= chapter15.RECIPES.keys()


@pytest.mark.parametrize("name", ["lstm", "best-10"])
def test_a_sweep_over_learning_rates_compiles_once_and_trains_the_same(name):
    recipe, gradient = chapter15.RECIPES[name], {"w": jnp.array([0.3, -2.0])}
    training = recipe.training
    other = recipe._replace(training=training._replace(learning_rate=0.5))
    swept = chapter15.optimizer_of(recipe, 5, 3, tunable=True)
    assert chapter15.optimizer_of(other, 5, 3, tunable=True).update is swept.update
    found = []
    for optimizer in (swept, chapter15.optimizer_of(recipe, 5, 3)):
        params = {"w": jnp.array([1.0, 2.0])}
        state = optimizer.init(params)
        for _ in range(4):
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        found.append(params["w"])
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_a_strided_convolutions_targets_are_those_of_its_steps():
    recipe = chapter15.RECIPES["conv-gru"]
    y = synthetic_data.batches_of(recipe, slice(0, 3), size=3, shuffle=False).data["y"]
    series = data.two_sines(10_000, 60)[:3]
    assert y.shape == (3, 24, 10)
    np.testing.assert_array_equal(y[:, 0], series[:, 4:14])  # after the steps 0 to 3
    np.testing.assert_array_equal(y[:, -1], series[:, 50:60])


def test_the_loss_of_validation_is_the_error_after_the_last_step():
    recipe = chapter15.RECIPES["best-10"]
    model = recipe.model()
    params = model.init(jax.random.key(0))
    piece = synthetic_data.task(10).part(slice(0, 4))
    loss = experiment.loss_of(recipe, model)
    ours = loss(params, {"x": jax.numpy.asarray(piece.inputs), "y": piece.targets}, None)
    y = experiment.forecast(recipe, model, params, jax.numpy.asarray(piece.inputs))
    expected = np.mean((np.asarray(y) - piece.targets[:, -1]) ** 2, axis=-1)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_a_table_is_kept_row_by_row_and_seed_by_seed(tmp_path, capsys, monkeypatch):
    rows = ["--only", "linear,iterative,seq2seq,gru", "--epochs", "1"]
    with monkeypatch.context() as once:  # drawn when it is whole
        once.setattr(experiment.synthetic_pictures, "draw", lambda *_, **__: [])
        assert call("--out", "run", "--seeds", "1", *rows) == 0
    run = tmp_path / "run"
    first = result(run)["rows"]
    assert row_of(first, "linear")["parameters"] == 51
    published = row_of(first, "linear", "published")
    assert published["mean"] == 0.004168
    kept = (run / "rows" / "gru" / "seed-0.json").read_bytes()
    (run / "rows" / "linear" / "seed-0.json").unlink()  # as if it had been interrupted there
    metrics = (run / "metrics.jsonl").read_text().splitlines()
    assert call("--out", "run", "--resume", "--seeds", "2", *rows) == 0
    again = result(run)["rows"]
    assert row_of(again, "linear")["seeds"][0] == row_of(first, "linear")["seeds"][0]
    assert len(row_of(again, "gru")["seeds"]) == 2
    assert (run / "rows" / "gru" / "seed-0.json").read_bytes() == kept
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    keys = [(line["row"], line["seed"], line["step"]) for line in lines]
    assert len(set(keys)) == len(keys) == 2 * len(metrics)
    assert "ten steps ahead" in capsys.readouterr().out
    for picture in ("forecasts", "error_by_horizon", "gradient_by_lag", "learning_curves_10"):
        assert (run / f"{picture}.png").stat().st_size > 10_000
    errors = pd.read_csv(run / "error_by_horizon.csv", index_col=0)
    assert list(errors) == ["iterative", "seq2seq", "gru"]
    np.testing.assert_allclose(errors["gru"].mean(), row_of(again, "gru")["mean"], rtol=1e-6)
    gradients = pd.read_csv(run / "gradient_by_lag.csv", index_col=0)
    assert list(gradients) == ["SimpleRNN", "GRU"]
    assert len(gradients) == 50
    assert len(pd.read_csv(run / "forecasts.csv")) == 4 * 10


def test_rows_beyond_the_book_report_the_test_part(monkeypatch, tmp_path):
    small = chapter15.RECIPES["best-1"]._replace(
        model=lambda: chapter15.deep(nn.LSTM, 1, widths=(3,))
    )
    monkeypatch.setitem(chapter15.RECIPES, "best-1", small)
    assert call("--out", "look", "--only", "best-1", "--quick") == 0
    look = [row for row in result(tmp_path / "look")["rows"] if row["model"] == "best-1"]
    assert [(row["split"], len(row["seeds"])) for row in look] == [("validation", 1)]
    assert call("--out", "run", "--only", "best-1", "--epochs", "3", "--seeds", "2") == 0
    rows = result(tmp_path / "run")["rows"]
    test = row_of(rows, "best-1", split="test")
    assert len(test["seeds"]) == 2
    assert test["mean"] != row_of(rows, "best-1")["mean"]
    history = json.loads((tmp_path / "run" / "rows" / "best-1" / "seed-0.json").read_text())
    best = min(line["validation_loss"] for line in history["history"])
    np.testing.assert_allclose(row_of(rows, "best-1")["seeds"][0], best, rtol=1e-5)


def test_list_names_the_rows_and_runs_nothing(tmp_path, capsys):
    assert call("--list") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in chapter15.RECIPES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--only", "lstm,transformer"], "there is no row transformer"),
        (["--epochs", "0"], "--epochs must be at least 1"),
    ],
)
def test_bad_options_are_told(args, message, capsys, tmp_path):
    assert call("--out", "run", *args) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("horizon", "naive", "closed_form"), [(1, 0.020211, 0.002931), (10, 0.256974, 0.015488)]
)
def test_baselines_on_all_series_are_the_published_ones(monkeypatch, horizon, naive, closed_form):
    monkeypatch.setattr(synthetic_data, "TRAIN", slice(0, 7_000))
    monkeypatch.setattr(synthetic_data, "VALIDATION", slice(7_000, 9_000))
    assert round(synthetic_data.last_value(horizon), 6) == naive
    assert round(synthetic_data.least_squares(horizon), 6) == closed_form
