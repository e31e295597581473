"""Batches that the host makes: read ahead, in order, and from where a run stopped."""

import itertools
import os
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
    EarlyStopping,
    Losses,
    TrainingStopped,
    array_batches,
    data_mesh,
    evaluate,
    fit,
    fit_seeds,
    iterator_stream,
    stream,
)

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
START = {"w": jnp.full(2, 0.1)}


def loss(params, batch, key):
    return (batch[:, :2] @ params["w"] - batch[:, 2]) ** 2


def read(number):
    for n in itertools.count(number):
        yield X[4 * (n % 10) : 4 * (n % 10) + 4]


def same_trees(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("steps_per_call", [None, 3])
def test_a_stream_trains_as_the_same_batches_in_memory(steps_per_call):
    memory = array_batches(X, 4, shuffle=False)
    how = {"epochs": 3, "steps_per_call": steps_per_call}
    streamed = fit(loss, START, optax.adam(0.1), stream(read, 10), validation=memory, **how)
    resident = fit(loss, START, optax.adam(0.1), memory, validation=stream(read, 10), **how)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), streamed.params, resident.params
    )
    for a, b in zip(streamed.history, resident.history, strict=True):
        assert a == pytest.approx(b, rel=1e-5)
    expected = evaluate(loss, START, memory)
    assert evaluate(loss, START, stream(read, 10)) == pytest.approx(expected, rel=1e-6)


def test_seeds_and_meshes_read_one_stream():
    alone = fit(loss, START, optax.sgd(0.1), stream(read, 10), epochs=2)
    for _, done in fit_seeds(
        loss, lambda key: START, optax.sgd(0.1), stream(read, 10), epochs=2, seeds=(0, 1, 2)
    ):
        np.testing.assert_allclose(done.params["w"], alone.params["w"], rtol=1e-5)
    mesh = data_mesh(jax.devices()[:2])
    split = fit(loss, START, optax.sgd(0.1), stream(read, 10), epochs=2, mesh=mesh)
    np.testing.assert_allclose(split.params["w"], alone.params["w"], rtol=1e-5)


class Shuffled:
    """An iterator with a state of its own kind, as Grain's."""

    def __init__(self, packed):
        self.rng, self.packed = np.random.default_rng(3), packed

    def __iter__(self):
        return self

    def __next__(self):
        return X[self.rng.permutation(40)[:4]]

    def get_state(self):
        state = self.rng.bit_generator.state
        return repr(state).encode() if self.packed else state

    def set_state(self, state):
        self.rng.bit_generator.state = eval(state) if self.packed else state


def carried(params, batch, key, carry):
    return Losses(loss(params, batch, key) + 0.01 * carry**2, carry=0.5 * carry + jnp.mean(batch))


@pytest.mark.parametrize("source", ["numbered", "json", "bytes"])
def test_a_stopped_run_reads_on_where_it_was(tmp_path, source):
    """Position, carry, parameters and history: bit for bit the uninterrupted run's."""

    def make():
        if source == "numbered":
            return stream(read, 7)
        return iterator_stream(Shuffled(source == "bytes"), 7)

    how = {"epochs": 4, "steps_per_call": 2, "carry": jnp.zeros(())}
    how |= {"validation": array_batches(X, 8), "early_stopping": EarlyStopping()}
    whole = fit(carried, START, optax.adam(0.05), make(), **how)
    for calls in (1, 3, 6, None):
        asked = iter([False] * (calls or 99) + [True] * 99)
        with Checkpoints(tmp_path / source, {}, every=5) as saves:
            try:
                done = fit(
                    carried,
                    START,
                    optax.adam(0.05),
                    make(),
                    checkpoints=saves,
                    stop=lambda asked=asked: next(asked),
                    **how,
                )
            except TrainingStopped:
                continue
    same_trees(done.state, whole.state)
    assert done.history == whole.history


def test_seeds_one_after_another_read_the_same_batches_of_one_iterator():
    """The first ends early, with its thread ahead; the second begins at the start."""
    source = iterator_stream(Shuffled(packed=False), 5)
    runs = fit_seeds(
        loss,
        lambda key: START,
        optax.sgd(0.0),
        source,
        epochs=9,
        seeds=(0, 1, 2),
        devices=jax.devices()[:1],
        validation=array_batches(X, 8),
        early_stopping=EarlyStopping(1),
    )
    histories = [done.history for _, done in runs]
    assert histories[0] == histories[1] == histories[2]


def test_what_is_wrong_with_a_stream_is_told():
    def short(number):
        yield from itertools.islice(read(number), 5)

    def ragged(number):
        yield X[:4]
        yield X[:3]

    def broken(number):
        yield X[:4]
        raise OSError("the disk is gone")

    for source, error, message in (
        (short, ValueError, "the stream ended after 5 batches from position 0 on"),
        (ragged, ValueError, r"before position 2 is .*\(3, 3\).*, but those before it were"),
        (broken, OSError, "the disk is gone"),
    ):
        with pytest.raises(error, match=message):
            fit(loss, START, optax.sgd(0.1), stream(source, 10), epochs=1, steps_per_call=2)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        stream(read, 0)
    deadline = 50
    while deadline and any("_work" in thread.name for thread in threading.enumerate()):
        deadline -= 1
        threading.Event().wait(0.1)
    assert deadline, "a thread that reads ahead is left over"


def test_a_step_of_a_stream_that_is_not_finite_is_named():
    def spoilt(number):
        for n, batch in enumerate(read(number), number):
            yield np.where(n == 4, np.nan, batch).astype(np.float32)

    how = {"epochs": 1, "debug_nans": True, "steps_per_call": 3}
    with pytest.raises(FloatingPointError, match="at step 5 the batch itself is not finite"):
        fit(loss, START, optax.sgd(0.1), stream(spoilt, 10), **how)


LARGE = """
import itertools, sys
import jax, jax.numpy as jnp, numpy as np, optax
from seqjax.train import fit, stream
shape = (400_000, 256)  # 410 MB
file = np.memmap(sys.argv[1], np.float32, "w+", shape=shape)
rows = np.random.default_rng(0).normal(size=(4000, 256)).astype(np.float32)
for part in range(0, shape[0], 4000):
    file[part : part + 4000] = rows
file.flush()
held = []
def read(number):
    for n in itertools.count(number):
        lines = open("/proc/self/status").read().splitlines()
        held.extend(int(line.split()[1]) // 1024 for line in lines if "RssAnon" in line)
        first = n % 100 * 4000
        yield np.memmap(sys.argv[1], np.float32, "r", shape=shape)[first : first + 4000]
loss = lambda params, batch, key: (batch[:, :-1] @ params - batch[:, -1]) ** 2
fit(loss, jnp.zeros(255), optax.sgd(0.1), stream(read, 1), epochs=1)
before = max(held)
done = fit(loss, jnp.zeros(255), optax.sgd(0.1), stream(read, 100), epochs=2, steps_per_call=4)
print(done.state.step, max(held) - before)
"""


def test_a_file_larger_than_what_is_held(tmp_path):
    """A memory map of 410 MB, twice: the process grows by a few calls' batches."""
    found = subprocess.run(
        [sys.executable, "-c", LARGE, tmp_path / "large"],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"},  # in the memory that users need
    )
    assert found.returncode == 0, found.stderr[-2000:]
    step, grown = map(int, found.stdout.split())
    assert step == 200
    assert grown < 350, f"{grown} MB"
