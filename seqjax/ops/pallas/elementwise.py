"""A cell's step, and its derivative, as they run inside a kernel.

Mosaic GPU knows arrays of a tile's shape, and fewer primitives than XLA. So a
function is traced, nested calls are opened, what is missing is put in other words, and

- what depends on the cell's own parameters alone happens outside the kernel, which reads
  rows [part] of it, one number for each feature;
- a value is kept along those axes of the tile that it depends on, and spread where it meets
  another: neither [ROWS, 1] nor [1, part] comes up;
- what no output needs is left out, such as the sums over the batch of the gradients of the
  own parameters.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Literal

from seqjax.ops.pallas.shapes import ROWS

_CALLS = ("jit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint")
_PLACINGS = ("broadcast_in_dim", "expand_dims", "reshape", "squeeze")  # no other numbers
_INSTEAD: dict[str, Callable[..., Any]] = {
    "add_any": lambda a, b: a + b,
    "copy": lambda a: a,
    "expm1": lambda a, **_: jnp.exp(a) - 1,
    "log1p": lambda a, **_: jnp.log(1 + a),
    # One approximate function of the hardware's, where 1 / (1 + exp(-a)) takes two.
    "logistic": lambda a, **_: 0.5 * jnp.tanh(0.5 * a) + 0.5,
    "stop_gradient": lambda a: a,
}


class Traced(NamedTuple):
    """A function of a cell's own parameters and of tiles, split into two.

    Attributes:
        outside: ``own -> rows``, for ``own`` [..., parts * part] a tuple of [parts, part].
        inside: ``(rows, tiles) -> outputs``, for rows [part] a list of tiles.
        uses: which of the tiles an output depends on; the others may be None.
        outputs: how many there are.
    """

    outside: Callable[[Any], tuple[Array, ...]]
    inside: Callable[[Sequence[Any], Sequence[Any]], list[Any]]
    uses: tuple[bool, ...]
    outputs: int


def trace(
    function: Callable[..., Sequence[Any]],
    own: Any,
    tiles: int,
    part: int,
    *,
    sequences: int = ROWS,
    transposed: bool = False,
) -> Traced:
    """Trace ``function(own, *tiles) -> outputs``, all of it in float32.

    Args:
        function: elementwise; or across features, where `part` is all of them.
        own: the cell's own parameters, [..., features] each.
        tiles: how many tiles [sequences, part] it takes.
        part: features of a tile.
        sequences: of a tile.
        transposed: the tiles that `inside` takes and gives are [part, sequences].

    Raises:
        ValueError: where an own parameter does not meet the tiles feature by feature, or the
            function closes over an array.

    Example:
        >>> scaled = trace(lambda own, h: [own[None, :] * jnp.tanh(h)], jnp.ones(32), 1, 16)
        >>> rows = scaled.outside(jnp.full(32, 2.0))
        >>> rows[0].shape, scaled.inside([row[1] for row in rows], [jnp.ones((ROWS, 16))])[0].shape
        ((2, 16), (64, 16))
    """
    shape = (sequences, part)
    leaves, tree = jax.tree.flatten(own)
    given = [jax.ShapeDtypeStruct((*leaf.shape[:-1], part), jnp.float32) for leaf in leaves]
    given += [jax.ShapeDtypeStruct(shape, jnp.float32)] * tiles

    def flat(*values: Any) -> list[Any]:
        owned, rest = values[: len(leaves)], values[len(leaves) :]
        return list(function(tree.unflatten(owned), *rest))

    nested = jax.make_jaxpr(flat)(*given)
    opened = jax.make_jaxpr(lambda *values: _opened(nested.jaxpr, nested.consts, values))(*given)
    jaxpr = opened.jaxpr
    equations, needed = _needed(jaxpr)
    if needed.intersection(jaxpr.constvars):
        raise ValueError(
            "a kernel cannot run a step (an activation) that closes over an array; as an own"
            " parameter of the cell it could."
        )
    known, before, within = set(jaxpr.invars[: len(leaves)]), [], []
    for eqn in equations:
        inputs = _variables(eqn.invars)
        small = all(v.aval.shape != shape for v in eqn.outvars)
        if inputs and small and known.issuperset(inputs):
            before.append(eqn)
            known.update(eqn.outvars)
        else:
            within.append(eqn)
    read = _variables(v for eqn in within for v in eqn.invars) + _variables(jaxpr.outvars)
    crossing = [v for v in dict.fromkeys(read) if v in known]
    if wrong := [v.aval.shape for v in crossing if math.prod(v.aval.shape) != part]:
        raise ValueError(
            "a kernel reads a cell's own parameters feature by feature, as [features] or"
            f" [1, features] where they meet the gates, not as {wrong[0]} for {part} features."
        )

    def outside(own: Any) -> tuple[Array, ...]:
        def of_part(*leaves: Array) -> list[Array]:
            values = dict(zip(jaxpr.invars, leaves, strict=False))
            for eqn in before:
                _put(values, eqn, eqn.primitive.bind(*_get(values, eqn.invars), **eqn.params))
            return [values[v].reshape(part) for v in crossing]

        if not crossing:
            return ()
        split = [a.reshape(*a.shape[:-1], -1, part) for a in jax.tree.leaves(own)]
        axes = tuple(a.ndim - 2 for a in split)
        return tuple(jax.vmap(of_part, in_axes=axes)(*split))

    axes = (1, 0) if transposed else (0, 1)  # of a tile: where its sequences and features are
    held = (shape[axes[0]], shape[axes[1]])

    def inside(rows: Sequence[Any], tiles: Sequence[Any]) -> list[Any]:
        values = {v: _Spread(row, axes[1:]) for v, row in zip(crossing, rows, strict=True)}
        both = zip(jaxpr.invars[len(leaves) :], tiles, strict=True)
        values.update((v, _Spread(tile, (0, 1))) for v, tile in both)
        for eqn in within:
            _put(values, eqn, _run(eqn, _spread(values, eqn.invars), held, axes))
        return [out.along((0, 1), held, scalars=False) for out in _spread(values, jaxpr.outvars)]

    uses = tuple(v in needed for v in jaxpr.invars[len(leaves) :])
    return Traced(outside, inside, uses, len(jaxpr.outvars))


# -- jaxprs ----------------------------------------------------------------------


def _variables(atoms: Any) -> list[Any]:
    return [v for v in atoms if not isinstance(v, Literal)]


def _get(values: dict[Any, Any], atoms: Sequence[Any]) -> list[Any]:
    return [v.val if isinstance(v, Literal) else values[v] for v in atoms]


def _put(values: dict[Any, Any], eqn: Any, results: Any) -> None:
    results = results if eqn.primitive.multiple_results else [results]
    values.update(zip(eqn.outvars, results, strict=True))


def _opened(jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """What a jaxpr computes, without calls and in the words that there are."""
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))
    for eqn in jaxpr.eqns:
        name, inputs, params = eqn.primitive.name, _get(values, eqn.invars), eqn.params
        if name in _CALLS:
            called = params.get("call_jaxpr", params.get("jaxpr"))
            results = _opened(
                getattr(called, "jaxpr", called), getattr(called, "consts", ()), inputs
            )
        else:
            results = (_INSTEAD.get(name) or eqn.primitive.bind)(*inputs, **params)
        _put(values, eqn, results)
    return _get(values, jaxpr.outvars)


def _needed(jaxpr: Any) -> tuple[list[Any], set[Any]]:
    """The equations that the outputs depend on, and the variables."""
    needed, equations = set(_variables(jaxpr.outvars)), []
    for eqn in reversed(jaxpr.eqns):
        if needed.intersection(eqn.outvars):
            needed.update(_variables(eqn.invars))
            equations.append(eqn)
    return equations[::-1], needed


# -- values of a tile ------------------------------------------------------------


class _Spread(NamedTuple):
    """A value of a tile, without the axes along which it is the same."""

    value: Any
    axes: tuple[int, ...]

    def along(self, axes: tuple[int, ...], shape: tuple[int, int], *, scalars: bool = True) -> Any:
        if self.axes == axes or (scalars and not self.axes):
            return self.value
        places = [axes.index(axis) for axis in self.axes]
        return lax.broadcast_in_dim(self.value, [shape[axis] for axis in axes], places)


def _spread(values: dict[Any, _Spread], atoms: Sequence[Any]) -> list[_Spread]:
    return [_Spread(v.val, ()) if isinstance(v, Literal) else values[v] for v in atoms]


def _run(eqn: Any, inputs: list[_Spread], shape: tuple[int, int], of_tile: tuple[int, ...]) -> Any:
    """One equation, on values along as few axes as it needs."""
    name = eqn.primitive.name
    if name in _PLACINGS:
        return inputs[0]
    if name.startswith("reduce_"):
        return _reduced(eqn, inputs[0], shape, of_tile)
    axes = tuple(sorted({axis for each in inputs for axis in each.axes}))
    scalars = name != "select_n"  # which takes no number in an array's place
    operands = [each.along(axes, shape, scalars=scalars) for each in inputs]
    results = eqn.primitive.bind(*operands, **eqn.params)
    if eqn.primitive.multiple_results:
        return [_Spread(result, axes) for result in results]
    return _Spread(results, axes)


def _reduced(eqn: Any, x: _Spread, shape: tuple[int, int], of_tile: tuple[int, ...]) -> _Spread:
    """A sum or an extreme over axes of a tile; those of size 1 are none."""
    sizes = eqn.invars[0].aval.shape
    stands_for = of_tile if len(sizes) == 2 else x.axes
    over = [stands_for[axis] for axis in eqn.params["axes"] if sizes[axis] > 1]
    if not over:
        return x
    axes = tuple(sorted({*x.axes, *over}))
    left = tuple(axis for axis in axes if axis not in over)
    params = dict(eqn.params, axes=tuple(axes.index(axis) for axis in over))
    return _Spread(eqn.primitive.bind(x.along(axes, shape), **params), left)
