"""Vectors of tokens and of the n-grams that end with them."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import Array
from jax.nn import initializers

from seqjax.nn.dense import Embed
from seqjax.nn.layer import Call, Context, Inputs, Layer, checked_rate, without_padding
from seqjax.ops import as_lengths
from seqjax.ops.bounds import Count, Rate


class NGramEmbed(Layer):
    """A vector for every token, and for every n-gram that it ends, out of tables with few rows.

    ``y_t = E[x_t] + sum_{n=2}^{order} T_n[hash(x_{t-n+1}, ..., x_t) mod buckets]``

    A lookup costs nothing where a product does: what the last few tokens say is learned in
    the first minutes, and the layers above learn what is further back. The tables begin as zeros,
    so that an n-gram never seen adds nothing. Before a sequence stand zeros.

    Attributes:
        num_embeddings: tokens are 0, ..., num_embeddings - 1.
        features: of the vectors.
        order: of the longest n-grams, at least 2.
        buckets: rows of each table; n-grams of the same hash share one.
        dropout: rate at which in training an n-gram counts as never seen, and all longer ones
            with the same end: a text that is read again has no new ones, another text has.
            Needs the rng "dropout" unless deterministic.
        dtype: of the outputs; by default that of the parameters.
        param_dtype: of the parameters.

    Example:
        >>> import jax
        >>> layer, tokens = NGramEmbed(50, features=8), jax.numpy.array([[3, 1, 4, 1, 5]])
        >>> layer.apply(layer.init(jax.random.key(0), tokens), tokens).shape
        (1, 5, 8)

    Source: Pagnoni et al., "Byte latent transformer", arXiv 2412.09871, section 3.2.1; hashed
    n-grams beside a recurrent network after Mikolov et al., "Strategies for training large scale
    neural network language models", ASRU 2011.
    """

    num_embeddings: Count
    features: Count
    order: Count = 4
    buckets: Count = 2**14
    dropout: Rate = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def setup(self) -> None:
        if self.order < 2:
            raise ValueError(f"NGramEmbed: order must be at least 2, not {self.order}.")
        checked_rate(self, self.dropout)
        self.embed = Embed(self.num_embeddings, self.features, self.dtype, self.param_dtype)

    @nn.nowrap
    def _rows(self, tokens: Array, steps: int) -> Array:
        """[batch, steps, order - 1]: a row for the n-grams of every n, tables end to end."""
        found, last = [], self.order - 1
        hashed = tokens[:, last:].astype(jnp.uint32)
        for n in range(1, self.order):
            before = tokens[:, last - n : last - n + steps].astype(jnp.uint32)
            hashed = hashed * jnp.uint32(0x9E3779B1) + before + jnp.uint32(1)
            mixed = (hashed ^ (hashed >> 15)) * jnp.uint32(0x85EBCA6B)
            row = (mixed ^ (mixed >> 13)) % jnp.uint32(self.buckets)
            found.append(row.astype(jnp.int32) + (n - 1) * self.buckets)
        return jnp.stack(found, axis=-1)

    def _table(self) -> Array:
        shape = ((self.order - 1) * self.buckets, self.features)
        table = self.declare("ngrams", shape, initializers.zeros, self.param_dtype)
        return table if self.dtype is None else table.astype(self.dtype)

    @nn.compact
    def _look_up(self, before: Array, x: Array, call: Call) -> tuple[Array, Array]:
        """The tokens, those before them included, and y [batch, time, features]."""
        _, y = self.embed.whole(x, (), call._replace(seq_lengths=None))
        tokens = jnp.concatenate([before, x.astype(before.dtype)], axis=1)
        rows = self._rows(tokens, x.shape[1])
        vectors = self._table()[rows]
        if self.dropout and not call.deterministic:
            kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.dropout, rows.shape)
            vectors *= jnp.cumprod(kept, axis=-1)[..., None].astype(vectors.dtype)
        return tokens, y + jnp.sum(vectors, axis=2)

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carry, y)`` of tokens [batch, time]; the carry holds the last ones."""
        if x.ndim == 2:
            x, _ = without_padding(x, call.seq_lengths)
        before = self.initial_carry(x.shape[0], 0) if carry is None else carry
        tokens, y = self._look_up(before, x, call)
        lengths = as_lengths(call.seq_lengths, batch=x.shape[0], steps=x.shape[1])
        if lengths is None:
            return tokens[:, x.shape[1] :], y
        at = lengths[:, None] + jnp.arange(self.order - 1)[None, :]
        return jnp.take_along_axis(tokens, at, axis=1), y

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step, tokens [batch]: ``(carry, y)``."""
        del context
        tokens, y = self._look_up(carry, x[:, None], Call())
        return tokens[:, 1:], y[:, 0]

    def initial_carry(self, batch: Any, inputs: Inputs) -> Array:
        """Zeros, [batch, order - 1]."""
        del inputs
        return jnp.zeros((batch, self.order - 1), jnp.int32)

    def output_features(self, inputs: Inputs) -> int:
        """Of a token's vector."""
        del inputs
        return self.features
