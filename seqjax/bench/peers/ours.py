"""The contestants of this package: each implementation, on one device or on all cores."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from seqjax import ops
from seqjax.bench.cases import CONV_LAYERS, Case, make_arrays
from seqjax.bench.peers.jax_layer import Apply, jax_programs
from seqjax.bench.worker import Prepared
from seqjax.train.mesh import data_mesh, replicate


def layer(case: dict[str, Any], implementation: str | None = None, devices: int = 1) -> Prepared:
    """Our layer with an implementation (None: the default), the batch over `devices`."""
    if devices > 1:
        jax.config.update("jax_num_cpu_devices", devices)
    found = Case(**case)
    arrays = make_arrays(found)
    apply, params = apply_and_params(found, arrays.weights, implementation)
    place = None
    if devices > 1:
        mesh = data_mesh()
        jax.set_mesh(mesh)  # for good: this process is the contestant's own
        place = NamedSharding(mesh, PartitionSpec("data"))
        params = (
            jax.device_put(params, place) if found.kind == "linear" else replicate(mesh, params)
        )
    return jax_programs(apply, params, arrays, place)


def apply_and_params(
    case: Case, weights: dict[str, Any], implementation: str | None = None
) -> tuple[Apply, Any]:
    """The layer as a pure function, and its parameters."""
    weights = {name: jnp.asarray(value) for name, value in weights.items()}
    if case.kind == "linear":

        def linear(decay: Array, x: Array) -> Array:
            return ops.linear_recurrence(decay, x, implementation=implementation)  # type: ignore[arg-type]

        return linear, weights["decay"]
    if case.kind == "conv":
        layers = [
            ops.ConvParams(weights[f"kernel {k}"], weights[f"bias {k}"]) for k in range(CONV_LAYERS)
        ]

        def stack(layers: list[ops.ConvParams], x: Array) -> Array:
            for k, params in enumerate(layers):
                y = ops.causal_conv1d(params, x, dilation=2**k, implementation=implementation)  # type: ignore[arg-type]
                x = jax.nn.relu(y)
            return x

        return stack, layers
    cell, params = cell_and_params(case, weights)
    how = {"implementation": implementation}
    return lambda params, x: ops.run(cell, params, x, **how), params  # type: ignore[arg-type]


def cell_and_params(case: Case, weights: dict[str, Any]) -> tuple[ops.Cell, Any]:
    """A cell, and its parameters out of the case's weights."""

    def declare(name: str, shape: tuple[int, ...], init: Any, *, keep_dtype: bool = False) -> Any:
        return jnp.asarray(weights[name]) if name in weights else None

    cell = ops.CELLS[case.kind]()
    return cell, cell.parameters(declare, case.inputs, case.features)
