"""Time the training of chapter-15 models, ours against Keras 3 on its JAX backend.

    python scripts/bench_synthetic.py [--rounds 3] [--epochs 5] [--only lstm,gru]

Needs the test environment (./scripts/test makes it); run it in the repository's root.

For each model, each side trains on the same 7,000 series in a process of its own, the
processes taking turns: the book's batch size, optimizer and epoch-end validation. Ours
trains once a single seed, and once two seeds on two CPU devices (as `--seeds` does),
whose epochs are halved to seconds a seed. Prints the median of the epochs after the
first, in seconds, the ratios, and the first epochs (compilation included).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

OURS = """
import json, pathlib, tempfile, time
import jax

jax.config.update("jax_num_cpu_devices", {devices})
from experiments import synthetic_forecast as experiment
from experiments.chapter15 import RECIPES, optimizer_of
from seqjax import train

recipe = RECIPES["{row}"]
model = recipe.model()
batches = experiment.batches_of(recipe, experiment.TRAIN, size=32, shuffle=True)
ends = [time.perf_counter()]


class Clock(train.MetricsLog):
    def write(self, line):
        if self.common["seed"] == 0:
            ends.append(time.perf_counter())


with tempfile.TemporaryDirectory() as folder:
    for seed, done in train.fit_seeds(
        experiment.loss_of(recipe, model),
        model.init,
        optimizer_of(recipe, batches.steps, {epochs}),
        batches,
        epochs={epochs},
        seeds=range({devices}),
        validation=experiment.batches_of(recipe, experiment.VALIDATION, size=32, shuffle=False),
        metrics=lambda seed: Clock(pathlib.Path(folder) / "metrics.jsonl", seed=seed),
    ):
        pass
print(json.dumps([(after - before) / {devices} for before, after in zip(ends, ends[1:])]))
"""

KERAS = """
import json, time
import keras
from experiments import synthetic_forecast as experiment
from experiments.chapter15 import RECIPES

keras.utils.set_random_seed(0)
layers = keras.layers
recipe = RECIPES["{row}"]
kinds = {{"seq2seq": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}}
if "{row}" == "wavenet":
    body = [
        layers.Conv1D(20, 2, padding="causal", activation="relu", dilation_rate=rate)
        for rate in (1, 2, 4, 8) * 2
    ]
    head = layers.Conv1D(10, 1)
else:
    body = [kinds["{row}"](20, return_sequences=True) for _ in range(2)]
    head = layers.Dense(10)
model = keras.Sequential([layers.Input((None, 1)), *body, head])
assert model.count_params() == recipe.parameters
model.compile(loss="mse", optimizer=keras.optimizers.Adam(recipe.training.learning_rate))
parts = [
    experiment.task(10).part(part) for part in (experiment.TRAIN, experiment.VALIDATION)
]
(x, y), (x_val, y_val) = ((part.inputs, part.targets.copy()) for part in parts)


class Clock(keras.callbacks.Callback):
    seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.begun)


clock = Clock()
model.fit(
    x, y, batch_size=32, epochs={epochs}, validation_data=(x_val, y_val), verbose=0,
    callbacks=[clock],
)
print(json.dumps(clock.seconds))
"""


SIDES = {"ours": (OURS, 1), "two seeds": (OURS, 2), "Keras": (KERAS, 1)}


def epoch_seconds(code: str, row: str, epochs: int, devices: int) -> list[float]:
    """Run one side in a fresh process; its seconds for each epoch and seed."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"KERAS_BACKEND": "jax", "KERAS_HOME": folder}
        done = subprocess.run(
            [sys.executable, "-c", code.format(row=row, epochs=epochs, devices=devices)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Take turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--only", default="seq2seq,lstm,gru,wavenet")
    options = parser.parse_args()
    print(f"{'s an epoch and seed':<22}" + "".join(f"{side:>11}" for side in SIDES), end="")
    print("   Keras / ours  Keras / two seeds   first epochs")
    for row in options.only.split(","):
        rounds = []
        for number in range(1, options.rounds + 1):
            found = [
                epoch_seconds(code, row, options.epochs, devices)
                for code, devices in SIDES.values()
            ]
            later = [statistics.median(seconds[1:]) for seconds in found]
            ratios = [later[2] / later[0], later[2] / later[1]]
            rounds.append([*later, *ratios, *(seconds[0] for seconds in found)])
            show(row, f"round {number}", rounds[-1])
        show(row, "median", [statistics.median(column) for column in zip(*rounds, strict=True)])


def show(row: str, name: str, figures: list[float]) -> None:
    """Print a line: epochs, ratios, first epochs."""
    print(f"{row:<12} {name:<9}", end="")
    print("".join(f"{figure:11.3f}" for figure in figures[:3]), end="")
    print(f"{figures[3]:15.2f} {figures[4]:18.2f}   ", end="")
    print(" ".join(f"{figure:.2f}" for figure in figures[5:]), flush=True)


if __name__ == "__main__":
    main()
