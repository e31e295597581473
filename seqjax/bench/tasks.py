"""What the benchmark of training trains: data and settings, the same for every contestant.

Dimensions: N examples, T time, K targets.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from seqjax import data
from seqjax.bench.worker import Prepared

Name = Literal["rnn", "lstm", "gru", "wavenet", "milk", "text"]
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.floating[Any] | np.integer[Any]]]

BATCH = 32
WINDOW = 50  # steps of a synthetic series
HORIZON = 10  # targets a step
FEATURES = 20
DILATIONS = (1, 2, 4, 8) * 2

MILK_WINDOW = 12
MILK_FEATURES = 128
MILK_DROPOUT = 0.2

TEXT_VOCABULARY = 96
TEXT_STEPS = 64
TEXT_FEATURES = 256
TEXT_EMBEDDING = 64


@dataclasses.dataclass(frozen=True)
class Task:
    """One model and its examples.

    Attributes:
        name: of the model. "rnn", "lstm" and "gru" are two recurrent layers of
            `FEATURES`, "wavenet" is a stack of causal convolutions with relu, each
            under a dense head with `HORIZON` outputs at every step; "milk" is two LSTM
            layers of `MILK_FEATURES` with dropout, which answers at the last step; "text" an
            embedding, an LSTM layer of `TEXT_FEATURES`, and the logits of the next character.
        examples: to train on.
        validation: examples.
        epochs: in one call of the program "epoch".
        learning_rate: of Adam.
    """

    name: Name
    examples: int = 7_000
    validation: int = 2_000
    epochs: int = 1
    learning_rate: float = 1e-3

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return -(-self.examples // BATCH)


TASKS = {
    "rnn": Task("rnn", learning_rate=1e-2),
    "lstm": Task("lstm"),
    "gru": Task("gru"),
    "wavenet": Task("wavenet"),
    "milk": Task("milk", examples=111, validation=13, epochs=20),
    "text": Task("text", examples=1_024, validation=128),
}
TITLES: dict[Name, str] = {
    "rnn": "SimpleRNN 20-20",
    "lstm": "LSTM 20-20",
    "gru": "GRU 20-20",
    "wavenet": "WaveNet, simple",
    "milk": "milk, LSTM 128-128",
    "text": "characters, LSTM 256",
}


class Examples(NamedTuple):
    """Inputs and targets, float32; int32 for text.

    Attributes:
        x: [N, T, 1] ([N, T] for text).
        y: [N, T, K] ([N, 1] for milk, [N, T] for text).
    """

    x: Numbers
    y: Numbers


def make_examples(task: Task) -> tuple[Examples, Examples]:
    """The training and the validation part."""
    end = task.examples + task.validation
    if task.name == "text":  # any: what is timed does not depend on it
        shape = (end, TEXT_STEPS + 1)
        tokens = np.random.default_rng(0).integers(TEXT_VOCABULARY, size=shape, dtype=np.int32)
        both = np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])
        return (
            Examples(*(part[: task.examples] for part in both)),
            Examples(*(part[task.examples :] for part in both)),
        )
    if task.name == "milk":
        series = data.read_series(data.MILK_CSV, "Date", "Production").to_numpy(np.float64)
        inputs, targets = data.windows(series, MILK_WINDOW)
        scaler = data.min_max_scaler(series[: MILK_WINDOW + task.examples])
        inputs, targets = (data.scale(scaler, values) for values in (inputs, targets))
    else:
        series = data.two_sines(task.examples + task.validation, WINDOW + HORIZON)
        inputs, targets = data.next_values(series, HORIZON)
    x = np.ascontiguousarray(inputs[..., None], np.float32)
    y = np.ascontiguousarray(targets, np.float32)
    return (
        Examples(x[: task.examples], y[: task.examples]),
        Examples(x[task.examples : end], y[task.examples : end]),
    )


def prepared(
    task: Task,
    parameters: int,
    train: Callable[[int], float],
    step: Callable[[], object] | None = None,
) -> Prepared:
    """What a contestant's entry returns; trains the first epoch.

    Args:
        task: the task.
        parameters: number of trained parameters.
        train: a number of epochs, validation after each of them, to the validation loss
            after the last one; blocks.
        step: one training step on one batch, by itself; blocks.
    """
    begun = time.perf_counter()
    loss = train(1)
    facts = {
        "parameters": parameters,
        "first_epoch": time.perf_counter() - begun,
        "validation_loss": loss,
    }
    programs: dict[str, Callable[[], object]] = {"epoch": lambda: train(task.epochs)}
    if step is not None:
        programs["step"] = step
    # In place of outputs: initial weights differ, but the models must be alike.
    return Prepared(programs, lambda: {"parameters": np.array([parameters])}, facts)
