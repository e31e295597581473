"""Time the training of chapter-15 models, ours against Keras 3 on its JAX backend.

    python scripts/bench_synthetic.py [--rounds 3] [--epochs 5] [--only lstm,gru]

Needs the test environment (./scripts/test makes it). For each model, each side trains on
the same 7,000 series in a process of its own, the processes taking turns: the book's
batch size, optimizer and epoch-end validation. Prints the first epoch (compilation
included) and the median of the others, in seconds, and the ratio round by round.
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
from experiments import synthetic_forecast as experiment
from experiments.chapter15 import RECIPES, optimizer_of
from seqjax import train

recipe = RECIPES["{row}"]
model = recipe.model()
loss = experiment.loss_of(recipe, model)
batches = experiment.batches_of(recipe, experiment.TRAIN, size=32, shuffle=True)
validation = experiment.batches_of(recipe, experiment.VALIDATION, size=32, shuffle=False)
optimizer = optimizer_of(recipe, batches.steps, {epochs})


class Clock(train.MetricsLog):
    seconds = []
    begun = time.perf_counter()

    def write(self, line):
        now = time.perf_counter()
        self.seconds.append(now - self.begun)
        self.begun = now


with tempfile.TemporaryDirectory() as folder:
    clock = Clock(pathlib.Path(folder) / "metrics.jsonl")
    train.fit(
        loss, model.init(jax.random.key(0)), optimizer, batches, epochs={epochs},
        validation=validation, metrics=clock,
    )
print(json.dumps(clock.seconds))
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


def epoch_seconds(code: str, row: str, epochs: int) -> list[float]:
    """Run one side in a fresh process; its seconds for each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"KERAS_BACKEND": "jax", "KERAS_HOME": folder}
        done = subprocess.run(
            [sys.executable, "-c", code.format(row=row, epochs=epochs)],
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
    print("seconds an epoch          ours    Keras   Keras/ours   first epoch: ours  Keras")
    for row in options.only.split(","):
        rounds = []
        for number in range(1, options.rounds + 1):
            ours, keras = (epoch_seconds(code, row, options.epochs) for code in (OURS, KERAS))
            a, b = statistics.median(ours[1:]), statistics.median(keras[1:])
            rounds.append((a, b, ours[0], keras[0]))
            print(f"{row:<12} round {number}   {a:8.3f} {b:8.3f} {b / a:10.2f}", flush=True)
        a, b, first, keras_first = (
            statistics.median(column) for column in zip(*rounds, strict=True)
        )
        ratio = statistics.median(keras / ours for ours, keras, _, _ in rounds)
        print(
            f"{row:<12} median    {a:8.3f} {b:8.3f} {ratio:10.2f} {first:18.2f} {keras_first:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
