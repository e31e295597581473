import dataclasses
import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax import launch, models, nn, runs, study, train
from seqjax.train import CheckpointError

X = np.random.default_rng(0).normal(size=(12, 5, 1)).astype(np.float32)
BATCHES = train.array_batches({"x": X, "y": X[:, -1]}, 4)
MODELS = {
    "gru": models.make("gru", inputs=1, features=(3,), outputs=1, last=True),
    "linear": models.from_layer(nn.CausalConv(1, 5, padding="valid"), 1, last=True),
    "own": models.from_layer(nn.Dense(1, activation=lambda x: x), 1, last=True),
}


@dataclasses.dataclass(frozen=True)
class Config(study.TableConfig):
    epochs: int | None = None
    learning_rate: float = 0.1

    titles = {"gru": "a GRU", "linear": "a linear function", "own": "one of one's own"}  # noqa: RUF012

    def resolved(self):
        self.rows()
        return {}


def trial_of(config, row):
    model = config.cast(MODELS[row])

    def loss(params, batch, key):
        return jnp.mean((model.apply(params, batch["x"]) - batch["y"]) ** 2, axis=-1)

    settings = {"epochs": config.epochs_of(4), "learning_rate": config.learning_rate}
    fit = functools.partial(
        train.fit_seeds,
        loss,
        model.init,
        optax.adam(config.learning_rate),
        BATCHES,
        epochs=settings["epochs"],
        validation=BATCHES,
        early_stopping=train.EarlyStopping(),
        devices=jax.devices()[:1],
    )
    return study.Trial(
        config.titles[row],
        settings,
        model,
        lambda seeds, **how: fit(seeds=seeds, **how),
        lambda params: {"mse": train.evaluate(loss, params, BATCHES)},
        every=6,
        extra={"scale": 2.0},
    )


def mse_of(outcome):
    return outcome.figures["mse"]


def run(config, folder):
    outcomes = study.run("experiments.example", config, folder, trial_of)
    rows = [
        study.row_of(name, found, mse_of, split="validation", metric="mse")
        for name, found in outcomes.items()
    ]
    return launch.Result(rows, "squared", [])


def call(*args):
    return launch.launch("experiments.example", Config, run, "An example.", list(args))


def rows_of(folder):
    rows = json.loads((folder / "result.json").read_text())["rows"]
    return {row["model"]: row["seeds"] for row in rows}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_is_missing_is_trained_and_what_is_done_is_kept(tmp_path, capsys):
    folder = tmp_path / "runs" / "example"
    assert call("--only", "gru,linear", "--seeds", "2") == 0
    said = capsys.readouterr().err
    assert "gru, row 1 of 2 (1 of 2), seed 0" in said
    assert "linear, row 2 of 2, about" in said
    assert "left (2 of 2), seed 1" in said
    before = rows_of(folder)
    assert {name: len(seeds) for name, seeds in before.items()} == {"gru": 2, "linear": 2}
    assert call("--resume", "--only", "all", "--seeds", "3") == 0  # rows and seeds are added
    after = rows_of(folder)
    assert {name: len(seeds) for name, seeds in after.items()} == dict.fromkeys(MODELS, 3)
    assert {name: seeds[:2] for name, seeds in after.items() if name in before} == before
    trained = [line for line in capsys.readouterr().err.splitlines() if "epoch" in line]
    assert all("seed 2" in line for line in trained if line.startswith(("gru", "linear")))


def test_stopped_in_the_middle_it_goes_on_bit_for_bit(tmp_path, monkeypatch):
    assert call("--out", "whole", "--only", "gru", "--seeds", "2") == 0
    asked = iter([False, False, False, True])
    monkeypatch.setitem(train.options._DEFAULTS, "stop", lambda: next(asked, False))
    assert call("--out", "stopped", "--only", "gru", "--seeds", "2") == launch.STOPPED
    assert not list((tmp_path / "stopped" / "rows").rglob("seed-*.json"))
    assert call("--out", "stopped", "--resume") == 0  # the folder says the rest
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert rows_of(whole) == rows_of(stopped)
    assert (whole / "metrics.jsonl").read_bytes() == (stopped / "metrics.jsonl").read_bytes()


def test_a_sweep_has_a_row_for_each_value(tmp_path):
    """And what is saved of each runs as is best where it is read."""
    axes = ("learning_rate=0.1,1e-3", "epochs=1,2", "implementation=scan")
    assert call("--only", "gru", "--seeds", "1", "--sweep", *axes) == 0
    rows = rows_of(tmp_path / "runs" / "example")
    assert list(rows) == [
        f"gru learning_rate={rate} epochs={epochs} implementation=scan"
        for rate in (0.1, 0.001)
        for epochs in (1, 2)
    ]
    assert len({seeds[0] for seeds in rows.values()}) > 2
    for row in rows:
        assert runs.load(tmp_path / "runs" / "example", row).model.layer == MODELS["gru"].layer


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--only", "gru,linaer"], "there is no row linaer; see --list for the rows. Did you mean"),
        (["--sweep", "learning_rat=1"], "there is no option learning_rat to sweep. Did you mean"),
        (["--sweep", "seed=1,2"], "there is no option seed to sweep"),
        (["--sweep", "epochs=1,many"], "'many' is no value"),
        (["--epochs", "0"], "--epochs must be at least 1"),
    ],
)
def test_bad_options_are_told(args, message, capsys):
    assert call(*args, "--seeds", "1") == 2
    assert message in capsys.readouterr().err


def test_a_seed_of_other_settings_is_not_mixed_in(capsys, tmp_path):
    assert call("--only", "gru", "--seeds", "1") == 0
    path = tmp_path / "runs" / "example" / "rows" / "gru" / "seed-0.json"
    saved = json.loads(path.read_text())
    for change, message in (
        ({"settings": {"epochs": 4, "learning_rate": 9.0}}, "learning_rate = 9.0, not 0.1"),
        ({"more": 1}, "no outcome of this version"),
    ):
        path.write_text(json.dumps(saved | change))
        assert call("--resume") == 2
        assert message in capsys.readouterr().err


def test_a_resume_needs_only_the_folder_and_names_what_contradicts_it(capsys, tmp_path):
    assert call("--out", "here", "--only", "linear", "--epochs", "1", "--seeds", "2") == 0
    assert call("--out", "here", "--resume", "--epochs", "2") == 2
    assert "started with epochs = 1, not 2" in capsys.readouterr().err
    assert call("--out", "here", "--resume", "--seeds", "3") == 0
    assert call("--out", "here", "--resume", "--only", "linaer") == 2
    assert call("--out", "nowhere", "--resume") == 2
    assert "nowhere: there is no run to resume" in capsys.readouterr().err
    config = json.loads((tmp_path / "here" / "config.json").read_text())
    assert (config["epochs"], config["seeds"], config["only"]) == (1, 3, "linear")


OTHER = """
import os, sys, time
from pathlib import Path
from seqjax.storage.files import lock_folder
folders = [Path(name) for name in sys.argv[1:]]
for folder in folders:
    folder.mkdir(exist_ok=True)
locks = [lock_folder(folder) for folder in folders]
print("locked", flush=True)
time.sleep(60)
"""


def test_two_processes_do_not_share_a_folder(capsys, tmp_path):
    assert call("--out", "here", "--only", "linear", "--epochs", "1", "--seeds", "1") == 0
    command = [sys.executable, "-c", OTHER, "here", "new"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as other:
        assert other.stdout.readline() == "locked\n"
        assert call("--out", "here", "--resume", "--seeds", "2") == 2
        assert "here: another process is running in this folder" in capsys.readouterr().err
        # One that has just begun: nothing is there but its folder.
        assert call("--out", "new") == 2
        assert (tmp_path / "new").is_dir()
        other.kill()
        assert json.loads((tmp_path / "here" / "config.json").read_text())["seeds"] == 1
    assert call("--out", "here", "--resume", "--seeds", "2") == 0


# -- finished runs ---------------------------------------------------------------------


def test_a_trained_model_is_loaded_by_one_call(tmp_path, caplog):
    assert call("--out", "here", "--seeds", "2", "--epochs", "2") == 0
    caplog.clear()
    run = runs.load("here", "gru", seed=1)
    assert not caplog.text
    assert run.model.layer == MODELS["gru"].layer
    assert (run.extra, run.step, len(run.history)) == ({"scale": 2.0}, 6, 2)
    best = min(line["validation_loss"] for line in run.history)
    error = np.mean((np.asarray(run.model.apply(run.params, jnp.asarray(X))) - X[:, -1]) ** 2)
    assert error == pytest.approx(best, rel=1e-5)
    assert runs.load("here", "linear").model.layer == MODELS["linear"].layer

    with pytest.raises(runs.RunError, match=r"no trained model 'lstm'.* rows are gru, linear, own"):
        runs.load("here", "lstm")
    with pytest.raises(runs.RunError, match="there is no seed 7; there are 0, 1"):
        runs.load("here", "gru", 7)
    with pytest.raises(runs.RunError, match=r"was not written down .*load\(model=\.\.\.\)"):
        runs.load("here", "own")
    assert runs.load("here", "own", model=MODELS["own"]).step == 6


def test_reading_takes_no_lock_and_deletes_nothing(tmp_path):
    assert call("--out", "here", "--only", "gru", "--seeds", "1", "--epochs", "2") == 0
    saves = runs.checkpoint_folder(tmp_path / "here", "gru", 0)
    (saves / "99").mkdir()  # as if a save were under way
    with train.Checkpoints(tmp_path / "elsewhere", {}, every=1):
        files = sorted(tmp_path.rglob("*"))
        lock = os.open(saves, os.O_RDONLY)
        assert runs.load("here", "gru").step == 6
        os.close(lock)
    assert sorted(tmp_path.rglob("*")) == files
    state = next((saves / "6" / "state").rglob("*.zarray"), None) or max(
        (path for path in (saves / "6" / "state").rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    state.write_bytes(b"x" * state.stat().st_size)
    with pytest.raises(CheckpointError, match="6: it cannot be used"):
        runs.load("here", "gru")


# -- what all experiments share ----------------------------------------------------------


def test_a_trace_and_tensorboards_files_are_written(tmp_path):
    options = ["--only", "linear", "--seeds", "2", "--epochs", "4"]
    assert call(*options, "--profile", "2", "--tensorboard", "--out", "here") == 0
    traces = list((tmp_path / "here" / "profile" / "linear").rglob("*.xplane.pb"))
    assert traces
    assert all(path.stat().st_size > 1000 for path in traces)
    for seed in (0, 1):
        (events,) = (tmp_path / "here" / "tensorboard" / "linear" / f"seed-{seed}").iterdir()
        assert b"validation_loss" in events.read_bytes()
    assert "profile" not in json.loads((tmp_path / "here" / "config.json").read_text())


def test_bfloat16_computes_narrow_and_keeps_wide(tmp_path):
    common = ["--only", "gru", "--seeds", "2", "--epochs", "5"]
    assert call(*common, "--out", "wide") == 0
    assert call(*common, "--out", "narrow", "--dtype", "bfloat16") == 0
    wide, narrow = (np.mean(rows_of(tmp_path / name)["gru"]) for name in ("wide", "narrow"))
    assert narrow == pytest.approx(wide, rel=0.2)
    assert narrow != wide
    run = runs.load(tmp_path / "narrow", "gru")
    assert run.model.apply(run.params, jnp.asarray(X)).dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(run.params)} == {jnp.dtype("float32")}


def test_what_was_saved_on_other_devices_is_read(tmp_path):
    """Here on four, in a process of its own on one."""
    everywhere = jax.NamedSharding(train.data_mesh(), jax.P())
    state = {"w": np.arange(3, dtype=np.float32), "key": np.uint32(7)}
    with train.Checkpoints(tmp_path / "saves", {}, every=1) as saves:
        saves.save(1, jax.device_put(state, everywhere))
    code = (
        "import sys, jax; from seqjax.train.reading import read_checkpoint;"
        "state = read_checkpoint(sys.argv[1]).state;"
        "print(jax.device_count(), state['w'].tolist(), int(state['key']))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "saves"], capture_output=True, text=True, check=True
    )
    assert found.stdout == "1 [0.0, 1.0, 2.0] 7\n"
    assert jax.device_count() == 4
