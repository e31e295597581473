"""Attention: every step looks up what it needs in a memory of another sequence."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import Array
from jax.nn import initializers

from seqjax.nn.layer import Call, Context, Inputs, Layer, without_padding
from seqjax.ops import as_lengths, carry_dtype, length_mask
from seqjax.ops.bounds import Count


class AttentionCarry(NamedTuple):
    """What attention keeps of a memory, so that a step does not read it anew.

    Attributes:
        memory: [batch, source, m], zeros after each one's end.
        keys: [batch, source, features], projections of the memory.
        lengths: [batch], valid steps of each memory.
    """

    memory: Array
    keys: Array
    lengths: Array


class Attention(Layer):
    """Attention over a memory, such as the outputs of an encoder.

    ``a_t = softmax_s(score(x_t, m_s))``, ``c_t = sum_s a_ts m_s``,
    ``y_t = tanh(W [x_t, c_t] + b)``

    with ``score = (Q x_t) . (K m_s) / sqrt(features)`` ("dot") or
    ``v . tanh(Q x_t + K m_s + b)`` ("additive"). A whole sequence is a handful of products,
    without a loop. The memory is the context's, ``{"memory": [batch, source, m],
    "memory_lengths": [batch]}`` (all of it, without the latter; of length 0 ``c_t`` is zero);
    `seqjax.nn.EncoderDecoder` gives it to its decoder. Weights ``a`` are sown:
    see `seqjax.models.attention_weights`.

    Its carry is the memory with its keys once a sequence has begun, so that steps from there
    on need no context; from the empty carry each step reads the context anew.

    Attributes:
        features: number of outputs; of queries and keys, too.
        score: "dot" or "additive".
        dtype: of the computation; by default that of inputs and parameters.
        param_dtype: of the parameters.

    Example:
        >>> layer, x = Attention(features=4), jnp.ones((2, 5, 3))
        >>> context = {"memory": jnp.ones((2, 7, 6)), "memory_lengths": jnp.array([7, 2])}
        >>> params = layer.init(jax.random.key(0), x, context=context)
        >>> layer.apply(params, x, context=context).shape
        (2, 5, 4)

    Source: Luong et al., arXiv 1508.04025, equations 5 to 8, scores scaled after Vaswani et
    al., arXiv 1706.03762; "additive": Bahdanau et al., arXiv 1409.0473, appendix A.1.2.
    """

    features: Count
    score: Literal["dot", "additive"] = "dot"
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def setup(self) -> None:
        if self.score not in ("dot", "additive"):
            raise ValueError(f'Attention: score is "dot" or "additive", not {self.score!r}.')
        self.query = self._dense(use_bias=False)
        self.key = self._dense(use_bias=self.score == "additive")
        self.output = self._dense()
        if self.score == "additive":
            init = initializers.normal(self.features**-0.5)
            self.energy = self.param("energy", init, (self.features,), self.param_dtype)

    def _dense(self, *, use_bias: bool = True) -> nn.Dense:
        return nn.Dense(
            self.features,
            use_bias=use_bias,
            kernel_init=initializers.glorot_uniform(),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

    def context_names(self) -> frozenset[str]:
        """The memory and its lengths."""
        return frozenset({"memory", "memory_lengths"})

    def _read(self, carry: Any, x: Array, context: Context | None) -> AttentionCarry:
        """The memory: the carry's, or else the context's."""
        if isinstance(carry, AttentionCarry):
            return carry
        if carry is not None and jax.tree.leaves(carry):
            raise ValueError(f"Attention: the carry must be an AttentionCarry, not {type(carry)}.")
        memory, batch = (context or {}).get("memory"), x.shape[0]
        if memory is None:
            raise ValueError(
                "Attention: the context must hold 'memory', [batch, source, features];"
                " nn.EncoderDecoder gives it to its decoder."
            )
        if memory.ndim != 3 or memory.shape[0] != batch:
            raise ValueError(
                f"Attention: the memory must be [{batch}, source, features], but its shape is"
                f" {memory.shape}."
            )
        steps = memory.shape[1]
        lengths = (context or {}).get("memory_lengths")
        lengths = jnp.full((batch,), steps) if lengths is None else lengths
        lengths = as_lengths(lengths, batch=batch, steps=steps)
        assert lengths is not None
        memory, _ = without_padding(memory, lengths)
        return AttentionCarry(memory, self.key(memory), lengths)

    def _attend(self, x: Array, read: AttentionCarry) -> Array:
        """The outputs [batch, time, features] of x [batch, time, inputs]."""
        query, keys = self.query(x), read.keys
        if self.score == "dot":
            scores = jnp.einsum("btf,bsf->bts", query, keys) / self.features**0.5
        else:
            both = jnp.tanh(query[:, :, None] + keys[:, None])
            scores = jnp.einsum("btsf,f->bts", both, self.energy.astype(both.dtype))
        scores = scores.astype(carry_dtype(scores))
        valid = length_mask(read.lengths, keys.shape[1]).T[:, None]
        # Not minus infinity: where nothing is valid that would be no number, nor have a gradient.
        scores = jnp.where(valid, scores, jnp.finfo(scores.dtype).min)
        weights = jnp.where(valid, jax.nn.softmax(scores, axis=-1), 0)
        self.sow("intermediates", "weights", weights)
        memory = read.memory
        found = jnp.einsum("bts,bsm->btm", weights.astype(memory.dtype), memory)
        return jnp.tanh(self.output(jnp.concatenate([x, found.astype(x.dtype)], axis=-1)))

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carry, y)``, y [batch, time, features]; padding is read as zeros."""
        x, _ = without_padding(self.checked(x, 3), call.seq_lengths)
        read = self._read(carry, x, call.context)
        return read, self._attend(x, read)

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step: ``(carry, y)``."""
        read = self._read(carry, self.checked(x, 2), context)
        return carry, self._attend(x[:, None], read)[:, 0]

    def output_features(self, inputs: Inputs) -> int:
        """Number of outputs."""
        super().output_features(inputs)
        return self.features
