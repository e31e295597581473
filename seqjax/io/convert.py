"""Weights of Keras's and PyTorch's layers as ours: NumPy arrays in, parameters out.

Neither library is needed. What differs between the three:

| | kernels | gates of an LSTM | of a GRU | biases |
|---|---|---|---|---|
| ours | [inputs, gates] | i, f, g, o | r, z, n | one; a GRU two (`reset_after`) |
| Keras | [inputs, gates] | i, f, g, o | z, r, n | one; a GRU [2, gates] (`reset_after`) |
| PyTorch | [gates, inputs] | i, f, g, o | r, z, n | two, which add up but in a GRU |

A layer without biases gets zeros, which is the same function: the layers of `seqjax.nn`
have them unless ``use_bias=False``. Arrays keep their dtype, but JAX narrows 64 bits without
jax_enable_x64.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from seqjax import ops

_FEEDFORWARD = ("conv", "dense")


def from_keras(kind: str, weights: Sequence[Any], **options: Any) -> Any:
    """Parameters out of ``layer.get_weights()`` of a Keras layer.

    Args:
        kind: a cell that Keras has, "rnn" (SimpleRNN), "lstm" or "gru"; "conv" (Conv1D,
            ``padding="causal"`` for `ops.causal_conv1d`'s default) or "dense".
        weights: kernel, recurrent kernel (of a recurrent layer) and, unless
            ``use_bias=False``, bias. A Bidirectional layer's list is the forward layer's
            followed by the backward layer's.
        **options: of the cell, such as a GRU's ``reset_after=False``; `ops.gru` must be
            given it, too.

    Returns:
        `ops.RNNParams`, `ops.LSTMParams`, `ops.GRUParams` or `ops.ConvParams`; for "dense"
        ``{"dense": {"kernel", "bias"}}``, the parameters of `seqjax.nn.Dense`.

    Raises:
        ValueError: for an unknown kind, or an array of another shape than such a layer has.

    Example:
        >>> weights = [np.ones((3, 8)), np.ones((2, 8)), np.zeros(8)]  # units: 2
        >>> ops.lstm(from_keras("lstm", weights), jnp.ones((1, 5, 3))).shape
        (1, 5, 2)

    Source: keras.layers (3.15): LSTM, GRU, SimpleRNN, Conv1D, Dense.
    """
    caller, names = "from_keras", ("weights[0]", "weights[1]", "weights[2]")
    arrays = [np.asarray(array) for array in weights]
    least = 1 if kind in _FEEDFORWARD else 2
    cell = None if kind in _FEEDFORWARD else _cell(caller, kind, "keras", options)
    if len(arrays) not in (least, least + 1):
        raise ValueError(
            f"{caller}: a {kind} layer has {least} arrays and perhaps a bias, but here are"
            f" {len(arrays)}, of shapes {[array.shape for array in arrays]}."
        )
    bias = arrays[least] if len(arrays) > least else None
    if cell is None:
        return _feedforward(caller, kind, arrays[0], bias, names)
    kernel, recurrent = _recurrent(caller, cell, arrays[:2], names)
    count, packed = _biases(cell), kernel.shape[1]
    shape = (count, packed) if count > 1 else (packed,)
    if bias is not None and bias.shape != shape:
        hint = f"; is it a GRU with reset_after={count == 1}?" if cell.name == "gru" else ""
        _refuse(caller, names[2], "the bias", shape, bias.shape, hint)
    bias = np.zeros(shape, kernel.dtype) if bias is None else bias
    return _packed(cell, cell.keras, [kernel, recurrent, *(bias if count > 1 else (bias,))])


def from_torch(
    kind: str,
    state: Mapping[str, Any],
    *,
    prefix: str = "",
    layer: int | None = None,
    reverse: bool | None = None,
) -> Any:
    """Parameters out of the state of a PyTorch module.

    ``{name: value.cpu().numpy() for name, value in module.state_dict().items()}`` is such
    a state. (A `torch.nn.RNN` with ``nonlinearity="relu"`` asks for `ops.rnn`'s activation.)

    Args:
        kind: a cell that PyTorch has, "rnn", "lstm" or "gru"; "conv" (Conv1d; PyTorch
            pads nothing itself: pad the past for a causal one, or call
            `ops.causal_conv1d` with ``padding="valid"``) or "dense" (Linear).
        state: arrays by name.
        prefix: what stands before the layer's own names, such as "encoder.".
        layer: which one of a recurrent module, from 0; to be said where it has several.
        reverse: the backward layer of a bidirectional module, for
            ``ops.lstm(..., reverse=True, keep_order=True)``; to be said (False for the forward
            one) where there is one.

    Returns:
        `ops.RNNParams`, `ops.LSTMParams`, `ops.GRUParams` or `ops.ConvParams`; for "dense"
        ``{"dense": {"kernel", "bias"}}``, the parameters of `seqjax.nn.Dense`.

    Raises:
        ValueError: for an unknown kind, a name that the state lacks, an array of another
            shape than such a layer has, an LSTM with a projection (`proj_size`), or several
            layers or directions where none was said.

    Example:
        >>> state = {"weight_ih_l0": np.ones((6, 3)), "weight_hh_l0": np.ones((6, 2))}
        >>> ops.gru(from_torch("gru", state), jnp.ones((1, 5, 3))).shape  # hidden_size: 2
        (1, 5, 2)

    Source: torch.nn (2.13): RNN, LSTM, GRU, Conv1d, Linear.
    """
    cell = None if kind in _FEEDFORWARD else _cell("from_torch", kind, "torch", {})

    def find(name: str) -> np.ndarray | None:
        found = state.get(prefix + name)
        return None if found is None else np.asarray(found)

    def need(name: str) -> np.ndarray:
        found = find(name)
        if found is None:
            own = [key for key in state if key.startswith(prefix)]
            has = f"only {own}" if own else f"nothing with the prefix {prefix!r}, but {[*state]}"
            raise ValueError(f"from_torch: the state has no {prefix + name!r}; it has {has}.")
        return found

    if cell is None:
        names = (prefix + "weight", prefix + "bias")
        return _feedforward("from_torch", kind, need("weight").T, find("bias"), names, flip=True)
    for value, say, other in (
        (layer, "layer=0 or 1", "_l1"),
        (reverse, "reverse=False or True", "_l0_reverse"),
    ):
        if value is None and (name := prefix + "weight_ih" + other) in state:
            raise ValueError(
                f"from_torch: the state has a {name!r}, too; say {say}, one at a time."
            )
    suffix = f"_l{layer or 0}{'_reverse' if reverse else ''}"
    if find("weight_hr" + suffix) is not None:
        raise ValueError(
            f"from_torch: {prefix}weight_hr{suffix} is the projection of an LSTM with proj_size,"
            " which seqjax.ops.lstm does not have."
        )
    names = ("weight_ih" + suffix, "weight_hh" + suffix)
    kernel, recurrent = _recurrent(
        "from_torch",
        cell,
        [need(name).T for name in names],
        (prefix + names[0], prefix + names[1]),
        flip=True,
    )
    shape = (kernel.shape[1],)
    biases = []
    for name in ("bias_ih" + suffix, "bias_hh" + suffix):
        bias = find(name)
        if bias is not None and bias.shape != shape:
            _refuse("from_torch", prefix + name, "a bias", shape, bias.shape)
        biases.append(np.zeros(shape, kernel.dtype) if bias is None else bias)
    if _biases(cell) == 1:  # a GRU's second bias stands, for n, inside the reset gate's product
        biases = [biases[0] + biases[1]]
    return _packed(cell, cell.torch, [kernel, recurrent, *biases])


def layer_params(params: Any) -> Any:
    """Parameters of an op as those of the layer of `seqjax.nn` of the same name.

    Args:
        params: a cell's, such as `ops.LSTMParams`, or `ops.ConvParams`; or a dict, in which
            such are looked for and arrays stay.

    Returns:
        The dict of the layer's parameters; a missing bias becomes zeros.

    Raises:
        ValueError: for anything else.

    Example:
        >>> import jax
        >>> params = ops.RNNParams(jnp.ones((1, 2)), jnp.zeros((2, 2)))
        >>> jax.tree.map(jnp.shape, layer_params(params))
        {'bias': (2,), 'kernel': (1, 2), 'recurrent_kernel': (2, 2)}
    """
    if isinstance(params, (ops.ConvParams, *(cell.Params for cell in ops.CELLS.values()))):
        named = _named(params)
        if "kernel" not in named:
            return named
        return {"bias": jnp.zeros(params.kernel.shape[-1], params.kernel.dtype)} | named
    if isinstance(params, Mapping):
        return {key: layer_params(value) for key, value in params.items()}
    if isinstance(params, Array | np.ndarray):
        return jnp.asarray(params)
    raise ValueError(
        "layer_params takes parameters of a cell or of causal_conv1d, or dicts of them, not"
        f" {type(params).__name__}."
    )


def _named(params: Any) -> dict[str, Any]:
    """Arrays by their field, those of named tuples within among them."""
    found: dict[str, Any] = {}
    for field, value in params._asdict().items():
        found |= _named(value) if hasattr(value, "_asdict") else {field: value}
    return {field: value for field, value in found.items() if value is not None}


def stack_params(layers: Sequence[Any]) -> dict[str, Any]:
    """Parameters of a `seqjax.nn.Stack`, and so of `seqjax.models.make`, layer by layer.

    Those of ``models.make("lstm", inputs=1, features=(128, 128), outputs=1)`` are

    ``{"layers_0": {"kernel": [1, 512], "recurrent_kernel": [128, 512], "bias": [512]},``
    ``"layers_1": {"kernel": [128, 512], ...},``
    ``"layers_2": {"dense": {"kernel": [128, 1], "bias": [1]}}}``

    Args:
        layers: from the input upwards, what `from_keras` or `from_torch` returned, or
            parameters of an op; for a `nn.Bidirectional` ``{"forward": ...,
            "backward_layer": ...}``. Layers without parameters are left out by Flax, too:
            ``{}`` keeps their place.

    Returns:
        The dict of parameters.

    Raises:
        ValueError: for what `layer_params` does not take.

    Example:
        >>> from seqjax import models
        >>> lstm = [np.ones((1, 8)), np.ones((2, 8)), np.zeros(8)]  # Keras's get_weights()
        >>> dense = [np.ones((2, 1)), np.zeros(1)]
        >>> params = stack_params([from_keras("lstm", lstm), from_keras("dense", dense)])
        >>> model = models.make("lstm", inputs=1, features=(2,), outputs=1)
        >>> model.apply(params, jnp.ones((4, 12, 1))).shape
        (4, 12, 1)
    """
    named = {f"layers_{k}": layer_params(layer) for k, layer in enumerate(layers)}
    return {name: params for name, params in named.items() if params}


# -- shapes --------------------------------------------------------------------


def _cell(caller: str, kind: str, library: str, options: dict[str, Any]) -> ops.Cell:
    peers = {name: getattr(cell, library) for name, cell in ops.CELLS.items()}
    known = {name: peer.layer for name, peer in peers.items() if peer is not None}
    if kind not in known:
        words = [f"{name!r} ({layer})" for name, layer in known.items()]
        words += map(repr, _FEEDFORWARD)
        raise ValueError(f"{caller}: kind must be one of {', '.join(words)}, not {kind!r}.")
    cell = ops.CELLS[kind](**options)
    recurrent = getattr(cell, "recurrent", "full")
    if recurrent != "full":
        raise ValueError(
            f"{caller}: {known[kind]} has no recurrent={recurrent!r}; its weights fit"
            f" {type(cell).__name__}() alone."
        )
    return cell


def _biases(cell: ops.Cell) -> int:
    """How many packed biases a cell has."""
    names: list[str] = []
    cell.parameters(lambda name, *_, **__: names.append(name), 1, 1)
    return sum(name.endswith("bias") for name in names)


def _refuse(
    caller: str, name: str, what: str, expected: Sequence[Any], shape: Sequence[int], hint: str = ""
) -> None:
    words = ", ".join(map(str, expected))
    raise ValueError(f"{caller}: {name}, {what}, must be [{words}], but is {list(shape)}{hint}.")


def _recurrent(
    caller: str,
    cell: ops.Cell,
    kernels: Sequence[np.ndarray],
    names: Sequence[str],
    *,
    flip: bool = False,
) -> Sequence[np.ndarray]:
    """Both kernels, [inputs, gates * features], after a look at their shapes."""
    kernel, recurrent = kernels
    gates, step = cell.gates, -1 if flip else 1  # shapes are told as the caller has them
    hint = ""
    if recurrent.ndim == 2 and recurrent.shape[0] and not recurrent.shape[1] % recurrent.shape[0]:
        found = {other.gates: name for name, other in ops.CELLS.items() if other.keras}
        kind = found.get(recurrent.shape[1] // recurrent.shape[0], cell.name)
        hint = "" if kind == cell.name else f"; is it of the kind {kind!r}?"
    width = recurrent.shape[0] if recurrent.ndim else 0
    if recurrent.shape != (width, gates * width):
        expected = ("features", f"{gates} * features")[::step]
        _refuse(caller, names[1], "the recurrent kernel", expected, recurrent.shape[::step], hint)
    if kernel.ndim != 2 or kernel.shape[1] != gates * width:
        expected = ("inputs", gates * width)[::step]
        _refuse(caller, names[0], "the kernel", expected, kernel.shape[::step])
    return kernel, recurrent


def _packed(cell: ops.Cell, peer: ops.Peer | None, arrays: Sequence[np.ndarray]) -> Any:
    """A cell's parameters, their gates in our order."""
    assert peer is not None
    split = [np.split(array, cell.gates, axis=-1) for array in arrays]
    parts = (np.concatenate([gates[k] for k in peer.gates], axis=-1) for gates in split)
    return cell.Params(*map(jnp.array, parts))


def _feedforward(
    caller: str,
    kind: str,
    kernel: np.ndarray,
    bias: np.ndarray | None,
    names: Sequence[str],
    *,
    flip: bool = False,
) -> Any:
    ndim, step = 3 if kind == "conv" else 2, -1 if flip else 1
    if kernel.ndim != ndim:
        expected = (("kernel_size",) if kind == "conv" else ()) + ("inputs", "features")
        _refuse(caller, names[0], "the kernel", expected[::step], kernel.shape[::step])
    shape = kernel.shape[-1:]
    if bias is not None and bias.shape != shape:
        _refuse(caller, names[1], "the bias", shape, bias.shape)
    bias = np.zeros(shape, kernel.dtype) if bias is None else bias
    if kind == "conv":
        return ops.ConvParams(jnp.array(kernel), jnp.array(bias))
    return {"dense": {"kernel": jnp.array(kernel), "bias": jnp.array(bias)}}
