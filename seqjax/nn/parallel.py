"""Layers side by side."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from seqjax.nn.layer import Call, Context, Inputs, Layer, check_layers, check_parts, with_carry


class Parallel(Layer):
    """Layers that read the same input, their outputs side by side.

    ``y_t = [layer_1(x)_t, layer_2(x)_t, ...]``

    Attributes:
        layers: at least one; all answer every step of their input, in its order.

    Example: convolutions of several widths, of which the largest answer counts (Kim, arXiv
    1408.5882).

        >>> import jax
        >>> from seqjax import nn
        >>> widths = tuple(nn.CausalConv(8, kernel_size=k, activation="relu") for k in (3, 4, 5))
        >>> net = nn.Stack((nn.Embed(50, features=16), Parallel(widths), nn.Pool("max")))
        >>> tokens = jnp.array([[3, 1, 4, 1, 5]])
        >>> net.apply(net.init(jax.random.key(0), tokens), tokens, method="last").shape
        (1, 24)
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        check_layers("Parallel", self.layers)
        super().__post_init__()

    def sublayers(self) -> tuple[Layer, ...]:
        """The layers."""
        return self.layers

    def setup(self) -> None:
        if not self.layers or not self.keeps_length:
            raise ValueError("Parallel takes at least one layer, without strides.")

    def _each(self, name: str, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        carries = check_parts(self, carry, len(self.layers))
        found = [
            with_carry(layer, x, before, call) if name == "whole" else layer.end(x, before, call)
            for layer, before in zip(self.layers, carries, strict=True)
        ]
        return tuple(after for after, _ in found), jnp.concatenate([y for _, y in found], axis=-1)

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carries, y)``, y [batch, time, the features of all]."""
        return self._each("whole", x, carry, call)

    def end(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carries, y)``, y [batch, the features of all]: each when its sequence is over."""
        return self._each("end", x, carry, call)

    @property
    def ends_apart(self) -> bool:
        """Whether one of them does."""
        return any(layer.ends_apart for layer in self.layers)

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step of all: ``(carries, y)``."""
        carries = check_parts(self, carry, len(self.layers))
        found = [
            layer.step(before, x, context=context)
            for layer, before in zip(self.layers, carries, strict=True)
        ]
        return tuple(after for after, _ in found), jnp.concatenate([y for _, y in found], axis=-1)

    def initial_carry(self, batch: Any, inputs: Inputs) -> tuple[Any, ...]:
        """The carries of all."""
        return tuple(layer.initial_carry(batch, inputs) for layer in self.layers)

    def output_features(self, inputs: Inputs) -> int:
        """Those of all together."""
        return sum(layer.output_features(inputs) for layer in self.layers)
