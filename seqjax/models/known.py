"""What a model has read before it goes on by itself: known steps, their lengths, a context."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from seqjax.models.model import Model, Params
from seqjax.nn.layer import at_last
from seqjax.ops import as_lengths


class Known(NamedTuple):
    """What is known, as `read` and the steps after it want it.

    Attributes:
        x: [batch, time, ...].
        lengths: [batch], valid steps of each; or None.
        held: of the context what holds at every step, [batch, ...].
        at_start: of the context what is read once, when a sequence begins.
        moving: of the context what changes with time, [batch, time + steps, features].
    """

    x: Array
    lengths: Array | None
    held: dict[str, Array]
    at_start: dict[str, Array]
    moving: dict[str, Array]


def as_known(
    caller: str,
    model: Model,
    x: Any,
    seq_lengths: Any,
    context: Mapping[str, Any] | None,
    steps: int | None,
) -> Known:
    """What is known, as arrays.

    Args:
        caller: what to call it in an error.
        model: what shall go on.
        x: [batch, time, ...], arrays or lists.
        seq_lengths: [batch], or None.
        context: arrays by name, or None.
        steps: how many follow, for which a context may change with time; None for no such.

    Raises:
        ValueError: for nothing known, a context that does not fit, or a model that leaves out
            steps.
    """
    try:
        x = jnp.asarray(x)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{caller}: what is known is no array ({error}); where sequences are of unequal length,"
            " pad them (seqjax.data.padded) and give seq_lengths."
        ) from None
    if x.ndim < 2 or not x.shape[1]:
        raise ValueError(
            f"{caller}: what is known must be at least 1 step, [batch, time] tokens or [batch,"
            f" time, features], but its shape is {x.shape}."
        )
    layer = model.layer
    if layer is not None and not layer.keeps_length:
        raise ValueError(f"{caller}: the model leaves out steps (a stride, or valid padding).")
    if seq_lengths is not None:
        seq_lengths = jnp.asarray(seq_lengths)
    lengths = as_lengths(seq_lengths, batch=x.shape[0], steps=x.shape[1])
    known_now = lengths is not None and not isinstance(lengths, Tracer)
    if known_now and np.min(np.asarray(lengths)) < 1:
        raise ValueError(f"{caller}: seq_lengths must be at least 1, but are {lengths}.")
    at_start = frozenset() if layer is None else layer.context_at_start
    found = Known(x, lengths, {}, {}, {})
    for name, value in (context or {}).items():
        value = jnp.asarray(value)
        if name in at_start:
            found.at_start[name] = value
        elif value.ndim in (1, 2):
            found.held[name] = value
        else:
            _check_moving(caller, found, name, value, steps)
            found.moving[name] = value
    return found


def _check_moving(caller: str, known: Known, name: str, value: Array, steps: int | None) -> None:
    if steps is None:
        raise ValueError(
            f"{caller}: {name} must hold at every step, [batch, features], but its shape is"
            f" {value.shape}."
        )
    length = known.x.shape[1]
    if value.ndim != 3 or value.shape[1] != length + steps:
        raise ValueError(
            f"{caller}: {name} must be [batch, features], or [batch, time, features] that tells"
            f" {length} known steps and {steps} more, but its shape is {value.shape}."
        )
    if known.lengths is not None:
        raise ValueError(
            f"{caller}: seq_lengths go with a context that holds at every step, [batch, features],"
            f" but {name} changes with time, {value.shape}; group sequences by length."
        )


def read(apply: Callable[..., Any], params: Params, known: Known) -> tuple[Any, Array]:
    """The carry when each sequence is over, and its last answer [batch, outputs]."""
    past = {name: value[:, : known.x.shape[1]] for name, value in known.moving.items()}
    given = in_context(known.held | known.at_start | past)
    if known.lengths is not None:
        given["seq_lengths"] = known.lengths
    carry, y = apply(params, known.x, return_carry=True, **given)
    return carry, y if y.ndim == 2 else at_last(y, known.lengths)


def in_context(arrays: dict[str, Array]) -> dict[str, Any]:
    """Arrays as an argument of a call; a model of one's own may take no context."""
    return {"context": arrays} if arrays else {}
