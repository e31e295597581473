"""Normalisation: of a batch, whose running statistics are parameters like any other; of a step."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import Array, lax
from jax.nn import initializers

from seqjax.nn.layer import Call, Context, Layer, without_padding
from seqjax.ops.bounds import Fraction


@jax.custom_vjp
def _follow(y: Array, running: Array, current: Array) -> Array:
    """`y`; the gradient of `running` is its distance from `current`, whatever the loss.

    Gradient descent at the rate ``1 - momentum`` then is the moving average. So a
    model stays a pure function of its parameters, and needs no second kind of state.
    """
    del running, current
    return y


_follow.defvjp(
    lambda y, running, current: (y, (running, current)),
    lambda saved, dy: (dy, saved[0] - saved[1], jnp.zeros_like(saved[1])),
)


class BatchNorm(Layer):
    """Batch normalisation over batch and time, each feature by itself.

    ``y = scale (x - mean) / sqrt(variance + epsilon) + offset``, with the moments of the
    batch in training and with running ones otherwise (and one step at a time).

    The running moments are parameters whose gradient is their distance from the batch's
    moments. `seqjax.train.fit` keeps them from the optimizer and moves them by that distance
    times 0.01; a loop of one's own, or another momentum, has
    `seqjax.train.with_running_statistics`. Of a batch split by
    `train.fit(mesh=)` the moments are those of the whole; inside `jax.shard_map` they would
    be those of each device's part, which is not supported.

    Attributes:
        epsilon: added to the variance.
        dtype: of the outputs; by default that of inputs and parameters.
        param_dtype: of the parameters.

    Example:
        >>> layer, x = BatchNorm(), jnp.arange(8.0).reshape(2, 4, 1)
        >>> params = layer.init(jax.random.key(0), x)
        >>> y = layer.apply(params, x, deterministic=False)
        >>> round(float(y.mean()), 3), round(float(y.std()), 2)
        (0.0, 1.0)

    Source: Ioffe and Szegedy, arXiv 1502.03167; epsilon after Keras.
    """

    epsilon: Fraction = 1e-3
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def _parameters(self, features: int) -> tuple[Array, Array, Array, Array]:
        names = {"scale": 1, "offset": 0, "running_mean": 0, "running_variance": 1}
        arrays = [
            self.declare(
                name, (features,), initializers.constant(value), self.param_dtype, features
            )
            for name, value in names.items()
        ]
        return arrays[0], arrays[1], arrays[2], arrays[3]

    def _normalise(
        self, x: Array, scale: Array, offset: Array, mean: Array, variance: Array
    ) -> Array:
        factor = scale * lax.rsqrt(variance + self.epsilon)
        shape = (1,) * (x.ndim - 1) + (-1,)
        y = (x - mean.reshape(shape)) * factor.reshape(shape) + offset.reshape(shape)
        return y.astype(jnp.result_type(x, scale) if self.dtype is None else self.dtype)

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``((), y)``, y [batch, time, inputs], zero after each sequence's end."""
        del carry
        x, mask = without_padding(self.checked(x, 3), call.seq_lengths)
        valid = jnp.ones((1, 1, 1), bool) if mask is None else mask
        scale, offset, running_mean, running_variance = self._parameters(x.shape[-1])
        if call.deterministic:
            y = self._normalise(x, scale, offset, running_mean, running_variance)
        else:
            wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
            weights = jnp.broadcast_to(valid, (*x.shape[:2], 1)).astype(wide.dtype)
            count = jnp.maximum(jnp.sum(weights), 1)
            mean = jnp.sum(wide, axis=(0, 1)) / count
            centred = (wide - mean[None, None, :]) * weights
            variance = jnp.sum(jnp.square(centred), axis=(0, 1)) / count
            y = self._normalise(x, scale, offset, mean, variance)
            y = _follow(y, running_mean, mean.astype(running_mean.dtype))
            y = _follow(y, running_variance, variance.astype(running_variance.dtype))
        return (), y if mask is None else jnp.where(mask, y, jnp.zeros_like(y))

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step, with the running moments: ``((), y)``."""
        del context
        x = self.checked(x, 2)
        return carry, self._normalise(x, *self._parameters(x.shape[-1]))

    @property
    def stateless(self) -> bool:
        """Every step stands alone, but for the moments in training."""
        return True


class LayerNorm(Layer):
    """Layer normalisation: each step of each sequence by itself, over its features.

    ``y_t = scale (x_t - mean(x_t)) / sqrt(variance(x_t) + epsilon) + offset``

    It is the same in training and after, and one step at a time; what it does within a
    recurrence is ``RNN(layer_norm=True)``. With `seq_lengths` outputs after a sequence's end are
    zero.

    Attributes:
        epsilon: added to the variance.
        dtype: of the outputs; by default that of inputs and parameters.
        param_dtype: of the parameters.

    Example:
        >>> layer, x = LayerNorm(), jnp.arange(8.0).reshape(2, 1, 4)
        >>> y = layer.apply(layer.init(jax.random.key(0), x), x)
        >>> bool(jnp.allclose(y.mean(-1), 0)), bool(jnp.allclose(y.std(-1), 1))
        (True, True)

    Source: Ba, Kiros and Hinton, arXiv 1607.06450; epsilon after Flax.
    """

    epsilon: Fraction = 1e-6
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def _normalise(self, x: Array) -> Array:
        features = x.shape[-1]
        scale, offset = (
            self.declare(name, (features,), init, self.param_dtype, features)
            for name, init in (("scale", initializers.ones), ("offset", initializers.zeros))
        )
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        # Not as E[x^2] - E[x]^2, which is nothing but rounding far from zero.
        off = wide - jnp.mean(wide, axis=-1, keepdims=True)
        y = off * lax.rsqrt(jnp.mean(jnp.square(off), axis=-1, keepdims=True) + self.epsilon)
        shape = (1,) * (x.ndim - 1) + (-1,)
        y = y * scale.reshape(shape) + offset.reshape(shape)
        return y.astype(jnp.result_type(x, scale) if self.dtype is None else self.dtype)

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``((), y)``, y [batch, time, inputs]."""
        del carry
        x, valid = without_padding(self.checked(x, 3), call.seq_lengths)
        y = self._normalise(x)
        return (), y if valid is None else jnp.where(valid, y, jnp.zeros_like(y))

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step: ``((), y)``."""
        del context
        return carry, self._normalise(self.checked(x, 2))

    @property
    def stateless(self) -> bool:
        """Every step stands alone."""
        return True
