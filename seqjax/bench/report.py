"""A benchmark's figures: on the terminal, and as JSON with every round and the machine."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seqjax.bench.machine import describe
from seqjax.storage.files import write_json


@dataclasses.dataclass(frozen=True)
class Options:
    """What every benchmark's command line takes."""

    out: Path = Path("runs/bench")
    """Folder for the JSON and the plots."""
    quick: bool = False
    """A look in under three minutes: fewer cases, shorter turns."""


class Figure(NamedTuple):
    """What one contestant measured in one situation.

    Attributes:
        contestant: who.
        labels: the situation: case, shape, program, ...; JSON.
        rounds: the figure of each round.
        problem: why there is none, or None.
        unit: of the rounds.
    """

    contestant: str
    labels: dict[str, Any]
    rounds: Sequence[float]
    problem: str | None = None
    unit: str = "s"

    @property
    def median(self) -> float:
        """Over the rounds."""
        return statistics.median(self.rounds)


def ratio(figure: Figure, base: Figure) -> float:
    """`figure` / `base`, round by round: the median."""
    return statistics.median(a / b for a, b in zip(figure.rounds, base.rounds, strict=True))


class Report(NamedTuple):
    """What a benchmark returns.

    Attributes:
        benchmark: its name.
        settings: what it ran with; JSON.
        figures: all of them.
        tables: what to print.
    """

    benchmark: str
    settings: dict[str, Any]
    figures: Sequence[Figure]
    tables: Sequence[Table]


def write(report: Report, path: Path) -> Path:
    """The report as JSON; makes the folder where it is missing. Returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = {
        "benchmark": report.benchmark,
        "settings": report.settings,
        "machine": describe(),
        "figures": [figure._asdict() for figure in report.figures],
    }
    write_json(path, value)
    return path


def read(path: Path) -> list[Figure]:
    """The figures of a written report."""
    return [Figure(**figure) for figure in json.loads(path.read_text())["figures"]]


def table(title: str, first: Sequence[str], columns: Sequence[str]) -> Table:
    """A table whose `first` columns are words and whose other `columns` are figures."""
    found = Table(title=title)
    for name in first:
        found.add_column(escape(name))
    for name in columns:
        found.add_column(escape(name), justify="right")
    return found


def show(tables: Sequence[Table], console: Console | None = None) -> None:
    """Print the tables."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(width=160)
    for one in tables:
        console.print(one)
