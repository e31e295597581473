"""A long run takes no more of anything after it than at its start."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax.train import Checkpoints, MetricsLog, array_batches, fit

BATCHES = array_batches({"x": np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)}, 8)


def loss(params, batch, key):
    x = (
        batch["x"] * jax.random.bernoulli(key, 0.9, batch["x"].shape)
        if key is not None
        else batch["x"]
    )
    return jnp.mean((x @ params - x) ** 2, axis=-1)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def run_and_look(folder, *, steps, every, **saving):
    """Memory, open files and compilations after each of the run's calls."""
    compiled, looks = [], []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    def look():
        looks.append((resident_bytes(), open_files(), len(compiled)))
        return False

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        with Checkpoints(folder / "saves", {}, every=every, **saving) as checkpoints:
            done = fit(
                loss,
                jnp.zeros((8, 8)),
                optax.adam(1e-3),
                BATCHES,
                epochs=steps // BATCHES.steps,
                validation=BATCHES,
                metrics=MetricsLog(folder / "metrics.jsonl"),
                checkpoints=checkpoints,
                stop=look,
            )
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert int(done.state.step) == steps
    return np.array(looks)


def assert_flat(looks, megabytes, every):
    """Nothing is compiled but in the first epoch and at the first save; later nothing grows."""
    compiled, saved = looks[:, 2], every // BATCHES.steps
    assert compiled[2] == compiled[saved - 1]
    assert compiled[saved + 1] == compiled[-1]
    memory, files, compiled = looks[len(looks) // 5 :].T
    quarter = len(files) // 4
    assert min(files[-quarter:]) <= min(files[:quarter])  # more are open during a save
    growth = (np.median(memory[-quarter:]) - np.median(memory[:quarter])) / 1e6
    assert growth < megabytes
    return growth, compiled[-1]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc, of Linux")
def test_a_run_of_a_thousand_steps_does_not_grow(tmp_path):
    assert_flat(run_and_look(tmp_path, steps=1000, every=100, in_background=False), 4, 100)


@pytest.mark.soak
def test_a_run_of_ten_thousand_steps_does_not_grow(tmp_path, record_property):
    """TensorStore 0.1.86 loses some Python objects at every save: `to_json` of a spec leaks."""
    (tmp_path / "few").mkdir()
    looks = run_and_look(tmp_path / "few", steps=10_000, every=500)
    growth, compiled = assert_flat(looks, 2, every=500)
    (tmp_path / "many").mkdir()
    many, _ = assert_flat(run_and_look(tmp_path / "many", steps=10_000, every=25), 12, every=25)
    record_property(
        "figure",
        f"11 leaks: 10,000 steps, 20 saves: resident memory {growth:+.1f} MB from the second"
        f" fifth to the last, {compiled} programs compiled, none after the first epoch and save,"
        f" no more open files; with 400 saves {many:+.1f} MB, {many * 1e3 / 240:.0f} kB a save"
        " (TensorStore)",
    )
