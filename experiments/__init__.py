"""Experiments: one file each, run as ``python -m experiments.NAME``.

Run so on Linux, Python starts once more with ``GLIBC_TUNABLES=glibc.malloc.hugetlb=1``, so
that large buffers stand on huge pages: XLA asks for fresh ones at every call, and a page
fault for each 4 kB is up to a third of the time of a wide layer on a CPU
(docs/performance.md). Only the start of a process can set it; this is the earliest place,
before JAX is imported. Whoever sets GLIBC_TUNABLES, to nothing even, is left alone.
"""

import os
import sys


def _restart_with_huge_pages() -> None:
    by_name = sys.argv[:1] == ["-m"] and any("experiments." in word for word in sys.orig_argv)
    if not by_name or "GLIBC_TUNABLES" in os.environ or not _on_glibc():
        return
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _on_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError):  # Windows, macOS, musl
        return False


_restart_with_huge_pages()
