"""The training loop: seeds in step with each other, and bookkeeping between the jitted calls."""

import contextlib
import logging
import math
import operator
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
import optax

from seqjax.train import programs
from seqjax.train.batches import Batches
from seqjax.train.feeds import make_feed, means_of, place_validation, sums_over
from seqjax.train.finite import Watch, find_operation, latest_step, not_finite
from seqjax.train.job import EarlyStopping, Fit, Job, for_params, restored, waited
from seqjax.train.logs import Progress
from seqjax.train.processes import is_primary, local, wait_for_all
from seqjax.train.programs import Layout
from seqjax.train.seeds import Seed
from seqjax.train.steps import TrainState
from seqjax.train.stopping import TrainingStopped
from seqjax.train.streams import Stream

_log = logging.getLogger(__name__)


def train_together(job: Job, seeds: Sequence[Seed], layout: Layout) -> Iterator[tuple[int, Fit]]:
    """Train seeds in step; each ends where it ends alone (see `fit`, `fit_seeds`).

    Yields:
        ``(seed, fit)`` of each that did not fail, in their order.
    """
    started = time.perf_counter()
    _train(for_params(job, seeds[0].params), seeds, layout)
    seconds = (time.perf_counter() - started) / len(seeds)
    for one in seeds:
        if one.ended is not None:
            state = local(one.ended)
            params = state.params if state.best is None else state.best.params
            yield one.number, Fit(params, one.history, state, seconds)
    if failures := [one.failure for one in seeds if one.failure]:
        raise FloatingPointError("; ".join(failures))


def _train(job: Job, seeds: Sequence[Seed], layout: Layout) -> None:
    """Train seeds until each has ended, those that go on from one step together."""
    for one in seeds:
        if found := not_finite(one.params, "params"):
            one.failure = f"{one.name}: {found[0]} is not finite from the start."
    going = restored(job, [one for one in seeds if one.active], layout)
    for step in sorted({begun.step for _, begun in going}):
        mine = [(one, begun) for one, begun in going if begun.step == step]
        together = _Together(job, [one for one, _ in mine], layout.fewer(len(mine)))
        states = [begun.state for _, begun in mine]
        position = mine[0][1].position
        del mine
        going = [(one, begun) for one, begun in going if begun.step != step]  # held once only
        together.train(step, states, position)


class _Together:
    """The state of the loop."""

    def __init__(self, job: Job, seeds: Sequence[Seed], layout: Layout) -> None:
        self.job, self.seeds, self.layout, self.options = job, seeds, layout, job.options
        self.stopping: EarlyStopping | None = job.options["early_stopping"]
        self.limit = 1 if job.options["debug_nans"] else job.options["max_skips"]
        self.last = job.epochs * job.batches.steps
        self.watches = [Watch(one.name, self.limit) for one in seeds]
        self.program = programs.train_with(tuple((job.options["compiler_options"] or {}).items()))
        self.tracing = self.traced = False
        self.means: list[float | None] = [None] * len(seeds)  # of the losses of the epoch

    def train(self, step: int, states: list[TrainState], position: Any) -> None:
        """Train from a step on until every seed has ended."""
        job, layout, options = self.job, self.layout, self.options
        self.states = layout.stack(states)
        states.clear()
        self.keys = programs.keys_of(layout, [one.number for one in self.seeds])
        carry = None if options["carry"] is None else layout.share(options["carry"])
        self.start = None if isinstance(job.batches, Stream) else carry
        self.validation, self.carries = None, None
        if options["validation"] is not None:
            self.validation = place_validation(options["validation"], layout)
            self.carries = layout.stack([options["carry"]] * len(self.seeds))
        with contextlib.ExitStack() as stack:
            self.feed = make_feed(job.batches, options["steps_per_call"], layout, position)
            stack.callback(self.feed.close)
            stack.callback(self._end_profile)
            if layout.over is not None:
                stack.enter_context(jax.set_mesh(layout.over))
            self.bar = None
            if options["progress"] and is_primary():
                self.bar = stack.enter_context(Progress(self._label(), job.epochs))
            self._loop(step)

    def _label(self) -> str:
        label, numbers = self.options["progress"], [one.number for one in self.seeds]
        if self.job.name != "fit":
            label += f", seed {numbers[0]}" + (f"-{numbers[-1]}" if len(numbers) > 1 else "")
        return label + self.layout.words

    def _shapes(self) -> Any:
        batch = jax.eval_shape(lambda: self.feed.example(self.taken, self.taken.first)[0])
        return batch, self.states.params, self.states.carry

    # -- step by step --------------------------------------------------------------

    def _loop(self, step: int) -> None:
        begun, begun_at = time.perf_counter(), step
        calls: list[int] = []  # their steps
        asked = self.options["stop"]()
        while step < self.last and any(one.active for one in self.seeds):
            if asked:
                raise TrainingStopped(self._stopped(step))
            self.taken = taken = self.feed.take(step, self.last, self.limit)
            arguments = (self.layout, self.job.program, taken.steps, self.states, self.keys)
            arguments += (taken.data, self.start, taken.at)
            if jax.process_count() > 1 and taken.steps not in calls:
                self._meet_compiled(arguments, first=not calls)
            self._profile(len(calls))
            self.states = self.program(*arguments)
            calls.append(taken.steps)
            before, step = step, step + taken.steps
            asked = self.options["stop"]()
            saving = any(one.due(before, step, asked=asked) for one in self.seeds)
            over = step % self.feed.steps == 0
            numbers: list[TrainState] = []
            if (
                over or saving or asked or self.options["debug_nans"]
            ):  # before anything of this call is kept
                numbers = self._check(over)
            if len(calls) == 1:  # which was the one that compiles
                begun, begun_at = time.perf_counter(), step
            if self.bar is not None:
                self.bar.advance(step / self.feed.steps)
            if over:
                steps = (step - begun_at) * len(self.seeds)
                seconds = max(time.perf_counter() - begun, 1e-9)
                self._end_epoch(step, numbers, steps / seconds if steps else None)
            for index, one in enumerate(self.seeds):
                if one.due(before, step, asked=asked):
                    self._save(one, index, step, wait=asked)
        self._end(step, [one for one in self.seeds if one.active])

    def _profile(self, done: int) -> None:
        """Trace the calls after the first, which compiles."""
        if self.options["profile"] is None:
            return
        folder, calls = self.options["profile"]
        if done == 1:
            jax.profiler.start_trace(folder)
            self.tracing = self.traced = True
        if done == 1 + calls:
            self._end_profile()

    def _end_profile(self) -> None:
        if self.tracing:
            jax.block_until_ready(self.states)
            jax.profiler.stop_trace()
            self.tracing = False
        if self.options["profile"] is not None and not self.traced:
            _log.warning(
                "%s: one call is all there is: no trace; see steps_per_call.", self.job.name
            )

    def _check(self, over: bool) -> list[TrainState]:
        """Every seed's counts and sums on the host; ends those that are no longer finite."""
        sums = self.states._replace(params=None, opt_state=None, best=None, carry=None)
        host = jax.device_get(sums)
        numbers = [jax.tree.map(operator.itemgetter(i), host) for i in range(len(self.seeds))]
        for index, (one, mine) in enumerate(zip(self.seeds, numbers, strict=True)):
            if not one.active:
                continue
            if self.options["debug_nans"] and mine.skipped.in_a_row:
                self._find_operation(index, mine)
            try:
                told = {"epoch_over": over, "saved": one.saved(), "shapes": self._shapes}
                self.means[index] = self.watches[index].check(mine, **told)
            except FloatingPointError as error:
                one.failure = str(error)
        return numbers

    def _find_operation(self, index: int, numbers: TrainState) -> None:
        state, key = self.layout.of(index, (self.states, self.keys))
        batch = self.feed.example(self.taken, latest_step(numbers.skipped), key)
        examples, weights = self.layout.alone(batch)
        find_operation(self.job.program.loss, examples, weights, state, key)

    def _end_epoch(self, step: int, numbers: list[TrainState], rate: float | None) -> None:
        lines: list[dict[str, Any]] = []
        for index, mine in enumerate(numbers):
            line = {"step": step, "epoch": step // self.feed.steps, "loss": self.means[index]}
            if mine.skipped.in_epoch:
                line["skipped"] = int(mine.skipped.in_epoch)
            lines.append(line | self._tracked(index, mine))
        if self.validation is not None:
            self._validate(self.validation, step, lines)
        active = [(one, line) for one, line in zip(self.seeds, lines, strict=True) if one.active]
        for one, line in active:
            one.write(line)
            for callback in self.options["callbacks"] if is_primary() else ():
                callback.epoch(one.number, line)
        if self.bar is not None and active:
            shown = _means([line for _, line in active])
            self.bar.epoch(step // self.feed.steps, shown, rate)
        if self.states.best is not None:
            best = jax.device_get(self.states.best.step)
            over = [index for index, at in enumerate(best) if waited(self.job, int(at), step)]
            self._end(step, [one for i, one in enumerate(self.seeds) if one.active and i in over])

    def _tracked(self, index: int, numbers: TrainState) -> dict[str, float]:
        found: dict[str, float] = {}
        if numbers.norm_sum is not None:
            applied = self.feed.steps - int(numbers.skipped.in_epoch)
            found["gradient_norm"] = float(numbers.norm_sum) / max(applied, 1)
        for name, (total, weight) in (numbers.metric_sums or {}).items():
            if weight:  # none where every step was skipped
                found[name] = float(total) / float(weight)
        if "learning_rate" in self.options["track"]:
            state = self.states.opt_state
            arrays = {"filtering": lambda path, value: isinstance(value, jax.Array)}
            rate = optax.tree_utils.tree_get(state, "learning_rate", **arrays)
            if rate is None:
                raise ValueError(
                    f"{self.job.name}: this optimizer's state holds no learning_rate to track; make"
                    " it by optax.inject_hyperparams(optax.adam)(learning_rate=...)."
                )
            found["learning_rate"] = float(rate[index])
        return found

    def _validate(
        self, validation: Batches | Stream, step: int, lines: list[dict[str, Any]]
    ) -> None:
        assert self.job.validating is not None
        inputs = self.job.validating, self.states.params, self.carries
        means = means_of(sums_over(validation, self.layout, *inputs))
        for index, (one, line) in enumerate(zip(self.seeds, lines, strict=True)):
            line |= {f"validation_{name}": float(mean[index]) for name, mean in means.items()}
            watched = "loss" if self.stopping is None else self.stopping.metric
            if one.active and not math.isfinite(loss := line["validation_loss"]):
                found = (
                    not_finite(validation.data, "data") if isinstance(validation, Batches) else []
                )
                data = f"{', '.join(found)} is not finite" if found else "though its data is finite"
                one.failure = (
                    f"{one.name}: the validation loss is {loss} at step {step}, {data}."
                    f" {one.saved()}"
                )
            elif one.active and not math.isfinite(line.get(f"validation_{watched}", 0.0)):
                one.failure = (
                    f"{one.name}: the metric {watched!r}, which early stopping watches, is not"
                    f" finite at step {step}. {one.saved()}"
                )
        if self.stopping is None:
            return
        if self.stopping.metric not in means:
            raise ValueError(
                f"{self.job.name}: early stopping watches {self.stopping.metric!r}, but validation"
                f" gives {', '.join(means)}."
            )
        sign = -1 if self.stopping.mode == "max" else 1
        figures = means[self.stopping.metric][: len(self.seeds)].astype(np.float32)
        figures = self.layout.stack(list(figures))
        self.states = programs.keep_bests(self.layout, sign, self.states, figures)

    # -- keeping and ending --------------------------------------------------------

    def _save(self, one: Seed, index: int, step: int, *, wait: bool) -> None:
        if one.checkpoints is None:
            return
        one.save(step, self.layout.of(index, self.states), self.job.given, self.feed.position())
        if wait:
            one.checkpoints.wait()

    def _end(self, step: int, ending: list[Seed]) -> None:
        for index, one in enumerate(self.seeds):
            if one in ending:
                self._save(one, index, step, wait=True)
                one.ended = self.layout.of(index, self.states)

    def _stopped(self, step: int) -> str:
        saved = dict.fromkeys(one.saved() for one in self.seeds if one.active)
        return f"stopped at step {step} of {self.last}. {' '.join(saved)}"

    def _meet_compiled(self, arguments: tuple[Any, ...], *, first: bool) -> None:
        """Compile in all processes: a collective waits 30 s for the others, this longer."""
        self.program.lower(*arguments).compile()
        wait_for_all("compiled")
        if first and isinstance(self.validation, Batches):
            inputs = self.job.validating, self.states.params, self.carries, self.validation.data
            programs.validate.lower(self.layout, *inputs).compile()
            wait_for_all("compiled")


def _means(lines: list[dict[str, Any]]) -> dict[str, float]:
    """What a progress bar shows of some seeds' lines."""
    names = [name for name in lines[0] if name not in ("step", "epoch", "skipped")]
    return {
        name.replace("_", " "): float(np.mean([line[name] for line in lines], dtype=np.float64))
        for name in names
        if all(line.get(name) is not None for line in lines)
    }
