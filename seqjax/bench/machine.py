"""What a figure was measured on."""

import os
import platform
import time
from pathlib import Path

from seqjax.storage.versions import version
from seqjax.train.mesh import cpu_cores

PACKAGES = ("seqjax", "jax", "jaxlib", "flax", "keras", "torch", "dm-haiku", "equinox", "numpy")


SETTINGS = ("GLIBC_TUNABLES", "XLA_FLAGS", "OMP_NUM_THREADS", "LD_PRELOAD")

# Of a core. An idle machine shows a few hundredths, one program that computes a whole core.
IDLE = 0.3

_load: float | None = None


def measure_load() -> float | None:
    """`busy_cores` before a benchmark starts, which `describe` then tells."""
    global _load
    _load = busy_cores()
    return _load


def busy_cores(seconds: float = 1.0) -> float | None:
    """How many of this process's cores others keep busy; None where the system tells nothing.

    Where there is no /proc/stat (macOS) the load average stands in, which remembers a
    minute: what has just ended, too.
    """
    before = _ticks()
    time.sleep(seconds)
    busy, idle = (b - a for a, b in zip(before, _ticks(), strict=True))
    if busy + idle:
        return cpu_cores() * busy / (busy + idle)
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return None


def _ticks() -> tuple[int, int]:
    """Busy and idle ticks of this process's cores since the start; 0, 0 where not told."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0, 0
    cores = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    busy = idle = 0
    for line in stat.read_text().splitlines():
        name, *words = line.split()
        if name in cores:
            user, nice, system, none, wait, *rest = map(int, words[:8])  # guests are in user
            busy += user + nice + system + sum(rest)
            idle += none + wait
    return busy, idle


def describe() -> dict[str, object]:
    """Processor, cores, what kept them busy before, system, versions of the contestants."""
    return {
        "processor": _processor(),
        "cores": cpu_cores(),
        "busy cores before": _load,
        "system": platform.platform(),
        "python": platform.python_version(),
        "environment": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "versions": {name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
