"""What the seeds of a training share, and where each of them begins."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seqjax.train import programs
from seqjax.train.batches import Batches
from seqjax.train.checkpoints import Restored
from seqjax.train.programs import Layout
from seqjax.train.running import statistics_apart, update_of
from seqjax.train.seeds import Seed
from seqjax.train.steps import Params, Program, TrainState
from seqjax.train.streams import Stream

Mode = Literal["min", "max"]


class EarlyStopping(NamedTuple):
    """End with the parameters of the epoch whose validation was best.

    Attributes:
        patience: stop after so many epochs without a new best; None trains all epochs, and
            keeps the best parameters.
        metric: "loss", or the name of a metric that the loss returns (`Losses`).
        mode: "min" where the least figure is the best, or "max".
    """

    patience: int | None = 10
    metric: str = "loss"
    mode: Mode = "min"


class Fit(NamedTuple):
    """What `fit` returns.

    Attributes:
        params: the last, or the best with early stopping.
        history: a dict for each epoch: step, epoch, loss, validation_loss, validation_NAME
            of every metric, and what was asked for (`Options`).
        state: the last state.
        seconds: of training, compilation and validation included; of seeds trained
            together (`fit_seeds`), each one's share.
    """

    params: Params
    history: list[dict[str, Any]]
    state: TrainState
    seconds: float


class Job(NamedTuple):
    """What the seeds of a training share.

    Attributes:
        name: of the function that was called; starts messages.
        optimizer: an Optax transformation.
        program: of training.
        batches: of the training part.
        epochs: passes over it.
        options: of `seqjax.train.options.Options`, defaults filled in.
        validating: of validation; None without.
        given: what checkpoints must agree with (`seqjax.train.seeds.given`); {} without any.
    """

    name: str
    optimizer: optax.GradientTransformation
    program: Program
    batches: Batches | Stream
    epochs: int
    options: Mapping[str, Any]
    validating: Program | None
    given: dict[str, Any]


def for_params(job: Job, params: Params) -> Job:
    """`job`, its optimizer kept from running statistics that `params` hold."""
    optimizer = statistics_apart(job.optimizer, params)
    if optimizer is job.optimizer:
        return job
    program = job.program._replace(update=update_of(optimizer))
    return job._replace(optimizer=optimizer, program=program)


def restored(job: Job, seeds: Sequence[Seed], layout: Layout) -> list[tuple[Seed, Restored]]:
    """Where each seed goes on, for those that have not ended; their histories are brought there."""
    last = job.epochs * job.batches.steps
    likes = [layout.place(_before(job, one)) for one in seeds]
    found = [
        one.restored(like, job.given, last) or Restored(0, like)
        for one, like in zip(seeds, likes, strict=True)
    ]
    over = [begun.step == last or out_of_patience(job, begun.state, begun.step) for begun in found]
    # Killed between the saves of two seeds: those that are ahead go back, if they can.
    steps = [begun.step for begun, ended in zip(found, over, strict=True) if not ended]
    least = min(steps, default=0)
    for index, one in enumerate(seeds):
        if not over[index] and one.holds(least) and found[index].step > least:
            again = one.restored(likes[index], job.given, last, newest=least)
            found[index] = again or found[index]
    for one, begun, ended in zip(seeds, found, over, strict=True):
        one.rewind(begun)
        one.ended = begun.state if ended else None
        one.params = None  # held by the state
    return [(one, begun) for one, begun in zip(seeds, found, strict=True) if one.active]


def _before(job: Job, one: Seed) -> TrainState:
    """A seed's state before the first step."""
    options = job.options
    keep, norm = options["early_stopping"] is not None, "gradient_norm" in options["track"]
    own = one.params, one.opt_state, options["carry"]
    # Numbers of Python are parameters, too; their weak types would change with a step.
    own = jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(a)), own)
    metrics = tuple(sorted(options["track_metrics"]))
    return programs.start(job.optimizer, keep, norm, metrics, *own)


def out_of_patience(job: Job, state: TrainState, step: int) -> bool:
    """Whether a state of that step has waited as long for a new best as it may."""
    return state.best is not None and waited(job, int(state.best.step), step)


def waited(job: Job, best: int, step: int) -> bool:
    """`out_of_patience`, `best` being the step of the best so far."""
    stopping: EarlyStopping | None = job.options["early_stopping"]
    if stopping is None or stopping.patience is None:
        return False
    return step - best >= stopping.patience * job.batches.steps
