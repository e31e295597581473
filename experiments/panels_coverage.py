"""Coverage of intervals on generated panels, whose true quantiles are known."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.panels_rows import LEVELS, rows_of
from seqjax.forecast import Forecaster, evaluate, generated
from seqjax.forecast.frames import panel_from_frame
from seqjax.report import Row

PANELS = {"gaussian": "gaussian", "heavy-tailed": "student_t", "counts": "counts"}
LENGTH, HORIZON, WINDOWS = 280, 14, 6  # days; the windows do not overlap
TRAINING: dict[str, Any] = {"seeds": 1}  # calibration does not ask how good a network is
ORACLE = "true quantiles"  # the generator's own: no forecast is better


def scores(
    recipe: str, series: int, *, length: int = LENGTH, windows: int = WINDOWS, **settings: Any
) -> evaluate.Scores:
    """A forecaster over rolling origins beside the baselines and the generator.

    It is trained once, and calibrated on windows before the first origin.

    Args:
        recipe: of `seqjax.forecast.generated`.
        series: how many.
        length: steps of each.
        windows: of each series; each holds `HORIZON` steps.
        **settings: of the `Forecaster`.
    """
    frame = generated.panel(recipe, series, length)
    model = Forecaster("gru", horizon=HORIZON, **(TRAINING | settings))
    found = model.cross_validation(frame, n_windows=windows, level=LEVELS)
    found = with_oracle(found, recipe, series, length)
    return evaluate.scores(found, panel_from_frame(frame)[0], generated.RECIPES[recipe].seasons)


def with_oracle(found: pd.DataFrame, recipe: str, series: int, length: int) -> pd.DataFrame:
    """A cross-validation with the true median and the true quantiles of every step."""
    upper = [(100 + level) / 200 for level in LEVELS]
    true = generated.quantiles(recipe, series, length, [0.5, *(1 - q for q in upper), *upper])
    ids, names = pd.factorize(found["unique_id"], sort=True)
    assert len(names) == series
    times = pd.date_range(end=found["ds"].max(), periods=length, freq="D")
    at = true[ids, times.get_indexer(pd.Index(found["ds"]))]
    count = len(LEVELS)
    columns = {ORACLE: at[:, 0]}
    for place, level in enumerate(LEVELS, 1):
        columns |= {f"{ORACLE}-lo-{level}": at[:, place]}
        columns |= {f"{ORACLE}-hi-{level}": at[:, place + count]}
    return found.assign(**columns)


def run(folder: Path, series: int, **how: Any) -> list[Row]:
    """The rows of all panels; a picture of each panel's coverage by steps ahead."""
    rows = []
    for name, recipe in PANELS.items():
        found = scores(recipe, series, progress=f"coverage: {name}", **how)
        rows += rows_of(name, found, (ORACLE,))
        _draw(folder / f"coverage-{name}.png", found)
    return rows


def _draw(path: Path, found: evaluate.Scores) -> None:
    try:
        from seqjax.forecast import panel_plots
    except ModuleNotFoundError as error:
        print(f"no picture: {error}; pip install -e '.[plot]'", file=sys.stderr)
        return
    table = found.by_horizon
    ours = table[(table["model"] == "GRU") & table["metric"].str.startswith("coverage-")]
    wide = 100 * ours.pivot(index="horizon", columns="metric", values="value")
    wide.columns = np.array([float(name.partition("-")[2]) for name in wide.columns])
    panel_plots.write_figure(path, panel_plots.calibration_figure(wide))
