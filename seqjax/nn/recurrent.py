"""Recurrent layers: they own parameters and call `seqjax.ops`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jax import Array
from jax.nn import initializers
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax import ops
from seqjax.ops.layout import carry_dtype


class _Recurrent(nn.Module):
    """Fields and both modes of every recurrent layer; a subclass names its ops.

    Attributes:
        features: the width.
        dropout: rate of the dropout of the inputs, the same mask at every step.
        recurrent_dropout: rate of the dropout of ``h`` in its product with the
            recurrent kernel, the same mask at every step (Gal and Ghahramani, arXiv
            1512.05287). Both need the rng "dropout" unless deterministic.
        reverse: run from each sequence's last step to its first.
        keep_order: with `reverse`, outputs in the order of the inputs.
        unroll: steps per loop iteration, as in `jax.lax.scan`.
        chunk_size: recompute the backward pass in chunks of so many steps.
        truncation: let the gradient pass only within groups of so many steps.
        implementation: None (best), "scan" or "autodiff"; see `seqjax.ops`.
        dtype: of the computation; by default that of inputs and parameters.
            Carries are float32 or wider.
        param_dtype: of the parameters.
        kernel_init: of the input kernel, drawn as one packed matrix (as in Keras).
        recurrent_init: of the recurrent kernel, likewise.
        bias_init: of the bias.
    """

    features: int
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    reverse: bool = False
    keep_order: bool = False
    unroll: int = 1
    chunk_size: int | None = None
    truncation: int | None = None
    implementation: ops.Implementation | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = initializers.glorot_uniform()
    recurrent_init: Initializer = initializers.orthogonal()
    bias_init: Initializer = initializers.zeros

    if TYPE_CHECKING:  # a subclass's affair

        def _parameters(self, x: Array) -> Any: ...

        def _sequence(self, params: Any, x: Array, initial_carry: Any, **options: Any) -> Any: ...

        def _cell(self, params: Any, carry: Any, x: Array) -> tuple[Any, Array]: ...

    def _declare(self, x: Array, gates: int, *biases: tuple[str, Initializer]) -> list[Array]:
        """Kernel, recurrent kernel and biases in the dtype of the computation."""
        width = gates * self.features
        arrays = [
            self.param("kernel", self.kernel_init, (x.shape[-1], width), self.param_dtype),
            self.param(
                "recurrent_kernel", self.recurrent_init, (self.features, width), self.param_dtype
            ),
            *(self.param(name, init, (width,), self.param_dtype) for name, init in biases),
        ]
        return arrays if self.dtype is None else [a.astype(self.dtype) for a in arrays]

    def _input(self, x: Array) -> Array:
        return x if self.dtype is None else x.astype(self.dtype)

    def _mask(self, rate: float, shape: tuple[int, ...], dtype: Dtype) -> Array:
        """What dropout multiplies with: 0 at `rate`, else ``1 / (1 - rate)``."""
        if not 0 <= rate < 1:
            raise ValueError(f"{type(self).__name__}: a dropout rate is in [0, 1), not {rate}.")
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - rate, shape)
        return kept.astype(dtype) / (1 - rate)

    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        initial_carry: Any = None,
        *,
        seq_lengths: Int[ArrayLike, " batch"] | None = None,
        return_carry: bool = False,
        deterministic: bool = True,
    ) -> Any:
        """``y`` [batch, time, features], or ``(carry, y)``; see the op of the same name."""
        x = self._input(x)
        params = self._parameters(x)
        recurrent_mask = None
        if not deterministic:
            batch = x.shape[0]
            if self.dropout:
                x = x * self._mask(self.dropout, (batch, 1, x.shape[2]), x.dtype)
            if self.recurrent_dropout:
                shape = (batch, self.features)
                recurrent_mask = self._mask(self.recurrent_dropout, shape, jnp.float32)
        return self._sequence(
            params,
            x,
            initial_carry,
            recurrent_mask=recurrent_mask,
            seq_lengths=seq_lengths,
            return_carry=return_carry,
            reverse=self.reverse,
            keep_order=self.keep_order,
            unroll=self.unroll,
            chunk_size=self.chunk_size,
            truncation=self.truncation,
            implementation=self.implementation,
        )

    def step(
        self, carry: Any, x: Float[Array, "batch inputs"]
    ) -> tuple[Any, Float[Array, "batch features"]]:
        """One step: ``(carry, y)``."""
        if self.reverse:
            raise ValueError(
                f"{type(self).__name__}: a reversed layer starts at the end of the"
                " sequence; it cannot run one step at a time."
            )
        x = self._input(x)
        return self._cell(self._parameters(x), carry, x)

    def initial_carry(self, batch: int, inputs: int) -> Any:
        """Zeros, [batch, features]."""
        del inputs
        dtype = self.param_dtype if self.dtype is None else self.dtype
        return jnp.zeros((batch, self.features), carry_dtype(jnp.zeros((), dtype)))

    def output_length(self, length: Any) -> Any:
        """As many as inputs."""
        return length

    def output_features(self, inputs: int) -> int:
        """The width."""
        del inputs
        return self.features


class RNN(_Recurrent):
    """The simple recurrent layer; see `seqjax.ops.rnn`.

    ``h_t = activation(x_t W + b + h_{t-1} U)``

    Attributes (besides those of every recurrent layer):
        activation: "tanh", "relu" or an elementwise function.
        layer_norm: normalise before the activation:
            ``h_t = activation(layer_norm(x_t W + b + h_{t-1} U))``.

    Example:
        >>> import jax
        >>> layer, x = RNN(features=4, activation="relu"), jax.numpy.ones((2, 5, 3))
        >>> params = layer.init(jax.random.key(0), x)
        >>> layer.apply(params, x).shape
        (2, 5, 4)

    Source: Elman, Cognitive Science 14, 1990; initialisers after Keras.
    """

    activation: ops.Activation = "tanh"
    layer_norm: bool = False

    @nn.compact
    def _parameters(self, x: Array) -> ops.RNNParams:
        kernel, recurrent_kernel, bias = self._declare(x, 1, ("bias", self.bias_init))
        params = ops.RNNParams(kernel, recurrent_kernel, bias)
        if not self.layer_norm:
            return params
        width = (self.features,)
        scale = self.param("scale", initializers.ones, width, self.param_dtype)
        offset = self.param("offset", initializers.zeros, width, self.param_dtype)
        return params._replace(layer_norm=ops.LayerNormParams(scale, offset))

    def _sequence(self, params: Any, x: Array, initial_carry: Any, **options: Any) -> Any:
        return ops.rnn(params, x, initial_carry, activation=self.activation, **options)

    def _cell(self, params: Any, carry: Any, x: Array) -> tuple[Any, Array]:
        return ops.rnn_cell(params, carry, x, activation=self.activation)


class LSTM(_Recurrent):
    """Long short-term memory; see `seqjax.ops.lstm`. The forget gate's bias starts at 1.

    ``i, f, g, o = split(x_t W + b + h_{t-1} U)``,
    ``c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)``, ``h_t = sigmoid(o) tanh(c_t)``

    Attributes: those of every recurrent layer.

    Example:
        >>> import jax
        >>> layer, x = LSTM(features=4), jax.numpy.ones((2, 5, 3))
        >>> params = layer.init(jax.random.key(0), x)
        >>> carry = layer.initial_carry(batch=2, inputs=3)
        >>> carry, y = layer.apply(params, carry, x[:, 0], method="step")
        >>> y.shape
        (2, 4)

    Source: Hochreiter and Schmidhuber, Neural Computation 9, 1997; unit forget
    bias after Jozefowicz et al., 2015; initialisers after Keras.
    """

    @nn.compact
    def _parameters(self, x: Array) -> ops.LSTMParams:
        return ops.LSTMParams(*self._declare(x, 4, ("bias", self._unit_forget)))

    def _unit_forget(self, key: Array, shape: tuple[int, ...], dtype: Dtype) -> Array:
        bias = jnp.asarray(self.bias_init(key, shape, dtype))
        return bias.at[self.features : 2 * self.features].set(1)

    def _sequence(self, params: Any, x: Array, initial_carry: Any, **options: Any) -> Any:
        return ops.lstm(params, x, initial_carry, **options)

    def _cell(self, params: Any, carry: Any, x: Array) -> tuple[Any, Array]:
        return ops.lstm_cell(params, carry, x)

    def initial_carry(self, batch: int, inputs: int) -> ops.LSTMCarry:
        """Zeros, [batch, features] each."""
        zeros = super().initial_carry(batch, inputs)
        return ops.LSTMCarry(zeros, zeros)


class GRU(_Recurrent):
    """Gated recurrent unit; see `seqjax.ops.gru`.

    ``r, z = sigmoid(x_t W_rz + b_rz + h U_rz)``,
    ``n = tanh(x_t W_n + b_n + r (h U_n + c_n))``, ``h_t = (1 - z) n + z h``

    Attributes (besides those of every recurrent layer):
        reset_after: the variant above, with two biases (Keras's default, cuDNN,
            PyTorch); otherwise the original, with one.

    Example:
        >>> import jax
        >>> layer, x = GRU(features=4), jax.numpy.ones((2, 5, 3))
        >>> params = layer.init(jax.random.key(0), x)
        >>> layer.apply(params, x, seq_lengths=jax.numpy.array([5, 2])).shape
        (2, 5, 4)

    Source: Cho et al., arXiv 1406.1078, 2014; initialisers after Keras.
    """

    reset_after: bool = True

    @nn.compact
    def _parameters(self, x: Array) -> ops.GRUParams:
        biases = [("bias", self.bias_init), ("recurrent_bias", self.bias_init)]
        return ops.GRUParams(*self._declare(x, 3, *biases[: 2 if self.reset_after else 1]))

    def _sequence(self, params: Any, x: Array, initial_carry: Any, **options: Any) -> Any:
        return ops.gru(params, x, initial_carry, reset_after=self.reset_after, **options)

    def _cell(self, params: Any, carry: Any, x: Array) -> tuple[Any, Array]:
        return ops.gru_cell(params, carry, x, reset_after=self.reset_after)


def wavefront_kind(layer: Any, x: Array, deterministic: bool) -> tuple[Any, ...] | None:
    """What layers must share to run as one loop (`run_wavefront`); None where one cannot.

    `x` is the input of the lowest: all must compute in one dtype.
    """
    # The very classes: a subclass may do something else with the same fields.
    if type(layer) not in (RNN, LSTM, GRU) or layer.reverse or layer.unroll != 1:
        return None
    if not (layer.chunk_size is layer.truncation is layer.implementation is None):
        return None
    if not deterministic and (layer.dropout or layer.recurrent_dropout):
        return None
    if isinstance(layer, GRU) and not layer.reset_after:
        return None
    dtype = layer.param_dtype if layer.dtype is None else layer.dtype
    if layer._input(x).dtype != dtype:
        return None
    activation = None
    if isinstance(layer, RNN):
        if layer.layer_norm:
            return None
        activation = layer.activation
    return type(layer), layer.features, jnp.dtype(dtype), layer.param_dtype, activation


def run_wavefront(
    layers: Sequence[Any], x: Array, initial_carries: Sequence[Any] | None, **options: Any
) -> Any:
    """Bound layers of one `wavefront_kind` as one loop; see `seqjax.ops.wavefront`."""
    first = layers[0]
    x = first._input(x)
    above = jnp.zeros((1, first.features), x.dtype)
    params = [layer._parameters(x if layer is first else above) for layer in layers]
    if isinstance(first, RNN):
        options["activation"] = first.activation
    return ops.wavefront(params, x, initial_carries, **options)
