import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console

from experiments import memory as experiment, memory_data as data, memory_pictures as pictures
from experiments.memory_models import ARCHITECTURES, make_model, settings_of
from seqjax import launch, runs, sensitivity, study


def call(*args):
    config = experiment.Config
    return launch.launch(experiment.NAME, config, experiment.run, "Memory.", list(args))


def test_the_adding_problem_is_the_sum_of_two_marked_numbers():
    drawn = {name: np.asarray(a) for name, a in data.adding(jax.random.key(0), 4000, 10).items()}
    numbers, marks = np.moveaxis(drawn["x"], -1, 0)
    assert set(np.unique(marks)) == {0, 1}
    places = np.argwhere(marks)[:, 1].reshape(4000, 2)  # of exactly two, the earlier first
    sums = np.take_along_axis(numbers, places, axis=1).sum(axis=1)
    np.testing.assert_allclose(drawn["y"], sums, rtol=1e-6)
    np.testing.assert_array_equal(drawn["lag"], 9 - places[:, 0])
    pairs = np.bincount(10 * places[:, 0] + places[:, 1], minlength=100)
    np.testing.assert_allclose(pairs[pairs > 0] / 4000, 1 / 45, atol=0.01)  # all alike
    assert np.count_nonzero(pairs) == 45
    _, figure = data.task_of("adding", 10).trivial
    np.testing.assert_allclose(np.mean((drawn["y"] - 1) ** 2), figure, atol=0.01)


def test_copy_memory_asks_for_its_ten_symbols_and_guessing_them_costs_what_is_said():
    task = data.task_of("copy", 30)
    drawn = data.copy_memory(jax.random.key(0), 50, 30)
    tokens, y = np.asarray(drawn["x"].argmax(-1)), np.asarray(drawn["y"])
    assert tokens.shape == y.shape == (50, task.length)
    symbols = tokens[:, :10]
    assert set(np.unique(symbols)) == set(range(1, 9))
    expected = np.concatenate([np.zeros((50, 29)), np.full((50, 11), 9)], axis=1)
    np.testing.assert_array_equal(tokens[:, 10:], expected)
    np.testing.assert_array_equal(y[:, -10:], symbols)
    assert not y[:, :-10].any()

    silent, guess = np.full(10, -100.0), np.full(10, -100.0)
    silent[0], guess[1:9] = 0, 0
    logits = jnp.asarray(np.stack([silent] * 40 + [guess] * 10))[None].repeat(50, axis=0)
    model = SimpleNamespace(apply=lambda params, x, key: logits)
    found = data.loss_of(task, model)(None, drawn, None)
    np.testing.assert_allclose(jnp.mean(found.values), task.trivial[1], rtol=1e-5)


def test_endless_batches_are_a_function_of_seed_and_step():
    task = data.task_of("copy", 10)
    batches = data.endless(task, 4)
    assert data.endless(task, 4) is batches  # compiled once

    def drawn(seed, step):
        plan = batches.plan(batches.data, jax.random.key(seed))
        return np.asarray(batches.batch(batches.data, plan[step])[0]["y"])

    np.testing.assert_array_equal(drawn(0, 3), drawn(0, 3))
    others = [drawn(0, 4), drawn(1, 3), np.asarray(data.part_of(task, "test")["y"])[:4]]
    assert not any((drawn(0, 3) == other).all() for other in others)


def test_every_network_has_equally_many_parameters_and_a_row_of_its_own_start():
    for row in [f"adding-{name}" for name in ARCHITECTURES] + ["cure-dropout"]:
        settings = settings_of(row, 32)
        made = jax.eval_shape(make_model(settings).init, jax.random.key(0))
        count = sum(leaf.size for leaf in jax.tree.leaves(made))
        assert abs(count / settings.parameters - 1) < 0.08, row
    bias = make_model(settings_of("adding-lstm_chrono", 32)).init(jax.random.key(0))
    (bias,) = [leaf for leaf in jax.tree.leaves(bias) if leaf.ndim == 1 and leaf.size > 1]
    i, f, g, o = jax.nn.sigmoid(bias.reshape(4, -1))
    np.testing.assert_allclose(i + f, 1, rtol=1e-6)
    steps = np.asarray(1 / (1 - f))  # what a forget gate keeps, by the half
    assert 2 <= steps.min() < 8 < 20 < steps.max() <= 32
    assert float(jnp.abs(g - 0.5).max() + jnp.abs(o - 0.5).max()) == 0
    kernel = make_model(settings_of("copy-irnn", 32)).init(jax.random.key(0))
    assert any(
        leaf.shape == (leaf.shape[0],) * 2 and (leaf == jnp.eye(len(leaf))).all()
        for leaf in jax.tree.leaves(kernel)
    )


def test_a_run_learns_is_measured_resumed_and_drawn(tmp_path, capsys, monkeypatch):
    folder, row = tmp_path / "run", "adding-gru"
    options = ["--only", row, "--lag", "8", "--steps", "400", "--seeds", "1"]
    assert call("--out", str(folder), *options) == 0
    assert "always 1" in capsys.readouterr().out
    path = folder / "rows" / row / "seed-0.json"
    outcome = json.loads(path.read_text())
    rows = {(r["model"], r["split"], r["metric"]): r for r in _table(folder)}
    trained, task = runs.load(folder, row), data.task_of("adding", 8)
    test = data.part_of(task, "test")
    answers = np.asarray(trained.model.apply(trained.params, test["x"]))[:, 0]
    errors = (answers - np.asarray(test["y"])) ** 2
    loss = rows[row, "test", "loss"]["mean"]
    np.testing.assert_allclose(loss, errors.mean(), rtol=1e-4)
    assert loss < task.trivial[1] / 2
    tenths = [errors[np.asarray(test["lag"]) == lag].mean() for lag in range(1, 8)]
    found = [one for one in outcome["figures"]["loss_by_lag"] if one is not None]
    np.testing.assert_allclose(found, tenths, rtol=1e-3)
    x = data.part_of(task, "validation")["x"][: experiment.MEASURED]
    for when, params in (
        ("before", make_model(settings_of(row, 8)).init(jax.random.key(0))),
        ("after", trained.params),
    ):
        norms = sensitivity.gradient_by_lag(trained.model, params, x)
        np.testing.assert_allclose(outcome["figures"][f"gradient_{when}"], norms, rtol=1e-3)
    assert (folder / "adding.png").stat().st_size > 10_000
    swept = {f"{row} lag={lag}": [study.Outcome(**outcome)] for lag in (8, 16)}
    assert pictures.write(tmp_path, swept) == [tmp_path / "by_lag.png"]

    path.unlink()  # as if it had been interrupted there
    monkeypatch.setattr(pictures, "write", lambda *_: [])  # they are drawn already
    assert call("--out", str(folder), "--resume") == 0
    assert json.loads(path.read_text())["figures"] == outcome["figures"]


def _table(folder):
    return json.loads((folder / "result.json").read_text())["rows"]


def test_steps_until_solved_are_those_of_the_first_validation_that_is_good_enough():
    task = data.task_of("adding", 8)
    losses = ([0.2, 0.0009, 0.0011], [0.2, 0.0011, 0.0012])
    outcomes = [
        SimpleNamespace(
            history=[{"step": 100 * k, "validation_loss": loss} for k, loss in enumerate(each, 1)]
        )
        for each in losses
    ]
    assert pictures.steps_until_solved(task, outcomes) == [200]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_the_table_fits_120_columns_and_says_which_part_its_figures_are_of(split, capsys):
    """Made-up outcomes of every row, as wide as figures get."""
    outcomes = {}
    for row in experiment.Config.titles:
        settings = experiment.Config().settings(row)
        task = data.task_of(settings.task, settings.lag)
        figures = {f"gradient_{when}": [3.3e-12] * 10 for when in ("before", "after")}
        figures |= {task.metric: 2.6e-6} if split == "test" else {}
        line = {"step": 4000, f"validation_{task.metric}": 2.6e-6, "gradient_norm": 5e17}
        outcomes[row] = [study.Outcome(figures, 4000, 250.0, settings._asdict(), [line])] * 3
    rows = pictures.result_rows(outcomes)
    rich.console.Console(width=120).print(pictures.table_of(rows, outcomes))
    text = capsys.readouterr().out
    assert "…" not in text
    heading, body = text.split("┡")
    assert split in heading
    assert ("test" in heading) == (split == "test")
    lines = body.splitlines()
    assert len(lines[0]) < 120
    for row in outcomes:
        (line,) = [line for line in lines if line.startswith(f"│ {row} ")]
        assert "2.6e-06 ± 0.0e+00" in line
        assert "5e+17" in line


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--only", "adding-gpu"], "there is no row adding-gpu"),
        (["--lag", "4"], "--lag must be at least 8 steps"),
        (["--steps", "0"], "--steps must be a multiple of 100 above 0"),
        (["--steps", "250"], "--steps must be a multiple of 100"),
        (["--learning-rate", "0"], "--learning-rate must be above 0, not 0"),
        (["--only", "adding-gru", "--implementation", "cudnn"], "--implementation cudnn"),
    ],
)
def test_bad_options_are_told(args, message, capsys, tmp_path):
    assert call("--out", str(tmp_path / "run"), *args) == 2
    assert message in capsys.readouterr().err
