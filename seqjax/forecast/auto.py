"""The choice of a model by validation, within a time budget."""

import dataclasses
import time
from typing import Any

import numpy as np

from seqjax.data import DataError
from seqjax.forecast.panel import Panel, hold_back
from seqjax.forecast.rolling import windows_of
from seqjax.forecast.settings import NAMES, Settings
from seqjax.forecast.trained import rolling
from seqjax.forecast.training import train_panel

CANDIDATES = ("gru", "linear", "lstm", "wavenet", "min_gru", "lru", "rnn")  # in this order
SECONDS = 120.0


def choose(
    settings: Settings,
    panel: Panel,
    *,
    seconds: float = SECONDS,
    seed: int = 0,
    progress: str | None = None,
    lines: bool = False,
) -> tuple[Settings, list[dict[str, Any]]]:
    """Settings with the model whose forecasts of the last windows, held back, are the best.

    As in a cross-validation each is trained once, before the first of up to three windows.

    Args:
        settings: of the forecaster.
        panel: the series, without any test part.
        seconds: no further model is begun that would not be done within them; the first always is.
        seed: of the one network that each model trains.
        progress: a label for progress bars.
        lines: see `seqjax.forecast.training.train_panel`.

    Returns:
        The settings, and of each model that was tried its name, mean absolute error by the scale
        of the window, the windows of each series, and seconds.

    Raises:
        DataError: where no series is long enough for a window.
    """
    count = windows_of(panel, settings.horizon)
    if (longest := int(panel.lengths.max())) < settings.horizon + 2:
        raise DataError(
            f'"auto" needs {settings.horizon + 2} values of a series to choose by a window of'
            f" {settings.horizon} steps, but the longest has {longest}; name a model instead."
        )
    before = hold_back(panel, count * settings.horizon)
    tried: list[dict[str, Any]] = []
    begun = time.monotonic()
    for model in CANDIDATES:
        spent = time.monotonic() - begun
        if tried and spent + max(one["seconds"] for one in tried) > seconds:
            break
        if model == "linear" and settings.strategy == "sequence":
            continue
        label = progress and f"{progress}: trying {NAMES[model]}"
        candidate = dataclasses.replace(settings, model=model, seeds=1)
        how: dict[str, Any] = {"seed": seed, "progress": label, "calibrate": False, "lines": lines}
        trained = train_panel(candidate, before, **how)
        _, _, found, actual = rolling(trained, panel, count, settings.horizon, lines=lines)
        errors = np.abs(actual - found.point) / found.width[:, None]
        tried.append(
            {
                "model": model,
                "error": float(np.nanmean(errors)) if np.isfinite(errors).any() else np.inf,
                "windows": count,
                "seconds": round(time.monotonic() - begun - spent, 1),
            }
        )
    best = min(tried, key=lambda one: one["error"])
    return dataclasses.replace(settings, model=best["model"]), tried
