"""A small but complete training, as a process that can be killed.

    python program.py FOLDER [--synchronous]

Dropout, shuffling, a schedule, clipping, early stopping, saves; it goes on from what it
finds in FOLDER, and ends with FOLDER/final.npz: every leaf of the last state.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqjax import models, train

EPOCHS, BATCH, EXAMPLES = 30, 5, 36  # 24 to train: 5 steps an epoch, the last of 4 examples


def task():
    """Loss, initial parameters, optimizer, training and validation batches."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(EXAMPLES, 6, 1)).astype(np.float32)
    y = x.sum(1) + 0.3 * rng.normal(size=(EXAMPLES, 1)).astype(np.float32)
    model = models.make("gru", inputs=1, features=(8,), outputs=1, last=True, dropout=0.2)

    def loss(params, batch, key):
        return jnp.mean((model.apply(params, batch["x"], key=key) - batch["y"]) ** 2, axis=-1)

    batches = train.array_batches({"x": x[:24], "y": y[:24]}, BATCH)
    validation = train.array_batches({"x": x[24:], "y": y[24:]}, 5, shuffle=False)
    schedule = optax.cosine_decay_schedule(0.1, EPOCHS * batches.steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    return loss, model.init(jax.random.key(0)), optimizer, batches, validation


def run(folder, *, in_background=True, every=4, **options):
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
            epochs=EPOCHS,
            seed=3,
            validation=validation,
            early_stopping=train.EarlyStopping(patience=12),
            steps_per_call=2,
            metrics=log,
            checkpoints=checkpoints,
            **options,
        )


def leaves(state):
    """Name to leaf."""
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(state)
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    done = run(folder, in_background="--synchronous" not in sys.argv)
    np.savez(folder / "final.npz", **leaves(done.state))
