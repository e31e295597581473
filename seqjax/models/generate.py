"""Generation: a model that continues sequences with its own outputs."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Integer, Num

from seqjax.models.known import Known, as_known, in_context, read
from seqjax.models.model import Model, Params
from seqjax.models.sampling import Sample, checked_sample
from seqjax.ops.layout import compiled
from seqjax.storage.same import same


def generate(
    model: Model,
    params: Params,
    x: Num[ArrayLike, "batch time *inputs"],
    steps: int,
    *,
    seq_lengths: Integer[ArrayLike, " batch"] | None = None,
    key: Array | None = None,
    sample: Sample | None = None,
    context: Mapping[str, ArrayLike] | None = None,
) -> Num[Array, "batch {steps} *inputs"]:
    """Continue sequences: every output becomes the next input.

    What is known, `x`, is read once; then each step costs one step of the model,
    whatever stands before it, all steps in one `lax.scan`. All of it is one jitted program.

    Args:
        model: a model of as many outputs as inputs (or with a `sample` that makes
            inputs of its outputs).
        params: its parameters.
        x: what is known, at least one step; tokens [batch, time] for a model of tokens.
        steps: how many steps to generate.
        seq_lengths: valid steps of each right-padded sequence, at least 1; what follows is
            what follows its own last step.
        key: of the draws; not for a temperature of 0.
        sample: ``(key, y) -> next input``, y [batch, outputs]. By default the output
            itself (a forecast), for tokens `seqjax.models.sampler`. Compiled anew for another
            function, unless it does the same with the same numbers; so it must be pure (what it
            reads besides is fixed at its first call), and what it holds is kept with its program.
        context: what else the model reads: [batch, features] for what holds at
            every step, [batch, time + steps, features] for what changes with it (without
            `seq_lengths`); the source of a `seqjax.nn.EncoderDecoder` and its lengths.

    Returns:
        What follows, `steps` steps.

    Raises:
        ValueError: for no input, no steps, draws without a key, outputs that are no inputs, or
            a context of another number of steps.

    Example:
        >>> from seqjax import models
        >>> model = models.make("gru", inputs=1, features=8, outputs=1)
        >>> params = model.init(jax.random.key(0))
        >>> generate(model, params, jnp.ones((2, 12, 1)), steps=10).shape
        (2, 10, 1)
        >>> model = models.language_model("gru", vocab_size=20, features=8)
        >>> params, greedy = model.init(jax.random.key(0)), models.sampler(0.0)
        >>> generate(model, params, jnp.array([[3, 1, 4]]), steps=10, sample=greedy).shape
        (1, 10)
    """
    if steps < 1:
        raise ValueError(f"generate: steps must be at least 1, not {steps}.")
    known = as_known("generate", model, x, seq_lengths, context, steps)
    sample = checked_sample("generate", known.x, sample, key)
    model = same(model)
    return _run(model.apply, model.step, same(sample), steps, params, known, key)


@compiled(0, 1, 2, 3)
def _run(
    apply: Callable[..., Any],
    step: Callable[..., Any],
    sample: Sample | None,
    steps: int,
    params: Params,
    known: Known,
    key: Array | None,
) -> Array:
    x = known.x
    carry, y = read(apply, params, known)
    # The step that reads value number n of the future answers for number n + 1.
    ahead = {
        name: jnp.swapaxes(value[:, x.shape[1] : -1], 0, 1) for name, value in known.moving.items()
    }

    def next_input(y: Array, number: Any) -> Array:
        chosen = y
        if sample is not None:
            chosen = sample(None if key is None else jax.random.fold_in(key, number), y)
        if chosen.shape != (expected := (x.shape[0], *x.shape[2:])):
            raise ValueError(
                f"generate: a step makes {chosen.shape}, but inputs are {expected};"
                " give the model as many outputs as inputs, or pass a sample function."
            )
        return chosen.astype(x.dtype)

    def one(
        state: tuple[Any, Array], inputs: tuple[Array, dict[str, Array]]
    ) -> tuple[tuple[Any, Array], Array]:
        (carry, value), (number, now) = state, inputs
        carry, y = step(params, carry, value, **in_context(known.held | now))
        value = next_input(y, number)
        return (carry, value), value

    first = next_input(y, 0)
    _, rest = lax.scan(one, (carry, first), (jnp.arange(1, steps), ahead))
    return jnp.swapaxes(jnp.concatenate([first[None], rest]), 0, 1)
