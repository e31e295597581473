"""What the checks hold an op to: the definition, step by step, in float64 on the CPU.

Dimensions: B batch, T time, I input features, H features.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from seqjax import ops

Leaves = dict[str, np.ndarray[Any, np.dtype[Any]]]


class Sizes(NamedTuple):
    """Odd on purpose: no multiple of a tile."""

    batch: int = 5
    time: int = 37
    inputs: int = 11
    features: int = 48


class Drawn(NamedTuple):
    """Arguments of an op, NumPy, float64 (complex128), and the cotangent of its outputs."""

    arguments: tuple[Any, ...]
    cotangent: np.ndarray[Any, np.dtype[Any]]


Apply = Callable[..., Any]  # of the arguments -> (carry, y)


def draw(cell: ops.Cell, sizes: Sizes, seed: int) -> Drawn:
    """Parameters of about the size that training begins with, inputs, and a carry."""
    rng = np.random.default_rng(seed)

    def declare(name: str, shape: tuple[int, ...], init: Any, *, keep_dtype: bool = False) -> Any:
        scale = shape[0] ** -0.5 if len(shape) > 1 else 0.5
        return scale * rng.standard_normal(shape)

    def like(leaf: Array) -> Any:
        drawn = 0.5 * rng.standard_normal(leaf.shape)
        return drawn + 0.5j * rng.standard_normal(leaf.shape) if jnp.iscomplexobj(leaf) else drawn

    params = cell.parameters(declare, sizes.inputs, sizes.features)
    carry = cell.initial_carry(sizes.batch, sizes.features, jnp.dtype("float32"))
    x = rng.standard_normal((sizes.batch, sizes.time, sizes.inputs))
    cotangent = rng.standard_normal((sizes.batch, sizes.time, sizes.features))
    return Drawn((params, x, jax.tree.map(like, carry)), cotangent)


def step_by_step(cell: ops.Cell, options: Mapping[str, Any]) -> Apply:
    """The cell's own step in a loop that JAX differentiates; of options lengths and reverse."""
    reverse, lengths = options.get("reverse", False), options.get("seq_lengths")

    def apply(params: Any, x: Array, carry: Any) -> tuple[Any, Array]:
        steps = x.shape[1]

        def body(carry: Any, inputs: tuple[Array, Array]) -> tuple[Any, Array]:
            x_t, t = inputs
            after, y = ops.step(cell, params, carry, x_t)
            if lengths is None:
                return after, y
            valid = t < jnp.asarray(lengths)

            def keep(new: Array, old: Array) -> Array:
                return jnp.where(lax.expand_dims(valid, range(1, new.ndim)), new, old)

            return jax.tree.map(keep, after, carry), keep(y, jnp.zeros_like(y))

        inputs = jnp.swapaxes(x, 0, 1), jnp.arange(steps)
        carry, y = lax.scan(body, carry, inputs, reverse=reverse)
        return carry, jnp.swapaxes(y, 0, 1)

    return apply


def outcome(apply: Apply, arguments: Any, cotangent: Any) -> Leaves:
    """Values (y, carry) and gradients with respect to every argument, by name.

    The loss is the outputs' product with the cotangent, and half the squares of the carry.
    """

    def loss(*arguments: Any) -> tuple[Array, Any]:
        carry, y = apply(*arguments)
        squares = (jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(carry))
        wide = jnp.promote_types(y.dtype, jnp.float32)
        total = jnp.sum(y.astype(wide) * cotangent.astype(wide))
        return total + sum(squares) / 2, {"y": y, "carry": carry}

    every = tuple(range(len(arguments)))
    function = jax.jit(jax.value_and_grad(loss, every, has_aux=True))
    (_, values), gradients = function(*arguments)
    named = jax.tree.leaves_with_path({"value": values, "gradient": gradients})
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in named}


def rounded(drawn: Drawn, dtype: Any) -> Drawn:
    """The numbers as the op gets them, in float64 again: both sides see the same."""

    def once(leaf: Any) -> Any:
        if np.iscomplexobj(leaf):
            return leaf.astype(np.complex64).astype(np.complex128)
        return np.asarray(jnp.asarray(leaf, jnp.float32).astype(dtype).astype(jnp.float32), float)

    return Drawn(*jax.tree.map(once, tuple(drawn)))


def in_float64(apply: Apply, drawn: Drawn) -> Leaves:
    """The outcome on the CPU."""
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        return outcome(apply, *jax.tree.map(jnp.asarray, tuple(drawn)))


def on_device(apply: Apply, drawn: Drawn, dtype: Any) -> Leaves:
    """The outcome with inputs and parameters in a dtype, carries in float32 (complex64)."""
    arguments, cotangent = drawn
    *first, carry = arguments
    narrow = [jax.tree.map(lambda a: jnp.asarray(a, _of(a, dtype)), part) for part in first]
    carry = jax.tree.map(lambda a: jnp.asarray(a, _of(a, jnp.float32)), carry)
    return outcome(apply, (*narrow, carry), jnp.asarray(cotangent, dtype))


def _of(leaf: Any, dtype: Any) -> Any:
    return jnp.complex64 if np.iscomplexobj(leaf) else dtype


def error(found: Leaves, reference: Leaves, part: str) -> float:
    """The largest ``|found - reference| / |reference|`` (Euclidean norms) of a part's leaves.

    NaN where something is not finite; a leaf that should be zero counts its own norm.
    """
    errors = []
    for name, expected in reference.items():
        if not name.startswith(f"['{part}']"):
            continue
        wide = np.complex128 if np.iscomplexobj(expected) else np.float64
        scale = float(np.linalg.norm(expected))
        errors.append(float(np.linalg.norm(found[name].astype(wide) - expected)) / (scale or 1.0))
    return float(np.max(errors))  # NaN, if any
