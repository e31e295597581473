"""What a forecasting experiment leaves in its folder: forecasts as CSV, and pictures."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqjax.forecast.errors import rmse
from seqjax.train.processes import is_primary


def write(
    folder: Path,
    name: str,
    actual: pd.Series,
    of_seeds: Mapping[str, np.ndarray],
    baselines: Mapping[str, np.ndarray],
    histories: Sequence[Sequence[Mapping[str, Any]]],
    unit: str,
) -> list[Path]:
    """Write ``forecast.csv``, ``forecast.png`` and ``loss.png``.

    Args:
        folder: the run's.
        name: of the model.
        actual: the values that were forecast.
        of_seeds: each seed's forecasts, by the name of its column.
        baselines: the others'.
        histories: of each seed's training.
        unit: of the values.

    Returns:
        The files; without matplotlib the table alone, which is told; of several processes
        only the one that writes has any.
    """
    if not is_primary():
        return []
    forecasts = np.stack(list(of_seeds.values()))
    table = pd.DataFrame({"actual": actual, "forecast": forecasts.mean(axis=0)})
    for key, one in (*of_seeds.items(), *baselines.items()):
        table[key] = one
    table.to_csv(folder / "forecast.csv", index_label="date")
    try:
        from seqjax.forecast import plots
    except ModuleNotFoundError as error:
        print(f"no pictures: {error}; pip install -e '.[plot]' and --resume", file=sys.stderr)
        return [folder / "forecast.csv"]
    best = min(baselines, key=lambda key: rmse(baselines[key], actual.to_numpy()))
    shown = {
        key: one
        for key, one in baselines.items()
        if key.startswith("seasonal naive") or key == best
    }
    title = f"One step ahead over the test part ({len(actual)} steps)"
    path = folder / "forecast.png"
    plots.plot_forecast(path, actual, forecasts, shown, name=name, title=title, unit=unit)
    plots.plot_losses(folder / "loss.png", histories)
    return [folder / part for part in ("forecast.csv", "forecast.png", "loss.png")]
