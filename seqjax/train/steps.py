"""What training computes, as pure functions: one epoch's steps, the mean of a loss.

`seqjax.train.loop` compiles them for one run, `seqjax.train.seeds` for several at once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from seqjax.train.mesh import split_batch

Params = Any
Loss: TypeAlias = Callable[[Params, Any, Array | None], Array]
"""``(params, batch, key) -> losses [batch]``; `key` is None where nothing is random."""


class Best(NamedTuple):
    """The best parameters so far, their validation loss, and their step."""

    params: Params
    loss: Array
    step: Array


class TrainState(NamedTuple):
    """Everything that a step changes."""

    step: Array
    params: Params
    opt_state: optax.OptState
    loss_sum: Array  # over the examples of the running epoch
    weight_sum: Array
    best: Best | None


def initial_state(
    optimizer: optax.GradientTransformation, keep_best: bool, params: Params
) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state=optimizer.init(params),
        loss_sum=jnp.zeros(()),
        weight_sum=jnp.zeros(()),
        best=Best(params, jnp.float32(jnp.inf), jnp.int32(0)) if keep_best else None,
    )


def train_steps(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    plan: Callable[[Any, Array], Any],
    batch: Callable[[Any, Any], tuple[Any, Array]],
    steps: int,
    state: TrainState,
    data: Any,
    key: Array,
    epoch: Array,
    first: Array,
) -> TrainState:
    """`steps` steps of one epoch, from its step `first` on."""
    order_key, noise_key = jax.random.split(key)
    rows = plan(data, jax.random.fold_in(order_key, epoch))
    rows = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, first, steps), rows)

    def step(state: TrainState, row: Any) -> tuple[TrainState, None]:
        examples, weights = split_batch(batch(data, row))
        noise = jax.random.fold_in(noise_key, state.step)

        def mean_loss(params: Params) -> tuple[Array, Array]:
            total = _weighted_sum(loss(params, examples, noise), weights)
            return total / jnp.sum(weights), total

        gradient, total = jax.grad(mean_loss, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        return state._replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            loss_sum=state.loss_sum + total,
            weight_sum=state.weight_sum + jnp.sum(weights),
        ), None

    fresh = jnp.where(first == 0, 0.0, 1.0)  # an epoch's sums start with its first step
    state = state._replace(loss_sum=state.loss_sum * fresh, weight_sum=state.weight_sum * fresh)
    return lax.scan(step, state, rows)[0]


def mean_loss(
    loss: Loss,
    plan: Callable[[Any, Array], Any],
    batch: Callable[[Any, Any], tuple[Any, Array]],
    params: Params,
    data: Any,
) -> Array:
    """The mean loss over all examples, without randomness."""

    def step(sums: tuple[Array, Array], row: Any) -> tuple[tuple[Array, Array], None]:
        examples, weights = split_batch(batch(data, row))
        total = _weighted_sum(loss(params, examples, None), weights)
        return (sums[0] + total, sums[1] + jnp.sum(weights)), None

    rows = plan(data, jax.random.key(0))
    (total, weight), _ = lax.scan(step, (jnp.zeros(()), jnp.zeros(())), rows)
    return total / weight


def _weighted_sum(losses: Array, weights: Array) -> Array:
    if losses.shape != weights.shape:
        raise ValueError(
            f"fit: the loss function must return one loss for each example, {weights.shape},"
            f" but returned {losses.shape}."
        )
    return jnp.sum(losses * weights)


def keep_best(state: TrainState, loss: Array) -> TrainState:
    """The state with its best parameters brought up to date."""
    best = state.best
    assert best is not None
    candidate = Best(state.params, loss, state.step)
    better = loss < best.loss
    return state._replace(
        best=jax.tree.map(lambda new, old: jnp.where(better, new, old), candidate, best)
    )


def loss_and_finite(state: TrainState) -> tuple[Array, Array]:
    """The epoch's mean loss so far, and whether all parameters are finite."""
    leaves = [
        leaf for leaf in jax.tree.leaves(state.params) if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in leaves]
    return state.loss_sum / state.weight_sum, jnp.all(jnp.stack(finite))
