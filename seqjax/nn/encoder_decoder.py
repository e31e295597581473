"""One sequence into another, of another length and order."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import Array
from jax.nn import initializers

from seqjax.nn.layer import Call, Context, Inputs, Layer, Tokens, with_carry
from seqjax.ops import as_lengths
from seqjax.ops.bounds import Size


class EncoderDecoder(Layer):
    """A decoder that goes on from what an encoder has read (many-to-many, unaligned).

    ``m, e = encoder(source)``; ``carry_0 = tanh(W e + b)``, a map for each array of the
    decoder's carry; ``y = decoder(x, carry_0)``, which may look at ``m`` by
    `seqjax.nn.Attention`

    ``m`` are the encoder's outputs and ``e`` what it keeps at the source's end. The source is
    the context's, ``{"source": [batch, steps] tokens or [batch, steps, source_features],
    "source_lengths": [batch]}``, the latter where it is padded. ``x`` is what the decoder reads:
    in training the target one step late (teacher forcing), all steps in one scan.

    The carry is the decoder's, memory included. Begin with ``layer(x[:, :1], context=...,
    return_carry=True)``; from there on a step costs one of the decoder and needs no source.

    Attributes:
        encoder: a layer over the source, of whatever directions.
        decoder: a layer of steps forwards, usually recurrent.
        source_features: of the source; 0 where it is tokens.
        bridge: draw the decoder's first carry from the encoder's last; otherwise it is zeros,
            and attention all there is between the two.
        dtype: of the bridge's computation.
        param_dtype: of the bridge's parameters.

    Example:
        >>> from seqjax.nn import GRU, Attention, Bidirectional, Dense, Embed, Stack
        >>> encoder = Stack((Embed(30, features=8), Bidirectional(GRU(6))))
        >>> decoder = Stack((Embed(20, features=8), GRU(6), Attention(12), Dense(20)))
        >>> layer, words = EncoderDecoder(encoder, decoder), jnp.array([[1, 4, 7]])
        >>> context = {"source": jnp.array([[3, 1, 4, 1, 5]])}
        >>> params = layer.init(jax.random.key(0), words)
        >>> layer.apply(params, words, context=context).shape
        (1, 3, 20)

    Source: Cho et al., arXiv 1406.1078, appendix A; Bahdanau et al., arXiv 1409.0473.
    """

    encoder: Layer
    decoder: Layer
    source_features: Size = 0
    bridge: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def sublayers(self) -> tuple[Layer, ...]:
        """The decoder, whose steps are this layer's; the encoder's are others."""
        return (self.decoder,)

    @property
    def stateless(self) -> bool:
        """It remembers the source."""
        return False

    def context_names(self) -> frozenset[str]:
        """The source, its lengths, and what encoder and decoder read besides."""
        within = self.encoder.context_names() | self.decoder.context_names()
        return self.context_at_start | within - {"memory", "memory_lengths"}

    @property
    def context_at_start(self) -> frozenset[str]:
        """The source and its lengths."""
        return frozenset({"source", "source_lengths"})

    def _source(self, x: Array, context: Context | None) -> tuple[Array, Array | None]:
        """The source and its lengths."""
        given, batch, features = context or {}, x.shape[0], self.source_features
        source = given.get("source")
        if source is None and self.is_initializing():
            source = jnp.zeros((batch, 1), jnp.int32)
            source = jnp.zeros((batch, 1, features), self.param_dtype) if features else source
        words = f"[{batch}, steps{f', {features}' if features else ''}]"
        if source is None:
            raise ValueError(
                f"EncoderDecoder: the context must hold 'source', {words}, or the carry come from"
                " an earlier call."
            )
        ends = (features,) if features else ()
        if source.ndim != 2 + len(ends) or source.shape[0] != batch or source.shape[2:] != ends:
            raise ValueError(
                f"EncoderDecoder: the source must be {words}, but its shape is {source.shape}."
            )
        lengths = given.get("source_lengths")
        return source, as_lengths(lengths, batch=batch, steps=source.shape[1])

    @nn.compact
    def _begin(self, x: Array, call: Call) -> tuple[Any, Context]:
        """The decoder's carry before its first step, and its context."""
        source, lengths = self._source(x, call.context)
        known = _part(self.encoder, call.context)
        reading = Call(lengths, self.bridge, call.deterministic, known)
        end, memory = with_carry(self.encoder, source, None, reading)
        known = dict(call.context or {}) | {"memory": memory}
        if lengths is not None:
            known["memory_lengths"] = self.encoder.output_length(lengths)
        if not self.bridge:
            return None, known
        inputs = x.shape[-1] if jnp.issubdtype(x.dtype, jnp.floating) else Tokens(1)  # any number
        zeros = self.decoder.initial_carry(x.shape[0], inputs)
        return self._bridged(_flat(end), zeros), known

    def _bridged(self, end: list[Array], zeros: Any) -> Any:
        """A carry like `zeros`, of what the encoder keeps."""
        if not end:
            raise ValueError("EncoderDecoder: the encoder keeps nothing; say bridge=False.")
        summary = jnp.concatenate(end, axis=-1)
        leaves, tree = jax.tree.flatten(zeros)
        for k, leaf in enumerate(leaves):
            if not jnp.issubdtype(leaf.dtype, jnp.inexact):
                continue
            parts = [
                nn.Dense(
                    part.shape[-1],
                    kernel_init=initializers.glorot_uniform(),
                    dtype=self.dtype,
                    param_dtype=self.param_dtype,
                    name=f"bridge_{k}" + ("_imag" if number else ""),
                )(summary)
                for number, part in enumerate(_flat(leaf))
            ]
            value = jnp.tanh(parts[0])
            if len(parts) == 2:
                value = jax.lax.complex(value, jnp.tanh(parts[1]))
            leaves[k] = value.reshape(leaf.shape).astype(leaf.dtype)
        return jax.tree.unflatten(tree, leaves)

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carry, y)``, y [batch, time, features]; with a carry the source is not read."""
        known = _part(self.decoder, call.context)
        if carry is None:
            carry, context = self._begin(x, call)
            known = _part(self.decoder, context)
        return with_carry(self.decoder, x, carry, call._replace(context=known))

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step, from the carry of an earlier call: ``(carry, y)``, without dropout."""
        if self.is_initializing():
            self.whole(x[:, None], None, Call(context=context))
        return self.decoder.step(carry, x, context=_part(self.decoder, context))

    def initial_carry(self, batch: Any, inputs: Inputs) -> Any:
        """Raises ValueError: what comes before the first step is the source."""
        raise ValueError(
            "EncoderDecoder: its carry begins with the source; call it with"
            " context={'source': ...} and return_carry=True for the first step or more."
        )

    def output_features(self, inputs: Inputs) -> int:
        """The decoder's."""
        return self.decoder.output_features(inputs)

    def output_length(self, length: Any) -> Any:
        """The decoder's."""
        return self.decoder.output_length(length)

    def end(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """The decoder's answer when its sequence is over."""
        if self.decoder.ends_apart:
            raise ValueError("EncoderDecoder: the decoder runs forwards, and answers every step.")
        return super().end(x, carry, call)


def _part(layer: Layer, context: Context | None) -> Context | None:
    """What a layer reads of a context."""
    names = layer.context_names()
    return {name: value for name, value in (context or {}).items() if name in names} or None


def _flat(carry: Any) -> list[Array]:
    """The numbers of a carry, [batch, features] each, complex ones as two."""
    found = []
    for leaf in jax.tree.leaves(carry):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            rows = leaf.reshape(leaf.shape[0], -1)
            found += [rows.real, rows.imag] if jnp.iscomplexobj(rows) else [rows]
    return found
