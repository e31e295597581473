"""Two alike recurrent layers, one in each direction, as one kernel (docs/gpu-kernels.md)."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.nn.layer import Call
from seqjax.nn.recurrent import LAYERS, SETTINGS
from seqjax.ops.both_directions import bidirectional, one_kernel


def are_one_kernel(layers: tuple[Any, Any], x: Array, call: Call) -> bool:
    """Whether two layers, the second reversed, run as one kernel (`run_both_ways`)."""
    names = {"features", "dtype", "param_dtype", "dropout", "recurrent_dropout", *SETTINGS}
    names -= {"reverse", "keep_order"}

    def kind(layer: Any) -> Any:
        return layer.cell, {name: getattr(layer, name) for name in names}

    one = layers[0]
    # The very classes: a subclass may do something else with the same fields.
    if any(type(layer) not in LAYERS.values() for layer in layers) or kind(one) != kind(layers[1]):
        return False
    if one.dropout and not call.deterministic:  # a mask each, and so an input
        return False
    # As it is computed: without a dtype of its own, in that of the parameters as they are stored.
    stored = [layer.variables.get("params", {}).get("kernel") for layer in layers]
    kernels = jax.tree.leaves(stored) if one.dtype is None else [one.dtype]
    dtype = jnp.result_type(one.cast(x), *(kernels or [one.param_dtype]))
    return one_kernel(one.cell, x.shape, one.features, dtype, kind(one)[1])


def run_both_ways(
    layers: tuple[Any, Any], x: Array, carries: Sequence[Any], call: Call
) -> tuple[Any, Array]:
    """Bound layers that `are_one_kernel`, ``(carries, y)``, y [batch, time, 2 * features]."""
    one = layers[0]
    x = one.cast(one.checked(x, 3))
    masks = None
    if one.recurrent_dropout and not call.deterministic:
        shape = (x.shape[0], one.features)
        masks = tuple(each._mask(one.recurrent_dropout, shape, jnp.float32) for each in layers)
    return bidirectional(
        one.cell,
        tuple(each.parameters(x.shape[-1]) for each in layers),
        x,
        carries,
        recurrent_mask=masks,
        seq_lengths=call.seq_lengths,
        return_carry=True,
        implementation=one.implementation,
    )
