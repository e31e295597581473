"""Keras 3 on its JAX backend: SimpleRNN, LSTM, GRU, Conv1D, as pure functions."""

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import keras
import numpy as np

from seqjax.bench.cases import CONV_LAYERS, CONV_TAPS, Case, FloatArray, make_arrays
from seqjax.bench.peers.jax_layer import jax_programs
from seqjax.bench.worker import Prepared, find


def layer(case: dict[str, Any]) -> Prepared:
    """The case on Keras; ``stateless_call`` makes it a function of its parameters."""
    found = Case(**case)
    arrays = make_arrays(found)
    model = keras.Sequential([keras.Input((found.time, found.inputs)), *_layers(found)])
    model.set_weights(_weights(found, arrays.weights))
    rest = [variable.value for variable in model.non_trainable_variables]

    def apply(params: Any, x: jax.Array) -> jax.Array:
        return model.stateless_call(params, rest, x)[0]

    variables = model.trainable_variables
    params = [variable.value for variable in variables]

    def kernels(params: list[Any]) -> list[Any]:  # a GRU's two biases are a matrix
        pairs = zip(variables, params, strict=True)
        return [value for variable, value in pairs if "bias" not in variable.name]

    return jax_programs(apply, params, arrays, kernels=kernels)


def _layers(case: Case) -> list[Any]:
    if case.kind == "conv":
        return [
            keras.layers.Conv1D(
                case.features, CONV_TAPS, padding="causal", dilation_rate=2**k, activation="relu"
            )
            for k in range(CONV_LAYERS)
        ]
    kinds = {
        "rnn": keras.layers.SimpleRNN,
        "lstm": keras.layers.LSTM,
        "gru": keras.layers.GRU,
    }
    return [find("Keras", kinds, case.kind)(case.features, return_sequences=True)]


def _weights(case: Case, weights: dict[str, FloatArray]) -> list[FloatArray]:
    if case.kind == "conv":
        return [weights[f"{part} {k}"] for k in range(CONV_LAYERS) for part in ("kernel", "bias")]
    kernel, recurrent, bias = (weights[k] for k in ("kernel", "recurrent_kernel", "bias"))
    if case.kind == "gru":  # Keras packs z, r, n, and has two biases
        kernel, recurrent, bias = (_swap_first_two(a) for a in (kernel, recurrent, bias))
        bias = np.stack([bias, np.zeros_like(bias)])
    return [kernel, recurrent, bias]


def _swap_first_two(packed: FloatArray) -> FloatArray:
    r, z, n = np.split(packed, 3, axis=-1)
    return np.concatenate([z, r, n], axis=-1)
