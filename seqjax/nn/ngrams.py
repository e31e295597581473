"""Vectors of tokens, of the n-grams that end with them, and of what followed these before."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import Array
from jax.nn import initializers

from seqjax.nn.dense import Embed
from seqjax.nn.layer import Call, Context, Inputs, Layer, checked_rate, without_padding
from seqjax.nn.recall import MOST_TOKENS, hashes, recall
from seqjax.ops import as_lengths
from seqjax.ops.bounds import Count, Rate

_MEMORY = 2**13  # n-grams of each length that are remembered of a sequence, at most


class NGramEmbed(Layer):
    """A vector for every token, and for every n-gram that it ends, out of tables with few rows.

    ``y_t = E[x_t] + sum_{n=2}^{order} T_n[hash(x_{t-n+1}, ..., x_t) mod buckets]``
    ``             + sum_{n in recall} R_n[the token that followed (x_{t-n+1}, ..., x_t) last]``

    A lookup costs nothing where a product does: what the last few tokens say is learned in
    the first minutes, and the layers above learn what is further back. The tables begin as zeros,
    so that an n-gram never seen adds nothing. Before a sequence stand zeros.

    The second sum is of the sequence itself: names and phrases that stand in it come again, and
    a carry of a few hundred numbers cannot hold them. It has one vector for a token that was
    recalled, another where the token recalled a step before came true, and a third for none.

    Attributes:
        num_embeddings: tokens are 0, ..., num_embeddings - 1.
        features: of the vectors.
        order: of the longest n-grams, at least 2.
        buckets: rows of each table; n-grams of the same hash share one.
        dropout: rate at which in training an n-gram counts as never seen, and all longer ones
            with the same end: a text that is read again has no new ones, another text has.
            Needs the rng "dropout" unless deterministic.
        recall: lengths of n-grams whose last continuation in the sequence is recalled; 8,192 of
            each length are remembered, the newest of those of the same hash.
        dtype: of the outputs; by default that of the parameters.
        param_dtype: of the parameters.

    Example:
        >>> import jax
        >>> layer, tokens = NGramEmbed(50, features=8), jax.numpy.array([[3, 1, 4, 1, 5]])
        >>> layer.apply(layer.init(jax.random.key(0), tokens), tokens).shape
        (1, 5, 8)

    Source: Pagnoni et al., "Byte latent transformer", arXiv 2412.09871, section 3.2.1; hashed
    n-grams beside a recurrent network after Mikolov et al., "Strategies for training large scale
    neural network language models", ASRU 2011; what followed before after Akyurek et al.,
    "In-context language learning: architectures and algorithms", arXiv 2401.12973.
    """

    num_embeddings: Count
    features: Count
    order: Count = 4
    buckets: Count = 2**14
    dropout: Rate = 0.0
    recall: tuple[Count, ...] = ()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def setup(self) -> None:
        if self.order < 2:
            raise ValueError(f"NGramEmbed: order must be at least 2, not {self.order}.")
        if self.recall and (min(self.recall) < 2 or self.num_embeddings > MOST_TOKENS):
            raise ValueError(
                "NGramEmbed: recall takes lengths of 2 or more, of a vocabulary of at most"
                f" {MOST_TOKENS:,}; these are {self.recall} of {self.num_embeddings:,}."
            )
        checked_rate(self, self.dropout)
        self.embed = Embed(self.num_embeddings, self.features, self.dtype, self.param_dtype)

    @nn.nowrap
    def _rows(self, tokens: Array, steps: int) -> Array:
        """[batch, steps, order - 1]: a row for the n-grams of every n, tables end to end."""
        rows = [
            (hashed % jnp.uint32(self.buckets)).astype(jnp.int32) + (n - 2) * self.buckets
            for n, hashed in hashes(tokens, steps, self.order)
        ]
        return jnp.stack(rows, axis=-1)

    @nn.nowrap
    def _recalled(self, tokens: Array, memory: Array, lengths: Array) -> tuple[Array, Array]:
        """The memory, and a row for what followed each n-gram last, [batch, steps, recall]."""
        steps, rows, memories = tokens.shape[1] - self._before, [], []
        following = tokens[:, self._before :]
        hashed = dict(hashes(tokens, steps + 1, max(self.recall)))
        for k, n in enumerate(self.recall):
            kept, found = recall(memory[:, k], hashed[n], following, lengths)
            true = (found[:, :-1] == following + 1) & (found[:, 1:] > 0)
            rows.append(found[:, 1:] + true * self.num_embeddings + k * self._recollections)
            memories.append(kept)
        return jnp.stack(memories, axis=1), jnp.stack(rows, axis=-1)

    def _table(self, name: str, rows: int) -> Array:
        found = self.declare(name, (rows, self.features), initializers.zeros, self.param_dtype)
        return found if self.dtype is None else found.astype(self.dtype)

    @nn.compact
    def _look_up(self, carry: Any, x: Array, call: Call, lengths: Any) -> tuple[Any, Array]:
        """The tokens with those before them (and the memory), and y [batch, time, features]."""
        before, memory = carry if self.recall else (carry, None)
        _, y = self.embed.whole(x, (), call._replace(seq_lengths=None))
        tokens = jnp.concatenate([before, x.astype(before.dtype)], axis=1)
        rows = self._rows(tokens, x.shape[1])
        vectors = self._table("ngrams", (self.order - 1) * self.buckets)[rows]
        if self.dropout and not call.deterministic:
            kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.dropout, rows.shape)
            vectors *= jnp.cumprod(kept, axis=-1)[..., None].astype(vectors.dtype)
        y += jnp.sum(vectors, axis=2)
        if memory is None:
            return (tokens, ()), y
        lengths = jnp.full(len(x), x.shape[1]) if lengths is None else lengths
        memory, rows = self._recalled(tokens, memory, lengths)
        table = self._table("recalled", len(self.recall) * self._recollections)
        return (tokens, memory), y + jnp.sum(table[rows], axis=2)

    @property
    def _before(self) -> int:
        return max(self.order - 1, *self.recall) if self.recall else self.order - 1

    @property
    def _recollections(self) -> int:
        return 1 + 2 * self.num_embeddings

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carry, y)`` of tokens [batch, time]; the carry holds the last ones, and the memory."""
        if x.ndim == 2:
            x, _ = without_padding(x, call.seq_lengths)
        carry = self.initial_carry(x.shape[0], 0) if carry is None else carry
        lengths = as_lengths(call.seq_lengths, batch=x.shape[0], steps=x.shape[1])
        (tokens, memory), y = self._look_up(carry, x, call, lengths)
        if lengths is None:
            last = tokens[:, x.shape[1] :]
        else:
            at = lengths[:, None] + jnp.arange(self._before)[None, :]
            last = jnp.take_along_axis(tokens, at, axis=1)
        return (last, memory) if self.recall else last, y

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step, tokens [batch]: ``(carry, y)``."""
        del context
        (tokens, memory), y = self._look_up(carry, x[:, None], Call(), None)
        return (tokens[:, 1:], memory) if self.recall else tokens[:, 1:], y[:, 0]

    def initial_carry(self, batch: Any, inputs: Inputs) -> Any:
        """Zeros: the last tokens, and with `recall` (tokens, memory [batch, recall, 8192])."""
        del inputs
        last = jnp.zeros((batch, self._before), jnp.int32)
        memory = jnp.zeros((batch, len(self.recall), _MEMORY), jnp.uint32)
        return (last, memory) if self.recall else last

    def output_features(self, inputs: Inputs) -> int:
        """Of a token's vector."""
        del inputs
        return self.features
