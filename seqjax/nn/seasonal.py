"""A forecaster that reads a series season by season."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.nn import initializers

from seqjax.nn.layer import Call, Context, Inputs, Layer, without_padding
from seqjax.ops import as_lengths
from seqjax.ops.bounds import Count, Repeats


class SeasonalResidual(Layer):
    """Forecasts the next value: the mean of what followed in past cycles, and a correction.

    ``y_t = mean_k x[t + 1 - k p] + head(layer(n_K, ..., n_1))``, where ``p`` is
    the period, ``k`` runs over the last ``K`` cycles, and ``n_k`` holds the
    value at the forecast's own place in cycle ``k`` and its two neighbours,
    ``x[t - k p], x[t + 1 - k p], x[t + 2 - k p]``. The head starts at zero, so
    training starts from the seasonal mean. Values before the first are zero.

    Attributes:
        layer: a recurrent layer; it runs over the cycles, oldest first.
        period: steps of a cycle (12 for months in a year).
        cycles: K, how many cycles to read.

    Example:
        >>> import jax
        >>> from seqjax.nn import LSTM
        >>> model = SeasonalResidual(LSTM(features=4), period=12, cycles=5)
        >>> x = jnp.ones((2, model.receptive_field, 1))
        >>> y = model.apply(model.init(jax.random.key(0), x), x)
        >>> y.shape, float(y[0, -1, 0])
        ((2, 61, 1), 1.0)

    Source: this project; the idea of a network on the rest that a seasonal
    method leaves is that of Smyl, International Journal of Forecasting 36, 2020.
    """

    layer: Layer
    period: Count
    cycles: Repeats

    def setup(self) -> None:
        if self.period < 2 or not self.layer.keeps_length:
            raise ValueError(
                "SeasonalResidual: the period must be at least 2, and the layer must answer every"
                " cycle."
            )
        self.head = nn.Dense(1, kernel_init=initializers.zeros)

    @property
    def receptive_field(self) -> int:
        """Number of inputs, the newest included, that a forecast depends on."""
        return self.period * self.cycles + 1

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carry, y)``, y [batch, time, 1]; the carry is the last inputs, in order."""
        x, valid = without_padding(self.checked(x, 3), call.seq_lengths)
        batch, steps, inputs = x.shape
        past = self.receptive_field - 1
        before = self.initial_carry(batch, inputs) if carry is None else carry
        if jnp.shape(before) != (batch, past, 1):
            raise ValueError(
                f"SeasonalResidual: the carry must be {[batch, past, 1]}, the last inputs, but its"
                f" shape is {jnp.shape(before)}."
            )
        padded = jnp.concatenate([before.astype(x.dtype), x], axis=1)

        def lag(n: int) -> Array:  # x[t - n] for every t, [batch, time]
            return padded[:, past - n : past - n + steps, 0]

        cycles = [
            jnp.stack([lag(k * self.period - place) for place in (0, 1, 2)], axis=-1)
            for k in range(self.cycles, 0, -1)
        ]
        read = jnp.stack(cycles, axis=2)  # [batch, time, cycles, 3]
        rows = read.reshape(batch * steps, self.cycles, 3)
        h = self.layer(rows, deterministic=call.deterministic)[:, -1]
        y = jnp.mean(read[..., 1], axis=-1)[..., None] + self.head(h).reshape(batch, steps, 1)
        if valid is not None:
            y = jnp.where(valid, y, jnp.zeros_like(y))
        if not call.return_carry:
            return None, y
        lengths = as_lengths(call.seq_lengths, batch=batch, steps=steps)
        ends = jnp.full((batch,), steps) if lengths is None else lengths
        recent = ends[:, None] + jnp.arange(past)[None, :]
        return jnp.take_along_axis(padded, recent[:, :, None], axis=1), y

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step: ``(carry, y)``."""
        del context
        x = self.checked(x, 2)
        carry, y = self.whole(x[:, None], carry, Call(return_carry=True))
        return carry, y[:, 0]

    def initial_carry(self, batch: Any, inputs: Inputs) -> Array:
        """A past of zeros, [batch, period * cycles, 1]."""
        if inputs != 1:
            raise ValueError(f"SeasonalResidual reads one series, not {inputs} features.")
        return jnp.zeros((batch, self.receptive_field - 1, 1))

    def output_features(self, inputs: Inputs) -> int:
        """One."""
        del inputs
        return 1

    def sublayers(self) -> tuple[Layer, ...]:
        """None over time: the layer runs over the cycles of each step."""
        return ()
