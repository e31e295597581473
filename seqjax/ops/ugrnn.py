"""The update gate RNN."""

from typing import Any, ClassVar, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from seqjax.ops.cell import Derivative, Elementwise
from seqjax.ops.options import Options
from seqjax.ops.recurrent_kernel import KernelCell, recurrent_of
from seqjax.ops.sequence import run, step

__all__ = ["UGRNNCell", "UGRNNParams", "ugrnn", "ugrnn_cell"]


class UGRNNParams(NamedTuple):
    """Parameters of an update gate RNN, gates packed in the order g, n.

    Attributes:
        kernel: [inputs, 2 * features]
        recurrent_kernel: [features, 2 * features], or [2 * features] where it is diagonal
        bias: [2 * features], or None
    """

    kernel: Float[Array, "inputs gates"]
    recurrent_kernel: Float[Array, "features gates"] | Float[Array, " gates"]
    bias: Float[Array, " gates"] | None = None


def _forward(own: tuple[()], h: Array, gates: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
    g, n = jax.nn.sigmoid(gates[0]), jnp.tanh(gates[1])
    return g * h + (1 - g) * n, (g, n)


def _backward(
    own: tuple[()], previous: Array, saved: tuple[Array, ...], d_h: Array
) -> tuple[tuple[()], Array, tuple[Array, ...]]:
    g, n = saved
    d_gates = (d_h * (previous - n) * g * (1 - g), d_h * (1 - g) * (1 - n**2))
    return (), d_h * g, d_gates


class UGRNNCell(KernelCell):
    """The update gate RNN: a single gate between the old state and a new one.

    ``g, n = split(x_t W + b + h_{t-1} U)``,
    ``h_t = sigmoid(g) h_{t-1} + (1 - sigmoid(g)) tanh(n)``

    Attributes:
        recurrent: "full" or "diagonal"; see `KernelCell`.

    Source: Collins, Sohl-Dickstein and Sussillo, "Capacity and trainability in recurrent
    neural networks", arXiv 1611.09913, 2016.
    """

    name: ClassVar = "ugrnn"
    Params: ClassVar = UGRNNParams
    gates: ClassVar = 2
    recurrence: ClassVar = Elementwise(Derivative(_forward, _backward), summed=2)


def ugrnn_cell(
    params: UGRNNParams,
    carry: Float[Array, "batch features"],
    x: Float[Array, "batch inputs"],
) -> tuple[Float[Array, "batch features"], Float[Array, "batch features"]]:
    """One step of an update gate RNN; see `ugrnn` and `seqjax.ops.step`.

    Example:
        >>> params = UGRNNParams(jnp.zeros((1, 4)), jnp.zeros((2, 4)))
        >>> carry, y = ugrnn_cell(params, jnp.ones((1, 2)), jnp.zeros((1, 1)))
        >>> y.tolist()
        [[0.5, 0.5]]
    """
    return step(UGRNNCell(recurrent=recurrent_of(params)), params, carry, x)


def ugrnn(
    params: UGRNNParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: Float[Array, "batch features"] | None = None,
    **options: Unpack[Options],
) -> Any:
    """An update gate RNN over whole sequences.

    ``g, n = split(x_t W + b + h_{t-1} U)``,
    ``h_t = sigmoid(g) h_{t-1} + (1 - sigmoid(g)) tanh(n)``

    `x` [batch, time, inputs] gives ``y`` [batch, time, features]; arguments, options, results and
    errors are those of `seqjax.ops.run`.

    Example:
        >>> from seqjax import ops
        >>> params = ops.init(UGRNNCell(), jax.random.key(0), inputs=3, features=4)
        >>> ugrnn(params, jnp.ones((2, 5, 3))).shape
        (2, 5, 4)
    """
    return run(UGRNNCell(recurrent=recurrent_of(params)), params, x, initial_carry, **options)
