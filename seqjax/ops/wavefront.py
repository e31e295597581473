"""Layers that are alike in one loop: layer l at step t beside layer l - 1 at step t + 1.

Layers one after another take as many loops, and a narrow layer's loop is spent on
starting its kernels. In a wavefront all layers of a turn read only what the turn before
left, so they are *one* cell, as wide as all of them::

    h = [h_0, h_1]      U = [[U_0, W_1],     W = [W_0, 0]     b = [b_0, b_1]
                             [0,   U_1]]

and the engine runs it as any other, a turn more for each layer above the first; a mask
holds a layer still before its first step and after its last. The zeros cost products, so
it pays for narrow layers only (`pays`).

Dimensions: T time, B batch, I input features, H features (width), K gates, L layers.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax.ops.cell import Cell
from seqjax.ops.engine import Weights, recurrence
from seqjax.ops.gru import ELEMENTWISE_GRU, GRUParams, engine_weights
from seqjax.ops.layout import carry_dtype
from seqjax.ops.lstm import ELEMENTWISE_LSTM, LSTMCarry, LSTMParams
from seqjax.ops.rnn import Activation, RNNParams, elementwise_rnn
from seqjax.ops.sequence import check_carry, check_shapes, over_sequence

_WIDEST = 48  # features of all layers together; measured, see docs/performance.md


def pays(features: int, layers: int) -> bool:
    """Whether a wavefront is measured to be the faster way on this platform."""
    return jax.default_backend() == "cpu" and layers > 1 and features * layers <= _WIDEST


def wavefront(
    layers: Sequence[RNNParams] | Sequence[LSTMParams] | Sequence[GRUParams],
    x: Float[Array, "batch _time inputs"],
    initial_carries: Sequence[Any] | None = None,
    *,
    activation: Activation = "tanh",
    seq_lengths: Int[ArrayLike, " batch"] | None = None,
    return_carry: bool = False,
) -> Any:
    """Recurrent layers of one kind and width, one upon the other, in a single loop.

    The same function as `rnn`, `lstm` or `gru` (``reset_after=True``) applied in turn.

    Args:
        layers: each layer's parameters, from the input upwards, without layer norm.
        x: inputs [batch, time, inputs].
        initial_carries: the state of each layer before its first step; zeros by default.
        activation: of simple layers.
        seq_lengths: number of valid steps of each right-padded sequence.
        return_carry: return ``(carries, y)`` in place of ``y``.

    Returns:
        The last layer's ``y`` [batch, time, features], or ``(carries, y)`` with a carry
        for each layer.

    Raises:
        ValueError: where shapes do not fit each other, dtypes differ, or a layer has a
            layer norm.

    Example:
        >>> from seqjax.ops import rnn
        >>> first = RNNParams(jnp.ones((1, 2)), jnp.eye(2))
        >>> second = RNNParams(jnp.eye(2), -jnp.eye(2))
        >>> x = jnp.ones((1, 3, 1))
        >>> together = wavefront([first, second], x)
        >>> bool(jnp.allclose(together, rnn(second, rnn(first, x)), atol=1e-6))
        True

    Source: Appleyard, Kocisky and Blunsom, "Optimizing performance of recurrent neural
    networks on GPUs", arXiv 1604.01946, section 3.3; as one cell here.
    """
    cell, gates = _cell_of(layers, activation)
    width, (batch, steps, inputs) = layers[0].recurrent_kernel.shape[0], x.shape
    for params, features in zip(layers, [inputs] + [width] * (len(layers) - 1), strict=True):
        check_shapes("wavefront", tuple(params)[:3], jnp.zeros((1, 1, features)), gates, ndim=3)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((x, list(layers)))}
    if len(dtypes) > 1:
        found = ", ".join(sorted(map(str, dtypes)))
        raise ValueError(f"wavefront: x and all parameters must have one dtype, not {found}.")
    dtype = carry_dtype(x)
    if initial_carries is None:
        zeros = jnp.zeros((batch, width), dtype)
        initial_carries = [LSTMCarry(zeros, zeros) if gates == 4 else zeros] * len(layers)
    check_carry("wavefront", initial_carries, batch, width)
    more = len(layers) - 1

    def together(*leaves: Array) -> Array:
        return jnp.concatenate([leaf.astype(dtype) for leaf in leaves], axis=-1)

    def loop(x: Array, mask: Array | None) -> tuple[Any, Array]:
        x = jnp.concatenate([x, jnp.zeros((more, *x.shape[1:]), x.dtype)])
        carries, h = recurrence(
            cell._replace(summed=cell.summed + 2 * cell.split, split=0),
            jax.tree.map(together, *(_own(params, dtype) for params in layers)),
            _weights(cell, [_plain(params) for params in layers], inputs),
            x,
            jax.tree.map(together, *initial_carries),
            _active(steps, len(layers), width, mask),
        )
        return carries, h[more:, :, more * width :]

    result = over_sequence(
        loop,
        x,
        seq_lengths=seq_lengths,
        return_carry=return_carry,
        reverse=False,
        keep_order=False,
        time_major=False,
        dtype=jnp.result_type(x, layers[0].kernel),
    )
    if not return_carry:
        return result
    carries, y = result
    slices = [slice(k * width, (k + 1) * width) for k in range(len(layers))]
    return tuple(jax.tree.map(lambda a, s=s: a[:, s], carries) for s in slices), y


def _cell_of(layers: Sequence[Any], activation: Activation) -> tuple[Cell, int]:
    first = layers[0]
    if any(type(params) is not type(first) for params in layers):
        raise ValueError("wavefront: all layers must be of one kind.")
    if isinstance(first, RNNParams):
        if any(params.layer_norm is not None for params in layers):
            raise ValueError("wavefront: a layer norm looks across its layer's features; none may.")
        return elementwise_rnn(activation), 1
    return (ELEMENTWISE_LSTM, 4) if isinstance(first, LSTMParams) else (ELEMENTWISE_GRU, 3)


def _plain(params: Any) -> Weights:
    return engine_weights(params)[0] if isinstance(params, GRUParams) else Weights(*params[:3])


def _own(params: Any, dtype: jnp.dtype) -> Any:
    """The cell's own parameters; zeros stand for a bias that a GRU lacks."""
    if not isinstance(params, GRUParams):
        return None if isinstance(params, RNNParams) else ()
    own = engine_weights(params)[1]
    return jnp.zeros(params.recurrent_kernel.shape[0], dtype) if own is None else own


def _weights(cell: Cell, layers: Sequence[Weights], inputs: int) -> Weights:
    """All layers' kernels as one, gate by gate: [gate, layer, feature] along the columns.

    A gate that sees its two parts apart becomes two: with zeros where the other part is.
    """
    width = layers[0].recurrent_kernel.shape[0]

    def columns(kernel: Array, *, recurrent: bool) -> Array:
        """[R, K*H] as [R, gates, H], the parts of split gates apart."""
        blocks = kernel.reshape(kernel.shape[0], cell.gates, width)
        summed, split = blocks[:, : cell.summed], blocks[:, cell.summed :]
        zeros = jnp.zeros_like(split)
        parts = (summed, zeros, split) if recurrent else (summed, split, zeros)
        return jnp.concatenate(parts, axis=1) if cell.split else blocks

    def across(blocks: dict[int, Array], rows: int) -> Array:
        """Blocks [R, gates, H] of some layers, zeros for the others, as [R, gates * L * H]."""
        empty = jnp.zeros((rows, cell.summed + 2 * cell.split, width), dtype)
        return jnp.stack([blocks.get(k, empty) for k in range(len(layers))], axis=2).reshape(
            rows, -1
        )

    dtype = layers[0].kernel.dtype
    rows = []
    for k, layer in enumerate(layers):
        blocks = {k: columns(layer.recurrent_kernel, recurrent=True)}
        if k + 1 < len(layers):
            blocks[k + 1] = columns(layers[k + 1].kernel, recurrent=False)
        rows.append(across(blocks, width))
    biases = {
        k: columns(layer.bias[None], recurrent=False)
        for k, layer in enumerate(layers)
        if layer.bias is not None
    }
    return Weights(
        kernel=across({0: columns(layers[0].kernel, recurrent=False)}, inputs),
        recurrent_kernel=jnp.concatenate(rows),
        bias=across(biases, 1)[0],
    )


def _active(steps: int, layers: int, width: int, mask: Array | None) -> Array:
    """[turns, 1 or B, L*H]: True where a layer has a step of its own to do."""
    if mask is None:
        mask = jnp.ones((steps, 1, 1), bool)
    late = [jnp.pad(mask, ((k, layers - 1 - k), (0, 0), (0, 0))) for k in range(layers)]
    return jnp.repeat(jnp.concatenate(late, axis=-1), width, axis=-1)
