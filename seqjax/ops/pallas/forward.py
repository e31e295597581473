"""The forward kernel: a loop over time with weights in shared memory and the carry in registers.

A step of a group of warps: wait for everybody's part of ``h``, multiply it with the group's
columns of the recurrent kernel, add the inputs' part (copied in while the last step ran), call
the cell's own step, pass the new part of ``h`` on. What the backward pass wants is copied out
of the memory that the inputs came in.

Dimensions: T time, B batch (padded to tiles), K gates, P parts; features are padded. Where tiles
are transposed, features come first in everything that has sequences: [features, T, B].
"""

from typing import Any, NamedTuple

import jax.experimental.pallas as pl
import jax.numpy as jnp
from jax import Array, lax

from seqjax.ops.pallas import grid
from seqjax.ops.pallas.elementwise import Traced
from seqjax.ops.pallas.exchange import Exchange
from seqjax.ops.pallas.grid import columns, memory, order, plgpu, read, stacked, struct, write
from seqjax.ops.pallas.shapes import ROWS, Plan


class Inputs(NamedTuple):
    """Of the forward kernel.

    Attributes:
        weights: [blocks, parts, groups, part, K * part] in bfloat16: of a block, from a part
            of ``h`` to a group's gates; the last two transposed as tiles are.
        rows: of the own parameters, [P, part] each in float32.
        z: ``x W + b``, [T, B, P * K * part] in bfloat16.
        carry: before the first step, leaves [B, features] in float32.
        lengths: steps that count, [B] in int32; or None for all.
        mask: of the recurrent product, [B, features] in float32; or None.
        reverse: [1] in int32: 1 where the loop goes from the last step to the first, or 0.
    """

    weights: Any
    rows: Any
    z: Any
    carry: Any
    lengths: Any
    mask: Any
    reverse: Any


class Outputs(NamedTuple):
    """Of the forward kernel.

    Attributes:
        carry: after the last step, leaves [B, features] in float32.
        h: before each step and after the last, in the order of time: [T + 1, B, features] in
            bfloat16.
        others: the carry's other leaves before each step, [T, B, features] in bfloat16.
        saved: of `Derivative.forward`, [T, B, P * S * part] in bfloat16; None without S.
    """

    carry: Any
    h: Any
    others: Any
    saved: Any


def steps_of(steps: int, reverse: Any) -> Any:
    """``i -> (t, before, after)``: the time of a loop's i-th step, and of the ``h`` around it.

    The direction is a number of the kernel's own, so that one launch can have both.
    """

    def of(i: Any) -> tuple[Any, Any, Any]:
        t = i + reverse * (steps - 1 - 2 * i)
        return t, t + reverse, t + 1 - reverse

    return of


def forward(
    plan: Plan,
    step: Traced,
    hidden: int,
    inputs: Inputs,
    keep: bool,
    *,
    exchange: Exchange,
    interpret: Any,
) -> Outputs:
    """Run the kernel.

    Args:
        plan: how the recurrence is cut.
        step: ``(rows, (*carry, *gates)) -> (*carry, *saved)``.
        hidden: which leaf of the carry is ``h``.
        inputs: what it reads.
        keep: what the backward pass wants.
        exchange: how the parts of ``h`` come together.
        interpret: None, or how Pallas shall interpret it.

    Raises:
        ValueError: where the derivative saves more than there is room for.
    """
    time, batch = inputs.z.shape[1:] if plan.transposed else inputs.z.shape[:2]
    leaves, gates = len(inputs.carry), plan.gates
    saves = step.outputs - leaves
    if saves > plan.arguments:
        raise ValueError(
            f"implementation 'pallas': the cell's derivative saves {saves} arrays a step, and"
            f" there is room for {plan.arguments}, one for each gate."
        )
    kept = [k for k in range(leaves) if k != hidden] if keep else []
    masked = inputs.mask is not None

    def body(ins: Inputs, outs: Outputs, scratch: Any) -> None:
        here, of = grid.place(plan), steps_of(time, grid.number(ins.reverse))
        mine = order(plan, here.rows, columns(plan, here.part))
        weights, h_parts, region = scratch["weights"], scratch["h"], scratch["region"]

        @pl.when(here.group == 0)
        def _() -> None:
            for p in range(plan.parts):
                for g in range(plan.groups):
                    plgpu.copy_gmem_to_smem(
                        ins.weights.at[here.block, p, g], weights.at[p, g], scratch["loaded"]
                    )

        def at(t: Any, part: Any) -> Any:
            return order(plan, t, here.rows, columns(plan, part))

        def fetched(slot: Any) -> Any:
            return scratch["fetched"].at[slot * plan.groups + here.group]

        def fetch(i: Any) -> None:
            slot, t = i % 2, of(i)[0]
            for k in range(gates):
                to = region.at[slot, here.group, stacked(k)]
                source = ins.z.at[at(t, here.part * gates + k)]
                plgpu.copy_gmem_to_smem(source, to, fetched(slot))

        fetch(jnp.int32(0))
        carry = [read(leaf.at[mine]) for leaf in ins.carry]
        own = [read(row.at[here.part], grid.per_feature(plan)) for row in ins.rows]
        lengths = mask = None
        if ins.lengths is not None:
            lengths = read(ins.lengths.at[here.rows], grid.per_sequence(plan))
        if masked:
            mask = read(ins.mask.at[mine])

        def give(h: Array, slot: Any) -> None:
            seen = h if mask is None else h * mask
            exchange.give(scratch, plan, here, seen.astype(jnp.bfloat16), h_parts, slot)

        def emit_h(ref: Any, index: Any) -> None:
            plgpu.copy_smem_to_gmem(ref, outs.h.at[at(index, here.part)])

        give(carry[hidden], jnp.int32(0))
        plgpu.barrier_wait(scratch["loaded"])

        def body_of_step(i: Any, carry: list[Array]) -> list[Array]:
            slot, (t, before, _) = i % 2, of(i)
            # What the last step copied out has left the memory that the next inputs come in.
            plgpu.wait_smem_to_gmem(0, wait_read_only=True)

            @pl.when(i + 1 < time)
            def _() -> None:
                fetch(i + 1)

            exchange.take(scratch, plan, here, h_parts, slot)
            if not masked:
                emit_h(h_parts.at[slot, here.part], before)
            all_parts = range(plan.parts)
            r = grid.gates(
                plan, [(h_parts.at[slot, p], weights.at[p, here.group]) for p in all_parts]
            )
            plgpu.barrier_wait(fetched(slot))
            ours = region.at[slot, here.group]
            z = grid.unstack(ours.at[stacked(0, gates)])
            summed = [a + b for a, b in zip(z, r, strict=True)][: plan.summed]
            new = step.inside(own, [*carry, *summed, *z[plan.summed :], *r[plan.summed :]])
            new, saved = new[:leaves], new[leaves:]
            if lengths is not None:
                valid = grid.over_features(plan, t < lengths)
                new = [jnp.where(valid, a, b) for a, b in zip(new, carry, strict=True)]
            give(new[hidden], 1 - slot)
            for other, k in zip(outs.others, kept, strict=True):
                write(other.at[at(t, here.part)], carry[k].astype(jnp.bfloat16))
            leaving = [*saved, carry[hidden]] if masked else saved
            if leaving:
                ours.at[stacked(0, len(leaving))][...] = grid.stack(leaving)
            plgpu.commit_smem()
            for k in range(saves):
                to = outs.saved.at[at(t, here.part * saves + k)]
                plgpu.copy_smem_to_gmem(ours.at[stacked(k)], to)
            if masked:
                emit_h(ours.at[stacked(saves)], before)
            return new

        carry = [plgpu.layout_cast(leaf, grid.TILE) for leaf in carry]
        carry = lax.fori_loop(0, time, body_of_step, carry)
        plgpu.wait_smem_to_gmem(0, wait_read_only=True)
        slot = jnp.int32(time % 2)
        exchange.take(scratch, plan, here, h_parts, slot)
        last = h_parts.at[slot, here.part]
        if masked:
            last = region.at[slot, here.group, stacked(0)]
            last[...] = carry[hidden].astype(jnp.bfloat16)
            plgpu.commit_smem()
        emit_h(last, of(jnp.int32(time - 1))[2])
        for leaf, to in zip(carry, outs.carry, strict=True):
            write(to.at[mine], leaf)
        plgpu.wait_smem_to_gmem(0)

    out_type = Outputs(
        carry=[struct(*order(plan, batch, plan.padded), dtype=jnp.float32)] * leaves,
        h=struct(*order(plan, time + 1, batch, plan.padded)),
        others=[struct(*order(plan, time, batch, plan.padded)) for _ in kept],
        saved=struct(*order(plan, time, batch, saves * plan.padded)) if saves else None,
    )
    scratch = {
        "weights": memory(plan, *inputs.weights.shape[1:]),
        "h": memory(plan, 2, plan.parts, *plan.shape),
        "region": memory(plan, 2, plan.groups, plan.forward_tiles * ROWS, plan.shape[1]),
        "loaded": plgpu.Barrier(num_arrivals=plan.parts * plan.groups),
        "fetched": plgpu.Barrier(num_arrivals=gates, num_barriers=2 * plan.groups),
        **exchange.forward(plan),
    }
    return grid.launch(plan, body, inputs, out_type, scratch, batch, interpret)
