"""`flax.nnx`: RNN with SimpleCell, OptimizedLSTMCell, GRUCell; Conv."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.bench.cases import CONV_LAYERS, CONV_TAPS, Case, FloatArray, make_arrays
from seqjax.bench.peers.jax_layer import Apply, jax_programs
from seqjax.bench.worker import Prepared, find


def layer(case: dict[str, Any]) -> Prepared:
    """The case on NNX."""
    found = Case(**case)
    arrays = make_arrays(found)
    return jax_programs(*apply_and_params(found, arrays.weights), arrays)


def apply_and_params(case: Case, weights: dict[str, FloatArray]) -> tuple[Apply, Any]:
    """NNX's layer as a pure function of its parameters."""
    graph, params, rest = _split_module(case, weights)

    def apply(params: Any, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, params, rest, copy=True)(x)

    return apply, params


def _split_module(case: Case, weights: dict[str, FloatArray]) -> tuple[Any, Any, Any]:
    """NNX's module with the case's weights, as ``nnx.split`` gives it."""
    module = _module(case)
    if case.kind == "conv":
        for k, conv in enumerate(module.layers[::2]):
            conv.kernel[...] = jnp.asarray(weights[f"kernel {k}"])
            conv.bias[...] = jnp.asarray(weights[f"bias {k}"])
    else:
        cell = module.cell
        kernel, recurrent, bias = (
            jnp.asarray(weights[name]) for name in ("kernel", "recurrent_kernel", "bias")
        )
        cell.dense_i.kernel[...] = kernel
        cell.dense_h.kernel[...] = recurrent
        (cell.dense_h if case.kind == "lstm" else cell.dense_i).bias[...] = bias
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    return graph, params, rest


def _module(case: Case) -> Any:
    rngs = nnx.Rngs(0)
    if case.kind == "conv":
        layers: list[Any] = []
        for k in range(CONV_LAYERS):
            inputs = case.features if k else case.inputs
            layers += [
                nnx.Conv(
                    inputs,
                    case.features,
                    (CONV_TAPS,),
                    padding="CAUSAL",
                    kernel_dilation=2**k,
                    rngs=rngs,
                ),
                nnx.relu,
            ]
        return nnx.Sequential(*layers)
    cells = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}
    return nnx.RNN(find("NNX", cells, case.kind)(case.inputs, case.features, rngs=rngs), rngs=rngs)
