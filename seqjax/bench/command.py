"""What the command line does: run a benchmark, print its tables, write JSON and plots."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from seqjax.bench import (
    compilation,
    forecasting,
    generation,
    layers,
    machine,
    newton,
    scaling,
    training,
)
from seqjax.bench.report import Report, show, write
from seqjax.bench.turns import BenchError

_RUN: dict[type, Callable[[Any], Report]] = {
    layers.Layers: layers.run,
    compilation.Compile: compilation.run,
    training.Train: training.run,
    generation.Generate: generation.run,
    forecasting.Forecast: forecasting.run,
    scaling.Scaling: scaling.run,
    newton.Newton: newton.run,
}


def main(args: Sequence[str] | None = None) -> None:
    """Tell whether the machine is busy; run, print, write."""
    options = tyro.cli(
        layers.Layers
        | compilation.Compile
        | training.Train
        | generation.Generate
        | forecasting.Forecast
        | scaling.Scaling
        | newton.Newton,
        args=args,
        prog="scripts/bench",
        description="Compare seqjax with other libraries, in turns, on this machine.",
    )
    _warn_of_others()
    try:
        report = _RUN[type(options)](options)
    except BenchError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    show(report.tables)
    try:
        print(write(report, options.out / f"{report.benchmark}.json"))
        for path in _pictures(report, options.out):
            print(path)
    except OSError as error:
        sys.exit(f"error: {error.filename or options.out}: {error.strerror}; choose another --out.")


def _warn_of_others() -> None:
    load = machine.measure_load()
    if load is not None and load > machine.IDLE:
        Console(stderr=True).print(
            f"warning: other programs keep {load:.1f} of {machine.cpu_cores()} cores busy;"
            " times and ratios may suffer.",
            highlight=False,
            soft_wrap=True,
        )


def _pictures(report: Report, folder: Path) -> list[Path]:
    try:
        from seqjax.bench.plots import draw
    except ModuleNotFoundError as error:
        print(f"no pictures: {error.name} is not installed (pip install 'seqjax[bench]')")
        return []
    return draw(report, folder)
