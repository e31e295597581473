"""Asked to stop: SIGTERM and SIGINT become a request that training answers at a boundary."""

import contextlib
import itertools
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

import jax
import orbax.checkpoint as ocp

STOPPED = 75  # exit status of a run that was asked to stop: sysexits' "try again later"

_received: list[int] = []  # of this process: signals have no other owner
_agreed: list[bool] = []  # by all processes
_boundaries = itertools.count(1)


class TrainingStopped(Exception):  # noqa: N818 - what was asked for is no error
    """Training ended because it was asked to; the message says where the state is."""


def stop_requested() -> bool:
    """True where training should save and end; to be asked at every boundary between calls.

    Of several processes each asks at the same boundaries, and all hear of a SIGTERM to any
    of them at the same one (Orbax's and JAX's preemption hook).
    """
    if jax.process_count() == 1:
        return bool(_received)
    # The hook is true at one boundary only, which may be the last of a training of several.
    if not _agreed and ocp.multihost.reached_preemption(next(_boundaries)):
        _agreed.append(True)
    return bool(_agreed)


@contextlib.contextmanager
def listen_for_stop() -> Iterator[None]:
    """While it lasts, the first SIGTERM or SIGINT is a request; a second ends the process.

    The second acts at once, with the exit status of shells (128 + signal), also while
    XLA compiles or computes: a thread of its own waits for it. Outside the main thread,
    where Python takes no signals, this does nothing.

    Example:
        >>> with listen_for_stop():
        ...     stop_requested()
        False
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    several = jax.process_count() > 1
    # Of several processes, SIGTERM belongs to JAX's preemption hook.
    signals = (signal.SIGINT,) if several else (signal.SIGINT, signal.SIGTERM)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(reader, signals, several), daemon=True)
    # The handlers do nothing: Python writes the signal's number to the socket before, and
    # without waiting for the main thread. No signal falls between the two.
    former_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    former = {number: signal.signal(number, lambda *_: None) for number in signals}
    watcher.start()
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former_fd)
        writer.close()  # the thread reads the end, and ends
        watcher.join()
        reader.close()
        _received.clear()


def _watch(reader: socket.socket, signals: tuple[int, ...], several: bool) -> None:
    while data := reader.recv(1):
        number = data[0]
        if number not in signals:
            continue
        name = signal.Signals(number).name
        if _received:
            print(f"{name} once more: ends at once", file=sys.stderr, flush=True)
            os._exit(128 + number)
        _received.append(number)
        print(
            f"{name}: stops and saves after the steps under way; once more ends it at once",
            file=sys.stderr,
            flush=True,
        )
        if several:
            os.kill(os.getpid(), signal.SIGTERM)
