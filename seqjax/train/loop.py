"""The training loop: many steps in one jitted call, and bookkeeping between the calls."""

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from seqjax.train.batches import Batches
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.finite import Watch, find_operation, not_finite
from seqjax.train.logs import MetricsLog, Progress
from seqjax.train.mesh import check_mesh, replicate
from seqjax.train.processes import is_primary, local, wait_for_all
from seqjax.train.steps import (
    Loss,
    Params,
    TrainState,
    initial_state,
    keep_best,
    mean_loss,
    train_steps,
)
from seqjax.train.stopping import TrainingStopped, stop_requested


class EarlyStopping(NamedTuple):
    """End with the parameters of the epoch whose validation loss was least.

    Attributes:
        patience: stop after so many epochs without a new best; None never stops.
    """

    patience: int | None = None


class Fit(NamedTuple):
    """What `fit` returns.

    Attributes:
        params: the last, or the best with early stopping.
        history: a dict for each epoch: step, epoch, loss, validation_loss.
        state: the last state.
        seconds: of training, compilation and validation included; of seeds trained
            together (`fit_seeds`), each one's share.
    """

    params: Params
    history: list[dict[str, Any]]
    state: TrainState
    seconds: float


# Jitted calls are compiled once for each set of static arguments; functions are
# told apart by identity, which is why `fit` asks for the same ones every time.
_train = jax.jit(train_steps, static_argnums=(0, 1, 2, 3, 4), donate_argnames="state")
_evaluate = jax.jit(mean_loss, static_argnums=(0, 1, 2))
_keep_best = jax.jit(keep_best, donate_argnames="state")
_initial_state = jax.jit(initial_state, static_argnums=(0, 1))


def evaluate(loss: Loss, params: Params, batches: Batches) -> float:
    """The mean loss over all examples of `batches`, without randomness.

    Args:
        loss: see `fit`.
        params: the parameters.
        batches: the examples.

    Returns:
        The mean.

    Example:
        >>> import jax.numpy as jnp
        >>> from seqjax.train import array_batches
        >>> loss = lambda params, batch, key: (batch - params) ** 2
        >>> evaluate(loss, jnp.array(1.0), array_batches(jnp.array([1.0, 3.0, 1.0]), 2))
        1.3333333730697632
    """
    return float(_evaluate(loss, batches.plan, batches.batch, params, batches.data))


def fit(
    loss: Loss,
    params: Params,
    optimizer: optax.GradientTransformation,
    batches: Batches,
    *,
    epochs: int,
    seed: int = 0,
    validation: Batches | None = None,
    early_stopping: EarlyStopping | None = None,
    steps_per_call: int | None = None,
    metrics: MetricsLog | None = None,
    checkpoints: Checkpoints | None = None,
    mesh: Mesh | None = None,
    progress: str | None = None,
    max_skips: int = 10,
    debug_nans: bool = False,
    stop: Callable[[], bool] = stop_requested,
) -> Fit:
    """Train.

    The result is a function of the arguments alone: batches and noise follow from
    `seed`, the epoch and the step, so a run resumed from a checkpoint ends bit for
    bit where the uninterrupted one ends. Called again with the same `loss`,
    `optimizer` and sizes, it does not compile again.

    A step whose loss, gradient or new parameters are not finite is skipped: it changes
    neither parameters nor optimizer, and is told with its loss and the leaf at fault.

    Args:
        loss: ``(params, batch, key) -> losses [batch]``, one for each example;
            `key` is None in validation.
        params: a pytree of arrays (copied: `params` itself stays usable).
        optimizer: an Optax transformation: clipping and schedules belong there.
        batches: of the training part; see `array_batches`.
        epochs: passes over the training part.
        seed: of the order of the examples and of the noise.
        validation: examples for a validation loss after every epoch.
        early_stopping: end with the best parameters; needs `validation`.
        steps_per_call: steps in one jitted call; by default an epoch. Saves and
            progress fall between the calls.
        metrics: where to log each epoch.
        checkpoints: where to save; if it holds a checkpoint, training goes on there.
        mesh: split every batch over its devices (`data_mesh`). Parameters, noise and
            order are those of one device; sums are added in another order, so figures
            differ by rounding. A batch that the devices do not divide is not split. The
            result's parameters are on all its devices. Of several processes each calls
            `fit` alike, over a mesh of all their devices.
        progress: a label for a progress bar (plain lines where stderr is no
            terminal), or None for silence.
        max_skips: so many skipped steps in a row end the run.
        debug_nans: let the first step that is not finite end the run, and do it again
            operation by operation to find the one at fault.
        stop: asked after every call; where true, the run saves and ends.

    Returns:
        Parameters, history and the last state.

    Raises:
        ValueError: for arguments that do not fit each other.
        FloatingPointError: after `max_skips` steps in a row that were not finite, and
            where a validation loss is not. What is saved is finite.
        CheckpointError: where a save fails, or what is there belongs to another run.
        TrainingStopped: where `stop` asked for it; the state is saved.

    Example:
        >>> import jax.numpy as jnp
        >>> from seqjax.train import array_batches
        >>> loss = lambda params, batch, key: (batch - params) ** 2
        >>> batches = array_batches(jnp.array([1.0, 2.0, 3.0]), batch_size=3)
        >>> result = fit(loss, jnp.array(0.0), optax.sgd(0.25), batches, epochs=20)
        >>> round(float(result.params), 3)
        2.0
    """
    if early_stopping is not None and validation is None:
        raise ValueError("fit: early stopping needs validation batches.")
    if epochs < 1:
        raise ValueError(f"fit: epochs must be at least 1, not {epochs}.")
    call = batches.steps if steps_per_call is None else min(steps_per_call, batches.steps)
    if call < 1:
        raise ValueError(f"fit: steps_per_call must be at least 1, not {steps_per_call}.")
    if max_skips < 1:
        raise ValueError(f"fit: max_skips must be at least 1, not {max_skips}.")
    if mesh is not None:
        check_mesh(mesh)
    started = time.perf_counter()
    watch = Watch("fit", batches, params, 1 if debug_nans else max_skips)
    if fault := watch.fault():
        raise FloatingPointError(fault)
    state = _initial_state(optimizer, early_stopping is not None, params)
    if mesh is not None:
        state = replicate(mesh, state)
        batches = batches._replace(data=replicate(mesh, batches.data))
        if validation is not None:
            validation = validation._replace(data=replicate(mesh, validation.data))
    step = 0
    last = epochs * batches.steps
    run = {"fit": {"seed": seed, "steps_per_epoch": batches.steps, "steps_per_call": call}}
    if checkpoints is not None and (restored := checkpoints.restore(state, **run)) is not None:
        step, state = restored
        if step > last:
            raise ValueError(f"fit: {epochs} epochs are {last} steps, but {step} are already done.")
    history = _history(metrics, step, checkpoints is not None)
    key = jax.random.key(seed)

    with contextlib.ExitStack() as stack:
        if mesh is not None:
            key = replicate(mesh, key)
            stack.enter_context(jax.set_mesh(mesh))
        bar = None
        if progress and is_primary():
            bar = stack.enter_context(Progress(progress, epochs))
        begun, begun_at, mean, skips = time.perf_counter(), step, None, 0
        compiled: set[int] = set()
        asked = stop()
        while step < last and not _out_of_patience(early_stopping, state, step, batches.steps):
            if asked:
                raise TrainingStopped(f"stopped at step {step} of {last}. {_saved(checkpoints)}")
            epoch, first = divmod(step, batches.steps)
            steps = min(call, batches.steps - first)
            arguments = (
                loss,
                optimizer,
                batches.plan,
                batches.batch,
                steps,
                state,
                batches.data,
                key,
                np.int32(epoch),
                np.int32(first),
                np.int32(watch.limit),
            )
            if jax.process_count() > 1 and steps not in compiled:
                _meet_compiled(_train, *arguments)
                if validation is not None and not compiled:
                    functions = validation.plan, validation.batch
                    _meet_compiled(_evaluate, loss, *functions, state.params, validation.data)
            state = _train(*arguments)
            before, step = step, step + steps
            asked = stop()
            due = checkpoints is not None and (asked or checkpoints.due(before, step))
            over = step % batches.steps == 0
            if over or due or asked:  # before anything of this call is kept
                numbers = jax.device_get(state._replace(params=None, opt_state=None, best=None))
                if debug_nans and numbers.skipped.in_a_row:
                    find_operation(loss, batches, state, key)
                mean = watch.check(numbers, epoch_over=over, saved=_saved(checkpoints))
                skips = int(numbers.skipped.in_epoch)
            if not compiled:  # the first call was the one that compiles
                begun, begun_at = time.perf_counter(), step
            compiled.add(steps)
            if bar is not None:
                bar.advance(step / batches.steps)
            if over:
                line = {"step": step, "epoch": epoch + 1, "loss": mean}
                if skips:
                    line["skipped"] = skips
                if validation is not None:
                    line["validation_loss"] = _validation_loss(
                        loss, state, validation, saved=_saved(checkpoints)
                    )
                    if early_stopping is not None:
                        state = _keep_best(state, np.float32(line["validation_loss"]))
                history.append(line)
                if metrics is not None and is_primary():
                    metrics.write(line)
                if bar is not None:
                    rate = (step - begun_at) / max(time.perf_counter() - begun, 1e-9)
                    losses = {k.replace("_", " "): v for k, v in line.items() if "loss" in k}
                    bar.epoch(epoch + 1, {k: v for k, v in losses.items() if v is not None}, rate)
            if checkpoints is not None and due:
                checkpoints.save(step, state, **run)
                if asked:
                    checkpoints.wait()
        if checkpoints is not None:
            checkpoints.save(step, state, **run)
            checkpoints.wait()
    seconds = time.perf_counter() - started
    state = local(state)
    return Fit(state.params if state.best is None else state.best.params, history, state, seconds)


def _meet_compiled(jitted: Any, *arguments: Any) -> None:
    """Compile in all processes: a collective waits 30 s for the others, this longer."""
    jitted.lower(*arguments).compile()
    wait_for_all("compiled")


def _history(metrics: MetricsLog | None, step: int, resumes: bool) -> list[dict[str, Any]]:
    """The lines up to `step`; those after it are dropped from the log."""
    if metrics is None:
        return []
    if not resumes and metrics.holds_lines():
        raise ValueError(
            f"fit: {metrics.path} already holds this run's lines, and without checkpoints"
            " there is no run to go on with; log to another file."
        )
    if is_primary():
        history = metrics.rewind(step)
        wait_for_all("metrics")
        return history
    wait_for_all("metrics")
    return metrics.lines(step)


def _saved(checkpoints: Checkpoints | None) -> str:
    """What is left of a run that ends."""
    step = None if checkpoints is None else checkpoints.latest_step()
    if checkpoints is None or step is None:
        return "Nothing is saved."
    return f"The state of step {step} is saved in {checkpoints.folder}."


def _validation_loss(loss: Loss, state: TrainState, validation: Batches, *, saved: str) -> float:
    """The mean validation loss; raises where it is not finite."""
    mean = evaluate(loss, state.params, validation)
    if not math.isfinite(mean):
        found = not_finite(validation.data, "data")
        data = f"{', '.join(found)} is not finite" if found else "though its data is finite"
        raise FloatingPointError(
            f"fit: the validation loss is {mean} at step {int(state.step)}, {data}. {saved}"
        )
    return mean


def _out_of_patience(
    early_stopping: EarlyStopping | None, state: TrainState, step: int, steps_per_epoch: int
) -> bool:
    if early_stopping is None or early_stopping.patience is None or state.best is None:
        return False
    return step - int(state.best.step) >= early_stopping.patience * steps_per_epoch
