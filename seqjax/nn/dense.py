"""Layers in which every step stands alone."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import Array
from jax.nn import initializers

from seqjax.nn.layer import Call, Context, Inputs, Layer, without_padding
from seqjax.ops.activations import Activation, activation_function
from seqjax.ops.bounds import Count


class Dense(Layer):
    """A dense layer at every step: ``y_t = activation(x_t W + b)``.

    Every step, padding included: with `seq_lengths` its outputs after a
    sequence's end are ``activation(b)``, to be left out of a loss.

    Attributes:
        features: number of outputs.
        activation: "tanh", "relu", ..., an elementwise function, or None.
        dtype: of the computation; by default that of inputs and parameters.
        param_dtype: of the parameters.
        use_bias: False leaves ``b`` out.

    Example:
        >>> import jax
        >>> layer, x = Dense(features=1), jax.numpy.ones((2, 5, 3))
        >>> layer.apply(layer.init(jax.random.key(0), x), x).shape
        (2, 5, 1)
    """

    features: Count
    activation: Activation | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    use_bias: bool = True

    def setup(self) -> None:
        self.dense = nn.Dense(
            self.features,
            use_bias=self.use_bias,
            kernel_init=initializers.glorot_uniform(),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``((), y)``, y [..., features]: each step stands alone."""
        del carry
        x, _ = without_padding(x, call.seq_lengths)
        y = self.dense(self._fitting(x))
        return (), y if self.activation is None else activation_function(self.activation)(y)

    def _fitting(self, x: Array) -> Array:
        x = self.checked(x, x.ndim)
        stored = self.variables.get("params", {}).get("dense", {}).get("kernel")
        if stored is not None and stored.shape[0] != x.shape[-1]:
            raise ValueError(
                f"Dense: the parameters are for {stored.shape[0]} features, but the shape of x is"
                f" {x.shape}."
            )
        return x

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step: ``((), y)``."""
        del context
        return self.whole(x, carry, Call())

    def output_features(self, inputs: Inputs) -> int:
        """Number of outputs."""
        super().output_features(inputs)
        return self.features

    @property
    def stateless(self) -> bool:
        """Every step stands alone."""
        return True


class Embed(Layer):
    """A vector of its own for every token: what stands between text and a layer of floats.

    ``y_t = E[x_t]``. What lies outside the vocabulary is NaN, which training reports.

    Attributes:
        num_embeddings: tokens are 0, ..., num_embeddings - 1.
        features: of a token's vector.
        dtype: of the outputs; by default that of the parameters.
        param_dtype: of the parameters.

    Example:
        >>> import jax
        >>> from seqjax.nn import GRU, Stack
        >>> layer = Stack((Embed(num_embeddings=50, features=8), GRU(features=4)))
        >>> tokens = jax.numpy.array([[3, 1, 4, 1, 5]])
        >>> layer.apply(layer.init(jax.random.key(0), tokens), tokens).shape
        (1, 5, 4)

    Source: Bengio et al., "A neural probabilistic language model", Journal of Machine
    Learning Research 3, 2003; scale of the initialiser after Flax.
    """

    num_embeddings: Count
    features: Count
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def _table(self) -> Array:
        init = initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)
        shape = (self.num_embeddings, self.features)
        table = jnp.asarray(self.declare("embedding", shape, init, self.param_dtype))
        return table if self.dtype is None else table.astype(self.dtype)

    def _look_up(self, tokens: Array, ndim: int) -> Array:
        if not jnp.issubdtype(tokens.dtype, jnp.integer) or tokens.ndim != ndim:
            dims = {1: "[batch]", 2: "[batch, time]"}[ndim]
            raise ValueError(
                f"Embed: tokens must be integers {dims}, but x is {tokens.dtype}, shape"
                f" {tokens.shape}."
            )
        # Not clipped or counted from the end, as an index would be: a wrong token is seen.
        outside = (tokens < 0) | (tokens >= self.num_embeddings)
        tokens = jnp.where(outside, self.num_embeddings, tokens)
        return self._table().at[tokens].get(mode="fill", fill_value=jnp.nan)

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``((), y)``, y [batch, time, features] of tokens [batch, time]."""
        del carry
        if x.ndim == 2:
            x, _ = without_padding(x, call.seq_lengths)
        return (), self._look_up(x, 2)

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step, tokens [batch]: ``((), y)``."""
        del context
        return carry, self._look_up(x, 1)

    def output_features(self, inputs: Inputs) -> int:
        """Of a token's vector."""
        del inputs
        return self.features

    @property
    def stateless(self) -> bool:
        """Every step stands alone."""
        return True
