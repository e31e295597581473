"""A layer that tells the layers above it of a vector besides their inputs."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import Array
from jax.nn import initializers

from seqjax.nn.layer import Call, Context, Layer, without_padding
from seqjax.ops.bounds import Count


class Condition(Layer):
    """Adds a condition to every step: ``y_t = x_t + P c``, or ``x_t + P c_t``.

    What a caption is of, who speaks, or the weather of each day. To the layer above it is as if
    ``[x_t, P c]`` stood there side by side with one kernel for both halves. With `seq_lengths`
    outputs after a sequence's end are zero.

    Attributes:
        features: of the condition, ``context={reads: [batch, features]}`` for what holds at
            every step, ``[batch, time, features]`` for what changes with it (one step at a
            time: always [batch, features]).
        reads: the condition's name in the context.
        encoder: a layer over the condition before P, in which every step stands alone, such
            as ``Stack((Dense(64, "relu"), Dense(32, "relu")))``.
        dtype: of the computation; by default that of inputs and parameters.
        param_dtype: of the parameters.

    Example:
        >>> import jax
        >>> from seqjax.nn import GRU, Stack
        >>> layer, x = Stack((Condition(features=5), GRU(4))), jax.numpy.ones((2, 7, 3))
        >>> params = layer.init(jax.random.key(0), x)
        >>> layer.apply(params, x, context={"condition": jax.numpy.ones((2, 5))}).shape
        (2, 7, 4)

    Source: "conditional biasing" of Dumoulin et al., "Feature-wise transformations", Distill,
    2018; "par-inject" of Tanti et al., "Where to put the image in an image caption generator",
    arXiv 1703.09137.
    """

    features: Count
    reads: str = "condition"
    encoder: Layer | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def sublayers(self) -> tuple[Layer, ...]:
        """The encoder, if there is one."""
        return () if self.encoder is None else (self.encoder,)

    def context_names(self) -> frozenset[str]:
        """The condition's name."""
        return frozenset({self.reads})

    @property
    def stateless(self) -> bool:
        """Every step stands alone."""
        return True

    @nn.compact
    def _project(self, c: Array, features: int, call: Call) -> Array:
        """``P c``, [batch, steps, features] of c [batch, steps, n]."""
        if self.encoder is not None:
            if not self.encoder.stateless:
                raise ValueError(
                    "Condition: every step must stand alone in its encoder, as in nn.Dense; put"
                    " a layer with a memory below the Condition, or nn.EncoderDecoder around it."
                )
            c = self.encoder(
                c, seq_lengths=call.seq_lengths, deterministic=call.deterministic, context=None
            )
        dense = nn.Dense(
            features,
            kernel_init=initializers.glorot_uniform(),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="projection",
        )
        return dense(c)

    def _condition(self, x: Array, context: Context | None) -> Array:
        """The condition, [batch, steps, n], one step where it holds at all of them."""
        c, batch = (context or {}).get(self.reads), x.shape[0]
        if c is None and self.is_initializing():
            return jnp.zeros((batch, 1, self.features), x.dtype)
        if c is None:
            raise ValueError(
                f"Condition: the context must hold {self.reads!r}, [batch, {self.features}]."
            )
        if c.shape == (batch, self.features):
            return c[:, None]
        if x.ndim == 3 and c.shape == (*x.shape[:2], self.features):
            return c
        also = f" or {[*x.shape[:2], self.features]}" if x.ndim == 3 else ""
        raise ValueError(
            f"Condition: {self.reads} must be {[batch, self.features]}{also} for x of shape"
            f" {x.shape}, but its shape is {c.shape}."
        )

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``((), y)``, y of the shape of x."""
        del carry
        c = self._condition(self.checked(x, 3), call.context)
        changing = c.shape[1] == x.shape[1]
        c = without_padding(c, call.seq_lengths)[0] if changing else c
        of_encoder = call if changing else call._replace(seq_lengths=None)
        y = x + self._project(c, x.shape[-1], of_encoder)
        return (), without_padding(y, call.seq_lengths)[0]

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step: ``((), y)``, without dropout."""
        c = self._condition(self.checked(x, 2), context)
        return carry, x + self._project(c, x.shape[-1], Call())[:, 0]
