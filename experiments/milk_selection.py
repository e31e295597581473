"""Choose the settings of the milk experiment's seasonal recipe, without the test part.

    python -m experiments.milk_selection

Rolling origins inside the months before the test part: train on the months before
88, 100, 104 and 112, forecast the 24 to 32 months after each. A candidate's score is
the RMSE over the 48 months so forecast (a month's squared errors averaged over seeds
and origins).

Differences between candidates are small beside the noise of 48 months, and the best
of many is the luckiest. So the choice follows the one-standard-error rule (Hastie,
Tibshirani and Friedman, *The Elements of Statistical Learning*, section 7.10): of the
candidates whose mean squared error lies within one standard error of the best one's,
the month-by-month differences being what it is the error of, take the one with the
fewest parameters, then the fewest epochs, then the fewest years.

Two CPU cores, 3 seeds: about 4 minutes.
"""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from rich.progress import track

from experiments import milk
from seqjax import data, forecast, launch
from seqjax.report import Row

BEFORE_TEST = 136  # months; what follows is the test part of experiments.milk
FOLDS = ((88, 112), (100, 124), (104, 136), (112, 136))
CANDIDATES = tuple(
    milk.RECIPES["seasonal"]._replace(epochs=epochs, cycles=cycles, features=features)
    for cycles in (4, 5, 6)
    for epochs, features in ((30, 8), (120, 8), (240, 8), (120, 32))
)


@dataclasses.dataclass(frozen=True)
class Config(launch.Config):
    """Options of the selection."""

    seeds: int = 3
    """How many seeds to train: --seed, --seed + 1, ..."""


def squared_errors(forecasts: list[np.ndarray], values: np.ndarray) -> np.ndarray:
    """[seeds, months]: each fold's [seeds, months] forecasts, averaged over the folds."""
    seeds = len(forecasts[0])
    sums, counts = np.zeros((seeds, BEFORE_TEST)), np.zeros(BEFORE_TEST)
    for (start, end), fold in zip(FOLDS, forecasts, strict=True):
        sums[:, start:end] += (fold - values[start:end]) ** 2
        counts[start:end] += 1
    return sums[:, counts > 0] / counts[counts > 0]


def choose(errors: Mapping[milk.Recipe, np.ndarray], sizes: Mapping[milk.Recipe, int]):
    """The one-standard-error rule on squared errors [seeds, months]."""
    monthly = {settings: one.mean(axis=0) for settings, one in errors.items()}
    best = monthly[min(monthly, key=lambda settings: monthly[settings].mean())]
    as_good = []
    for settings, one in monthly.items():
        difference = one - best
        if difference.mean() <= difference.std(ddof=1) / np.sqrt(len(difference)):
            as_good.append(settings)
    return min(as_good, key=lambda settings: (sizes[settings], settings.epochs, settings.cycles))


def run(config: Config, folder: Path) -> launch.Result:
    """Score every candidate on the folds."""
    del folder  # only the table is kept
    series = data.read_series(data.MILK_CSV, "Date", "Production").iloc[:BEFORE_TEST]
    values = series.to_numpy(np.float64)
    errors, sizes = {}, {}
    for settings in track(CANDIDATES, "candidates", disable=not sys.stderr.isatty()):
        model = milk.make_model("seasonal", settings, period=12)
        folds = []
        for start, end in FOLDS:
            part = series.iloc[:end]
            season = forecast.season_of(part, per_day=True)
            task = forecast.changes_task(part, season, settings.cycles, end - start)
            seeds, test = range(config.seed, config.seed + config.seeds), task.split.test
            runs = dict(milk.fit_seeds(seeds, settings, task, model))
            predict = jax.jit(model.apply)
            outputs = [predict(done.params, task.inputs[test])[:, 0] for done in runs.values()]
            folds.append(np.stack([task.forecasts(one, test) for one in outputs]))
            params = jax.tree.leaves(runs[config.seed].params)
            sizes[settings] = sum(leaf.size for leaf in params)
        errors[settings] = squared_errors(folds, values)
    chosen = choose(errors, sizes)

    rows = []
    for settings, one in errors.items():
        name = f"{settings.cycles} years, {settings.features} wide, {settings.epochs} epochs"
        name += " (chosen)" if settings == chosen else ""
        seeds = tuple(np.sqrt(one.mean(axis=1)).tolist())
        rows.append(Row(name, "model", "validation", "rmse", seeds, 1, sizes[settings]))
    exposure = forecast.season_of(series, per_day=True).exposure
    for cycles in sorted({settings.cycles for settings in CANDIDATES}):
        folds = [
            forecast.mean_change_of_rates(values[:end], start, 12, cycles, exposure[:end])[None]
            for start, end in FOLDS
        ]
        score = float(np.sqrt(squared_errors(folds, values).mean()))
        name = f"mean change per day of the last {cycles} years"
        rows.append(Row(name, "baseline", "validation", "rmse", (score,), 1))
    return launch.Result(rows, "pounds", [])


if __name__ == "__main__":
    description = (__doc__ or "").partition("\n\n")[0]
    launch.main("experiments.milk_selection", Config, run, description)
