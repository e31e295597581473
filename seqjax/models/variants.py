"""The same model, with the same parameters, computed in another way."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from seqjax import nn, ops
from seqjax.models.model import Model, from_layer
from seqjax.nn.recurrent import Recurrent


def in_dtype(model: Model, dtype: Any) -> Model:
    """A model that computes in another dtype; its parameters, carries and sums stay wide.

    Args:
        model: of `from_layer` or `make`.
        dtype: such as "bfloat16".

    Returns:
        The model, with the same parameters.

    Example:
        >>> import jax
        >>> from seqjax.models import make
        >>> model = in_dtype(make("gru", inputs=1, features=(4,), outputs=1), "bfloat16")
        >>> params = model.init(jax.random.key(0))
        >>> model.apply(params, jnp.ones((2, 5, 1))).dtype
        dtype(bfloat16)
        >>> {str(leaf.dtype) for leaf in jax.tree.leaves(params)}
        {'float32'}
    """
    return _rebuilt(
        model,
        lambda layer: {"dtype": jnp.dtype(dtype)} if hasattr(layer, "dtype") else {},
        "in_dtype",
    )


def in_implementation(model: Model, implementation: ops.Implementation | None) -> Model:
    """A model whose recurrent layers run in another way; its parameters stay what they are.

    Args:
        model: of `from_layer` or `make`.
        implementation: see `seqjax.ops.Settings`.

    Returns:
        The model. A call raises ValueError for a cell that cannot be run so.

    Example:
        >>> import jax
        >>> from seqjax.models import make
        >>> model = make("gru", inputs=1, features=(4,), outputs=1)
        >>> other, params = in_implementation(model, "newton"), model.init(jax.random.key(0))
        >>> y, solution = other.apply(params, jnp.ones((2, 5, 1)), return_solution=True)
        >>> bool(jnp.allclose(y, model.apply(params, jnp.ones((2, 5, 1))), atol=1e-5))
        True
        >>> solution.fallbacks.tolist()
        [0, 0]
    """
    return _rebuilt(
        model,
        lambda layer: {"implementation": implementation} if isinstance(layer, Recurrent) else {},
        "in_implementation",
    )


def _rebuilt(model: Model, changed: Callable[[nn.Layer], dict[str, Any]], name: str) -> Model:
    """A model, some fields of whose layers are changed."""
    made: dict[int, Any] = {}

    def rebuild(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(map(rebuild, value))
        if not isinstance(value, nn.Layer):
            return value
        if id(value) not in made:  # one that stands there twice shares its parameters
            names = [f.name for f in dataclasses.fields(value) if f.name not in ("parent", "name")]
            fields = {name: rebuild(getattr(value, name)) for name in names}
            made[id(value)] = value.clone(**fields | changed(value))
        return made[id(value)]

    if model.layer is None or model.inputs is None:
        raise ValueError(f"{name}: the model does not say its layers and inputs.")
    return from_layer(rebuild(model.layer), model.inputs, last=model.last)
