"""Gradients that are made of all steps at once, outside of the kernels.

Dimensions: T time, B batch, I input features, H features, K gates, N = K and the split ones once
more.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.ops import engine
from seqjax.ops.cell import Carry, Elementwise, Weights
from seqjax.ops.pallas.shapes import Plan


def of_weights(plan: Plan, weights: Weights, tiles: list[Array], inputs: int) -> Weights:
    """The weights' gradients, out of [I + 1 + H, H] for each of N."""
    recurrent = tiles[: plan.summed] + tiles[plan.gates :]
    kernel = jnp.concatenate(tiles[: plan.gates], axis=-1)
    of_all = Weights(
        kernel[:inputs],
        jnp.concatenate(recurrent, axis=-1)[inputs + 1 :],
        None if weights.bias is None else kernel[inputs],
    )
    return jax.tree.map(lambda d, w: d.astype(w.dtype), of_all, weights)


def of_own(
    form: Elementwise,
    own: Any,
    lengths: Array | None,
    before: Carry,
    saved: tuple[Array, ...],
    d_carry: Carry,
) -> Any:
    """Those of the cell's own parameters, by the engine's derivative.

    Args:
        form: the cell.
        own: the parameters.
        lengths: steps that count, [B]; or None for all.
        before: the carry before each step, leaves [T, B, H].
        saved: of `Derivative.forward`, [T, B, H] each.
        d_carry: gradient of the carry after each step, leaves [T, B, H].
    """

    def flat(tree: Any) -> Any:
        return jax.tree.map(lambda a: a.reshape(-1, a.shape[-1]).astype(jnp.float32), tree)

    mask = None
    if lengths is not None:
        steps = jnp.arange(jax.tree.leaves(before)[0].shape[0])[:, None]
        mask = (steps < lengths[None, :]).reshape(-1, 1)
    d_own, *_ = engine._step_backwards(form, mask, own, flat(before), flat(saved), flat(d_carry))
    return jax.tree.map(lambda d, a: d.astype(a.dtype), d_own, own)
