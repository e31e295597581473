"""Long versions of what tests/train holds in short."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax import models
from seqjax.train import Checkpoints, TrainingStopped, array_batches, data_mesh, fit

pytestmark = pytest.mark.soak

MODEL = models.make("gru", inputs=1, features=(8,), outputs=1, last=True, dropout=0.2)
EXAMPLES, BATCH, EPOCHS = 44, 8, 6  # 6 steps an epoch, the last of 4 examples
RNG = np.random.default_rng(0)
X = RNG.normal(size=(EXAMPLES, 6, 1)).astype(np.float32)
DATA = {"x": X, "y": X.sum(1), "id": np.arange(EXAMPLES)}
BATCHES = array_batches(DATA, BATCH)
PARAMS = MODEL.init(jax.random.key(0))
ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(0.1, 36)))


def loss(params, batch, key):
    y = MODEL.apply(params, batch["x"], key=key)
    return jnp.mean((y - batch["y"]) ** 2, axis=-1)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_every_step_is_one_to_resume_at(tmp_path, record_property):
    """Ids of the examples, and the state at the end, wherever the run was cut in two."""
    seen = []

    def watched(params, batch, key):
        jax.debug.callback(lambda ids: seen.append(tuple(ids.tolist())), batch["id"], ordered=True)
        return loss(params, batch, key)

    def run(folder, until=None):
        boundaries = iter(range(1000))
        with Checkpoints(tmp_path / folder, {}, every=1000) as checkpoints:
            done = fit(
                watched,
                PARAMS,
                ADAM,
                BATCHES,
                epochs=EPOCHS,
                steps_per_call=1,
                checkpoints=checkpoints,
                stop=lambda: next(boundaries) == until,
            )
        return done.state

    def taken():
        jax.effects_barrier()
        found = [*seen]
        seen.clear()
        return found

    state = run("whole")
    whole = taken()
    steps = EPOCHS * BATCHES.steps
    assert len(whole) == steps
    for epoch in range(EPOCHS):
        of_epoch = whole[epoch * BATCHES.steps : (epoch + 1) * BATCHES.steps]
        ids = [number for step in of_epoch for number in step][:EXAMPLES]
        assert sorted(ids) == list(range(EXAMPLES))
    for step in range(steps):
        with pytest.raises(TrainingStopped):
            run(f"{step}", until=step)
        before = taken()
        assert len(before) == step
        assert_equal(run(f"{step}"), state)
        assert before + taken() == whole
    record_property(
        "figure",
        f"2 data: {steps} runs of {steps} steps cut in two after each step: ids of examples, once"
        " an epoch each, and the last state equal the uninterrupted run's",
    )


def test_signals_at_random_moments(start, tmp_path, record_property):
    """Compilation, training, evaluation, saving: wherever it falls."""
    begun = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    assert start(tmp_path / "compiled").wait() == 0
    seconds = (time.monotonic() - begun) / 2

    def one(number):
        chance, folder = random.Random(number), tmp_path / str(number)
        process = start(folder)
        while not (folder / "pid-0").exists():  # it imports: nothing to save yet
            time.sleep(0.01)
        time.sleep(0.3 + chance.uniform(0, 0.7 * seconds))
        process.send_signal(signal.SIGTERM if number % 2 else signal.SIGINT)
        status = process.wait(timeout=120)
        said = (folder / "output").read_text()
        assert ("stopped at step" in said) == (status == 75)
        assert ("trained" in said) == (status != 75)  # or else it came too late
        if not (folder / "final.npz").exists():
            assert start(folder).wait() == 0
        with np.load(folder / "final.npz") as a, np.load(tmp_path / "whole" / "final.npz") as b:
            for name in b.files:
                np.testing.assert_array_equal(a[name], b[name], strict=True)
        metrics = [path / "metrics.jsonl" for path in (folder, tmp_path / "whole")]
        assert metrics[0].read_bytes() == metrics[1].read_bytes()
        return status

    with ThreadPoolExecutor(2) as threads:
        stopped = sum(status == 75 for status in threads.map(one, range(30)))
    assert stopped > 10
    record_property(
        "figure",
        f"3 asked to stop: 30 signals (SIGTERM, SIGINT) at random moments: {stopped} saved and"
        f" ended with status 75, {30 - stopped} came too late; 30 of 30 end bit for bit the same",
    )


def test_nothing_finite_is_lost_wherever_a_nan_falls(caplog, record_property):
    """A batch is spoilt at step k: the run is that of an optimizer that leaves step k out."""

    def spoilt(step_of_nan, kind, params, batch, key):
        losses = loss(params, batch, key)
        # A loss does not know its step; the batch's ids tell it.
        here = jnp.all(batch["id"] == step_of_nan)
        if kind == "loss":
            return jnp.where(here, jnp.inf, losses)
        zero = jnp.where(here, 0.0 * jnp.sum(params["layers_1"]["dense"]["bias"]), 1.0)
        return losses + jnp.sqrt(zero) - 1.0  # finite, its slope is not

    plan = BATCHES.plan(DATA, jax.random.fold_in(jax.random.split(jax.random.key(0))[0], 0))
    found = 0
    for kind in ("loss", "gradient"):
        for step in range(BATCHES.steps):  # of the first epoch
            ids = plan[0][step]
            done = fit(partial(spoilt, ids, kind), PARAMS, ADAM, BATCHES, epochs=1)
            expected = _without(step)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
                done.params,
                expected,
            )
            told = caplog.records[-1].getMessage()
            assert f"at step {step + 1} the loss was" in told
            assert ("though its batch is finite" in told) == (kind == "loss")
            found += 1
    record_property(
        "figure",
        f"6 not a number: infinity in the loss or NaN in a gradient at each of {BATCHES.steps}"
        f" steps: {found} of {found} runs go on as if that step had not been, and name it",
    )


def _without(left_out):
    """The first epoch by hand, a step left out."""
    order_key, noise_key = jax.random.split(jax.random.key(0))
    rows, weights = BATCHES.plan(DATA, jax.random.fold_in(order_key, 0))
    params, state = PARAMS, ADAM.init(PARAMS)

    @jax.jit
    def step(params, state, row, weight, number):
        def mean(params):
            losses = loss(params, batch, jax.random.fold_in(noise_key, number))
            return jnp.sum(losses * weight) / jnp.sum(weight)

        batch = jax.tree.map(lambda a: jnp.asarray(a)[row], DATA)
        updates, state = ADAM.update(jax.grad(mean)(params), state, params)
        return optax.apply_updates(params, updates), state

    for number in range(BATCHES.steps):
        if number != left_out:
            params, state = step(params, state, rows[number], weights[number], number)
    return params


def test_every_move_between_one_two_and_four_devices(tmp_path, record_property):
    worst = 0.0
    whole = fit(loss, PARAMS, ADAM, BATCHES, epochs=3).params
    orders = [(a, b, c) for a in (1, 2, 4) for b in (1, 2, 4) for c in (1, 2, 4) if a != b != c]
    for order in orders:
        before = None
        for epochs, devices in enumerate(order, start=1):
            mesh = data_mesh(jax.devices()[:devices])
            run = partial(fit, loss, PARAMS, ADAM, BATCHES, mesh=mesh)
            folder = tmp_path / "-".join(map(str, order))
            with Checkpoints(folder, {}, every=1000) as checkpoints:
                if before is not None:  # nothing to train: restored, and returned
                    state = run(epochs=epochs - 1, checkpoints=checkpoints).state
                    assert_equal(jax.device_get(state), before)
                done = run(epochs=epochs, checkpoints=checkpoints)
            before = jax.device_get(done.state)
        gaps = jax.tree.map(lambda a, b: np.abs(a - b).max(), jax.device_get(done.params), whole)
        worst = max(worst, *jax.tree.leaves(gaps))
    assert worst < 1e-5
    record_property(
        "figure",
        f"7 other devices: {len(orders)} runs over 1, 2 and 4 devices in every order: each"
        f" restored leaf equal; at the end at most {worst:.1e} from one device alone",
    )
