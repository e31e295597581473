"""What training computes, as pure functions: one epoch's steps, the mean of a loss.

`seqjax.train.loop` compiles them for one run, `seqjax.train.seeds` for several at once.
"""

from collections.abc import Callable
from functools import partial
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


class Skipped(NamedTuple):
    """Steps whose update was not applied, since something in it was not finite.

    Attributes:
        in_a_row: up to the last step.
        in_epoch: of the running epoch.
        in_all: of the run.
        steps: [KEPT], the latest of them; number n of the run stands at n modulo KEPT.
        losses: [KEPT], the mean loss of each.
        leaves: [KEPT], what was not finite there: places in `leaf_names`.
    """

    in_a_row: Array
    in_epoch: Array
    in_all: Array
    steps: Array
    losses: Array
    leaves: Array


KEPT = 16  # more than the default `max_skips`: a row that ends a run is kept whole


class TrainState(NamedTuple):
    """Everything that a step changes."""

    step: Array
    params: Params
    opt_state: optax.OptState
    loss_sum: Array  # over the examples of the running epoch
    weight_sum: Array
    skipped: Skipped
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
        skipped=Skipped(
            in_a_row=jnp.int32(0),
            in_epoch=jnp.int32(0),
            in_all=jnp.int32(0),
            steps=jnp.zeros(KEPT, jnp.int32),
            losses=jnp.zeros(KEPT, jnp.float32),
            leaves=jnp.zeros(KEPT, jnp.int32),
        ),
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
    limit: Array,
) -> TrainState:
    """`steps` steps of one epoch, from its step `first` on.

    A step whose loss, gradient or new parameters are not finite changes nothing but the
    count of such steps; after `limit` of them in a row none changes anything any more.
    """
    order_key, noise_key = jax.random.split(key)
    rows = plan(data, jax.random.fold_in(order_key, epoch))
    rows = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, first, steps), rows)

    def step(state: TrainState, row: Any) -> tuple[TrainState, None]:
        examples, weights = split_batch(batch(data, row))
        noise = jax.random.fold_in(noise_key, state.step)
        gradient, total = gradient_and_total(loss, state.params, examples, weights, noise)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        changed = state._replace(
            params=params,
            opt_state=opt_state,
            loss_sum=state.loss_sum + total,
            weight_sum=state.weight_sum + jnp.sum(weights),
            skipped=state.skipped._replace(in_a_row=jnp.int32(0)),
        )
        # A square beyond float32 counts, too: it would stay in Adam's second moment for good.
        finite = jnp.isfinite(total + _sum_of_squares(gradient) + _zero_if_finite(params))

        def skip() -> TrainState:
            stopped = state.skipped.in_a_row >= limit
            found = _skipped(state, total / jnp.sum(weights), (examples, gradient))
            return state._replace(
                skipped=jax.tree.map(partial(jnp.where, stopped), state.skipped, found)
            )

        applied = finite & (state.skipped.in_a_row < limit)
        state = lax.cond(applied, lambda: changed, skip)
        return state._replace(step=state.step + 1), None

    fresh = first == 0  # an epoch's sums start with its first step
    state = state._replace(
        loss_sum=jnp.where(fresh, 0, state.loss_sum),
        weight_sum=jnp.where(fresh, 0, state.weight_sum),
        skipped=state.skipped._replace(in_epoch=jnp.where(fresh, 0, state.skipped.in_epoch)),
    )
    return lax.scan(step, state, rows)[0]


def gradient_and_total(
    loss: Loss, params: Params, examples: Any, weights: Array, noise: Array
) -> tuple[Params, Array]:
    """The gradient of the mean loss over a batch, and the sum of its losses."""

    def mean_loss(params: Params) -> tuple[Array, Array]:
        total = _weighted_sum(loss(params, examples, noise), weights)
        return total / jnp.sum(weights), total

    return jax.grad(mean_loss, has_aux=True)(params)


def inexact(leaf: Any) -> bool:
    """True for what can be NaN."""
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def _inexact(tree: Any) -> list[Array]:
    return [leaf for leaf in jax.tree.leaves(tree) if inexact(leaf)]


def _sum_of_squares(tree: Any) -> Array:
    """In float32 at least, as a half's square would soon be infinite."""

    def squares(leaf: Array) -> Array:
        wide = jnp.abs(leaf).astype(jnp.promote_types(jnp.abs(leaf).dtype, jnp.float32))
        return jnp.sum(wide**2)

    return sum(map(squares, _inexact(tree)), jnp.zeros(()))


def _zero_if_finite(tree: Any) -> Array:
    return sum((jnp.sum(jnp.abs(leaf) * 0) for leaf in _inexact(tree)), jnp.zeros(()))


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


def _skipped(state: TrainState, loss: Array, parts: tuple[Any, Params]) -> Skipped:
    """The count with one more; `parts`, batch and gradient, in the order of `leaf_names`."""
    examples, gradient = parts
    suspects = [*_inexact(examples), loss, *_inexact(gradient)]
    bad = jnp.stack([~jnp.all(jnp.isfinite(leaf)) for leaf in suspects] + [jnp.bool_(True)])
    old = state.skipped
    place = old.in_all % KEPT
    return Skipped(
        in_a_row=old.in_a_row + 1,
        in_epoch=old.in_epoch + 1,
        in_all=old.in_all + 1,
        steps=old.steps.at[place].set(state.step),
        losses=old.losses.at[place].set(loss.astype(jnp.float32)),
        leaves=old.leaves.at[place].set(jnp.argmax(bad).astype(jnp.int32)),
    )


def leaf_names(examples: Any, params: Params) -> list[str]:
    """What `Skipped.leaf` counts, as the end of a sentence."""

    def names(tree: Any, label: str) -> list[str]:
        return [
            f"{label}{jax.tree_util.keystr(path)} is not finite"
            for path, leaf in jax.tree.leaves_with_path(tree)
            if inexact(leaf)
        ]

    return [
        *names(examples, "in its batch, batch"),
        "though its batch is finite",
        *names(params, "and the gradient of params"),
        "but the gradient's square, or the parameters after the update, are too large",
    ]


def _weighted_sum(losses: Array, weights: Array) -> Array:
    if losses.shape != weights.shape:
        raise ValueError(
            f"The loss function must return one loss for each example, {weights.shape},"
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
