"""A whole model in one file: the parameters, and the layers that make the model again."""

from pathlib import Path
from typing import Any

import jax

from seqjax import models
from seqjax.io.errors import WeightsError
from seqjax.io.trees import named_leaves
from seqjax.io.weights import load_config, load_weights, save_weights
from seqjax.nn.layer import Inputs, Layer
from seqjax.nn.spec import (
    LayerError,
    inputs_from_json,
    inputs_to_json,
    layer_from_json,
    layer_to_json,
)
from seqjax.storage.strict_json import show
from seqjax.storage.trees import described, differences


def save_model(
    path: str | Path,
    model: models.Model | Layer,
    params: Any,
    *,
    inputs: Inputs | None = None,
    last: bool = False,
) -> None:
    """Write a model as one file: parameters and layers.

    Args:
        path: a safetensors file; see `seqjax.io.save_weights`.
        model: a model, or a layer.
        params: its parameters.
        inputs: of a layer: number of input features, or `seqjax.nn.Tokens`.
        last: of a layer: see `seqjax.models.from_layer`.

    Raises:
        TypeError: for anything else than a model or a layer, such as a `Forecaster`.
        WeightsError: for a layer that has no JSON (see `seqjax.nn.spec`), a layer without
            `inputs`, or parameters that are not the model's.
        FileNotFoundError: where the folder does not exist.
        ImportError: without safetensors (the extra "weights").

    Example:
        >>> import tempfile
        >>> from seqjax import nn
        >>> model = models.from_layer(nn.Stack((nn.GRU(8), nn.Dense(1))), inputs=1, last=True)
        >>> params = model.init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(f"{folder}/gru.safetensors", model, params)
        ...     again, params = load_model(f"{folder}/gru.safetensors")
        >>> again.layer == model.layer, again.apply(params, jax.numpy.ones((2, 12, 1))).shape
        (True, (2, 1))
    """
    if not isinstance(model, models.Model | Layer):
        raise TypeError(
            "save_model(path, model, params): the model must be one of seqjax.models or a layer,"
            f" not {type(model).__name__}. A Forecaster is saved by Forecaster.save."
        )
    path = Path(path)
    if isinstance(model, Layer):
        if inputs is None:
            raise WeightsError(
                f"{path} is not written: a layer alone does not tell its inputs; say inputs=..., or"
                " pass the model of seqjax.models.from_layer."
            )
        model = models.from_layer(model, inputs, last=last)
    try:
        config = model_to_json(model)
        again = model_from_json(config)  # what cannot be read is not written
    except WeightsError as error:
        raise WeightsError(f"{path} is not written: {error}") from None
    wrong = differences(
        described(named_leaves(params)[0]),
        described(named_leaves(_shapes(path, again))[0]),
        here="in the parameters",
        there="in the model (layers that share parameters have no JSON)",
    )
    if wrong:
        raise WeightsError(f"{path} is not written: {wrong}")
    save_weights(path, params, config)


def load_model(path: str | Path) -> tuple[models.Model, Any]:
    """The model and the parameters from a file of `save_model`.

    Args:
        path: the file; one of an older version, whose configuration is the arguments of
            `seqjax.models.make`, too.

    Returns:
        ``(model, params)``; ``model.layer`` is the layer.

    Raises:
        WeightsError: for a file that `seqjax.io.load_weights` refuses, or one whose
            configuration is not that of a model.
        ImportError: without safetensors (the extra "weights").

    Example: see `save_model`.
    """
    path = Path(path)
    config = load_config(path)
    if "architecture" in config:
        config = _from_arguments(path, config)
    try:
        model = model_from_json(config)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    params, _ = load_weights(path, like=_shapes(path, model))
    return model, params


def model_to_json(model: models.Model) -> dict[str, Any]:
    """A model as JSON, without its parameters.

    Raises:
        WeightsError: for a model without layers, or a layer that has no JSON.
    """
    if model.layer is None or model.inputs is None:
        raise WeightsError("the model does not say its layers and inputs.")
    try:
        layer = layer_to_json(model.layer)
    except LayerError as error:
        raise WeightsError(str(error)) from None
    return {"inputs": inputs_to_json(model.inputs), "last": model.last, "layer": layer}


def model_from_json(config: dict[str, Any]) -> models.Model:
    """The model of `model_to_json`.

    Raises:
        WeightsError: for anything else.
    """
    if unknown := sorted(config.keys() - {"layer", "inputs", "last"}):
        raise WeightsError(f"the configuration of a model has no {', '.join(unknown)}.")
    if missing := sorted({"layer", "inputs"} - config.keys()):
        raise WeightsError(
            f"the configuration of a model lacks {', '.join(missing)}. Parameters alone:"
            " seqjax.io.load_weights."
        )
    last = config.get("last", False)
    if not isinstance(last, bool):
        raise WeightsError(f"last is {show(last)}; it must be true or false.")
    try:
        layer, inputs = layer_from_json(config["layer"]), inputs_from_json(config["inputs"])
    except LayerError as error:
        raise WeightsError(str(error)) from None
    return models.from_layer(layer, inputs, last=last)


def _shapes(path: Path, model: models.Model) -> Any:
    """What the model's parameters look like."""
    try:
        return jax.eval_shape(model.init, jax.random.key(0))
    except (ValueError, TypeError, ArithmeticError, MemoryError) as error:
        raise WeightsError(f"{path}: there is no such model: {error}") from error


_OLD = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "conv": "CausalConv"}


def _from_arguments(path: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """The configuration of today out of the arguments of `models.make` of seqjax 0.1."""
    options = dict(arguments)
    kind, features = options.pop("architecture"), options.pop("features", None)
    if not isinstance(kind, str) or kind not in _OLD or "kind" in options:
        raise WeightsError(
            f"{path}: a model's architecture is one of {tuple(_OLD)}, not {show(kind)}."
        )
    if not isinstance(features, list) or not features:
        raise WeightsError(
            f"{path}: features is {show(features)}; it must be one or more whole numbers."
        )
    config = {name: options.pop(name) for name in ("inputs", "last") if name in options}
    stack = {name: options.pop(name) for name in ("dropout", "remat") if name in options}
    head = {"kind": "Dense", "features": options.pop("outputs", None)}
    if kind == "conv":
        options = {"kernel_size": 2, "activation": "relu"} | options
    layers = [{"kind": _OLD[kind], "features": width} | options for width in features]
    if kind == "conv":
        # No layer is that far apart: the bound of a dilation refuses what a hostile file asks.
        layers = [one | {"dilation": 2 ** min(depth, 60)} for depth, one in enumerate(layers)]
    return config | {"layer": {"kind": "Stack", "layers": [*layers, head]} | stack}
