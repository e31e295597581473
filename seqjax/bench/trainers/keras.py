"""Keras 3 on its JAX backend: ``model.fit``."""

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras

from seqjax.bench.tasks import (
    BATCH,
    DILATIONS,
    FEATURES,
    HORIZON,
    MILK_DROPOUT,
    MILK_FEATURES,
    TEXT_EMBEDDING,
    TEXT_FEATURES,
    TEXT_VOCABULARY,
    Name,
    Task,
    make_examples,
    prepared,
)
from seqjax.bench.worker import Prepared


def training(task: dict[str, Any]) -> Prepared:
    """The task with ``model.fit``; its step is ``model.train_step``, jitted as in ``fit``."""
    found = Task(**task)
    keras.utils.set_random_seed(0)
    part, validation = make_examples(found)
    text = found.name == "text"
    inputs = keras.Input(part.x.shape[1:], dtype=str(part.x.dtype))
    model: Any = keras.Sequential([inputs, *_layers(found.name)])  # its types are too narrow
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if text else "mse"
    model.compile(loss=loss, optimizer=keras.optimizers.Adam(found.learning_rate))

    def fit(epochs: int) -> float:
        history = model.fit(
            part.x,
            part.y,
            batch_size=BATCH,
            epochs=epochs,
            validation_data=tuple(validation),
            validation_batch_size=BATCH,
            verbose=0,
        )
        return history.history["val_loss"][-1]

    done = prepared(found, model.count_params(), fit)
    # After the first epoch, which builds the optimizer's and the metrics' variables.
    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    # Copies: a step takes its state's memory, and the model keeps its own.
    state = [[jnp.copy(variable.value) for variable in group] for group in variables]
    batch = jax.device_put((part.x[:BATCH], part.y[:BATCH]))
    jitted = jax.jit(model.train_step, donate_argnums=0)

    def step() -> None:
        nonlocal state
        logs, state = jitted(state, batch)
        jax.block_until_ready((logs, state))

    return done._replace(programs=done.programs | {"step": step})


def _layers(name: Name) -> list[Any]:
    layers = keras.layers
    if name == "text":
        return [
            layers.Embedding(TEXT_VOCABULARY, TEXT_EMBEDDING),
            layers.LSTM(TEXT_FEATURES, return_sequences=True),
            layers.Dense(TEXT_VOCABULARY),
        ]
    if name == "milk":
        return [
            layers.LSTM(MILK_FEATURES, return_sequences=True),
            layers.Dropout(MILK_DROPOUT),
            layers.LSTM(MILK_FEATURES),
            layers.Dropout(MILK_DROPOUT),
            layers.Dense(1),
        ]
    if name == "wavenet":
        body = [
            layers.Conv1D(FEATURES, 2, padding="causal", dilation_rate=d, activation="relu")
            for d in DILATIONS
        ]
    else:
        kind = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}[name]
        body = [kind(FEATURES, return_sequences=True) for _ in range(2)]
    return [*body, layers.Dense(HORIZON)]
