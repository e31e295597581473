"""Long short-term memory."""

from typing import Any, ClassVar, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers
from jaxtyping import Float

from seqjax.ops.cell import (
    Derivative,
    Elementwise,
    Initializer,
    Peer,
)
from seqjax.ops.options import Options
from seqjax.ops.recurrent_kernel import KernelCell, recurrent_of
from seqjax.ops.sequence import run, step

__all__ = ["LSTMCarry", "LSTMCell", "LSTMParams", "lstm", "lstm_cell"]


class LSTMParams(NamedTuple):
    """Parameters of an LSTM layer, gates packed in the order i, f, g, o.

    Attributes:
        kernel: [inputs, 4 * features]
        recurrent_kernel: [features, 4 * features], or [4 * features] where it is diagonal
        bias: [4 * features], or None
    """

    kernel: Float[Array, "inputs gates"]
    recurrent_kernel: Float[Array, "features gates"] | Float[Array, " gates"]
    bias: Float[Array, " gates"] | None = None


class LSTMCarry(NamedTuple):
    """An LSTM's state.

    Attributes:
        c: the cell state, [batch, features]
        h: the hidden state (the output), [batch, features]
    """

    c: Float[Array, "batch features"]
    h: Float[Array, "batch features"]


def _forward(
    own: tuple[()], carry: LSTMCarry, gates: tuple[Array, ...]
) -> tuple[LSTMCarry, tuple[Array, ...]]:
    i, f, o = (jax.nn.sigmoid(gates[k]) for k in (0, 1, 3))
    g = jnp.tanh(gates[2])
    c = f * carry.c + i * g
    return LSTMCarry(c, o * jnp.tanh(c)), (i, f, g, o)


def _backward(
    own: tuple[()], previous: LSTMCarry, saved: tuple[Array, ...], d_carry: LSTMCarry
) -> tuple[tuple[()], LSTMCarry, tuple[Array, ...]]:
    i, f, g, o = saved
    tanh_c = jnp.tanh(f * previous.c + i * g)  # cheaper than to keep it
    d_c = d_carry.c + d_carry.h * o * (1 - tanh_c**2)
    d_gates = (
        d_c * g * i * (1 - i),
        d_c * previous.c * f * (1 - f),
        d_c * i * (1 - g**2),
        d_carry.h * tanh_c * o * (1 - o),
    )
    return (), LSTMCarry(d_c * f, jnp.zeros_like(d_c)), d_gates


class LSTMCell(KernelCell):
    """Long short-term memory; the forget gate's bias starts at 1.

    ``i, f, g, o = split(x_t W + b + h_{t-1} U)``,
    ``c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)``, ``h_t = sigmoid(o) tanh(c_t)``

    Attributes:
        recurrent: "full" or "diagonal"; see `KernelCell`.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9, 1997;
    forget gate after Gers, Schmidhuber and Cummins, 2000; initialisers after Keras.
    """

    name: ClassVar = "lstm"
    Params: ClassVar = LSTMParams
    gates: ClassVar = 4
    # Its own derivative spares the backward pass four transcendental functions a step.
    recurrence: ClassVar = Elementwise(
        Derivative(_forward, _backward), summed=4, hidden=lambda carry: carry.h
    )
    keras: ClassVar = Peer("LSTM", (0, 1, 2, 3))
    torch: ClassVar = Peer("LSTM", (0, 1, 2, 3))

    def bias_init(self, features: int) -> Initializer:
        """Zeros, and ones for the forget gate (Gers et al., 2000; Jozefowicz et al., 2015)."""

        def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
            zeros = initializers.zeros(key, shape, dtype)
            return zeros.at[features : 2 * features].set(1)

        return init

    def initial_carry(self, batch: Any, features: int, dtype: Any) -> LSTMCarry:
        """Zeros, [batch, features] each."""
        zeros = super().initial_carry(batch, features, dtype)
        return LSTMCarry(zeros, zeros)


def lstm_cell(
    params: LSTMParams, carry: LSTMCarry, x: Float[Array, "batch inputs"]
) -> tuple[LSTMCarry, Float[Array, "batch features"]]:
    """One step of an LSTM; see `lstm` and `seqjax.ops.step`.

    Example:
        >>> params = LSTMParams(jnp.ones((1, 8)), jnp.zeros((2, 8)))
        >>> zeros = jnp.zeros((1, 2))
        >>> carry, y = lstm_cell(params, LSTMCarry(zeros, zeros), jnp.zeros((1, 1)))
        >>> carry.c.tolist()
        [[0.0, 0.0]]
    """
    return step(LSTMCell(recurrent=recurrent_of(params)), params, carry, x)


def lstm(
    params: LSTMParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: LSTMCarry | None = None,
    **options: Unpack[Options],
) -> Any:
    """An LSTM over whole sequences.

    ``i, f, g, o = split(x_t W + b + h_{t-1} U)``,
    ``c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)``, ``h_t = sigmoid(o) tanh(c_t)``

    `x` [batch, time, inputs] gives ``y`` [batch, time, features]; arguments, options, results and
    errors are those of `seqjax.ops.run`.

    Example:
        >>> keys = jax.random.split(jax.random.key(0))
        >>> params = LSTMParams(
        ...     jax.random.normal(keys[0], (3, 16)), jax.random.normal(keys[1], (4, 16))
        ... )
        >>> carry, y = lstm(params, jnp.ones((2, 5, 3)), return_carry=True)
        >>> y.shape, carry.c.shape
        ((2, 5, 4), (2, 4))
    """
    return run(LSTMCell(recurrent=recurrent_of(params)), params, x, initial_carry, **options)
