"""The backward kernel: the steps of `forward` from the last, with the same layout.

A step of a group of warps: add the output's gradient to the carry's, call the cell's own
derivative, write the gates' gradients where the tensor core and the copy out read them, and
multiply those of all groups of the block with the transposed recurrent kernel: ``h``'s gradient,
or a block's share of it. The products with ``x`` and ``h`` follow outside, for all steps at
once.

Dimensions: T time, B batch (padded to tiles), K gates, N = K and the split ones once more, P
parts; features are padded, and stand first where tiles are transposed (`forward`).
"""

import itertools
from functools import partial
from typing import Any, NamedTuple

import jax.experimental.pallas as pl
import jax.numpy as jnp
from jax import Array, lax

from seqjax.ops.pallas import grid
from seqjax.ops.pallas.elementwise import Traced
from seqjax.ops.pallas.exchange import Exchange
from seqjax.ops.pallas.forward import steps_of
from seqjax.ops.pallas.grid import columns, memory, order, plgpu, read, stacked, struct, write
from seqjax.ops.pallas.shapes import ROWS, Plan


class Inputs(NamedTuple):
    """Of the backward kernel.

    Attributes:
        weights: [blocks, groups, chunks, groups * K, part, columns] in bfloat16: of a block,
            to a group's features in all blocks, from the block's gates, transposed; transposed
            back where tiles are transposed: the last two are [ROWS, part].
        rows: of the own parameters, [P, part] each in float32.
        h: of the forward kernel, [T + 1, B, features].
        others: of the forward kernel, leaves [T, B, features].
        saved: of the forward kernel, [T, B, P * S * part].
        d_h: gradient of ``h`` after each step, [T, B, features] in bfloat16.
        d_carry: of the last carry, leaves [B, features] in float32.
        lengths: steps that count, [B] in int32; or None for all.
        mask: of the recurrent product, [B, features] in float32; or None.
        reverse: [1] in int32: 1 where the forward loop went from the last step to the first, or 0.
    """

    weights: Any
    rows: Any
    h: Any
    others: Any
    saved: Any
    d_h: Any
    d_carry: Any
    lengths: Any
    mask: Any
    reverse: Any


class Outputs(NamedTuple):
    """Of the backward kernel.

    Attributes:
        d_carry: of the first carry, leaves [B, features] in float32.
        d_gates: [T, B, P * N * part] in bfloat16.
        d_after: of the carry after each step, leaves [T, B, features] in float32: what the
            gradients of own parameters are made of; no leaves where there are none.
    """

    d_carry: Any
    d_gates: Any
    d_after: Any


def backward(
    plan: Plan,
    step: Traced,
    hidden: int,
    inputs: Inputs,
    own: bool,
    *,
    exchange: Exchange,
    interpret: Any,
) -> Outputs:
    """Run the kernel.

    Args:
        plan: how the recurrence is cut.
        step: ``(rows, (*previous, *saved, *d_carry)) -> (*d_previous, *d_gates)``.
        hidden: which leaf of the carry is ``h``.
        inputs: what it reads.
        own: there are own parameters.
        exchange: how the shares of ``h``'s gradient are added up.
        interpret: None, or how Pallas shall interpret it.

    Raises:
        ValueError: where the derivative reads more than there is room for.
    """
    time, batch = inputs.d_h.shape[1:] if plan.transposed else inputs.d_h.shape[:2]
    leaves, groups = len(inputs.d_carry), plan.groups
    count, shape = plan.arguments, inputs.weights.shape[1:]
    # A step reads what was saved, the leaves of the carry that it looks at, and dy.
    saves = len(step.uses) - 2 * leaves
    looks = [k for k in range(leaves) if step.uses[k]]
    reads = saves + len(looks) + 1
    if reads > plan.backward_tiles:
        raise ValueError(
            f"implementation 'pallas': the cell's derivative reads {reads - 1} arrays a step, and"
            f" there is room for {plan.backward_tiles - 1}."
        )
    # The gates' gradients as the recurrent product sees them.
    recurrent = [*range(plan.summed), *range(plan.gates, count)]

    def body(ins: Inputs, outs: Outputs, scratch: Any) -> None:
        here, of = grid.place(plan), steps_of(time, grid.number(ins.reverse))
        mine = order(plan, here.rows, columns(plan, here.part))
        weights, region = scratch["weights"], scratch["region"]

        @pl.when(here.group == 0)
        def _() -> None:
            for at in itertools.product(*map(range, shape[:3])):
                plgpu.copy_gmem_to_smem(
                    ins.weights.at[here.block, *at], weights.at[at], scratch["loaded"]
                )

        def at(t: Any, part: Any) -> Any:
            return order(plan, t, here.rows, columns(plan, part))

        def fetched(slot: Any) -> Any:
            return scratch["fetched"].at[slot * groups + here.group]

        def fetch(i: Any) -> None:
            slot, (t, before, _) = i % 2, of(time - 1 - i)

            def leaf(k: int) -> Any:
                if k == hidden:
                    return ins.h.at[at(before, here.part)]
                return ins.others[k - (k > hidden)].at[at(t, here.part)]

            refs = [ins.saved.at[at(t, here.part * saves + k)] for k in range(saves)]
            refs += [*map(leaf, looks), ins.d_h.at[at(t, here.part)]]
            for k, ref in enumerate(refs):
                to = region.at[slot, here.group, stacked(k)]
                plgpu.copy_gmem_to_smem(ref, to, fetched(slot))

        fetch(jnp.int32(0))
        exchange.begin(scratch)
        d_carry = [read(leaf.at[mine]) for leaf in ins.d_carry]
        own_rows = [read(row.at[here.part], grid.per_feature(plan)) for row in ins.rows]
        lengths = mask = None
        if ins.lengths is not None:
            lengths = read(ins.lengths.at[here.rows], grid.per_sequence(plan))
        if ins.mask is not None:
            mask = read(ins.mask.at[mine])
        plgpu.barrier_wait(scratch["loaded"])

        def body_of_step(i: Any, d_carry: list[Array]) -> list[Array]:
            slot, (t, _, _) = i % 2, of(time - 1 - i)
            plgpu.wait_smem_to_gmem(0, wait_read_only=True)
            plgpu.barrier_wait(fetched(slot))
            ours = region.at[slot, here.group]
            *came, d_h = grid.unstack(ours.at[stacked(0, reads)])
            d_carry = [d + d_h if k == hidden else d for k, d in enumerate(d_carry)]
            for d, to in zip(d_carry, outs.d_after, strict=False):
                write(to.at[at(t, here.part)], d)
            previous: list[Any] = [None] * leaves
            for n, k in enumerate(looks):
                previous[k] = came[saves + n]
            valid, within = None, d_carry
            if lengths is not None:
                valid = grid.over_features(plan, t < lengths)
                within = [jnp.where(valid, d, 0.0) for d in d_carry]
            results = step.inside(own_rows, [*previous, *came[:saves], *within])
            d_previous, d_gates = results[:leaves], results[leaves:]
            if valid is not None:  # where the carry stood still its gradient passes by
                both = zip(d_previous, d_carry, strict=True)
                d_previous = [jnp.where(valid, a, b) for a, b in both]
                d_gates = [jnp.where(valid, d, 0.0) for d in d_gates]
            ours.at[stacked(0, count)][...] = grid.stack(d_gates)
            plgpu.commit_smem()
            plgpu.barrier_arrive(scratch["written"])
            plgpu.barrier_wait(scratch["written"])

            # Not before: until here another group may have read the other slot.
            @pl.when(i + 1 < time)
            def _() -> None:
                fetch(i + 1)

            for k in range(count):
                to = outs.d_gates.at[at(t, here.part * count + k)]
                plgpu.copy_smem_to_gmem(ours.at[stacked(k)], to)

            def share(chunk: Any) -> Array:
                pairs = [
                    (region.at[slot, g, stacked(k)], weights.at[here.group, chunk, n])
                    for n, (g, k) in enumerate(itertools.product(range(groups), recurrent))
                ]
                return grid.product(plan, pairs)

            d_h = exchange.total(scratch, plan, here, share, i + 1 < time)
            d_h = d_h if mask is None else d_h * mask
            return [d + d_h if k == hidden else d for k, d in enumerate(d_previous)]

        d_carry = [plgpu.layout_cast(leaf, grid.TILE) for leaf in d_carry]
        d_carry = lax.fori_loop(0, time, body_of_step, d_carry)
        for leaf, to in zip(d_carry, outs.d_carry, strict=True):
            write(to.at[mine], leaf)
        plgpu.wait_smem_to_gmem(0)

    wide = partial(struct, dtype=jnp.float32)
    after = wide(*order(plan, time, batch, plan.padded))
    out_type = Outputs(
        d_carry=[wide(*order(plan, batch, plan.padded))] * leaves,
        d_gates=struct(*order(plan, time, batch, count * plan.padded)),
        d_after=[after] * (leaves if own else 0),
    )
    scratch = {
        "weights": memory(plan, *shape),
        "region": memory(plan, 2, groups, plan.backward_tiles * ROWS, plan.shape[1]),
        "loaded": plgpu.Barrier(num_arrivals=shape[0] * shape[1] * shape[2]),
        "fetched": plgpu.Barrier(num_arrivals=reads, num_barriers=2 * groups),
        "written": plgpu.Barrier(num_arrivals=groups),
        **exchange.backward(plan),
    }
    return grid.launch(plan, body, inputs, out_type, scratch, batch, interpret)
