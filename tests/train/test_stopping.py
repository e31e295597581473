"""Asked to stop at any moment: saved at the next boundary, and resumed to the same end."""

import os
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax.train import (
    Checkpoints,
    MetricsLog,
    TrainingStopped,
    array_batches,
    fit,
    listen_for_stop,
    stop_requested,
    stopping,
)

RNG = np.random.default_rng(0)
DATA = {"x": RNG.normal(size=(11, 3)).astype(np.float32), "id": np.arange(11)}
START = {"w": jnp.ones(3)}
BATCHES = array_batches(DATA, 4)  # 3 steps an epoch
ADAM = optax.adam(0.1)
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def squares(params, batch, key):
    return (batch["x"] @ params["w"]) ** 2


def ask(number):
    os.kill(os.getpid(), number)


def while_compiling(number, monkeypatch):
    """A loss that is traced anew, and sends the signal then."""

    def loss(params, batch, key):
        if key is not None:
            ask(number)
        return squares(params, batch, key)

    return loss


def on_device(number, *, training):
    asked = []

    def send(_):
        if len(asked) < 3:
            asked.append(0)
            if len(asked) == 3:
                ask(number)

    def loss(params, batch, key):
        if (key is not None) == training:
            jax.debug.callback(send, params["w"][0])
        return squares(params, batch, key)

    return loss


def while_training(number, monkeypatch):
    return on_device(number, training=True)


def while_evaluating(number, monkeypatch):
    return on_device(number, training=False)


def while_saving(number, monkeypatch):
    save = Checkpoints.save

    def asking(self, step, state, **run):
        monkeypatch.setattr(Checkpoints, "save", save)
        save(self, step, state, **run)
        ask(number)  # it is being written now

    monkeypatch.setattr(Checkpoints, "save", asking)
    return squares


def run(folder, loss):
    with Checkpoints(folder / "saved", {}, every=2) as checkpoints:
        return fit(
            loss,
            START,
            ADAM,
            BATCHES,
            epochs=5,
            validation=BATCHES,
            steps_per_call=1,
            metrics=MetricsLog(folder / "metrics.jsonl"),
            checkpoints=checkpoints,
        )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run, and its log."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder, squares), (folder / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        (while_compiling, signal.SIGTERM),
        (while_training, signal.SIGINT),
        (while_evaluating, signal.SIGTERM),
        (while_saving, signal.SIGINT),
    ],
)
def test_a_signal_saves_and_ends_training(tmp_path, monkeypatch, capfd, whole, moment, number):
    with (
        pytest.raises(
            TrainingStopped, match=r"stopped at step (\d+) of 15. The state of step \1 is"
        ),
        listen_for_stop(),
    ):
        run(tmp_path, moment(number, monkeypatch))
    assert f"{number.name}: stops and saves" in capfd.readouterr().err
    resumed, (done, log) = run(tmp_path, squares), whole
    jax.tree.map(np.testing.assert_array_equal, resumed.state, done.state)
    assert resumed.history == done.history
    assert (tmp_path / "metrics.jsonl").read_bytes() == log


def test_a_stop_before_the_first_step_compiles_nothing(tmp_path):
    def loss(params, batch, key):
        raise AssertionError("it was traced")

    with pytest.raises(TrainingStopped, match=r"stopped at step 0 of 3. Nothing is saved"):
        fit(loss, START, optax.sgd(0.1), array_batches(DATA, 4), epochs=1, stop=lambda: True)


def test_a_run_that_is_done_is_not_stopped():
    asked = iter([False, True])
    done = fit(
        squares, START, optax.sgd(0.1), array_batches(DATA, 11), epochs=1, stop=lambda: next(asked)
    )
    assert len(done.history) == 1


def test_what_several_processes_agreed_on_stays(monkeypatch):
    """JAX's hook is true at one boundary only, which may be the last of a first training."""
    answers = iter([False, True, False, False])
    monkeypatch.setattr(stopping.jax, "process_count", lambda: 2)
    monkeypatch.setattr(stopping.ocp.multihost, "reached_preemption", lambda _: next(answers))
    monkeypatch.setattr(stopping, "_agreed", [])
    assert [stop_requested() for _ in range(4)] == [False, True, True, True]


def test_the_request_ends_with_the_listening():
    former = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with listen_for_stop():
        ask(signal.SIGTERM)
        while not stop_requested():
            pass
    assert not stop_requested()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == former


def test_outside_the_main_thread_nothing_changes():
    def listen():
        with listen_for_stop():
            found.append(signal.getsignal(signal.SIGTERM))

    found = []
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_ends_the_process_while_python_waits_for_c(number):
    """As in a long compilation: the main thread never comes back to take the signal."""
    program = f"""
import ctypes, os, threading, time
from seqjax.train import listen_for_stop

def send():
    for _ in range(2):
        time.sleep(0.2)
        os.kill(os.getpid(), {int(number)})

with listen_for_stop():
    threading.Thread(target=send).start()
    while True:
        ctypes.CDLL(None).sigsuspend(ctypes.create_string_buffer(128))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 128 + number
    assert f"{number.name} once more: ends at once" in done.stderr


def test_no_example_is_repeated_or_skipped_wherever_a_run_is_resumed(tmp_path):
    """At every step: before the first, after the last of an epoch, after the last of all."""
    seen = []

    def loss(params, batch, key):
        if key is not None:
            jax.debug.callback(lambda ids: seen.append(ids.tolist()), batch["id"], ordered=True)
        return squares(params, batch, key)

    def run(folder, until=None):
        boundary = iter(range(100))
        with Checkpoints(tmp_path / folder, {}, every=100) as checkpoints:
            fit(
                loss,
                START,
                ADAM,
                BATCHES,
                epochs=3,
                steps_per_call=1,
                checkpoints=checkpoints,
                stop=lambda: next(boundary) == until,
            )
        jax.effects_barrier()
        order = [*seen]
        seen.clear()
        return order

    whole = run("whole")
    assert len(whole) == 9
    for epoch in range(3):
        ids = [number for step in whole[3 * epoch : 3 * epoch + 3] for number in step]
        assert sorted(ids[:11]) == list(range(11))  # the twelfth fills up the last batch
    for step in range(9):
        with pytest.raises(TrainingStopped):
            run(f"{step}", until=step)
        jax.effects_barrier()
        first = [*seen]
        seen.clear()
        assert len(first) == step
        assert first + run(f"{step}") == whole
    run("9", until=9)  # nothing is left to do: it is not stopped
    assert run("9") == []
