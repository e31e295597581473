"""A small but complete training, as a process that can be killed.

    python program.py FOLDER [--kind fit|table|stream] [--synchronous] [--devices N]
        [--epochs N] [--every STEPS] [--per-call STEPS] [--pause SECONDS]

Dropout, shuffling, a schedule, clipping, early stopping, saves; one seed, a table of three
seeds on two devices, or a stream from a memory map with a carry from batch to batch. It goes
on from what it finds in FOLDER, and ends with FOLDER/final.npz: every leaf of the last state
(of each seed). Asked to
stop, it exits with 75. As one of several processes it writes FOLDER/pid-INDEX.
"""

import argparse
import functools
import itertools
import os
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqjax import models, train
from seqjax.storage.files import write_atomically
from seqjax.train.processes import join_processes

EPOCHS, BATCH, EXAMPLES = 30, 6, 40  # 28 to train: 5 steps an epoch, the last of 4 examples


def loss_and_model():
    """A network with dropout."""
    model = models.make("gru", inputs=1, features=(8,), outputs=1, last=True, dropout=0.2)

    def loss(params, batch, key):
        return jnp.mean((model.apply(params, batch["x"], key=key) - batch["y"]) ** 2, axis=-1)

    return loss, model


def task():
    """Loss, initial parameters, optimizer, training and validation batches."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(EXAMPLES, 6, 1)).astype(np.float32)
    y = x.sum(1) + 0.3 * rng.normal(size=(EXAMPLES, 1)).astype(np.float32)
    loss, model = loss_and_model()
    batches = train.array_batches({"x": x[:28], "y": y[:28]}, BATCH)
    validation = train.array_batches({"x": x[28:], "y": y[28:]}, 4, shuffle=False)
    schedule = optax.cosine_decay_schedule(0.03, EPOCHS * batches.steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    return loss, model.init(jax.random.key(0)), optimizer, batches, validation


def run(folder, *, in_background, every, **options):
    """Train in `folder`, from where it stands."""
    loss, params, optimizer, batches, validation = task()
    log = train.MetricsLog(folder / "metrics.jsonl", seed=0)
    with train.Checkpoints(
        folder / "checkpoints", {"program": 1}, every=every, in_background=in_background
    ) as checkpoints:
        return train.fit(
            loss,
            params,
            optimizer,
            batches,
            seed=3,
            validation=validation,
            early_stopping=train.EarlyStopping(patience=12),
            metrics=log,
            checkpoints=checkpoints,
            **options,
        ).state


def table(folder, *, in_background, every, **options):
    """Three seeds on two devices: a pair, and one alone."""
    _, _, optimizer, batches, validation = task()
    loss, model = loss_and_model()
    options.pop("mesh")
    runs = train.fit_seeds(
        loss,
        model.init,
        optimizer,
        batches,
        seeds=(0, 1, 2),
        validation=validation,
        early_stopping=train.EarlyStopping(patience=12),
        metrics=lambda seed: train.MetricsLog(folder / "metrics.jsonl", seed=seed),
        checkpoints=lambda seed: train.Checkpoints(
            folder / "checkpoints" / f"seed-{seed}",
            {"program": 1, "seed": seed},
            every=every,
            in_background=in_background,
        ),
        **options,
    )
    return {seed: done.state for seed, done in runs}


def read(path, number):
    """Batches of a series in order, each where the one before ended."""
    series = np.memmap(path, np.float32, "r", shape=(4, 60))
    for n in itertools.count(number):
        yield np.array(series[:, 6 * (n % 10) : 6 * (n % 10) + 6])


def streamed(folder, *, in_background, every, **options):
    """A network whose state goes on from batch to batch, over a file."""
    path = folder / "series"
    if not path.exists():
        rows = np.random.default_rng(0).normal(size=(4, 60)).astype(np.float32)
        write_atomically(path, rows.tobytes())
    model = models.make("gru", inputs=1, features=(8,), outputs=1, dropout=0.2)

    def loss(params, batch, key, carry):
        x, y = batch[:, :-1, None], batch[:, 1:, None]
        carry, found = model.apply(params, x, carry, key=key, return_carry=True)
        return train.Losses((found - y)[..., 0] ** 2, carry=carry)

    with train.Checkpoints(
        folder / "checkpoints", {"program": 1}, every=every, in_background=in_background
    ) as checkpoints:
        return train.fit(
            loss,
            model.init(jax.random.key(0)),
            optax.adam(0.01),
            train.stream(functools.partial(read, path), 10),
            carry=model.initial_carry(4),
            metrics=train.MetricsLog(folder / "metrics.jsonl", seed=0),
            checkpoints=checkpoints,
            **options,
        ).state


def leaves(state):
    """Name to leaf."""
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(state)
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=("fit", "table", "stream"), default="fit")
    parser.add_argument("--synchronous", action="store_true")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--per-call", type=int, default=2)
    parser.add_argument("--pause", type=float, default=0.0, help="after every call")
    options = parser.parse_args()
    several = join_processes(cluster=False)
    jax.config.update("jax_num_cpu_devices", options.devices)
    split = options.kind == "fit" and (several or options.devices > 1)
    mesh = train.data_mesh() if split else None
    (options.folder / f"pid-{jax.process_index()}").write_text(str(os.getpid()))

    def stop():
        time.sleep(options.pause)
        return train.stop_requested()

    try:
        with train.listen_for_stop():
            state = {"fit": run, "table": table, "stream": streamed}[options.kind](
                options.folder,
                in_background=not options.synchronous,
                every=options.every,
                epochs=options.epochs,
                steps_per_call=options.per_call,
                mesh=mesh,
                stop=stop,
            )
    except train.TrainingStopped as stopped:
        print(stopped, file=sys.stderr)
        return 75
    print("trained", flush=True)
    if jax.process_index() == 0:
        np.savez(options.folder / "final.npz", **leaves(state))
    return 0


if __name__ == "__main__":
    sys.exit(main())
