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
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from seqjax.ops import engine
from seqjax.ops.cell import Cell, Elementwise, Loop, Params, Weights
from seqjax.ops.checks import check_input, check_params, checked_carry
from seqjax.ops.layout import carry_dtype, choices, compiled
from seqjax.ops.options import Options
from seqjax.ops.sequence import over_sequence


def pays(features: int, layers: int) -> bool:
    """Whether a wavefront is the faster way on this platform (`Choices.wavefront`)."""
    return layers > 1 and features * layers <= choices().wavefront


def wavefront(
    cell: Cell,
    layers: Sequence[Params],
    x: Float[Array, "batch _time inputs"],
    initial_carries: Sequence[Any] | None = None,
    **options: Unpack[Options],
) -> Any:
    """Recurrent layers of one kind and width, one upon the other, in a single loop.

    The same function as `seqjax.ops.run` applied in turn.

    Args:
        cell: of every layer; a function of its gates that does not look across features.
        layers: each layer's parameters, from the input upwards.
        x: inputs [batch, time, inputs].
        initial_carries: the state of each layer before its first step; zeros by default.
        **options: of `seqjax.ops.Options` seq_lengths, return_carry, mesh.

    Returns:
        The last layer's ``y`` [batch, time, features], or ``(carries, y)`` with a carry
        for each layer.

    Raises:
        ValueError: where shapes do not fit each other, dtypes differ, or a cell or option
            cannot run so.

    Example:
        >>> from seqjax import ops
        >>> first = ops.RNNParams(jnp.ones((1, 2)), jnp.eye(2))
        >>> second = ops.RNNParams(jnp.eye(2), -jnp.eye(2))
        >>> x = jnp.ones((1, 3, 1))
        >>> together = wavefront(ops.RNNCell(), [first, second], x)
        >>> bool(jnp.allclose(together, ops.rnn(second, ops.rnn(first, x)), atol=1e-6))
        True

    Source: Appleyard, Kocisky and Blunsom, "Optimizing performance of recurrent neural
    networks on GPUs", arXiv 1604.01946, section 3.3; as one cell here.
    """
    form, op = cell.form, "wavefront"
    if reason := refuses(cell):
        raise ValueError(f"{op}: {cell} cannot run so: {reason}.")
    if unknown := sorted(options.keys() - {"seq_lengths", "return_carry", "mesh"}):
        raise ValueError(f"{op} has no option {', '.join(unknown)}; run the layers in turn.")
    assert isinstance(form, Elementwise)
    check_input(op, x, 3)
    batch, _, inputs = x.shape
    width = cell.features(layers[0])
    for params, features in zip(layers, [inputs] + [width] * (len(layers) - 1), strict=True):
        check_params(op, cell, params, jnp.zeros((1, 1, features)), ndim=3)
    if len({jax.tree.structure(params) for params in layers}) > 1:
        raise ValueError(f"{op}: some layers lack a parameter that others have.")
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((x, list(layers)))}
    if len(dtypes) > 1:
        found = ", ".join(sorted(map(str, dtypes)))
        raise ValueError(f"{op}: x and all parameters must have one dtype, not {found}.")
    dtype = carry_dtype(x)
    if initial_carries is None:
        initial_carries = [None] * len(layers)
    if len(initial_carries) != len(layers):
        raise ValueError(
            f"{op}: {len(layers)} layers have as many carries, not {len(initial_carries)}."
        )
    carries = [checked_carry(op, cell, carry, batch, width, dtype) for carry in initial_carries]

    def loop(shared: Sequence[Any], x: Array, carry: Any, mask: Array | None) -> tuple[Any, Array]:
        return _run(cell, tuple(shared), x, carry, mask)

    result = over_sequence(
        op,
        loop,
        tuple(layers),
        x,
        jax.tree.map(_side_by_side, *carries),
        options,
        shared_axes=(None,) * len(layers),
        dtype=jnp.result_type(x),
    )
    if not options.get("return_carry"):
        return result
    end, y = result
    slices = [slice(k * width, (k + 1) * width) for k in range(len(layers))]
    return tuple(jax.tree.map(lambda a, s=s: a[:, s], end) for s in slices), y


@compiled(0)
def _run(
    cell: Cell, layers: tuple[Params, ...], x: Array, carry: Any, mask: Array | None
) -> tuple[Any, Array]:
    """All layers over `x` [T, B, I]: the carry of all, and ``h`` [T, B, H] of the last."""
    form, dtype, width = cell.form, carry_dtype(x), cell.features(layers[0])
    assert isinstance(form, Elementwise)
    weights, own = zip(*(cell.weights(params, dtype) for params in layers), strict=True)
    more = len(layers) - 1
    end, h = engine.scan(
        form._replace(summed=form.summed + 2 * form.split, split=0),
        Loop(),
        jax.tree.map(_side_by_side, *own),
        _weights(form, weights, x.shape[-1]),
        jnp.concatenate([x, jnp.zeros((more, *x.shape[1:]), x.dtype)]),
        carry,
        _active(x.shape[0], len(layers), width, mask),
    )
    return end, h[more:, :, more * width :]


def _side_by_side(*leaves: Array) -> Array:
    return jnp.concatenate(leaves, axis=-1)


def refuses(cell: Cell) -> str | None:
    """Why layers of a cell cannot run as one; None where they can."""
    form = cell.form
    if not isinstance(form, Elementwise):
        return "it is no elementwise function of its gates"
    if form.across_features:
        return "a layer norm looks across its layer's features; none may"
    if form.diagonal:
        return "a diagonal recurrent kernel has no room for the layer above"
    return None


def _weights(cell: Elementwise, layers: Sequence[Weights], inputs: int) -> Weights:
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
