"""Long short-term memory with peepholes."""

from typing import Any, ClassVar, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers
from jaxtyping import Float

from seqjax.ops.cell import Declare, Elementwise, Weights
from seqjax.ops.lstm import LSTMCarry, LSTMCell
from seqjax.ops.options import Options
from seqjax.ops.recurrent_kernel import recurrent_of
from seqjax.ops.sequence import run, step

__all__ = ["PeepholeLSTMCell", "PeepholeLSTMParams", "peephole_lstm", "peephole_lstm_cell"]


class PeepholeLSTMParams(NamedTuple):
    """Parameters of an LSTM with peepholes, gates packed in the order i, f, g, o.

    Attributes:
        kernel: [inputs, 4 * features]
        recurrent_kernel: [features, 4 * features], or [4 * features] where it is diagonal
        bias: [4 * features], or None
        peephole: [3, features], of the gates i, f, o
    """

    kernel: Float[Array, "inputs gates"]
    recurrent_kernel: Float[Array, "features gates"] | Float[Array, " gates"]
    bias: Float[Array, " gates"] | None
    peephole: Float[Array, "3 features"]


def _step(peephole: Array, carry: LSTMCarry, gates: tuple[Array, ...]) -> LSTMCarry:
    p_i, p_f, p_o = (row[None, :] for row in peephole)
    i = jax.nn.sigmoid(gates[0] + p_i * carry.c)
    f = jax.nn.sigmoid(gates[1] + p_f * carry.c)
    c = f * carry.c + i * jnp.tanh(gates[2])
    return LSTMCarry(c, jax.nn.sigmoid(gates[3] + p_o * c) * jnp.tanh(c))


class PeepholeLSTMCell(LSTMCell):
    """Long short-term memory whose gates see the cell state.

    ``i, f, g, o = split(x_t W + b + h_{t-1} U)``,
    ``c_t = sigmoid(f + p_f c_{t-1}) c_{t-1} + sigmoid(i + p_i c_{t-1}) tanh(g)``,
    ``h_t = sigmoid(o + p_o c_t) tanh(c_t)``; the peepholes ``p`` start at zero, as the LSTM

    Attributes:
        recurrent: "full" or "diagonal"; see `KernelCell`.

    Source: Gers and Schmidhuber, "Recurrent nets that time and count", IJCNN 2000.
    """

    name: ClassVar = "peephole_lstm"
    Params: ClassVar = PeepholeLSTMParams
    recurrence: ClassVar = Elementwise(step=_step, summed=4, hidden=lambda carry: carry.h)
    keras: ClassVar = None
    torch: ClassVar = None

    def parameters(self, declare: Declare, inputs: int, features: int) -> Any:
        """Those of an LSTM, and the peepholes."""
        lstm = LSTMCell(recurrent=self.recurrent)
        kernel, recurrent_kernel, bias = lstm.parameters(declare, inputs, features)
        peephole = declare("peephole", (3, features), initializers.zeros)
        return PeepholeLSTMParams(kernel, recurrent_kernel, bias, peephole)

    def weights(self, params: PeepholeLSTMParams, dtype: Any) -> tuple[Weights, Array]:
        """The cell's own are the peepholes."""
        return Weights(*params[:3]), params.peephole.astype(dtype)


def peephole_lstm_cell(
    params: PeepholeLSTMParams, carry: LSTMCarry, x: Float[Array, "batch inputs"]
) -> tuple[LSTMCarry, Float[Array, "batch features"]]:
    """One step of an LSTM with peepholes; see `peephole_lstm` and `seqjax.ops.step`.

    Example:
        >>> open_forget = jnp.array([[0.0], [99.0], [0.0]])  # by its own cell state
        >>> params = PeepholeLSTMParams(jnp.zeros((1, 4)), jnp.zeros((1, 4)), None, open_forget)
        >>> carry = LSTMCarry(jnp.ones((1, 1)), jnp.zeros((1, 1)))
        >>> carry, y = peephole_lstm_cell(params, carry, jnp.zeros((1, 1)))
        >>> carry.c.tolist()
        [[1.0]]
    """
    return step(PeepholeLSTMCell(recurrent=recurrent_of(params)), params, carry, x)


def peephole_lstm(
    params: PeepholeLSTMParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: LSTMCarry | None = None,
    **options: Unpack[Options],
) -> Any:
    """An LSTM with peepholes over whole sequences.

    ``i, f, g, o = split(x_t W + b + h_{t-1} U)``,
    ``c_t = sigmoid(f + p_f c_{t-1}) c_{t-1} + sigmoid(i + p_i c_{t-1}) tanh(g)``,
    ``h_t = sigmoid(o + p_o c_t) tanh(c_t)``

    `x` [batch, time, inputs] gives ``y`` [batch, time, features]; arguments, options, results and
    errors are those of `seqjax.ops.run`.

    Example:
        >>> from seqjax import ops
        >>> params = ops.init(PeepholeLSTMCell(), jax.random.key(0), inputs=3, features=4)
        >>> x = jnp.ones((2, 5, 3))
        >>> y = peephole_lstm(params, x)
        >>> bool((y == ops.lstm(ops.LSTMParams(*params[:3]), x)).all())  # they start at zero
        True
    """
    cell = PeepholeLSTMCell(recurrent=recurrent_of(params))
    return run(cell, params, x, initial_carry, **options)
