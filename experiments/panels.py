"""The measures of `seqjax.forecast`: milk from one origin, coverage, and bundled series.

    python -m experiments.panels                   # all three
    python -m experiments.panels --only milk       # one of them: milk, coverage, series
    python -m experiments.panels --quick           # a look, within a minute
    python -m experiments.panels --only milk coverage series --resume    # what is missing

milk: the last 32 months of the milk series from one origin. Which network, transform and horizon
is chosen by rolling origins within the training part; the test part is looked at once.
coverage: intervals of 80 and 95 % over rolling origins on generated panels of 1,000 series, whose
true quantiles are known: Gaussian noise, heavy tails (Student's t, 3 degrees of freedom), counts.
series: CO2, El Nino, sunspots and Nile of statsmodels, beside its SARIMAX and exponential
smoothing. Everything stands beside its baselines: where one wins, the table says so. One CPU
core: 9 minutes. Figures to expect: docs/forecast_measures.md.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from experiments import panels_coverage, panels_milk, panels_series
from experiments.panels_rows import table_of
from seqjax import launch
from seqjax.report import Row
from seqjax.storage.files import write_json
from seqjax.train import TrainingStopped, stop_requested

NAME = "experiments.panels"
Part = Literal["milk", "coverage", "series"]
PARTS: tuple[Part, ...] = ("milk", "coverage", "series")
CHOICE_SEEDS = 2  # of each of milk's candidates


@dataclasses.dataclass(frozen=True)
class Config(launch.Config):
    """Options of the measures."""

    only: tuple[Part, ...] = PARTS
    """What to measure."""
    seeds: int = 5
    """Networks of milk's test part, each by itself: --seed, --seed + 1, ..."""
    series: int = 1000
    """In each generated panel."""
    quick: bool = False
    """Few series, short trainings, two of milk's candidates, whose test part is left alone."""

    may_differ: ClassVar[tuple[str, ...]] = ("only",)


def milk(config: Config) -> list[Row]:
    """Choose on the training part, then test once."""
    seeds = range(config.seed, config.seed + config.seeds)
    candidates, choice = panels_milk.CANDIDATES, seeds[:CHOICE_SEEDS]
    short: dict[str, Any] = {}
    if config.quick:
        candidates, choice, short = candidates[-2:], seeds[:1], {"steps": 20}
    chosen, rows = panels_milk.choose(candidates, choice, **short)
    if config.quick:  # the test part is no part of a look
        return rows
    baselines = [row.model for row in rows if (row.kind, row.metric) == ("baseline", "rmse")]
    others = [name.partition(": ")[2] for name in baselines]
    return rows + panels_milk.test(chosen, seeds, others)


def coverage(config: Config, folder: Path) -> list[Row]:
    """Intervals of generated panels."""
    if config.quick:
        series = min(config.series, 50)
        return panels_coverage.run(folder, series, length=140, windows=2, seed=config.seed, **_LOOK)
    return panels_coverage.run(folder, config.series, seed=config.seed)


def bundled(config: Config) -> list[Row]:
    """The series of statsmodels."""
    if config.quick:  # the short ones: a classical fit of the others takes ten seconds
        return panels_series.run(("sunspots", "nile"), seed=config.seed, **_LOOK)
    return panels_series.run(seed=config.seed)


_LOOK: dict[str, Any] = {"steps": 20, "seeds": 1}


def run(config: Config, folder: Path) -> launch.Result:
    """Measure what is not done yet, write the table and the pictures."""
    rows: list[Row] = []
    for part in config.only:
        path = folder / "parts" / f"{part}.json"
        if not path.is_file():
            if stop_requested():
                raise TrainingStopped(f"{folder}: stopped before {part}.")
            found = {
                "milk": lambda: milk(config),
                "coverage": lambda: coverage(config, folder),
                "series": lambda: bundled(config),
            }[part]()
            path.parent.mkdir(exist_ok=True)
            write_json(path, [row.as_json() for row in found])
        rows += _read(path)
    return launch.Result(rows, "", sorted(folder.glob("*.png")), table_of(rows))


def _read(path: Path) -> Sequence[Row]:
    names = {field.name for field in dataclasses.fields(Row)}
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    for row in rows:  # JSON has no tuples; mean and sd follow from the seeds
        row["seeds"] = tuple(row["seeds"])
    return [Row(**{name: row[name] for name in names}) for row in rows]


if __name__ == "__main__":
    launch.main(NAME, Config, run, (__doc__ or "").partition("\n\nmilk: the last")[0])
