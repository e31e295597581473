"""How products and gates are laid out: dtypes, blocks, the projection of all steps.

Gates travel as a tuple of blocks: K blocks of width H, or one of width K*H. On a CPU
separate blocks win: slicing gates out of a wide array inside the elementwise loop
defeats vectorisation. On an accelerator one wide product a step wins, for launch
overhead. Both give the same numbers, so asking for the default backend (rather than
the one a caller may lower for) costs speed only. docs/performance.md has the figures.

Dimensions: T time, B batch, I input features, H features (width), K gates.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax


def carry_dtype(*arrays: Array) -> jnp.dtype:
    """Carries are at least float32, whatever the width of the inputs."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def dot(a: Array, kernel: Array, dtype: jnp.dtype) -> Array:
    """``a @ kernel`` in the kernel's precision, accumulated and returned in `dtype`."""
    return jnp.dot(a.astype(kernel.dtype), kernel, preferred_element_type=dtype)


def widen(kernels: tuple[Array, ...], dtype: jnp.dtype) -> tuple[Array, ...]:
    """Kernels in the carry's dtype, for a loop that narrows them again at every step.

    JAX then adds up the kernels' gradient over the steps in the wide dtype.
    """
    return tuple(u.astype(dtype) for u in kernels)


def block_count(gates: int) -> int:
    """Blocks that K gates travel in on this platform: K or 1."""
    return gates if jax.default_backend() == "cpu" else 1


def split_kernel(kernel: Array, blocks: int) -> tuple[Array, ...]:
    """A packed kernel [..., K*H] as so many blocks."""
    return tuple(jnp.split(kernel, blocks, axis=-1))


def to_gates(blocks: tuple[Array, ...], gates: int) -> tuple[Array, ...]:
    """The K gates of [..., H] that the `blocks` of a product hold."""
    return blocks if len(blocks) == gates else tuple(jnp.split(blocks[0], gates, axis=-1))


def project(
    x: Array, kernel: Array, bias: Array | None, gates: int, dtype: jnp.dtype
) -> tuple[Array, ...]:
    """``x W + b`` for all steps at once: a tuple of blocks (see `to_gates`).

    Args:
        x: [..., I]: [T, B, I], or [B, I] for one step
        kernel: [I, K*H]
        bias: [K*H] or None
        gates: K
        dtype: of the result
    """
    blocks = block_count(gates)
    product_dtype = jnp.result_type(x, kernel)
    z = tuple(
        dot(x.astype(product_dtype), k.astype(product_dtype), dtype)
        for k in split_kernel(kernel, blocks)
    )
    if bias is None:
        return z
    biases = jnp.split(bias.astype(dtype), blocks)
    return tuple(a + lax.expand_dims(b, range(a.ndim - 1)) for a, b in zip(z, biases, strict=True))


def _varying_axes(leaf: Array) -> frozenset[str]:
    return jax.typeof(leaf).manual_axis_type.varying


def vary_alike(tree: Any) -> Any:
    """Under `jax.shard_map`: make all leaves vary over every mesh axis that one varies over.

    A loop's carry must not change its type, and a backward rule must answer with
    the types of its arguments; casting before both leaves the sum over devices of
    a replicated kernel's gradient to JAX.
    """
    axes = frozenset().union(*map(_varying_axes, jax.tree.leaves(tree)))
    if not axes:
        return tree

    def cast(leaf: Array) -> Array:
        missing = tuple(sorted(axes - _varying_axes(leaf)))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(cast, tree)


def shift_by_one(initial: Array, stacked: Array, *, reverse: bool) -> Array:
    """What stood before each step: `stacked` moved by one, `initial` first."""
    if not stacked.shape[0]:
        return stacked
    if reverse:
        return jnp.concatenate([stacked[1:], initial[None]])
    return jnp.concatenate([initial[None], stacked[:-1]])
