"""A checkpoint that this release's format 1 wrote, kept in the tests, still loads.

Legitimate to change: never. A new format keeps this folder and this test, reading format 1
or refusing it by name, and adds a folder of its own, written by

    python tests/train/test_golden.py tests/train/golden/format-2
"""

import json
import shutil
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax

from seqjax.train import Checkpoints, EarlyStopping, array_batches, fit

GOLDEN = Path(__file__).parent / "golden" / "format-1"
BATCHES = array_batches({"x": jnp.arange(12.0).reshape(6, 2) / 10}, 3)


def loss(params, batch, key):
    return (batch["x"] @ params["w"] + params["b"] - 1.0) ** 2


def train(folder, epochs):
    with Checkpoints(folder, {"experiment": "golden"}, every=2, keep=1) as checkpoints:
        return fit(
            loss,
            {"w": jnp.zeros(2), "b": jnp.zeros(())},
            optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)),
            BATCHES,
            epochs=epochs,
            validation=BATCHES,
            early_stopping=EarlyStopping(),
            checkpoints=checkpoints,
        )


def test_it_loads_and_training_goes_on(tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(GOLDEN / "checkpoints", folder)
    done = train(folder, epochs=2)  # which it has done: nothing is trained
    values = json.loads((GOLDEN / "values.json").read_text())
    assert int(done.state.step) == values["step"] == 4
    for name, value in values["params"].items():
        np.testing.assert_array_equal(done.state.params[name], np.float32(value))
    more = train(folder, epochs=3)
    assert int(more.state.step) == 6
    fresh = train(tmp_path / "fresh", epochs=3)
    np.testing.assert_allclose(more.params["w"], fresh.params["w"], rtol=1e-5)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    done = train(target / "checkpoints", epochs=2)
    for path in target.rglob("commit_success.txt"):
        path.write_text("Checkpoint commit was successful\n")  # not of which machine
    params = {name: np.asarray(value).tolist() for name, value in done.state.params.items()}
    values = {"step": int(done.state.step), "params": params}
    (target / "values.json").write_text(json.dumps(values) + "\n")
