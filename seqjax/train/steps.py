"""What training computes, as pure functions: some steps of one seed, the sums of a loss.

`seqjax.train.programs` compiles them for any number of seeds.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from seqjax.train.batches import MakeBatch
from seqjax.train.losses import BACKWARD_FALLBACKS, Loss, Params, Sums, loss_sums
from seqjax.train.mesh import split_batch
from seqjax.train.running import trained_leaves


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
    carry: Any = None  # from batch to batch
    norm_sum: Array | None = None  # of the gradients, over the steps of the running epoch
    metric_sums: Sums | None = None  # of the metrics that are tracked, over its examples


def initial_state(
    optimizer: optax.GradientTransformation,
    keep_best: bool,
    track_norm: bool,
    params: Params,
    opt_state: optax.OptState | None = None,
    carry: Any = None,
    metrics: tuple[str, ...] = (),
) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state=optimizer.init(params) if opt_state is None else opt_state,
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
        carry=carry,
        norm_sum=jnp.zeros(()) if track_norm else None,
        metric_sums={name: (jnp.zeros(()), jnp.zeros(())) for name in metrics} or None,
    )


class Program(NamedTuple):
    """What is compiled for; the same functions every time, or XLA compiles anew.

    Attributes:
        loss: see `Loss`.
        update: of the optimizer, which takes ``value=`` too; None in validation.
        plan: of `Batches`; None where the rows of a call are given as its data (`Stream`).
        batch: of `Batches`, or one for each shape.
    """

    loss: Loss
    update: Callable[..., Any] | None
    plan: Callable[[Any, Array], Any] | None
    batch: MakeBatch | tuple[MakeBatch, ...]

    def rows(self, data: Any, key: Array) -> Any:
        """The plan of an epoch."""
        return data if self.plan is None else self.plan(data, key)

    def on_batch(self, data: Any, row: Any, act: Callable[[Any, Array], Any]) -> Any:
        """``act(examples, weights)`` of a row's batch, split over devices, whatever its shape."""

        def of(make: MakeBatch) -> Callable[[Any], Any]:
            return lambda row: act(*split_batch(make(data, row)))

        if not isinstance(self.batch, tuple):
            return of(self.batch)(row)
        which, row = row
        return lax.switch(which, [of(make) for make in self.batch], row)


class Place(NamedTuple):
    """Where in a run some steps stand.

    Attributes:
        epoch: counted from 0.
        first: the first step, of the rows.
        fresh: the epoch begins here.
        limit: of skipped steps in a row.
    """

    epoch: Array
    first: Array
    fresh: Array
    limit: Array


def train_steps(
    program: Program, steps: int, state: TrainState, data: Any, key: Array, start: Any, at: Place
) -> TrainState:
    """`steps` steps of one epoch.

    A step whose loss, gradient or new parameters are not finite changes nothing but the
    count of such steps; after `at.limit` of them in a row none changes anything any more.

    Args:
        program: the functions.
        steps: how many.
        state: before them.
        data: what the batches are made of.
        key: of the run.
        start: the carry that a fresh epoch begins with; None where it goes on.
        at: where.
    """
    order_key, noise_key = jax.random.split(key)
    rows = program.rows(data, jax.random.fold_in(order_key, at.epoch))
    if program.plan is not None:
        rows = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, at.first, steps), rows)
    update = program.update
    assert update is not None

    def step(state: TrainState, row: Any) -> tuple[TrainState, None]:
        noise = jax.random.fold_in(noise_key, state.step)

        def differentiate(examples: Any, weights: Array) -> Any:
            before = state.params, examples, weights, noise, state.carry
            counting = BACKWARD_FALLBACKS in (state.metric_sums or {})
            gradient, (sums, carry) = gradient_and_total(program.loss, *before, counting=counting)
            return gradient, (sums["loss"], _tracked(state.metric_sums, sums), carry)

        gradient, ((total, weight), metrics, carry) = program.on_batch(data, row, differentiate)
        mean = total / jnp.where(weight == 0, 1, weight)
        updates, opt_state = update(gradient, state.opt_state, state.params, value=mean)
        params = optax.apply_updates(state.params, updates)
        squares = _sum_of_squares(gradient)
        norm = jnp.sqrt(_sum_of_squares(trained_leaves(gradient)))
        changed = state._replace(
            params=params,
            opt_state=opt_state,
            loss_sum=state.loss_sum + total,
            weight_sum=state.weight_sum + weight,
            skipped=state.skipped._replace(in_a_row=jnp.int32(0)),
            carry=carry,
            norm_sum=None if state.norm_sum is None else state.norm_sum + norm,
            metric_sums=jax.tree.map(jnp.add, state.metric_sums, metrics),
        )
        # A square beyond float32 counts, too: it would stay in Adam's second moment for good.
        finite = jnp.isfinite(total + squares + _zero_if_finite((params, carry)))

        def skip() -> TrainState:
            stopped = state.skipped.in_a_row >= at.limit
            batch = program.on_batch(data, row, lambda examples, _: _not_finite(examples))
            after = _not_finite(gradient) + _not_finite(carry)
            found = _skipped(state, mean, [*batch, ~jnp.isfinite(mean), *after])
            return state._replace(
                skipped=jax.tree.map(partial(jnp.where, stopped), state.skipped, found)
            )

        applied = finite & (state.skipped.in_a_row < at.limit)
        state = lax.cond(applied, lambda: changed, skip)
        return state._replace(step=state.step + 1), None

    def renewed(old: Any, new: Any) -> Any:  # an epoch's sums start with its first step
        return jax.tree.map(lambda a, b: jnp.where(at.fresh, b, a), old, new)

    state = state._replace(
        loss_sum=renewed(state.loss_sum, 0),
        weight_sum=renewed(state.weight_sum, 0),
        skipped=state.skipped._replace(in_epoch=renewed(state.skipped.in_epoch, 0)),
        carry=state.carry if start is None else renewed(state.carry, start),
        norm_sum=None if state.norm_sum is None else renewed(state.norm_sum, 0),
        metric_sums=jax.tree.map(lambda old: renewed(old, jnp.zeros_like(old)), state.metric_sums),
    )
    return lax.scan(step, state, rows)[0]


def gradient_and_total(
    loss: Loss,
    params: Params,
    examples: Any,
    weights: Array,
    noise: Array,
    carry: Any = None,
    *,
    counting: bool = False,
) -> tuple[Params, tuple[Sums, Any]]:
    """The gradient of the mean loss over a batch; its sums of losses and of metrics, the carry.

    Where it is `counting`, `BACKWARD_FALLBACKS` is one more metric.
    """

    def mean_loss(params: Params, counter: Array | None) -> tuple[Array, tuple[Sums, Any]]:
        given = params, examples, weights, noise, carry, counter
        sums, carry_after = loss_sums(loss, *given)
        total, weight = sums["loss"]
        # Of a batch that counts nothing the mean is 0, and so is its gradient.
        return total / jnp.where(weight == 0, 1, weight), (sums, carry_after)

    counter = jnp.zeros_like(weights) if counting else None
    differentiate = jax.grad(mean_loss, (0, 1), has_aux=True)
    (gradient, backward), (sums, carry) = differentiate(params, counter)
    if counting:
        sums |= {BACKWARD_FALLBACKS: (jnp.sum(backward * weights), jnp.sum(weights))}
    return gradient, (sums, carry)


def _tracked(wanted: Sums | None, found: Sums) -> Sums | None:
    if wanted is None:
        return None
    if missing := wanted.keys() - found.keys():
        raise ValueError(
            f"track_metrics names {', '.join(sorted(missing))}, but the metrics of this loss are"
            f" {', '.join(sorted(found.keys() - {'loss'})) or 'none'}."
        )
    return {name: found[name] for name in wanted}


def inexact(leaf: Any) -> bool:
    """True for what can be NaN."""
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact))


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


def validation_sums(program: Program, params: Params, data: Any, carry: Any) -> tuple[Sums, Any]:
    """The sums over all examples, without randomness, and the carry after them."""

    def of_row(carry: Any, row: Any) -> tuple[Sums, Any]:
        def sums(examples: Any, weights: Array) -> tuple[Sums, Any]:
            return loss_sums(program.loss, params, examples, weights, None, carry)

        return program.on_batch(data, row, sums)

    def step(state: tuple[Sums, Any], row: Any) -> tuple[tuple[Sums, Any], None]:
        sums, carry = state
        more, carry = of_row(carry, row)
        return (jax.tree.map(jnp.add, sums, more), carry), None

    rows = program.rows(data, jax.random.key(0))
    first = jax.tree.map(lambda a: a[0], rows)
    shapes, _ = jax.eval_shape(of_row, carry, first)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    return lax.scan(step, (zeros, carry), rows)[0]


def _not_finite(tree: Any) -> list[Array]:
    return [~jnp.all(jnp.isfinite(leaf)) for leaf in _inexact(tree)]


def _skipped(state: TrainState, loss: Array, suspects: list[Array]) -> Skipped:
    """The count with one more; which of the suspects, in the order of `leaf_names`, is bad."""
    bad = jnp.stack([*suspects, jnp.bool_(True)])
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


def leaf_names(examples: Any, params: Params, carry: Any = None) -> list[str]:
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
        *names(carry, "and carry"),
        "but the gradient's square, or the parameters after the update, are too large",
    ]


def keep_best(sign: int, state: TrainState, figure: Array) -> TrainState:
    """The state with its best parameters brought up to date.

    Args:
        sign: 1 where the least figure is the best, -1 where the greatest.
        state: with a `Best`, whose loss is the figure times `sign`.
        figure: of this epoch.
    """
    best = state.best
    assert best is not None
    candidate = Best(state.params, sign * figure, state.step)
    better = candidate.loss < best.loss
    return state._replace(
        best=jax.tree.map(lambda new, old: jnp.where(better, new, old), candidate, best)
    )
