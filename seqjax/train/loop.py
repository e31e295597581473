"""Training: the public functions, and what they take."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict, Unpack, get_args, runtime_checkable

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from seqjax.storage.same import same
from seqjax.storage.strict_json import nearest
from seqjax.train import programs
from seqjax.train.batches import Batches
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.feeds import call_of, means_of, place_validation, sums_over
from seqjax.train.group import train_together
from seqjax.train.job import EarlyStopping, Fit, Job, Mode
from seqjax.train.logs import MetricsLog
from seqjax.train.losses import Loss, Params
from seqjax.train.mesh import check_mesh
from seqjax.train.programs import Layout
from seqjax.train.running import update_of
from seqjax.train.seeds import Seed, given
from seqjax.train.steps import Program
from seqjax.train.stopping import stop_requested
from seqjax.train.streams import Stream, row_of_stream

Track = Literal["gradient_norm", "learning_rate"]


@runtime_checkable
class Callback(Protocol):
    """Something that hears of every epoch, such as a tracker of experiments."""

    def epoch(self, seed: int, line: Mapping[str, Any]) -> None:
        """Called when a seed's epoch is over, in the process that writes files.

        Args:
            seed: the seed.
            line: as in `Fit.history`.
        """
        ...


class Options(TypedDict, total=False):
    """What `fit` and `fit_seeds` take alike, by name. Left out or None is the default."""

    validation: Batches | Stream | None
    """Examples for a validation loss, and the loss's metrics, after every epoch."""
    early_stopping: EarlyStopping | None
    """End with the best parameters; needs `validation`."""
    steps_per_call: int | None
    """Steps in one jitted call; by default an epoch (of a stream at most 16). Saves,
    progress and stops fall between the calls."""
    carry: Any
    """A pytree of arrays that the loss takes as its fourth argument and returns in
    `Losses`: what travels from each batch to the next, such as the state of a recurrent
    network over a text in pieces (truncated back-propagation). Batches begin each epoch with
    this one; a stream begins with it once. Where a document ends within, the loss resets it.
    Every validation begins with it."""
    track: Collection[Track]
    """More for every line: "gradient_norm", the mean over the epoch's steps before the
    optimizer; "learning_rate", of an `optax.inject_hyperparams`."""
    track_metrics: Collection[str]
    """Of the loss's metrics (`Losses`) those whose means over an epoch's training examples stand
    in every line, too, under their own names. "backward_fallbacks" counts, of a loss that takes a
    `counter` (see `Loss`), how often the backward pass of "newton" was left to the loop."""
    callbacks: Sequence[Callback]
    """Hear of every epoch; see `Callback`."""
    progress: str | None
    """A label for a progress bar (plain lines where stderr is no terminal), or None for
    silence."""
    max_skips: int
    """So many skipped steps in a row (10) end a seed."""
    debug_nans: bool
    """Let the first step that is not finite end the run, and do it again operation by
    operation to find the one at fault."""
    profile: tuple[Path, int] | None
    """A folder for a trace of so many jitted calls (`jax.profiler`), from the second on."""
    stop: Callable[[], bool]
    """Asked after every call; where true, the run saves and ends. By default
    `stop_requested`."""


def fit(
    loss: Loss,
    params: Params,
    optimizer: optax.GradientTransformation,
    batches: Batches | Stream,
    *,
    epochs: int,
    seed: int = 0,
    opt_state: optax.OptState | None = None,
    metrics: MetricsLog | None = None,
    checkpoints: Checkpoints | None = None,
    mesh: Mesh | None = None,
    **options: Unpack[Options],
) -> Fit:
    """Train.

    The result is a function of the arguments alone: batches and noise follow from
    `seed`, the epoch and the step, so a run resumed from a checkpoint ends bit for
    bit where the uninterrupted one ends. Called again with functions that do the same and
    equal sizes, it does not compile again: closures over numbers, strings and layers are
    compared by what they hold; arrays that change from call to call belong into `batches`.

    A step whose loss, gradient or new parameters are not finite is skipped: it changes
    neither parameters nor optimizer, and is told with its loss and the leaf at fault.

    Args:
        loss: ``(params, batch, key) -> losses [batch]``, one for each example, or `Losses`;
            `key` is None in validation.
        params: a pytree of arrays (copied: `params` itself stays usable).
        optimizer: an Optax transformation: clipping and schedules belong there. It is given
            ``value=``, the batch's mean loss, too. Running statistics, such as those of
            `seqjax.nn.BatchNorm`, are kept from it (`with_running_statistics`).
        batches: of the training part; see `array_batches` and `stream`.
        epochs: passes over the training part.
        seed: of the order of the examples and of the noise, below 2**32.
        opt_state: of the optimizer, to go on with (`Fit.state.opt_state`).
        metrics: where to log each epoch.
        checkpoints: where to save; if it holds a checkpoint, training goes on there.
        mesh: split every batch over its devices (`data_mesh`). Parameters, noise and
            order are those of one device; sums are added in another order, so figures
            differ by rounding. A batch that the devices do not divide is not split. The
            result's parameters are on all its devices. Of several processes each calls
            `fit` alike, over a mesh of all their devices.
        **options: see `Options`.

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
    if mesh is not None:
        check_mesh(mesh)
    job = _job("fit", loss, optimizer, batches, epochs, options, checkpoints is not None)
    one = Seed(programs.checked_seed(seed), params, metrics, checkpoints, opt_state)
    ((_, done),) = train_together(job, [one], Layout(over=mesh))
    return done


def fit_seeds(
    loss: Loss,
    init: Callable[[jax.Array], Params],
    optimizer: optax.GradientTransformation,
    batches: Batches | Stream,
    *,
    epochs: int,
    seeds: Iterable[Any],
    metrics: Callable[[int], MetricsLog] | None = None,
    checkpoints: Callable[[int], Checkpoints] | None = None,
    devices: Sequence[Any] | None = None,
    per_device: int | None = None,
    mesh: Mesh | None = None,
    **options: Unpack[Options],
) -> Iterator[tuple[int, Fit]]:
    """Train one model from several seeds, as many at once as the devices take.

    Each seed ends where `fit` with that seed ends: bit for bit with one seed on a
    device, to rounding with several (`jax.vmap`).

    Args:
        loss: see `fit`.
        init: ``key -> params``; a seed's parameters are ``init(jax.random.key(seed))``.
        optimizer: an Optax transformation.
        batches: of the training part.
        epochs: passes over the training part.
        seeds: the seeds, each below 2**32.
        metrics: ``seed -> MetricsLog``.
        checkpoints: ``seed -> Checkpoints``, each of a folder of its own: what a killed or
            stopped run of these seeds goes on from. Closed when the seed is done.
        devices: to spread the seeds over; all by default.
        per_device: seeds at once on each device. By default 1 on a CPU, where small
            products do not gain from `jax.vmap`, and elsewhere as many as it takes to
            run all seeds at once.
        mesh: split every batch over its devices, one seed after another; see `fit`.
        **options: see `Options`.

    Yields:
        ``(seed, fit)`` in the order of `seeds`, as soon as it is done.

    Raises:
        ValueError: for arguments that do not fit each other.
        FloatingPointError: where a seed failed; the other seeds that were trained at the
            same time are done and yielded before.
        CheckpointError: see `fit`.
        TrainingStopped: where `stop` asked for it; what has checkpoints is saved.

    Example:
        >>> import jax.numpy as jnp
        >>> from seqjax.train import array_batches
        >>> loss = lambda params, batch, key: (batch - params) ** 2
        >>> batches = array_batches(jnp.array([1.0, 2.0, 3.0]), batch_size=3)
        >>> runs = fit_seeds(loss, jax.random.normal, optax.sgd(0.25), batches, epochs=20,
        ...                  seeds=(0, 1))
        >>> [(seed, round(float(done.params), 3)) for seed, done in runs]
        [(0, 2.0), (1, 2.0)]
    """
    seeds = [programs.checked_seed(seed) for seed in seeds]
    if jax.process_count() > 1 and mesh is None:
        raise ValueError("fit_seeds: several processes train one seed at a time: pass mesh.")
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"fit_seeds: there must be at least one seed, each once, not {seeds}.")
    job = _job("fit_seeds", loss, optimizer, batches, epochs, options, checkpoints is not None)
    devices = jax.devices() if devices is None else list(devices)
    if per_device is None:
        on_cpu = devices[0].platform == "cpu"
        per_device = 1 if on_cpu else -(-len(seeds) // len(devices))
    if per_device < 1:
        raise ValueError(f"fit_seeds: per_device must be at least 1, not {per_device}.")
    if mesh is not None:
        check_mesh(mesh)
    group = per_device * len(devices) if mesh is None else 1
    for first in range(0, len(seeds), group):
        together = seeds[first : first + group]
        needed = -(-len(together) // per_device)
        layout = Layout(over=mesh)
        if mesh is None:
            spread = Mesh(np.array(devices[:needed]), ("seed",))
            layout = Layout(mesh=spread, local=-(-len(together) // needed))
        with contextlib.ExitStack() as stack:
            members = []
            for number in together:
                one = Seed(number, init(programs.key_of(number)), name=f"fit_seeds, seed {number}")
                one.log = None if metrics is None else metrics(number)
                if checkpoints is not None:
                    one.checkpoints = stack.enter_context(checkpoints(number))
                members.append(one)
            yield from train_together(job, members, layout)


def evaluate(loss: Loss, params: Params, batches: Batches | Stream, carry: Any = None) -> float:
    """The mean loss over all examples, without randomness; see `evaluate_metrics`.

    Example:
        >>> import jax.numpy as jnp
        >>> from seqjax.train import array_batches
        >>> loss = lambda params, batch, key: (batch - params) ** 2
        >>> evaluate(loss, jnp.array(1.0), array_batches(jnp.array([1.0, 3.0, 1.0]), 2))
        1.3333333730697632
    """
    return evaluate_metrics(loss, params, batches, carry)["loss"]


def evaluate_metrics(
    loss: Loss, params: Params, batches: Batches | Stream, carry: Any = None
) -> dict[str, float]:
    """The means of the loss and of its metrics over all examples, without randomness.

    Args:
        loss: see `fit`.
        params: the parameters.
        batches: the examples.
        carry: to begin with; see `Options`.

    Returns:
        ``{"loss": mean}``, and every other metric by its name.

    Example:
        >>> import jax.numpy as jnp
        >>> from seqjax.train import array_batches
        >>> from seqjax.train import Losses
        >>> def loss(params, batch, key):
        ...     return Losses((batch - params) ** 2, metrics={"error": batch - params})
        >>> evaluate_metrics(loss, jnp.array(1.0), array_batches(jnp.array([1.0, 3.0]), 2))
        {'error': 1.0, 'loss': 2.0}
    """
    layout = Layout()
    stacked, program = layout.stack([(params, carry)]), program_of(loss, None, batches)
    sums = sums_over(place_validation(batches, layout), layout, program, *stacked)
    return {name: float(means[0]) for name, means in means_of(sums).items()}


def _job(
    name: str,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    batches: Batches | Stream,
    epochs: int,
    said: Options,
    saves: bool,
) -> Job:
    """What the seeds share; ValueError for what does not fit each other."""
    options: dict[str, Any] = _DEFAULTS | {
        key: value for key, value in said.items() if value is not None
    }
    if unknown := options.keys() - _DEFAULTS.keys():
        one = sorted(unknown)[0]
        raise TypeError(f"{name}: there is no option {one!r}.{nearest(one, _DEFAULTS)}")
    limits: tuple[tuple[str, int | None], ...] = (
        ("epochs", epochs),
        ("steps_per_call", options["steps_per_call"]),
        ("max_skips", options["max_skips"]),
        ("early_stopping.patience", getattr(options["early_stopping"], "patience", None)),
    )
    for what, number in limits:
        if number is not None and number < 1:
            raise ValueError(f"{name}: {what} must be at least 1, not {number}.")
    stopping: EarlyStopping | None = options["early_stopping"]
    if stopping is not None and stopping.mode not in get_args(Mode):
        raise ValueError(f"{name}: early_stopping.mode is 'min' or 'max', not {stopping.mode!r}.")
    if unknown := set(options["track"]) - set(get_args(Track)):
        known = " and ".join(get_args(Track))
        raise ValueError(f"{name}: track knows {known}, not {', '.join(sorted(unknown))}.")
    reserved = {"step", "epoch", "loss", "skipped", "seed", "row", *get_args(Track)}
    if taken := {
        one for one in options["track_metrics"] if one in reserved or one.startswith("validation")
    }:
        raise ValueError(
            f"{name}: a line already has {', '.join(sorted(taken))}; give the metric another name."
        )
    validation = options["validation"]
    if validation is None and options["early_stopping"] is not None:
        raise ValueError(f"{name}: early stopping needs validation batches.")
    optimizer = same(optimizer)
    program = program_of(loss, update_of(optimizer), batches)
    validating = None if validation is None else program_of(loss, None, validation)
    # Once for all seeds: checksums read all the data.
    call = call_of(batches, options["steps_per_call"])
    checked = given(batches, validation, call, optimizer) if saves else {}
    return Job(name, optimizer, program, batches, epochs, options, validating, checked)


_DEFAULTS: dict[str, Any] = dict.fromkeys(Options.__annotations__) | {
    "track": (),
    "track_metrics": (),
    "callbacks": (),
    "max_skips": 10,
    "debug_nans": False,
    "stop": stop_requested,
}


def program_of(loss: Loss, update: Any, batches: Batches | Stream) -> Program:
    """What is compiled, with the functions of earlier calls where they do the same."""
    if isinstance(batches, Stream):
        return Program(same(loss), update, None, row_of_stream)
    return Program(same(loss), update, batches.plan, batches.batch)
