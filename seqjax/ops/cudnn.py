"""An LSTM by cuDNN, NVIDIA's library, through `jax.experimental.rnn`.

Float32 only, in TF32 unless ``jax.default_matmul_precision("highest")``; sequence lengths are
copied to the host at every call, so such a call waits for the device. It has no batching rule:
under `jax.vmap`, "scan" is the way. So None never chooses it.

Dimensions: T time, B batch, I input features, H features (width). Time-major as the engine.
"""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.ops.cell import Carry, Elementwise, Loop, Weights
from seqjax.ops.lengths import flip_sequences
from seqjax.ops.mesh import data_devices

if TYPE_CHECKING:
    from seqjax.ops.backends import Call

_NARROW = ("default", "fastest", "bfloat16")


def refuses(call: "Call") -> str | None:
    """Why cuDNN cannot run a call; None where it can."""
    from seqjax.ops.lstm import LSTMCell  # which is made of what asks here

    options = call.options
    precision = jax.config.values["jax_default_matmul_precision"]
    reasons = {
        "it has the LSTM alone": call.form != LSTMCell.recurrence,
        f"it computes in float32, not {call.dtype}": call.dtype != jnp.float32,
        "it has no recurrent dropout": options.get("recurrent_mask") is not None,
        "a piece of a sequence may have no step at all, which it does not take": (
            options.get("chunk_size") is not None or options.get("truncation") is not None
        ),
        "it does not split a batch over devices": data_devices(options.get("mesh")) > 1,
        f"it has no products in {precision}": precision in _NARROW,
        "it takes no empty sequence or batch": 0 in call.shape,
        f"it needs an NVIDIA GPU, and this runs on {call.platform}": call.platform != "gpu",
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def lstm(
    form: Elementwise,
    loop: Loop,
    own: Any,
    weights: Weights,
    x: Array,
    carry: Carry,
    mask: Array | None = None,
    recurrent_mask: None = None,
) -> tuple[Carry, Array]:
    """`seqjax.ops.engine.scan` of an LSTM, forwards and backwards by cuDNN.

    Args:
        form: the LSTM's.
        loop: its direction; there is nothing to unroll.
        own: the LSTM has no parameters beside its weights.
        weights: kernels and bias.
        x: [T, B, I].
        carry: before the first step, [B, H] each.
        mask: [T, B, 1], True at each sequence's first steps; None for all of them.
        recurrent_mask: none; `refuses` says so.

    Returns:
        The final carry, and ``h`` [T, B, H]: zero where the mask is False.
    """
    from jax.experimental import rnn

    del form, own, recurrent_mask
    steps, batch, inputs = x.shape
    features = weights.recurrent_kernel.shape[0]
    lengths = jnp.full(batch, steps) if mask is None else jnp.sum(mask[:, :, 0], axis=0)
    lengths = lengths.astype(jnp.int32)
    if loop.reverse:  # its own reverse is one of two directions, never alone
        x = flip_sequences(x, lengths)
    library: Any = rnn.lstm  # whose types say less than it does
    h, h_end, c_end = library(
        jnp.swapaxes(x, 0, 1),
        carry.h[None],
        carry.c[None],
        pack(weights),
        jnp.maximum(lengths, 1),  # it takes none without a step
        inputs,
        features,
        1,  # layer
        0.0,  # dropout
        False,  # bidirectional
    )
    h = jnp.swapaxes(h, 0, 1)
    if loop.reverse:
        h = flip_sequences(h, lengths)
    any_step = lengths[:, None] > 0
    end = type(carry)(c=c_end[0], h=h_end[0])
    return jax.tree.map(lambda new, old: jnp.where(any_step, new, old), end, carry), h


def pack(weights: Weights) -> Array:
    """The weights of one layer as cuDNN has them: one array of ``4 H (I + H + 2)``.

    Its products are ``W x``, so kernels are transposed: [4H, I], then [4H, H]; then two biases
    [4H], of which ours is the first. Its gates stand as ours do: i, f, g, o.

    Example:
        >>> kernel, recurrent = jnp.ones((3, 8)), jnp.zeros((2, 8))
        >>> pack(Weights(kernel, recurrent, None)).shape
        (56,)

    Source: `jax.experimental.rnn`, which reads NVIDIA's layout.
    """
    kernel, recurrent, bias = weights
    none = jnp.zeros_like(kernel[0])
    return jnp.concatenate(
        [kernel.T.ravel(), recurrent.T.ravel(), none if bias is None else bias, none]
    )
