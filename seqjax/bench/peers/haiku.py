"""Haiku: LSTM through `hk.dynamic_unroll`, and Conv1D.

Its GRU applies the reset gate before the product and its VanillaRNN is a relu network:
other functions, which have no place in these tables.
"""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from seqjax.bench.cases import CONV_LAYERS, CONV_TAPS, Case, FloatArray, make_arrays
from seqjax.bench.peers.jax_layer import jax_programs
from seqjax.bench.worker import NoSuchLayerError, Prepared, find


def layer(case: dict[str, Any]) -> Prepared:
    """The case on Haiku."""
    found = Case(**case)
    arrays = make_arrays(found)
    reasons = {
        "rnn": "Haiku's VanillaRNN is a relu network",
        "gru": "Haiku's GRU resets before the product: another function",
    }
    if found.kind in reasons:
        raise NoSuchLayerError(reasons[found.kind])
    function = find("Haiku", {"conv": _convolutions, "lstm": _lstm}, found.kind)
    transformed = hk.without_apply_rng(hk.transform(lambda x: function(found, x)))
    shapes = jax.eval_shape(transformed.init, jax.random.key(0), arrays.x)
    params = _params(found, arrays.weights, shapes)
    return jax_programs(transformed.apply, params, arrays)


def _convolutions(case: Case, x: jax.Array) -> jax.Array:
    for k in range(CONV_LAYERS):
        conv = hk.Conv1D(case.features, CONV_TAPS, rate=2**k, padding=hk.pad.causal)
        x = jax.nn.relu(conv(x))
    return x


def _lstm(case: Case, x: jax.Array) -> jax.Array:
    core = hk.LSTM(case.features)
    y, _ = hk.dynamic_unroll(core, x, core.initial_state(case.batch), time_major=False)
    assert isinstance(y, jax.Array)
    return y


def _params(case: Case, weights: dict[str, FloatArray], shapes: Any) -> Any:
    if case.kind == "conv":
        names = [f"conv1_d_{k}" if k else "conv1_d" for k in range(CONV_LAYERS)]
        assert set(names) == set(shapes)
        values = [
            {"w": weights[f"kernel {k}"], "b": weights[f"bias {k}"]} for k in range(CONV_LAYERS)
        ]
        return jax.tree.map(jnp.asarray, dict(zip(names, values, strict=True)))
    (name,) = shapes
    stacked = np.concatenate([weights["kernel"], weights["recurrent_kernel"]])

    def reordered(packed: FloatArray) -> FloatArray:
        i, f, g, o = np.split(packed, 4, axis=-1)
        return np.concatenate([i, g, f, o], axis=-1)

    bias = weights["bias"].copy()
    bias[case.features : 2 * case.features] -= 1  # Haiku adds 1 to the forget gate
    return {name: {"w": jnp.asarray(reordered(stacked)), "b": jnp.asarray(reordered(bias))}}
