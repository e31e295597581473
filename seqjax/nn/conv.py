"""Causal convolution as a layer."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jax import Array
from jax.nn import initializers

from seqjax import ops
from seqjax.nn.layer import Call, Context, Inputs, Layer, without_padding
from seqjax.ops.activations import activation_function
from seqjax.ops.bounds import Count


class CausalConv(Layer):
    """A convolution over time in which no output sees a later input.

    See `seqjax.ops.causal_conv1d`. One step at a time, its carry is a ring
    buffer of ``(kernel_size - 1) * dilation`` inputs.

    Attributes:
        features: number of filters.
        kernel_size: taps.
        stride: steps between outputs. One step at a time a strided layer answers
            at every step; the whole sequence's outputs are those of the steps
            0, stride, 2 * stride, ...
        dilation: steps between taps.
        groups: number of groups that inputs and filters fall into.
        padding: "causal", or "valid" for outputs with a whole past only.
        activation: "tanh", "relu", an elementwise function, or None.
        weight_norm: learn each filter's length ("scale") and direction ("kernel")
            apart (Salimans and Kingma, arXiv 1602.07868).
        implementation: None (best), "products" or "lax"; see `seqjax.ops.causal_conv1d`.
        dtype: of the computation; by default that of inputs and parameters.
        param_dtype: of the parameters.
        kernel_init: of the kernel.
        bias_init: of the bias.
        use_bias: False leaves it out.

    Example:
        >>> import jax
        >>> layer, x = CausalConv(features=4, kernel_size=2, dilation=3), jax.numpy.ones((2, 5, 3))
        >>> params = layer.init(jax.random.key(0), x)
        >>> layer.apply(params, x).shape, layer.receptive_field
        ((2, 5, 4), 4)

    Source: van den Oord et al., "WaveNet", arXiv 1609.03499.
    """

    features: Count
    kernel_size: Count
    stride: Count = 1
    dilation: Count = 1
    groups: Count = 1
    padding: Literal["causal", "valid"] = "causal"
    activation: ops.Activation | None = None
    weight_norm: bool = False
    implementation: ops.ConvImplementation | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = initializers.glorot_uniform()
    bias_init: Initializer = initializers.zeros
    use_bias: bool = True

    @property
    def receptive_field(self) -> int:
        """Number of inputs, the newest included, that an output depends on."""
        return ops.receptive_field(self.kernel_size, (self.dilation,))

    @nn.compact
    def _parameters(self, inputs: int) -> ops.ConvParams:
        if inputs % self.groups or self.features % self.groups:
            raise ValueError(
                f"CausalConv: {inputs} inputs and {self.features} features do not fall into"
                f" {self.groups} equal groups."
            )
        shape = (self.kernel_size, inputs // self.groups, self.features)
        kernel = self.declare("kernel", shape, self.kernel_init, self.param_dtype, inputs)
        bias = None
        if self.use_bias:
            bias = self.declare("bias", (self.features,), self.bias_init, self.param_dtype)
        if self.weight_norm:
            wide = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
            # Not quite the length: a filter of zeros must not divide by zero.
            length = jnp.sqrt(jnp.sum(jnp.square(wide), axis=(0, 1)) + 1e-24)
            # It starts where it would be without the norm.
            scale = self.param("scale", lambda key: length.astype(self.param_dtype))
            kernel = (wide * (scale / length)[None, None, :]).astype(kernel.dtype)
        params = ops.ConvParams(kernel, bias)
        dtype = self.dtype
        return params if dtype is None else jax.tree.map(lambda a: a.astype(dtype), params)

    def _finish(self, y: Array) -> Array:
        return y if self.activation is None else activation_function(self.activation)(y)

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carry, y)``, y [batch, ceil(time / stride), features]."""
        x = self.checked(x, 3)
        x = x if self.dtype is None else x.astype(self.dtype)
        result = ops.causal_conv1d(
            self._parameters(x.shape[-1]),
            x,
            carry,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
            padding=self.padding,
            seq_lengths=call.seq_lengths,
            return_carry=call.return_carry,
            implementation=self.implementation,
        )
        carry, y = result if call.return_carry else (None, result)
        if self.activation is None or call.seq_lengths is None:
            return carry, self._finish(y)
        lengths = ops.as_lengths(call.seq_lengths, batch=x.shape[0], steps=x.shape[1])
        return carry, without_padding(self._finish(y), self.output_length(lengths))[0]

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step: ``(carry, y)``."""
        del context
        if self.padding == "valid":
            raise ValueError(
                'CausalConv: padding="valid" has no output for the first steps; use'
                ' padding="causal" to run one step at a time.'
            )
        x = self.checked(x, 2)
        x = x if self.dtype is None else x.astype(self.dtype)
        carry, y = ops.causal_conv1d_step(
            self._parameters(x.shape[-1]), carry, x, dilation=self.dilation, groups=self.groups
        )
        return carry, self._finish(y)

    def initial_carry(self, batch: Any, inputs: Inputs) -> ops.ConvCarry:
        """A past of zeros, [batch, (kernel_size - 1) * dilation, inputs]."""
        dtype = self.param_dtype if self.dtype is None else self.dtype
        features = super().output_features(inputs)
        dtype = ops.carry_dtype(jnp.zeros((), dtype))
        return ops.conv_carry(batch, features, self.kernel_size, self.dilation, dtype)

    def output_length(self, length: Any) -> Any:
        """See `seqjax.ops.conv_output_length`."""
        return ops.conv_output_length(
            length, self.kernel_size, self.stride, self.dilation, self.padding
        )

    def output_features(self, inputs: Inputs) -> int:
        """Number of filters."""
        super().output_features(inputs)
        return self.features

    @property
    def keeps_length(self) -> bool:
        """Without a stride, and with the past padded."""
        return self.stride == 1 and self.padding == "causal"
