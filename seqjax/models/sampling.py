"""Tokens drawn from a model's logits, one after another, as they come."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Integer

from seqjax.models.model import Model, Params

Sample = Callable[[Array, Array], Array]


@functools.cache  # the same function for the same numbers: what calls it compiles once
def sampler(
    temperature: float = 1.0, *, top_k: int | None = None, top_p: float | None = None
) -> Sample:
    """How to draw a token from logits, for `generate` and `stream`.

    Args:
        temperature: logits are divided by it; 0 takes the most likely token.
        top_k: only so many of the most likely tokens.
        top_p: only the most likely tokens that together have this probability; at least one.

    Returns:
        ``(key, logits [batch, vocabulary]) -> tokens [batch]``.

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

    def sample(key: Array, logits: Float[Array, "batch vocabulary"]) -> Integer[Array, " batch"]:
        if temperature == 0:
            return jnp.argmax(logits, axis=-1)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32)) / temperature
        if top_k is not None and top_k < logits.shape[-1]:
            least = lax.top_k(logits, top_k)[0][:, -1:]
            logits = jnp.where(logits < least, -jnp.inf, logits)
        if top_p is not None:
            ordered = jnp.sort(logits, axis=-1, descending=True)
            probabilities = jax.nn.softmax(ordered, axis=-1)
            before = jnp.cumsum(probabilities, axis=-1) - probabilities
            kept = jnp.where(before < top_p, ordered, jnp.inf)
            logits = jnp.where(logits < jnp.min(kept, axis=-1, keepdims=True), -jnp.inf, logits)
        return jax.random.categorical(key, logits, axis=-1)

    return sample


def stream(
    model: Model,
    params: Params,
    x: Integer[Array, "batch time"],
    steps: int | None,
    *,
    key: Array,
    sample: Sample | None = None,
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
        key: of the draws.
        sample: see `sampler`, which is the default.
        chunk: tokens made at each call.

    Yields:
        Tokens [batch, chunk], int; the last piece may be shorter.

    Raises:
        ValueError: for no known token, no steps, or a chunk below 1.

    Example:
        >>> from seqjax.models import language_model
        >>> model = language_model("gru", vocab_size=10, features=(8,))
        >>> params = model.init(jax.random.key(0))
        >>> pieces = stream(model, params, jnp.array([[1, 2]]), 10, key=jax.random.key(1), chunk=4)
        >>> [piece.shape for piece in pieces]
        [(1, 4), (1, 4), (1, 2)]
    """
    if not x.shape[1] or chunk < 1 or (steps is not None and steps < 1):
        raise ValueError(
            f"stream: known tokens ({x.shape[1]}), steps ({steps}) and chunk ({chunk}) must be at"
            " least 1."
        )
    draw = sampler() if sample is None else sample
    return _pieces(model, params, x, steps, key, draw, chunk)


def _pieces(
    model: Model, params: Params, x: Array, steps: int | None, key: Array, draw: Sample, chunk: int
) -> Iterator[np.ndarray]:
    carry, y = _read(model.apply, params, x)
    token = draw(jax.random.fold_in(key, 0), y).astype(x.dtype)
    done = 0
    while steps is None or done < steps:
        carry, token, made = _make(
            model.step, draw, chunk, params, carry, token, key, jnp.int32(done)
        )
        count = chunk if steps is None else min(chunk, steps - done)
        yield np.asarray(made)[:, :count]
        done += count


@functools.partial(jax.jit, static_argnums=0)
def _read(apply: Callable[..., Any], params: Params, x: Array) -> tuple[Any, Array]:
    carry, y = apply(params, x, return_carry=True)
    return carry, y if y.ndim == 2 else y[:, -1]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _make(
    step: Callable[..., Any],
    draw: Sample,
    count: int,
    params: Params,
    carry: Any,
    token: Array,
    key: Array,
    done: Array,
) -> tuple[Any, Array, Array]:
    """`count` tokens from `token` on, which is the first of them."""

    def one(state: tuple[Any, Array], number: Array) -> tuple[tuple[Any, Array], Array]:
        carry, token = state
        carry, y = step(params, carry, token)
        after = draw(jax.random.fold_in(key, number), y).astype(token.dtype)
        return (carry, after), token

    (carry, token), made = lax.scan(one, (carry, token), done + 1 + jnp.arange(count))
    return carry, token, jnp.swapaxes(made, 0, 1)
