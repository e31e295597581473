"""What a training reads: batches resident on the devices, or a stream read ahead."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.train import programs
from seqjax.train.batches import Batches
from seqjax.train.programs import Layout
from seqjax.train.steps import Place, Program, Sums
from seqjax.train.streams import Position, Reader, Stream, row_of_stream

_CALL = 16  # batches of a stream in one call, by default


class Taken(NamedTuple):
    """What one jitted call trains on.

    Attributes:
        steps: how many.
        data: for `train_steps`.
        at: for `train_steps`.
        first: number of its first step in the run.
    """

    steps: int
    data: Any
    at: Place
    first: int


def _place(epoch: int, first: int, fresh: bool, limit: int) -> Place:
    # NumPy's: no device needs to be asked for them.
    numbers: Any = np.int32(epoch), np.int32(first), np.bool_(fresh), np.int32(limit)
    return Place(*numbers)


class Resident:
    """Batches whose data is on the devices; a call stays within an epoch."""

    def __init__(self, batches: Batches, steps_per_call: int | None, layout: Layout) -> None:
        self.batches = batches._replace(data=layout.share(batches.data))
        self.steps = batches.steps
        self.call = call_of(batches, steps_per_call)

    def take(self, step: int, last: int, limit: int) -> Taken:
        """The next steps of the epoch."""
        epoch, first = divmod(step, self.steps)
        steps = min(self.call, self.steps - first)
        return Taken(steps, self.batches.data, _place(epoch, first, first == 0, limit), step)

    def example(self, taken: Taken, step: int, key: Any = None) -> tuple[Any, Any]:
        """Made again from the plan of its epoch; without a key, for its structure alone."""
        order_key, _ = jax.random.split(jax.random.key(0) if key is None else key)
        epoch, index = divmod(step, self.steps)
        plan = self.batches.plan(self.batches.data, jax.random.fold_in(order_key, epoch))
        row, make = jax.tree.map(lambda a: a[index], plan), self.batches.batch
        if isinstance(make, tuple):
            which, row = row
            make = make[0 if key is None else int(which)]
        return make(self.batches.data, row)

    def position(self) -> None:
        """None: the step says it."""

    def close(self) -> None:
        """Nothing to end."""


class Streamed:
    """Batches of a stream, read ahead; a call stays within what is counted as an epoch."""

    def __init__(
        self, source: Stream, steps_per_call: int | None, layout: Layout, position: Position
    ) -> None:
        self.steps, self.call = source.steps, call_of(source, steps_per_call)
        self.reader = Reader(source, position, layout.share)

    def _count(self, step: int, last: int) -> int:
        return min(self.call, self.steps - step % self.steps) if step < last else 0

    def take(self, step: int, last: int, limit: int) -> Taken:
        """The next batches, while those after them are read."""
        steps = self._count(step, last)
        rows = self.reader.take(steps, then=self._count(step + steps, last))
        epoch, first = divmod(step, self.steps)
        return Taken(steps, rows, _place(epoch, 0, first == 0, limit), step)

    def example(self, taken: Taken, step: int, key: Any = None) -> tuple[Any, Any]:
        """Out of the call's rows."""
        del key
        row = jax.tree.map(lambda a: a[step - taken.first], taken.data)
        return row_of_stream(None, row)

    def position(self) -> Position:
        """Of the batch after the last one taken."""
        return self.reader.position

    def close(self) -> None:
        """End the thread."""
        self.reader.close()


Feed = Resident | Streamed


def call_of(batches: Batches | Stream, steps_per_call: int | None) -> int:
    """Steps in one jitted call."""
    default = _CALL if isinstance(batches, Stream) else batches.steps
    return min(steps_per_call or default, batches.steps)


def make_feed(
    batches: Batches | Stream, steps_per_call: int | None, layout: Layout, position: Position
) -> Feed:
    """How training reads `batches`; a stream from `position` on, or its start."""
    if isinstance(batches, Stream):
        return Streamed(batches, steps_per_call, layout, position)
    return Resident(batches, steps_per_call, layout)


# -- validation --------------------------------------------------------------------


def place_validation(batches: Batches | Stream, layout: Layout) -> Batches | Stream:
    """The batches with their data on the devices."""
    if isinstance(batches, Stream):
        return batches
    return batches._replace(data=layout.share(batches.data))


def sums_over(
    batches: Batches | Stream, layout: Layout, program: Program, params: Any, carries: Any
) -> Sums:
    """The sums of loss and metrics over all of `batches`, [seeds] each."""
    if isinstance(batches, Batches):
        return programs.validate(layout, program, params, carries, batches.data)[0]
    reader, sums, step = Reader(batches, place=layout.share), None, 0
    try:
        while step < batches.steps:
            count = min(_CALL, batches.steps - step)
            step += count
            rows = reader.take(count, then=min(_CALL, batches.steps - step))
            more, carries = programs.validate(layout, program, params, carries, rows)
            sums = more if sums is None else jax.tree.map(jnp.add, sums, more)
    finally:
        reader.close()
    assert sums is not None
    return sums


def means_of(sums: Sums) -> Mapping[str, np.ndarray]:
    """By name [seeds], in the precision of the sums."""
    found = jax.device_get(sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: total / weight for name, (total, weight) in found.items()}
