"""Causal convolutions over time: whole sequences, and one step at a time."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Integer

from seqjax.ops.convolve import ConvImplementation, Window, convolve
from seqjax.ops.layout import vary_alike
from seqjax.ops.lengths import BatchSize, as_lengths, length_mask


class ConvParams(NamedTuple):
    """Parameters of a convolution over time.

    Attributes:
        kernel: [kernel_size, inputs / groups, features]; the last tap meets the
            newest input.
        bias: [features], or None
    """

    kernel: Float[Array, "taps group_inputs features"]
    bias: Float[Array, " features"] | None = None


class ConvCarry(NamedTuple):
    """The past inputs that a causal convolution still needs: a ring buffer.

    Attributes:
        buffer: [batch, (kernel_size - 1) * dilation, inputs]
        oldest: where in the ring each sequence's oldest input stands, [batch]
    """

    buffer: Float[Array, "batch past inputs"]
    oldest: Int[Array, " batch"]


def receptive_field(kernel_size: int, dilations: tuple[int, ...]) -> int:
    """Number of inputs, the newest included, that one output of a stack depends on.

    ``1 + (kernel_size - 1) * sum(dilations)``

    Args:
        kernel_size: taps of every layer.
        dilations: steps between the taps, layer by layer.

    Returns:
        The number of time steps.

    Example:
        >>> receptive_field(2, (1, 2, 4, 8))
        16

    Source: van den Oord et al., "WaveNet", arXiv 1609.03499, section 2.1.
    """
    return 1 + (kernel_size - 1) * sum(dilations)


def conv_output_length(
    length: Any,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    padding: Literal["causal", "valid"] = "causal",
) -> Any:
    """Number of outputs of `causal_conv1d` for so many inputs.

    Args:
        length: number of inputs, an integer or an array of integers.
        kernel_size: taps.
        stride: steps between outputs.
        dilation: steps between taps.
        padding: "causal" or "valid".

    Returns:
        ``ceil(length / stride)``; "valid": that of the inputs with a whole past.

    Example:
        >>> conv_output_length(50, kernel_size=4, stride=2, padding="valid")
        24
    """
    if hasattr(length, "dtype"):  # below zero, unsigned lengths would be large
        length = jnp.asarray(length).astype(jnp.int32)
    if padding == "valid":
        length = length - (kernel_size - 1) * dilation
        length = length * (length > 0)
    return -(-length // stride)


def conv_carry(
    batch: BatchSize, inputs: int, kernel_size: int, dilation: int = 1, dtype: Any = jnp.float32
) -> ConvCarry:
    """The carry before the first step: a past of zeros.

    Args:
        batch: number of sequences.
        inputs: features of an input.
        kernel_size: taps.
        dilation: steps between the taps.
        dtype: of the inputs.

    Returns:
        A carry of ``(kernel_size - 1) * dilation`` zeros.

    Example:
        >>> conv_carry(2, 3, kernel_size=2, dilation=4).buffer.shape
        (2, 4, 3)
    """
    past = (kernel_size - 1) * dilation
    return ConvCarry(jnp.zeros((batch, past, inputs), dtype), jnp.zeros((batch,), jnp.int32))


def causal_conv1d(
    params: ConvParams,
    x: Float[Array, "batch time inputs"],
    initial_carry: Any = None,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: Literal["causal", "valid"] = "causal",
    seq_lengths: Integer[ArrayLike, " batch"] | None = None,
    return_carry: bool = False,
    implementation: ConvImplementation | None = None,
) -> Any:
    """A convolution over time in which no output sees a later input.

    ``y_j = b + sum_k kernel[k] x[j * stride - (kernel_size - 1 - k) * dilation]``,
    with zeros (or the carry) before the first input

    Args:
        params: kernel and bias.
        x: inputs [batch, time, inputs].
        initial_carry: the inputs before the first, a `ConvCarry` as an earlier call or
            `causal_conv1d_step` left them; zeros by default.
        stride: steps between outputs.
        dilation: steps between taps.
        groups: number of groups that inputs and features fall into; each
            feature sees its group's inputs only.
        padding: "causal" pads the past, so that outputs and inputs correspond;
            "valid" pads nothing: the first output stands at the first step with
            a whole past.
        seq_lengths: number of valid steps of each right-padded sequence. Outputs
            after the end are zero; the carry is the one at the sequence's own end.
        return_carry: return ``(carry, y)`` in place of ``y``.
        implementation: None (best), "products" (matrix products, and without a stride
            a hand-written derivative) or "lax" (XLA's convolution, which groups always
            take). Forward-mode differentiation needs "lax".

    Returns:
        ``y`` [batch, ceil(time / stride), features] ("valid": fewer by what is
        not padded), or ``(carry, y)``.

    Raises:
        ValueError: where shapes do not fit each other, or where a carry is asked
            for at a place where the stride's phase would be lost.

    Example:
        >>> kernel = jnp.array([1.0, 10.0]).reshape(2, 1, 1)
        >>> x = jnp.array([1.0, 2.0, 3.0]).reshape(1, 3, 1)
        >>> causal_conv1d(ConvParams(kernel), x)[0, :, 0].tolist()
        [10.0, 21.0, 32.0]

    Source: van den Oord et al., "WaveNet", arXiv 1609.03499.
    """
    _check("causal_conv1d", params, x, groups, ndim=3)
    taps = params.kernel.shape[0]
    past = (taps - 1) * dilation
    batch, steps, inputs = x.shape
    lengths = as_lengths(seq_lengths, batch=batch, steps=steps)
    _check_padding(padding, initial_carry, return_carry, lengths, stride, steps)
    if lengths is not None:
        valid = length_mask(lengths, steps).T[:, :, None]
        x = jnp.where(valid, x, jnp.zeros_like(x))
    window = Window(stride, dilation, groups, past if padding == "causal" else 0)
    if initial_carry is not None:
        _check_carry("causal_conv1d", initial_carry, (batch, past, inputs))
        before = _in_ring(initial_carry, jnp.arange(past))
        x = jnp.concatenate([before.astype(x.dtype), x], axis=1)
        window = window._replace(past=0)
    dtype = jnp.result_type(x, params.kernel)
    cast, kernel = vary_alike((x.astype(dtype), params.kernel.astype(dtype)))
    y = convolve(cast, kernel, window, implementation)
    y = _add_bias(y, params.bias)
    if lengths is not None:
        ends = conv_output_length(lengths, taps, stride, dilation, padding)
        y = jnp.where(length_mask(ends, y.shape[1]).T[:, :, None], y, jnp.zeros_like(y))
    if not return_carry:
        return y
    ends = jnp.full((batch,), steps) if lengths is None else lengths
    if window.past:
        x = jnp.pad(x, ((0, 0), (past, 0), (0, 0)))
    recent = ends[:, None] + jnp.arange(past)[None, :]  # where in the padded x
    buffer = jnp.take_along_axis(x, recent[:, :, None], axis=1)
    return ConvCarry(buffer, jnp.zeros((batch,), jnp.int32)), y


def causal_conv1d_step(
    params: ConvParams,
    carry: ConvCarry,
    x: Float[Array, "batch inputs"],
    *,
    dilation: int = 1,
    groups: int = 1,
) -> tuple[ConvCarry, Float[Array, "batch features"]]:
    """One step of `causal_conv1d`, in time and memory that no past lengthens.

    Of a strided convolution, the outputs are those of the steps ``0, stride,
    2 * stride, ...``.

    Args:
        params: kernel and bias.
        carry: the past inputs (`conv_carry` before the first step).
        x: the input at this step.
        dilation: steps between taps.
        groups: number of groups of inputs and features.

    Returns:
        ``(carry, y)``

    Raises:
        ValueError: where shapes do not fit each other.

    Example:
        >>> params = ConvParams(jnp.array([1.0, 10.0]).reshape(2, 1, 1))
        >>> carry = conv_carry(batch=1, inputs=1, kernel_size=2)
        >>> carry, y = causal_conv1d_step(params, carry, jnp.array([[1.0]]))
        >>> carry, y = causal_conv1d_step(params, carry, jnp.array([[2.0]]))
        >>> y.tolist()
        [[21.0]]

    Source: Le Paine et al., "Fast WaveNet generation algorithm", arXiv 1611.09482.
    """
    _check("causal_conv1d_step", params, x, groups, ndim=2)
    taps, group_inputs, features = params.kernel.shape
    past = (taps - 1) * dilation
    batch, inputs = x.shape
    _check_carry("causal_conv1d_step", carry, (batch, past, inputs))
    newest = x[:, None, :]
    if past:
        ring = _in_ring(carry, jnp.arange(taps - 1) * dilation)
        seen = jnp.concatenate([ring.astype(x.dtype), newest], axis=1)
        write = partial(lax.dynamic_update_slice_in_dim, axis=0)
        buffer = _each(write, carry.buffer, newest.astype(carry.buffer.dtype), carry.oldest)
        carry = ConvCarry(buffer, (carry.oldest + 1) % past)
    else:
        seen = newest
    dtype = jnp.result_type(x, params.kernel)
    y = jnp.einsum(
        "bkgi,kigf->bgf",
        seen.astype(dtype).reshape(batch, taps, groups, group_inputs),
        params.kernel.astype(dtype).reshape(taps, group_inputs, groups, features // groups),
    )
    return carry, _add_bias(y.reshape(batch, features), params.bias)


def _in_ring(carry: ConvCarry, ages: Array) -> Array:
    """[batch, ages, inputs]: the inputs so many steps after each sequence's oldest."""
    past = max(carry.buffer.shape[1], 1)
    return _each(lambda ring, oldest: ring[(oldest + ages) % past], carry.buffer, carry.oldest)


def _each(function: Callable[..., Array], *arguments: Array) -> Array:
    """Of every sequence. One alone is spared the gathers and scatters that `jax.vmap` makes."""
    if arguments[0].shape[0] == 1:
        return function(*(a[0] for a in arguments))[None]
    return jax.vmap(function)(*arguments)


def _add_bias(y: Array, bias: Array | None) -> Array:
    if bias is None:
        return y
    return y + lax.expand_dims(bias.astype(y.dtype), range(y.ndim - 1))


def _check(op: str, params: ConvParams, x: Array, groups: int, ndim: int) -> None:
    if x.ndim != ndim:
        dims = {2: "[batch, inputs]", 3: "[batch, time, inputs]"}[ndim]
        raise ValueError(f"{op}: x must be {dims}, but its shape is {x.shape}.")
    _, group_inputs, features = params.kernel.shape
    if group_inputs * groups != x.shape[-1] or features % groups:
        raise ValueError(
            f"{op}: with {groups} group(s), a kernel of shape {params.kernel.shape}"
            f" takes {group_inputs * groups} inputs and gives {features} features in"
            f" equal groups, but x has {x.shape[-1]} inputs."
        )
    if params.bias is not None and params.bias.shape != (features,):
        raise ValueError(f"{op}: bias must be [{features}], but its shape is {params.bias.shape}.")


def _check_carry(op: str, carry: Any, shape: tuple[BatchSize, int, int]) -> None:
    if not isinstance(carry, ConvCarry):
        raise ValueError(f"{op}: the carry must be a ConvCarry, not {type(carry).__name__}.")
    if carry.buffer.shape != shape or carry.oldest.shape != shape[:1]:
        raise ValueError(
            f"{op}: the carry's buffer must be {shape}, [batch, (kernel_size - 1) * dilation,"
            f" inputs], and `oldest` {shape[:1]}, but their shapes are {carry.buffer.shape} and"
            f" {carry.oldest.shape}."
        )


def _check_padding(
    padding: str,
    initial_carry: Any,
    return_carry: bool,
    lengths: Array | None,
    stride: int,
    steps: int,
) -> None:
    if padding not in ("causal", "valid"):
        raise ValueError(f'causal_conv1d: padding must be "causal" or "valid", not {padding!r}.')
    if padding == "valid" and (initial_carry is not None or return_carry):
        raise ValueError(
            'causal_conv1d: a carry needs padding="causal"; with "valid" the first outputs'
            " are missing."
        )
    if return_carry and stride > 1 and (steps % stride or lengths is not None):
        raise ValueError(
            f"causal_conv1d: a carry after {steps} steps at stride {stride} would lose"
            " the stride's phase; pass a multiple of the stride, without seq_lengths."
        )
