import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import digits as experiment, digits_data
from experiments.digits_data import ORDERS
from experiments.digits_models import PARAMETERS, make_model, width_of
from seqjax import launch, runs
from tests.compiled import run


def call(*args):
    config = experiment.Config
    return launch.launch(experiment.NAME, config, experiment.run, "Digits.", list(args))


def row_of(rows, model, split):
    (found,) = [r for r in rows if (r["model"], r["split"]) == (model, split)]
    return found


def test_the_parts_share_no_picture_and_hold_every_digit_alike():
    parts = digits_data.digits()
    pictures = np.concatenate([part.pictures for part in parts]).reshape(-1, 64)
    assert pictures.shape == (1797, 64)
    assert len(np.unique(pictures, axis=0)) == len(pictures)
    assert (pictures.min(), pictures.max()) == (0, 1)
    whole = np.bincount(np.concatenate([part.labels for part in parts])) / 1797
    for part in parts:
        expected = whole * len(part.labels)
        np.testing.assert_allclose(np.bincount(part.labels), expected, atol=1)


def test_every_order_is_of_the_same_pixels():
    pictures = jnp.arange(128.0).reshape(2, 8, 8)
    orders = {order: digits_data.sequences(pictures, order) for order in ORDERS}
    for order, shape in ORDERS.items():
        assert orders[order].shape == (2, *shape)
        np.testing.assert_array_equal(jnp.sort(orders[order].reshape(-1)), jnp.arange(128.0))
    steps = np.asarray(orders["permuted"][0, :, 0], int)
    assert np.abs(np.diff(steps)).mean() > 8  # neighbours are torn apart
    np.testing.assert_array_equal(orders["permuted"][1], orders["pixel"][1, steps])


def test_a_moved_picture_keeps_its_ink_and_its_middle_moves_no_further_than_asked():
    inside = jax.random.uniform(jax.random.key(0), (200, 6, 6))
    pictures = jnp.pad(inside, ((0, 0), (1, 1), (1, 1)))
    moved = digits_data.moved(jax.random.key(1), pictures, shift=1.0, zoom=0.0)
    ink = pictures.sum(axis=(1, 2))
    np.testing.assert_allclose(moved.sum(axis=(1, 2)), ink, rtol=1e-5)
    place = jnp.arange(8.0)[None, None]
    for axis in (1, 2):
        by = [jnp.sum(p.sum(axis=3 - axis) * place[0], axis=1) / ink for p in (pictures, moved)]
        steps = np.asarray(by[1] - by[0])
        assert np.abs(steps).max() <= 1 + 1e-4
        np.testing.assert_allclose([steps.mean(), steps.var()], [0, 1 / 3], atol=0.12)  # uniform


def test_a_stretched_pictures_moments_are_stretched():
    y, x = np.mgrid[:8, :8] - 3.5
    blob = jnp.asarray(np.exp(-(x**2 + y**2) / 3), jnp.float32)[None].repeat(300, axis=0)
    moved = np.asarray(digits_data.moved(jax.random.key(2), blob, shift=0.0, zoom=0.2))
    np.testing.assert_allclose(moved, moved[:, ::-1, ::-1], atol=1e-5)  # about the middle
    ratio = moved.sum(axis=(1, 2)) / float(blob[0].sum())  # areas, by both axes' factors
    assert 1 / 1.2**2 - 0.02 < ratio.min() < 0.85
    assert 1.15 < ratio.max() < 1 / 0.8**2 + 0.02


def test_every_network_has_equally_many_parameters():
    for name in experiment.Config.titles:
        order, _, architecture = name.partition("-")
        if order == "permuted":  # the networks of "pixel"
            continue
        model = make_model(architecture, order, width_of(architecture, order))
        params = jax.eval_shape(model.init, jax.random.key(0))
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert abs(count / PARAMETERS - 1) < 0.05, name


def test_a_run_is_scored_resumed_and_drawn(tmp_path, capsys, monkeypatch):
    rows = ["--only", "pixel-rnn,row-rnn", "--epochs", "2", "--seeds", "1"]
    folder = tmp_path / "run"
    assert call("--out", str(folder), *rows) == 0
    assert "row by row" in capsys.readouterr().out
    table = json.loads((folder / "result.json").read_text())["rows"]
    outcomes = {
        name: json.loads((folder / "rows" / name / "seed-0.json").read_text())
        for name in ("pixel-rnn", "row-rnn")
    }
    parts = digits_data.digits()
    for name, outcome in outcomes.items():
        best = max(line["validation_accuracy"] for line in outcome["history"])
        np.testing.assert_allclose(outcome["figures"]["validation"], best, rtol=1e-6)
        trained = runs.load(folder, name)
        x = digits_data.sequences(jnp.asarray(parts.test.pictures), name.partition("-")[0])
        right = run(trained.model.apply, trained.params, x).argmax(-1) == parts.test.labels
        np.testing.assert_allclose(row_of(table, name, "test")["mean"], 100 * right.mean())
    chosen = row_of(table, "pixel-rnn, chosen on validation", "test")
    assert chosen["seeds"] == row_of(table, "pixel-rnn", "test")["seeds"]
    assert len([row for row in table if row["kind"] == "baseline"]) == 6
    for picture in ("accuracy", "misread"):
        assert (folder / f"{picture}.png").stat().st_size > 10_000

    kept = (folder / "rows" / "pixel-rnn" / "seed-0.json").read_bytes()
    (folder / "rows" / "row-rnn" / "seed-0.json").unlink()  # as if it had been interrupted there
    monkeypatch.setattr(experiment.pictures, "write", lambda *_: [])  # they are drawn already
    assert call("--out", str(folder), "--resume") == 0
    again = json.loads((folder / "rows" / "row-rnn" / "seed-0.json").read_text())
    assert again["figures"] == outcomes["row-rnn"]["figures"]
    assert (folder / "rows" / "pixel-rnn" / "seed-0.json").read_bytes() == kept


def test_the_baselines_are_those_of_scikit_learn():
    from sklearn.neighbors import KNeighborsClassifier

    parts = digits_data.digits()
    scores = {name: (setting, right) for name, setting, right in digits_data.baselines()}
    setting, right = scores["nearest neighbours"]
    flat = {split: part.pictures.reshape(-1, 64) for split, part in parts._asdict().items()}
    validated = [
        KNeighborsClassifier(k)
        .fit(flat["train"], parts.train.labels)
        .score(flat["validation"], parts.validation.labels)
        for k in range(1, 11)
    ]
    assert setting == f"k = {1 + int(np.argmax(validated))}"
    assert right["validation"] == max(validated)


def test_a_look_is_short_and_leaves_the_test_part_alone():
    config = experiment.Config(quick=True)
    assert config.rows() == experiment.Config.look
    assert config.settings("lru").epochs == 2
    trial = experiment.trial_of(config, "row-gru")
    assert trial.measure(trial.model.init(jax.random.key(0))).keys() == {"validation"}


def test_without_scikit_learn_one_sentence_says_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    digits_data.digits.cache_clear()
    assert call("--out", str(tmp_path / "run"), "--quick") == 2
    assert "pip install -e '.[experiments]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--only", "pixel-gpu"], "there is no row pixel-gpu"),
        (["--epochs", "0"], "--epochs must be at least 1"),
    ],
)
def test_bad_options_are_told(args, message, capsys, tmp_path):
    assert call("--out", str(tmp_path / "run"), *args) == 2
    assert message in capsys.readouterr().err
