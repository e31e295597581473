"""Whole models as tuples of pure functions, for those who want no Flax modules."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax import nn
from seqjax.ops.sequence import as_lengths

Params = Any
Architecture = Literal["rnn", "lstm", "gru", "conv"]


class Model(NamedTuple):
    """A model as pure functions.

    Attributes:
        init: ``key -> params``.
        apply: ``(params, x, initial_carry=None, *, key=None, seq_lengths=None,
            return_carry=False, **conditions) -> y``, or ``(carry, y)``; x is [batch,
            time, inputs], y [batch, time, outputs] ([batch, outputs] for a model that
            answers at the last step only). Dropout acts where `key` is given.
            Conditions are what else the layer takes (see `seqjax.nn.WaveNet`).
        initial_carry: ``batch -> carry`` before the first step.
        step: ``(params, carry, x, **conditions) -> (carry, y)``, x [batch, inputs], y
            [batch, outputs]; the cost of a step does not grow with the steps before it.
    """

    init: Callable[[Array], Params]
    apply: Callable[..., Any]
    initial_carry: Callable[[int], Any]
    step: Callable[..., tuple[Any, Array]]


def from_layer(layer: Any, inputs: int, *, last: bool = False) -> Model:
    """Pure functions out of any layer of `seqjax.nn` (see `seqjax.nn.Layer`).

    Args:
        layer: the layer, a Linen module.
        inputs: number of input features.
        last: answer at each sequence's last step only.

    Returns:
        The model.

    Example:
        >>> model = from_layer(nn.Bidirectional(nn.GRU(features=4)), inputs=3)
        >>> model.apply(model.init(jax.random.key(0)), jnp.ones((2, 5, 3))).shape
        (2, 5, 8)
    """

    def init(key: Array) -> Params:
        return layer.init(key, jnp.zeros((1, 64, inputs)))["params"]

    def apply(
        params: Params,
        x: Float[Array, "batch time inputs"],
        initial_carry: Any = None,
        *,
        key: Array | None = None,
        seq_lengths: Int[ArrayLike, " batch"] | None = None,
        return_carry: bool = False,
        **conditions: Array,
    ) -> Any:
        result: Any = layer.apply(
            {"params": params},
            x,
            initial_carry,
            seq_lengths=seq_lengths,
            return_carry=return_carry,
            deterministic=key is None,
            rngs=None if key is None else {"dropout": key},
            **conditions,
        )
        carry, y = result if return_carry else (None, result)
        if last:
            lengths = as_lengths(seq_lengths, batch=x.shape[0], steps=x.shape[1])
            y = _last_step(y, None if lengths is None else layer.output_length(lengths))
        return (carry, y) if return_carry else y

    def step(params: Params, carry: Any, x: Array, **conditions: Array) -> tuple[Any, Array]:
        result: Any = layer.apply({"params": params}, carry, x, method="step", **conditions)
        return result

    # One compilation in place of one for every initialiser's every operation.
    return Model(jax.jit(init), apply, lambda batch: layer.initial_carry(batch, inputs), step)


def _last_step(y: Array, lengths: Array | None) -> Array:
    """[batch, outputs]: y at each sequence's last step (the first, for length 0)."""
    if lengths is None:
        return y[:, -1]
    last = jnp.maximum(lengths - 1, 0)
    return jnp.take_along_axis(y, last[:, None, None], axis=1)[:, 0]


def make(
    architecture: Architecture,
    *,
    inputs: int,
    features: Sequence[int],
    outputs: int,
    last: bool = False,
    dropout: float = 0.0,
    remat: bool = False,
    **options: Any,
) -> Model:
    """A stack of like layers under a dense head, as pure functions.

    Args:
        architecture: "rnn", "lstm", "gru", or "conv" (causal convolutions with
            relu, dilated by 1, 2, 4, ... from layer to layer).
        inputs: number of input features.
        features: width of each layer, from the input upwards.
        outputs: number of outputs of the head.
        last: answer at each sequence's last step only (many-to-one), rather
            than at every step (many-to-many).
        dropout: rate of the dropout after each layer below the head.
        remat: recompute each layer in the backward pass (`jax.checkpoint`).
        **options: further attributes of every layer (`seqjax.nn.RNN`, `LSTM`,
            `GRU`, `CausalConv`); "conv" needs none: its kernel_size is 2.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown architecture, or no layers.

    Example:
        >>> model = make("lstm", inputs=1, features=(8, 8), outputs=1, last=True)
        >>> params = model.init(jax.random.key(0))
        >>> model.apply(params, jnp.ones((2, 12, 1))).shape
        (2, 1)
        >>> carry, y = model.step(params, model.initial_carry(2), jnp.ones((2, 1)))
        >>> y.shape
        (2, 1)
    """
    if architecture not in get_args(Architecture):
        raise ValueError(
            f"architecture must be one of {get_args(Architecture)}, not {architecture!r}."
        )
    if not features:
        raise ValueError("features must name the width of at least one layer.")
    if architecture == "conv":
        options = {"kernel_size": 2, "activation": jax.nn.relu} | options
        layers = [
            nn.CausalConv(width, dilation=2**depth, **options)
            for depth, width in enumerate(features)
        ]
    else:
        kind = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[architecture]
        layers = [kind(width, **options) for width in features]
    stack = nn.Stack((*layers, nn.Dense(outputs)), dropout=dropout, remat=remat)
    return from_layer(stack, inputs, last=last)


def generate(
    model: Model,
    params: Params,
    x: Float[Array, "batch time inputs"],
    steps: int,
    *,
    key: Array | None = None,
    sample: Callable[[Array, Array], Array] | None = None,
    **conditions: Array,
) -> Float[Array, "batch {steps} inputs"]:
    """Continue sequences: every output becomes the next input.

    The context `x` is read once; then each step costs one step of the model,
    whatever stands before it, all steps in one `lax.scan`.

    Args:
        model: a model of as many outputs as inputs (or with a `sample` that makes
            inputs of its outputs).
        params: its parameters.
        x: the context, at least one step.
        steps: how many steps to generate.
        key: for `sample`.
        sample: ``(key, y) -> next input``, y [batch, outputs]; by default the output
            itself (a forecast).
        **conditions: what else the model takes: [batch, features] for what holds at
            every step, [batch, time + steps, features] for what changes with it.

    Returns:
        What follows the context.

    Raises:
        ValueError: for no context, no steps, outputs that are no inputs, or conditions
            for another number of steps.

    Example:
        >>> model = make("gru", inputs=1, features=(8,), outputs=1)
        >>> params = model.init(jax.random.key(0))
        >>> generate(model, params, jnp.ones((2, 12, 1)), steps=10).shape
        (2, 10, 1)
    """
    if steps < 1 or not x.shape[1]:
        raise ValueError(
            f"generate: steps ({steps}) and the context's length ({x.shape[1]}) must be at least 1."
        )
    if (key is None) != (sample is None):
        raise ValueError("generate: key and sample go together.")
    length = x.shape[1]
    for name, condition in conditions.items():
        if condition.ndim == 3 and condition.shape[1] != length + steps:
            raise ValueError(
                f"generate: {name} must tell {length} steps of context and {steps} more, but its"
                f" shape is {condition.shape}."
            )
    constant = {name: value for name, value in conditions.items() if value.ndim == 2}
    moving = {name: value for name, value in conditions.items() if value.ndim == 3}
    past = {name: value[:, :length] for name, value in moving.items()}
    # The step that reads value number n of the future answers for number n + 1.
    ahead = {name: jnp.swapaxes(value[:, length:-1], 0, 1) for name, value in moving.items()}
    carry, y = model.apply(params, x, return_carry=True, **constant, **past)
    y = y if y.ndim == 2 else y[:, -1]

    def next_input(y: Array, step: Any) -> Array:
        chosen = y
        if sample is not None and key is not None:
            chosen = sample(jax.random.fold_in(key, step), y)
        if chosen.shape != (x.shape[0], x.shape[2]):
            raise ValueError(
                f"generate: a step makes {chosen.shape}, but inputs are {(x.shape[0], x.shape[2])};"
                " give the model as many outputs as inputs, or pass a sample function."
            )
        return chosen.astype(x.dtype)

    def step(
        state: tuple[Any, Array], inputs: tuple[Array, dict[str, Array]]
    ) -> tuple[tuple[Any, Array], Array]:
        (carry, value), (number, now) = state, inputs
        carry, y = model.step(params, carry, value, **constant, **now)
        value = next_input(y, number)
        return (carry, value), value

    first = next_input(y, 0)
    _, rest = lax.scan(step, (carry, first), (jnp.arange(1, steps), ahead))
    return jnp.swapaxes(jnp.concatenate([first[None], rest]), 0, 1)
