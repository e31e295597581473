"""How the parts of a tile pass on what each has computed: all that knows of clusters.

Forward, every block wants all parts' ``h``; backward, every part wants the sum of what all
blocks have for it. Within a block both go through shared memory and a barrier, between blocks
through the cluster's distributed shared memory: a store into another block's memory that
completes that block's barrier. Pallas's interpreter lacks the latter, so an `Exchange` can be
swapped (tests/ops/test_pallas.py brings one that goes through global memory).

A barrier of one step may be passed before all have waited for it; nobody is ever two steps
ahead, as everybody needs everybody else's part of each.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.experimental.pallas as pl
import jax.numpy as jnp
from jax import Array, lax

from seqjax.ops.pallas.grid import TILE, Place, memory, plgpu, split
from seqjax.ops.pallas.shapes import Plan


class Exchange(NamedTuple):
    """How parts meet.

    Attributes:
        forward: the barriers (and memory) of the forward kernel, by plan.
        give: ``(scratch, plan, place, h, h_parts, slot)``: pass on a part of ``h``, a tile.
        take: ``(scratch, plan, place, h_parts, slot)``: wait until `h_parts` [slots, parts, a
            tile] has all parts that were given.
        backward: the barriers and memory of the backward kernel, by plan.
        begin: ``(scratch)``, before its first step.
        total: ``(scratch, plan, place, share, more) -> d_h``: ``share(n)`` is [ROWS, columns]
            (or a transposed tile), what this block has for this group's parts in all blocks, n-th
            columns; d_h the sum over the blocks of what they have for this part, a tile in
            float32. `more`: there is a next step.
    """

    forward: Callable[[Plan], dict[str, Any]]
    give: Callable[..., None]
    take: Callable[..., None]
    backward: Callable[[Plan], dict[str, Any]]
    begin: Callable[[Any], None]
    total: Callable[..., Array]


# -- within a block --------------------------------------------------------------


def _give(scratch: Any, plan: Plan, place: Place, h: Array, h_parts: Any, slot: Any) -> None:
    h_parts.at[slot, place.part][...] = h
    plgpu.commit_smem()
    plgpu.barrier_arrive(scratch["given"])


def _take(scratch: Any, plan: Plan, place: Place, h_parts: Any, slot: Any) -> None:
    plgpu.barrier_wait(scratch["given"])


def _whole(
    scratch: Any, plan: Plan, place: Place, share: Callable[[Any], Array], more: Any
) -> Array:
    return share(0)


BLOCK = Exchange(
    forward=lambda plan: {"given": plgpu.Barrier(num_arrivals=plan.groups)},
    give=_give,
    take=_take,
    backward=lambda plan: {},
    begin=lambda scratch: None,
    total=_whole,
)


# -- between the blocks of a cluster ---------------------------------------------


def _give_all(scratch: Any, plan: Plan, place: Place, h: Array, h_parts: Any, slot: Any) -> None:
    # Nobody still reads the slot: whose h of the last step has come was done with it.
    for block in range(plan.blocks):
        plgpu.async_store_smem(
            h,
            h_parts.at[slot, place.part],
            scratch["given"].at[slot],
            cluster_idx=jnp.int32(block),
            cluster_dim="block",
        )


def _take_all(scratch: Any, plan: Plan, place: Place, h_parts: Any, slot: Any) -> None:
    plgpu.barrier_wait(scratch["given"].at[slot])
    plgpu.commit_smem()  # what others have stored, to tensor cores and copies


def _total(
    scratch: Any, plan: Plan, place: Place, share: Callable[[Any], Array], more: Any
) -> Array:
    each = plan.columns // plan.part

    def send(n: Any, _: None) -> None:
        for k, part in enumerate(split(plan, share(n).astype(jnp.bfloat16))):
            plgpu.async_store_smem(
                part,
                scratch["sums"].at[place.block, place.group],
                scratch["summed"].at[place.group],
                cluster_idx=n * each + k,
                cluster_dim="block",
            )

    plgpu.barrier_wait(scratch["free"])  # all have read what they were given a step ago
    # A loop: unrolled, the addresses in all other blocks would fill the registers.
    lax.fori_loop(0, plan.chunks, send, None)
    plgpu.barrier_wait(scratch["summed"].at[place.group])
    total = jnp.zeros(plan.shape, jnp.float32)
    for block in range(plan.blocks):
        of_block = plgpu.load(scratch["sums"].at[block, place.group], layout=TILE)
        total += of_block.astype(jnp.float32)

    @pl.when(more)  # the last step's is for nobody: a block may be gone
    def _() -> None:
        plgpu.barrier_arrive(scratch["free"])

    return total


def _cluster_backward(plan: Plan) -> dict[str, Any]:
    return {
        "sums": memory(plan, plan.blocks, plan.groups, *plan.shape),
        "summed": plgpu.Barrier(num_arrivals=plan.blocks, num_barriers=plan.groups),
        "free": plgpu.ClusterBarrier(collective_axes=("block",), num_arrivals=plan.groups),
    }


CLUSTER = Exchange(
    forward=lambda plan: {
        "given": plgpu.Barrier(num_arrivals=plan.parts, num_barriers=2),
    },
    give=_give_all,
    take=_take_all,
    backward=_cluster_backward,
    begin=lambda scratch: plgpu.barrier_arrive(scratch["free"]),
    total=_total,
)
