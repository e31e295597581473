"""Layers made of layers."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from seqjax.nn.both_ways import are_one_kernel, run_both_ways
from seqjax.nn.layer import (
    Call,
    Context,
    Inputs,
    Layer,
    at_last,
    check_layers,
    check_parts,
    checked_rate,
    with_carry,
)
from seqjax.nn.recurrent import Recurrent, run_wavefront, wavefront_kind
from seqjax.ops import as_lengths
from seqjax.ops.bounds import Rate
from seqjax.ops.wavefront import pays as wavefront_pays


class Bidirectional(Layer):
    """Two recurrent layers, one in each direction, their outputs side by side.

    It reads the future, so it has no one-step mode. Its answer when the sequence is over
    (`last`) is that of each direction at its own end, as Keras's with
    ``return_sequences=False``. Two alike layers with ``implementation="pallas"`` are one
    kernel (docs/gpu-kernels.md), and not called one by one.

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
        for layer in self.sublayers():
            if not isinstance(layer, Recurrent) or layer.reverse:
                raise ValueError(
                    "Bidirectional takes recurrent layers that run forwards (RNN, LSTM, GRU),"
                    f" not {type(layer).__name__} with reverse="
                    f"{getattr(layer, 'reverse', 'unknown')}; it reverses the second itself."
                )
        backward = self.sublayers()[1]
        self.backward_layer = backward.clone(parent=self, name=None, reverse=True, keep_order=True)

    def sublayers(self) -> tuple[Layer, ...]:
        """Both layers, before the second is reversed."""
        return self.forward, self.forward if self.backward is None else self.backward

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``((forward, backward) carries, y)``, y [batch, time, 2 * features]."""
        before = check_parts(self, carry, 2)
        layers = self.forward, self.backward_layer
        if are_one_kernel(layers, x, call):
            return run_both_ways(layers, x, before, call)
        end, forwards = with_carry(self.forward, x, before[0], call)
        start, backwards = with_carry(self.backward_layer, x, before[1], call)
        return (end, start), jnp.concatenate([forwards, backwards], axis=-1)

    @property
    def backwards(self) -> bool:
        """One half does."""
        return True

    def end(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carries, y)``, y [batch, 2 * features]: each direction at its own end."""
        before = check_parts(self, carry, 2)
        layers = self.forward, self.backward_layer
        if are_one_kernel(layers, x, call):
            carries, y = run_both_ways(layers, x, before, call)
            width = self.forward.features
            lengths = as_lengths(call.seq_lengths, batch=x.shape[0], steps=x.shape[1])
            forwards, backwards = at_last(y[..., :width], lengths), y[:, 0, width:]
            return carries, jnp.concatenate([forwards, backwards], axis=-1)
        end, forwards = self.forward.end(x, before[0], call)
        start, backwards = self.backward_layer.end(x, before[1], call)
        return (end, start), jnp.concatenate([forwards, backwards], axis=-1)

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """Raises ValueError: the backward half needs the whole sequence."""
        raise ValueError(
            "Bidirectional: the backward half starts at the end of the sequence; use a"
            " one-directional layer to run one step at a time."
        )

    def initial_carry(self, batch: Any, inputs: Inputs) -> tuple[Any, ...]:
        """The carries of both directions."""
        return tuple(layer.initial_carry(batch, inputs) for layer in self.sublayers())

    def output_features(self, inputs: Inputs) -> int:
        """The widths of both directions together."""
        return sum(layer.output_features(inputs) for layer in self.sublayers())


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

    def __post_init__(self) -> None:
        check_layers("Stack", self.layers)
        super().__post_init__()

    def setup(self) -> None:
        self.between = nn.Dropout(checked_rate(self, self.dropout))

    def sublayers(self) -> tuple[Layer, ...]:
        """The layers."""
        return self.layers

    @property
    def _top(self) -> int:
        """The topmost layer with a memory."""
        return max((k for k, one in enumerate(self.layers) if not one.stateless), default=0)

    @property
    def backwards(self) -> bool:
        """Whether the topmost layer with a memory is."""
        return bool(self.layers) and self.layers[self._top].backwards

    @property
    def ends_apart(self) -> bool:
        """Whether the topmost layer with a memory does."""
        return bool(self.layers) and self.layers[self._top].ends_apart

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carries, y)``, y [batch, time, features], a carry for each layer."""
        carries = check_parts(self, carry, len(self.layers))
        ends, y, _ = self._run(range(len(self.layers)), x, carries, call)
        return ends, y

    def end(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carries, y)``, y [batch, features] when each sequence is over.

        The layers above the topmost one with a memory see its last answer alone: a dense head
        costs one step. Where that layer reads backwards (as in Keras), or pools over time, its
        last answer is its own `end`.
        """
        count = len(self.layers)
        carries = check_parts(self, carry, count)
        if not self.layers:
            return super().end(x, carry, call)
        if self.ends_apart:
            top = self._top
            ends, x, lengths = self._run(range(top), x, carries, call)
            if top:
                x = self.between(x, deterministic=call.deterministic)
            end, y = self.layers[top].end(x, carries[top], call._replace(seq_lengths=lengths))
            ends = (*ends, end)
        else:
            # What reads a context may read another at every step.
            top = max((k for k, one in enumerate(self.layers) if one.context_names()), default=0)
            top = max(top, self._top)
            ends, x, lengths = self._run(range(top + 1), x, carries, call)
            y = at_last(x, lengths)
        if top + 1 == count:
            return ends, y
        y = self.between(y[:, None], deterministic=call.deterministic)
        some = None if lengths is None else jnp.minimum(lengths, 1)
        call = call._replace(seq_lengths=some)
        above, y, _ = self._run(range(top + 1, count), y, carries, call)
        return (*ends, *above), y[:, 0]

    def _run(
        self, which: range, x: Array, carries: tuple[Any, ...], call: Call
    ) -> tuple[tuple[Any, ...], Array, Array | None]:
        """Some of the layers: their carries at the end, outputs, and what lengths are left."""
        ends: list[Any] = []
        lengths = as_lengths(call.seq_lengths, batch=x.shape[0], steps=x.shape[1])

        def run(layer: Layer, x: Array, carry: Any, lengths: Any) -> tuple[Any, Array]:
            return with_carry(layer, x, carry, call._replace(seq_lengths=lengths))

        if self.remat:
            run = nn.remat(run)
        while (index := which.start + len(ends)) < which.stop:
            layer = self.layers[index]
            if index > which.start:
                x = self.between(x, deterministic=call.deterministic)
            if count := self._in_wavefront(index, which.stop, x, carries, call.deterministic):
                group = slice(index, index + count)
                before = None if carries[index] is None else carries[group]
                some, x = run_wavefront(self.layers[group], x, before, lengths)
                ends.extend(some)
                continue
            after, x = run(layer, x, carries[index], lengths)
            ends.append(after)
            lengths = None if lengths is None else layer.output_length(lengths)
        return tuple(ends), x, lengths

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
            if not layer.keeps_length and layer is not self.layers[-1]:
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
