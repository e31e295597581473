"""Any cell over a time axis that is split over devices: sequence parallelism without a loop.

`seqjax.ops.newton` with every device on its own piece of the steps. Of an iteration three things
cross its ends: the carry of the step before the piece, from the neighbour; the linear recurrence's
own carry, by one small exchange of what each piece does to it (as `seqjax.ops.linear_parallel`);
and the size of the change, so that all devices stop together. Where Newton's method does not
converge, the loop runs through the devices one after another.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec
from jax.typing import ArrayLike
from jaxtyping import Float, Integer

from seqjax.ops import affine, engine, newton
from seqjax.ops.backends import BACKENDS, Call
from seqjax.ops.cell import Carry, Cell, Elementwise, Linear, Loop, Params, Weights
from seqjax.ops.checks import check_params, checked_carry
from seqjax.ops.layout import Choices, carry_dtype, choices, shift_by_one, vary_alike
from seqjax.ops.lengths import as_lengths, length_mask
from seqjax.ops.linear_parallel import devices_along, sequence_parallel_linear_recurrence
from seqjax.ops.mesh import DATA_AXIS, data_devices
from seqjax.ops.solution import Solution, checked_counter, counted

_OP = "sequence_parallel"


def sequence_parallel(
    cell: Cell,
    params: Params,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: Any = None,
    *,
    axis: str = "time",
    mesh: Mesh | AbstractMesh | None = None,
    seq_lengths: Integer[ArrayLike, " _batch"] | None = None,
    reverse: bool = False,
    return_solution: bool = False,
    counter: Float[Array, " _batch"] | None = None,
) -> Any:
    """A cell over sequences longer than one device holds, their time split over a mesh axis.

    Values and gradients are those of `seqjax.ops.run`, to the tolerance of
    ``implementation="newton"`` (of a cell that is linear in its state: but for rounding). Devices
    exchange carries [batch, features] and, once in the backward pass, the sum of the parameters'
    gradients, however many steps there are. A batch is split over the mesh's axis "data", if there
    is one that divides it; other axes stay XLA's affair.

    Args:
        cell: the description, such as ``ops.GRUCell()``.
        params: its parameters.
        x: inputs [batch, time, inputs].
        initial_carry: the state before the first step; zeros by default.
        axis: of the mesh; its devices must divide the steps.
        mesh: by default the one of `jax.set_mesh`.
        seq_lengths: number of valid steps of each right-padded sequence. Outputs after the end
            are zero; the carry is the one at the sequence's own end.
        reverse: run from each sequence's last step to its first. Outputs stay in the order of
            the inputs (`seqjax.ops.run` has that as `keep_order`).
        return_solution: return, as a third, how it was solved: `seqjax.ops.Solution`. A linear
            cell has none.
        counter: as in `seqjax.ops.Options`; a linear cell takes none.

    Returns:
        ``(carry, y)``, the last carry and the outputs [batch, time, features], split as `x` is;
        or ``(carry, y, solution)``.

    Raises:
        ValueError: where shapes do not fit each other, for a cell that "newton" cannot run, for a
            solution or a counter of a linear one, for a mesh without the axis, and for steps that
            its devices do not divide.

    Example:
        >>> from seqjax import ops
        >>> mesh = jax.make_mesh((1,), ("time",), axis_types=(jax.sharding.AxisType.Auto,))
        >>> cell = ops.GRUCell()
        >>> params = ops.init(cell, jax.random.key(0), inputs=3, features=4)
        >>> carry, y = sequence_parallel(cell, params, jnp.ones((2, 8, 3)), mesh=mesh)
        >>> bool(jnp.allclose(y, ops.gru(params, jnp.ones((2, 8, 3))), atol=1e-5))
        True

    Source: that of `seqjax.ops.newton`; the exchange after Martin and Cundy, arXiv 1709.04057,
    section 2.2.
    """
    features = check_params(_OP, cell, params, x, ndim=3)
    batch, steps, _ = x.shape
    devices = devices_along(_OP, axis, mesh, steps)
    dtype = carry_dtype(x, cell.kernel(params))
    out_dtype = jnp.result_type(x, cell.kernel(params))
    carry = checked_carry(_OP, cell, initial_carry, batch, features, dtype)
    form, options = cell.form, {"implementation": "newton", "counter": counter}
    call = Call(_OP, form, x.shape, features, out_dtype, options)
    if reason := BACKENDS["newton"].reason(call):
        raise ValueError(f"{_OP}: {cell} cannot run so: {reason}.")
    lengths = as_lengths(seq_lengths, batch=batch, steps=steps)
    if isinstance(form, Linear):
        if return_solution or counter is not None:
            raise ValueError(
                f"{_OP}: {cell.name} is linear, and solved at once: there is no solution to return,"
                " and nothing for a counter to count."
            )
        valid = None if lengths is None else length_mask(lengths, steps).T[:, :, None]
        if valid is not None:  # padding reaches no gradient
            x = jnp.where(valid, x, jnp.zeros_like(x))
        a, b = form.coefficients(params, x, dtype)
        how = {"axis": axis, "mesh": mesh, "seq_lengths": lengths, "reverse": reverse}
        carry, h = sequence_parallel_linear_recurrence(a, b, carry, **how)
        y = form.output(params, h, x, dtype).astype(out_dtype)
        if valid is not None:
            y = jnp.where(valid, y, jnp.zeros_like(y))
        return carry, y
    # A batch over the axis "data", too, or XLA would gather it where rows of all steps are one.
    parts = data_devices(mesh)
    data = DATA_AXIS if parts > 1 and batch % parts == 0 and axis != DATA_AXIS else None
    run = _over_devices(cell, Loop(reverse=reverse), axis, devices, data, mesh, choices())
    ends, y, solutions = run(params, x, carry, lengths, checked_counter(_OP, batch, options))
    # Of a carry's gradient the device has a part that has its end; the others' ends are nobody's.
    end = jax.tree.map(lambda a: a[0 if reverse else -1], ends)
    y = y.astype(out_dtype)
    return (end, y, jax.tree.map(lambda a: a[0], solutions)) if return_solution else (end, y)


@lru_cache  # repeated calls hit jit's cache
def _over_devices(
    cell: Cell,
    loop: Loop,
    axis: str,
    devices: int,
    data: str | None,
    mesh: Mesh | AbstractMesh | None,
    layout: Choices,
) -> Callable[..., Any]:
    """`_on_one_device` on all of them; compiled, for partly manual meshes are for jit alone.

    `layout` is not read here, but what is traced reads it: another is another program.
    """
    del layout
    sequences, of_ends = PartitionSpec(data, axis), PartitionSpec(axis, data)
    axes = (axis,) if data is None else (axis, data)
    return jax.jit(
        jax.shard_map(
            partial(_on_one_device, cell, loop, axis, devices, axes),
            mesh=mesh,
            in_specs=(PartitionSpec(), sequences, *(PartitionSpec(data),) * 3),
            out_specs=(of_ends, sequences, of_ends),
            axis_names=set(axes),
        )
    )


def _on_one_device(
    cell: Cell,
    loop: Loop,
    axis: str,
    devices: int,
    axes: tuple[str, ...],
    params: Params,
    x: Array,
    carry: Carry,
    lengths: Array | None,
    counter: Array | None,
) -> tuple[Carry, Array, Solution]:
    """A device's piece, batch-major: what leaves it [1, B, H], its outputs, how it was solved."""
    params, x, carry, lengths, counter = vary_alike((params, x, carry, lengths, counter))
    x, mask = jnp.swapaxes(x, 0, 1), None
    if lengths is not None:
        mask = length_mask(lengths - lax.axis_index(axis) * x.shape[0], x.shape[0])[:, :, None]
        x = jnp.where(mask, x, jnp.zeros_like(x))
    weights, own = cell.weights(params, carry_dtype(x, cell.kernel(params)))
    first = _is_first(axis, devices, loop.reverse)
    # Whose gradient is the sum over the devices.
    carry, counter = jax.tree.map(
        lambda a: jnp.where(first, a, jnp.zeros_like(a)), (carry, counter)
    )
    form, over = cell.form, _over(axis, devices, axes)
    assert isinstance(form, Elementwise)
    given = own, weights, x, counted(carry), mask
    found, y = newton.scan(form, loop, *given, counter=counter, over=over)
    if mask is not None:
        y = jnp.where(mask, y, jnp.zeros_like(y))
    end, solution = jax.tree.map(lambda a: a[None], tuple(found))
    return end, jnp.swapaxes(y, 0, 1), solution


def _is_first(axis: str, devices: int, reverse: bool) -> Array:
    """Whether this device's piece is the one that a loop in this direction begins with."""
    return lax.axis_index(axis) == (devices - 1 if reverse else 0)


def _to_next(axis: str, devices: int, leaving: Any, initial: Any, reverse: bool) -> Any:
    """What enters this device's piece: what left the one before it; `initial` the first."""
    pairs = [(k, k + 1) for k in range(devices - 1)]
    pairs = [pair[::-1] for pair in pairs] if reverse else pairs
    first = _is_first(axis, devices, reverse)
    return jax.tree.map(
        lambda a, b: jnp.where(first, b, lax.ppermute(a, axis, pairs)), leaving, initial
    )


@lru_cache  # one for an axis, that jit may know it again
def _over(axis: str, devices: int, axes: tuple[str, ...]) -> newton.Over:
    """What `newton.scan` asks, with the neighbours' part in it; `axes` are all that are split."""
    to_next = partial(_to_next, axis, devices)

    def shift(initial: Array, stacked: Array, *, reverse: bool) -> Array:
        entering = to_next(stacked[0 if reverse else -1], initial, reverse)
        return shift_by_one(entering, stacked, reverse=reverse)

    def solve(factors: affine.Factors, inputs: affine.Vectors, *, reverse: bool) -> affine.Vectors:
        products, h = affine.prefix(factors, inputs, reverse=reverse)
        last = 0 if reverse else -1
        ends = jax.tree.map(lambda a: lax.all_gather(a[last], axis), (products, h))
        after = affine.solve(*ends, reverse=reverse)
        before = jax.tree.map(
            lambda a: shift_by_one(jnp.zeros_like(a[0]), a, reverse=reverse), after
        )
        entering = jax.tree.map(
            lambda a: lax.dynamic_index_in_dim(a, lax.axis_index(axis), keepdims=True), before
        )
        return jax.tree.map(jnp.add, h, affine.apply(products, entering))

    def largest(number: Array, axes: tuple[str, ...]) -> Array:
        # What is no number is infinite to all: a maximum may lose it.
        number = jnp.where(jnp.isnan(number), jnp.inf, number)
        return lax.pcast(lax.pmax(number, axes), axes, to="varying")

    def along(array: Array) -> Array:
        return largest(array, (axis,))

    def agree(number: Array) -> Array:
        # Of all axes, not only of the steps': one exchange is that of all devices, and who left
        # the loop before the others would keep them waiting.
        return largest(number, axes)

    def forwards(cell: Elementwise, loop: Loop, own, weights: Weights, x, carry, *masks) -> Any:
        def piece(entering: Carry) -> Any:
            return engine._scan_forward(cell, loop, own, weights, x, entering, *masks)

        def again(_: Any, entering: Carry) -> Carry:
            (final, _), _ = piece(entering)
            return to_next(final, carry, loop.reverse)

        # Piece k is right after k + 1 rounds: as long as one device takes for all steps.
        return piece(lax.fori_loop(0, devices - 1, again, carry))

    def backwards(cell: Elementwise, loop: Loop, saved: Any, cotangents: Any) -> Any:
        d_final, d_h = cotangents

        def piece(entering: Carry) -> Any:
            return engine._scan_backward(cell, loop, saved, (entering, d_h))

        def again(_: Any, entering: Carry) -> Carry:
            return to_next(piece(entering)[3], d_final, not loop.reverse)

        return piece(lax.fori_loop(0, devices - 1, again, d_final))

    return newton.Over(shift, solve, along, agree, forwards, backwards)
