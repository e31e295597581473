"""The milk series, 32 months from one origin: the choice of a forecaster, and its test."""

import functools
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.progress import track

from experiments.panels_rows import with_skill
from seqjax import data
from seqjax.forecast import naive
from seqjax.forecast.frames import panel_from_frame
from seqjax.forecast.intervals import in_unit
from seqjax.forecast.metrics import rmse
from seqjax.forecast.panel import Panel, hold_back
from seqjax.forecast.settings import Settings, Transform
from seqjax.forecast.trained import forecast_panel
from seqjax.forecast.training import train_panel
from seqjax.report import Kind, Row

SEASON, STEPS = 12, 32
BEFORE_TEST = 136  # months; the others are the test part, as in experiments.milk
ORIGINS = (72, 80, 88, 96, 104)  # of the choice: the forecasts end with the training part

REFERENCE, STRONGEST = f"seasonal naive, {SEASON}", 3  # baselines shown, by validation

# RMSE in pounds over the same 32 months, all from the one origin, of models of statsmodels that
# were fitted on the months before it.
PUBLISHED = {
    "SARIMA (1,0,0)(0,1,1)12": 11.82,
    "SARIMA (0,1,1)(0,1,1)12": 17.68,
    "Holt-Winters, additive": 24.27,
}


class Candidate(NamedTuple):
    """What is chosen on the training part.

    Attributes:
        model: see `seqjax.forecast.Forecaster`.
        horizon: steps that it is trained for; those behind them are forecast block by block.
        transform: of the values.
        per_day: forecasts production per day, since months differ in their days.
    """

    model: str = "gru"
    horizon: int = STEPS
    transform: Transform | None = None
    per_day: bool = True

    @property
    def title(self) -> str:
        """In words."""
        name = Settings(self.model, self.horizon).name
        blocks = self.horizon < STEPS and f"{self.horizon} at once"
        words = (name, self.transform, self.per_day and "per day", blocks)
        return ", ".join(word for word in words if word)


CANDIDATES = (
    Candidate(),
    Candidate(per_day=False),
    Candidate(transform="log"),
    Candidate(transform="log", horizon=12),
    Candidate("lstm", transform="log"),
    Candidate("linear", transform="log"),
)


@functools.cache
def milk() -> tuple[Panel, np.ndarray]:
    """The series, [1, 168], and the days of its months as a part of a mean month's, [168]."""
    series = data.read_series(data.MILK_CSV, "Date", "Production")
    frame = series.rename("y").rename_axis("ds").reset_index()
    days = np.asarray(pd.DatetimeIndex(series.index).days_in_month, np.float64)
    return panel_from_frame(frame)[0], days / (365.25 / 12)


def forecast(candidate: Candidate, origin: int, seed: int, **settings: Any) -> np.ndarray:
    """The months behind an origin by one network that was trained before it, [STEPS].

    Args:
        candidate: which forecaster.
        origin: months that are known.
        seed: of the network.
        **settings: further ones of `seqjax.forecast.Settings`.
    """
    panel, days = milk()
    exposure = days if candidate.per_day else np.ones_like(days)
    before = hold_back(panel._replace(values=panel.values / exposure), len(panel.values) - origin)
    own: dict[str, Any] = {"transform": candidate.transform, "seeds": 1}
    how = Settings(candidate.model, candidate.horizon, (SEASON,), **(own | settings))
    trained = train_panel(how, before, seed=seed, calibrate=False)
    found = forecast_panel(trained, before, STEPS)
    return in_unit(trained, found.point, np.zeros(1))[0] * exposure[origin : origin + STEPS]


def error(point: np.ndarray, origin: int) -> float:
    """RMSE of the months behind an origin, in pounds."""
    actual = milk()[0].values[origin : origin + STEPS]
    return float(rmse(actual, point))


def baselines(origin: int) -> dict[str, np.ndarray]:
    """Those of `seqjax.forecast.naive`, per month and per day: by name, [STEPS]."""
    panel, days = milk()
    found = {}
    for unit, exposure in (("", np.ones_like(days)), (", per day", days)):
        values = panel.values / exposure
        before = hold_back(panel._replace(values=values), len(values) - origin)
        for name, one in naive.forecasts(before, STEPS, SEASON).items():
            found[name + unit] = one[0] * exposure[origin : origin + STEPS]
    return found


def choose(
    candidates: Sequence[Candidate], seeds: Sequence[int], **settings: Any
) -> tuple[Candidate, list[Row]]:
    """The candidate of the least mean RMSE over `ORIGINS`, and the rows of all, validation.

    Args:
        candidates: to choose from.
        seeds: of the networks.
        **settings: see `forecast`.
    """
    rows = []
    for one in track(candidates, "milk: candidates", disable=not sys.stderr.isatty()):
        errors = [
            np.mean([error(forecast(one, at, seed, **settings), at) for at in ORIGINS])
            for seed in seeds
        ]
        rows.append(_row(one.title, "model", "validation", errors))
    best = min(range(len(rows)), key=lambda place: rows[place].mean)
    of_origin = {at: baselines(at) for at in ORIGINS}
    errors = {
        name: float(np.mean([error(found[name], at) for at, found in of_origin.items()]))
        for name in of_origin[ORIGINS[0]]
    }
    strongest = sorted(errors, key=lambda name: errors[name])[:STRONGEST]
    for name in dict.fromkeys((*strongest, REFERENCE)):
        rows.append(_row(name, "baseline", "validation", [errors[name]]))
    return candidates[best], with_skill(rows, f"milk: {REFERENCE}")


def test(
    candidate: Candidate, seeds: Sequence[int], others: Sequence[str], **settings: Any
) -> list[Row]:
    """The test part, once: a candidate's rows, its seeds' median's, and those of others.

    Args:
        candidate: that was chosen.
        seeds: of the networks.
        others: the names of the baselines.
        **settings: see `forecast`.
    """
    points = [forecast(candidate, BEFORE_TEST, seed, **settings) for seed in seeds]
    errors = [error(point, BEFORE_TEST) for point in points]
    rows = [_row(candidate.title, "model", "test", errors)]
    if len(points) > 1:
        median = error(np.median(points, axis=0), BEFORE_TEST)
        rows.append(_row(f"{candidate.title}: median of {len(points)}", "model", "test", [median]))
    found = baselines(BEFORE_TEST)
    for name in others:
        rows.append(_row(name, "baseline", "test", [error(found[name], BEFORE_TEST)]))
    rows += [_row(key, "published", "test", [one]) for key, one in PUBLISHED.items()]
    return with_skill(rows, f"milk: {REFERENCE}")


def _row(model: str, kind: Kind, split: str, errors: Sequence[Any]) -> Row:
    return Row(f"milk: {model}", kind, split, "rmse", tuple(float(one) for one in errors))
