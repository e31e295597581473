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

TILE = plgpu.Layout.WGMMA  # of [ROWS, n * part] in registers, as the tensor core leaves it
PER_ROW = TILE.reduce(1)  # of [ROWS]
PER_FEATURE = TILE.reduce(0)  # of [part]


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
    return Place(block, group, block * plan.groups + group, tile, pl.ds(tile * ROWS, ROWS))


def columns(plan: Plan, first: Any, count: int = 1) -> Any:
    """The slice of `count` parts from a first one on."""
    return pl.ds(first * plan.part, count * plan.part)


def read(ref: Any, layout: Any = TILE) -> Array:
    """Out of global memory, once."""
    # Under `jax.shard_map` a load has its operand's type and varies over the mesh; a sum, within
    # a kernel, has none, as everything else there.
    return plgpu.load(ref, layout=layout, optimized=False) + 0


def write(ref: Any, value: Array) -> None:
    """Into global memory, straight from the registers."""
    if hasattr(plgpu, "store"):  # since jax 0.12, where an assignment wants whole sectors
        plgpu.store(ref, value, optimized=False)
    else:
        ref[...] = value


def memory(plan: Plan, *shape: int) -> Any:
    """Shared memory for bfloat16 as the tensor core reads it, in rows of whole parts."""
    row = 2 * plan.part  # bytes; products want the same swizzle on both sides
    swizzle = next(s for s in (128, 64, 32) if row % s == 0)
    transforms = plgpu.TilingTransform((8, swizzle // 2)), plgpu.SwizzleTransform(swizzle)
    return plgpu.SMEM(shape, jnp.bfloat16, transforms=transforms)


def product(size: int, operands: Any) -> Array:
    """The sum of the products of pairs of tiles and kernels, [ROWS, size] in float32."""

    def of(sums: Any) -> Array:
        for a, b in operands:
            plgpu.wgmma(sums, a, b)
        plgpu.wgmma_wait(0)
        return sums[...]

    return pl.run_scoped(of, plgpu.ACC((ROWS, size), jnp.float32))


def stacked(first: int, count: int = 1) -> Any:
    """The rows of `count` tiles of a stack [n * ROWS, part] of them, from a first one on."""
    return pl.ds(first * ROWS, count * ROWS)


def stack(tiles: list[Array]) -> Array:
    """Tiles one below another, in bfloat16: one store, where each has two barriers."""
    return jnp.concatenate([tile.astype(jnp.bfloat16) for tile in tiles], axis=0)


def unstack(ref: Any) -> list[Array]:
    """Tiles out of a stack in shared memory, in float32."""
    whole = plgpu.load(ref, layout=TILE).astype(jnp.float32)
    return [whole[k : k + ROWS] for k in range(0, whole.shape[0], ROWS)]


def split(plan: Plan, a: Array) -> list[Array]:
    """[ROWS, n * part] as n tiles."""
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
        grid=(batch // ROWS,),
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
