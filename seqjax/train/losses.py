"""Losses: what a loss function may return, and its sums over a batch."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Params = Any


class Losses(NamedTuple):
    """What a loss function may return beyond one loss for each example.

    Attributes:
        values: [batch], or [batch, time] with a loss for each token.
        weights: of `values`' shape, 0 for padding, in addition to the batch's own: means,
            the gradient's too, are over the sum of all weights. None counts all alike.
        carry: what the next batch begins with (see `fit`).
        metrics: more to report of a validation, by name: values, or ``(values, weights)``; of
            training, too, what `fit` is to track (`track_metrics`).
    """

    values: Array
    weights: Array | None = None
    carry: Any = None
    metrics: Mapping[str, Array | tuple[Array, Array]] = {}


Loss: TypeAlias = Callable[..., Array | Losses]
"""``(params, batch, key) -> losses [batch]``, or `Losses`; `key` is None in validation.

With a carry (see `fit`): ``(params, batch, key, carry)``. Where `BACKWARD_FALLBACKS` are tracked
it takes `counter`, too, by name: floats [batch] whose gradient is a count, of
`seqjax.ops.Options` or `seqjax.models.Model.apply`; None, its default, in validation. A loss that
does not hand it on counts 0.
"""

BACKWARD_FALLBACKS = "backward_fallbacks"  # a metric that only a gradient knows

Sums = dict[str, tuple[Array, Array]]  # by name: a sum of weighted values, and that of weights


def loss_sums(
    loss: Loss,
    params: Params,
    examples: Any,
    weights: Array,
    key: Array | None,
    carry: Any,
    counter: Array | None = None,
) -> tuple[Sums, Any]:
    """Sums of a batch, "loss" and every metric, and the carry after it.

    Raises:
        ValueError: for values or weights of other shapes, or another carry; for a loss that has
            no use for a counter.
        TypeError: for losses that are no real numbers.
    """
    given = (params, examples, key) if carry is None else (params, examples, key, carry)
    if counter is not None and not _takes_counter(loss):
        raise ValueError(
            f"track_metrics names {BACKWARD_FALLBACKS}, but this loss function takes no counter:"
            " let it take counter=None, and hand that on to Model.apply or to ops.run."
        )
    found = loss(*given) if counter is None else loss(*given, counter=counter)
    if not isinstance(found, Losses | Array | np.ndarray):
        raise TypeError(
            f"The loss function must return an array or Losses, not {type(found).__name__}."
        )
    if not isinstance(found, Losses):
        found = Losses(found)
    if not jnp.issubdtype(jnp.result_type(found.values), jnp.floating):
        raise TypeError(
            f"The loss function returned {jnp.result_type(found.values)}, which has no gradient;"
            " losses must be floats."
        )
    _check_carry(carry, found.carry)
    sums = {"loss": _weighted_sum("loss function", found.values, found.weights, weights)}
    if BACKWARD_FALLBACKS in found.metrics:
        raise ValueError(f"A metric cannot be named {BACKWARD_FALLBACKS!r}: `fit` counts them.")
    if "loss" in found.metrics:
        raise ValueError("A metric cannot be named 'loss': that is the mean of the values.")
    for name, values in found.metrics.items():
        values, own = values if isinstance(values, tuple) else (values, None)
        sums[name] = _weighted_sum(f"metric {name!r}", values, own, weights)
    return sums, found.carry


def _takes_counter(loss: Loss) -> bool:
    taken = inspect.signature(loss).parameters
    return "counter" in taken or any(one.kind is one.VAR_KEYWORD for one in taken.values())


def _check_carry(given: Any, returned: Any) -> None:
    def kind(tree: Any) -> Any:
        shapes = jax.tree.map(lambda a: (jnp.shape(a), jnp.result_type(a)), tree)
        return jax.tree.structure(tree), jax.tree.leaves(shapes)

    if kind(given) != kind(returned):
        hint = " Give fit a carry to begin with." if given is None else ""
        raise ValueError(
            f"The loss function was given the carry {jax.tree.map(jnp.shape, given)} and returned"
            f" {jax.tree.map(jnp.shape, returned)}; both must be alike.{hint}"
        )


def _weighted_sum(
    what: str, values: Array, own: Array | None, weights: Array
) -> tuple[Array, Array]:
    """Sum of values by their own weights and those of the examples, and the sum of weights."""
    batch = weights.shape
    if own is None and values.shape == batch:
        return jnp.sum(values * weights), jnp.sum(weights)
    if values.shape[:1] != batch or (own is not None and own.shape != values.shape):
        raise ValueError(
            f"The {what} must return one loss for each example, {batch}, or for each token,"
            f" ({batch[0]}, time), with weights of that shape; but it returned {values.shape}"
            + ("." if own is None else f" with weights {own.shape}.")
        )
    of_example = lax.expand_dims(weights, range(1, values.ndim))
    both = jnp.broadcast_to(of_example, values.shape) if own is None else own * of_example
    # What counts nothing may be anything, as losses of the padding (but in training their
    # derivatives must be finite: zero times infinity is none).
    values = jnp.where(both == 0, jnp.zeros_like(values), values)
    return jnp.sum(values * both), jnp.sum(both)
