"""Layers that are alike, compiled once."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from seqjax.nn.layer import Call, Context, Inputs, Layer, checked_rate, with_carry
from seqjax.ops.bounds import Count, Rate


class Repeat(Layer):
    """`depth` copies of a layer one upon the other, as a loop over their parameters.

    The same function as a `Stack` of the copies, with each parameter stacked along a
    first axis [depth, ...]: compile time and program size do not grow with the depth.

    Attributes:
        layer: any layer whose outputs have the features, steps and dtype of its inputs.
        depth: number of copies, at least 1.
        dropout: rate of the dropout between them (not before the first, not after the
            last); needs the rng "dropout" unless deterministic.

    Example:
        >>> from seqjax.nn import LSTM
        >>> deep, x = Repeat(LSTM(features=4), depth=16), jax.numpy.ones((2, 5, 4))
        >>> params = deep.init(jax.random.key(0), x)
        >>> params["params"]["layer"]["recurrent_kernel"].shape
        (16, 4, 16)
        >>> deep.apply(params, x).shape
        (2, 5, 4)
    """

    layer: Layer
    depth: Count
    dropout: Rate = 0.0

    def sublayers(self) -> tuple[Layer, ...]:
        """The layer."""
        return (self.layer,)

    def _over_layers(self, one: Any, carry: Any, carries: Any) -> Any:
        if self.depth < 1:
            raise ValueError(f"Repeat: depth must be at least 1, not {self.depth}.")
        checked_rate(self, self.dropout)
        loop = nn.scan(
            one,
            variable_axes={"params": 0, "newton": 0, "guess": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=((0, 1),),  # type: ignore[arg-type] # carries begin with the batch, then the depth
            out_axes=1,
            length=self.depth,
        )
        return loop(self.layer, carry, (jnp.arange(self.depth), carries))

    @nn.compact
    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carries, y)``, y [batch, time, features], carries [batch, depth, ...]."""

        def one(layer: nn.Module, x: Array, of_layer: Any) -> tuple[Array, Any]:
            index, carry = of_layer
            if self.dropout and not call.deterministic:
                kept = jax.random.bernoulli(layer.make_rng("dropout"), 1 - self.dropout, x.shape)
                dropped = jnp.where(kept, x / (1 - self.dropout), 0)
                x = jnp.where(index == 0, x, dropped)
            end, y = with_carry(layer, x, carry, call)
            if (y.shape, y.dtype) != (x.shape, x.dtype):
                raise ValueError(
                    "Repeat: the layer must keep the shape and dtype of its input,"
                    f" {x.dtype}{list(x.shape)}, but returns {y.dtype}{list(y.shape)}."
                )
            return y, end

        y, ends = self._over_layers(one, x, carry)
        return ends, y

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step through all layers: ``(carries, y)``, without dropout."""

        def one(layer: Any, x: Array, of_layer: Any) -> tuple[Array, Any]:
            end, y = layer.step(of_layer[1], x, context=context)
            return y, end

        y, ends = self._over_layers(one, x, carry)
        return ends, y

    def initial_carry(self, batch: Any, inputs: Inputs) -> Any:
        """The layer's carry, [batch, depth, ...] each leaf."""
        return jax.tree.map(
            lambda leaf: jnp.repeat(leaf[:, None], self.depth, axis=1),
            self.layer.initial_carry(batch, inputs),
        )
