"""Batches that the host makes one after another: of what does not fit in memory, or in order."""

import base64
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Position = Any  # JSON


class Stream(NamedTuple):
    """Where `fit` gets batches from that are made while it trains; see `stream`.

    Attributes:
        read: ``position -> iterator of (batch, position after it)``, from there on.
        start: the position of the first batch, JSON.
        steps: batches in an epoch: how often is validated, and what a log line counts.
    """

    read: Callable[[Position], Iterator[tuple[Any, Position]]]
    start: Position
    steps: int


def stream(read: Callable[[int], Iterator[Any]], steps: int) -> Stream:
    """Batches from a function of their number: a slice of a memory map, a generator.

    They are read ahead by a thread while the device computes, a few at a time, and never
    all together; a run that goes on reads on from the batch after its last.

    Args:
        read: ``number -> iterator`` of the batches from that number on (0 is the run's
            first): pytrees of NumPy arrays [batch, ...] of one shape and dtype. It must
            give the same batches every time, and not end before training does.
        steps: batches in an epoch.

    Returns:
        The stream, for `fit`'s `batches` or `validation`.

    Raises:
        ValueError: for `steps` below 1.

    Example:
        >>> import itertools
        >>> import optax
        >>> from seqjax.train import fit
        >>> def read(number):
        ...     for n in itertools.count(number):
        ...         yield np.array([n % 3, 2 - n % 3], np.float32)
        >>> loss = lambda params, batch, key: (batch - params) ** 2
        >>> done = fit(loss, jnp.array(0.0), optax.sgd(0.1), stream(read, steps=20), epochs=2)
        >>> round(float(done.params), 2)
        1.0
    """
    if steps < 1:
        raise ValueError(f"stream: steps must be at least 1, not {steps}.")

    def numbered(number: int) -> Iterator[tuple[Any, int]]:
        for batch in read(number):
            number += 1
            yield batch, number

    return Stream(numbered, 0, steps)


def iterator_stream(iterator: Any, steps: int) -> Stream:
    """Batches from an iterator that tells and takes its state, such as Grain's.

    Args:
        iterator: with ``__next__``, ``get_state() -> JSON or bytes`` and ``set_state``.
        steps: batches in an epoch.

    Returns:
        The stream. One run at a time reads from it.
    """

    def read(position: Position) -> Iterator[tuple[Any, Position]]:
        iterator.set_state(_unpacked(position))
        for batch in iterator:
            yield batch, _packed(iterator.get_state())

    return Stream(read, _packed(iterator.get_state()), steps)


def _packed(state: Any) -> Position:
    return {"base64": base64.b64encode(state).decode()} if isinstance(state, bytes) else state


def _unpacked(position: Position) -> Any:
    if isinstance(position, dict) and position.keys() == {"base64"}:
        return base64.b64decode(position["base64"])
    return position


# -- reading ahead -----------------------------------------------------------------


class Reader:
    """Reads a stream ahead in a thread, some batches at a time.

    Args:
        source: the stream.
        position: where to begin; by default its start.
        place: puts the arrays on the devices.

    Attributes:
        position: that of the batch after the last one taken.
    """

    def __init__(
        self, source: Stream, position: Position = None, place: Callable[[Any], Any] = jnp.asarray
    ) -> None:
        self.position = source.start if position is None else position
        self._place = place
        self._asked: queue.Queue[int] = queue.Queue()
        self._read: queue.Queue[Any] = queue.Queue()
        self._next: int | None = None  # what was asked for ahead
        arguments = source.read, self.position, self._asked, self._read
        self._thread = threading.Thread(target=_work, args=arguments, daemon=True)
        self._thread.start()

    def take(self, count: int, then: int) -> Any:
        """The next batches stacked [count, batch, ...], on the devices.

        Args:
            count: how many.
            then: how many the next call will want, to read ahead; 0 for none.

        Raises:
            ValueError: where the stream ends before, or a batch is of another shape.
        """
        if self._next is None:
            self._asked.put(count)
        found = self._read.get()
        if isinstance(found, BaseException):
            raise found
        rows, self.position = found
        self._next = then or None
        if then:
            self._asked.put(then)
        return jax.tree.map(self._place, rows)

    def close(self) -> None:
        """End the thread; once it has ended, nobody reads from the stream any more."""
        self._asked.put(0)
        self._thread.join()


def _work(
    read: Callable[[Position], Iterator[tuple[Any, Position]]],
    position: Position,
    asked: "queue.Queue[int]",
    done: "queue.Queue[Any]",
) -> None:
    try:
        batches, first, number = read(position), None, 0
        while count := asked.get():
            rows, after = [], position
            for _ in range(count):
                found = next(batches, None)
                if found is None:
                    raise ValueError(
                        f"the stream ended after {number} batches from position {position!r} on;"
                        " it must not end before training does."
                    )
                batch, after = found
                batch, number = jax.tree.map(np.asarray, batch), number + 1
                shapes = [(a.shape, str(a.dtype)) for a in jax.tree.leaves(batch)]
                if first is None:
                    first = shapes
                if shapes != first:
                    raise ValueError(
                        f"the stream's batch before position {after!r} is {shapes}, but those"
                        f" before it were {first}; all must be alike."
                    )
                rows.append(batch)
            done.put((jax.tree.map(lambda *leaves: np.stack(leaves), *rows), after))
    except BaseException as error:  # told where the batch is asked for
        done.put(error)


def row_of_stream(data: Any, row: Any) -> tuple[Any, Array]:
    """A batch of a stream: all its examples count."""
    return row, jnp.ones(jax.tree.leaves(row)[0].shape[0])
