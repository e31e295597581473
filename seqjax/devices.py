"""What a run computes on: platform, processes, and where compiled programs are kept."""

import contextlib
import hashlib
import os
import platform as host
import stat
import sys
from pathlib import Path
from typing import Any

import jax

from seqjax.bench.gpu.results import measured_choices
from seqjax.config import RunError
from seqjax.ops.layout import set_choices
from seqjax.storage.versions import version
from seqjax.train.mesh import cpu_cores
from seqjax.train.processes import ProcessError, join_processes

_CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_layout = ""
_MEASURED = Path(__file__).parents[1] / "docs"  # of a checkout: what ./scripts/gpu wrote


def set_up(platform: str | None, *, cluster: bool = False) -> str:
    """Choose the platform, join the other processes of the run, if any.

    Args:
        platform: "cpu", "gpu", "tpu"; None for the best that JAX finds.
        cluster: there are other processes, which Slurm, Open MPI or a TPU pod tells of.

    Returns:
        The devices in words.

    Raises:
        RunError: for a platform that JAX does not find, or processes that do not meet.
    """
    if platform is not None:
        jax.config.update("jax_platforms", platform)
    try:
        several = join_processes(cluster)
    except ProcessError as error:
        raise RunError(str(error)) from None
    # A CPU's cores are the devices of a mesh, as several GPUs are; what is not spread over
    # a mesh runs on the first, with all cores. Of several processes each is one device.
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # JAX runs already: leave it as it is
            jax.config.update("jax_num_cpu_devices", 1 if several else cpu_cores())
    if _CACHE_VARIABLE not in os.environ:  # nor, then, what the user chose
        _use_private_cache()
    try:
        devices = jax.devices()
    except RuntimeError as error:
        extra = {"gpu": "cuda", "tpu": "tpu"}.get(platform or "", "cuda")
        raise RunError(
            f"--platform {platform}: JAX finds no such device. Install its support with"
            f" pip install 'seqjax[{extra}]', or use --platform cpu. ({error})"
        ) from None
    kind = devices[0].device_kind
    if devices[0].platform != "cpu":
        use_measured_choices(kind)
    together = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    if devices[0].platform == "cpu":
        return f"{host.machine()} CPU, {cpu_cores()} cores{together}"
    return (f"{len(devices)} x {kind}" if len(devices) > 1 else kind) + together


def use_measured_choices(kind: str) -> None:
    """Lay recurrences out as ``./scripts/gpu`` measured to be best on this kind of device.

    Where it has not run there, or its file (``docs/gpu-NAME.json``) cannot be read, which is
    told, what is best by reason stays.
    """
    global _layout
    try:
        measured = measured_choices(_MEASURED, kind)
    except (ValueError, OSError) as error:
        print(f"warning: {error}; nothing of it is used", file=sys.stderr)
        measured = None
    set_choices(measured)
    _layout = "" if measured is None else f"measured on {kind}"


def settings() -> dict[str, Any]:
    """What is set for speed unless the user does, for result.json."""
    return {
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", ""),
        "devices": str(jax.device_count()),
        "compilation_cache": jax.config.values["jax_compilation_cache_dir"] or "",
    } | ({"layout": _layout} if _layout else {})


def private_cache() -> Path:
    """The folder for compiled programs, made if it is missing.

    JAX executes what it finds there, so nobody else may write in it, and it belongs to one
    jaxlib and one kind of processor.

    Raises:
        OSError: where it cannot be made, or is not this user's alone.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqjax"
    folder = root / f"xla-{version('jaxlib')}-{_processor()}"
    for path in (root, folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise PermissionError(f"{path} is no folder")
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(f"{path} is open to others; chmod 700 it, or delete it")
    return folder


def _use_private_cache() -> None:
    try:
        folder = private_cache()
    except (OSError, RuntimeError, AttributeError) as error:  # no home; no users, on Windows
        print(
            f"programs are compiled anew, without a cache: {error} ({_CACHE_VARIABLE} names"
            " another folder, or none)",
            file=sys.stderr,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _processor() -> str:
    """A hash that differs where programs compiled for one processor fail on another."""
    lines = [host.machine(), host.processor()]
    with contextlib.suppress(OSError):
        wanted = ("flags", "Features", "model name")
        text = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
        lines += [line for line in text.splitlines() if line.startswith(wanted)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def restart_with_huge_pages() -> None:
    """Start the process once more with ``GLIBC_TUNABLES=glibc.malloc.hugetlb=1``, on Linux.

    Large buffers then stand on huge pages: XLA asks for fresh ones at every call, and a page
    fault for each 4 kB is up to a third of the time of a wide layer on a CPU
    (docs/performance.md). Only the start of a process can set it. Whoever sets
    GLIBC_TUNABLES, to nothing even, is left alone, and spared the second start.
    """
    if "GLIBC_TUNABLES" not in os.environ and _on_glibc():
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _on_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError):  # Windows, macOS, musl
        return False
