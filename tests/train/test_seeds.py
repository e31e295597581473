import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax import models
from seqjax.train import (
    Checkpoints,
    EarlyStopping,
    MetricsLog,
    TrainingStopped,
    array_batches,
    fit,
    fit_seeds,
    with_running_statistics,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 6, 1)).astype(np.float32)
MODEL = models.make("gru", inputs=1, features=(5,), outputs=1, last=True, dropout=0.2)
BATCHES = array_batches({"x": X[:15], "y": X[:15, -1]}, 4)
VALIDATION = array_batches({"x": X[15:], "y": X[15:, -1]}, 4, shuffle=False)
ADAM = optax.adam(0.05)


def loss(params, batch, key):
    return jnp.mean((model_output(params, batch, key) - batch["y"]) ** 2, axis=-1)


def model_output(params, batch, key):
    return MODEL.apply(params, batch["x"], key=key)


def run(**options):
    return dict(
        fit_seeds(loss, MODEL.init, ADAM, BATCHES, epochs=4, validation=VALIDATION, **options)
    )


@functools.cache
def alone(seed, **options):
    return fit(
        loss,
        MODEL.init(jax.random.key(seed)),
        ADAM,
        BATCHES,
        epochs=4,
        seed=seed,
        validation=VALIDATION,
        **options,
    )


def test_over_devices_each_seed_ends_where_it_ends_alone_bit_for_bit(capsys):
    """Three seeds on two devices: a pair, and one left over."""
    together = run(seeds=(0, 7, 3), devices=jax.devices()[:2], progress="table")
    lines = capsys.readouterr().err.splitlines()
    of_pair, of_one = (lines[:4], lines[4:])
    assert all(line.startswith("table (1-2 of 3), seed 0-7 ") for line in of_pair)
    assert all(line.startswith("table (3 of 3), seed 3 ") for line in of_one)
    # The first call compiles: an epoch of it alone has no rate.
    assert ["steps/s" in line for line in of_pair] == [False, True, True, True]
    assert list(together) == [0, 7, 3]
    for seed, done in together.items():
        one = alone(seed)
        jax.tree.map(np.testing.assert_array_equal, done.params, one.params)
        jax.tree.map(np.testing.assert_array_equal, done.state, one.state)
        assert done.history == one.history


@pytest.mark.parametrize("devices", [1, 2])
def test_side_by_side_on_a_device_each_seed_ends_where_it_ends_alone(devices):
    together = run(seeds=(0, 1, 2), per_device=3, devices=jax.devices()[:devices])
    for seed, done in together.items():
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            done.params,
            alone(seed).params,
        )


def test_the_best_parameters_are_those_of_early_stopping():
    for seed, done in run(seeds=(0, 1), early_stopping=EarlyStopping()).items():
        one = alone(seed, early_stopping=EarlyStopping())
        jax.tree.map(np.testing.assert_array_equal, done.params, one.params)


def test_each_seed_logs_its_own_lines_and_drops_those_of_an_unfinished_run(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"seed": 1, "step": 4, "loss": 9.0}\n{"seed": 5, "step": 4, "loss": 8.0}\n')
    done = run(seeds=(0, 1), metrics=lambda seed: MetricsLog(path, seed=seed))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {"seed": 5, "step": 4, "loss": 8.0}
    for seed in (0, 1):
        mine = [line for line in lines if line["seed"] == seed]
        assert mine == [{"seed": seed} | line for line in done[seed].history]


def test_a_seed_that_fails_is_named():
    huge = optax.sgd(1e30)
    with pytest.raises(FloatingPointError, match=r"seed [01].*learning rate"):
        dict(fit_seeds(loss, MODEL.init, huge, BATCHES, epochs=4, seeds=(0, 1)))


def test_a_seed_that_fails_leaves_the_others_their_results():
    def fails_from_one(key):  # seed 1 starts where its loss is not finite
        params = MODEL.init(key)
        bad = jnp.array_equal(jax.random.key_data(key), jax.random.key_data(jax.random.key(1)))
        return jax.tree.map(lambda a: jnp.where(bad, jnp.nan, a), params)

    options = {"epochs": 4, "seeds": (0, 1), "validation": VALIDATION}
    runs, done = fit_seeds(loss, fails_from_one, ADAM, BATCHES, **options), {}
    with pytest.raises(FloatingPointError, match="seed 1:"):
        done.update(runs)
    assert list(done) == [0]
    jax.tree.map(np.testing.assert_array_equal, done[0].params, alone(0).params)


def test_errors_say_what_is_missing():
    how = {"epochs": 1, "seeds": (0,), "early_stopping": EarlyStopping()}
    with pytest.raises(ValueError, match="needs validation"):
        fit_seeds(loss, MODEL.init, ADAM, BATCHES, **how)  # at the call: no loop over it yet
    with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
        run(seeds=(0,), compiler_options={"no_such_option": True})
    with pytest.raises(ValueError, match="at least one seed"):
        fit_seeds(loss, MODEL.init, ADAM, BATCHES, epochs=1, seeds=())


def test_running_statistics_are_no_business_of_the_optimizer():
    params = {"layer": {"scale": jnp.ones(2), "running_mean": jnp.zeros(2)}}
    gradient = {"layer": {"scale": jnp.full(2, 1e3), "running_mean": jnp.full(2, -2.0)}}
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    transformation = with_running_statistics(clipped, momentum=0.5)
    updates, _ = transformation.update(gradient, transformation.init(params), params)
    np.testing.assert_allclose(updates["layer"]["running_mean"], 1.0)
    np.testing.assert_allclose(updates["layer"]["scale"], -np.sqrt(0.5), rtol=1e-5)


# -- a table of several seeds, interrupted -------------------------------------------


class Killed(Exception):
    pass


class Dying(Checkpoints):
    """Ends the process, as it were, before the save whose turn it is."""

    left = 0

    def save(self, step, state, **more):
        if step != self.latest_step():
            Dying.left -= 1
            if Dying.left < 0:
                self.wait()
                raise Killed
        super().save(step, state, **more)


def table(folder, kind=Checkpoints, stopping=None, **options):
    return run(
        seeds=(0, 7, 3),
        devices=jax.devices()[:2],
        checkpoints=lambda seed: kind(folder / str(seed), {"seed": seed}, every=3),
        metrics=lambda seed: MetricsLog(folder / "metrics.jsonl", seed=seed),
        steps_per_call=2,
        early_stopping=stopping,
        **options,
    )


def assert_same_table(one, other):
    assert list(one) == list(other)
    for a, b in zip(one.values(), other.values(), strict=True):
        jax.tree.map(np.testing.assert_array_equal, (a.state, a.params), (b.state, b.params))
        assert a.history == b.history


def test_killed_anywhere_a_table_of_seeds_goes_on_bit_for_bit(tmp_path):
    """Also between the saves of two seeds of a pair, and with one of them at its end."""
    whole = table(tmp_path / "whole")
    for saves in (5, 9, 13):
        folder, Dying.left = tmp_path / str(saves), saves
        with pytest.raises(Killed):
            table(folder, Dying)
        assert_same_table(table(folder), whole)
        logs = [
            sorted((path / "metrics.jsonl").read_text().splitlines())
            for path in (folder, tmp_path / "whole")
        ]
        assert logs[0] == logs[1]


def test_asked_to_stop_a_table_saves_and_goes_on_bit_for_bit(tmp_path):
    whole = table(tmp_path / "whole")
    asked = iter([False, False, True] + [False] * 9 + [True])
    for message in ("stopped at step 4 of 16", "stopped at step"):
        with pytest.raises(TrainingStopped, match=message):
            table(tmp_path / "stopped", stop=lambda: next(asked))
    assert_same_table(table(tmp_path / "stopped"), whole)


def test_each_seed_has_its_own_patience(tmp_path):
    """One that ends before the other waits for it, and is not trained on after a resume."""
    patient = EarlyStopping(1)
    together = table(tmp_path / "a", stopping=patient)
    for seed, done in together.items():
        assert_same_table(
            {seed: done}, {seed: alone(seed, early_stopping=patient, steps_per_call=2)}
        )
    assert_same_table(table(tmp_path / "a", stopping=patient), together)


@pytest.mark.parametrize("per_device", [1, 2])
def test_a_typed_random_key_in_the_optimizers_state(per_device):
    noisy = optax.noisy_sgd(0.01, key=jax.random.key(5))
    runs = fit_seeds(
        loss,
        MODEL.init,
        noisy,
        BATCHES,
        epochs=1,
        seeds=(0, 1),
        per_device=per_device,
        devices=jax.devices()[:1],
    )
    one = fit(loss, MODEL.init(jax.random.key(1)), noisy, BATCHES, epochs=1, seed=1)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        dict(runs)[1].params,
        one.params,
    )


@pytest.mark.parametrize(
    ("seeds", "per_device", "message"),
    [
        ((0,), 0, "per_device must be at least 1"),
        ((0, 0), None, "each once"),
        ((0, -1), None, "from 0 to 4294967295, not -1"),
        ((0.5,), None, "a seed is a whole number"),
        (([0, 1], [2]), None, "a seed is a whole number"),
        ((99999999999999999999,), None, "from 0 to 4294967295"),
    ],
)
def test_seeds_that_are_none(seeds, per_device, message):
    with pytest.raises(ValueError, match=message):
        dict(run(seeds=seeds, per_device=per_device))


def test_seeds_may_be_an_array():
    assert list(run(seeds=np.arange(2))) == [0, 1]


def test_seeds_at_steps_of_their_own_lose_nothing(tmp_path):
    """More seeds beside those under way: each goes on from where it is."""

    def some(seeds, **options):
        return run(
            seeds=seeds,
            devices=jax.devices()[:4],
            checkpoints=lambda seed: Checkpoints(tmp_path / str(seed), {}, every=3),
            **options,
        )

    boundaries = iter([False] * 3 + [True])
    with pytest.raises(TrainingStopped, match="step 12"):
        some((0, 1), stop=lambda: next(boundaries))
    saved = sorted(path.name for path in (tmp_path / "0").iterdir())
    heard = []

    class Listen:
        def epoch(self, seed, line):
            heard.append((seed, line["epoch"]))

    done = some((0, 1, 2), callbacks=[Listen()])
    assert saved == ["12", "8"]
    assert sorted(heard) == [(0, 4), (1, 4), *((2, epoch) for epoch in (1, 2, 3, 4))]
    for seed, one in done.items():
        jax.tree.map(np.testing.assert_array_equal, one.params, alone(seed).params)
