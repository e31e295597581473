"""Long short-term memory."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax.ops.cell import Cell, Derivative
from seqjax.ops.engine import Implementation, Weights, recurrence, single_step
from seqjax.ops.layout import carry_dtype
from seqjax.ops.sequence import check_carry, check_shapes, over_sequence


class LSTMParams(NamedTuple):
    """Parameters of an LSTM layer, gates packed in the order i, f, g, o.

    Attributes:
        kernel: [inputs, 4 * features]
        recurrent_kernel: [features, 4 * features]
        bias: [4 * features], or None
    """

    kernel: Float[Array, "inputs gates"]
    recurrent_kernel: Float[Array, "features gates"]
    bias: Float[Array, " gates"] | None = None


class LSTMCarry(NamedTuple):
    """An LSTM's state.

    Attributes:
        c: the cell state, [batch, features]
        h: the hidden state (the output), [batch, features]
    """

    c: Float[Array, "batch features"]
    h: Float[Array, "batch features"]


def _step(params: tuple[()], carry: LSTMCarry, gates: tuple[Array, ...]) -> LSTMCarry:
    return _forward(params, carry, gates)[0]


def _forward(
    params: tuple[()], carry: LSTMCarry, gates: tuple[Array, ...]
) -> tuple[LSTMCarry, tuple[Array, ...]]:
    i, f, o = (jax.nn.sigmoid(gates[k]) for k in (0, 1, 3))
    g = jnp.tanh(gates[2])
    c = f * carry.c + i * g
    return LSTMCarry(c, o * jnp.tanh(c)), (i, f, g, o)


def _backward(
    params: tuple[()], previous: LSTMCarry, saved: tuple[Array, ...], d_carry: LSTMCarry
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


# Its own derivative spares the backward pass four transcendental functions a step.
ELEMENTWISE_LSTM = Cell(
    step=_step,
    summed=4,
    hidden=lambda carry: carry.h,
    derivative=Derivative(_forward, _backward),
)


def lstm_cell(
    params: LSTMParams, carry: LSTMCarry, x: Float[Array, "batch inputs"]
) -> tuple[LSTMCarry, Float[Array, "batch features"]]:
    """One step of an LSTM.

    ``i, f, g, o = split(x W + b + h U)``,
    ``c' = sigmoid(f) c + sigmoid(i) tanh(g)``, ``h' = sigmoid(o) tanh(c')``

    Args:
        params: the layer's parameters.
        carry: the state before the step.
        x: the input at this step.

    Returns:
        ``(carry, y)``; ``y`` is ``h'`` in the dtype of input and kernel.

    Raises:
        ValueError: where shapes do not fit each other.

    Example:
        >>> import jax.numpy as jnp
        >>> params = LSTMParams(jnp.ones((1, 8)), jnp.zeros((2, 8)))
        >>> zeros = jnp.zeros((1, 2))
        >>> carry, y = lstm_cell(params, LSTMCarry(zeros, zeros), jnp.zeros((1, 1)))
        >>> carry.c.tolist()
        [[0.0, 0.0]]

    Source: Hochreiter and Schmidhuber, "Long short-term memory", Neural
    Computation 9, 1997; forget gate after Gers, Schmidhuber and Cummins, 2000.
    """
    check_shapes("lstm_cell", params, x, 4, ndim=2)
    check_carry("lstm_cell", carry, x.shape[0], params.recurrent_kernel.shape[0])
    dtype = carry_dtype(x, params.kernel)
    carry = jax.tree.map(lambda a: a.astype(dtype), carry)
    carry = single_step(ELEMENTWISE_LSTM, (), Weights(*params), x, carry)
    return carry, carry.h.astype(jnp.result_type(x, params.kernel))


def lstm(
    params: LSTMParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: LSTMCarry | None = None,
    *,
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
    """An LSTM over whole sequences.

    ``i, f, g, o = split(x_t W + b + h_{t-1} U)``,
    ``c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)``, ``h_t = sigmoid(o) tanh(c_t)``

    Args:
        params: the layer's parameters.
        x: inputs [batch, time, inputs] ([time, batch, inputs] if `time_major`).
        initial_carry: the state before the first step; zeros by default.
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
        ``(carry, y)`` with a carry of float32 or wider.

    Raises:
        ValueError: where shapes do not fit each other.

    Example:
        >>> import jax
        >>> keys = jax.random.split(jax.random.key(0))
        >>> params = LSTMParams(
        ...     jax.random.normal(keys[0], (3, 16)), jax.random.normal(keys[1], (4, 16))
        ... )
        >>> carry, y = lstm(params, jax.numpy.ones((2, 5, 3)), return_carry=True)
        >>> y.shape, carry.c.shape
        ((2, 5, 4), (2, 4))

    Source: Hochreiter and Schmidhuber, "Long short-term memory", Neural
    Computation 9, 1997; forget gate after Gers, Schmidhuber and Cummins, 2000.
    """
    check_shapes("lstm", params, x, 4, ndim=3)
    dtype = carry_dtype(x, params.kernel)
    batch, width = x.shape[1 if time_major else 0], params.recurrent_kernel.shape[0]
    zeros = jnp.zeros((batch, width), dtype)
    carry = LSTMCarry(zeros, zeros) if initial_carry is None else initial_carry

    check_carry("lstm", carry, batch, width)
    check_carry("lstm", recurrent_mask, batch, width, what="recurrent_mask")

    def loop(x: Array, mask: Array | None):
        return recurrence(
            ELEMENTWISE_LSTM,
            (),
            Weights(*params),
            x,
            jax.tree.map(lambda a: a.astype(dtype), carry),
            mask,
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
