"""A section's process from outside: rows as they come, an end in time."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.bench.gpu.rows import Row

ROOT = Path(__file__).parents[3]
CHILD = [sys.executable, "-W", "ignore", "-m", "seqjax.bench.gpu.child"]


class Ended(NamedTuple):
    """How a section ended: "done", or what happened, and its seconds."""

    status: str
    seconds: float


def run_section(name: str, entry: str, dry: bool, limit: float) -> Iterator[Row | Ended]:
    """Start a section's process; its rows as they come, then how it ended.

    Its whole process group ends with it: a hang or a crash costs this section only.

    Args:
        name: of the section.
        entry: ``module:function``.
        dry: tiny sizes, on a CPU.
        limit: seconds.
    """
    begun = time.monotonic()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ, "PYTHONPATH": path}
    platforms = "cpu" if dry else environment.get("JAX_PLATFORMS", "")
    if platforms and "cpu" not in platforms.split(","):
        platforms += ",cpu"  # what the checks compare with
    if platforms:
        environment["JAX_PLATFORMS"] = platforms
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [*CHILD, name, entry, "dry" if dry else "full"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            start_new_session=True,  # a group of its own
        )
        assert process.stdout is not None
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        status = None
        try:
            while status is None:
                left = max(0.0, begun + limit - time.monotonic())
                try:
                    line = lines.get(timeout=left)
                    if line is None:
                        status = _status(process.wait(timeout=left), errors)
                except (queue.Empty, subprocess.TimeoutExpired):
                    status = f"stopped after its {limit:.0f} s"
                else:
                    if line is not None:
                        yield Row(**json.loads(line))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            reader.join(timeout=5)
            process.stdout.close()
        yield Ended(status, round(time.monotonic() - begun, 1))


def _read(stdout: Iterable[str], lines: queue.Queue) -> None:
    with contextlib.suppress(ValueError):  # closed
        for line in stdout:
            lines.put(line)
    lines.put(None)


def _status(code: int, errors: Any) -> str:
    if code == 0:
        return "done"
    errors.seek(0)
    said = errors.read().strip().rpartition("\n")[2]
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
    return f"ended with {how}: {said[:300] or 'no message'}"
