"""Layers made of layers, and the dense head."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import Array
from jax.nn import initializers
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax.nn.recurrent import run_wavefront, wavefront_kind
from seqjax.ops.wavefront import pays as wavefront_pays


class Dense(nn.Module):
    """A dense layer at every step: ``y_t = activation(x_t W + b)``.

    Every step, padding included: with `seq_lengths` its outputs after a
    sequence's end are ``activation(b)``, to be left out of a loss.

    Attributes:
        features: number of outputs.
        activation: an elementwise function, or None.
        dtype: of the computation; by default that of inputs and parameters.
        param_dtype: of the parameters.

    Example:
        >>> import jax
        >>> layer, x = Dense(features=1), jax.numpy.ones((2, 5, 3))
        >>> layer.apply(layer.init(jax.random.key(0), x), x).shape
        (2, 5, 1)
    """

    features: int
    activation: Callable[[Array], Array] | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def setup(self) -> None:
        self.dense = nn.Dense(
            self.features,
            kernel_init=initializers.glorot_uniform(),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

    def __call__(
        self,
        x: Float[Array, "*batch inputs"],
        initial_carry: tuple[()] | None = None,
        *,
        seq_lengths: Int[ArrayLike, " batch"] | None = None,
        return_carry: bool = False,
        deterministic: bool = True,
    ) -> Any:
        """``y`` [..., features], or ``((), y)``."""
        del initial_carry, seq_lengths, deterministic  # each step stands alone
        y = self.dense(x)
        y = y if self.activation is None else self.activation(y)
        return ((), y) if return_carry else y

    def step(
        self, carry: tuple[()], x: Float[Array, "batch inputs"]
    ) -> tuple[tuple[()], Float[Array, "batch features"]]:
        """One step: ``((), y)``."""
        return carry, self(x)

    def initial_carry(self, batch: int, inputs: int) -> tuple[()]:
        """Nothing."""
        del batch, inputs
        return ()

    def output_length(self, length: Any) -> Any:
        """As many as inputs."""
        return length

    def output_features(self, inputs: int) -> int:
        """Number of outputs."""
        del inputs
        return self.features


class Bidirectional(nn.Module):
    """Two recurrent layers, one in each direction, their outputs side by side.

    It reads the future, so it has no one-step mode.

    Attributes:
        forward: a recurrent layer.
        backward: the layer that runs from the end; by default one like `forward`.

    Example:
        >>> import jax
        >>> from seqjax.nn import LSTM
        >>> layer, x = Bidirectional(LSTM(features=4)), jax.numpy.ones((2, 5, 3))
        >>> layer.apply(layer.init(jax.random.key(0), x), x).shape
        (2, 5, 8)

    Source: Schuster and Paliwal, IEEE Transactions on Signal Processing 45, 1997.
    """

    forward: nn.Module
    backward: nn.Module | None = None

    def setup(self) -> None:
        backward = self.forward if self.backward is None else self.backward
        for layer in (self.forward, backward):
            if getattr(layer, "reverse", None) is not False:
                raise ValueError(
                    "Bidirectional takes recurrent layers that run forwards (RNN, LSTM, GRU),"
                    f" not {type(layer).__name__} with reverse="
                    f"{getattr(layer, 'reverse', 'unknown')}; it reverses the second itself."
                )
        self.backward_layer = backward.clone(parent=self, name=None, reverse=True, keep_order=True)

    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        initial_carry: tuple[Any, Any] | None = None,
        *,
        seq_lengths: Int[ArrayLike, " batch"] | None = None,
        return_carry: bool = False,
        deterministic: bool = True,
    ) -> Any:
        """``y`` [batch, time, 2 * features], or ``((forward, backward) carries, y)``."""
        layers = (self.forward, self.backward_layer)
        carries = (None, None) if initial_carry is None else initial_carry
        ends, outputs = zip(
            *(
                layer(
                    x,
                    carry,
                    seq_lengths=seq_lengths,
                    return_carry=True,
                    deterministic=deterministic,
                )
                for layer, carry in zip(layers, carries, strict=True)
            ),
            strict=True,
        )
        y = jnp.concatenate(outputs, axis=-1)
        return (ends, y) if return_carry else y

    def step(
        self, carry: Any, x: Float[Array, "batch inputs"]
    ) -> tuple[Any, Float[Array, "batch features"]]:
        """Raises ValueError: the backward half needs the whole sequence."""
        raise ValueError(
            "Bidirectional: the backward half starts at the end of the sequence; use a"
            " one-directional layer to run one step at a time."
        )

    def initial_carry(self, batch: int, inputs: int) -> tuple[Any, Any]:
        """The carries of both directions."""
        backward = self.forward if self.backward is None else self.backward
        return self.forward.initial_carry(batch, inputs), backward.initial_carry(batch, inputs)

    def output_length(self, length: Any) -> Any:
        """As many as inputs."""
        return length

    def output_features(self, inputs: int) -> int:
        """The widths of both directions together."""
        backward = self.forward if self.backward is None else self.backward
        return self.forward.output_features(inputs) + backward.output_features(inputs)


class Stack(nn.Module):
    """Layers one upon the other, with dropout between them.

    Narrow recurrent layers that are alike run in one loop where that is measured to be
    faster (`seqjax.ops.wavefront`): the same function of the same parameters, but the
    layers are not called one by one, so `capture_intermediates` does not see them.

    Attributes:
        layers: the layers, from the input upwards.
        dropout: rate of the dropout between layers (not before the first, not
            after the last); needs the rng "dropout" unless deterministic.
        remat: recompute each layer in the backward pass (`jax.checkpoint`), so
            that only the sequences between layers are kept. On a CPU, XLA may
            recompute early and save nothing; a layer's `chunk_size` always saves.

    Example:
        >>> import jax
        >>> from seqjax.nn import LSTM
        >>> stack = Stack((LSTM(features=8), LSTM(features=8), Dense(features=1)), dropout=0.2)
        >>> x = jax.numpy.ones((2, 5, 3))
        >>> params = stack.init(jax.random.key(0), x)
        >>> rngs = {"dropout": jax.random.key(1)}
        >>> stack.apply(params, x, deterministic=False, rngs=rngs).shape
        (2, 5, 1)
    """

    layers: tuple[nn.Module, ...]
    dropout: float = 0.0
    remat: bool = False

    def setup(self) -> None:
        self.between = nn.Dropout(self.dropout)

    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        initial_carry: tuple[Any, ...] | None = None,
        *,
        seq_lengths: Int[ArrayLike, " batch"] | None = None,
        return_carry: bool = False,
        deterministic: bool = True,
    ) -> Any:
        """``y`` [batch, time, features], or ``(carries, y)``, a carry for each layer."""
        carries = (None,) * len(self.layers) if initial_carry is None else initial_carry
        ends: list[Any] = []

        def run(layer: nn.Module, x: Array, carry: Any, seq_lengths: ArrayLike | None) -> Any:
            return layer(
                x,
                carry,
                seq_lengths=seq_lengths,
                return_carry=return_carry,
                deterministic=deterministic,
            )

        if self.remat:
            run = nn.remat(run)
        while (index := len(ends)) < len(self.layers):
            layer = self.layers[index]
            if index:
                x = self.between(x, deterministic=deterministic)
            if count := self._in_wavefront(index, x, carries, deterministic):
                group = slice(index, index + count)
                result = run_wavefront(
                    self.layers[group],
                    x,
                    None if carries[index] is None else carries[group],
                    seq_lengths=seq_lengths,
                    return_carry=return_carry,
                )
                some, x = result if return_carry else ((None,) * count, result)
                ends.extend(some)
                continue
            result = run(layer, x, carries[index], seq_lengths)
            end, x = result if return_carry else (None, result)
            ends.append(end)
            if seq_lengths is not None:
                seq_lengths = layer.output_length(jnp.asarray(seq_lengths))
        return (tuple(ends), x) if return_carry else x

    def _in_wavefront(
        self, index: int, x: Array, carries: tuple[Any, ...], deterministic: bool
    ) -> int:
        """How many layers from `index` on run as one loop; 0 for none."""
        kind = wavefront_kind(self.layers[index], x, deterministic)
        if kind is None or self.remat or (self.dropout and not deterministic):
            return 0
        count = 1
        while (
            (above := index + count) < len(self.layers)
            and wavefront_kind(self.layers[above], x, deterministic) == kind
            and (carries[above] is None) == (carries[index] is None)
            and wavefront_pays(kind[1], count + 1)
        ):
            count += 1
        return count if count > 1 else 0

    def step(
        self, carry: tuple[Any, ...], x: Float[Array, "batch inputs"]
    ) -> tuple[tuple[Any, ...], Float[Array, "batch features"]]:
        """One step through all layers: ``(carries, y)``, without dropout."""
        ends = []
        for layer, before in zip(self.layers, carry, strict=True):
            if layer.output_length(2**20) != 2**20 and layer is not self.layers[-1]:
                raise ValueError(
                    "Stack: the layers above a strided one run at a slower rate; only"
                    " the last layer may have a stride to run one step at a time."
                )
            end, x = layer.step(before, x)
            ends.append(end)
        return tuple(ends), x

    def initial_carry(self, batch: int, inputs: int) -> tuple[Any, ...]:
        """The carries of all layers."""
        carries = []
        for layer in self.layers:
            carries.append(layer.initial_carry(batch, inputs))
            inputs = layer.output_features(inputs)
        return tuple(carries)

    def output_length(self, length: Any) -> Any:
        """Number of steps of the last layer's output."""
        for layer in self.layers:
            length = layer.output_length(length)
        return length

    def output_features(self, inputs: int) -> int:
        """Number of features of the last layer's output."""
        for layer in self.layers:
            inputs = layer.output_features(inputs)
        return inputs
