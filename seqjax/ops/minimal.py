"""minGRU and minLSTM: gates that see the input alone, so that time runs in parallel.

What a gated network loses when no gate sees ``h_{t-1}``: it becomes the linear
recurrence ``h_t = a_t h_{t-1} + b_t`` with ``a_t`` and ``b_t`` made of ``x_t``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax.ops.layout import carry_dtype, project
from seqjax.ops.linear import LinearImplementation, linear_loop
from seqjax.ops.sequence import check_carry, over_sequence


class MinGRUParams(NamedTuple):
    """Parameters of a minGRU layer; gates are packed z, h.

    Attributes:
        kernel: [inputs, 2 * features]
        bias: [2 * features], or None
    """

    kernel: Float[Array, "inputs gates_features"]
    bias: Float[Array, " gates_features"] | None = None


class MinLSTMParams(NamedTuple):
    """Parameters of a minLSTM layer; gates are packed f, i, h.

    Attributes:
        kernel: [inputs, 3 * features]
        bias: [3 * features], or None
    """

    kernel: Float[Array, "inputs gates_features"]
    bias: Float[Array, " gates_features"] | None = None


class _Kind(NamedTuple):
    name: str
    gates: int
    coefficients: Callable[..., tuple[Array, Array]]  # the gates' pre-activations -> (a, b)


def _min_gru(z: Array, candidate: Array) -> tuple[Array, Array]:
    return jax.nn.sigmoid(-z), jax.nn.sigmoid(z) * candidate


def _min_lstm(f: Array, i: Array, candidate: Array) -> tuple[Array, Array]:
    # sigmoid(f) / (sigmoid(f) + sigmoid(i)) by the difference of the logarithms: finite
    # where both gates underflow.
    logit = jax.nn.softplus(-i) - jax.nn.softplus(-f)
    return jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit) * candidate


_MIN_GRU, _MIN_LSTM = _Kind("min_gru", 2, _min_gru), _Kind("min_lstm", 3, _min_lstm)


def min_gru_cell(
    params: MinGRUParams,
    carry: Float[Array, "batch features"],
    x: Float[Array, "batch inputs"],
) -> tuple[Float[Array, "batch features"], Float[Array, "batch features"]]:
    """One step of a minGRU.

    ``z, n = split(x W + b)``, ``h' = (1 - sigmoid(z)) h + sigmoid(z) n``

    Args:
        params: the layer's parameters.
        carry: ``h`` before the step.
        x: the input at this step.

    Returns:
        ``(carry, y)``, both ``h'``; ``y`` in the dtype of input and kernel.

    Raises:
        ValueError: where shapes do not fit each other.

    Example:
        >>> import jax.numpy as jnp
        >>> params = MinGRUParams(jnp.array([[0.0, 3.0]]))
        >>> carry, y = min_gru_cell(params, jnp.ones((1, 1)), jnp.ones((1, 1)))
        >>> y.tolist()
        [[2.0]]

    Source: Feng et al., "Were RNNs all we needed?", arXiv 2410.01201, section 3.1.
    """
    return _cell(_MIN_GRU, params, carry, x)


def min_gru(
    params: MinGRUParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: Float[Array, "batch features"] | None = None,
    *,
    seq_lengths: Int[ArrayLike, " batch"] | None = None,
    return_carry: bool = False,
    reverse: bool = False,
    keep_order: bool = False,
    time_major: bool = False,
    implementation: LinearImplementation | None = None,
) -> Any:
    """A minGRU over whole sequences.

    ``z_t, n_t = split(x_t W + b)``, ``h_t = (1 - sigmoid(z_t)) h_{t-1} + sigmoid(z_t) n_t``

    Args:
        params: the layer's parameters.
        x: inputs [batch, time, inputs] ([time, batch, inputs] if `time_major`).
        initial_carry: ``h`` before the first step; zeros by default.
        seq_lengths: number of valid steps of each right-padded sequence. Outputs
            after the end are zero; the carry is the one at the sequence's own end.
        return_carry: return ``(carry, y)`` in place of ``y``.
        reverse: run from each sequence's last step to its first.
        keep_order: with `reverse`, return outputs in the order of the inputs
            rather than in the order of computation.
        time_major: x and y are [time, batch, ...].
        implementation: None (best), "scan", "associative" or "autodiff"; see
            `linear_recurrence`.

    Returns:
        ``y`` [batch, time, features] in the dtype of input and kernel, or
        ``(carry, y)`` with ``carry`` [batch, features], float32 or wider.

    Raises:
        ValueError: where shapes do not fit each other, or for an unknown implementation.

    Example:
        >>> import jax
        >>> params = MinGRUParams(jax.random.normal(jax.random.key(0), (3, 2 * 4)))
        >>> min_gru(params, jax.numpy.ones((2, 5, 3))).shape
        (2, 5, 4)

    Source: Feng et al., "Were RNNs all we needed?", arXiv 2410.01201, section 3.1.
    """
    return _sequence(
        _MIN_GRU,
        params,
        x,
        initial_carry,
        seq_lengths=seq_lengths,
        return_carry=return_carry,
        reverse=reverse,
        keep_order=keep_order,
        time_major=time_major,
        implementation=implementation,
    )


def min_lstm_cell(
    params: MinLSTMParams,
    carry: Float[Array, "batch features"],
    x: Float[Array, "batch inputs"],
) -> tuple[Float[Array, "batch features"], Float[Array, "batch features"]]:
    """One step of a minLSTM.

    ``f, i, n = split(x W + b)``, ``s = sigmoid(f) + sigmoid(i)``,
    ``h' = sigmoid(f) / s h + sigmoid(i) / s n``

    Args:
        params: the layer's parameters.
        carry: ``h`` before the step.
        x: the input at this step.

    Returns:
        ``(carry, y)``, both ``h'``; ``y`` in the dtype of input and kernel.

    Raises:
        ValueError: where shapes do not fit each other.

    Example:
        >>> import jax.numpy as jnp
        >>> params = MinLSTMParams(jnp.array([[1.0, 1.0, 3.0]]))
        >>> carry, y = min_lstm_cell(params, jnp.ones((1, 1)), jnp.ones((1, 1)))
        >>> y.tolist()
        [[2.0]]

    Source: Feng et al., "Were RNNs all we needed?", arXiv 2410.01201, section 3.2.
    """
    return _cell(_MIN_LSTM, params, carry, x)


def min_lstm(
    params: MinLSTMParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: Float[Array, "batch features"] | None = None,
    *,
    seq_lengths: Int[ArrayLike, " batch"] | None = None,
    return_carry: bool = False,
    reverse: bool = False,
    keep_order: bool = False,
    time_major: bool = False,
    implementation: LinearImplementation | None = None,
) -> Any:
    """A minLSTM over whole sequences.

    ``f_t, i_t, n_t = split(x_t W + b)``, ``s_t = sigmoid(f_t) + sigmoid(i_t)``,
    ``h_t = sigmoid(f_t) / s_t h_{t-1} + sigmoid(i_t) / s_t n_t``

    Args:
        params: the layer's parameters.
        x: inputs [batch, time, inputs] ([time, batch, inputs] if `time_major`).
        initial_carry: ``h`` before the first step; zeros by default.
        seq_lengths: number of valid steps of each right-padded sequence. Outputs
            after the end are zero; the carry is the one at the sequence's own end.
        return_carry: return ``(carry, y)`` in place of ``y``.
        reverse: run from each sequence's last step to its first.
        keep_order: with `reverse`, return outputs in the order of the inputs
            rather than in the order of computation.
        time_major: x and y are [time, batch, ...].
        implementation: None (best), "scan", "associative" or "autodiff"; see
            `linear_recurrence`.

    Returns:
        ``y`` [batch, time, features] in the dtype of input and kernel, or
        ``(carry, y)`` with ``carry`` [batch, features], float32 or wider.

    Raises:
        ValueError: where shapes do not fit each other, or for an unknown implementation.

    Example:
        >>> import jax
        >>> params = MinLSTMParams(jax.random.normal(jax.random.key(0), (3, 3 * 4)))
        >>> min_lstm(params, jax.numpy.ones((2, 5, 3))).shape
        (2, 5, 4)

    Source: Feng et al., "Were RNNs all we needed?", arXiv 2410.01201, section 3.2.
    """
    return _sequence(
        _MIN_LSTM,
        params,
        x,
        initial_carry,
        seq_lengths=seq_lengths,
        return_carry=return_carry,
        reverse=reverse,
        keep_order=keep_order,
        time_major=time_major,
        implementation=implementation,
    )


def _cell(kind: _Kind, params: Any, carry: Array, x: Array) -> tuple[Array, Array]:
    width = _check(f"{kind.name}_cell", kind.gates, params, x, ndim=2)
    check_carry(f"{kind.name}_cell", carry, x.shape[0], width)
    a, b = _coefficients(kind, params, x)
    carry = a * carry.astype(a.dtype) + b
    return carry, carry.astype(jnp.result_type(x, params.kernel))


def _sequence(
    kind: _Kind,
    params: Any,
    x: Array,
    initial_carry: Array | None,
    *,
    implementation: LinearImplementation | None,
    **options: Any,
) -> Any:
    width = _check(kind.name, kind.gates, params, x, ndim=3)
    dtype = carry_dtype(x, params.kernel)
    batch = x.shape[1 if options["time_major"] else 0]
    carry = jnp.zeros((batch, width), dtype) if initial_carry is None else initial_carry
    check_carry(kind.name, carry, batch, width)

    def loop(x: Array, mask: Array | None) -> tuple[Array, Array]:
        a, b = _coefficients(kind, params, x)
        direction = {"reverse": options["reverse"], "implementation": implementation}
        return linear_loop(a, b, carry.astype(dtype), mask, **direction)

    return over_sequence(loop, x, dtype=jnp.result_type(x, params.kernel), **options)


def _coefficients(kind: _Kind, params: Any, x: Array) -> tuple[Array, Array]:
    dtype = carry_dtype(x, params.kernel)
    gates = project(x, params.kernel, params.bias, dtype)
    return kind.coefficients(*jnp.split(gates, kind.gates, axis=-1))


def _check(op: str, gates: int, params: Any, x: Array, ndim: int) -> int:
    """The width; raise ValueError where inputs and parameters do not fit each other."""
    if x.ndim != ndim:
        dims = {2: "[batch, features]", 3: "[batch, time, features]"}[ndim]
        raise ValueError(f"{op}: x must be {dims}, but its shape is {x.shape}.")
    inputs, packed = params.kernel.shape
    if inputs != x.shape[-1] or packed % gates:
        raise ValueError(
            f"{op}: kernel must be [{x.shape[-1]}, {gates} * features] for x with"
            f" {x.shape[-1]} features, but its shape is {params.kernel.shape}."
        )
    if params.bias is not None and params.bias.shape != (packed,):
        raise ValueError(f"{op}: bias must be [{packed}], but its shape is {params.bias.shape}.")
    return packed // gates
