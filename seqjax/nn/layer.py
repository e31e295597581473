"""What every layer of `seqjax.nn` offers, so that layers stack, stream and can be written down."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from seqjax.ops import as_lengths, check_input, length_mask


class Tokens(NamedTuple):
    """Inputs that are tokens: integers [batch, time] of a vocabulary.

    Attributes:
        vocab_size: tokens are 0, ..., vocab_size - 1.
    """

    vocab_size: int


Inputs = int | Tokens  # a number of features, or tokens
Context = Mapping[str, Any]


class Call(NamedTuple):
    """How a layer is called; see `Layer`."""

    seq_lengths: Any = None
    return_carry: bool = False
    deterministic: bool = True
    context: Context | None = None


class Layer(nn.Module):
    """A layer in two modes with the same parameters: a whole sequence, and one step.

    ``layer(x)`` and ``layer.step`` over the steps of ``x`` agree to float
    tolerance. A carry is a pytree of constant size whose leaves all begin with the batch:
    an RNN's state, a convolution's ring buffer, ``()`` for a layer without memory.

    A subclass has `whole` and `step`; what else stands here is that of a layer that keeps no
    carry, answers every step, and gives as many features as it takes. `seqjax.ops` offers
    what a layer of one's own needs: `as_lengths`, `length_mask`, `carry_dtype`, `check_input`.
    """

    if TYPE_CHECKING:

        def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
            """``(carry, y)`` of whole sequences; the carry only counts where it is asked for."""
            ...

        def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Any]:
            """One step, without dropout: ``(carry, y)``, x [batch, inputs] (tokens [batch])."""
            ...

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
        """Run over whole sequences.

        Args:
            x: [batch, time, inputs], or tokens [batch, time].
            initial_carry: before the first step; None for `initial_carry`.
            seq_lengths: [batch], valid steps of each right-padded sequence.
            return_carry: return ``(carry, y)`` in place of ``y``.
            deterministic: no dropout; without it the rng "dropout" is needed.
            context: arrays by name that layers may read besides x, such as a WaveNet's
                conditions; each takes what its `context_names` tell.

        Returns:
            ``y`` [batch, time, features], or ``(carry, y)``.
        """
        call = self._checked_call(Call(seq_lengths, return_carry, deterministic, context))
        carry, y = self.whole(x, initial_carry, call)
        return (carry, y) if return_carry else y

    def initial_carry(self, batch: Any, inputs: Inputs) -> Any:
        """The carry before the first step."""
        del batch, inputs
        return ()

    def output_length(self, length: Any) -> Any:
        """Number of output steps for so many input steps, an integer or an array of them."""
        return length

    def output_features(self, inputs: Inputs) -> int:
        """Number of features of ``y``."""
        if isinstance(inputs, Tokens):
            raise ValueError(
                f"{type(self).__name__} takes features, not tokens; put nn.Embed before it."
            )
        return inputs

    def context_names(self) -> frozenset[str]:
        """What this layer and those within read of a context."""
        return frozenset().union(*(layer.context_names() for layer in self.sublayers()))

    @property
    def context_at_start(self) -> frozenset[str]:
        """What of it is read as a whole when a sequence begins, and never by a step."""
        return frozenset().union(*(layer.context_at_start for layer in self.sublayers()))

    def sublayers(self) -> tuple["Layer", ...]:
        """The layers within."""
        return ()

    @property
    def keeps_length(self) -> bool:
        """Whether there is an output for every input: no stride, no step left out."""
        return all(layer.keeps_length for layer in self.sublayers())

    @property
    def stateless(self) -> bool:
        """Whether every step stands alone."""
        layers = self.sublayers()
        return bool(layers) and all(layer.stateless for layer in layers)

    def last(self, x: Array, initial_carry: Any = None, **call: Any) -> Any:
        """``y`` [batch, features] when each sequence is over, or ``(carry, y)``.

        That is the output at the last step (the first, for length 0); of two directions
        each at its own end. Called as the layer itself.
        """
        given = self._checked_call(Call(**call))
        carry, y = self.end(x, initial_carry, given)
        return (carry, y) if given.return_carry else y

    def _checked_call(self, call: Call) -> Call:
        """ValueError for a context that no layer of the whole tree reads."""
        if call.context is not None and not self.path:
            check_context(self, call.context)
        return call

    @property
    def backwards(self) -> bool:
        """Whether (some) outputs read from the end, so that the last step is not their last."""
        return any(layer.backwards for layer in self.sublayers())

    @property
    def ends_apart(self) -> bool:
        """Whether `end` is more than, or cheaper than, the last of every step's answers."""
        return self.backwards

    def end(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """`whole`, but for the `last` answer alone."""
        if self.backwards:
            raise ValueError(
                f"{type(self).__name__}: part of it reads backwards and part forwards, so it has no"
                " single end; take the outputs of all steps, or put a layer above that has one."
            )
        lengths = as_lengths(call.seq_lengths, batch=x.shape[0], steps=x.shape[1])
        carry, y = with_carry(self, x, carry, call)
        return carry, at_last(y, None if lengths is None else self.output_length(lengths))

    def declare(
        self, name: str, shape: tuple[int, ...], init: Any, dtype: Any, inputs: int | None = None
    ) -> Array:
        """A parameter, as `self.param`; ValueError where a stored one has another shape.

        Args:
            name: the parameter's.
            shape: what it must have.
            init: draws it, ``(key, shape, dtype)``.
            dtype: of the parameter.
            inputs: features of the input, to be named in the error.
        """
        if self.has_variable("params", name):
            found = jnp.shape(nn.meta.unbox(self.get_variable("params", name)))
            if found != tuple(shape):
                of = "" if inputs is None else f" for x with {inputs} features"
                raise ValueError(
                    f"{type(self).__name__}: {name} must be {list(shape)}{of}, but the parameters"
                    f" have {list(found)}."
                )
        return self.param(name, init, shape, dtype)

    def checked(self, x: Array, ndim: int) -> Array:
        """`x`; ValueError where it holds no floats, or has other than `ndim` dimensions."""
        check_input(type(self).__name__, x, ndim)
        return x


def checked_rate(layer: Layer, rate: float) -> float:
    """A dropout rate; ValueError where it is none."""
    if not 0 <= rate < 1:
        raise ValueError(f"{type(layer).__name__}: a dropout rate is in [0, 1), not {rate}.")
    return rate


def check_context(layer: Layer, context: Context | None) -> None:
    """ValueError for what no layer within reads: it would do nothing."""
    known = layer.context_names()
    if unknown := sorted((context or {}).keys() - known):
        reads = f"they read {sorted(known)}" if known else "they read none"
        raise ValueError(f"no layer reads the context {unknown}; {reads}.")


def with_carry(layer: Any, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
    """``layer(x, ...)`` as it is called, whoever wrote it: ``(carry or None, y)``."""
    result = layer(x, carry, **call._asdict())
    return result if call.return_carry else (None, result)


def without_padding(x: Array, seq_lengths: Any) -> tuple[Array, Array | None]:
    """`x` with zeros after each sequence's end, whatever stood there, and where it is valid.

    Args:
        x: [batch, time, ...].
        seq_lengths: [batch], or None.

    Returns:
        ``(x, valid)``, `valid` of the rank of `x`, [batch, time, 1 ...], or None without lengths.
    """
    if seq_lengths is None:
        return x, None
    lengths = as_lengths(seq_lengths, batch=x.shape[0], steps=x.shape[1])
    assert lengths is not None
    valid = length_mask(lengths, x.shape[1]).T
    valid = valid.reshape(*valid.shape, *(1,) * (x.ndim - 2))
    return jnp.where(valid, x, jnp.zeros_like(x)), valid


def at_last(y: Array, lengths: Array | None) -> Array:
    """[batch, features]: y at each sequence's last step (the first, for length 0)."""
    if lengths is None:
        return y[:, -1]
    last = jnp.maximum(lengths - 1, 0)
    return jnp.take_along_axis(y, last[:, None, None], axis=1)[:, 0]


def check_parts(layer: Layer, carry: Any, count: int) -> tuple[Any, ...]:
    """The carries of so many layers; ValueError where they are not that many."""
    if carry is None:
        return (None,) * count
    if not isinstance(carry, tuple | list) or len(carry) != count:
        raise ValueError(
            f"{type(layer).__name__}: a carry must be a tuple of {count}, one for each layer, not"
            f" {jax.tree.map(jnp.shape, carry)}."
        )
    return tuple(carry)


def check_layers(name: str, layers: Any) -> None:
    """ValueError for what is no tuple (or list) of layers, with the way out."""
    given = layers if isinstance(layers, tuple | list) else (layers,)
    for one in given:
        if not isinstance(one, Layer):
            module = type(one).__module__
            raise ValueError(
                f"nn.{name}: {module}.{type(one).__name__} is no layer of seqjax.nn. Those of"
                " Flax have names there (Dense, Embed, LayerNorm, ...); one of your own subclasses"
                " seqjax.nn.Layer."
            )
    if given is not layers:
        raise ValueError(
            f"nn.{name}: layers are one tuple, nn.{name}((nn.LSTM(4), nn.Dense(1))), not"
            f" {type(layers).__name__}."
        )
