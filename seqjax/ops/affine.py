"""Affine recurrences ``h_t = A_t h_{t-1} + b_t`` from zero, in parallel over time.

Where `seqjax.ops.linear` has one factor for each unit, here several arrays may be coupled, unit by
unit (a block ``A_t``: nested tuples of arrays), or all units with each other (a matrix).

Dimensions: T time, B batch, H features, M all units of a carry. Time-major.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from seqjax.ops.layout import vary_alike

Factors = tuple[tuple[Array, ...], ...] | Array
"""Blocks: ``factors[i][j]`` [T, B, H] takes array j to array i. Or matrices [T, B, M, M]."""

Vectors = tuple[Array, ...] | Array
"""Arrays [T, B, H], one for each row of blocks; or one [T, B, M]."""


def solve(factors: Factors, inputs: Vectors, *, reverse: bool) -> Vectors:
    """Every ``h_t`` of ``h_t = A_t h_{t-1} + b_t``, with zeros before the first step.

    By `jax.lax.associative_scan`, of depth ``2 log T``; on a CPU by a loop, which passes through
    memory once (measured at T 2,048 and 16,384: a quarter to a twentieth of its time).

    Args:
        factors: ``A``.
        inputs: ``b``.
        reverse: from the last step to the first.

    Example:
        >>> a, b = ((jnp.full((3, 1, 1), 2.0),),), (jnp.ones((3, 1, 1)),)
        >>> solve(a, b, reverse=False)[0].ravel().tolist()
        [1.0, 3.0, 7.0]
    """
    if jax.default_backend() != "cpu":
        return prefix(factors, inputs, reverse=reverse)[1]

    def step(h: Vectors, at: tuple[Factors, Vectors]) -> tuple[Vectors, Vectors]:
        h = _add(apply(at[0], h), at[1])
        return h, h

    factors, inputs = vary_alike((factors, inputs))
    before = jax.tree.map(lambda b: jnp.zeros_like(b[0]), inputs)
    return lax.scan(step, before, (factors, inputs), reverse=reverse)[1]


def prefix(factors: Factors, inputs: Vectors, *, reverse: bool) -> tuple[Factors, Vectors]:
    """The products ``A_t ... A_1`` and every ``h_t``, in parallel.

    From another start ``s`` every h is ``apply(products, s) + h``.

    Example:
        >>> a, b = ((jnp.full((3, 1, 1), 2.0),),), (jnp.ones((3, 1, 1)),)
        >>> prefix(a, b, reverse=True)[0][0][0].ravel().tolist()
        [8.0, 4.0, 2.0]
    """
    return lax.associative_scan(_compose, (factors, inputs), reverse=reverse)


def apply(factors: Factors, h: Vectors) -> Vectors:
    """``A h``, step by step.

    Example:
        >>> one, two = jnp.ones(1), jnp.full(1, 2.0)
        >>> [float(a[0]) for a in apply(((one, two), (two, one)), (one, two))]
        [5.0, 4.0]
    """
    if isinstance(factors, tuple):
        return tuple(_sum_of_products(row, h) for row in factors)
    assert isinstance(h, Array)
    return jnp.sum(factors * jnp.expand_dims(h, -2), axis=-1)


def transposed(factors: Factors) -> Factors:
    """``A^T`` of every step.

    Example:
        >>> one, two = jnp.ones(1), jnp.full(1, 2.0)
        >>> [[int(a[0]) for a in row] for row in transposed(((one, two), (one, one)))]
        [[1, 1], [2, 1]]
    """
    if isinstance(factors, tuple):
        return tuple(zip(*factors, strict=True))
    return jnp.swapaxes(factors, -1, -2)


def damped(factors: Factors, where: Array) -> Factors:
    """Factors made smaller, `where` that is True, until no row's sum of sizes is above 1.

    No product of such factors grows, however many they are.

    Example:
        >>> a = ((jnp.full(1, 3.0), jnp.full(1, -1.0)),)
        >>> [float(u[0]) for u in damped(a, jnp.array(True))[0]]
        [0.75, -0.25]
    """
    if isinstance(factors, tuple):
        sums = [sum(map(jnp.abs, row[1:]), jnp.abs(row[0])) for row in factors]
        size = jnp.max(jnp.stack(sums), axis=0)
    else:
        size = jnp.max(jnp.sum(jnp.abs(factors), axis=-1), axis=-1)[:, :, None, None]
    scale = jnp.where(where, 1 / jnp.maximum(size, 1), jnp.ones_like(size))
    return jax.tree.map(lambda a: a * scale, factors)


def _compose(before: Any, after: Any) -> Any:
    """The map that is `before`, then `after`."""
    (a, b), (c, d) = before, after
    if isinstance(a, tuple):
        columns = transposed(a)
        product: Any = tuple(tuple(_sum_of_products(row, col) for col in columns) for row in c)
    else:
        product = jnp.matmul(c, a)
    return product, _add(apply(c, b), d)


def _sum_of_products(a: Any, b: Any) -> Array:
    first, *others = [u * v for u, v in zip(a, b, strict=True)]
    total: Any = sum(others, first)
    return total


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)
