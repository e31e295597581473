"""`flax.linen`: RNN with SimpleCell, OptimizedLSTMCell, GRUCell; Conv."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from seqjax.bench.cases import CONV_LAYERS, CONV_TAPS, Case, FloatArray, make_arrays
from seqjax.bench.peers.jax_layer import Apply, jax_programs
from seqjax.bench.worker import Prepared, find


class _Convolutions(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for k in range(CONV_LAYERS):
            conv = nn.Conv(self.features, (CONV_TAPS,), padding="CAUSAL", kernel_dilation=2**k)
            x = nn.relu(conv(x))
        return x


def layer(case: dict[str, Any]) -> Prepared:
    """The case on Linen."""
    found = Case(**case)
    arrays = make_arrays(found)
    return jax_programs(*apply_and_params(found, arrays.weights), arrays)


def apply_and_params(case: Case, weights: dict[str, FloatArray]) -> tuple[Apply, Any]:
    """Linen's layer as a pure function, and the case's weights under its names."""
    if case.kind == "conv":
        stack = _Convolutions(case.features)
        params: Any = {
            f"Conv_{k}": {"kernel": weights[f"kernel {k}"], "bias": weights[f"bias {k}"]}
            for k in range(CONV_LAYERS)
        }
        return lambda p, x: stack.apply({"params": p}, x), jax.tree.map(jnp.asarray, params)  # type: ignore[return-value]
    cells = {"rnn": nn.SimpleCell, "lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}
    module = nn.RNN(find("Linen", cells, case.kind)(case.features))
    params = {"cell": _recurrent_params(case, weights)}
    return lambda p, x: module.apply({"params": p}, x), jax.tree.map(jnp.asarray, params)  # type: ignore[return-value]


def _recurrent_params(case: Case, weights: dict[str, FloatArray]) -> dict[str, Any]:
    """The packed weights as a Linen cell's dictionary."""
    gates = {"rnn": ("",), "lstm": "ifgo", "gru": "rzn"}[case.kind]
    split = {name: np.split(value, len(gates), axis=-1) for name, value in weights.items()}
    found: dict[str, Any] = {}
    for k, gate in enumerate(gates):
        found[f"i{gate}"] = {"kernel": split["kernel"][k]}
        found[f"h{gate}"] = {"kernel": split["recurrent_kernel"][k]}
        found[("h" if case.kind == "lstm" else "i") + gate]["bias"] = split["bias"][k]
    if case.kind == "gru":
        found["hn"]["bias"] = np.zeros_like(split["bias"][0])
    return found
