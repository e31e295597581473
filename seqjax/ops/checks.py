"""What a recurrent op is given, held against what its cell takes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.ops.cell import Cell, Params, is_bias
from seqjax.ops.lengths import BatchSize


def check_input(op: str, x: Array, ndim: int) -> None:
    """Raise ValueError where `x` is no array of floats of so many dimensions."""
    if jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool:
        raise ValueError(
            f"{op}: x holds {x.dtype}, shape {x.shape}, but inputs are floats. Are they tokens?"
            " Give them to an embedding first, nn.Stack((nn.Embed(vocabulary, features), ...)) or"
            " jax.nn.one_hot; numbers become floats by x.astype(float)."
        )
    if x.ndim != ndim:
        dims = {2: "[batch, features]", 3: "[batch, time, features]"}[ndim]
        raise ValueError(f"{op}: x must be {dims}, but its shape is {x.shape}.")


def check_params(op: str, cell: Cell, params: Params, x: Array, ndim: int) -> int:
    """The width; raise ValueError where inputs and parameters do not fit each other."""
    check_input(op, x, ndim)
    if not isinstance(params, cell.Params):
        raise ValueError(
            f"{op}: params must be {cell.Params.__name__}, not {type(params).__name__}."
        )
    for field, given in zip(params._fields, params, strict=True):
        if given is None and field not in params._field_defaults and not is_bias(field):
            raise ValueError(f"{op}: {field} is missing.")
    inputs, features = x.shape[-1], cell.features(params)

    def expected(
        name: str, shape: tuple[int, ...], init: Any, *, keep_dtype: bool = False
    ) -> _Expected:
        return _Expected(name, shape)

    def check(wanted: _Expected, leaf: Array) -> None:
        if leaf.shape != wanted.shape:
            raise ValueError(
                f"{op}: {wanted.name} must be {list(wanted.shape)} for x with {inputs} features"
                f" and a width of {features}, but its shape is {leaf.shape}."
            )

    fields = cell.parameters(expected, inputs, features)
    for field, wanted, given in zip(params._fields, fields, params, strict=True):
        if given is None and (wanted is None or isinstance(wanted, _Expected)):
            continue
        if given is None:
            raise ValueError(f"{op}: {cell} has {field}, but it is missing.")
        if wanted is None:
            raise ValueError(
                f"{op}: {field} is no parameter of {cell} with {inputs} inputs and {features}"
                " features; leave it None."
            )
        jax.tree.map(check, wanted, given, is_leaf=lambda one: isinstance(one, _Expected))
    return features


class _Expected(NamedTuple):
    name: str
    shape: tuple[int, ...]


def checked_carry(
    op: str, cell: Cell, carry: Any, batch: BatchSize, features: int, dtype: Any
) -> Any:
    """The carry in its dtype, zeros for None; ValueError where it is not the cell's."""
    zeros = cell.initial_carry(batch, features, dtype)
    if carry is None:
        return zeros
    if jax.tree.structure(carry) != jax.tree.structure(zeros):
        fields = getattr(zeros, "_fields", ())
        hint = f"{type(zeros).__name__}({', '.join(fields)})" if fields else "an array"
        raise ValueError(f"{op}: the carry must be {hint}, not {type(carry).__name__}.")
    for leaf, zero in zip(jax.tree.leaves(carry), jax.tree.leaves(zeros), strict=True):
        check_shape(op, "carry", leaf, *zero.shape)
    return jax.tree.map(lambda leaf, zero: jnp.asarray(leaf, zero.dtype), carry, zeros)


def check_shape(op: str, what: str, leaf: Array, *shape: BatchSize) -> None:
    """Raise ValueError where a leaf is not of that shape, which begins with the batch."""
    if leaf.shape != shape:
        words = " (batch, features)" if len(shape) == 2 else ""
        raise ValueError(
            f"{op}: the {what} must be [{', '.join(map(str, shape))}]{words}, but its"
            f" shape is {leaf.shape}."
        )
