"""Layers made of layers."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from seqjax.nn.layer import Context, Inputs, Layer, at_last, check_parts
from seqjax.nn.recurrent import Recurrent, run_wavefront, wavefront_kind
from seqjax.ops import as_lengths
from seqjax.ops.bounds import Rate
from seqjax.ops.wavefront import pays as wavefront_pays


class Bidirectional(Layer):
    """Two recurrent layers, one in each direction, their outputs side by side.

    It reads the future, so it has no one-step mode. Its answer when the sequence is over
    (`last`) is that of each direction at its own end, as Keras's with
    ``return_sequences=False``.

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

    forward: Layer
    backward: Layer | None = None

    def setup(self) -> None:
        for layer in self.inner():
            if not isinstance(layer, Recurrent) or layer.reverse:
                raise ValueError(
                    "Bidirectional takes recurrent layers that run forwards (RNN, LSTM, GRU),"
                    f" not {type(layer).__name__} with reverse="
                    f"{getattr(layer, 'reverse', 'unknown')}; it reverses the second itself."
                )
        backward = self.inner()[1]
        self.backward_layer = backward.clone(parent=self, name=None, reverse=True, keep_order=True)

    def inner(self) -> tuple[Layer, ...]:
        """Both layers, before the second is reversed."""
        return self.forward, self.forward if self.backward is None else self.backward

    def _both(self, x: Array, initial_carry: Any, **options: Any) -> tuple[Any, Any]:
        carries = check_parts(self, initial_carry, 2)
        layers = (self.forward, self.backward_layer)
        results = [
            layer(x, carry, return_carry=True, **options)
            for layer, carry in zip(layers, carries, strict=True)
        ]
        ends, outputs = zip(*results, strict=True)
        return ends, outputs

    def __call__(
        self,
        x: Array,
        initial_carry: Any = None,
        *,
        seq_lengths: Any = None,
        return_carry: bool = False,
        deterministic: bool = True,
        context: Context | None = None,
    ) -> Any:
        """``y`` [batch, time, 2 * features], or ``((forward, backward) carries, y)``."""
        options = {"seq_lengths": seq_lengths, "deterministic": deterministic, "context": context}
        ends, outputs = self._both(x, initial_carry, **options)
        y = jnp.concatenate(outputs, axis=-1)
        return (ends, y) if return_carry else y

    def last(
        self,
        x: Array,
        initial_carry: Any = None,
        *,
        seq_lengths: Any = None,
        return_carry: bool = False,
        deterministic: bool = True,
        context: Context | None = None,
    ) -> Any:
        """``y`` [batch, 2 * features], each direction at its own end, or ``(carries, y)``."""
        options = {"seq_lengths": seq_lengths, "deterministic": deterministic, "context": context}
        ends, (forwards, backwards) = self._both(x, initial_carry, **options)
        lengths = as_lengths(seq_lengths, batch=x.shape[0], steps=x.shape[1])
        y = jnp.concatenate([at_last(forwards, lengths), backwards[:, 0]], axis=-1)
        return (ends, y) if return_carry else y

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """Raises ValueError: the backward half needs the whole sequence."""
        raise ValueError(
            "Bidirectional: the backward half starts at the end of the sequence; use a"
            " one-directional layer to run one step at a time."
        )

    def initial_carry(self, batch: Any, inputs: Inputs) -> tuple[Any, ...]:
        """The carries of both directions."""
        return tuple(layer.initial_carry(batch, inputs) for layer in self.inner())

    def output_features(self, inputs: Inputs) -> int:
        """The widths of both directions together."""
        return sum(layer.output_features(inputs) for layer in self.inner())


class Stack(Layer):
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
        >>> from seqjax.nn import Dense, LSTM
        >>> stack = Stack((LSTM(features=8), LSTM(features=8), Dense(features=1)), dropout=0.2)
        >>> x = jax.numpy.ones((2, 5, 3))
        >>> params = stack.init(jax.random.key(0), x)
        >>> rngs = {"dropout": jax.random.key(1)}
        >>> stack.apply(params, x, deterministic=False, rngs=rngs).shape
        (2, 5, 1)
    """

    layers: tuple[Layer, ...]
    dropout: Rate = 0.0
    remat: bool = False

    def setup(self) -> None:
        self.between = nn.Dropout(self.dropout)

    def inner(self) -> tuple[Layer, ...]:
        """The layers."""
        return self.layers

    def __call__(
        self,
        x: Array,
        initial_carry: Any = None,
        *,
        seq_lengths: Any = None,
        return_carry: bool = False,
        deterministic: bool = True,
        context: Context | None = None,
    ) -> Any:
        """``y`` [batch, time, features], or ``(carries, y)``, a carry for each layer."""
        carries = check_parts(self, initial_carry, len(self.layers))
        options = {"return_carry": return_carry, "deterministic": deterministic, "context": context}
        ends, x = self._run(0, len(self.layers), x, carries, seq_lengths, options)
        return (ends, x) if return_carry else x

    def last(
        self,
        x: Array,
        initial_carry: Any = None,
        *,
        seq_lengths: Any = None,
        return_carry: bool = False,
        deterministic: bool = True,
        context: Context | None = None,
    ) -> Any:
        """``y`` [batch, features] when each sequence is over, or ``(carries, y)``.

        Where the topmost layer with a memory has an answer of its own (`Bidirectional`),
        those above it see that alone, as in Keras.
        """
        options = {"return_carry": return_carry, "deterministic": deterministic, "context": context}
        top = max((k for k, one in enumerate(self.layers) if not one.without_memory), default=0)
        if type(self.layers[top]).last is Layer.last:
            return super().last(x, initial_carry, seq_lengths=seq_lengths, **options)
        carries = check_parts(self, initial_carry, len(self.layers))
        ends, inputs = (), x
        if top:
            ends, x = self._run(0, top, x, carries, seq_lengths, options)
            x = self.between(x, deterministic=deterministic)
        seq_lengths = as_lengths(seq_lengths, batch=inputs.shape[0], steps=inputs.shape[1])
        for layer in self.layers[:top]:
            seq_lengths = _output_lengths(layer, seq_lengths)
        result = self.layers[top].last(x, carries[top], seq_lengths=seq_lengths, **options)
        end, y = result if return_carry else (None, result)
        if top + 1 < len(self.layers):
            y = self.between(y[:, None], deterministic=deterministic)
            above, y = self._run(top + 1, len(self.layers), y, carries, None, options)
            ends, y = (*ends, end, *above), y[:, 0]
        else:
            ends = (*ends, end)
        return (ends, y) if return_carry else y

    def _run(
        self,
        first: int,
        end: int,
        x: Array,
        carries: tuple[Any, ...],
        seq_lengths: Any,
        options: dict[str, Any],
    ) -> tuple[tuple[Any, ...], Array]:
        """The layers from `first` to before `end`: their carries at the end, and outputs."""
        ends: list[Any] = []
        seq_lengths = as_lengths(seq_lengths, batch=x.shape[0], steps=x.shape[1])
        return_carry, deterministic = options["return_carry"], options["deterministic"]

        def run(layer: Layer, x: Array, carry: Any, seq_lengths: Any) -> Any:
            return layer(x, carry, seq_lengths=seq_lengths, **options)

        if self.remat:
            run = nn.remat(run)
        while (index := first + len(ends)) < end:
            layer = self.layers[index]
            if index > first:
                x = self.between(x, deterministic=deterministic)
            if count := self._in_wavefront(index, end, x, carries, deterministic):
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
            after, x = result if return_carry else (None, result)
            ends.append(after)
            seq_lengths = _output_lengths(layer, seq_lengths)
        return tuple(ends), x

    def _in_wavefront(
        self, index: int, end: int, x: Array, carries: tuple[Any, ...], deterministic: bool
    ) -> int:
        """How many layers from `index` on run as one loop; 0 for none."""
        kind = wavefront_kind(self.layers[index], x, deterministic)
        if kind is None or self.remat or (self.dropout and not deterministic):
            return 0
        count = 1
        while (
            (above := index + count) < end
            and wavefront_kind(self.layers[above], x, deterministic) == kind
            and (carries[above] is None) == (carries[index] is None)
            and wavefront_pays(kind[1], count + 1)
        ):
            count += 1
        return count if count > 1 else 0

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step through all layers: ``(carries, y)``, without dropout."""
        ends = []
        for layer, before in zip(
            self.layers, check_parts(self, carry, len(self.layers)), strict=True
        ):
            if not layer.every_step and layer is not self.layers[-1]:
                raise ValueError(
                    "Stack: the layers above a strided one run at a slower rate; only"
                    " the last layer may have a stride to run one step at a time."
                )
            end, x = layer.step(before, x, context=context)
            ends.append(end)
        return tuple(ends), x

    def initial_carry(self, batch: Any, inputs: Inputs) -> tuple[Any, ...]:
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

    def output_features(self, inputs: Inputs) -> int:
        """Number of features of the last layer's output."""
        for layer in self.layers:
            inputs = layer.output_features(inputs)
        return super().output_features(inputs)

    @property
    def without_memory(self) -> bool:
        """Whether that holds for all layers."""
        return all(layer.without_memory for layer in self.layers)


def _output_lengths(layer: Layer, seq_lengths: Any) -> Any:
    return None if seq_lengths is None else layer.output_length(seq_lengths)
