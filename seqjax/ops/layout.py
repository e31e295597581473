"""How products are laid out: dtypes, what is projected when, how many steps are worked on at once.

The rules are `Choices`, one set for a kind of device, and every choice gives the same numbers:
asking for the default backend (rather than the one a caller may lower for) costs speed only.
docs/performance.md has the figures of a CPU; ``./scripts/gpu --only choices`` takes those of a GPU.

Dimensions: T time, B batch, I input features, H features (width), K gates.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax


class Choices(NamedTuple):
    """How recurrences and convolutions are laid out; each gives the same numbers, to rounding.

    Attributes:
        project_in_loop: a layer with several gates projects an input narrower than its gates
            step by step, not all steps before the loop.
        unroll: steps per iteration of a loop whose caller does not say.
        piece_bytes: of the gates' gradients, gathered in the backward pass before they are
            multiplied; 0 for those of all steps.
        wavefront: features of all layers together up to which alike layers are one loop.
        convolution: "products" or "lax", as `seqjax.ops.causal_conv1d` takes them.
        first: implementations that None tries before the platform's own.
        newton_units: of a carry, up to which "newton" takes whole Jacobians, not their diagonals.
        newton_iterations: after which it is left to the loop.
        small_batch: sequences up to which "pallas" has features in the rows of its tiles.
    """

    project_in_loop: bool = False
    unroll: int = 1
    piece_bytes: int = 0
    wavefront: int = 0
    convolution: str = "lax"
    first: tuple[str, ...] = ()
    newton_units: int = 8
    newton_iterations: int = 64
    small_batch: int = 32


_of_process: Choices | None = None
_of_context: ContextVar[Choices | None] = ContextVar("choices", default=None)


def choices() -> Choices:
    """What was set, or what is best on a CPU, or what should be elsewhere (by reason, untimed).

    Example:
        >>> with choose_layout(choices()._replace(unroll=4)):
        ...     choices().unroll
        4
    """
    chosen = _of_context.get() or _of_process
    if chosen is not None:
        return chosen
    if jax.default_backend() != "cpu":
        return Choices()
    return Choices(
        project_in_loop=True, piece_bytes=_CACHE, wavefront=_WIDEST, convolution="products"
    )


def set_choices(chosen: Choices | None) -> None:
    """For the whole process; None for the platform's own. What is compiled stays as it is."""
    global _of_process
    _of_process = chosen


@contextlib.contextmanager
def choose_layout(chosen: Choices) -> Iterator[None]:
    """`set_choices` for what this thread traces in the context."""
    token = _of_context.set(chosen)
    try:
        yield
    finally:
        _of_context.reset(token)


_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(*static: int) -> Callable[[_Function], _Function]:
    """`jax.jit` of what loops over time: called outside of it, a loop would compile every time.

    Inlined: within another jitted function nothing is left of it.

    Args:
        *static: places of the arguments that are no arrays; all are given by place.
    """

    def decorate(function: Any) -> Any:
        # The choices are read by what is traced: others are another program.
        def run(_: Choices, *arguments: Any) -> Any:
            return function(*arguments)

        jitted = jax.jit(run, static_argnums=(0, *(k + 1 for k in static)), inline=True)
        return wraps(function)(lambda *arguments: jitted(choices(), *arguments))

    return decorate


def carry_dtype(*arrays: Array) -> jnp.dtype:
    """Carries are at least float32, whatever the width of the inputs."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def dot(a: Array, kernel: Array, dtype: jnp.dtype) -> Array:
    """``a @ kernel`` in the kernel's precision, accumulated and returned in `dtype`."""
    return jnp.dot(a.astype(kernel.dtype), kernel, preferred_element_type=dtype)


def outer(a: Array, d: Array) -> Array:
    """``sum over all rows of a d^T`` [A, D], for `a` [..., A] and `d` [..., D], in `d`'s dtype.

    Flat: XLA transposes first what it contracts over two dimensions.
    """
    a, d = (m.reshape(-1, m.shape[-1]) for m in (a, d))
    return jnp.dot(a.T, d.astype(a.dtype), preferred_element_type=d.dtype)


def widen(kernel: Array, dtype: jnp.dtype) -> Array:
    """A kernel in the carry's dtype, for a loop that narrows it again at every step.

    JAX then adds up the kernel's gradient over the steps in the wide dtype.
    """
    return kernel.astype(dtype)


def projection(
    x: Array, kernel: Array, bias: Array | None, gates: int, dtype: jnp.dtype
) -> tuple[Array, Callable[[Array], Array]]:
    """What a loop over time reads at each step, and how ``z_t = x_t W + b`` comes of it.

    On an accelerator the products of all steps are one, before the loop, which saves
    launches. On a CPU (`Choices.project_in_loop`) each step takes its own if there are
    several gates and `x` is narrower than ``z``, which would travel to memory and back;
    besides, gates sliced out of what the loop reads defeat vectorisation, where slices of a
    fresh product do not. (The row for the bias also keeps a product over one input feature a
    product; XLA would make elementwise work of it, and slow down the loop around it.)

    Args:
        x: [T, B, I]
        kernel: [I, K*H]
        bias: [K*H] or None
        gates: K
        dtype: of ``z``

    Returns:
        ``(steps, z_of)``: `z_of` makes [B, K*H] of a slice of `steps`.
    """
    product_dtype = jnp.result_type(x, kernel)
    kernel = kernel.astype(product_dtype)
    in_loop = gates > 1 and kernel.shape[0] < kernel.shape[1] and product_dtype == dtype
    if not in_loop or not choices().project_in_loop:
        return project(x, kernel, bias, dtype), lambda z_t: z_t
    bias = jnp.zeros_like(kernel[0]) if bias is None else bias.astype(dtype)
    with_bias = jnp.concatenate([kernel, bias[None]])
    return x, lambda x_t: dot(with_ones(x_t), with_bias, dtype)


def project(x: Array, kernel: Array, bias: Array | None, dtype: jnp.dtype) -> Array:
    """``x W + b`` [..., K*H] in `dtype`, for `x` [..., I]."""
    product_dtype = jnp.result_type(x, kernel)
    z = dot(x.astype(product_dtype), kernel.astype(product_dtype), dtype)
    return z if bias is None else z + lax.expand_dims(bias.astype(dtype), range(z.ndim - 1))


def with_ones(x: Array) -> Array:
    """`x` with a feature more, 1 everywhere: its row of a kernel is the bias."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


def steps_at_once(steps: int, rows: Any, row_bytes: int) -> int:
    """For how many steps the backward pass gathers gradients before it multiplies them.

    On a CPU as many as stay in the cache (and make a product worth its name), so that the
    gradients of the gates never travel to memory; elsewhere all (`Choices.piece_bytes`).

    Args:
        steps: T; the answer divides it, and is T where nothing smaller does well.
        rows: B; all steps where it is a symbol (`jax.export`).
        row_bytes: of one row of the gates' gradients.
    """
    piece_bytes = choices().piece_bytes
    if not piece_bytes or not isinstance(rows, int) or rows * row_bytes == 0:
        return steps
    most = max(piece_bytes // (rows * row_bytes), -(-_LEAST_ROWS // rows))
    if steps <= most:
        return steps
    divisor = max(d for d in range(1, most + 1) if steps % d == 0)
    return divisor if 4 * divisor >= most else steps


_CACHE = 2**21  # bytes: of the second-level caches of today's cores, about
_LEAST_ROWS = 512
_WIDEST = 48  # features of a wavefront's layers on a CPU; measured, see docs/performance.md


def over_rows(mask: Array, leaf: Array) -> Array:
    """`mask` [B, 1] (or [B, H]) as it selects rows of `leaf` [B, ...]."""
    if leaf.ndim == 2:
        return mask
    return lax.expand_dims(mask[:, 0], range(1, leaf.ndim))


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
