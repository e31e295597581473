"""A whole model in one file: the parameters, and the arguments that make the model again."""

import dataclasses
import inspect
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import jax
import jax.numpy as jnp

from seqjax import models, nn
from seqjax.io.errors import WeightsError
from seqjax.io.trees import named_leaves
from seqjax.io.weights import load_config, load_weights, save_weights
from seqjax.storage.trees import described as specs, differences

_LAYERS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU, "conv": nn.CausalConv}

# Fields of a layer that are no options of `models.make`: what it sets itself, Flax's own,
# and initialisers, which have no JSON and no say once there are parameters.
_NO_OPTIONS = {"features", "dropout", "dilation", "parent", "name"}
_NO_OPTIONS |= {"kernel_init", "recurrent_init", "bias_init"}
_DTYPES = {"dtype", "param_dtype"}


def save_model(path: str | Path, params: Any, **arguments: Any) -> None:
    """Write a model of `seqjax.models.make` as one file: parameters and arguments.

    Args:
        path: a safetensors file; see `seqjax.io.save_weights`.
        params: the model's parameters.
        **arguments: those that `models.make` was given, `architecture` among them. An
            activation is given by its name, not as a function; initialisers are left out.

    Raises:
        WeightsError: for arguments that are unknown, missing, or of the wrong kind, or
            parameters that are not those of such a model.
        FileNotFoundError: where the folder does not exist.
        ImportError: without safetensors (the extra "weights").

    Example:
        >>> import tempfile
        >>> arguments = dict(architecture="gru", inputs=1, features=(8,), outputs=1, last=True)
        >>> model = models.make(**arguments)
        >>> params = model.init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(f"{folder}/gru.safetensors", params, **arguments)
        ...     model, params = load_model(f"{folder}/gru.safetensors")
        >>> model.apply(params, jnp.ones((2, 12, 1))).shape
        (2, 1)
    """
    arguments = _checked(Path(path), arguments)
    like = jax.eval_shape(models.make(**arguments).init, jax.random.key(0))
    wrong = differences(
        specs(named_leaves(params)[0]),
        specs(named_leaves(like)[0]),
        here="in the parameters",
        there="in the model of these arguments",
    )
    if wrong:
        raise WeightsError(f"{path} is not written: {wrong}")
    save_weights(path, params, arguments)


def load_model(path: str | Path) -> tuple[models.Model, Any]:
    """The model and the parameters from a file of `save_model`.

    Args:
        path: the file.

    Returns:
        ``(model, params)``; the arguments of the model are `seqjax.io.load_config`'s.

    Raises:
        WeightsError: for a file that `seqjax.io.load_weights` refuses, or one whose
            configuration is not that of a model.
        ImportError: without safetensors (the extra "weights").

    Example: see `save_model`.
    """
    model = models.make(**_checked(Path(path), load_config(path)))
    params, _ = load_weights(path, like=jax.eval_shape(model.init, jax.random.key(0)))
    return model, params


# -- arguments of models.make ----------------------------------------------------


def _checked(path: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, dtypes by name, or a WeightsError that says what is known."""
    architecture = arguments.get("architecture")
    if not isinstance(architecture, str) or architecture not in _LAYERS:
        raise WeightsError(
            f"{path}: the configuration of a model names its architecture, one of"
            f" {tuple(_LAYERS)}, not {architecture!r}. Other models: seqjax.io.save_weights."
        )
    known = _known(architecture)
    if unknown := sorted(arguments.keys() - known.keys()):
        raise WeightsError(
            f"{path}: models.make({architecture!r}) has no {', '.join(unknown)}; a file holds"
            f" {', '.join(known)}."
        )
    signature = inspect.signature(models.make)
    required = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.default is parameter.empty and name in known
    ]
    if missing := [name for name in required if name not in arguments]:
        raise WeightsError(f"{path}: the configuration of a model lacks {', '.join(missing)}.")
    checked = {}
    for name, value in arguments.items():
        if name in _DTYPES:
            value = _dtype_name(path, name, value)
        elif not _fits(known[name], value):
            hint = " by name: a function has no JSON" if name == "activation" else ""
            raise WeightsError(
                f"{path}: {name} must be {_words(known[name])}{hint}, not {value!r}."
            )
        checked[name] = value
    return checked


def _known(architecture: str) -> dict[str, Any]:
    """Names and types of what `models.make` takes for this architecture."""
    hints = get_type_hints(models.make)
    own = {
        name: hints[name]
        for name, parameter in inspect.signature(models.make).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    layer = _LAYERS[architecture]
    hints = get_type_hints(layer)
    fields = [field.name for field in dataclasses.fields(layer)]
    return own | {name: hints[name] for name in fields if name not in _NO_OPTIONS}


def _dtype_name(path: Path, name: str, value: Any) -> str | None:
    if value is None and name == "dtype":
        return None
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or value is None or not jnp.issubdtype(dtype, jnp.floating):
        raise WeightsError(f'{path}: {name} must be a dtype such as "bfloat16", not {value!r}.')
    return dtype.name


def _fits(hint: Any, value: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin in (Union, types.UnionType):
        return any(_fits(part, value) for part in parts)
    if origin is Sequence:
        several = isinstance(value, list | tuple) and len(value) > 0
        return several and all(_fits(parts[0], item) for item in value)
    if hint is types.NoneType:
        return value is None
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    if hint is int:  # all are counts
        return isinstance(value, int) and value >= 1
    if hint is float:  # all are rates of dropout
        return isinstance(value, int | float) and 0 <= value < 1
    return False  # functions


def _words(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(f'"{part}"' for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(filter(None, map(_words, parts)))
    if origin is Sequence:
        return "one or more, each " + _words(parts[0])
    words = {
        types.NoneType: "None",
        bool: "True or False",
        int: "a positive integer",
        float: "a rate in [0, 1)",
    }
    return words.get(hint, "")
