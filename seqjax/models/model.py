"""Any layer as a tuple of pure functions."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from seqjax import nn, ops
from seqjax.nn.layer import Context, Inputs, Tokens, check_context
from seqjax.nn.newton import COUNTER, iterates
from seqjax.ops.layout import Choices, choices
from seqjax.storage.same import same

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
            `seqjax.nn.WaveNet`). It is jitted, as `step` is: compiled once for each shape. The
            rest is of layers with ``implementation="newton"``: with
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

    def whole(
        how: Choices,
        params: Params,
        x: Array,
        initial_carry: Any,
        *,
        key: Array | None,
        seq_lengths: Any,
        return_carry: bool,
        context: Context | None,
        return_solution: bool,
        guess: Any,
        counter: Array | None,
    ) -> Any:
        del how  # read again by what it is for; here it tells programs apart
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

    def one(
        how: Choices, params: Params, carry: Any, x: Array, context: Context | None
    ) -> tuple[Any, Array]:
        del how
        check_context(layer, context)
        return layer.apply({"params": params}, carry, x, context=context, method="step")

    def initial_carry(batch: int) -> Any:
        return layer.initial_carry(batch, inputs)

    # Jitted: a call that stands alone is one program, and compiled once; within another jitted
    # function nothing is left of it.
    flags = ("return_carry", "return_solution")
    run = jax.jit(same(whole), static_argnums=0, static_argnames=flags, inline=True)
    run_step = jax.jit(same(one), static_argnums=0, inline=True)

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
        return run(
            choices(),
            params,
            x,
            initial_carry,
            key=key,
            seq_lengths=seq_lengths,
            return_carry=return_carry,
            context=context,
            return_solution=return_solution,
            guess=guess,
            counter=counter,
        )

    def step(
        params: Params, carry: Any, x: Array, *, context: Context | None = None
    ) -> tuple[Any, Array]:
        return run_step(choices(), params, carry, x, context)

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
