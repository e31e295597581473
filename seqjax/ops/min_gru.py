"""minGRU: a GRU whose gate sees the input alone, so that time runs in parallel.

What a gated network loses when no gate sees ``h_{t-1}``: it becomes the linear
recurrence ``h_t = a_t h_{t-1} + b_t`` with ``a_t`` and ``b_t`` made of ``x_t``.
"""

from typing import Any, ClassVar, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers
from jaxtyping import Float

from seqjax.ops.cell import Cell, Declare, Linear, glorot_uniform
from seqjax.ops.layout import project
from seqjax.ops.options import Options
from seqjax.ops.sequence import run, step

__all__ = ["MinGRUCell", "MinGRUParams", "min_gru", "min_gru_cell"]


class MinGRUParams(NamedTuple):
    """Parameters of a minGRU layer; gates are packed z, h.

    Attributes:
        kernel: [inputs, 2 * features]
        bias: [2 * features], or None
    """

    kernel: Float[Array, "inputs gates_features"]
    bias: Float[Array, " gates_features"] | None = None


def _coefficients(params: MinGRUParams, x: Array, dtype: Any) -> tuple[Array, Array]:
    z, candidate = jnp.split(project(x, params.kernel, params.bias, dtype), 2, axis=-1)
    return jax.nn.sigmoid(-z), jax.nn.sigmoid(z) * candidate


class InputGatesCell(Cell):
    """A cell of a kernel and a bias alone: no gate sees the state."""

    def parameters(self, declare: Declare, inputs: int, features: int) -> Any:
        """Kernel and bias."""
        width = self.gates * features
        return self.Params(
            declare("kernel", (inputs, width), glorot_uniform),
            declare("bias", (width,), initializers.zeros),
        )

    def features(self, params: Any) -> int:
        """Out of the kernel."""
        shape = params.kernel.shape
        if len(shape) != 2 or shape[1] % self.gates:
            raise ValueError(
                f"{self.name}: kernel must be [inputs, {self.gates} * features], but its shape is"
                f" {shape}."
            )
        return shape[1] // self.gates


class MinGRUCell(InputGatesCell):
    """minGRU: a GRU whose gate sees the input alone.

    ``z_t, n_t = split(x_t W + b)``, ``h_t = (1 - sigmoid(z_t)) h_{t-1} + sigmoid(z_t) n_t``

    Source: Feng et al., "Were RNNs all we needed?", arXiv 2410.01201, section 3.1.
    """

    name: ClassVar = "min_gru"
    Params: ClassVar = MinGRUParams
    gates: ClassVar = 2
    recurrence: ClassVar = Linear(_coefficients)


def min_gru_cell(
    params: MinGRUParams,
    carry: Float[Array, "batch features"],
    x: Float[Array, "batch inputs"],
) -> tuple[Float[Array, "batch features"], Float[Array, "batch features"]]:
    """One step of a minGRU; see `min_gru` and `seqjax.ops.step`.

    Example:
        >>> params = MinGRUParams(jnp.array([[0.0, 3.0]]))
        >>> carry, y = min_gru_cell(params, jnp.ones((1, 1)), jnp.ones((1, 1)))
        >>> y.tolist()
        [[2.0]]
    """
    return step(MinGRUCell(), params, carry, x)


def min_gru(
    params: MinGRUParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: Float[Array, "batch features"] | None = None,
    **options: Unpack[Options],
) -> Any:
    """A minGRU over whole sequences.

    ``z_t, n_t = split(x_t W + b)``, ``h_t = (1 - sigmoid(z_t)) h_{t-1} + sigmoid(z_t) n_t``

    `x` [batch, time, inputs] gives ``y`` [batch, time, features]; arguments, options, results and
    errors are those of `seqjax.ops.run`.

    Example:
        >>> params = MinGRUParams(jax.random.normal(jax.random.key(0), (3, 2 * 4)))
        >>> min_gru(params, jnp.ones((2, 5, 3))).shape
        (2, 5, 4)
    """
    return run(MinGRUCell(), params, x, initial_carry, **options)
