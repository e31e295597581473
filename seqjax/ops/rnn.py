"""The simple (Elman) recurrent network."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple, Unpack

import jax.numpy as jnp
from jax import Array, lax
from jax.nn import initializers
from jaxtyping import Float

from seqjax.ops.activations import Activation, activation_function
from seqjax.ops.cell import Declare, Elementwise, Form, Peer, Weights
from seqjax.ops.options import Options
from seqjax.ops.recurrent_kernel import KernelCell, recurrent_of
from seqjax.ops.sequence import run, step

__all__ = ["LayerNormParams", "RNNCell", "RNNParams", "rnn", "rnn_cell"]

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
        recurrent_kernel: [features, features], or [features] where it is diagonal
        bias: [features], or None
        layer_norm: normalises before the activation; or None
    """

    kernel: Float[Array, "inputs features"]
    recurrent_kernel: Float[Array, "features features"] | Float[Array, " features"]
    bias: Float[Array, " features"] | None = None
    layer_norm: LayerNormParams | None = None


def _normalise(params: LayerNormParams | None, z: Array) -> Array:
    """Layer normalisation of [B, H] over H; nothing without parameters."""
    if params is None:
        return z
    centred = z - jnp.mean(z, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    normal = centred * lax.rsqrt(variance + LAYER_NORM_EPSILON)
    return normal * params.scale[None, :] + params.offset[None, :]


@functools.lru_cache(maxsize=256)  # one form per activation: repeated calls hit jit's cache
def _form(activation: Activation, layer_norm: bool) -> Elementwise:
    function = activation_function(activation)
    return Elementwise(
        step=lambda own, carry, gates: function(_normalise(own, gates[0])),
        summed=1,
        across_features=layer_norm,
    )


@dataclasses.dataclass(frozen=True)
class RNNCell(KernelCell):
    """The simple recurrent network.

    ``h_t = activation(x_t W + b + h_{t-1} U)``; with `layer_norm`
    ``h_t = activation(layer_norm(x_t W + b + h_{t-1} U))``

    Attributes:
        activation: "tanh", "relu", another name (`seqjax.ops.activations`), or a pure
            elementwise function of one array, which must not close over traced arrays
            (use ``implementation="autodiff"`` where it does).
        layer_norm: normalise before the activation.
        recurrent: "full", or "diagonal" (IndRNN); see `KernelCell`.

    Source: Elman, "Finding structure in time", Cognitive Science 14, 1990; layer
    normalisation after Ba, Kiros and Hinton, arXiv 1607.06450, section 3.1; initialisers
    after Keras.
    """

    _: dataclasses.KW_ONLY
    activation: Activation = "tanh"
    layer_norm: bool = False

    name: ClassVar = "rnn"
    Params: ClassVar = RNNParams
    gates: ClassVar = 1
    keras: ClassVar = Peer("SimpleRNN", (0,))
    torch: ClassVar = Peer("RNN", (0,))

    @property
    def form(self) -> Form:
        """Elementwise."""
        return self._with_kernel(_form(self.activation, self.layer_norm))

    def parameters(self, declare: Declare, inputs: int, features: int) -> RNNParams:
        """Kernel, recurrent kernel, bias, and with `layer_norm` its scale and offset."""
        params: RNNParams = super().parameters(declare, inputs, features)
        if not self.layer_norm:
            return params
        norm = LayerNormParams(
            declare("scale", (features,), initializers.ones, keep_dtype=True),
            declare("offset", (features,), initializers.zeros, keep_dtype=True),
        )
        return params._replace(layer_norm=norm)

    def weights(self, params: RNNParams, dtype: Any) -> tuple[Weights, LayerNormParams | None]:
        """The cell's own are those of the layer norm, in the carry's dtype."""
        norm = params.layer_norm
        own = None if norm is None else LayerNormParams(*(a.astype(dtype) for a in norm))
        return Weights(*params[:3]), own


def _cell(params: RNNParams, activation: Activation) -> RNNCell:
    return RNNCell(
        activation=activation,
        layer_norm=params.layer_norm is not None,
        recurrent=recurrent_of(params),
    )


def rnn_cell(
    params: RNNParams,
    carry: Float[Array, "batch features"],
    x: Float[Array, "batch inputs"],
    *,
    activation: Activation = "tanh",
) -> tuple[Float[Array, "batch features"], Float[Array, "batch features"]]:
    """One step of a simple recurrent network; see `rnn` and `seqjax.ops.step`.

    Example:
        >>> params = RNNParams(jnp.ones((1, 2)), jnp.zeros((2, 2)))
        >>> carry, y = rnn_cell(params, jnp.zeros((1, 2)), jnp.full((1, 1), 3.0), activation="relu")
        >>> y.tolist()
        [[3.0, 3.0]]
    """
    return step(_cell(params, activation), params, carry, x)


def rnn(
    params: RNNParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: Float[Array, "batch features"] | None = None,
    *,
    activation: Activation = "tanh",
    **options: Unpack[Options],
) -> Any:
    """A simple recurrent network over whole sequences.

    ``h_t = activation(x_t W + b + h_{t-1} U)``; with `layer_norm` parameters
    ``h_t = activation(layer_norm(x_t W + b + h_{t-1} U))``

    `x` [batch, time, inputs] gives ``y`` [batch, time, features]; arguments, options, results and
    errors are those of `seqjax.ops.run`, `activation` that of `RNNCell`.

    Example:
        >>> import jax
        >>> w, u = jax.random.normal(jax.random.key(0), (3, 4)), jnp.eye(4)
        >>> rnn(RNNParams(w, u), jnp.ones((2, 5, 3))).shape
        (2, 5, 4)
    """
    return run(_cell(params, activation), params, x, initial_carry, **options)
