"""`seqjax.ops.engine.scan` as kernels: what stands around `forward` and `backward`.

The products of all steps, forwards with ``W``, backwards with ``x`` and ``h``, stay XLA's: one
each.

Dimensions: T time, B batch, I input features, H features, K gates, N = K and the split ones once
more, P parts.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.ops import engine
from seqjax.ops.cell import Carry, Elementwise, Loop, Weights
from seqjax.ops.layout import dot, outer, with_ones
from seqjax.ops.pallas import (
    arrays,
    backward,
    elementwise,
    exchange,
    forward,
    gradients,
    shapes,
)
from seqjax.ops.pallas.grid import plgpu
from seqjax.ops.pallas.shapes import Plan


class _Static(NamedTuple):
    """What the compiled kernels depend on, beside shapes."""

    form: Elementwise
    plan: Plan
    exchange: exchange.Exchange
    interpret: bool

    @property
    def options(self) -> dict[str, Any]:
        """Of both kernels."""
        interpret = plgpu.InterpretGPUParams() if self.interpret else None
        return {"exchange": self.exchange, "interpret": interpret}


class _Arguments(NamedTuple):
    """What a recurrence is given, as `seqjax.ops.engine.scan`.

    Attributes:
        lengths: [B] in int32, or None.
        reverse: [1] in int32, 1 where the loop goes from the last step to the first, or 0.
    """

    own: Any
    weights: Weights
    x: Array
    carry: Carry
    lengths: Array | None
    recurrent_mask: Array | None
    reverse: Any


def scan(
    form: Elementwise,
    loop: Loop,
    own: Any,
    weights: Weights,
    x: Array,
    carry: Carry,
    mask: Array | None = None,
    recurrent_mask: Array | None = None,
) -> tuple[Carry, Array]:
    """`seqjax.ops.engine.scan` as one kernel.

    Args:
        form: the cell.
        loop: its direction; it unrolls as the kernels do.
        own: the cell's own parameters.
        weights: kernels in bfloat16, and bias.
        x: [T, B, I] in bfloat16.
        carry: before the first step, a pytree of [B, H] arrays in float32.
        mask: [T, B, 1], False in the padding, which comes last; None for all True.
        recurrent_mask: [B, H] or None.

    Returns:
        The final carry in float32, and ``h`` [T, B, H] in bfloat16.

    Raises:
        ValueError: for another dtype, or a cell that the kernels cannot run.
    """
    if not x.size:
        return engine.scan(form, loop, own, weights, x, carry, mask, recurrent_mask)
    static = _static(form, weights, x, masked=recurrent_mask is not None)
    reverse = jnp.full(1, loop.reverse, jnp.int32)
    lengths = _lengths(mask)
    return _scan(static, _Arguments(own, weights, x, carry, lengths, recurrent_mask, reverse))


def both_ways(
    form: Elementwise,
    own: Any,
    weights: Any,
    x: Array,
    carry: Any,
    mask: Array | None = None,
    recurrent_mask: Any = None,
) -> tuple[Any, Array]:
    """A `scan` in each direction, as one kernel: the direction is an axis of its grid.

    Args:
        form: the cell, of both.
        own: a pair, forwards and backwards; so are `weights`, `carry` and `recurrent_mask`.
        weights: kernels in bfloat16, and bias.
        x: [T, B, I] in bfloat16, not empty.
        carry: before the first and after the last step.
        mask: as `scan` takes it.
        recurrent_mask: [B, H] each; or None.

    Returns:
        The pair of final carries, and ``h`` of both, each step beside its input: [T, B, 2 * H].

    Raises:
        ValueError: as `scan`.
    """
    static = _static(form, weights[0], x, masked=recurrent_mask is not None)
    own, weights, carry, recurrent_mask = (
        jax.tree.map(lambda *two: jnp.stack(two), *pair)
        for pair in (own, weights, carry, recurrent_mask or (None, None))
    )
    reverse = jnp.arange(2, dtype=jnp.int32)[:, None]
    given = _Arguments(own, weights, x, carry, _lengths(mask), recurrent_mask, reverse)
    axes = _Arguments._make((0, 0, None, 0, None, 0, 0))
    ends, h = jax.vmap(partial(_scan, static), in_axes=(axes,))(given)
    first, second = (jax.tree.map(lambda a, k=k: a[k], ends) for k in range(2))
    return (first, second), jnp.concatenate([h[0], h[1]], axis=-1)


def _static(form: Elementwise, weights: Weights, x: Array, *, masked: bool) -> _Static:
    kernels = {"kernel": weights.kernel, "recurrent_kernel": weights.recurrent_kernel}
    for name, a in {"x": x, **kernels}.items():
        if a.dtype != jnp.bfloat16:
            raise ValueError(f"implementation 'pallas' multiplies bfloat16; {name} is {a.dtype}.")
    features, batch = weights.recurrent_kernel.shape[0], x.shape[1]
    plan = shapes.plan(form, features, batch, masked=masked)
    if isinstance(plan, str):
        raise ValueError(f"implementation 'pallas' cannot run this: {plan}.")
    way = exchange.CLUSTER if plan.blocks > 1 else exchange.BLOCK
    return _Static(form, plan, way, shapes.INTERPRET)


def _lengths(mask: Array | None) -> Array | None:
    return None if mask is None else jnp.sum(mask[:, :, 0], 0, dtype=jnp.int32)


# -- forwards --------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan(static: _Static, given: _Arguments) -> tuple[Carry, Array]:
    return _forward(static, given, keep=False)[0]


def _forward(
    static: _Static, given: _Arguments, *, keep: bool = True
) -> tuple[tuple[Carry, Array], tuple[_Arguments, Any]]:
    """The results, and what the backward pass wants."""
    form, plan = static.form, static.plan
    batch = given.x.shape[1]
    leaves, tree = jax.tree.flatten(given.carry)
    hidden = _hidden(form, given.carry)

    def step(own: Any, *tiles: Array) -> list[Array]:
        before, gates = tree.unflatten(tiles[: len(leaves)]), tiles[len(leaves) :]
        if not keep:
            return jax.tree.leaves(form.advance(own, before, gates))
        after, saved = form.derivative().forward(own, before, gates)
        return [*jax.tree.leaves(after), *saved]

    traced = _traced(plan, step, given.own, len(leaves) + plan.arguments)

    def kernel(shared: Any, of_steps: Any, of_rows: Any) -> tuple[Any, Any]:
        weights, rows, reverse = shared
        z, (carry, lengths, mask) = arrays.in_order(plan, (of_steps, of_rows))
        inputs = forward.Inputs(weights, rows, z, carry, lengths, mask, reverse)
        out = forward.forward(plan, traced, hidden, inputs, keep, **static.options)
        return arrays.out_of_order(plan, ((out.h, out.others, out.saved), out.carry))

    bias = given.weights.bias
    bias = jnp.zeros_like(given.weights.kernel[0]) if bias is None else bias
    kernel_and_bias = jnp.concatenate([given.weights.kernel, bias[None].astype(given.x.dtype)])
    x = arrays.pad_rows(plan, given.x, 1)
    kept, end = arrays.in_tiles(
        plan,
        kernel,
        batch,
        (
            arrays.forward_weights(plan, given.weights.recurrent_kernel),
            traced.outside(arrays.wide(plan, given.own)),
            given.reverse,
        ),
        # Rounded once, with its bias: what the kernel copies in.
        dot(with_ones(x), arrays.columns(plan, kernel_and_bias), x.dtype),
        arrays.of_rows(plan, leaves, given.lengths, given.recurrent_mask),
    )
    h = jnp.where(given.reverse[0] == 1, kept[0][:-1], kept[0][1:])
    end = [leaf[:batch, : plan.features] for leaf in end]
    return (tree.unflatten(end), h[:, :batch, : plan.features]), (given, kept)


# -- backwards -------------------------------------------------------------------


def _backward(
    static: _Static, residuals: tuple[_Arguments, Any], cotangents: tuple[Carry, Array]
) -> tuple[_Arguments]:
    form, plan = static.form, static.plan
    given, kept = residuals
    d_end, d_h = cotangents
    batch, inputs = given.x.shape[1:]
    leaves, tree = jax.tree.flatten(given.carry)
    count, hidden = len(leaves), _hidden(form, given.carry)
    saves = 0 if kept[2] is None else kept[2].shape[-1] // plan.padded

    def step(own: Any, *tiles: Array) -> list[Array]:
        before, d_carry = tree.unflatten(tiles[:count]), tree.unflatten(tiles[-count:])
        saved = tiles[count:-count]
        _, d_before, d_gates = form.derivative().backward(own, before, saved, d_carry)
        return [*jax.tree.leaves(d_before), *d_gates]

    traced = _traced(plan, step, given.own, 2 * count + saves)
    has_own = bool(jax.tree.leaves(given.own))

    def kernel(shared: Any, of_steps: Any, of_rows: Any) -> tuple[Any, Any]:
        weights, rows, reverse = shared
        (h, others, saved, d_h), of_rows = arrays.in_order(plan, (of_steps, of_rows))
        of_rows = *of_rows, reverse
        inputs = backward.Inputs(weights, rows, h, others, saved, d_h, *of_rows)
        out = backward.backward(plan, traced, hidden, inputs, has_own, **static.options)
        return arrays.out_of_order(plan, ((out.d_gates, out.d_after), out.d_carry))

    (d_gates, d_after), d_carry = arrays.in_tiles(
        plan,
        kernel,
        batch,
        (
            arrays.backward_weights(plan, given.weights.recurrent_kernel),
            traced.outside(arrays.wide(plan, given.own)),
            given.reverse,
        ),
        (*kept, arrays.pad_rows(plan, arrays.pad_features(plan, d_h), 1)),
        arrays.of_rows(plan, jax.tree.leaves(d_end), given.lengths, given.recurrent_mask),
    )
    d_gates = d_gates[:, :batch]
    h, others, saved = jax.tree.map(lambda a: a[:, :batch], kept)
    h = jnp.where(given.reverse[0] == 1, h[1:], h[:-1])[..., : plan.features]
    seen = h
    if given.recurrent_mask is not None:
        seen = (h * given.recurrent_mask[None]).astype(h.dtype)
    together = outer(
        jnp.concatenate([with_ones(given.x), seen], axis=-1), d_gates.astype(jnp.float32)
    )
    d_weights = gradients.of_weights(plan, given.weights, arrays.tiles(plan, together), inputs)
    kernel_back = arrays.columns(plan, given.weights.kernel, arguments=True).T
    d_own = jax.tree.map(jnp.zeros_like, given.own)
    if has_own:
        before = [leaf[..., : plan.features] for leaf in others]
        before.insert(hidden, h)
        after = [leaf[:, :batch, : plan.features] for leaf in d_after]
        saved = arrays.tiles(plan, saved)
        trees = tree.unflatten(before), tuple(saved), tree.unflatten(after)
        d_own = gradients.of_own(form, given.own, given.lengths, *trees)
    d_initial = tree.unflatten([leaf[:batch, : plan.features] for leaf in d_carry])
    d_x = dot(d_gates, kernel_back, jnp.dtype("float32")).astype(given.x.dtype)
    return (_Arguments(d_own, d_weights, d_x, d_initial, None, None, None),)


_scan.defvjp(_forward, _backward)


# -- operands --------------------------------------------------------------------


def _traced(plan: Plan, step: Any, own: Any, tiles: int) -> elementwise.Traced:
    """A step of tiles as a kernel has them."""
    return elementwise.trace(
        step, own, tiles, plan.part, sequences=plan.sequences, transposed=plan.transposed
    )


def _hidden(form: Elementwise, carry: Carry) -> int:
    """Which leaf of the carry `form.hidden` picks."""
    # Of variables, which differ where leaves may be one array, as zeros are.
    jaxpr = jax.make_jaxpr(form.hidden)(carry).jaxpr
    for k, leaf in enumerate(jaxpr.invars):
        if leaf is jaxpr.outvars[0]:
            return k
    raise ValueError("implementation 'pallas': `hidden` must pick a leaf of the carry as it is.")
