"""Start one command as several processes on this machine, and end them together.

    scripts/launch_local --processes 2 python -m experiments.milk --out runs/two

The processes are one run on JAX's multi-process runtime (Gloo on a CPU): each takes its
part of every batch (and of the GPUs), the first one writes. SIGINT or SIGTERM makes all of
them save and stop at the same step; a second one ends them at once. Where one dies, so do the
others.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from io import TextIOBase
from pathlib import Path

from seqjax.train.processes import environment
from seqjax.train.stopping import STOPPED

_GPUS = Path("/proc/driver/nvidia/gpus")
_LAST_WORDS_SECONDS = 5.0  # for the others' own errors, after one has died


def start(command: Sequence[str], count: int) -> Iterator[subprocess.Popen[str]]:
    """`count` processes of `command` that know of each other, one after the other.

    The first one keeps the terminal; the others' lines come with their number.
    """
    address = f"localhost:{_free_port()}"
    for index in range(count):
        quiet = index > 0
        process = subprocess.Popen(
            command,
            env=os.environ | environment(address, count, index) | _share_of_gpus(index, count),
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
            text=True,
            errors="replace",
            start_new_session=True,  # a terminal's Ctrl-C is for this process to pass on
        )
        if isinstance(process.stdout, TextIOBase):
            _relay(index, process.stdout)
        yield process


def wait(processes: Sequence[subprocess.Popen[str]]) -> int:
    """Wait for all; end all where one fails.

    Returns:
        0 where all succeeded; 75 where some were stopped, saved; or else the status of the
        first that failed, 128 + signal for one that was killed.
    """
    while True:
        codes = [process.poll() for process in processes]
        failed = [index for index, code in enumerate(codes) if code not in (None, 0, STOPPED)]
        if failed:
            index = failed[0]
            status = _status(processes[index])
            how = f"signal {status - 128}" if status > 128 else f"status {status}"
            print(f"process {index} ended with {how}: ending the others", file=sys.stderr)
            deadline = time.monotonic() + _LAST_WORDS_SECONDS
            while time.monotonic() < deadline and any(p.poll() is None for p in processes):
                time.sleep(0.05)
            kill(processes)
            return status
        if None not in codes:
            return STOPPED if STOPPED in codes else 0
        time.sleep(0.05)


def kill(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End all at once, with what they started, suspended ones too."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser("launch_local", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, required=True, metavar="N")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="such as python -m ...")
    options = parser.parse_args(args)
    if options.processes < 1 or not options.command:
        parser.error("say --processes N, at least 1, and then the command")
    asked: list[int] = []

    def ask(number: int, _: object) -> None:
        asked.append(number)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                if len(asked) > 1:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    os.kill(process.pid, signal.SIGTERM)

    processes: list[subprocess.Popen[str]] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask)
    try:
        for process in start(options.command, options.processes):
            processes.append(process)
            if asked:
                process.terminate()
    except OSError as error:
        kill(processes)
        print(f"error: {options.command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    status = wait(processes)
    return 128 + asked[0] if len(asked) > 1 else status


def _status(process: subprocess.Popen[str]) -> int:
    code = process.returncode
    return 128 - code if code < 0 else code


def _share_of_gpus(index: int, count: int) -> dict[str, str]:
    """The GPUs that a process sees, where there is at least one for each."""
    known = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = len(list(_GPUS.glob("*"))) if known is None else 0
    gpus = [str(number) for number in range(found)] if known is None else known.split(",")
    each = len(gpus) // count
    if not each:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[index * each : (index + 1) * each])}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def _relay(index: int, stream: TextIOBase) -> None:
    def relay() -> None:
        with stream:
            for line in stream:
                sys.stderr.write(f"[{index}] {line}")

    threading.Thread(target=relay).start()  # it ends with the process, its last words told


if __name__ == "__main__":
    sys.exit(main())
