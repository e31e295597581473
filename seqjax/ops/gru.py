"""Gated recurrent units, in both published variants."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax.ops.cell import Cell, Derivative
from seqjax.ops.engine import Implementation, Weights, recurrence, scan_steps
from seqjax.ops.layout import carry_dtype, dot, project, vary_alike, widen
from seqjax.ops.mesh import over_batch
from seqjax.ops.pieces import in_pieces
from seqjax.ops.sequence import check_carry, check_shapes, over_sequence


class GRUParams(NamedTuple):
    """Parameters of a GRU layer, gates packed in the order r, z, n.

    Attributes:
        kernel: [inputs, 3 * features]
        recurrent_kernel: [features, 3 * features]
        bias: [3 * features], or None
        recurrent_bias: [3 * features], or None; only with ``reset_after=True``,
            where the part for n stands inside the reset gate's product.
    """

    kernel: Float[Array, "inputs gates"]
    recurrent_kernel: Float[Array, "features gates"]
    bias: Float[Array, " gates"] | None = None
    recurrent_bias: Float[Array, " gates"] | None = None


def _step(recurrent_bias_n: Array | None, h: Array, gates: tuple[Array, ...]) -> Array:
    return _forward(recurrent_bias_n, h, gates)[0]


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


# The reset-after variant only: the original multiplies by U a second time, after
# the reset gate, so it is no elementwise function of its gates.
ELEMENTWISE_GRU = Cell(step=_step, summed=2, split=1, derivative=Derivative(_forward, _backward))


def engine_weights(params: GRUParams) -> tuple[Weights, Array | None]:
    """Kernels and bias for the engine, and the cell's own part of the recurrent bias [H].

    The gates r and z see only the sum of the two biases.
    """
    width, bias, recurrent_bias = params.recurrent_kernel.shape[0], params.bias, None
    if params.recurrent_bias is not None:
        recurrent_bias = params.recurrent_bias[2 * width :]
        outside = params.recurrent_bias.at[2 * width :].set(0)
        bias = outside if bias is None else bias + outside
    return Weights(params.kernel, params.recurrent_kernel, bias), recurrent_bias


def _loop(
    params: GRUParams,
    x: Array,
    carry: Array,
    mask: Array | None,
    *,
    reset_after: bool,
    recurrent_mask: ArrayLike | None = None,
    reverse: bool = False,
    unroll: int = 1,
    chunk_size: int | None = None,
    truncation: int | None = None,
    implementation: Implementation | None = None,
) -> tuple[Array, Array]:
    width = params.recurrent_kernel.shape[0]
    if reset_after:
        weights, recurrent_bias_n = engine_weights(params)
        if recurrent_bias_n is not None:
            recurrent_bias_n = recurrent_bias_n.astype(carry.dtype)
        return recurrence(
            ELEMENTWISE_GRU,
            recurrent_bias_n,
            weights,
            x,
            carry,
            mask,
            recurrent_mask=recurrent_mask,
            reverse=reverse,
            unroll=unroll,
            chunk_size=chunk_size,
            truncation=truncation,
            implementation=implementation,
        )

    if recurrent_mask is not None:
        recurrent_mask = lax.stop_gradient(jnp.asarray(recurrent_mask, carry.dtype))

    def whole(*arguments: Any) -> tuple[Array, Array]:
        params, x, carry, mask, recurrent_mask = vary_alike(arguments)
        narrow = params.recurrent_kernel.dtype
        wide = widen(params.recurrent_kernel, carry.dtype)

        def step(h: Array, gates: list[Array]) -> Array:
            u_rz, u_n = jnp.split(wide.astype(narrow), [2 * width], axis=-1)
            z_r, z_z, z_n = gates
            seen = h if recurrent_mask is None else h * recurrent_mask
            h_r, h_z = jnp.split(dot(seen, u_rz, h.dtype), 2, axis=-1)
            r, z = jax.nn.sigmoid(z_r + h_r), jax.nn.sigmoid(z_z + h_z)
            return (1 - z) * jnp.tanh(z_n + dot(r * seen, u_n, h.dtype)) + z * h

        def piece(carry: Array, inputs: tuple[Array, Array | None]) -> tuple[Array, Array]:
            x, mask = inputs
            # Three arrays: gates sliced out of one inside the loop defeat vectorisation.
            z = jnp.split(project(x, params.kernel, params.bias, carry.dtype), 3, axis=-1)
            return scan_steps(step, lambda h: h, z, carry, mask, reverse=reverse, unroll=unroll)

        return in_pieces(
            piece, carry, (x, mask), chunk_size=chunk_size, truncation=truncation, reverse=reverse
        )

    return over_batch(
        whole, params, x, carry, mask, recurrent_mask, axes=(None, 1, 0, 1, 0), out_axes=(0, 1)
    )


def _check(op: str, params: GRUParams, x: Array, reset_after: bool, ndim: int) -> None:
    check_shapes(op, params, x, 3, ndim)
    if params.recurrent_bias is not None and not reset_after:
        raise ValueError(
            f"{op}: recurrent_bias is part of the reset_after=True variant;"
            " pass recurrent_bias=None (add it to bias) for the original GRU."
        )


def gru_cell(
    params: GRUParams,
    carry: Float[Array, "batch features"],
    x: Float[Array, "batch inputs"],
    *,
    reset_after: bool = True,
) -> tuple[Float[Array, "batch features"], Float[Array, "batch features"]]:
    """One step of a GRU.

    ``r, z = sigmoid(x W_rz + b_rz + h U_rz)``; with `reset_after`
    ``n = tanh(x W_n + b_n + r (h U_n + c_n))``, originally
    ``n = tanh(x W_n + b_n + (r h) U_n)``; ``h' = (1 - z) n + z h``

    Args:
        params: the layer's parameters.
        carry: ``h`` before the step.
        x: the input at this step.
        reset_after: apply the reset gate after the product with ``U`` (Keras's
            default, cuDNN, PyTorch) or before it (the original).

    Returns:
        ``(carry, y)``, both ``h'``; ``y`` in the dtype of input and kernel.

    Raises:
        ValueError: where shapes do not fit each other.

    Example:
        >>> import jax.numpy as jnp
        >>> params = GRUParams(jnp.zeros((1, 6)), jnp.zeros((2, 6)))
        >>> carry, y = gru_cell(params, jnp.ones((1, 2)), jnp.zeros((1, 1)))
        >>> y.tolist()
        [[0.5, 0.5]]

    Source: Cho et al., arXiv 1406.1078, 2014 (the original); Chung et al., arXiv
    1412.3555, 2014.
    """
    _check("gru_cell", params, x, reset_after, ndim=2)
    check_carry("gru_cell", carry, x.shape[0], params.recurrent_kernel.shape[0])
    carry = carry.astype(carry_dtype(x, params.kernel))
    carry, y = _loop(
        params, x[None], carry, None, reset_after=reset_after, implementation="autodiff"
    )
    return carry, y[0].astype(jnp.result_type(x, params.kernel))


def gru(
    params: GRUParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: Float[Array, "batch features"] | None = None,
    *,
    reset_after: bool = True,
    recurrent_mask: Float[ArrayLike, "batch features"] | None = None,
    seq_lengths: Int[ArrayLike, " batch"] | None = None,
    return_carry: bool = False,
    reverse: bool = False,
    keep_order: bool = False,
    time_major: bool = False,
    unroll: int = 1,
    chunk_size: int | None = None,
    truncation: int | None = None,
    implementation: Implementation | None = None,
) -> Any:
    """A GRU over whole sequences.

    ``r, z = sigmoid(x_t W_rz + b_rz + h U_rz)``; with `reset_after`
    ``n = tanh(x_t W_n + b_n + r (h U_n + c_n))``, originally
    ``n = tanh(x_t W_n + b_n + (r h) U_n)``; ``h_t = (1 - z) n + z h``, with
    ``h = h_{t-1}``

    Args:
        params: the layer's parameters.
        x: inputs [batch, time, inputs] ([time, batch, inputs] if `time_major`).
        initial_carry: ``h`` before the first step; zeros by default.
        reset_after: apply the reset gate after the product with ``U`` (Keras's
            default, cuDNN, PyTorch) or before it (the original; always
            differentiated by JAX).
        recurrent_mask: [batch, features], multiplied with ``h`` in the product with ``U``,
            the same at every step: recurrent dropout (Gal and Ghahramani, arXiv
            1512.05287). It gets no gradient.
        seq_lengths: number of valid steps of each right-padded sequence. Outputs
            after the end are zero; the carry is the one at the sequence's own end.
        return_carry: return ``(carry, y)`` in place of ``y``.
        reverse: run from each sequence's last step to its first.
        keep_order: with `reverse`, return outputs in the order of the inputs
            rather than in the order of computation.
        time_major: x and y are [time, batch, ...].
        unroll: steps per loop iteration, as in `jax.lax.scan`.
        chunk_size: recompute the backward pass in chunks of so many steps
            (memory grows as about ``time / chunk_size + chunk_size``).
        truncation: let the gradient pass only within groups of so many steps, counted
            from the loop's first: truncated back-propagation through time.
        implementation: None (best), "scan" (hand-written backward pass) or
            "autodiff" (forward-mode differentiation works).

    Returns:
        ``y`` [batch, time, features] in the dtype of input and kernel, or
        ``(carry, y)`` with ``carry`` [batch, features], float32 or wider.

    Raises:
        ValueError: where shapes do not fit each other.

    Example:
        >>> import jax
        >>> keys = jax.random.split(jax.random.key(0))
        >>> params = GRUParams(
        ...     jax.random.normal(keys[0], (3, 12)), jax.random.normal(keys[1], (4, 12))
        ... )
        >>> gru(params, jax.numpy.ones((2, 5, 3)), reset_after=False).shape
        (2, 5, 4)

    Source: Cho et al., arXiv 1406.1078, 2014 (the original); Chung et al., arXiv
    1412.3555, 2014.
    """
    _check("gru", params, x, reset_after, ndim=3)
    dtype = carry_dtype(x, params.kernel)
    batch, width = x.shape[1 if time_major else 0], params.recurrent_kernel.shape[0]
    carry = jnp.zeros((batch, width), dtype) if initial_carry is None else initial_carry

    check_carry("gru", carry, batch, width)
    check_carry("gru", recurrent_mask, batch, width, what="recurrent_mask")

    def loop(x: Array, mask: Array | None):
        return _loop(
            params,
            x,
            carry.astype(dtype),
            mask,
            reset_after=reset_after,
            recurrent_mask=recurrent_mask,
            reverse=reverse,
            unroll=unroll,
            chunk_size=chunk_size,
            truncation=truncation,
            implementation=implementation,
        )

    return over_sequence(
        loop,
        x,
        seq_lengths=seq_lengths,
        return_carry=return_carry,
        reverse=reverse,
        keep_order=keep_order,
        time_major=time_major,
        dtype=jnp.result_type(x, params.kernel),
    )
