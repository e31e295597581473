"""Section "training": resumed bit for bit after a kill, and bfloat16 of every architecture."""

import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from seqjax import models, nn, ops, train
from seqjax.bench.gpu.measure import side_by_side
from seqjax.bench.gpu.rows import Emit, Row, problem

ARCHITECTURES = (*ops.CELLS, "wavenet")
HORIZON = 10


def run(dry: bool, emit: Emit) -> None:
    """Rows: equal bits after a kill; validation errors in float32 and bfloat16."""
    names = ("lstm",) if dry else ARCHITECTURES
    with tempfile.TemporaryDirectory() as folder:
        jobs = {"resumed after a kill": partial(_resumed, Path(folder))}
        jobs |= {f"bfloat16, {name}": partial(_bfloat16, name, dry) for name in names}
        for what, result in side_by_side(jobs, 1 if dry else len(jobs)):
            if isinstance(result, Exception):
                emit(problem({"what": what}, result))
            else:
                emit(result._replace(labels={"what": what}))


def _bfloat16(architecture: str, dry: bool) -> Row:
    wide, narrow = (validation_error(architecture, t, dry) for t in ("float32", "bfloat16"))
    values = {"float32, MSE": wide, "bfloat16, MSE": narrow, "ratio": narrow / wide}
    # One seed and few epochs: what breaks is told from what only scatters.
    good = narrow < 1.25 * wide
    return Row({}, values, "ok" if good else "FAILED", "" if good else "above 1.25")


def _resumed(folder: Path) -> Row:
    """One run to its end beside one that is killed and goes on, operations deterministic."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    environment = os.environ | {"XLA_FLAGS": flags, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}

    def program(name: str, calls: int) -> int:
        (folder / name).mkdir(exist_ok=True)
        command = [sys.executable, "-m", "seqjax.bench.gpu.resumed", str(folder / name), str(calls)]
        return subprocess.run(command, env=environment).returncode

    def killed() -> list[int]:
        return [program("killed", 3), program("killed", 0)]

    with ThreadPoolExecutor(2) as pool:
        whole, parts = pool.submit(program, "whole", 0), pool.submit(killed)
        codes = [whole.result(), *parts.result()]
    if codes != [0, -signal.SIGKILL, 0]:
        return Row({}, status="FAILED", note=f"the processes ended with {codes}")
    final = [folder / name / "final.npz" for name in ("whole", "killed")]
    with np.load(final[0]) as a, np.load(final[1]) as b:
        differ = [k for k in a.files if not np.array_equal(a[k], b[k])]
        leaves = len(a.files)
    note = f"{len(differ)} of {leaves} leaves differ" if differ else ""
    return Row({}, {"equal leaves": leaves - len(differ)}, "FAILED" if differ else "ok", note)


def validation_error(architecture: str, dtype: str, dry: bool) -> float:
    """The MSE ten steps ahead after a few epochs on sums of two sines."""
    examples, steps, epochs = (64, 12, 2) if dry else (1024, 50, 8)
    rng = np.random.default_rng(1)
    frequency, offset = rng.uniform(10, 30, (2, examples, 2, 1)), rng.uniform(size=(examples, 2, 1))
    t = np.linspace(0, 1, steps + HORIZON)
    series = np.sin((t - offset) * frequency[0]).sum(1) / 2
    series = (series + 0.05 * rng.normal(size=series.shape)).astype(np.float32)
    ahead = np.lib.stride_tricks.sliding_window_view(series[:, 1:], HORIZON, axis=1)
    data = {"x": series[:, :steps, None], "y": np.ascontiguousarray(ahead[:, :steps])}
    body = models.layers(architecture, (16, 16) if dry else (32, 32))
    model = models.from_layer(nn.Stack((*body, nn.Dense(HORIZON))), 1)
    model = models.in_dtype(model, dtype)

    def loss(params: Any, batch: dict[str, Array], key: Array | None) -> Array:
        errors = model.apply(params, batch["x"], key=key).astype(jnp.float32) - batch["y"]
        return jnp.mean(errors**2, axis=(1, 2))

    cut = 3 * examples // 4
    parts = [jax.tree.map(lambda a: a[:cut], data), jax.tree.map(lambda a: a[cut:], data)]
    batches, validation = (train.array_batches(part, 32) for part in parts)
    params = model.init(jax.random.key(0))
    settings: Any = {"epochs": epochs, "validation": validation}
    done = train.fit(loss, params, optax.adam(5e-3), batches, **settings)
    return float(done.history[-1]["validation_loss"])
