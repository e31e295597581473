"""Newton's method over time beside the loop: values and gradients of every cell, in two precisions.

Of float32 the loop in float64 is the measure of both, for the loop rounds, too.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from rich.table import Table

from seqjax import ops
from seqjax.bench.report import Figure, table

_INPUTS, _WIDTH = 8, 16
_VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    " diagonal": {"recurrent": "diagonal"},
    " layer norm": {"layer_norm": True},
}


class Weights(NamedTuple):
    """A cell, and parameters for it.

    Attributes:
        title: its name, and what is said of it.
        cell: the cell.
        params: in float64.
        inputs: ``steps -> x`` [1, T, I] in float64.
    """

    title: str
    cell: ops.Cell
    params: Any
    inputs: Any


class Difference(NamedTuple):
    """From the loop: relative to the largest value, and to the largest number of each gradient.

    Attributes:
        values: of the outputs.
        gradients: of parameters and inputs.
        by_loop: whether the iteration fell back, forwards or backwards.
    """

    values: float
    gradients: float
    by_loop: bool


def cells() -> dict[str, ops.Cell]:
    """Every cell that is iterated for, by its name and options.

    Example:
        >>> found = cells()
        >>> len(found) >= 9, found["gru diagonal"].recurrent
        (True, 'diagonal')
    """
    return {
        name + words: cell
        for name, kind in ops.CELLS.items()
        for words, options in _VARIANTS.items()
        if {field.name for field in dataclasses.fields(kind)} >= options.keys()
        and isinstance((cell := kind(**options)).form, ops.Elementwise)
    }


def untrained(title: str, cell: ops.Cell) -> Weights:
    """Parameters as a layer draws them, inputs of unit variance. Under float64."""
    keys = jax.random.split(jax.random.key(0))
    params = ops.init(cell, keys[0], _INPUTS, _WIDTH, jnp.float64)
    return Weights(
        title, cell, params, lambda steps: jax.random.normal(keys[1], (1, steps, _INPUTS), float)
    )


def differences(one: Weights, steps: int, dtypes: Sequence[str]) -> dict[str, Difference]:
    """Of a sequence of so many steps, in each precision. Under float64."""
    weights = jax.random.normal(jax.random.key(2), (1, steps, 1), float)

    @partial(jax.jit, static_argnums=0)
    def both(
        implementation: ops.Implementation, params: Any, x: Array, counter: Array | None
    ) -> Any:
        def loss(params: Any, x: Array, counter: Array | None) -> Any:
            more: Any = {} if counter is None else {"return_solution": True, "counter": counter}
            found = ops.run(one.cell, params, x, implementation=implementation, **more)
            y, solution = found if more else (found, None)
            return jnp.sum(jnp.mean(y, axis=-1, keepdims=True) * weights), (y, solution)

        return jax.grad(loss, (0, 1, 2), has_aux=True)(params, x, counter)

    def apart(a: Array, b: Array) -> float:
        return float(jnp.max(jnp.abs(a - b)) / jnp.maximum(jnp.max(jnp.abs(b)), 1e-30))

    exact, x = one.params, one.inputs(steps)
    (*wanted, _), (y, _) = both("scan", exact, x, None)
    made = {}
    for dtype in dtypes:
        narrow = jax.tree.map(lambda a, dtype=dtype: a.astype(dtype), (exact, x))
        (*found, backward), (ours, solution) = both("newton", *narrow, jnp.zeros(1))
        gradients = map(apart, jax.tree.leaves(found), jax.tree.leaves(wanted))
        by_loop = bool(solution.fallbacks[0] + backward[0] > 0)
        made[dtype] = Difference(apart(ours, y), max(gradients), by_loop)
    return made


def compare(trained: Sequence[Weights], steps: Sequence[int]) -> tuple[Table, list[Figure]]:
    """The table of all cells untrained, and of what was trained.

    Args:
        trained: further rows.
        steps: T of its columns.
    """
    dtypes = ("float32", "float64")
    made = table(
        "largest relative difference from the loop in float64, values / gradients; * the loop ran",
        ["cell"],
        [f"{dtype}, T {n:,}" for dtype in dtypes for n in steps],
    )
    figures = []
    with jax.enable_x64(True):
        for one in _all(trained):
            by_steps = {n: differences(one, n, dtypes) for n in steps}
            found = {(dtype, n): by_steps[n][dtype] for dtype in dtypes for n in steps}
            made.add_row(one.title, *map(_cell, found.values()))
            for (dtype, n), apart in found.items():
                labels = {"quantity": "difference", "dtype": dtype, "steps": n}
                labels["fell back"] = apart.by_loop
                rounds = [apart.values, apart.gradients]
                figures.append(Figure(one.title, labels, rounds, unit="relative"))
            jax.clear_caches()
    return made, figures


def _all(trained: Sequence[Weights]) -> Iterator[Weights]:
    for title, cell in cells().items():
        yield untrained(title, cell)
    yield from trained


def _cell(one: Difference) -> str:
    return f"{one.values:.0e} / {one.gradients:.0e}{'*' * one.by_loop}"
