"""Losses and gradients that are not finite: what is told of them, and where they come from."""

import logging
import math
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.train.batches import Batches
from seqjax.train.steps import (
    Loss,
    Params,
    Skipped,
    TrainState,
    gradient_and_total,
    inexact,
    leaf_names,
)

_log = logging.getLogger(__name__)

_HELP = (
    "Look at the data, or try a lower learning rate or gradient clipping"
    " (optax.clip_by_global_norm); --debug-nans (fit(debug_nans=True)) finds the operation."
)


class Watch:
    """Tells of a run's steps that were not finite, and ends it after too many.

    Args:
        who: starts every message.
        batches: of the training part.
        params: before the first step.
        limit: so many steps in a row end the run.

    Raises:
        FloatingPointError: where a parameter is not finite from the start.
    """

    def __init__(self, who: str, batches: Batches, params: Params, limit: int) -> None:
        self.who, self.batches, self.limit = who, batches, limit
        self.params = jax.eval_shape(lambda: params)
        self.told = 0  # skipped steps of this epoch
        if found := not_finite(params):
            raise FloatingPointError(f"{who}: params{found[0]} is not finite from the start.")

    def mean_loss(self, state: TrainState, *, epoch_over: bool, saved: str) -> float:
        """The epoch's mean loss so far, over the steps that were finite.

        Args:
            state: on the host; only its sums and counts are read.
            epoch_over: the next call begins another epoch.
            saved: what is left of the run if it ends here.

        Raises:
            FloatingPointError: after too many steps in a row, or a whole epoch of them.
        """
        skipped = state.skipped
        fresh = int(skipped.in_epoch) - self.told
        self.told = 0 if epoch_over else int(skipped.in_epoch)
        in_a_row = int(skipped.in_a_row)
        if in_a_row >= self.limit or (epoch_over and not state.weight_sum):
            steps = "a step was" if in_a_row == 1 else f"{in_a_row} steps in a row were"
            raise FloatingPointError(
                f"{self.who}: {steps} not finite and changed nothing:"
                f" {self.describe(skipped)}. {saved} {_HELP}"
            )
        if fresh:
            steps = "a step was" if fresh == 1 else f"{fresh} steps were"
            _log.warning("%s: %s skipped: %s", self.who, steps, self.describe(skipped))
        return float(state.loss_sum / state.weight_sum) if state.weight_sum else math.nan

    def describe(self, skipped: Skipped) -> str:
        """The first step of the latest row of skipped ones: its loss, and what was not finite."""
        plan = jax.eval_shape(self.batches.plan, self.batches.data, jax.random.key(0))
        row = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), plan)
        examples, _ = jax.eval_shape(self.batches.batch, self.batches.data, row)
        leaf = leaf_names(examples, self.params)[int(skipped.leaf)]
        return f"at step {int(skipped.step) + 1} the loss was {float(skipped.loss):.6g}, {leaf}"


def not_finite(tree: Any) -> list[str]:
    """Names of the leaves that hold NaN or infinity."""
    found = []
    for path, leaf in jax.tree.leaves_with_path(tree):
        leaf = jnp.asarray(leaf)
        if inexact(leaf) and not jnp.all(jnp.isfinite(leaf)):
            found.append(jax.tree_util.keystr(path))
    return found


def find_operation(loss: Loss, batches: Batches, state: TrainState, key: Array) -> NoReturn:
    """Do the latest skipped step again, operation by operation.

    Args:
        loss: see `fit`.
        batches: of the training part.
        state: as the skipped step left it, which is as it found it.
        key: of the run.

    Raises:
        FloatingPointError: always: at the first operation that makes a NaN, or else at the
            first that makes an infinity.
    """
    order_key, noise_key = jax.random.split(key)
    step = int(state.skipped.step)
    epoch, index = divmod(step, batches.steps)
    plan = batches.plan(batches.data, jax.random.fold_in(order_key, epoch))
    row = jax.tree.map(lambda a: a[index], plan)
    examples, weights = batches.batch(batches.data, row)
    noise = jax.random.fold_in(noise_key, step)
    where = f"fit: at step {step + 1}"
    if found := not_finite(examples):
        raise FloatingPointError(f"{where} the batch itself is not finite: {', '.join(found)}.")
    for find in (jax.debug_nans, jax.debug_infs):
        with jax.disable_jit(), find(True):
            try:
                gradient_and_total(loss, state.params, examples, weights, noise)
            except FloatingPointError as error:
                raise FloatingPointError(f"{where}, done again: {error}") from error
    raise FloatingPointError(
        f"{where} loss and gradient are finite when done again operation by operation; the square"
        " of the gradient, or the parameters after the update, are not."
    )
