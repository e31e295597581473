"""Time the textbook milk recipe, ours against Keras 3 on its JAX backend.

    python scripts/bench_milk.py [--rounds 3] [--seeds 5]

Needs the test environment (./scripts/test makes it). Each side trains its seeds in a
process of its own, the processes taking turns; a process is timed from after its
imports to its last forecast, compilation and validation after every epoch included,
checkpoints and pictures not (Keras makes none). Prints seconds per seed and the
ratio, round by round, and medians.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

OURS = """
import time
from experiments import milk
from seqjax import data, forecast
series = data.read_series(data.MILK_CSV, "Date", "Production")
task = forecast.values_task(series, 12, 32)
settings = milk.RECIPES["textbook"]
begun = time.perf_counter()
model = milk.make_model("textbook", settings, 12)
for seed, done in milk.fit_seeds(range({seeds}), settings, task, model):
    model.apply(done.params, task.inputs[task.split.test]).block_until_ready()
print("seconds", time.perf_counter() - begun)
"""

KERAS = """
import time
import keras
import numpy as np
from experiments import milk
from seqjax import data, forecast
series = data.read_series(data.MILK_CSV, "Date", "Production")
task = forecast.values_task(series, 12, 32)
known = slice(0, task.split.test.start)
begun = time.perf_counter()
for seed in range({seeds}):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([
        keras.layers.Input((12, 1)),
        keras.layers.LSTM(128, return_sequences=True),
        keras.layers.Dropout(0.2),
        keras.layers.LSTM(128),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(1),
    ])
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    model.fit(task.inputs[known], task.targets[known], epochs=100, batch_size=32,
              validation_split=0.1, verbose=0)
    test = task.split.test
    output = model.predict(task.inputs[test], verbose=0)[:, 0]
    actual = data.unscale(task.scaler, task.targets[test][:, 0])
    errors = data.unscale(task.scaler, output) - actual
    print("rmse", np.sqrt(np.mean(errors ** 2)))
print("seconds", time.perf_counter() - begun)
"""


def seconds(code: str, seeds: int) -> float:
    """Run one side in a fresh process; its seconds per seed."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"KERAS_BACKEND": "jax", "KERAS_HOME": folder}
        done = subprocess.run(
            [sys.executable, "-c", code.format(seeds=seeds)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
    lines = [line.split() for line in done.stdout.splitlines()]
    errors = [float(value) for name, value in lines if name == "rmse"]
    if errors:
        print("    Keras RMSE by seed:", *(f"{error:.1f}" for error in errors))
    return float(lines[-1][1]) / seeds


def main() -> None:
    """Take turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    rounds = []
    for number in range(1, options.rounds + 1):
        ours, keras = (seconds(code, options.seeds) for code in (OURS, KERAS))
        rounds.append((ours, keras))
        print(f"round {number}: ours {ours:.2f} s, Keras {keras:.2f} s, ratio {ours / keras:.2f}")
    ours, keras = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(a / b for a, b in rounds)
    print(f"median:  ours {ours:.2f} s, Keras {keras:.2f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
