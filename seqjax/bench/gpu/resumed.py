"""A small training to kill: ``python -m seqjax.bench.gpu.resumed FOLDER CALLS``.

It goes on from what it finds in FOLDER, kills itself (SIGKILL) after so many jitted calls (0:
never), and ends with FOLDER/final.npz: every leaf of the last state.
"""

import os
import signal
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from seqjax import models, train


def main() -> None:
    """Train a GRU with dropout, a schedule and clipping, six epochs of five steps."""
    folder, calls = Path(sys.argv[1]), int(sys.argv[2])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(36, 6, 1)).astype(np.float32)
    model = models.make("gru", inputs=1, features=(16,), outputs=1, last=True, dropout=0.2)

    def loss(params: dict, batch: dict[str, Array], key: Array | None) -> Array:
        y = model.apply(params, batch["x"], key=key)
        return jnp.mean((y - batch["y"]) ** 2, axis=-1)

    batches = train.array_batches({"x": x, "y": x.sum(1)}, 8)
    schedule = optax.cosine_decay_schedule(0.03, 6 * batches.steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    done = 0

    def kill() -> bool:
        nonlocal done
        done += 1
        if done == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    with train.Checkpoints(folder / "checkpoints", {}, every=batches.steps) as checkpoints:
        params = model.init(jax.random.key(0))
        settings = {"epochs": 6, "seed": 3, "checkpoints": checkpoints, "stop": kill}
        state = train.fit(loss, params, optimizer, batches, **settings).state
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    np.savez(folder / "final.npz", allow_pickle=False, **{str(k): a for k, a in enumerate(leaves)})


if __name__ == "__main__":
    main()
