"""Several seeds of one training at once: over the devices of a mesh, and side by side on each."""

import contextlib
import functools
import math
import operator
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from seqjax.train.batches import Batches
from seqjax.train.finite import Watch, find_operation
from seqjax.train.logs import MetricsLog, Progress
from seqjax.train.loop import Fit
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

_SEED = PartitionSpec("seed")
_SHARED = PartitionSpec()


def fit_seeds(
    loss: Loss,
    init: Callable[[Array], Params],
    optimizer: optax.GradientTransformation,
    batches: Batches,
    *,
    epochs: int,
    seeds: Sequence[int],
    validation: Batches | None = None,
    best: bool = False,
    metrics: Callable[[int], MetricsLog] | None = None,
    progress: str | None = None,
    devices: Sequence[Any] | None = None,
    per_device: int | None = None,
    max_skips: int = 10,
    debug_nans: bool = False,
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
        seeds: the seeds.
        validation: examples for a validation loss after every epoch.
        best: end with the parameters of least validation loss.
        metrics: ``seed -> MetricsLog``; lines of an earlier, unfinished run of a seed
            are dropped.
        progress: a label for a progress bar, or None for silence.
        devices: to spread the seeds over; all by default.
        per_device: seeds at once on each device. By default 1 on a CPU, where small
            products do not gain from `jax.vmap`, and elsewhere as many as it takes to
            run all seeds at once.
        max_skips: so many steps in a row that are not finite end a seed.
        debug_nans: let the first such step end the run, and do it again operation by
            operation to find the one at fault.

    Yields:
        ``(seed, fit)`` in the order of `seeds`, as soon as it is done.

    Raises:
        ValueError: for arguments that do not fit each other.
        FloatingPointError: where a seed had `max_skips` steps in a row that were not
            finite; the other seeds that were trained at the same time are done and yielded
            before.
        TrainingStopped: after the epoch in which a stop was asked for; the seeds under way
            are lost.

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
    if best and validation is None:
        raise ValueError("fit_seeds: the best parameters need validation batches.")
    if epochs < 1 or not seeds or max_skips < 1:
        raise ValueError(
            f"fit_seeds: epochs ({epochs}), the number of seeds ({len(seeds)}) and max_skips"
            f" ({max_skips}) must be at least 1."
        )
    devices = jax.devices() if devices is None else list(devices)
    if per_device is None:
        on_cpu = devices[0].platform == "cpu"
        per_device = 1 if on_cpu else -(-len(seeds) // len(devices))
    group = per_device * len(devices)
    for first in range(0, len(seeds), group):
        together = tuple(seeds[first : first + group])
        needed = -(-len(together) // per_device)
        mesh = Mesh(np.array(devices[:needed]), ("seed",))
        local = -(-len(together) // needed)
        run = _Group(loss, optimizer, batches, validation, mesh, local, max_skips, debug_nans)
        yield from run.fit(init, together, epochs, best, metrics, progress)


class _Group:
    """The seeds that train at the same time."""

    def __init__(
        self,
        loss: Loss,
        optimizer: optax.GradientTransformation,
        batches: Batches,
        validation: Batches | None,
        mesh: Mesh,
        local: int,
        max_skips: int,
        debug_nans: bool,
    ) -> None:
        self.loss, self.optimizer, self.mesh, self.local = loss, optimizer, mesh, local
        self.max_skips, self.debug_nans = (1 if debug_nans else max_skips), debug_nans
        self.failures: dict[int, str] = {}  # seeds that are no longer finite
        shared = NamedSharding(mesh, _SHARED)
        self.batches = batches._replace(data=jax.device_put(batches.data, shared))
        self.validation = validation
        if validation is not None:
            self.validation = validation._replace(data=jax.device_put(validation.data, shared))

    def fit(
        self,
        init: Callable[[Array], Params],
        seeds: tuple[int, ...],
        epochs: int,
        best: bool,
        metrics: Callable[[int], MetricsLog] | None,
        progress: str | None,
    ) -> Iterator[tuple[int, Fit]]:
        started = time.perf_counter()
        filled = _filled(seeds, self.mesh.size * self.local)
        states = self._initial_states(init, filled, best)
        watches = []
        for index, seed in enumerate(seeds):
            params = jax.tree.map(operator.itemgetter(index), states.params)
            watches.append(Watch(f"fit_seeds, seed {seed}", self.batches, params, self.max_skips))
            if fault := watches[-1].fault():
                self.failures[seed] = fault
        histories: list[list[dict[str, Any]]] = [[] for _ in seeds]
        logs = [metrics(seed) for seed in seeds] if metrics is not None else []
        for log in logs:
            log.rewind(0)
        numbers = jax.device_put(np.array(filled), NamedSharding(self.mesh, _SEED))
        label = f"{progress}, seed {seeds[0]}" + (f"-{seeds[-1]}" if len(seeds) > 1 else "")
        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(Progress(label, epochs)) if progress else None
            begun = time.perf_counter()
            for epoch in range(epochs):
                if stop_requested():
                    names = ", ".join(map(str, seeds))
                    raise TrainingStopped(
                        f"stopped after epoch {epoch} of {epochs}; the seeds under way ({names})"
                        " begin anew when the run goes on."
                    )
                states = _train(
                    self.mesh,
                    self.local,
                    self.loss,
                    self.optimizer,
                    self.batches.plan,
                    self.batches.batch,
                    self.batches.steps,
                    states,
                    numbers,
                    self.batches.data,
                    np.int32(epoch),
                    np.int32(self.max_skips),
                )
                states, lines = self._epoch_lines(states, seeds, watches, epoch, best)
                for index, (seed, line) in enumerate(zip(seeds, lines, strict=True)):
                    if seed not in self.failures:
                        histories[index].append(line)
                        if logs:
                            logs[index].write(line)
                if len(self.failures) == len(seeds):
                    break
                if epoch == 0:
                    begun = time.perf_counter()  # the first epoch compiles
                if bar is not None:
                    shown = {
                        key.replace("_", " "): float(
                            np.mean([line[key] for line in lines], dtype=np.float64)
                        )
                        for key in lines[0]
                        if "loss" in key
                    }
                    passed = max(time.perf_counter() - begun, 1e-9)
                    rate = epoch * self.batches.steps * len(seeds) / passed
                    bar.epoch(epoch + 1, shown, rate)
        states = jax.device_get(states)
        seconds = (time.perf_counter() - started) / len(seeds)
        for index, (seed, history) in enumerate(zip(seeds, histories, strict=True)):
            state = jax.tree.map(lambda a, index=index: jnp.asarray(a[index]), states)
            if seed not in self.failures:
                params = state.best.params if best else state.params
                yield seed, Fit(params, history, state, seconds)
        if self.failures:
            raise FloatingPointError("; ".join(self.failures.values()))

    def _initial_states(
        self, init: Callable[[Array], Params], seeds: tuple[int, ...], best: bool
    ) -> TrainState:
        start = jax.jit(functools.partial(initial_state, self.optimizer, best))
        states = [jax.device_get(start(init(jax.random.key(seed)))) for seed in seeds]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
        return jax.device_put(stacked, NamedSharding(self.mesh, _SEED))

    def _epoch_lines(
        self,
        states: TrainState,
        seeds: tuple[int, ...],
        watches: list[Watch],
        epoch: int,
        best: bool,
    ) -> tuple[TrainState, list[dict[str, Any]]]:
        step = (epoch + 1) * self.batches.steps
        lines: list[dict[str, Any]] = [{"step": step, "epoch": epoch + 1} for _ in seeds]
        numbers = jax.device_get(states._replace(params=None, opt_state=None, best=None))
        for index, (seed, line) in enumerate(zip(seeds, lines, strict=True)):
            mine = jax.tree.map(operator.itemgetter(index), numbers)
            if self.debug_nans and mine.skipped.in_a_row:
                state, data = jax.device_get((states, self.batches.data))
                state = jax.tree.map(lambda a, index=index: jnp.asarray(a[index]), state)
                batches = self.batches._replace(data=jax.tree.map(jnp.asarray, data))
                find_operation(self.loss, batches, state, jax.random.key(seed))
            line["loss"] = math.nan
            if seed not in self.failures:
                try:
                    line["loss"] = watches[index].check(mine, epoch_over=True, saved="")
                except FloatingPointError as error:
                    self.failures[seed] = str(error)
                if mine.skipped.in_epoch:
                    line["skipped"] = int(mine.skipped.in_epoch)
        if self.validation is not None:
            losses = _validate(
                self.mesh,
                self.local,
                self.loss,
                self.validation.plan,
                self.validation.batch,
                states,
                self.validation.data,
            )
            if best:
                states = _keep_bests(self.mesh, self.local, states, losses)
            for seed, line, value in zip(seeds, lines, jax.device_get(losses), strict=False):
                line["validation_loss"] = float(value)
                if not math.isfinite(value):
                    self.failures.setdefault(
                        seed,
                        f"fit_seeds, seed {seed}: the validation loss is {value} at step {step}",
                    )
        return states, lines


def _filled(seeds: tuple[int, ...], count: int) -> tuple[int, ...]:
    """As many as the devices take: the last seed once more where there are too few."""
    return seeds + (seeds[-1],) * (count - len(seeds))


def _over_seeds(
    mesh: Mesh, local: int, one: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], Any]:
    """``one(of the seed, shared)`` for every seed along the first axis of its argument."""

    def on_device(mine: Any, shared: Any) -> Any:
        if local > 1:
            return jax.vmap(one, in_axes=(0, None))(mine, shared)
        # Without a batch axis of 1 in the way, one seed runs the very program of `fit`.
        result = one(jax.tree.map(lambda a: a[0], mine), shared)
        return jax.tree.map(lambda a: a[None], result)

    # Seeds never meet, so there is nothing for the check of replication to find.
    return jax.shard_map(
        on_device, mesh=mesh, in_specs=(_SEED, _SHARED), out_specs=_SEED, check_vma=False
    )


@functools.partial(jax.jit, static_argnums=range(7), donate_argnames="states")
def _train(
    mesh: Mesh,
    local: int,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    plan: Callable[[Any, Array], Any],
    batch: Callable[[Any, Any], tuple[Any, Array]],
    steps: int,
    states: TrainState,
    seeds: Array,
    data: Any,
    epoch: Array,
    limit: Array,
) -> TrainState:
    def one(mine: tuple[TrainState, Array], shared: tuple[Any, Array, Array]) -> TrainState:
        state, seed = mine
        data, epoch, limit = shared
        first = jnp.int32(0)
        key = jax.random.key(seed)
        return train_steps(
            loss, optimizer, plan, batch, steps, state, data, key, epoch, first, limit
        )

    return _over_seeds(mesh, local, one)((states, seeds), (data, epoch, limit))


@functools.partial(jax.jit, static_argnums=range(5))
def _validate(
    mesh: Mesh,
    local: int,
    loss: Loss,
    plan: Callable[[Any, Array], Any],
    batch: Callable[[Any, Any], tuple[Any, Array]],
    states: TrainState,
    data: Any,
) -> Array:
    def one(params: Params, data: Any) -> Array:
        return mean_loss(loss, plan, batch, params, data)

    return _over_seeds(mesh, local, one)(states.params, data)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnames="states")
def _keep_bests(mesh: Mesh, local: int, states: TrainState, losses: Array) -> TrainState:
    return _over_seeds(mesh, local, lambda mine, _: keep_best(*mine))((states, losses), ())
