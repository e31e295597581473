"""Arrays in the kernels' order: features padded and in parts, sequences padded to tiles.

Dimensions: T time, B batch, H features, K gates, N = K and the split ones once more, P parts.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from seqjax.ops.pallas.shapes import Plan


def pad(a: Array, axis: int, size: int) -> Array:
    """`a` with zeros along an axis, up to a size."""
    widths = [(0, 0)] * a.ndim
    widths[axis] = (0, size - a.shape[axis])
    return jnp.pad(a, widths)


def pad_rows(plan: Plan, a: Array, axis: int) -> Array:
    """`a` with sequences of zeros along an axis, up to whole tiles."""
    return pad(a, axis, -(-a.shape[axis] // plan.sequences) * plan.sequences)


def pad_features(plan: Plan, a: Array) -> Array:
    """`a` [..., H] with zeros, up to whole parts."""
    return pad(a, a.ndim - 1, plan.padded)


def wide(plan: Plan, tree: Any) -> Any:
    """Arrays [..., H] in float32, with zeros up to whole parts."""
    return jax.tree.map(lambda a: pad_features(plan, a.astype(jnp.float32)), tree)


def of_rows(
    plan: Plan, carry: list[Array], lengths: Array | None, recurrent_mask: Array | None
) -> tuple[Any, Any, Any]:
    """What sequences have of their own, padded: a carry, lengths, a mask."""

    def whole(tree: Any) -> Any:
        return jax.tree.map(lambda a: pad_rows(plan, a, 0), tree)

    return whole(wide(plan, carry)), whole(lengths), whole(wide(plan, recurrent_mask))


def columns(plan: Plan, kernel: Array, *, arguments: bool = False) -> Array:
    """Gates side by side [R, K*H] as parts side by side, [R, P*K*part].

    With `arguments` [R, P*N*part]: zeros where a split gate's recurrent part is.
    """
    blocks = pad_features(plan, kernel.reshape(-1, plan.gates, plan.features))
    if arguments:
        blocks = pad(blocks, 1, plan.arguments)
    parts = blocks.reshape(*blocks.shape[:2], plan.parts, plan.part)
    return jnp.swapaxes(parts, 1, 2).reshape(len(kernel), -1)


def tiles(plan: Plan, a: Array) -> list[Array]:
    """The reverse: of parts side by side [..., P*n*part] the n arrays [..., H]."""
    parts = jnp.moveaxis(a.reshape(*a.shape[:-1], plan.parts, -1, plan.part), -2, 0)
    whole = parts.reshape(*parts.shape[:-2], plan.padded)
    return list(whole[..., : plan.features])


def in_order(plan: Plan, tree: Any) -> Any:
    """Arrays [..., B, F] as the kernels have them: [F, ..., B] where tiles are transposed."""
    if not plan.transposed:
        return tree
    return jax.tree.map(lambda a: a if a.ndim < 2 else jnp.moveaxis(a, -1, 0), tree)


def out_of_order(plan: Plan, tree: Any) -> Any:
    """The reverse of `in_order`."""
    if not plan.transposed:
        return tree
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), tree)


def _turned(plan: Plan, kernels: Array) -> Array:
    return jnp.swapaxes(kernels, -1, -2) if plan.transposed else kernels


def forward_weights(plan: Plan, kernel: Array) -> Array:
    """The recurrent kernel [H, K*H] as the forward kernel has it."""
    rows = pad(columns(plan, kernel), 0, plan.padded)
    cut = rows.reshape(plan.parts, plan.part, plan.blocks, plan.groups, plan.gates * plan.part)
    return _turned(plan, cut.transpose(2, 0, 3, 1, 4))


def backward_weights(plan: Plan, kernel: Array) -> Array:
    """The recurrent kernel [H, K*H] as the backward kernel has it: transposed, too."""
    blocks, groups, part = plan.blocks, plan.groups, plan.part
    rows = pad(columns(plan, kernel), 0, plan.padded)
    cut = rows.reshape(blocks, groups, part, blocks, groups * plan.gates, part)
    # [from block, to group, from group's gates, feature of a gate, to block, feature]
    back = cut.transpose(3, 1, 4, 5, 0, 2).reshape(blocks, groups, -1, part, blocks * part)
    chunks = back.reshape(*back.shape[:-1], -1, plan.columns)
    return _turned(plan, jnp.moveaxis(chunks, -2, 2))


def in_tiles(
    plan: Plan,
    kernel: Callable[[Any, Any, Any], tuple[Any, Any]],
    batch: int,
    shared: Any,
    of_steps: Any,
    of_rows: Any,
) -> tuple[Any, Any]:
    """Run a kernel; under `jax.vmap` with shared weights, on one larger batch.

    Where the weights have an axis of their own under `jax.vmap` (seeds), it is one of the
    kernel's grid: Pallas's own rule.

    Args:
        plan: how the recurrence is cut.
        kernel: ``(shared, of_steps, of_rows) -> (of_steps, of_rows)``.
        batch: sequences that are no padding.
        shared: arrays that all sequences share.
        of_steps: arrays [T, B, ...], padded to tiles.
        of_rows: arrays [B, ...], padded to tiles.
    """

    @custom_vmap
    def run(shared: Any, of_steps: Any, of_rows: Any) -> tuple[Any, Any]:
        return kernel(shared, of_steps, of_rows)

    @run.def_vmap
    def rule(size: int, batched: Any, shared: Any, of_steps: Any, of_rows: Any) -> Any:
        if any(jax.tree.leaves(batched[0])):
            axes = jax.tree.map(lambda each: 0 if each else None, batched)
            out = jax.vmap(kernel, in_axes=axes, axis_size=size)(shared, of_steps, of_rows)
            return out, jax.tree.map(lambda _: True, out)

        def fold(axis: int) -> Callable[[Array, bool], Array]:
            def of(a: Array, has: bool) -> Array:
                a = a if has else jnp.broadcast_to(a, (size, *a.shape))
                a = jnp.moveaxis(a, 0, axis)
                a = jax.lax.slice_in_dim(a, 0, batch, axis=axis + 1)
                return pad_rows(plan, a.reshape(*a.shape[:axis], -1, *a.shape[axis + 2 :]), axis)

            return of

        def unfold(axis: int) -> Callable[[Array], Array]:
            def of(a: Array) -> Array:
                a = jax.lax.slice_in_dim(a, 0, size * batch, axis=axis)
                a = a.reshape(*a.shape[:axis], size, batch, *a.shape[axis + 1 :])
                return pad_rows(plan, jnp.moveaxis(a, axis, 0), axis + 1)

            return of

        of_steps = jax.tree.map(fold(1), of_steps, batched[1])
        of_rows = jax.tree.map(fold(0), of_rows, batched[2])
        steps, rows = in_tiles(plan, kernel, size * batch, shared, of_steps, of_rows)
        out = jax.tree.map(unfold(1), steps), jax.tree.map(unfold(0), rows)
        return out, jax.tree.map(lambda _: True, out)

    return run(shared, of_steps, of_rows)
