"""NaN and infinity in data, loss or gradient: skipped, named, and never saved."""

import json
import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax.train import Checkpoints, MetricsLog, array_batches, fit, fit_seeds, group
from seqjax.train.finite import Watch

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(np.float32)
START = {"w": jnp.ones(3), "b": jnp.zeros(())}
ADAM = optax.adam(0.1)


def squares(params, batch, key):
    return (batch["x"] @ params["w"] + params["b"]) ** 2


def bad_loss(params, batch, key):
    return squares(params, batch, key) + jnp.where(batch["step"] == 4, jnp.inf, 0.0)


def bad_gradient(params, batch, key):
    """Its value is finite; its slope at 0 is not."""
    zero = jnp.where(batch["step"] == 4, 0.0 * params["b"], 1.0)
    return squares(params, batch, key) + jnp.sqrt(zero)


def huge_gradient(params, batch, key):
    """Finite, but its square is not: it would stay in Adam's second moment for ever."""
    huge = jnp.where(batch["step"] == 4, 1e25, 0.0)
    return squares(params, batch, key) + huge * params["b"]


def data(bad=()):
    """Three examples a step; `bad` steps, counted from 1, have NaN in x."""
    x = X.copy()
    for step in bad:
        x[3 * (step - 1)] = np.nan
    return {"step": np.repeat(np.arange(1, 5), 3), "x": x}


def batches_of(bad=()):
    return array_batches(data(bad), 3, shuffle=False)  # 4 steps an epoch


def without(step):
    """The same training with that step left out."""

    @jax.jit
    def update(params, state, x):
        gradient = jax.grad(lambda p: jnp.mean(squares(p, {"x": x}, None)))(params)
        updates, state = ADAM.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    params, state = START, ADAM.init(START)
    for number in range(1, 5):
        if number != step:
            params, state = update(params, state, X[3 * number - 3 : 3 * number])
    return params, state


def assert_close(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), a, b)


@pytest.mark.parametrize(
    ("loss", "bad", "message"),
    [
        (squares, [2], r"at step 2 the loss was nan, in its batch, batch\['x'\] is not finite"),
        (bad_loss, [], r"at step 4 the loss was inf, though its batch is finite"),
        (bad_gradient, [], r"at step 4 .*and the gradient of params\['b'\] is not finite"),
        (huge_gradient, [], r"at step 4 .*but the gradient's square, or the parameters"),
    ],
)
def test_a_step_that_is_not_finite_changes_nothing_and_is_told(
    tmp_path, caplog, loss, bad, message
):
    log = MetricsLog(tmp_path / "log")
    done = fit(loss, START, ADAM, batches_of(bad), epochs=1, metrics=log)
    params, opt_state = without(bad[0] if bad else 4)
    assert_close(done.params, params)
    assert_close(done.state.opt_state, opt_state)
    assert int(done.state.step) == 4
    (told,) = caplog.records
    assert told.levelno == logging.WARNING
    assert re.search(message, told.getMessage()), told.getMessage()
    (line,) = map(json.loads, log.path.read_text().splitlines())
    assert line["skipped"] == 1
    assert np.isfinite(line["loss"])


def test_several_in_an_epoch_are_counted_and_told_once_a_call(caplog):
    done = fit(squares, START, ADAM, batches_of([2, 4]), epochs=2, steps_per_call=2)
    assert [line["skipped"] for line in done.history] == [2, 2]
    assert len(caplog.records) == 2  # a warning for each epoch: saves and ends look
    assert re.search(r"2 steps .*: at step 2 .*; at step 4 ", caplog.records[0].getMessage())


def test_good_steps_are_told_nothing_of(caplog):
    done = fit(squares, START, ADAM, batches_of(), epochs=2)
    assert not caplog.records
    assert all("skipped" not in line for line in done.history)


def test_after_too_many_in_a_row_it_ends_with_the_last_good_checkpoint(tmp_path):
    with Checkpoints(tmp_path, {}, every=1) as checkpoints:
        message = (
            r"2 steps in a row were .* at step 3 the loss was nan.*The state of step 3 is saved"
        )
        with pytest.raises(FloatingPointError, match=message):
            fit(
                squares,
                START,
                ADAM,
                batches_of([3, 4]),
                epochs=3,
                steps_per_call=1,
                max_skips=2,
                checkpoints=checkpoints,
            )
    expected = fit(squares, START, ADAM, batches_of([3, 4]), epochs=1)
    with Checkpoints(tmp_path, {}, every=1) as checkpoints:
        run = {"fit": {"seed": 0, "steps_per_epoch": 4, "steps_per_call": 1}}
        step, state, *_ = checkpoints.restore(expected.state, **run)
    assert step == 3
    assert_close(state.params, expected.params)


def test_what_comes_after_too_many_changes_nothing_either(monkeypatch):
    """They may lie in the middle of one jitted call."""
    states = []

    class Looking(Watch):
        def check(self, state, **options):
            states.append(state)
            return super().check(state, **options)

    monkeypatch.setattr(group, "Watch", Looking)
    message = r"2 steps in a row were .* at step 1 the loss was nan"
    with pytest.raises(FloatingPointError, match=message):
        fit(squares, START, ADAM, batches_of([1, 2]), epochs=1, max_skips=2)
    (state,) = states
    assert float(state.weight_sum) == 0.0  # though steps 3 and 4 are good
    assert int(state.skipped.in_epoch) == 2


def test_an_epoch_of_nothing_else_has_no_loss_and_the_row_goes_on():
    with pytest.raises(FloatingPointError, match=r"6 steps in a row were .*Nothing is saved"):
        fit(squares, START, ADAM, batches_of([1, 2, 3, 4]), epochs=2, max_skips=6)


def test_one_step_skipped_does_not_end_a_run_of_one_step_an_epoch(tmp_path):
    def loss(params, batch, key):  # once, by a chance that does not come again
        bad = jnp.any(jax.random.key_data(key) == bad_key) if key is not None else False
        return squares(params, batch, key) + jnp.where(bad, jnp.nan, 0.0)

    noise = jax.random.fold_in(jax.random.split(jax.random.key(0))[1], 1)
    bad_key = jax.random.key_data(noise)[0]
    whole = array_batches(data(), 12)
    log = MetricsLog(tmp_path / "log")
    done = fit(loss, START, ADAM, whole, epochs=3, validation=whole, metrics=log, progress="run")
    assert [line["loss"] is None for line in done.history] == [False, True, False]
    assert done.history[1]["skipped"] == 1
    assert json.loads(log.path.read_text().splitlines()[1])["loss"] is None


def test_half_precision_is_judged_in_float32():
    """Gradients whose squares a half cannot hold."""
    start = {"w": jnp.full(3, 30, jnp.float16)}

    def loss(params, batch, key):
        return jnp.sum(params["w"].astype(jnp.float32) * 1e3) + 0.0 * batch["x"][:, 0]

    done = fit(loss, start, optax.sgd(1e-4), batches_of(), epochs=1)
    assert "skipped" not in done.history[0]


def test_max_skips_must_be_at_least_one():
    with pytest.raises(ValueError, match="max_skips must be at least 1, a whole number, not 0"):
        fit(squares, START, ADAM, batches_of(), epochs=1, max_skips=0)


def test_a_parameter_that_is_not_finite_from_the_start_is_named():
    start = START | {"b": jnp.asarray(jnp.nan)}
    with pytest.raises(FloatingPointError, match=r"params\['b'\] is not finite from the start"):
        fit(squares, start, ADAM, batches_of(), epochs=1)


def explode(params, batch, key):
    return squares(params, batch, key) * 1e3


@pytest.mark.parametrize("every", [1, 3])
def test_no_checkpoint_ever_holds_what_is_not_finite(tmp_path, every):
    """Steps so large that parameters overflow; every saved state is looked at."""
    seen = []

    class Looking(Checkpoints):
        def save(self, step, state, **run):
            parts = jax.tree.leaves((state.params, state.opt_state))
            seen.append(all(bool(jnp.isfinite(leaf).all()) for leaf in parts))
            super().save(step, state, **run)

    with Looking(tmp_path, {}, every=every) as checkpoints, pytest.raises(FloatingPointError):
        fit(
            explode,
            START,
            optax.sgd(1e3),
            batches_of(),
            epochs=20,
            steps_per_call=1,
            checkpoints=checkpoints,
        )
    assert seen
    assert all(seen)


def logarithm(params, batch, key):
    return squares(params, batch, key) + jnp.log(params["b"] - 1.0)


@pytest.mark.parametrize(
    ("loss", "bad", "message"),
    [
        (
            logarithm,
            [],
            r"at step 1, done again, .*test_finite.py:\d+ `return .*log\(.*`: invalid .* in log",
        ),
        (bad_gradient, [], r"at step 4, done again.*invalid value \((nan|inf)\) encountered in"),
        (squares, [3], r"at step 3 the batch itself is not finite: batch\['x'\]"),
        (huge_gradient, [], r"at step 4 loss and gradient are finite when done again"),
    ],
)
def test_debug_nans_finds_the_operation(loss, bad, message):
    with pytest.raises(FloatingPointError, match=message):
        fit(loss, START, ADAM, batches_of(bad), epochs=2, debug_nans=True)


def test_debug_nans_finds_the_operation_of_a_seed():
    message = r"at step 4, done again.*: invalid value \((nan|inf)\) encountered in"
    runs = fit_seeds(
        bad_gradient,
        lambda key: START,
        ADAM,
        batches_of(),
        epochs=2,
        seeds=(0, 1, 2),
        devices=jax.devices()[:2],
        debug_nans=True,
    )
    with pytest.raises(FloatingPointError, match=message):
        next(runs)


def test_a_seed_that_fails_is_named_and_the_others_are_done():
    def init(key):
        return START | {"b": jax.random.normal(key)}

    def loss(params, batch, key):  # NaN where the first b is negative, for ever
        return squares(params, batch, key) + jnp.where(params["b"] < 0, jnp.nan, 0.0)

    signs = [float(jax.random.normal(jax.random.key(seed))) < 0 for seed in range(8)]
    good, bad = signs.index(False), signs.index(True)
    runs = fit_seeds(loss, init, optax.sgd(0.0), batches_of(), epochs=3, seeds=(bad, good))
    seed, done = next(runs)
    assert (seed, len(done.history)) == (good, 3)
    with pytest.raises(
        FloatingPointError,
        match=rf"^fit_seeds, seed {bad}: 10 steps in a row were .*: at step 1 the",
    ):
        next(runs)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_seed_of_bad_parameters_is_named_and_the_other_is_done(order):
    def init(key):
        good = jnp.all(jax.random.key_data(key) == jax.random.key_data(jax.random.key(1)))
        return START | {"b": jnp.where(good, 0.0, jnp.nan)}

    runs = fit_seeds(squares, init, ADAM, batches_of(), epochs=2, seeds=order, max_skips=3)
    seed, _ = next(runs)
    assert seed == 1
    message = r"^fit_seeds, seed 0: params\['b'\] is not finite from the start"
    with pytest.raises(FloatingPointError, match=message):
        next(runs)
