"""Tokens drawn from a model's logits, one after another, as they come."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Integer

from seqjax.models.known import Known, as_known, in_context, read
from seqjax.models.model import Model, Params
from seqjax.ops.layout import compiled
from seqjax.storage.same import same

Sample = Callable[[Any, Array], Array]


def sampler(
    temperature: float = 1.0, *, top_k: int | None = None, top_p: float | None = None
) -> Sample:
    """How to draw a token from logits, for `generate` and `stream`.

    Args:
        temperature: logits are divided by it; 0 takes the most likely token, and needs no key.
        top_k: only so many of the most likely tokens; of equally likely ones the first.
        top_p: only the most likely tokens that together have this probability; at least one.

    Returns:
        ``(key, logits [batch, vocabulary]) -> tokens [batch]``; equal numbers give equal ones.

    Raises:
        ValueError: for numbers out of their bounds.

    Example:
        >>> draw = sampler(0.7, top_p=0.5)
        >>> draw(jax.random.key(0), jnp.log(jnp.array([[0.6, 0.3, 0.1]]))).tolist()
        [0]

    Source: top-k after Fan et al., arXiv 1805.04833; top-p after Holtzman et al., arXiv
    1904.09751.
    """
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"sampler: temperature must be 0 or more, not {temperature}.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"sampler: top_k must be at least 1, not {top_k}.")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"sampler: top_p must be in (0, 1], not {top_p}.")
    return _Sampler(temperature, top_k, top_p)


@dataclasses.dataclass(frozen=True)  # equal ones are one to jax.jit
class _Sampler:
    temperature: float
    top_k: int | None
    top_p: float | None

    def __call__(
        self, key: Array | None, logits: Float[Array, "batch vocabulary"]
    ) -> Integer[Array, " batch"]:
        if self.temperature == 0:
            return jnp.argmax(logits, axis=-1)
        assert key is not None
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32)) / self.temperature
        if self.top_k is None and self.top_p is None:
            return jax.random.categorical(key, logits, axis=-1)
        # Drawn by rank: a bound on the logits would let in all that are equal at it.
        vocabulary = logits.shape[-1]
        logits, tokens = lax.top_k(logits, min(self.top_k or vocabulary, vocabulary))
        if self.top_p is not None:
            probabilities = jax.nn.softmax(logits, axis=-1)
            before = jnp.cumsum(probabilities, axis=-1) - probabilities
            logits = jnp.where(before < self.top_p, logits, -jnp.inf)
        rank = jax.random.categorical(key, logits, axis=-1)
        return jnp.take_along_axis(tokens, rank[:, None], axis=-1)[:, 0]


def checked_sample(
    caller: str, x: Array, sample: Sample | None, key: Array | None
) -> Sample | None:
    """How to draw what follows `x`: tokens by `sampler`, if nothing is said.

    Raises:
        ValueError: for draws without a key, or a key without draws.
    """
    if sample is None and x.ndim == 2 and jnp.issubdtype(x.dtype, jnp.integer):
        sample = sampler()
    if sample is None and key is not None:
        raise ValueError(f"{caller}: a key is for draws, and there is no sample that makes any.")
    if sample is not None and key is None and getattr(sample, "temperature", 1):
        raise ValueError(
            f"{caller}: draws need a key, such as key=jax.random.key(0); the most likely token,"
            " sample=seqjax.models.sampler(0), needs none."
        )
    return sample


def stream(
    model: Model,
    params: Params,
    x: Integer[ArrayLike, "batch time"],
    steps: int | None,
    *,
    seq_lengths: Integer[ArrayLike, " batch"] | None = None,
    key: Array | None = None,
    sample: Sample | None = None,
    context: Mapping[str, ArrayLike] | None = None,
    chunk: int = 32,
) -> Iterator[Integer[np.ndarray, "batch chunk"]]:
    """Continue sequences of tokens, given back some at a time as they come.

    What is known is read once; a jitted loop then makes `chunk` tokens at each call, from a
    carry of constant size. The tokens are those of `seqjax.models.generate` with the same key.

    Args:
        model: answers every step with the logits of the next token, such as `language_model`.
        params: its parameters.
        x: what is known, at least one token.
        steps: how many tokens to make; None goes on for ever.
        seq_lengths: valid tokens of each right-padded sequence, at least 1.
        key: of the draws; not for a temperature of 0.
        sample: see `sampler`, which is the default.
        context: as for `seqjax.models.beam_search`.
        chunk: tokens made at each call.

    Yields:
        Tokens [batch, chunk], int; the last piece may be shorter.

    Raises:
        ValueError: for no known token, no steps, draws without a key, a chunk below 1, or a
            context that changes with time.

    Example:
        >>> from seqjax.models import language_model
        >>> model = language_model("gru", vocab_size=10, features=8)
        >>> params = model.init(jax.random.key(0))
        >>> pieces = stream(model, params, jnp.array([[1, 2]]), 10, key=jax.random.key(1), chunk=4)
        >>> [piece.shape for piece in pieces]
        [(1, 4), (1, 4), (1, 2)]
    """
    if chunk < 1 or (steps is not None and steps < 1):
        raise ValueError(f"stream: steps ({steps}) and chunk ({chunk}) must be at least 1.")
    known = as_known("stream", model, x, seq_lengths, context, None)
    sample = checked_sample("stream", known.x, sample, key)
    if sample is None:
        raise ValueError(f"stream: x must be tokens, integers, not {known.x.dtype}.")
    return _pieces(same(model), params, known, steps, key, same(sample), chunk)


def _pieces(
    model: Model,
    params: Params,
    known: Known,
    steps: int | None,
    key: Array | None,
    draw: Sample,
    chunk: int,
) -> Iterator[np.ndarray]:
    carry, token = _begin(model.apply, draw, params, known, key)
    done = 0
    while steps is None or done < steps:
        carry, token, made = _make(
            model.step, draw, chunk, params, carry, token, key, jnp.int32(done), known.held
        )
        count = chunk if steps is None else min(chunk, steps - done)
        yield np.asarray(made)[:, :count]
        done += count


def _drawn(draw: Sample, key: Array | None, number: Any, y: Array, dtype: Any) -> Array:
    return draw(None if key is None else jax.random.fold_in(key, number), y).astype(dtype)


@compiled(0, 1)
def _begin(
    apply: Callable[..., Any], draw: Sample, params: Params, known: Known, key: Array | None
) -> tuple[Any, Array]:
    carry, y = read(apply, params, known)
    return carry, _drawn(draw, key, 0, y, known.x.dtype)


@compiled(0, 1, 2)
def _make(
    step: Callable[..., Any],
    draw: Sample,
    count: int,
    params: Params,
    carry: Any,
    token: Array,
    key: Array | None,
    done: Array,
    held: dict[str, Array],
) -> tuple[Any, Array, Array]:
    """`count` tokens from `token` on, which is the first of them."""

    def one(state: tuple[Any, Array], number: Array) -> tuple[tuple[Any, Array], Array]:
        carry, token = state
        carry, y = step(params, carry, token, **in_context(held))
        return (carry, _drawn(draw, key, number, y, token.dtype)), token

    (carry, token), made = lax.scan(one, (carry, token), done + 1 + jnp.arange(count))
    return carry, token, jnp.swapaxes(made, 0, 1)
