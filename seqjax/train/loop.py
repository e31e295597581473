"""Training: the public functions."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Unpack

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from seqjax.train import programs
from seqjax.train.batches import Batches
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.feeds import means_of, place_validation, sums_over
from seqjax.train.group import train_together
from seqjax.train.job import Fit
from seqjax.train.logs import MetricsLog
from seqjax.train.losses import Loss, Params
from seqjax.train.mesh import check_mesh
from seqjax.train.options import Options, check_batches, job_of, program_of, told
from seqjax.train.programs import Layout
from seqjax.train.seeds import Seed
from seqjax.train.streams import Stream


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
            ``value=``, the batch's mean loss, too. Leaves named ``running_mean`` and
            ``running_variance``, the running statistics of `seqjax.nn.BatchNorm`, are kept from
            it (`with_running_statistics`); every other leaf is its own affair.
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
        TypeError: for an argument of another type.
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
    if any(map(callable, jax.tree.leaves(params))):
        raise told("fit", "params", "a pytree of arrays, such as model.init(key)", params)
    if metrics is not None and not isinstance(metrics, MetricsLog):
        raise told("fit", "metrics", "train.MetricsLog(path)", metrics)
    if checkpoints is not None and not isinstance(checkpoints, Checkpoints):
        wanted = "train.Checkpoints(folder, metadata, every=steps)"
        raise told("fit", "checkpoints", wanted, checkpoints)
    job = job_of("fit", loss, optimizer, batches, epochs, options, checkpoints is not None)
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
    device, to rounding with several (`jax.vmap`). Arguments are checked at the call; training
    begins with the first step of a loop over what it returns.

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
        TypeError: for an argument of another type.
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
    numbers = [programs.checked_seed(seed) for seed in seeds]
    if jax.process_count() > 1 and mesh is None:
        raise ValueError("fit_seeds: several processes train one seed at a time: pass mesh.")
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"fit_seeds: there must be at least one seed, each once, not {numbers}.")
    if not callable(init):
        raise told("fit_seeds", "init", "a function key -> params, such as model.init", init)
    if metrics is not None and not callable(metrics):
        wanted = "a function: lambda seed: train.MetricsLog(path, seed=seed)"
        raise told("fit_seeds", "metrics", wanted, metrics)
    if checkpoints is not None and not callable(checkpoints):
        wanted = "a function: lambda seed: train.Checkpoints(folder / str(seed), ...)"
        raise told("fit_seeds", "checkpoints", wanted, checkpoints)
    job = job_of("fit_seeds", loss, optimizer, batches, epochs, options, checkpoints is not None)
    places = jax.devices() if devices is None else list(devices)
    most = per_device
    if most is None:
        most = 1 if places[0].platform == "cpu" else -(-len(numbers) // len(places))
    if most < 1:
        raise ValueError(f"fit_seeds: per_device must be at least 1, not {most}.")
    if mesh is not None:
        check_mesh(mesh)
    group = most * len(places) if mesh is None else 1

    def trained() -> Iterator[tuple[int, Fit]]:
        for first in range(0, len(numbers), group):
            together = numbers[first : first + group]
            mine, label = job, job.options["progress"]
            if label and len(together) < len(numbers):
                last = f"-{first + len(together)}" if len(together) > 1 else ""
                label = f"{label} ({first + 1}{last} of {len(numbers)})"
                mine = job._replace(options={**job.options, "progress": label})
            needed = -(-len(together) // most)
            layout = Layout(over=mesh)
            if mesh is None:
                spread = Mesh(np.array(places[:needed]), ("seed",))
                layout = Layout(mesh=spread, local=-(-len(together) // needed))
            with contextlib.ExitStack() as stack:
                members = []
                for number in together:
                    one = Seed(number, init(programs.key_of(number)))
                    one.name = f"fit_seeds, seed {number}"
                    one.log = None if metrics is None else metrics(number)
                    if checkpoints is not None:
                        one.checkpoints = stack.enter_context(checkpoints(number))
                    members.append(one)
                yield from train_together(mine, members, layout)

    return trained()  # a generator: the checks above are of the call


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
    check_batches("evaluate", "batches", batches)
    layout = Layout()
    stacked, program = layout.stack([(params, carry)]), program_of(loss, None, batches)
    sums = sums_over(place_validation(batches, layout), layout, program, *stacked)
    return {name: float(means[0]) for name, means in means_of(sums).items()}
