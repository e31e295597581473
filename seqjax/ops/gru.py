"""Gated recurrent units, in both published variants."""

import dataclasses
from typing import Any, ClassVar, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers
from jaxtyping import Float

from seqjax.ops.cell import (
    Declare,
    Derivative,
    Elementwise,
    Form,
    Peer,
    Steps,
    Weights,
)
from seqjax.ops.layout import project
from seqjax.ops.options import Options
from seqjax.ops.recurrent_kernel import KernelCell, product, recurrent_of
from seqjax.ops.sequence import run, step

__all__ = ["GRUCell", "GRUParams", "gru", "gru_cell"]


class GRUParams(NamedTuple):
    """Parameters of a GRU layer, gates packed in the order r, z, n.

    Attributes:
        kernel: [inputs, 3 * features]
        recurrent_kernel: [features, 3 * features], or [3 * features] where it is diagonal
        bias: [3 * features], or None
        recurrent_bias: [3 * features], or None; only with ``reset_after=True``,
            where the part for n stands inside the reset gate's product.
    """

    kernel: Float[Array, "inputs gates"]
    recurrent_kernel: Float[Array, "features gates"] | Float[Array, " gates"]
    bias: Float[Array, " gates"] | None = None
    recurrent_bias: Float[Array, " gates"] | None = None


# -- the reset gate after the product with U ------------------------------------


def _forward(
    recurrent_bias_n: Array | None, h: Array, gates: tuple[Array, ...]
) -> tuple[Array, tuple[Array, ...]]:
    r, z = jax.nn.sigmoid(gates[0]), jax.nn.sigmoid(gates[1])
    n_recurrent = gates[3]
    if recurrent_bias_n is not None:
        n_recurrent = n_recurrent + recurrent_bias_n[None, :]
    n = jnp.tanh(gates[2] + r * n_recurrent)
    return (1 - z) * n + z * h, (r, z, n, n_recurrent)


def _backward(
    recurrent_bias_n: Array | None, previous: Array, saved: tuple[Array, ...], d_h: Array
) -> tuple[Array | None, Array, tuple[Array, ...]]:
    r, z, n, n_recurrent = saved
    d_n = d_h * (1 - z) * (1 - n**2)
    d_n_recurrent = d_n * r
    d_gates = (
        d_n * n_recurrent * r * (1 - r),
        d_h * (previous - n) * z * (1 - z),
        d_n,
        d_n_recurrent,
    )
    d_bias = None if recurrent_bias_n is None else jnp.sum(d_n_recurrent, axis=0)
    return d_bias, d_h * z, d_gates


_RESET_AFTER = Elementwise(Derivative(_forward, _backward), summed=2, split=1)


# -- the original: no elementwise function of its gates, as U stands within the step ----


def _original_inputs(params: GRUParams, x: Array, dtype: Any) -> list[Array]:
    # Three arrays: gates sliced out of one inside the loop defeat vectorisation.
    return jnp.split(project(x, params.kernel, params.bias, dtype), 3, axis=-1)


def _original_step(
    params: GRUParams, h: Array, gates: list[Array], recurrent_mask: Array | None
) -> Array:
    u_rz, u_n = jnp.split(params.recurrent_kernel, [2 * h.shape[-1]], axis=-1)
    z_r, z_z, z_n = gates
    seen = h if recurrent_mask is None else h * recurrent_mask
    h_r, h_z = jnp.split(product(seen, u_rz, h.dtype), 2, axis=-1)
    r, z = jax.nn.sigmoid(z_r + h_r), jax.nn.sigmoid(z_z + h_z)
    return (1 - z) * jnp.tanh(z_n + product(r * seen, u_n, h.dtype)) + z * h


_ORIGINAL = Steps(_original_inputs, _original_step)


@dataclasses.dataclass(frozen=True)
class GRUCell(KernelCell):
    """Gated recurrent unit.

    ``r, z = sigmoid(x_t W_rz + b_rz + h U_rz)``; with `reset_after`
    ``n = tanh(x_t W_n + b_n + r (h U_n + c_n))``, originally
    ``n = tanh(x_t W_n + b_n + (r h) U_n)``; ``h_t = (1 - z) n + z h``, with
    ``h = h_{t-1}``

    Attributes:
        reset_after: apply the reset gate after the product with ``U``, with two biases
            (Keras's default, cuDNN, PyTorch); otherwise before it, with one (the
            original, which JAX differentiates).
        recurrent: "full" or "diagonal"; see `KernelCell`.

    Source: Cho et al., arXiv 1406.1078, 2014 (the original); Chung et al., arXiv
    1412.3555, 2014; initialisers after Keras.
    """

    _: dataclasses.KW_ONLY
    reset_after: bool = True

    name: ClassVar = "gru"
    Params: ClassVar = GRUParams
    gates: ClassVar = 3
    keras: ClassVar = Peer("GRU", (1, 0, 2))
    torch: ClassVar = Peer("GRU", (0, 1, 2))

    @property
    def form(self) -> Form:
        """Elementwise with `reset_after`."""
        return self._with_kernel(_RESET_AFTER if self.reset_after else _ORIGINAL)

    def parameters(self, declare: Declare, inputs: int, features: int) -> GRUParams:
        """Kernel, recurrent kernel, bias, and with `reset_after` a recurrent bias."""
        params: GRUParams = super().parameters(declare, inputs, features)
        if not self.reset_after:
            return params
        more = declare("recurrent_bias", (3 * features,), initializers.zeros)
        return params._replace(recurrent_bias=more)

    def weights(self, params: GRUParams, dtype: Any) -> tuple[Weights, Array | None]:
        """The cell's own is its part of the recurrent bias [H], that of n.

        The gates r and z see only the sum of the two biases.
        """
        width, bias, recurrent_bias = self.features(params), params.bias, None
        if params.recurrent_bias is not None:
            recurrent_bias = params.recurrent_bias[2 * width :].astype(dtype)
            outside = jnp.asarray(params.recurrent_bias).at[2 * width :].set(0)
            bias = outside if bias is None else bias + outside
        return Weights(params.kernel, params.recurrent_kernel, bias), recurrent_bias


def gru_cell(
    params: GRUParams,
    carry: Float[Array, "batch features"],
    x: Float[Array, "batch inputs"],
    *,
    reset_after: bool = True,
) -> tuple[Float[Array, "batch features"], Float[Array, "batch features"]]:
    """One step of a GRU; see `gru` and `seqjax.ops.step`.

    Example:
        >>> params = GRUParams(jnp.zeros((1, 6)), jnp.zeros((2, 6)))
        >>> carry, y = gru_cell(params, jnp.ones((1, 2)), jnp.zeros((1, 1)))
        >>> y.tolist()
        [[0.5, 0.5]]
    """
    cell = GRUCell(reset_after=reset_after, recurrent=recurrent_of(params))
    return step(cell, params, carry, x)


def gru(
    params: GRUParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: Float[Array, "batch features"] | None = None,
    *,
    reset_after: bool = True,
    **options: Unpack[Options],
) -> Any:
    """A GRU over whole sequences.

    ``r, z = sigmoid(x_t W_rz + b_rz + h U_rz)``; with `reset_after`
    ``n = tanh(x_t W_n + b_n + r (h U_n + c_n))``, originally
    ``n = tanh(x_t W_n + b_n + (r h) U_n)``; ``h_t = (1 - z) n + z h``, with
    ``h = h_{t-1}``

    `x` [batch, time, inputs] gives ``y`` [batch, time, features]; arguments, options, results and
    errors are those of `seqjax.ops.run`, `reset_after` that of `GRUCell`.

    Example:
        >>> keys = jax.random.split(jax.random.key(0))
        >>> params = GRUParams(
        ...     jax.random.normal(keys[0], (3, 12)), jax.random.normal(keys[1], (4, 12))
        ... )
        >>> gru(params, jnp.ones((2, 5, 3)), reset_after=False).shape
        (2, 5, 4)
    """
    cell = GRUCell(reset_after=reset_after, recurrent=recurrent_of(params))
    return run(cell, params, x, initial_carry, **options)
