"""What all contestants on JAX share: a pure function becomes the programs to time."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array

from seqjax.bench.cases import Arrays, kernel_norm
from seqjax.bench.worker import Prepared

Apply = Callable[[Any, Array], Array]  # (params, x [B, T, I]) -> y [B, T, H]


def gradient_of(apply: Apply) -> Callable[[Any, Array, Array], Any]:
    """``(params, x, cotangent of y) -> (d_params, d_x)``."""

    def gradient(params: Any, x: Array, cotangent: Array) -> Any:
        return jax.vjp(apply, params, x)[1](cotangent)

    return gradient


def jax_programs(
    apply: Apply,
    params: Any,
    arrays: Arrays,
    place: Any = None,
    kernels: Callable[[Any], Any] = lambda params: params,
) -> Prepared:
    """Forward, and forward + backward with respect to parameters and input.

    Args:
        apply: the layer.
        params: its parameters.
        arrays: of the case.
        place: the sharding of arrays that begin with the batch; by default one device.
        kernels: picks them out of the parameters, where a bias is a matrix, too.
    """
    x, cotangent = (jax.device_put(a, place) for a in (arrays.x, arrays.cotangent))
    forward, backward = jax.jit(apply), jax.jit(gradient_of(apply))

    def outputs() -> dict[str, np.ndarray]:
        d_params, d_x = backward(params, x, cotangent)
        norm = kernel_norm([np.asarray(leaf) for leaf in jax.tree.leaves(kernels(d_params))])
        y = np.asarray(forward(params, x))
        return {"y": y, "dx": np.asarray(d_x), "norm of the kernels' gradients": norm}

    return Prepared(
        {
            "forward": lambda: jax.block_until_ready(forward(params, x)),
            "forward + backward": lambda: jax.block_until_ready(backward(params, x, cotangent)),
        },
        outputs,
    )
