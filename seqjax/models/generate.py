"""Generation: a model that continues sequences with its own outputs."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Num

from seqjax.models.model import Model, Params


def generate(
    model: Model,
    params: Params,
    x: Num[Array, "batch time *inputs"],
    steps: int,
    *,
    key: Array | None = None,
    sample: Callable[[Array, Array], Array] | None = None,
    context: Mapping[str, Array] | None = None,
) -> Num[Array, "batch {steps} *inputs"]:
    """Continue sequences: every output becomes the next input.

    What is known, `x`, is read once; then each step costs one step of the model,
    whatever stands before it, all steps in one `lax.scan`.

    Args:
        model: a model of as many outputs as inputs (or with a `sample` that makes
            inputs of its outputs).
        params: its parameters.
        x: what is known, at least one step; tokens [batch, time] for a model of tokens.
        steps: how many steps to generate.
        key: for `sample`.
        sample: ``(key, y) -> next input``, y [batch, outputs]; by default the output
            itself (a forecast).
        context: what else the model reads: [batch, features] for what holds at
            every step, [batch, time + steps, features] for what changes with it; the
            source of a `seqjax.nn.EncoderDecoder` and its lengths.

    Returns:
        What follows, `steps` steps.

    Raises:
        ValueError: for no input, no steps, outputs that are no inputs, or a context of
            another number of steps.

    Example:
        >>> from seqjax import models
        >>> model = models.make("gru", inputs=1, features=(8,), outputs=1)
        >>> params = model.init(jax.random.key(0))
        >>> generate(model, params, jnp.ones((2, 12, 1)), steps=10).shape
        (2, 10, 1)
    """
    if steps < 1 or not x.shape[1]:
        raise ValueError(
            f"generate: steps ({steps}) and what is known ({x.shape[1]} steps) must be at least 1."
        )
    if (key is None) != (sample is None):
        raise ValueError("generate: key and sample go together.")
    length = x.shape[1]
    if model.layer is not None and not model.layer.keeps_length:
        raise ValueError("generate: the model leaves out steps (a stride, or valid padding).")
    given = dict(context or {})
    names = frozenset() if model.layer is None else model.layer.context_at_start
    at_start = {name: given.pop(name) for name in names & given.keys()}
    for name, condition in given.items():
        if condition.ndim not in (2, 3):
            raise ValueError(
                f"generate: {name} must be [batch, features] or [batch, time, features], but its"
                f" shape is {condition.shape}."
            )
        if condition.ndim == 3 and condition.shape[1] != length + steps:
            raise ValueError(
                f"generate: {name} must tell {length} known steps and {steps} more, but its"
                f" shape is {condition.shape}."
            )
    constant = {name: value for name, value in given.items() if value.ndim == 2}
    moving = {name: value for name, value in given.items() if value.ndim == 3}
    past = {name: value[:, :length] for name, value in moving.items()}
    # The step that reads value number n of the future answers for number n + 1.
    ahead = {name: jnp.swapaxes(value[:, length:-1], 0, 1) for name, value in moving.items()}

    def read(now: dict[str, Array]) -> dict[str, Any]:
        return {} if context is None else {"context": constant | now}

    carry, y = model.apply(params, x, return_carry=True, **read(past | at_start))
    y = y if y.ndim == 2 else y[:, -1]

    def next_input(y: Array, step: Any) -> Array:
        chosen = y
        if sample is not None and key is not None:
            chosen = sample(jax.random.fold_in(key, step), y)
        if chosen.shape != (expected := (x.shape[0], *x.shape[2:])):
            raise ValueError(
                f"generate: a step makes {chosen.shape}, but inputs are {expected};"
                " give the model as many outputs as inputs, or pass a sample function."
            )
        return chosen.astype(x.dtype)

    def step(
        state: tuple[Any, Array], inputs: tuple[Array, dict[str, Array]]
    ) -> tuple[tuple[Any, Array], Array]:
        (carry, value), (number, now) = state, inputs
        carry, y = model.step(params, carry, value, **read(now))
        value = next_input(y, number)
        return (carry, value), value

    first = next_input(y, 0)
    _, rest = lax.scan(step, (carry, first), (jnp.arange(1, steps), ahead))
    return jnp.swapaxes(jnp.concatenate([first[None], rest]), 0, 1)
