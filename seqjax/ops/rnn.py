"""The simple (Elman) recurrent network."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax.ops.cell import Cell
from seqjax.ops.engine import Implementation, Weights, recurrence, single_step
from seqjax.ops.layout import carry_dtype
from seqjax.ops.sequence import check_carry, check_shapes, over_sequence

Activation = Literal["tanh", "relu"] | Callable[[Array], Array]
_ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}


# Added to the variance, as in Keras.
LAYER_NORM_EPSILON = 1e-3


class LayerNormParams(NamedTuple):
    """Parameters of a layer normalisation.

    Attributes:
        scale: [features]
        offset: [features]
    """

    scale: Float[Array, " features"]
    offset: Float[Array, " features"]


class RNNParams(NamedTuple):
    """Parameters of a simple recurrent layer.

    Attributes:
        kernel: [inputs, features]
        recurrent_kernel: [features, features]
        bias: [features], or None
        layer_norm: normalises before the activation; or None
    """

    kernel: Float[Array, "inputs features"]
    recurrent_kernel: Float[Array, "features features"]
    bias: Float[Array, " features"] | None = None
    layer_norm: LayerNormParams | None = None


def _wide(params: LayerNormParams | None, dtype: jnp.dtype) -> LayerNormParams | None:
    """In the carry's dtype, in which their gradient adds up over the steps."""
    return None if params is None else LayerNormParams(*(a.astype(dtype) for a in params))


def _normalise(params: LayerNormParams | None, z: Array) -> Array:
    """Layer normalisation of [B, H] over H; nothing without parameters."""
    if params is None:
        return z
    centred = z - jnp.mean(z, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    normal = centred * lax.rsqrt(variance + LAYER_NORM_EPSILON)
    return normal * params.scale[None, :] + params.offset[None, :]


def activation_function(activation: Activation) -> Callable[[Array], Array]:
    """The function of that name, or the function itself."""
    if not isinstance(activation, str):
        return activation
    if activation not in _ACTIVATIONS:
        known = ", ".join(map(repr, _ACTIVATIONS))
        raise ValueError(f"activation must be {known} or a function, not {activation!r}.")
    return _ACTIVATIONS[activation]


@functools.lru_cache(maxsize=256)  # one Cell per activation: repeated calls hit jit's cache
def elementwise_rnn(activation: Activation = "tanh") -> Cell:
    """The simple cell for the engine; its parameters are `LayerNormParams` or None."""
    function = activation_function(activation)
    return Cell(step=lambda params, carry, gates: function(_normalise(params, gates[0])), summed=1)


def rnn_cell(
    params: RNNParams,
    carry: Float[Array, "batch features"],
    x: Float[Array, "batch inputs"],
    *,
    activation: Activation = "tanh",
) -> tuple[Float[Array, "batch features"], Float[Array, "batch features"]]:
    """One step of a simple recurrent network.

    ``h' = activation(x W + b + h U)``; with `layer_norm` parameters
    ``h' = activation(layer_norm(x W + b + h U))``

    Args:
        params: the layer's parameters.
        carry: ``h`` before the step.
        x: the input at this step.
        activation: "tanh", "relu" or an elementwise function of one array.

    Returns:
        ``(carry, y)``, both ``h'``; ``y`` in the dtype of input and kernel.

    Raises:
        ValueError: where shapes do not fit each other.

    Example:
        >>> import jax.numpy as jnp
        >>> params = RNNParams(jnp.ones((1, 2)), jnp.zeros((2, 2)))
        >>> carry, y = rnn_cell(params, jnp.zeros((1, 2)), jnp.full((1, 1), 3.0), activation="relu")
        >>> y.tolist()
        [[3.0, 3.0]]

    Source: Elman, "Finding structure in time", Cognitive Science 14, 1990; layer
    normalisation after Ba, Kiros and Hinton, arXiv 1607.06450, section 3.1.
    """
    check_shapes("rnn_cell", params[:3], x, 1, ndim=2)
    check_carry("rnn_cell", carry, x.shape[0], params.recurrent_kernel.shape[0])
    carry = carry.astype(carry_dtype(x, params.kernel))
    layer_norm = _wide(params.layer_norm, carry.dtype)
    carry = single_step(elementwise_rnn(activation), layer_norm, Weights(*params[:3]), x, carry)
    return carry, carry.astype(jnp.result_type(x, params.kernel))


def rnn(
    params: RNNParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: Float[Array, "batch features"] | None = None,
    *,
    activation: Activation = "tanh",
    recurrent_mask: Float[ArrayLike, "batch features"] | None = None,
    seq_lengths: Int[ArrayLike, " batch"] | None = None,
    return_carry: bool = False,
    reverse: bool = False,
    keep_order: bool = False,
    time_major: bool = False,
    unroll: int = 1,
    chunk_size: int | None = None,
    truncation: int | None = None,
    implementation: Implementation | None = None,
) -> Any:
    """A simple recurrent network over whole sequences.

    ``h_t = activation(x_t W + b + h_{t-1} U)``; with `layer_norm` parameters
    ``h_t = activation(layer_norm(x_t W + b + h_{t-1} U))``

    Args:
        params: the layer's parameters.
        x: inputs [batch, time, inputs] ([time, batch, inputs] if `time_major`).
        initial_carry: ``h`` before the first step; zeros by default.
        activation: "tanh", "relu" or an elementwise function of one array. A
            function must not close over traced arrays (use
            ``implementation="autodiff"`` where it does).
        recurrent_mask: [batch, features], multiplied with ``h`` in the product with ``U``,
            the same at every step: recurrent dropout (Gal and Ghahramani, arXiv
            1512.05287). It gets no gradient.
        seq_lengths: number of valid steps of each right-padded sequence. Outputs
            after the end are zero; the carry is the one at the sequence's own end.
        return_carry: return ``(carry, y)`` in place of ``y``.
        reverse: run from each sequence's last step to its first.
        keep_order: with `reverse`, return outputs in the order of the inputs
            rather than in the order of computation.
        time_major: x and y are [time, batch, ...].
        unroll: steps per loop iteration, as in `jax.lax.scan`.
        chunk_size: recompute the backward pass in chunks of so many steps
            (memory grows as about ``time / chunk_size + chunk_size``).
        truncation: let the gradient pass only within groups of so many steps, counted
            from the loop's first: truncated back-propagation through time.
        implementation: None (best), "scan" (hand-written backward pass) or
            "autodiff" (forward-mode differentiation works).

    Returns:
        ``y`` [batch, time, features] in the dtype of input and kernel, or
        ``(carry, y)`` with ``carry`` [batch, features], float32 or wider.

    Raises:
        ValueError: where shapes do not fit each other.

    Example:
        >>> import jax
        >>> w, u = jax.random.normal(jax.random.key(0), (3, 4)), jax.numpy.eye(4)
        >>> rnn(RNNParams(w, u), jax.numpy.ones((2, 5, 3))).shape
        (2, 5, 4)

    Source: Elman, "Finding structure in time", Cognitive Science 14, 1990; layer
    normalisation after Ba, Kiros and Hinton, arXiv 1607.06450, section 3.1.
    """
    check_shapes("rnn", params[:3], x, 1, ndim=3)
    dtype = carry_dtype(x, params.kernel)
    batch, width = x.shape[1 if time_major else 0], params.recurrent_kernel.shape[0]
    carry = jnp.zeros((batch, width), dtype) if initial_carry is None else initial_carry

    check_carry("rnn", carry, batch, width)
    check_carry("rnn", recurrent_mask, batch, width, what="recurrent_mask")

    def loop(x: Array, mask: Array | None):
        return recurrence(
            elementwise_rnn(activation),
            _wide(params.layer_norm, dtype),
            Weights(*params[:3]),
            x,
            carry.astype(dtype),
            mask,
            recurrent_mask=recurrent_mask,
            reverse=reverse,
            unroll=unroll,
            chunk_size=chunk_size,
            truncation=truncation,
            implementation=implementation,
        )

    return over_sequence(
        loop,
        x,
        seq_lengths=seq_lengths,
        return_carry=return_carry,
        reverse=reverse,
        keep_order=keep_order,
        time_major=time_major,
        dtype=jnp.result_type(x, params.kernel),
    )
