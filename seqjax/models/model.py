"""Any layer as a tuple of pure functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from seqjax import nn, ops
from seqjax.nn.layer import Context, Inputs, Tokens, check_context
from seqjax.nn.newton import COUNTER, iterates
from seqjax.storage.same import same
from seqjax.storage.strict_json import nearest

Params = Any


class Model(NamedTuple):
    """A model as pure functions.

    Attributes:
        init: ``key -> params``.
        apply: ``(params, x, initial_carry=None, *, key=None, seq_lengths=None,
            return_carry=False, context=None, return_solution=False, guess=None,
            counter=None) -> y``, or ``(carry, y)``;
            x is [batch, time, inputs] (tokens [batch, time]), y [batch, time, outputs] ([batch,
            outputs] for a model that answers at the end only). Dropout acts where `key` is
            given; `context` is what else the layers read, arrays by name (see
            `seqjax.nn.WaveNet`). The rest is of layers with ``implementation="newton"``: with
            `return_solution` comes last what they counted, added up: `seqjax.ops.Solution`,
            whose arrays [batch] are metrics that `fit` can track, and whose `guess` a later call
            on the same sequences begins with; `counter` is as in `seqjax.ops.Options`, and its
            gradient the sum over the layers.
        initial_carry: ``batch -> carry`` before the first step; its leaves begin with the
            batch.
        step: ``(params, carry, x, *, context=None) -> (carry, y)``, x [batch, inputs], y
            [batch, outputs]; the cost of a step does not grow with the steps before it.
        layer: what it is made of.
        inputs: number of input features, or `seqjax.nn.Tokens`.
        last: it answers when each sequence is over.
    """

    init: Callable[[Array], Params]
    apply: Callable[..., Any]
    initial_carry: Callable[[int], Any]
    step: Callable[..., tuple[Any, Array]]
    layer: nn.Layer | None = None
    inputs: Inputs | None = None
    last: bool = False


def from_layer(layer: Any, inputs: Inputs, *, last: bool = False) -> Model:
    """Pure functions out of any layer of `seqjax.nn` (see `seqjax.nn.Layer`).

    Args:
        layer: the layer, a Linen module.
        inputs: number of input features, or ``nn.Tokens(vocab_size)``.
        last: answer when each sequence is over (many-to-one): at its last step, of two
            directions each at its own end (see `seqjax.nn.Layer.last`).

    Returns:
        The model.

    Raises:
        ValueError: (of the functions) for shapes that do not fit, a context that no layer reads,
            or a guess that is none of these layers.

    Example:
        >>> model = from_layer(nn.Bidirectional(nn.GRU(features=4)), inputs=3)
        >>> model.apply(model.init(jax.random.key(0)), jnp.ones((2, 5, 3))).shape
        (2, 5, 8)
        >>> layer = nn.Stack((nn.Embed(50, features=8), nn.LSTM(4), nn.Dense(2)))
        >>> model = from_layer(layer, nn.Tokens(50), last=True)
        >>> model.apply(model.init(jax.random.key(0)), jnp.array([[3, 1, 4]])).shape
        (1, 2)
    """

    def init(key: Array) -> Params:
        return layer.init(key, example(inputs, 64)).get("params", {})

    def apply(
        params: Params,
        x: Array,
        initial_carry: Any = None,
        *,
        key: Array | None = None,
        seq_lengths: Any = None,
        return_carry: bool = False,
        context: Context | None = None,
        return_solution: bool = False,
        guess: Any = None,
        counter: Array | None = None,
    ) -> Any:
        if counter is not None:
            if not iterates(layer):
                raise ValueError(_NONE_ITERATES)
            context = {**(context or {}), COUNTER: counter}
        iterated = return_solution or guess is not None
        known = {"guess": guess} if isinstance(guess, Mapping) else {}
        result = layer.apply(
            {"params": params, **known},
            x,
            initial_carry,
            seq_lengths=seq_lengths,
            return_carry=return_carry,
            deterministic=key is None,
            context=context,
            rngs=None if key is None else {"dropout": key},
            method="last" if last else None,
            mutable=["newton"] if iterated else False,
        )
        if not iterated:
            return result
        result, sown = result
        solution = _added(sown)
        # A layer looks for its own and no further: what is another's would do nothing.
        if guess is not None and jax.tree.structure(guess) != jax.tree.structure(solution.guess):
            raise ValueError(
                "guess: it must be the guess of a solution of the same layers,"
                f" {jax.tree.map(jnp.shape, solution.guess)}, not {jax.tree.map(jnp.shape, guess)}."
            )
        if not return_solution:
            return result
        return (*result, solution) if return_carry else (result, solution)

    def step(
        params: Params, carry: Any, x: Array, *, context: Context | None = None
    ) -> tuple[Any, Array]:
        check_context(layer, context)
        return layer.apply({"params": params}, carry, x, context=context, method="step")

    def initial_carry(batch: int) -> Any:
        return layer.initial_carry(batch, inputs)

    # Jitted: one compilation in place of one for every initialiser's every operation.
    return Model(jax.jit(same(init)), apply, initial_carry, step, layer, inputs, last)


_NONE_ITERATES = (
    "return_solution, guess, counter: no layer of this model iterates: none has"
    ' implementation="newton", or their recurrences are linear, and solved at once.'
)


def _added(sown: Any) -> ops.Solution:
    """All solutions that layers left behind, as one."""

    def is_one(node: Any) -> bool:
        return isinstance(node, ops.Solution)

    found = jax.tree.leaves(sown, is_leaf=is_one)
    if not found:
        raise ValueError(_NONE_ITERATES)
    # Of layers that a loop repeats they stand along axes of their own.
    of_one = [
        jax.tree.map(lambda a: a.reshape(-1, a.shape[-1]).sum(0), one._replace(guess=None))
        for one in found
    ]
    guess = jax.tree.map(lambda one: one.guess, sown["newton"], is_leaf=is_one)
    return jax.tree.map(lambda *counts: sum(counts), *of_one)._replace(guess=guess)


def example(inputs: Inputs, steps: int) -> Array:
    """One sequence of so many steps, zeros.

    Example:
        >>> example(3, 5).shape, example(nn.Tokens(50), 5).dtype
        ((1, 5, 3), dtype('int32'))
    """
    if isinstance(inputs, Tokens):
        return jnp.zeros((1, steps), jnp.int32)
    return jnp.zeros((1, steps, inputs))


def make(
    architecture: str,
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
        architecture: the name of a cell (`seqjax.ops.CELLS`: "rnn", "lstm", "gru", ...), or
            "conv" (causal convolutions with relu, dilated by 1, 2, 4, ... from layer to layer).
        inputs: number of input features.
        features: width of each layer, from the input upwards.
        outputs: number of outputs of the head.
        last: answer at each sequence's last step only (many-to-one), rather
            than at every step (many-to-many).
        dropout: rate of the dropout after each layer below the head.
        remat: recompute each layer in the backward pass (`jax.checkpoint`).
        **options: further attributes of every layer (`seqjax.nn.RNN`, `LSTM`,
            `GRU`, `CausalConv`, ...); "conv" needs none: its kernel_size is 2.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown architecture or option, or no layers.

    Example:
        >>> model = make("lstm", inputs=1, features=(8, 8), outputs=1, last=True)
        >>> params = model.init(jax.random.key(0))
        >>> model.apply(params, jnp.ones((2, 12, 1))).shape
        (2, 1)
        >>> carry, y = model.step(params, model.initial_carry(2), jnp.ones((2, 1)))
        >>> y.shape
        (2, 1)
    """
    kind = checked_kind(architecture, {"conv": nn.CausalConv}, features, options)
    if architecture == "conv":
        options = {"kernel_size": 2, "activation": "relu"} | options
        layers = [
            nn.CausalConv(width, dilation=2**depth, **options)
            for depth, width in enumerate(features)
        ]
    else:
        layers = [kind(width, **options) for width in features]
    stack = nn.Stack((*layers, nn.Dense(outputs)), dropout=dropout, remat=remat)
    return from_layer(stack, inputs, last=last)


def checked_kind(
    architecture: str,
    others: Mapping[str, Any],
    features: Sequence[int],
    options: Mapping[str, Any],
) -> Any:
    """The layer of an architecture, a cell's or one of `others`, by its name.

    Raises:
        ValueError: for no widths, or an unknown architecture or option, with the nearest name.
    """
    if not features:
        raise ValueError("features must name the width of at least one layer.")
    kinds = {**nn.LAYERS, **others}
    if architecture not in kinds:
        hint = nearest(architecture, kinds)
        raise ValueError(f"architecture must be one of {(*kinds,)}, not {architecture!r}.{hint}")
    kind = kinds[architecture]
    for name in options.keys() - kind.__dataclass_fields__.keys():
        hint = nearest(name, kind.__dataclass_fields__)
        raise ValueError(f"{architecture} has no option {name!r}.{hint}")
    return kind
