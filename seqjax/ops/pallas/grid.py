"""What both kernels share: where a group of warps stands, its memory, and the launch."""

from typing import Any, NamedTuple

import jax
import jax.experimental.pallas as pl
import jax.experimental.pallas.mosaic_gpu
import jax.numpy as jnp
from jax import Array, lax

from seqjax.ops.layout import vary_alike
from seqjax.ops.pallas.shapes import ROWS, Plan

plgpu: Any = jax.experimental.pallas.mosaic_gpu  # its types are those of one version of many

TILE = plgpu.Layout.WGMMA  # of [ROWS, n] in registers, as the tensor core leaves it


class Place(NamedTuple):
    """Where a group of warps stands.

    Attributes:
        block: in its cluster.
        group: in its block.
        part: of the features, from the two.
        tile: of the batch.
        rows: the sequences of its tile, as a slice.
    """

    block: Any
    group: Any
    part: Any
    tile: Any
    rows: Any


def place(plan: Plan) -> Place:
    """Of the group of warps that asks."""
    block = lax.axis_index("block") if plan.blocks > 1 else jnp.int32(0)
    group, tile = lax.axis_index("group"), lax.axis_index("tile")
    rows = pl.ds(tile * plan.sequences, plan.sequences)
    return Place(block, group, block * plan.groups + group, tile, rows)


def per_sequence(plan: Plan) -> Any:
    """The layout of an array [sequences] of a tile."""
    return TILE.reduce(0 if plan.transposed else 1)


def per_feature(plan: Plan) -> Any:
    """The layout of an array [part] of a tile."""
    return TILE.reduce(1 if plan.transposed else 0)


def over_features(plan: Plan, a: Array) -> Array:
    """[sequences] as a tile."""
    return lax.broadcast_in_dim(a, plan.shape, (1 if plan.transposed else 0,))


def order(plan: Plan, *axes: Any) -> tuple[Any, ...]:
    """Sizes or indices (..., sequences, features), as the kernels have them in global memory."""
    return (axes[-1], *axes[:-1]) if plan.transposed else axes


def columns(plan: Plan, part: Any) -> Any:
    """The slice of a part's features."""
    return pl.ds(part * plan.part, plan.part)


def read(ref: Any, layout: Any = TILE) -> Array:
    """Out of global memory, once."""
    # Under `jax.shard_map` a load has its operand's type and varies over the mesh; a sum, within
    # a kernel, has none, as everything else there.
    return plgpu.load(ref, layout=layout, optimized=False) + 0


def number(ref: Any) -> Array:
    """The one of an array [1], the same for all threads."""
    return ref[0] + 0  # as above


def write(ref: Any, value: Array) -> None:
    """Into global memory, straight from the registers."""
    if hasattr(plgpu, "store"):  # since jax 0.12, where an assignment wants whole sectors
        plgpu.store(ref, value, optimized=False)
    else:
        ref[...] = value


def memory(plan: Plan, *shape: int) -> Any:
    """Shared memory for bfloat16 as the tensor core reads it, in whole rows of tiles."""
    row = 2 * plan.shape[1]  # bytes; products want the same swizzle on both sides
    swizzle = next(s for s in (128, 64, 32) if row % s == 0)
    transforms = plgpu.TilingTransform((8, swizzle // 2)), plgpu.SwizzleTransform(swizzle)
    return plgpu.SMEM(shape, jnp.bfloat16, transforms=transforms)


def product(plan: Plan, operands: Any) -> Array:
    """The sum of the products of pairs of tiles and kernels, in float32.

    Args:
        plan: how the recurrence is cut.
        operands: tiles and kernels [part, n], or [ROWS, part] where tiles are transposed.

    Returns:
        [ROWS, n]; or a transposed tile.
    """

    def of(sums: Any) -> Array:
        for tile, kernel in operands:
            plgpu.wgmma(sums, *((kernel, tile) if plan.transposed else (tile, kernel)))
        plgpu.wgmma_wait(0)
        return sums[...]

    columns = plan.sequences if plan.transposed else operands[0][1].shape[1]
    return pl.run_scoped(of, plgpu.ACC((ROWS, columns), jnp.float32))


def gates(plan: Plan, operands: Any) -> list[Array]:
    """Tiles, one for each gate: the sum of products with kernels that have all gates.

    Args:
        plan: how the recurrence is cut.
        operands: tiles and kernels [part, K * part], or [K * part, part] where tiles are
            transposed: the gates are products of their own then, so that those of a unit
            meet in one thread.
    """
    if not plan.transposed:
        return split(plan, product(plan, operands))

    def of(*sums: Any) -> list[Array]:
        for k, gate in enumerate(sums):
            for tile, kernel in operands:
                plgpu.wgmma(gate, kernel.at[stacked(k)], tile)
        plgpu.wgmma_wait(0)
        return [gate[...] for gate in sums]

    return pl.run_scoped(of, *[plgpu.ACC(plan.shape, jnp.float32)] * plan.gates)


def stacked(first: int, count: int = 1) -> Any:
    """The rows of `count` tiles of a stack of them, ROWS each, from a first one on."""
    return pl.ds(first * ROWS, count * ROWS)


def stack(tiles: list[Array]) -> Array:
    """Tiles one below another, in bfloat16: one store, where each has two barriers."""
    return jnp.concatenate([tile.astype(jnp.bfloat16) for tile in tiles], axis=0)


def unstack(ref: Any) -> list[Array]:
    """Tiles out of a stack in shared memory, in float32."""
    whole = plgpu.load(ref, layout=TILE).astype(jnp.float32)
    return [whole[k : k + ROWS] for k in range(0, whole.shape[0], ROWS)]


def split(plan: Plan, a: Array) -> list[Array]:
    """[ROWS, n * part] as n tiles; a transposed tile is one."""
    if plan.transposed:
        return [a]
    return [a[:, k : k + plan.part] for k in range(0, a.shape[1], plan.part)]


def launch(
    plan: Plan, body: Any, inputs: Any, out_type: Any, scratch: Any, batch: int, interpret: Any
) -> Any:
    """Run ``body(inputs, outputs, scratch)`` in every group of warps, over the batch's tiles."""
    flat_in, in_tree = jax.tree.flatten(inputs)
    flat_out, out_tree = jax.tree.flatten(out_type)

    def flat(*refs: Any, **scratch: Any) -> None:
        ins, outs = refs[: len(flat_in)], refs[len(flat_in) :]
        body(in_tree.unflatten(ins), out_tree.unflatten(outs), scratch)

    kernel = plgpu.kernel(
        flat,
        out_type=flat_out,
        scratch_types=scratch,
        grid=(batch // plan.sequences,),
        grid_names=("tile",),
        cluster=(plan.blocks,) if plan.blocks > 1 else (),
        cluster_names=("block",) if plan.blocks > 1 else (),
        num_threads=plan.groups,
        thread_name="group",
        compiler_params=plgpu.CompilerParams(
            lowering_semantics=plgpu.LoweringSemantics.Warpgroup, approx_math=True
        ),
        interpret=interpret,
    )
    _, flat_out = vary_alike((flat_in, kernel(*flat_in)))
    return out_tree.unflatten(flat_out)


def struct(*shape: int, dtype: Any = jnp.bfloat16) -> jax.ShapeDtypeStruct:
    """An output's type."""
    return jax.ShapeDtypeStruct(shape, dtype)
