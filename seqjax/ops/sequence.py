"""Around the loop: the options of every recurrent op, and what they do.

`seqjax.ops.Options` is the only list of them. `run` runs any cell over sequences, `step` a single
step; `rnn`, `lstm` and the others are faces of these with their equation and parameters.
"""

import difflib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.ops.backends import Call, choose, run_form, run_step
from seqjax.ops.cell import Cell, Linear, Loop, Params
from seqjax.ops.checks import check_params, check_shape, checked_carry
from seqjax.ops.layout import carry_dtype, choices, vary_alike
from seqjax.ops.lengths import as_lengths, flip_sequences, length_mask
from seqjax.ops.mesh import over_batch
from seqjax.ops.options import Options
from seqjax.ops.pieces import in_pieces
from seqjax.ops.solution import (
    OF_NEWTON,
    check_newton,
    checked_counter,
    checked_guess,
    counted,
)

if TYPE_CHECKING:
    from seqjax.ops.options import Values


@overload
def run(
    cell: Cell,
    params: Params,
    x: Array,
    initial_carry: Any = None,
    *,
    return_carry: Literal[False] = False,
    **options: Unpack["Values"],
) -> Array: ...
@overload
def run(
    cell: Cell,
    params: Params,
    x: Array,
    initial_carry: Any = None,
    *,
    return_carry: Literal[True],
    **options: Unpack["Values"],
) -> tuple[Any, Array]: ...
@overload
def run(
    cell: Cell, params: Params, x: Array, initial_carry: Any = None, **options: Unpack[Options]
) -> Any: ...
def run(
    cell: Cell, params: Params, x: Array, initial_carry: Any = None, **options: Unpack[Options]
) -> Any:
    """Run a cell over whole sequences.

    ``carry_t, y_t = cell(carry_{t-1}, x_t)``

    Args:
        cell: the description, such as ``ops.LSTMCell()``.
        params: the cell's parameters (`seqjax.ops.init` draws some).
        x: inputs [batch, time, inputs] ([time, batch, inputs] if `time_major`).
        initial_carry: the state before the first step; zeros by default.
        **options: see `Options`.

    Returns:
        ``y`` [batch, time, features] in the dtype of input and parameters, or
        ``(carry, y)``; with `return_solution` a `Solution` more.

    Raises:
        TypeError: for an unknown option.
        ValueError: where shapes do not fit each other, or an option does not fit the cell.

    Example:
        >>> from seqjax import ops
        >>> cell = ops.GRUCell()
        >>> params = ops.init(cell, jax.random.key(0), inputs=3, features=4)
        >>> x, lengths = jnp.ones((2, 5, 3)), jnp.array([5, 2])
        >>> ops.run(cell, params, x, seq_lengths=lengths, reverse=True).shape
        (2, 5, 4)
    """
    name = cell.name
    features = check_params(name, cell, params, x, ndim=3)
    batch = x.shape[1 if options.get("time_major") else 0]
    dtype = carry_dtype(x, cell.kernel(params))
    recurrent_mask = options.get("recurrent_mask")
    if recurrent_mask is not None:
        if isinstance(cell.form, Linear):
            raise ValueError(f"{name} has no product with h for recurrent_mask to stand in.")
        recurrent_mask = jax.lax.stop_gradient(jnp.asarray(recurrent_mask, dtype))
        check_shape(name, "recurrent_mask", recurrent_mask, batch, features)
    carry = checked_carry(name, cell, initial_carry, batch, features, dtype)
    out_dtype = jnp.result_type(x, cell.kernel(params))
    implementation = choose(Call(name, cell.form, x.shape, features, out_dtype, options))
    run_piece = partial(run_form, cell, implementation=implementation, loop=loop_of(options))
    iterates = implementation == "newton" and not isinstance(cell.form, Linear)
    check_newton(name, iterates, options)
    guess = checked_guess(name, x.shape[:2], features, options)
    counter = checked_counter(name, batch, options)
    return_carry = options.get("return_carry")
    if options.get("return_solution"):
        carry, options = counted(carry), Options(**{**options, "return_carry": True})

    def loop(shared: Any, inputs: Any, carry: Any, mask: Array | None) -> tuple[Any, Array]:
        params, recurrent_mask, counter = shared
        x, guess = inputs
        return run_piece(params, x, carry, mask, recurrent_mask, guess=guess, counter=counter)

    result = over_sequence(
        name,
        loop,
        (params, recurrent_mask, counter),
        (x, guess),
        carry,
        Options(**{key: options[key] for key in options if key not in OF_NEWTON}),
        shared_axes=(None, 0, 0),
        dtype=out_dtype,
    )
    if not options.get("return_solution"):
        return result
    (carry, solution), y = result
    solution = solution._replace(guess=y)
    return (carry, y, solution) if return_carry else (y, solution)


def step(cell: Cell, params: Params, carry: Any, x: Array) -> tuple[Any, Array]:
    """One step of a cell.

    Args:
        cell: the description.
        params: the cell's parameters.
        carry: the state before the step.
        x: the input at this step [batch, inputs].

    Returns:
        ``(carry, y)``, y [batch, features] in the dtype of input and parameters.

    Raises:
        ValueError: where shapes do not fit each other.

    Example:
        >>> from seqjax import ops
        >>> cell = ops.RNNCell()
        >>> params = ops.init(cell, jax.random.key(0), inputs=3, features=4)
        >>> carry, y = ops.step(cell, params, jnp.zeros((2, 4)), jnp.ones((2, 3)))
        >>> y.shape
        (2, 4)
    """
    name = f"{cell.name}_cell"
    features = check_params(name, cell, params, x, ndim=2)
    dtype = carry_dtype(x, cell.kernel(params))
    carry = checked_carry(name, cell, carry, x.shape[0], features, dtype)
    carry, y = run_step(cell, params, x, carry)
    return carry, y.astype(jnp.result_type(x, cell.kernel(params)))


def over_sequence(
    op: str,
    loop: Callable[[Sequence[Any], Any, Any, Array | None], tuple[Any, Array]],
    shared: tuple[Any, ...],
    inputs: Any,
    carry: Any,
    options: Options,
    *,
    shared_axes: tuple[int | None, ...],
    dtype: Any,
) -> Any:
    """A time-major loop under all options but those that it takes itself.

    Padding is set to zero before the loop, so that whatever stood there, NaN
    included, reaches neither an output nor a gradient.

    Args:
        op: what to call it in an error.
        loop: ``(shared, inputs, carry, mask) -> (carry, y [T, B, ...])`` over any number of
            steps, in the direction of `in_reverse`; it closes over no array.
        shared: what the loop reads at every step, a tuple of pytrees.
        inputs: a pytree of arrays [batch, time, ...] ([time, batch, ...] if `time_major`).
        carry: before the first step.
        options: of the call.
        shared_axes: for each of `shared` the axis of its batch, or None.
        dtype: of the outputs.
    """
    _check_names(op, options)
    reverse, time_major = options.get("reverse"), options.get("time_major")

    def turn(a: Array) -> Array:
        return a if time_major else jnp.swapaxes(a, 0, 1)

    inputs = jax.tree.map(turn, inputs)
    steps, batch = jax.tree.leaves(inputs)[-1].shape[:2]
    lengths = as_lengths(options.get("seq_lengths"), batch=batch, steps=steps)
    mask = None
    if lengths is not None:
        mask = length_mask(lengths, steps)[:, :, None]
        inputs = jax.tree.map(lambda a: jnp.where(mask, a, jnp.zeros_like(a)), inputs)
    flipped = bool(reverse) and not in_reverse(options)
    if flipped:
        inputs = jax.tree.map(lambda a: flip_sequences(a, lengths), inputs)

    def whole(*arguments: Any) -> tuple[Any, Array]:
        *shared, inputs, carry, mask = vary_alike(arguments)
        return in_pieces(
            lambda carry, of_piece: loop(shared, of_piece[0], carry, of_piece[1]),
            *(carry, inputs, mask),
            chunk_size=options.get("chunk_size"),
            truncation=options.get("truncation"),
            reverse=in_reverse(options),
        )

    carry, y = over_batch(
        whole,
        *(*shared, inputs, carry, mask),
        axes=(*shared_axes, 1, 0, 1),
        out_axes=(0, 1),
        mesh=options.get("mesh"),
    )
    y = y.astype(dtype)
    if mask is not None:
        y = jnp.where(mask, y, jnp.zeros_like(y))
    if reverse and bool(options.get("keep_order")) == flipped:
        y = flip_sequences(y, lengths)
    y = turn(y)
    return (carry, y) if options.get("return_carry") else y


def loop_of(options: Options) -> Loop:
    """How the loop itself goes; ValueError for an `unroll` below 1."""
    unroll = options.get("unroll")
    if unroll is not None and unroll < 1:
        raise ValueError(f"unroll must be at least 1, not {unroll}.")
    return Loop(in_reverse(options), choices().unroll if unroll is None else unroll)


def in_reverse(options: Options) -> bool:
    """Whether the loop itself runs from the last step to the first.

    Not with both lengths and truncation, whose groups are counted from each sequence's own
    first step: there the sequences are flipped instead, or it would begin in the padding.
    """
    cut = options.get("truncation") is not None and options.get("seq_lengths") is not None
    return bool(options.get("reverse")) and not cut


def _check_names(op: str, options: Options) -> None:
    known = [name for name in Options.__annotations__ if name not in OF_NEWTON]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(known)}."
            raise TypeError(f"{op}: no option is named {name!r}.{hint}")
