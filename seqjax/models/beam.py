"""Beam search: the most likely continuation, a few candidates at a time."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Integer

from seqjax.models.known import Known, as_known, in_context, read
from seqjax.models.model import Model, Params
from seqjax.ops.layout import compiled
from seqjax.storage.same import same


class Beam(NamedTuple):
    """What `beam_search` found, best first.

    Attributes:
        tokens: [batch, beams, steps], without what was known; `end` from each one's end on.
        scores: [batch, beams], log-probabilities over the length penalty; minus infinity where
            there are fewer continuations than beams.
        lengths: [batch, beams], number of tokens before `end`.
    """

    tokens: Integer[Array, "batch beams steps"]
    scores: Float[Array, "batch beams"]
    lengths: Integer[Array, "batch beams"]


def beam_search(
    model: Model,
    params: Params,
    start: Integer[ArrayLike, "batch time"],
    steps: int,
    *,
    end: int,
    seq_lengths: Integer[ArrayLike, " batch"] | None = None,
    beams: int = 4,
    length_penalty: float = 0.6,
    context: Mapping[str, ArrayLike] | None = None,
) -> Beam:
    """The most likely continuations of sequences of tokens, as far as so many beams see.

    ``score(y) = log p(y) / ((5 + |y|) / 6) ** length_penalty``, ``|y|`` counting `end`

    At each step every beam is continued by every token, and the best `beams` of all that are
    kept, those that have ended among them. One jitted loop, which ends early where all have;
    carries follow their beams. With ``beams=1`` it takes the most likely token at every step
    (greedy).

    Args:
        model: answers every step with the logits of the next token, such as
            `seqjax.models.seq2seq`, `captioner` or `language_model`.
        params: its parameters.
        start: what is known, at least one token.
        steps: the most tokens to add, `end` included.
        end: the token that ends a sequence.
        seq_lengths: valid tokens of each right-padded start, at least 1.
        beams: how many candidates to keep.
        length_penalty: 0 compares log-probabilities, 1 nearly those by token.
        context: what else the model reads, each array beginning with the batch; what changes
            with time belongs to the source of a `seqjax.nn.EncoderDecoder`.

    Returns:
        The continuations.

    Raises:
        ValueError: for no start, steps or beams, or a context that changes with time.

    Example:
        >>> from seqjax.models import language_model
        >>> model = language_model("gru", vocab_size=10, features=(8,))
        >>> params = model.init(jax.random.key(0))
        >>> found = beam_search(model, params, jnp.array([[1], [2]]), 5, end=0)
        >>> found.tokens.shape, found.scores.shape
        ((2, 4, 5), (2, 4))

    Source: Wu et al., "Google's neural machine translation system", arXiv 1609.08144,
    equation 14, without its coverage penalty.
    """
    if steps < 1 or beams < 1:
        raise ValueError(f"beam_search: steps ({steps}) and beams ({beams}) must be at least 1.")
    known = as_known("beam_search", model, start, seq_lengths, context, None)
    search, model = _Search(steps, end, beams, float(length_penalty)), same(model)
    return _run(model.apply, model.step, search, params, known)


class _Search(NamedTuple):
    steps: int
    end: int
    beams: int
    length_penalty: float


class _State(NamedTuple):
    """Beams after some steps; [batch, beams, ...], the carry's leaves [batch * beams, ...]."""

    step: Array
    tokens: Array
    sums: Array  # log-probabilities
    lengths: Array  # of tokens so far, `end` included
    ended: Array
    carry: Any


@compiled(0, 1, 2)
def _run(
    apply: Callable[..., Any],
    step: Callable[..., Any],
    search: _Search,
    params: Params,
    known: Known,
) -> Beam:
    (batch, _), beams = known.x.shape, search.beams
    carry, y = read(apply, params, known)

    def repeated(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), tree)

    told = in_context(repeated(known.held))
    state = _State(
        step=jnp.int32(0),
        tokens=jnp.full((batch, beams, search.steps), search.end, known.x.dtype),
        # All beams are alike as yet: only the first counts.
        sums=jnp.broadcast_to(
            jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf)[None], (batch, beams)
        ),
        lengths=jnp.zeros((batch, beams), jnp.int32),
        ended=jnp.zeros((batch, beams), bool),
        carry=repeated(carry),
    )
    state = _continued(state, repeated(y), search)

    def goes_on(state: _State) -> Array:
        return (state.step < search.steps) & ~jnp.all(state.ended)

    def body(state: _State) -> _State:
        last = lax.dynamic_index_in_dim(state.tokens, state.step - 1, axis=2, keepdims=False)
        carry, y = step(params, state.carry, last.reshape(-1), **told)
        return _continued(state._replace(carry=carry), y, search)

    state = lax.while_loop(goes_on, body, state)
    order = jnp.argsort(-_scores(state.sums, state.lengths, search), axis=-1, stable=True)
    tokens, sums, lengths, ended = (
        jnp.take_along_axis(a, lax.expand_dims(order, range(2, a.ndim)), axis=1)
        for a in (state.tokens, state.sums, state.lengths, state.ended)
    )
    return Beam(tokens, _scores(sums, lengths, search), lengths - ended)


def _scores(sums: Array, lengths: Array, search: _Search) -> Array:
    return sums / ((5 + lengths.astype(sums.dtype)) / 6) ** search.length_penalty


def _continued(state: _State, y: Array, search: _Search) -> _State:
    """The best beams of one token more; y [batch * beams, vocabulary] are its logits."""
    batch, beams = state.sums.shape
    size = y.shape[-1]
    steps = jax.nn.log_softmax(y.astype(jnp.promote_types(y.dtype, jnp.float32)))
    steps = steps.reshape(batch, beams, size)
    # One that has ended goes on by another `end`, which changes nothing.
    stays = jnp.where(jnp.arange(size) == search.end, 0.0, -jnp.inf)[None, None]
    sums = state.sums[..., None] + jnp.where(state.ended[..., None], stays, steps)
    lengths = state.lengths + ~state.ended
    scores = _scores(sums, jnp.broadcast_to(lengths[..., None], sums.shape), search)
    _, best = lax.top_k(scores.reshape(batch, beams * size), beams)
    parent, token = best // size, (best % size).astype(state.tokens.dtype)

    def of_parent(a: Array) -> Array:
        return jnp.take_along_axis(a, lax.expand_dims(parent, range(2, a.ndim)), axis=1)

    rows = (jnp.arange(batch)[:, None] * beams + parent).reshape(-1)
    sums = jnp.take_along_axis(sums.reshape(batch, beams * size), best, axis=1)
    tokens = lax.dynamic_update_index_in_dim(of_parent(state.tokens), token, state.step, axis=2)
    ended = of_parent(state.ended) | (token == search.end) | (sums == -jnp.inf)
    return _State(
        state.step + 1,
        tokens,
        sums,
        of_parent(lengths),
        ended,
        jax.tree.map(lambda leaf: leaf[rows], state.carry),
    )
