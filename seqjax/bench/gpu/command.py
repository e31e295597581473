"""What ``./scripts/gpu`` does: one section after the other, each within its time."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqjax.bench.gpu.processes import ROOT, Ended, run_section
from seqjax.bench.gpu.results import Results
from seqjax.bench.gpu.rows import Row
from seqjax.bench.gpu.sections import SECTIONS
from seqjax.storage.versions import version

_PACKAGES = ("jax", "jaxlib", "jax-cuda13-plugin", "flax", "optax", "orbax-checkpoint", "torch")
_EXAMPLES = """\
It uses the Python it is given (PYTHON=/path/to/python ./scripts/gpu; python3 by default) and
installs nothing. It needs JAX with CUDA, flax, optax, orbax-checkpoint, pandas, rich and
jaxtyping; PyTorch for what stands beside ours. What is missing is named in its rows.

Wheels of pure Python can be put beside it: for experiments (python -m experiments.NAME), which
it does not need itself, tyro's. Where there is a network
  pip download --no-deps --only-binary=:all: -d wheels tyro docstring-parser typeguard
and where there is none:
  pip install --no-index --no-deps --target site wheels/*.whl
  PYTHONPATH=$PWD/site ./scripts/gpu

Commit what it writes, docs/gpu-NAME.json and docs/gpu.md: the launcher of the experiments
sets on that kind of device what won there.
"""


def main(args: Sequence[str] | None = None) -> None:
    """Run the sections, print what fails, exit with 1 if anything did."""
    listed = "\n".join(f"  {name}: {found.what}" for name, found in SECTIONS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/gpu",
        description="Check and time everything on one GPU, in ten minutes.",
        epilog=f"The sections, in their order:\n{listed}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="A,B", help='these sections ("device" always runs)')
    parser.add_argument("--minutes", type=float, default=9.5, help="for all of them (9.5)")
    parser.add_argument("--out", type=Path, help="folder of the results (docs; runs/gpu if --dry)")
    parser.add_argument("--dry", action="store_true", help="tiny sizes, on a CPU: does it run?")
    options = parser.parse_args(args)
    names = list(SECTIONS) if options.only is None else options.only.split(",")
    if unknown := sorted(set(names) - set(SECTIONS)):
        parser.error(f"--only: {', '.join(unknown)}: there are {', '.join(SECTIONS)}.")
    names = [name for name in SECTIONS if name in (*names, "device")]
    out = options.out or ROOT / ("runs/gpu" if options.dry else "docs")
    # A section's processes are a group of their own: they end where this one unwinds.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(run(names, out, dry=options.dry, seconds=60 * options.minutes))
    except KeyboardInterrupt:
        sys.exit(130)


def run(names: Sequence[str], out: Path, *, dry: bool, seconds: float) -> int:
    """Run sections, the device's first, which says what the results are called.

    Returns:
        The exit status: 0; 1 where a check failed or a section did not end well; 2 where
        there is no GPU.
    """
    begun = time.monotonic()
    results: Results | None = None
    failed = 0
    for name in names:
        section = SECTIONS[name]
        left = begun + seconds - time.monotonic()
        if results is not None and left < 5:
            print(f"{name}: no time is left; ./scripts/gpu --only {name}")
            failed += 1
            continue
        limit = float(section.seconds) if results is None else min(float(section.seconds), left)
        for found in run_section(name, section.entry, dry, limit):
            if results is None:
                if isinstance(found, Ended):
                    print(f"error: JAX does not start: {found.status}.", file=sys.stderr)
                    return 2
                if not dry and found.values.get("platform") != "gpu":
                    print(_no_gpu(found), file=sys.stderr)
                    return 2
                results = Results(out, found.values, _facts(dry))
            if isinstance(found, Ended):
                failed += found.status != "done"
                print(f"{name}: {found.status}, {found.seconds} s", flush=True)
                results.end(name, found.status, found.seconds)
                continue
            if name not in results.begun:
                results.begin(name)
            results.add(found)
            failed += found.status == "FAILED"
            _tell(found)
    assert results is not None
    print(f"{results.path}\n{results.path.parent / 'gpu.md'}")
    return 1 if failed else 0


def _facts(dry: bool) -> dict[str, Any]:
    return {
        "dry": dry,
        "versions": {name: version(name) for name in _PACKAGES},
        "environment": {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "")},
    }


def _tell(row: Row) -> None:
    """One line, shorter where all is well."""
    labels = ", ".join(str(value) for value in row.labels.values())
    values = ", ".join(f"{name} {_short(value)}" for name, value in row.values.items())
    said = f": {row.note}" if row.note else ""
    print(f"  {row.status}{said} | {labels} | {values}"[:240], flush=True)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _no_gpu(row: Row) -> str:
    if row.status != "ok":
        return f"error: JAX does not start: {row.note}"
    return (
        f"error: JAX finds no GPU here, only {row.values['name']}: install its support (pip"
        " install 'seqjax[cuda]'), or run tiny sizes on the CPU with --dry."
    )
