"""The product at the heart of `seqjax.ops.causal_conv1d`, and its derivative.

XLA's CPU backend has a fast convolution forwards, and none for the two convolutions of
its derivative, which inside a loop falls back to plain code: 7 to 60 times slower over the
shapes in docs/performance.md. Here the derivative is a forward convolution and matrix
products, or, of narrow layers, products alone.

Dimensions: B batch, L steps of the input, T steps of the output, I inputs, F features,
K taps.
"""

from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array, lax

from seqjax.ops.layout import choices, outer

ConvImplementation = Literal["products", "lax"]

# The derivative gathers outputs under the kernel; beyond so many taps that would cost
# more memory than it saves time.
_TAPS = 16

# Up to so many values under the kernel, gathering them for one matrix product is
# faster than XLA's convolution: forwards, and backwards, where one gather serves two.
_GATHER_FORWARDS = 64
_GATHER_BACKWARDS = 128


class Window(NamedTuple):
    """How a kernel moves over its input.

    Attributes:
        stride: steps between outputs.
        dilation: steps between taps.
        groups: number of groups of inputs and features.
        past: zeros before the first input.
    """

    stride: int = 1
    dilation: int = 1
    groups: int = 1
    past: int = 0


def _lax(window: Window, x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(window.stride,),
        padding=((window.past, 0),),
        rhs_dilation=(window.dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=window.groups,
    )


def _gathered(window: Window, x: Array, kernel: Array) -> Array:
    """The inputs under the kernel side by side, [B, T, K*I], and one product."""
    taps, inputs, features = kernel.shape
    x = jnp.pad(x, ((0, 0), (window.past, 0), (0, 0)))
    outputs = max(0, x.shape[1] - (taps - 1) * window.dilation)
    seen = [x[:, j * window.dilation :][:, : outputs : window.stride] for j in range(taps)]
    return jnp.concatenate(seen, axis=-1) @ kernel.reshape(taps * inputs, features)


def _forward(window: Window, x: Array, kernel: Array) -> Array:
    taps, inputs, _ = kernel.shape
    gather = taps == 1 or taps * inputs <= _GATHER_FORWARDS
    return (_gathered if gather else _lax)(window, x, kernel)


_products = partial(jax.custom_vjp, nondiff_argnums=(0,))(_forward)


def _saved(window: Window, x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _forward(window, x, kernel), (x, kernel)


def _backward(window: Window, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    # dx[s] = sum_j dy[s + past - j * dilation] kernel[j]^T, and dkernel[j] is the sum over
    # s of x[s]^T times the same dy: both need dy under the kernel turned round.
    x, kernel = saved
    taps, inputs, features = kernel.shape
    length, reach = x.shape[1], (taps - 1) * window.dilation
    padded = jnp.pad(dy, ((0, 0), (reach - window.past, reach), (0, 0)))
    turned = jnp.swapaxes(kernel, 1, 2)
    seen = [padded[:, reach - j * window.dilation :][:, :length] for j in range(taps)]
    if taps * features <= _GATHER_BACKWARDS:
        together = jnp.concatenate(seen, axis=-1)
        dx = together @ turned.reshape(taps * features, inputs)
        dkernel = outer(x, together).reshape(inputs, taps, features)
        return dx, jnp.swapaxes(dkernel, 0, 1)
    # Written as a forward convolution, which XLA's CPU backend has a fast kernel for.
    dx = _lax(Window(dilation=window.dilation), padded, jnp.flip(turned, 0))
    # Where a window is longer than its input there is no output, and more padding than that.
    return dx[:, :length], jnp.stack([outer(x, part) for part in seen])


_products.defvjp(_saved, _backward)


def convolve(
    x: Array, kernel: Array, window: Window, implementation: ConvImplementation | None = None
) -> Array:
    """A convolution over time.

    Args:
        x: [B, L, I].
        kernel: [K, I / groups, F], in the dtype of `x`.
        window: how the kernel moves; its past at most that of a causal convolution.
        implementation: "products" (matrix products forwards and backwards; the
            default on a CPU, up to 16 taps or where the kernel hardly moves), or "lax"
            (XLA's convolution, differentiated by JAX: the default elsewhere, and all
            there is for groups; forward mode works).

    Returns:
        [B, T, F].
    """
    known = get_args(ConvImplementation)
    if implementation is not None and implementation not in known:
        raise ValueError(f"implementation must be None or one of {known}, not {implementation!r}.")
    taps, inputs, features = kernel.shape
    outputs = max(0, x.shape[1] + window.past - (taps - 1) * window.dilation)
    # A window that hardly moves, such as a linear function of a whole series.
    few = outputs * inputs < x.shape[1] * features
    if implementation is None:
        products = choices().convolution == "products" and (few or taps <= _TAPS)
        implementation = "products" if products else "lax"
    if implementation == "lax" or window.groups > 1:
        return _lax(window, x, kernel)
    if window.stride > 1 or (few and taps > _TAPS):
        return _gathered(window, x, kernel)
    return _products(window, x, kernel)
