"""Pooling over time: the largest and the mean value of every feature so far."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from seqjax.nn.layer import Call, Context, Inputs, Layer, without_padding
from seqjax.ops import carry_dtype


class PoolCarry(NamedTuple):
    """What pooling keeps: [batch, features] each, but for the steps [batch, 1]."""

    largest: Array
    total: Array
    steps: Array


# The gradient goes to a place, not to whatever equals the maximum as `jnp.max` has it: XLA may
# compute the compared values a second time, rounded in another way, and then nothing does.
def _at(x: Array, place: Array) -> Array:
    return jnp.take_along_axis(x, place, axis=1)


def _running_argmax(x: Array) -> Array:
    """[batch, time, features]: where the largest value up to each step stands."""

    def larger(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        first = a[0] >= b[0]
        return jnp.where(first, a[0], b[0]), jnp.where(first, a[1], b[1])

    place = lax.broadcasted_iota(jnp.int32, x.shape, 1)
    return lax.associative_scan(larger, (lax.stop_gradient(x), place), axis=1)[1]


class Pool(Layer):
    """The maximum and the mean over the steps so far.

    ``y_t = [max_{s <= t} x_s, mean_{s <= t} x_s]``, or one of both. When the sequence is over
    (`last`, many-to-one) that is pooling over time, each sequence over its own steps; a
    sequence of no steps gives zeros.

    Attributes:
        statistic: "max", "mean", or "both" (twice as many features).

    Example:
        >>> import jax
        >>> x = jnp.array([[[1.0], [5.0], [3.0]]])
        >>> Pool().apply({}, x, method="last").tolist()
        [[5.0, 3.0]]
        >>> Pool("mean").apply({}, x)[0, :, 0].tolist()
        [1.0, 3.0, 3.0]

    Source: Collobert et al., "Natural language processing (almost) from scratch", Journal of
    Machine Learning Research 12, 2011, section 3.3; both after Howard and Ruder, arXiv
    1801.06146, section 3.3.
    """

    statistic: Literal["max", "mean", "both"] = "both"

    def _before(self, x: Array, carry: Any) -> PoolCarry:
        return self._zero(x.shape[0], x.shape[-1], carry_dtype(x)) if carry is None else carry

    @staticmethod
    def _zero(batch: Any, features: int, dtype: Any) -> PoolCarry:
        return PoolCarry(
            jnp.full((batch, features), -jnp.inf, dtype),
            jnp.zeros((batch, features), dtype),
            jnp.zeros((batch, 1), dtype),
        )

    def _answer(self, state: PoolCarry, dtype: Any) -> Array:
        """Of one state, or of one for every step."""
        parts = []
        if self.statistic != "mean":
            seen = state.steps > 0
            parts.append(jnp.where(seen, state.largest, jnp.zeros_like(state.largest)))
        if self.statistic != "max":
            parts.append(state.total / jnp.maximum(state.steps, 1))
        return jnp.concatenate(parts, axis=-1).astype(dtype)

    def _parts(self, x: Array, call: Call) -> tuple[Array, Array, Array]:
        """What the maximum sees, what the sum sees, what counts; and which steps are valid."""
        x, valid = without_padding(self.checked(x, 3), call.seq_lengths)
        wide = x.astype(carry_dtype(x))
        ones = jnp.ones((*x.shape[:2], 1), wide.dtype)
        if valid is None:
            return wide, wide, ones
        return jnp.where(valid, wide, -jnp.inf), wide, jnp.where(valid, ones, 0)

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carry, y)``; outputs after a sequence's end stay those at its end."""
        before = self._before(x, carry)
        if not x.shape[1]:
            return before, self._answer(before, x.dtype)[:, None][:, :0]
        largest, wide, ones = self._parts(x, call)
        states = PoolCarry(
            jnp.maximum(_at(largest, _running_argmax(largest)), before.largest[:, None]),
            jnp.cumsum(wide, axis=1) + before.total[:, None],
            jnp.cumsum(ones, axis=1) + before.steps[:, None],
        )
        return PoolCarry(*(leaf[:, -1] for leaf in states)), self._answer(states, x.dtype)

    def end(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carry, y)``, y [batch, features]: a maximum and a sum, nothing for every step."""
        before = self._before(x, carry)
        if not x.shape[1]:
            return before, self._answer(before, x.dtype)
        largest, wide, ones = self._parts(x, call)
        state = PoolCarry(
            jnp.maximum(_at(largest, jnp.argmax(largest, 1, keepdims=True))[:, 0], before.largest),
            jnp.sum(wide, axis=1) + before.total,
            jnp.sum(ones, axis=1) + before.steps,
        )
        return state, self._answer(state, x.dtype)

    def step(
        self, carry: PoolCarry, x: Array, *, context: Context | None = None
    ) -> tuple[Any, Array]:
        """One step: ``(carry, y)``."""
        del context
        x = self.checked(x, 2)
        wide = x.astype(carry_dtype(x))
        state = PoolCarry(jnp.maximum(carry.largest, wide), carry.total + wide, carry.steps + 1)
        return state, self._answer(state, x.dtype)

    def initial_carry(self, batch: Any, inputs: Inputs) -> PoolCarry:
        """Nothing seen yet, in float32."""
        return self._zero(batch, super().output_features(inputs), jnp.float32)

    def output_features(self, inputs: Inputs) -> int:
        """As many as it takes, of both kinds twice as many."""
        return super().output_features(inputs) * (2 if self.statistic == "both" else 1)

    @property
    def ends_apart(self) -> bool:
        """Its end is a sum over the steps; every step's answer would be one for each."""
        return True

    @property
    def stateless(self) -> bool:
        """It remembers."""
        return False
