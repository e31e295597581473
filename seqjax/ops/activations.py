"""Activations by name, so that what uses one can be written down."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

Name = Literal["tanh", "relu", "sigmoid", "gelu", "silu", "elu", "softplus"]
Activation = Name | Callable[[Array], Array]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
}


def activation_function(activation: Activation) -> Callable[[Array], Array]:
    """The function of that name, or the function itself.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> activation_function("relu")(jnp.array([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    if not isinstance(activation, str):
        return activation
    if activation not in ACTIVATIONS:
        known = ", ".join(map(repr, ACTIVATIONS))
        raise ValueError(f"activation must be {known} or a function, not {activation!r}.")
    return ACTIVATIONS[activation]
