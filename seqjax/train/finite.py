"""Losses and gradients that are not finite: what is told of them, and where they come from."""

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax import Array

from seqjax.train.steps import (
    KEPT,
    Loss,
    Skipped,
    TrainState,
    gradient_and_total,
    inexact,
    leaf_names,
)

_log = logging.getLogger(__name__)

_TOLD = 8  # skipped steps in one message
_HELP = (
    "Look at the data, or try a lower learning rate or gradient clipping"
    " (optax.clip_by_global_norm); --debug-nans (fit(debug_nans=True)) finds the operation."
)


class Watch:
    """Tells of a run's steps that were not finite, and ends it after too many.

    Args:
        who: starts every message.
        limit: so many steps in a row end the run.
    """

    def __init__(self, who: str, limit: int) -> None:
        self.who, self.limit = who, limit
        self.told = 0  # skipped steps of this epoch

    def check(
        self, state: TrainState, *, epoch_over: bool, saved: str, shapes: Callable[[], Any]
    ) -> float | None:
        """Tell what was skipped; return the epoch's mean loss over the other steps so far.

        Args:
            state: on the host; only its sums and counts are read.
            epoch_over: the next call begins another epoch.
            saved: what is left of the run if it ends here.
            shapes: gives a batch, the parameters and the carry, or arrays like them.

        Returns:
            The mean; None where every step was skipped.

        Raises:
            FloatingPointError: after too many steps in a row.
        """
        skipped = state.skipped
        fresh = int(skipped.in_epoch) - self.told
        self.told = 0 if epoch_over else int(skipped.in_epoch)
        in_a_row = int(skipped.in_a_row)
        if in_a_row >= self.limit:
            steps = "a step was" if in_a_row == 1 else f"{in_a_row} steps in a row were"
            what = self.describe(skipped, in_a_row, shapes)
            sentences = (f"{self.who}: {steps} not finite and changed nothing: {what}.", saved)
            raise FloatingPointError(" ".join(filter(None, (*sentences, _HELP))))
        if fresh > 0:
            steps = "a step was" if fresh == 1 else f"{fresh} steps were"
            _log.warning(
                "%s: %s skipped: %s", self.who, steps, self.describe(skipped, fresh, shapes)
            )
        return float(state.loss_sum / state.weight_sum) if state.weight_sum else None

    def describe(self, skipped: Skipped, number: int, shapes: Callable[[], Any]) -> str:
        """The first of the last `number` skipped steps: loss, and what was at fault."""
        names = leaf_names(*shapes())
        last = int(skipped.in_all)
        places = [count % KEPT for count in range(last - min(number, KEPT), last)][:_TOLD]
        told = [
            f"at step {int(skipped.steps[place]) + 1} the loss was"
            f" {float(skipped.losses[place]):.6g}, {names[int(skipped.leaves[place])]}"
            for place in places
        ]
        more = f"; and {number - len(told)} more" if number > len(told) else ""
        return "; ".join(told) + more


def latest_step(skipped: Skipped) -> int:
    """Number of the latest skipped step."""
    return int(skipped.steps[(skipped.in_all - 1) % KEPT])


def not_finite(tree: Any, name: str) -> list[str]:
    """Names of the leaves that hold NaN or infinity, `name` being that of the whole."""
    # On the host: outside of `jax.jit` each shape would be two programs to compile.
    return [
        f"{name}{jax.tree_util.keystr(path)}"
        for path, leaf in jax.tree.leaves_with_path(tree)
        if inexact(leaf) and not np.isfinite(leaf).all()
    ]


def find_operation(
    loss: Loss, examples: Any, weights: Array, state: TrainState, key: Array
) -> NoReturn:
    """Do the latest skipped step again, operation by operation.

    Args:
        loss: see `fit`.
        examples: its batch.
        weights: of the examples.
        state: as the skipped step left it, which is as it found it.
        key: of the run.

    Raises:
        FloatingPointError: always: at the first operation that makes a NaN, or else at the
            first that makes an infinity.
    """
    step = latest_step(state.skipped)
    _, noise_key = jax.random.split(key)
    noise = jax.random.fold_in(noise_key, step)
    where = f"fit: at step {step + 1}"
    if found := not_finite(examples, "batch"):
        raise FloatingPointError(f"{where} the batch itself is not finite: {', '.join(found)}.")
    for find in (jax.debug_nans, jax.debug_infs):
        with jax.disable_jit(), find(True):
            try:
                gradient_and_total(loss, state.params, examples, weights, noise, state.carry)
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"{where}, done again{_line_of(error)}: {error}"
                ) from error
    raise FloatingPointError(
        f"{where} loss and gradient are finite when done again operation by operation; the square"
        " of the gradient, or the parameters after the update, are not."
    )


def _line_of(error: BaseException) -> str:
    """The last line of the caller's own code that led to the error."""
    ours, jaxs = Path(__file__).parent.parent, Path(jax.__file__).parent
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((str(ours), str(jaxs), "<"))
    ]
    return f", {frames[-1].filename}:{frames[-1].lineno} `{frames[-1].line}`" if frames else ""
