"""A residual block around a sequence layer."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import Array
from jax.nn import initializers

from seqjax.nn.layer import Call, Context, Inputs, Layer, checked_rate, with_carry, without_padding
from seqjax.ops.bounds import Count, Rate


class Residual(Layer):
    """A layer between a norm and a gate, added to its input: the block of deep linear RNNs.

    ``y = x + dropout(glu(W gelu(layer(norm(x))) + b))``, ``glu([u, v]) = u sigmoid(v)``

    The nonlinearity stands here, at every step alone, where a layer that is linear in
    its state has none over time. With `seq_lengths` outputs after a sequence's end
    are zero.

    Attributes:
        layer: a layer that answers every step of its input, in its order.
        features: number of features of inputs and outputs.
        dropout: rate of the dropout after the gate; needs the rng "dropout" unless
            deterministic.
        dtype: of norm, gate and sum; by default that of inputs and parameters.
        param_dtype: of the parameters of norm and gate.

    Example:
        >>> import jax
        >>> from seqjax.nn import LRU
        >>> block, x = Residual(LRU(features=4, state=8), features=4), jax.numpy.ones((2, 5, 4))
        >>> block.apply(block.init(jax.random.key(0), x), x).shape
        (2, 5, 4)

    Source: Orvieto et al., "Resurrecting recurrent neural networks for long
    sequences", arXiv 2303.06349, figure 1.
    """

    layer: Layer
    features: Count
    dropout: Rate = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def setup(self) -> None:
        self.norm = nn.LayerNorm(dtype=self.dtype, param_dtype=self.param_dtype)
        self.gate = nn.Dense(
            2 * self.features,
            kernel_init=initializers.glorot_uniform(),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        self.after_gate = nn.Dropout(checked_rate(self, self.dropout))

    def sublayers(self) -> tuple[Layer, ...]:
        """The layer."""
        return (self.layer,)

    def _input(self, x: Array, ndim: int) -> Array:
        layer, x = self.layer, self.checked(x, ndim)
        if x.shape[-1] != self.features:
            raise ValueError(
                f"Residual: x must have {self.features} features, the block's own, but its"
                f" shape is {x.shape}."
            )
        if not layer.keeps_length:
            raise ValueError(
                "Residual: outputs are added to inputs step by step; the layer must not"
                " have a stride or leave out steps."
            )
        if getattr(layer, "reverse", False) and not getattr(layer, "keep_order", False):
            raise ValueError("Residual: a reversed layer needs keep_order=True.")
        return x if self.dtype is None else x.astype(self.dtype)

    def _gated(self, y: Array) -> Array:
        return jax.nn.glu(self.gate(jax.nn.gelu(y)))

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carry, y)``, y [batch, time, features], with the layer's carry."""
        # The norm's gradient, too, must not see the padding.
        x, valid = without_padding(self._input(x, 3), call.seq_lengths)
        carry, y = with_carry(self.layer, self.norm(x), carry, call)
        y = x + self.after_gate(self._gated(y), deterministic=call.deterministic)
        return carry, y if valid is None else jnp.where(valid, y, jnp.zeros_like(y))

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step: ``(carry, y)``, without dropout."""
        x = self._input(x, 2)
        carry, y = self.layer.step(carry, self.norm(x), context=context)
        return carry, x + self._gated(y)

    def initial_carry(self, batch: Any, inputs: Inputs) -> Any:
        """The layer's carry."""
        return self.layer.initial_carry(batch, inputs)
