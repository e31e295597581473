"""Losses and metrics of tokens, one value for each: exact means over unequal lengths.

They go into `seqjax.train.Losses` with the weights of `token_weights`, so that a mean is one over
tokens, whatever the batches and their padding.
"""

import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Bool, Float, Integer

from seqjax.models.logistics import logistic_mixture_log_probability
from seqjax.ops import as_lengths, length_mask


def token_weights(
    seq_lengths: Integer[Array, " batch"], steps: int
) -> Float[Array, "batch {steps}"]:
    """1 for the tokens of each sequence, 0 for its padding.

    Args:
        seq_lengths: valid steps of each sequence.
        steps: of the padded sequences.

    Example:
        >>> token_weights(jnp.array([1, 3]), 3).tolist()
        [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    lengths = as_lengths(seq_lengths, batch=seq_lengths.shape[0], steps=steps)
    assert lengths is not None
    return length_mask(lengths, steps).T.astype(jnp.float32)


def cross_entropy(
    logits: Float[Array, "*tokens classes"],
    targets: Integer[Array, "*tokens"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Array, "*tokens"]:
    """Cross-entropy of each token, in nats.

    ``-sum_k q_k log softmax(logits)_k`` with ``q = (1 - s) onehot(target) + s / classes``

    Args:
        logits: unnormalised log-probabilities.
        targets: 0, ..., classes - 1.
        label_smoothing: ``s``, in [0, 1).

    Raises:
        ValueError: for a smoothing outside of that.

    Example:
        >>> round(float(cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))[0]), 4)  # log 4
        1.3863

    Source: Szegedy et al., "Rethinking the Inception architecture", arXiv 1512.00567, section 7.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), not {label_smoothing}.")
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    losses = optax.softmax_cross_entropy_with_integer_labels(wide, targets)
    if not label_smoothing:
        return losses
    normaliser = jnp.squeeze(_logsumexp(wide), -1)
    uniform = normaliser - jnp.mean(wide, axis=-1)
    return (1 - label_smoothing) * losses + label_smoothing * uniform


def _logsumexp(logits: Array) -> Array:
    most = lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    return most + jnp.log(jnp.sum(jnp.exp(logits - most), axis=-1, keepdims=True))


def logistic_mixture(
    y: Float[Array, "*tokens outputs"], targets: Integer[Array, "*tokens"], levels: int
) -> Float[Array, "*tokens"]:
    """Nats of ordered codes, such as samples of sound, by a mixture of logistic distributions.

    Args:
        y: for each token logits, means and logarithms of scales, 3 * components.
        targets: 0, ..., levels - 1; in the mixture they stand for -1, ..., 1.
        levels: number of codes.

    Raises:
        ValueError: for outputs that are no multiple of 3, or fewer than 2 levels.

    Example:
        >>> y = jnp.array([[0.0, 0.5, -9.0]])  # one narrow component at 0.5
        >>> round(logistic_mixture(y, jnp.array([191]), levels=256).item(), 3)
        0.025

    Source: see `seqjax.models.logistics.logistic_mixture_log_probability`; draws:
    `seqjax.models.logistics.logistic_sampler`.
    """
    return -logistic_mixture_log_probability(y, targets, levels)


def bits(losses: Float[Array, "*tokens"]) -> Float[Array, "*tokens"]:
    """Nats as bits: of characters, bits per character.

    Example:
        >>> bits(cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))).tolist()
        [2.0]
    """
    return losses / jnp.log(jnp.asarray(2.0, losses.dtype))


def perplexity(mean_loss: float) -> float:
    """``exp`` of a mean loss in nats: equally likely choices that would be as hard to guess.

    Example:
        >>> round(perplexity(1.3862944), 4)
        4.0
    """
    return float(jnp.exp(mean_loss))


def accuracy(
    logits: Float[Array, "*tokens classes"], targets: Integer[Array, "*tokens"]
) -> Bool[Array, "*tokens"]:
    """Whether each token's most likely class is the target.

    Example:
        >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1])).tolist()
        [True, False]
    """
    return jnp.argmax(logits, axis=-1) == targets


def exact_match(
    predicted: Integer[Array, "batch time"],
    targets: Integer[Array, "batch time"],
    weights: Float[Array, "batch time"],
) -> Bool[Array, " batch"]:
    """Whether every token of a sequence is right, its padding aside.

    Example:
        >>> found, targets = jnp.array([[3, 1, 0], [3, 1, 4]]), jnp.array([[3, 1, 9], [3, 1, 5]])
        >>> exact_match(found, targets, token_weights(jnp.array([2, 3]), 3)).tolist()
        [True, False]
    """
    return jnp.all((predicted == targets) | (weights == 0), axis=-1)


def edit_distance(
    a: Integer[Array, "batch time_a"],
    b: Integer[Array, "batch time_b"],
    lengths_a: Integer[Array, " batch"],
    lengths_b: Integer[Array, " batch"],
) -> Integer[Array, " batch"]:
    """Levenshtein's distance: insertions, deletions and substitutions from one to the other.

    A row of the table is one parallel step: what comes along it is a running minimum.

    Args:
        a: tokens, right-padded.
        b: tokens, right-padded.
        lengths_a: of `a`.
        lengths_b: of `b`.

    Returns:
        The distance of each pair; divided by ``lengths_b`` it is the error rate per token.

    Example:
        >>> words = [jnp.array([list(word.encode())]) for word in ("kitten", "sitting")]
        >>> edit_distance(*words, jnp.array([6]), jnp.array([7])).tolist()
        [3]

    Source: Wagner and Fischer, "The string-to-string correction problem", JACM 21, 1974.
    """
    places = jnp.arange(b.shape[1] + 1)[None, :]
    start = jnp.broadcast_to(places, (b.shape[0], b.shape[1] + 1))

    def row(before: Array, step: tuple[Array, Array]) -> tuple[Array, None]:
        token, valid = step  # [batch]
        replaced = before[:, :-1] + (b != token[:, None])
        best = jnp.minimum(before[:, 1:] + 1, replaced)
        best = jnp.concatenate([before[:, :1] + 1, best], axis=1)
        after = lax.cummin(best - places, axis=1) + places  # by insertions along the row
        return jnp.where(valid[:, None], after, before), None

    valid = jnp.arange(a.shape[1])[:, None] < lengths_a[None, :]
    last, _ = lax.scan(row, start, (a.T, valid))
    return jnp.take_along_axis(last, lengths_b[:, None], axis=1)[:, 0]
