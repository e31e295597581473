import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from seqjax.train import (
    CheckpointError,
    Checkpoints,
    EarlyStopping,
    MetricsLog,
    array_batches,
    data_mesh,
    evaluate,
    fit,
)
from seqjax.train.processes import local

RNG = np.random.default_rng(0)
X = RNG.normal(size=(11, 3)).astype(np.float32)
Y = (X @ np.array([1.0, -2.0, 0.5]) + 0.1 * RNG.normal(size=11)).astype(np.float32)
DATA = {"x": X, "y": Y}
BATCHES = array_batches(DATA, 4)  # 3 steps an epoch, the last of 3 examples
START = {"w": jnp.zeros(3), "b": jnp.zeros(())}
ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(0.1, 60)))


def loss(params, batch, key):
    x = batch["x"]
    if key is not None:  # dropout on the inputs, so that noise matters
        x = x * jax.random.bernoulli(key, 0.9, x.shape) / 0.9
    return (x @ params["w"] + params["b"] - batch["y"]) ** 2


def plain_loss(params, batch, key):
    return loss(params, batch, None)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_step_is_that_of_optax_on_the_mean_over_real_examples():
    """One epoch by hand, the short last batch included."""
    optimizer = optax.sgd(0.1)
    done = fit(plain_loss, START, optimizer, array_batches(DATA, 4, shuffle=False), epochs=1)
    params = START
    for rows in (slice(0, 4), slice(4, 8), slice(8, 11)):
        batch = {"x": X[rows], "y": Y[rows]}
        gradient = jax.grad(lambda p, b=batch: jnp.mean(plain_loss(p, b, None)))(params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), done.params, params)


def test_it_learns():
    done = fit(plain_loss, START, optax.adam(0.1), BATCHES, epochs=40)
    np.testing.assert_allclose(done.params["w"], [1.0, -2.0, 0.5], atol=0.2)
    assert done.history[-1]["loss"] < 0.05 < done.history[0]["loss"]
    assert [line["epoch"] for line in done.history] == list(range(1, 41))
    assert done.history[-1]["step"] == int(done.state.step) == 120


def test_the_seed_is_all_the_chance_there_is():
    a, b, c = (fit(loss, START, ADAM, BATCHES, epochs=3, seed=s).params for s in (0, 0, 1))
    assert_equal(a, b)
    assert (a["w"] != c["w"]).any()


def test_the_size_of_the_jitted_calls_changes_nothing():
    whole = fit(loss, START, ADAM, BATCHES, epochs=4, validation=BATCHES)
    parts = fit(loss, START, ADAM, BATCHES, epochs=4, validation=BATCHES, steps_per_call=2)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), whole.params, parts.params
    )
    for a, b in zip(whole.history, parts.history, strict=True):
        assert a == pytest.approx(b, rel=1e-5)


def test_parameters_passed_in_stay_usable():
    start = {"w": jnp.ones(3), "b": jnp.ones(())}
    fit(loss, start, ADAM, BATCHES, epochs=1)
    assert float(start["w"].sum()) == 3.0


def test_validation_is_the_mean_without_noise():
    done = fit(loss, START, ADAM, BATCHES, epochs=2, validation=array_batches(DATA, 5))
    expected = float(jnp.mean(plain_loss(done.params, DATA, None)))
    assert done.history[-1]["validation_loss"] == pytest.approx(expected, rel=1e-5)
    assert evaluate(loss, done.params, array_batches(DATA, 2)) == pytest.approx(expected, rel=1e-5)


def test_early_stopping_ends_with_the_best_parameters():
    away = array_batches({"x": X, "y": Y + 3.0}, 4)  # what training moves away from, in time
    start = {"w": jnp.zeros(3), "b": jnp.full((), 2.0)}
    options = {"epochs": 30, "validation": away}
    stopped = fit(plain_loss, start, ADAM, BATCHES, early_stopping=EarlyStopping(4), **options)
    losses = [line["validation_loss"] for line in stopped.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 4 < 30
    assert evaluate(plain_loss, stopped.params, away) == losses[best] < losses[-1]
    unsaid = fit(plain_loss, start, ADAM, BATCHES, early_stopping=EarlyStopping(), **options)
    assert len(unsaid.history) == best + 1 + 10 < 30
    patient = fit(plain_loss, start, ADAM, BATCHES, early_stopping=EarlyStopping(None), **options)
    assert len(patient.history) == 30
    with pytest.raises(ValueError, match="needs validation"):
        fit(loss, START, ADAM, BATCHES, epochs=1, early_stopping=EarlyStopping())


def test_nothing_compiles_again_for_another_seed(compilations):
    def run(epochs, seed):
        fit(loss, START, ADAM, BATCHES, epochs=epochs, seed=seed, validation=BATCHES)

    run(epochs=2, seed=0)
    assert not compilations(lambda: run(epochs=3, seed=5))


def test_a_validation_loss_that_is_no_number_stops_the_run():
    bad = array_batches({"x": X, "y": Y * np.nan}, 4)
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 3, data\['y'\] is not"):
        fit(plain_loss, START, ADAM, BATCHES, epochs=2, validation=bad)


def test_a_scalar_loss_is_refused():
    with pytest.raises(ValueError, match="one loss for each example"):
        fit(lambda p, b, k: jnp.mean(loss(p, b, k)), START, ADAM, BATCHES, epochs=1)


class Stop(Exception):
    pass


class StoppingLog(MetricsLog):
    """Ends the run as a kill would: after a line is written, before the save."""

    def write(self, line):
        super().write(line)
        if line["epoch"] == self.stop_at:
            raise Stop


@pytest.mark.parametrize("stop_at", [1, 4, 5, 9])
def test_a_resumed_run_ends_bit_for_bit_where_the_uninterrupted_one_ends(tmp_path, stop_at):
    options = {
        "epochs": 10,
        "validation": array_batches(DATA, 5),
        "early_stopping": EarlyStopping(),
        "steps_per_call": 2,
    }
    uninterrupted = fit(loss, START, ADAM, BATCHES, metrics=MetricsLog(tmp_path / "a"), **options)

    log = StoppingLog(tmp_path / "b")
    log.stop_at = stop_at
    with Checkpoints(tmp_path / "saves", {}, every=5) as saves, pytest.raises(Stop):
        fit(loss, START, ADAM, BATCHES, metrics=log, checkpoints=saves, **options)
    with Checkpoints(tmp_path / "saves", {}, every=5) as saves:
        log = MetricsLog(tmp_path / "b")
        resumed = fit(loss, START, ADAM, BATCHES, metrics=log, checkpoints=saves, **options)
    assert_equal(resumed.state, uninterrupted.state)
    assert_equal(resumed.params, uninterrupted.params)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert resumed.history == uninterrupted.history
    steps = [json.loads(line)["step"] for line in (tmp_path / "b").read_text().splitlines()]
    assert steps == list(range(3, 31, 3))


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path, caplog):
    """With its metrics and its best parameters: everything ends as if nothing had been."""
    options = {"validation": array_batches(DATA, 5), "early_stopping": EarlyStopping()}

    def run(folder, epochs):
        with Checkpoints(tmp_path / folder / "saves", {}, every=3) as saves:
            log = MetricsLog(tmp_path / folder / "log")
            return fit(
                loss, START, ADAM, BATCHES, epochs=epochs, metrics=log, checkpoints=saves, **options
            )

    whole = run("whole", 8)
    run("damaged", 5)
    for path in (tmp_path / "damaged" / "saves" / "15" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    resumed = run("damaged", 8)
    assert "step 15 is damaged" in caplog.text
    assert "going on from step 12" in caplog.text
    assert_equal(resumed.state, whole.state)
    assert resumed.history == whole.history
    logs = [tmp_path / folder / "log" for folder in ("whole", "damaged")]
    assert logs[0].read_bytes() == logs[1].read_bytes()


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    def run():
        with Checkpoints(tmp_path / "saves", {}, every=3) as saves:
            log = MetricsLog(tmp_path / "log")
            return fit(loss, START, ADAM, BATCHES, epochs=3, metrics=log, checkpoints=saves)

    first, second = run(), run()
    assert_equal(first.state, second.state)
    assert first.history == second.history


def test_another_runs_checkpoint_is_refused(tmp_path):
    with Checkpoints(tmp_path, {"config": {"width": 3}}, every=3) as saves:
        fit(loss, START, ADAM, BATCHES, epochs=1, checkpoints=saves)
    with (
        Checkpoints(tmp_path, {"config": {"width": 4}}, every=3) as saves,
        pytest.raises(CheckpointError, match=r"config.width was 3 and is now 4"),
    ):
        fit(loss, START, ADAM, BATCHES, epochs=2, checkpoints=saves)


def test_another_seed_fewer_epochs_or_another_model_are_refused(tmp_path):
    def run(params=START, seed=0, epochs=2, optimizer=ADAM):
        with Checkpoints(tmp_path, {"features": (8, 8)}, every=3) as saves:
            options = {"epochs": epochs, "seed": seed, "checkpoints": saves}
            return fit(plain_loss, params, optimizer, BATCHES, **options)

    run()
    run()  # a tuple in the metadata comes back as a list, which is no difference
    with pytest.raises(CheckpointError, match=r"fit.seed was 0 and is now 7"):
        run(seed=7)
    with pytest.raises(ValueError, match="1 epochs are 3 steps, but 6 are already done"):
        run(epochs=1)
    with pytest.raises(CheckpointError, match=r"step 6 holds another model: .*\['c'\]"):
        run(params=START | {"c": jnp.zeros(2)})


def test_a_log_is_not_overwritten_without_checkpoints(tmp_path):
    log = MetricsLog(tmp_path / "log", seed=0)
    fit(loss, START, ADAM, BATCHES, epochs=1, metrics=log)
    with pytest.raises(ValueError, match="already holds"):
        fit(loss, START, ADAM, BATCHES, epochs=1, metrics=log)


def test_only_the_newest_checkpoints_stay(tmp_path):
    with Checkpoints(tmp_path, {}, every=3, keep=2) as saves:
        fit(loss, START, ADAM, BATCHES, epochs=5, checkpoints=saves)
    assert sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()) == [12, 15]


def test_a_batch_split_over_devices_trains_the_same():
    """Two devices against one: the same noise, the same order, sums added up differently."""
    options = {"epochs": 3, "validation": BATCHES, "early_stopping": EarlyStopping()}
    one = fit(loss, START, ADAM, BATCHES, **options)
    two = fit(loss, START, ADAM, BATCHES, mesh=data_mesh(jax.devices()[:2]), **options)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one.params, two.params)
    assert [line["step"] for line in one.history] == [line["step"] for line in two.history]
    assert len(two.params["w"].sharding.device_set) == 2


@pytest.mark.parametrize("order", [(4, 1, 2), (1, 4, 1), (2, 1, 4)])
def test_a_run_moves_between_devices(tmp_path, order):
    """What is restored is what was saved; going on differs by rounding alone."""
    divided = array_batches({"x": X[:8], "y": Y[:8]}, 4)  # by four devices
    whole = fit(loss, START, ADAM, divided, epochs=3)
    before = None
    for epochs, devices in enumerate(order, start=1):
        mesh = data_mesh(jax.devices()[:devices]) if devices > 1 else None
        run = partial(fit, loss, START, ADAM, divided, mesh=mesh)
        with Checkpoints(tmp_path, {}, every=1) as checkpoints:
            if before is not None:  # nothing to train: restored on these devices, and returned
                assert_equal(run(epochs=epochs - 1, checkpoints=checkpoints).state, before)
            done = run(epochs=epochs, checkpoints=checkpoints)
        before = jax.device_get(done.state)
        assert len(done.params["w"].sharding.device_set) == devices
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        done.params,
        whole.params,
    )


def test_a_mesh_that_would_split_nothing_is_refused():
    for mesh in (
        jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,)),
        jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,)),
    ):
        with pytest.raises(ValueError, match='must have an automatic axis "data"'):
            fit(loss, START, ADAM, BATCHES, epochs=1, mesh=mesh)


def test_parameters_split_over_processes_are_refused(monkeypatch):
    """Saved or returned they would be one process's fragment."""
    mesh = jax.make_mesh((2,), ("model",), axis_types=(AxisType.Auto,))
    split = jax.device_put(jnp.ones(4), jax.NamedSharding(mesh, jax.P("model")))
    whole = jax.device_put(jnp.ones(4), jax.NamedSharding(mesh, jax.P()))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert local({"w": whole})["w"].shape == (4,)
    with pytest.raises(
        ValueError, match=r"params\['w'\] is split over processes .* replicate them"
    ):
        local({"w": split})


def test_a_checkpoint_is_told_how_to_be_written(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="keep must be at least 1, not 0"):
        Checkpoints(tmp_path, {}, every=1, keep=0)
    monkeypatch.setattr("os.access", lambda *_: False)  # a test may run as root

    def fail(*_, **__):
        raise PermissionError("Permission denied")

    with Checkpoints(tmp_path / "saves", {}, every=1) as saves:
        monkeypatch.setattr(saves._manager, "save", fail)
        with pytest.raises(CheckpointError, match="cannot be written: make it writable, and go on"):
            saves.save(1, START)
