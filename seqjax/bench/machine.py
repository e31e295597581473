"""What a figure was measured on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from seqjax.train.mesh import cpu_cores

PACKAGES = ("seqjax", "jax", "jaxlib", "flax", "keras", "torch", "dm-haiku", "equinox", "numpy")


SETTINGS = ("GLIBC_TUNABLES", "XLA_FLAGS", "OMP_NUM_THREADS", "LD_PRELOAD")


def describe() -> dict[str, object]:
    """Processor, cores, system and the versions of the contestants."""
    return {
        "processor": _processor(),
        "cores": cpu_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "environment": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
