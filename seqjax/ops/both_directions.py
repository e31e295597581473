"""A recurrence in both directions at once: in one kernel, where there is one for it."""

from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.ops.backends import Call, choose
from seqjax.ops.cell import Cell, Elementwise, Params
from seqjax.ops.checks import check_params, check_shape, checked_carry
from seqjax.ops.layout import carry_dtype
from seqjax.ops.options import Options
from seqjax.ops.sequence import over_sequence, run
from seqjax.ops.solution import check_newton

_NOT_TAKEN = ("reverse", "keep_order", "guess", "return_solution")


def bidirectional(
    cell: Cell,
    params: tuple[Params, Params],
    x: Array,
    initial_carry: Any = None,
    *,
    recurrent_mask: Any = None,
    **options: Any,
) -> Any:
    """Run a cell over whole sequences, forwards and, with parameters of its own, backwards.

    ``y_t = [h_t, g_t]``, ``h_t = cell(h_{t-1}, x_t)``, ``g_t = cell(g_{t+1}, x_t)``

    With ``implementation="pallas"`` both are one kernel (docs/gpu-kernels.md), but with
    `chunk_size` or `truncation`, whose pieces go one way; else each is a loop.

    Args:
        cell: the description, such as ``ops.LSTMCell()``.
        params: forwards and backwards, the cell's own each.
        x: inputs [batch, time, inputs] ([time, batch, inputs] if `time_major`).
        initial_carry: the pair of states before the first and after the last step; zeros by
            default.
        recurrent_mask: the pair of those of `Options`, either or both None.
        **options: see `Options`; there are no `reverse`, `keep_order`, `guess` and
            `return_solution`. The gradient of `counter` is the sum of both directions.

    Returns:
        ``y`` [batch, time, 2 * features], in the order of the inputs, or ``(carries, y)``.

    Raises:
        TypeError: for an option that it does not take.
        ValueError: where shapes do not fit each other, or an option does not fit the cell.

    Example:
        >>> from seqjax import ops
        >>> cell = ops.GRUCell()
        >>> params = tuple(ops.init(cell, jax.random.key(k), 3, features=4) for k in range(2))
        >>> bidirectional(cell, params, jnp.ones((2, 5, 3)), seq_lengths=jnp.array([5, 2])).shape
        (2, 5, 8)

    Source: Schuster and Paliwal, IEEE Transactions on Signal Processing 45, 1997.
    """
    name = f"bidirectional {cell.name}"
    if wrong := [option for option in _NOT_TAKEN if option in options]:
        raise TypeError(f"{name}: takes no {', '.join(wrong)}; ops.run takes them.")
    carries = (None, None) if initial_carry is None else initial_carry
    masks = (None, None) if recurrent_mask is None else recurrent_mask
    for what, pair in {"params": params, "carry": carries, "recurrent_mask": masks}.items():
        if type(pair) not in (tuple, list) or len(pair) != 2:
            raise ValueError(f"{name}: {what} must be a pair, forwards and backwards.")
    widths = [check_params(name, cell, each, x, ndim=3) for each in params]
    dtype = jnp.result_type(x, *map(cell.kernel, params))
    either = next((mask for mask in masks if mask is not None), None)
    asked: Any = {**options, "recurrent_mask": either, "return_carry": True}
    if widths[0] == widths[1] and one_kernel(cell, x.shape, widths[0], dtype, asked):
        carries, y = _as_one(name, cell, params, x, carries, masks, asked)
    else:
        ways = {}, {"reverse": True, "keep_order": True}
        results = [
            run(cell, each, x, carry, **cast(Options, asked | way | {"recurrent_mask": mask}))
            for each, carry, mask, way in zip(params, carries, masks, ways, strict=True)
        ]
        carries = tuple(end for end, _ in results)
        y = jnp.concatenate([y for _, y in results], axis=-1)
    return (carries, y) if options.get("return_carry") else y


def one_kernel(cell: Cell, shape: Any, features: int, dtype: Any, options: Any) -> bool:
    """Whether both directions of a call are one kernel; the arguments are those of `Call`."""
    in_pieces = any(options.get(name) is not None for name in ("chunk_size", "truncation"))
    call = Call(cell.name, cell.form, shape, features, dtype, options)
    return not in_pieces and choose(call) == "pallas" and 0 not in shape


def _as_one(
    name: str, cell: Cell, params: Any, x: Array, carries: Any, masks: Any, options: Any
) -> tuple[Any, Array]:
    from seqjax.ops.pallas.recurrence import both_ways  # which is slow to import

    check_newton(name, False, options)
    batch, features = x.shape[1 if options.get("time_major") else 0], cell.features(params[0])
    kernels = [cell.kernel(each) for each in params]
    dtype = carry_dtype(x, *kernels)
    carries = tuple(checked_carry(name, cell, each, batch, features, dtype) for each in carries)
    if options["recurrent_mask"] is None:
        masks = None
    else:  # the kernel has one in each direction or in none
        ones = jnp.ones((batch, features), dtype)
        masks = tuple(ones if each is None else jnp.asarray(each, dtype) for each in masks)
    for each in masks or ():
        check_shape(name, "recurrent_mask", each, batch, features)

    def loop(shared: Any, x: Array, carries: Any, mask: Array | None) -> tuple[Any, Array]:
        params, masks = shared
        weights, own = zip(*(cell.weights(each, dtype) for each in params), strict=True)
        return both_ways(cast(Elementwise, cell.form), own, weights, x, carries, mask, masks)

    return over_sequence(
        name,
        loop,
        (params, jax.lax.stop_gradient(masks)),
        x,
        carries,
        options,
        shared_axes=(None, 0),
        dtype=jnp.result_type(x, *kernels),
    )
