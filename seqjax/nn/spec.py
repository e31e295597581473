"""Layers as data: any tree of them to JSON and back. `LAYER_TYPES` is the one registry.

A layer is ``{"kind": "LSTM", "features": 8, ...}``, its fields by name; layers within are
such objects, dtypes and activations their names. Initialisers are left out: they have no say
once there are parameters.
"""

import dataclasses
import numbers
import typing
from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp

from seqjax.nn.attention import Attention
from seqjax.nn.combine import Bidirectional, Stack
from seqjax.nn.condition import Condition
from seqjax.nn.conv import CausalConv
from seqjax.nn.dense import Dense, Embed
from seqjax.nn.encoder_decoder import EncoderDecoder
from seqjax.nn.layer import Inputs, Layer, Tokens
from seqjax.nn.ngrams import NGramEmbed
from seqjax.nn.normalise import BatchNorm, LayerNorm
from seqjax.nn.parallel import Parallel
from seqjax.nn.pool import Pool
from seqjax.nn.recurrent import LAYERS
from seqjax.nn.repeat import Repeat
from seqjax.nn.residual import Residual
from seqjax.nn.seasonal import SeasonalResidual
from seqjax.nn.wavenet import WaveNet
from seqjax.ops.activations import ACTIVATIONS, Name
from seqjax.ops.bounds import Count
from seqjax.storage.strict_json import nearest, show
from seqjax.storage.typed import convert

_OTHERS: tuple[Any, ...] = (Attention, BatchNorm, Bidirectional, CausalConv, Condition, Dense)
_OTHERS += (Embed, EncoderDecoder, LayerNorm, NGramEmbed, Parallel, Pool, Repeat, Residual)
_OTHERS += (SeasonalResidual, Stack, WaveNet)

LAYER_TYPES: dict[str, Any] = {kind.__name__: kind for kind in (*LAYERS.values(), *_OTHERS)}
"""Every layer that has JSON, by its name."""

_DEEPEST = 8  # layers within layers; a Repeat in a Repeat takes twice the time
_MOST = 4096  # layers in all


class LayerError(ValueError):
    """JSON that is no layer, or a layer that has no JSON; the message names the field."""


def layer_to_json(layer: Layer) -> dict[str, Any]:
    """A layer as plain JSON.

    Args:
        layer: any tree of the layers in `LAYER_TYPES`.

    Returns:
        All fields but initialisers.

    Raises:
        LayerError: for a layer of another class, or a field without JSON, such as an
            activation that has no name.

    Example:
        >>> from seqjax import nn
        >>> layer = nn.Repeat(nn.Dense(4, activation="tanh"), depth=2)
        >>> layer_from_json(layer_to_json(layer)) == layer
        True
    """
    kind = type(layer)
    if LAYER_TYPES.get(kind.__name__) is not kind:
        raise LayerError(
            f"{kind.__module__}.{kind.__qualname__} has no JSON; there are"
            f" {', '.join(LAYER_TYPES)}. (Parameters alone: seqjax.io.save_weights.)"
        )
    found = {"kind": kind.__name__}
    for name in _fields(kind):
        found[name] = _plain(f"{kind.__name__}.{name}", getattr(layer, name))
    return found


def layer_from_json(value: Any) -> Layer:
    """The layer that `layer_to_json` wrote, or anyone by hand.

    Args:
        value: plain JSON; what it leaves out has its default.

    Returns:
        The layer; nothing is computed.

    Raises:
        LayerError: for unknown layers and fields (with the nearest name), values of another
            type or out of bounds, more than thousands of layers.

    Example:
        >>> layer_from_json({"kind": "GRU", "features": 8}).features
        8
        >>> layer_from_json({"kind": "GRU", "feature": 8})
        Traceback (most recent call last):
        seqjax.nn.spec.LayerError: layer: GRU has no 'feature'. Did you mean 'features'?
    """
    return _Reader().layer("layer", value, 0)


def inputs_to_json(inputs: Inputs) -> Any:
    """A number of features, or ``{"tokens": vocab_size}``."""
    return {"tokens": inputs.vocab_size} if isinstance(inputs, Tokens) else int(inputs)


def inputs_from_json(value: Any) -> Inputs:
    """What `inputs_to_json` wrote; LayerError for anything else.

    Example:
        >>> inputs_from_json({"tokens": 50})
        Tokens(vocab_size=50)
    """
    if isinstance(value, dict) and value.keys() == {"tokens"}:
        return Tokens(_converted("inputs.tokens", value["tokens"], Count))
    return _converted("inputs", value, Count)


def _fields(kind: Any) -> dict[str, Any]:
    """Types of a layer's own fields by name, without initialisers."""
    hints = typing.get_type_hints(kind, include_extras=True)
    names = (field.name for field in dataclasses.fields(kind) if field.name not in _FLAX)
    return {name: hints[name] for name in names if not name.endswith("_init")}


_FLAX = ("parent", "name")


def _plain(where: str, value: Any) -> Any:
    if isinstance(value, Layer):
        return layer_to_json(value)
    if isinstance(value, tuple | list):
        return [_plain(where, one) for one in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):  # of NumPy, too
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if callable(value) and (names := [n for n, f in ACTIVATIONS.items() if f is value]):
        return names[0]
    try:
        return jnp.dtype(value).name  # type: ignore[call-overload, arg-type]
    except TypeError:
        pass
    raise LayerError(
        f"{where} is {show(value)}, which has no JSON; an activation has if it is one of"
        f" {', '.join(ACTIVATIONS)}."
    )


class _Reader:
    """Counts layers, so that no file asks for too many."""

    def __init__(self) -> None:
        self.count = 0

    def layer(self, where: str, value: Any, depth: int) -> Layer:
        self.count += 1
        if self.count > _MOST or depth > _DEEPEST:
            raise LayerError(f"{where}: more than {_MOST} layers, or {_DEEPEST} within another.")
        if not isinstance(value, dict):
            raise LayerError(f"{where} is {show(value)}; it must be a JSON object.")
        name = value.get("kind")
        if not isinstance(name, str) or name not in LAYER_TYPES:
            hint = nearest(name, LAYER_TYPES) or f" There are {', '.join(LAYER_TYPES)}."
            raise LayerError(f"{where}: there is no kind {show(name)}.{hint}")
        kind, given = LAYER_TYPES[name], {key: value[key] for key in value if key != "kind"}
        fields = _fields(kind)
        for key in given:
            if key not in fields:
                hint = nearest(key, fields) or f" It has {', '.join(fields)}."
                raise LayerError(f"{where}: {name} has no {show(key)}.{hint}")
        if missing := [key for key in _required(kind) if key not in given]:
            raise LayerError(f"{where}: {name} lacks {', '.join(missing)}.")
        read = {
            key: self.field(f"{where}.{key}", fields[key], one, depth) for key, one in given.items()
        }
        return kind(**read)

    def field(self, where: str, hint: Any, value: Any, depth: int) -> Any:
        name, parts = where.rpartition(".")[2], (hint, *typing.get_args(hint))
        if Layer in parts and typing.get_origin(hint) is tuple:
            if not isinstance(value, list):
                raise LayerError(f"{where} is {show(value)}; it must be a list of layers.")
            return tuple(self.layer(f"{where}[{k}]", one, depth + 1) for k, one in enumerate(value))
        if Layer in parts:
            if value is None and type(None) in parts:
                return None
            return self.layer(where, value, depth + 1)
        if name in ("dtype", "param_dtype"):
            return _dtype(where, value, optional=name == "dtype")
        if any(typing.get_origin(part) is Callable for part in parts):  # an activation
            optional = type(None) in parts
            return _converted(where, value, Name | None if optional else Name)
        return _converted(where, value, hint)


def _required(kind: Any) -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(kind)
        if field.name not in _FLAX and field.default is field.default_factory is dataclasses.MISSING
    ]


def _converted(where: str, value: Any, hint: Any) -> Any:
    try:
        return convert(value, hint)
    except ValueError as error:
        raise LayerError(f"{where} is {show(value)}; {error}.") from None


_DTYPES = Literal["float16", "bfloat16", "float32", "float64"]


def _dtype(where: str, value: Any, *, optional: bool) -> Any:
    if value is None and optional:
        return None
    return getattr(jnp, _converted(where, value, _DTYPES))
