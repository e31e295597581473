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
from seqjax.ops.pallas import arrays, backward, elementwise, exchange, forward, shapes
from seqjax.ops.pallas.grid import plgpu
from seqjax.ops.pallas.shapes import Plan


class _Static(NamedTuple):
    """What the compiled kernels depend on, beside shapes."""

    form: Elementwise
    plan: Plan
    reverse: bool
    exchange: exchange.Exchange
    interpret: bool

    @property
    def options(self) -> dict[str, Any]:
        """Of both kernels."""
        interpret = plgpu.InterpretGPUParams() if self.interpret else None
        return {"exchange": self.exchange, "reverse": self.reverse, "interpret": interpret}


class _Arguments(NamedTuple):
    """What a recurrence is given, as `seqjax.ops.engine.scan`; `lengths` [B] or None."""

    own: Any
    weights: Weights
    x: Array
    carry: Carry
    lengths: Array | None
    recurrent_mask: Array | None


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
    kernels = {"kernel": weights.kernel, "recurrent_kernel": weights.recurrent_kernel}
    for name, a in {"x": x, **kernels}.items():
        if a.dtype != jnp.bfloat16:
            raise ValueError(f"implementation 'pallas' multiplies bfloat16; {name} is {a.dtype}.")
    if not x.size:
        return engine.scan(form, loop, own, weights, x, carry, mask, recurrent_mask)
    plan = shapes.plan(form, weights.recurrent_kernel.shape[0], masked=recurrent_mask is not None)
    if isinstance(plan, str):
        raise ValueError(f"implementation 'pallas' cannot run this: {plan}.")
    way = exchange.CLUSTER if plan.blocks > 1 else exchange.BLOCK
    static = _Static(form, plan, loop.reverse, way, shapes.INTERPRET)
    lengths = None if mask is None else jnp.sum(mask[:, :, 0], 0, dtype=jnp.int32)
    return _scan(static, _Arguments(own, weights, x, carry, lengths, recurrent_mask))


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

    traced = elementwise.trace(step, given.own, len(leaves) + plan.arguments, plan.part)

    def kernel(shared: Any, of_steps: Any, of_rows: Any) -> tuple[Any, Any]:
        (weights, rows), (carry, lengths, mask) = shared, of_rows
        inputs = forward.Inputs(weights, rows, of_steps, carry, lengths, mask)
        out = forward.forward(plan, traced, hidden, inputs, keep, **static.options)
        return (out.h, out.others, out.saved), out.carry

    bias = given.weights.bias
    bias = jnp.zeros_like(given.weights.kernel[0]) if bias is None else bias
    kernel_and_bias = jnp.concatenate([given.weights.kernel, bias[None].astype(given.x.dtype)])
    x = arrays.pad_rows(given.x, 1)
    kept, end = arrays.in_tiles(
        kernel,
        batch,
        (
            arrays.forward_weights(plan, given.weights.recurrent_kernel),
            traced.outside(_wide(plan, given.own)),
        ),
        # Rounded once, with its bias: what the kernel copies in.
        dot(with_ones(x), arrays.columns(plan, kernel_and_bias), x.dtype),
        _of_rows(plan, given, leaves),
    )
    h = kept[0][:-1] if static.reverse else kept[0][1:]
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

    traced = elementwise.trace(step, given.own, 2 * count + saves, plan.part)
    has_own = bool(jax.tree.leaves(given.own))

    def kernel(shared: Any, of_steps: Any, of_rows: Any) -> tuple[Any, Any]:
        (weights, rows), (h, others, saved, d_h) = shared, of_steps
        inputs = backward.Inputs(weights, rows, h, others, saved, d_h, *of_rows)
        out = backward.backward(plan, traced, hidden, inputs, has_own, **static.options)
        return (out.d_gates, out.d_after), out.d_carry

    (d_gates, d_after), d_carry = arrays.in_tiles(
        kernel,
        batch,
        (
            arrays.backward_weights(plan, given.weights.recurrent_kernel),
            traced.outside(_wide(plan, given.own)),
        ),
        (*kept, arrays.pad_rows(arrays.pad_features(plan, d_h), 1)),
        _of_rows(plan, given, jax.tree.leaves(d_end)),
    )
    d_gates = d_gates[:, :batch]
    h, others, saved = jax.tree.map(lambda a: a[:, :batch], kept)
    h = (h[1:] if static.reverse else h[:-1])[..., : plan.features]
    seen = h
    if given.recurrent_mask is not None:
        seen = (h * given.recurrent_mask[None]).astype(h.dtype)
    together = outer(
        jnp.concatenate([with_ones(given.x), seen], axis=-1), d_gates.astype(jnp.float32)
    )
    d_weights = _gradients(plan, given.weights, arrays.tiles(plan, together), inputs)
    kernel_back = arrays.columns(plan, given.weights.kernel, arguments=True).T
    d_own = jax.tree.map(jnp.zeros_like, given.own)
    if has_own:
        before = [leaf[..., : plan.features] for leaf in others]
        before.insert(hidden, h)
        after = [leaf[:, :batch, : plan.features] for leaf in d_after]
        d_own = _own_gradients(static, given, tree, before, arrays.tiles(plan, saved), after)
    d_initial = tree.unflatten([leaf[:batch, : plan.features] for leaf in d_carry])
    d_x = dot(d_gates, kernel_back, jnp.dtype("float32")).astype(given.x.dtype)
    return (_Arguments(d_own, d_weights, d_x, d_initial, None, None),)


_scan.defvjp(_forward, _backward)


def _gradients(plan: Plan, weights: Weights, tiles: list[Array], inputs: int) -> Weights:
    """The weights' gradients, out of [I + 1 + H, H] for each of N."""
    recurrent = tiles[: plan.summed] + tiles[plan.gates :]
    kernel = jnp.concatenate(tiles[: plan.gates], axis=-1)
    of_all = Weights(
        kernel[:inputs],
        jnp.concatenate(recurrent, axis=-1)[inputs + 1 :],
        None if weights.bias is None else kernel[inputs],
    )
    return jax.tree.map(lambda d, w: d.astype(w.dtype), of_all, weights)


def _own_gradients(
    static: _Static, given: _Arguments, tree: Any, before: Any, saved: Any, d_carry: Any
) -> Any:
    """Those of the cell's own parameters, by the engine's derivative of all steps at once."""

    def flat(leaves: list[Array]) -> list[Array]:
        return [a.reshape(-1, a.shape[-1]).astype(jnp.float32) for a in leaves]

    mask = None
    if given.lengths is not None:
        steps = jnp.arange(given.x.shape[0])[:, None]
        mask = (steps < given.lengths[None, :]).reshape(-1, 1)
    d_own, *_ = engine._step_backwards(
        static.form,
        mask,
        given.own,
        tree.unflatten(flat(before)),
        tuple(flat(saved)),
        tree.unflatten(flat(d_carry)),
    )
    return jax.tree.map(lambda d, a: d.astype(a.dtype), d_own, given.own)


# -- operands --------------------------------------------------------------------


def _hidden(form: Elementwise, carry: Carry) -> int:
    """Which leaf of the carry `form.hidden` picks."""
    # Of variables, which differ where leaves may be one array, as zeros are.
    jaxpr = jax.make_jaxpr(form.hidden)(carry).jaxpr
    for k, leaf in enumerate(jaxpr.invars):
        if leaf is jaxpr.outvars[0]:
            return k
    raise ValueError("implementation 'pallas': `hidden` must pick a leaf of the carry as it is.")


def _wide(plan: Plan, own: Any) -> Any:
    return jax.tree.map(lambda a: arrays.pad_features(plan, a.astype(jnp.float32)), own)


def _of_rows(plan: Plan, given: _Arguments, carry: list[Array]) -> tuple[Any, Any, Any]:
    """Of the sequences: a carry, lengths, and the recurrent mask."""

    def whole(a: Array) -> Array:
        return arrays.pad_rows(arrays.pad_features(plan, a.astype(jnp.float32)), 0)

    lengths = None if given.lengths is None else arrays.pad_rows(given.lengths, 0)
    mask = None if given.recurrent_mask is None else whole(given.recurrent_mask)
    return [whole(leaf) for leaf in carry], lengths, mask
