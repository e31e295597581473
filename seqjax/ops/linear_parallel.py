"""The linear recurrence over a time axis that is split over devices: sequence parallelism.

Each device runs its own piece from a carry of zero. A piece is an affine map of the carry that
enters it, so one small exchange, of every piece's product of factors and last ``h``, tells each
device what enters its own; the products of its factors so far, times that, are what was missing.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import AbstractMesh, AxisType, Mesh, PartitionSpec
from jax.typing import ArrayLike
from jaxtyping import Inexact, Integer

from seqjax.ops.backends import BACKENDS, Call, Implementation, choose
from seqjax.ops.cell import Linear, Loop
from seqjax.ops.layout import Choices, choices, shift_by_one, vary_alike
from seqjax.ops.lengths import as_lengths, length_mask
from seqjax.ops.linear_recurrence import FORM, first_carry
from seqjax.ops.options import Options
from seqjax.ops.sequence import loop_of

_OP = "sequence_parallel_linear_recurrence"


def sequence_parallel_linear_recurrence(
    a: Inexact[Array, "_batch _time features"] | Inexact[Array, " features"],
    b: Inexact[Array, "_batch _time features"],
    initial_carry: Inexact[Array, "_batch features"] | None = None,
    *,
    axis: str = "time",
    mesh: Mesh | AbstractMesh | None = None,
    seq_lengths: Integer[ArrayLike, " _batch"] | None = None,
    reverse: bool = False,
    implementation: Implementation | None = None,
) -> tuple[Array, Array]:
    """An elementwise linear recurrence over series longer than one device holds.

    ``h_t = a_t h_{t-1} + b_t``, its time split over the devices of a mesh axis

    Values and gradients are those of `linear_recurrence`, but for rounding, as long as the
    product of a device's factors is finite. What the devices exchange, forward and again
    backward, is two arrays [batch, features] of each, however many steps there are. Other axes
    of the mesh, such as "data", stay XLA's affair. To run a cell that is linear in its state,
    take ``cell.form.coefficients`` before and ``output`` after.

    Args:
        a: factors, of the shape of `b`, or [features] where they are the same at every step.
        b: inputs [batch, time, features].
        initial_carry: ``h`` before the first step [batch, features]; zeros by default.
        axis: of the mesh; its devices must divide the steps.
        mesh: by default the one of `jax.set_mesh`.
        seq_lengths: number of valid steps of each right-padded sequence. Outputs after the end
            are zero; the carry is the one at the sequence's own end.
        reverse: run from each sequence's last step to its first. Outputs stay in the order of
            the inputs (`linear_recurrence` has that as `keep_order`): to turn them round would
            send the whole series from device to device.
        implementation: of each device's own piece; None, "scan" or "associative".

    Returns:
        ``(carry, h)``: the last ``h`` [batch, features], float32 (complex64) or wider, and every
        ``h_t`` [batch, time, features] in the dtype of `a` and `b`, split as `b` is.

    Raises:
        ValueError: where shapes do not fit each other, for a mesh without the axis, and for
            steps that its devices do not divide.

    Example:
        >>> mesh = jax.make_mesh((1,), ("time",), axis_types=(jax.sharding.AxisType.Auto,))
        >>> a, b = jnp.array([0.5]), jnp.ones((1, 4, 1))
        >>> carry, h = sequence_parallel_linear_recurrence(a, b, mesh=mesh)
        >>> h[0, :, 0].tolist(), carry.tolist()
        ([1.0, 1.5, 1.75, 1.875], [[1.875]])

    Source: Martin and Cundy, "Parallelizing linear recurrent neural nets over sequence length",
    arXiv 1709.04057, section 2.2.
    """
    batch, steps, width = b.shape
    carry, dtype = first_carry(_OP, a, b, initial_carry, batch)
    devices = devices_along(_OP, axis, mesh, steps)
    out_dtype = jnp.result_type(a, b)
    options = Options(reverse=reverse, implementation=implementation)
    backend = choose(Call(_OP, FORM, b.shape, width, out_dtype, options))
    how = _How(BACKENDS[backend].loops[Linear], axis, devices)
    lengths = as_lengths(seq_lengths, batch=batch, steps=steps)
    run = _over_devices(how, loop_of(options), mesh, choices(), constant=a.ndim == 1)
    ends, h = run(a.astype(dtype), b.astype(dtype), carry.astype(dtype), lengths)
    return ends[0 if reverse else -1], h.astype(out_dtype)


def devices_along(op: str, axis: str, mesh: Mesh | AbstractMesh | None, steps: int) -> int:
    """Devices of a mesh axis; ValueError where there is none, or they do not divide the steps."""
    found = jax.sharding.get_abstract_mesh() if mesh is None else mesh
    if axis not in found.axis_names:
        raise ValueError(
            f"{op}: the mesh has no axis {axis!r}, only {found.axis_names}; jax.set_mesh(mesh) or"
            f' mesh= gives another, such as jax.make_mesh((devices,), ("{axis}",)).'
        )
    if dict(zip(found.axis_names, found.axis_types, strict=True))[axis] == AxisType.Explicit:
        raise ValueError(
            f"{op}: the mesh's axis {axis!r} is explicit; jax.make_mesh(...,"
            " axis_types=(jax.sharding.AxisType.Auto,)) makes it automatic."
        )
    devices = found.shape[axis]
    if not steps or steps % devices:
        raise ValueError(
            f"{op}: {devices} devices do not divide {steps} steps; pad them and say"
            " seq_lengths, of the sequences as they were."
        )
    return devices


class _How(NamedTuple):
    """How pieces are run, and where their devices stand."""

    solve: Callable[..., tuple[Array, Array]]
    axis: str
    devices: int

    def is_first(self, loop: Loop) -> Array:
        """Whether this device's piece is the one that the loop begins with."""
        return lax.axis_index(self.axis) == (self.devices - 1 if loop.reverse else 0)


@lru_cache  # repeated calls hit jit's cache
def _over_devices(
    how: _How,
    loop: Loop,
    mesh: Mesh | AbstractMesh | None,
    layout: Choices,
    *,
    constant: bool,
) -> Callable[..., Any]:
    """`_on_one_device` on all of them; compiled, for partly manual meshes are for jit alone.

    `layout` is not read here, but what is traced reads it: another is another program.
    """
    del layout
    over_time, whole = PartitionSpec(None, how.axis), PartitionSpec()
    return jax.jit(
        jax.shard_map(
            partial(_on_one_device, how, loop),
            mesh=mesh,
            in_specs=(whole if constant else over_time, over_time, whole, whole),
            out_specs=(PartitionSpec(how.axis), over_time),
            axis_names={how.axis},
        )
    )


def _on_one_device(
    how: _How, loop: Loop, a: Array, b: Array, carry: Array, lengths: Array | None
) -> tuple[Array, Array]:
    """A device's piece, batch-major: what leaves it [1, B, F], and its ``h``."""
    a, b, carry, lengths = vary_alike((a, b, carry, lengths))
    mask = None
    b = jnp.swapaxes(b, 0, 1)
    if a.ndim > 1:
        a = jnp.swapaxes(a, 0, 1)
    if lengths is not None:
        steps = b.shape[0]
        mask = length_mask(lengths - lax.axis_index(how.axis) * steps, steps)[:, :, None]
        b = jnp.where(mask, b, jnp.zeros_like(b))
        factors = lax.expand_dims(a, range(b.ndim - a.ndim))
        a = jnp.where(mask, factors, jnp.ones_like(factors))  # a factor of one holds the carry
    carry = jnp.where(how.is_first(loop), carry, jnp.zeros_like(carry))
    found: Any = _run(how, loop, *vary_alike((a, b, carry)))
    end, h = found
    if mask is not None:
        h = jnp.where(mask, h, jnp.zeros_like(h))
    return end[None], jnp.swapaxes(h, 0, 1)


def _solve(how: _How, loop: Loop, a: Array, b: Array, carry: Array) -> tuple[Array, Array, Array]:
    """What enters and what leaves this device's piece [B, F], and its ``h`` [T, B, F].

    Args:
        how: how pieces are run, and over which devices.
        loop: its direction, and steps per iteration.
        a: [T, B, F] or [F].
        b: [T, B, F].
        carry: [B, F], of the recurrence on the first device, zero on the others.
    """
    end, h = how.solve(loop, a, b, carry)
    # Products of factors do not depend on the batch where the factors do not.
    shape = (b.shape[0], 1, b.shape[2]) if a.ndim == 1 else b.shape
    product, products = how.solve(
        loop, a, jnp.zeros(shape, b.dtype), jnp.ones(shape[1:], carry.dtype)
    )
    factors, ends = lax.all_gather((product, end), how.axis)
    factors = jnp.broadcast_to(factors, ends.shape)
    nothing = jnp.zeros_like(end)
    _, after = how.solve(loop, factors, ends, nothing)
    before = shift_by_one(nothing, after, reverse=loop.reverse)
    entering = lax.dynamic_index_in_dim(before, lax.axis_index(how.axis), keepdims=False)
    return entering + carry, end + product * entering, h + products * entering[None]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run(how: _How, loop: Loop, a: Array, b: Array, carry: Array) -> tuple[Array, Array]:
    _, end, h = _solve(how, loop, a, b, carry)
    return end, h


def _run_forward(how: _How, loop: Loop, a: Array, b: Array, carry: Array):
    entering, end, h = _solve(how, loop, a, b, carry)
    return (end, h), (a, entering, h)


def _run_backward(how: _How, loop: Loop, saved: Any, cotangents: tuple[Array, Array]):
    """As that of `seqjax.ops.linear`, by the same exchange in reverse.

    What entered the piece takes the place of the step before its first. Only the last device's
    end is the recurrence's, so that the other cotangents of ends are zero, as `_solve` wants.
    """
    a, entering, h = saved
    d_end, d_h = cotangents
    backwards = loop._replace(reverse=not loop.reverse)
    factors = lax.expand_dims(a, range(d_h.ndim - a.ndim))
    d_entering, d_initial, u = _solve(how, backwards, a, factors * d_h, d_end)
    g = d_h + shift_by_one(d_entering, u, reverse=backwards.reverse)
    d_a = g * shift_by_one(entering, h, reverse=loop.reverse)
    return (jnp.sum(d_a, axis=(0, 1)) if a.ndim == 1 else d_a), g, d_initial


_run.defvjp(_run_forward, _run_backward)
