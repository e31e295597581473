"""Equinox: LSTMCell and GRUCell in a scan under vmap, as its documentation shows; Conv1d."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from seqjax.bench.cases import CONV_LAYERS, CONV_TAPS, Case, FloatArray, make_arrays
from seqjax.bench.peers.jax_layer import jax_programs
from seqjax.bench.worker import Prepared, find


def layer(case: dict[str, Any]) -> Prepared:
    """The case on Equinox."""
    found = Case(**case)
    arrays = make_arrays(found)
    made = {"conv": (_convolutions, _stack), "lstm": (_cell, _loop), "gru": (_cell, _loop)}
    make, one = find("Equinox", made, found.kind)
    params, static = eqx.partition(make(found, arrays.weights), eqx.is_array)

    def apply(params: Any, x: jax.Array) -> jax.Array:
        module = eqx.combine(params, static)
        return jax.vmap(lambda series: one(module, series))(x)

    def kernels(params: Any) -> Any:  # a convolution's bias is a matrix [H, 1]
        return [conv.weight for conv in params] if found.kind == "conv" else params

    return jax_programs(apply, params, arrays, kernels=kernels)


def _loop(cell: Any, series: jax.Array) -> jax.Array:
    zeros = jnp.zeros(cell.hidden_size)
    lstm = isinstance(cell, eqx.nn.LSTMCell)

    def step(carry: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        carry = cell(x, carry)
        return carry, carry[0] if lstm else carry

    return jax.lax.scan(step, (zeros, zeros) if lstm else zeros, series)[1]


def _stack(layers: list[Any], series: jax.Array) -> jax.Array:
    x = series.T
    for conv in layers:
        x = jax.nn.relu(conv(x))
    return x.T


def _cell(case: Case, weights: dict[str, FloatArray]) -> Any:
    kind = eqx.nn.LSTMCell if case.kind == "lstm" else eqx.nn.GRUCell
    cell = kind(case.inputs, case.features, key=jax.random.key(0))
    kernel, recurrent, bias = (
        jnp.asarray(weights[k]) for k in ("kernel", "recurrent_kernel", "bias")
    )
    cell = eqx.tree_at(
        lambda c: (c.weight_ih, c.weight_hh, c.bias), cell, (kernel.T, recurrent.T, bias)
    )
    if case.kind == "gru":
        cell = eqx.tree_at(lambda c: c.bias_n, cell, jnp.zeros(case.features))
    return cell


def _convolutions(case: Case, weights: dict[str, FloatArray]) -> list[Any]:
    layers = []
    for k in range(CONV_LAYERS):
        conv = eqx.nn.Conv1d(
            case.features if k else case.inputs,
            case.features,
            CONV_TAPS,
            padding=(((CONV_TAPS - 1) * 2**k, 0),),
            dilation=2**k,
            key=jax.random.key(0),
        )
        values = (
            jnp.asarray(np.ascontiguousarray(weights[f"kernel {k}"].transpose(2, 1, 0))),
            jnp.asarray(weights[f"bias {k}"][:, None]),
        )
        layers.append(eqx.tree_at(lambda c: (c.weight, c.bias), conv, values))
    return layers
