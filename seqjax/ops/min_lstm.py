"""minLSTM: an LSTM whose gates see the input alone, so that time runs in parallel."""

from typing import Any, ClassVar, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from seqjax.ops.cell import Linear
from seqjax.ops.layout import project
from seqjax.ops.min_gru import InputGatesCell
from seqjax.ops.options import Options
from seqjax.ops.sequence import run, step

__all__ = ["MinLSTMCell", "MinLSTMParams", "min_lstm", "min_lstm_cell"]


class MinLSTMParams(NamedTuple):
    """Parameters of a minLSTM layer; gates are packed f, i, h.

    Attributes:
        kernel: [inputs, 3 * features]
        bias: [3 * features], or None
    """

    kernel: Float[Array, "inputs gates_features"]
    bias: Float[Array, " gates_features"] | None = None


def _coefficients(params: MinLSTMParams, x: Array, dtype: Any) -> tuple[Array, Array]:
    f, i, candidate = jnp.split(project(x, params.kernel, params.bias, dtype), 3, axis=-1)
    # sigmoid(f) / (sigmoid(f) + sigmoid(i)) by the difference of the logarithms: finite
    # where both gates underflow.
    logit = jax.nn.softplus(-i) - jax.nn.softplus(-f)
    return jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit) * candidate


class MinLSTMCell(InputGatesCell):
    """minLSTM: an LSTM whose gates see the input alone.

    ``f_t, i_t, n_t = split(x_t W + b)``, ``s_t = sigmoid(f_t) + sigmoid(i_t)``,
    ``h_t = sigmoid(f_t) / s_t h_{t-1} + sigmoid(i_t) / s_t n_t``

    Source: Feng et al., "Were RNNs all we needed?", arXiv 2410.01201, section 3.2.
    """

    name: ClassVar = "min_lstm"
    Params: ClassVar = MinLSTMParams
    gates: ClassVar = 3
    recurrence: ClassVar = Linear(_coefficients)


def min_lstm_cell(
    params: MinLSTMParams,
    carry: Float[Array, "batch features"],
    x: Float[Array, "batch inputs"],
) -> tuple[Float[Array, "batch features"], Float[Array, "batch features"]]:
    """One step of a minLSTM; see `min_lstm` and `seqjax.ops.step`.

    Example:
        >>> params = MinLSTMParams(jnp.array([[1.0, 1.0, 3.0]]))
        >>> carry, y = min_lstm_cell(params, jnp.ones((1, 1)), jnp.ones((1, 1)))
        >>> y.tolist()
        [[2.0]]
    """
    return step(MinLSTMCell(), params, carry, x)


def min_lstm(
    params: MinLSTMParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: Float[Array, "batch features"] | None = None,
    **options: Unpack[Options],
) -> Any:
    """A minLSTM over whole sequences.

    ``f_t, i_t, n_t = split(x_t W + b)``, ``s_t = sigmoid(f_t) + sigmoid(i_t)``,
    ``h_t = sigmoid(f_t) / s_t h_{t-1} + sigmoid(i_t) / s_t n_t``

    `x` [batch, time, inputs] gives ``y`` [batch, time, features]; arguments, options, results and
    errors are those of `seqjax.ops.run`.

    Example:
        >>> params = MinLSTMParams(jax.random.normal(jax.random.key(0), (3, 3 * 4)))
        >>> min_lstm(params, jnp.ones((2, 5, 3))).shape
        (2, 5, 4)
    """
    return run(MinLSTMCell(), params, x, initial_carry, **options)
