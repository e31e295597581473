"""Training and calibration of a forecaster on a panel."""

import math
from pathlib import Path

import numpy as np

from seqjax.forecast import conformal
from seqjax.forecast.fitting import fit_networks
from seqjax.forecast.panel import Panel, hold_back
from seqjax.forecast.settings import Settings, resolved
from seqjax.forecast.trained import Covariates, Trained, placed, rolling, sizes_of
from seqjax.forecast.transforms import transformed

CALIBRATED = 200  # forecasts for each step ahead that a calibration should have
FEWEST = 19  # forecasts that an interval of 95 % needs
HELD_BACK = 0.15  # of the values: what may be left to calibration alone


def train_panel(
    settings: Settings,
    panel: Panel,
    *,
    seed: int = 0,
    progress: str | None = None,
    folder: Path | None = None,
    calibrate: bool = True,
) -> Trained:
    """Train and calibrate.

    Calibration takes forecasts of the last values by networks that have not seen them. Where
    those are a small part, the same networks forecast the future; otherwise networks trained
    again on everything do, with the widths of the first (which are then cautious, since theirs
    have seen less).

    Args:
        settings: a window or steps of 0 are found.
        panel: the series.
        seed: the first.
        progress: a label for progress bars.
        folder: for checkpoints, to resume from.
        calibrate: otherwise it trains on everything, and knows no intervals.
    """
    settings = resolved(settings, panel)
    seen = _seen(panel)
    covariates = _covariates(panel, seen)
    count, step = calibration_windows(settings, panel) if calibrate else (0, 1)
    held = settings.horizon + (count - 1) * step if count else 0
    # A second training keeps the sizes of the first, so it compiles nothing.
    trained = _fit(settings, covariates, hold_back(panel, held), seed, progress, folder, "held")
    if count:
        trained = calibrated(trained, panel, count, step)
    if held > HELD_BACK * np.median(panel.lengths):
        again = _fit(settings, covariates, panel, seed, progress, folder, "all")
        trained = trained._replace(params=again.params, history=again.history)
    known = panel.values[seen & np.isfinite(panel.values)]
    return trained._replace(nonnegative=bool(len(known)) and bool(known.min() >= 0))


def calibration_windows(settings: Settings, panel: Panel) -> tuple[int, int]:
    """How many windows of each series to calibrate on, and the steps between them.

    As many as it takes for `CALIBRATED` forecasts, from at most a third of a typical series; from
    half of it where an interval of 95 % needs that.
    """
    length = int(np.median(panel.lengths))
    spare = max(length // 3, min(length // 2, settings.horizon + FEWEST - 1)) - settings.horizon
    if spare < 0:
        return 0, 1
    count = min(max(2, -(-CALIBRATED // len(panel.ids))), 1 + spare)
    step = max(1, min(settings.horizon, spare // max(count - 1, 1)))
    # Not always the same days of the week, of which some may have no values.
    while any(math.gcd(step, season) > 1 for season in settings.seasons):
        step -= 1
    return count, step


def _fit(
    settings: Settings,
    covariates: Covariates,
    panel: Panel,
    seed: int,
    progress: str | None,
    folder: Path | None,
    part: str,
) -> Trained:
    arrays = placed(settings, covariates, transformed(panel, settings.transform), 0)
    found = fit_networks(
        settings,
        sizes_of(panel),
        arrays,
        seeds=tuple(range(seed, seed + settings.seeds)),
        progress=progress,
        checkpoints=None if folder is None else folder / part,
    )
    fits = [fit for _, fit in found]
    return Trained(
        settings,
        tuple(fit.params for fit in fits),
        covariates,
        False,
        np.zeros((0, settings.horizon)),
        None,
        tuple(list(fit.history) for fit in fits),
    )


def _seen(panel: Panel) -> np.ndarray:
    """[total], which values stand within a series and before its end."""
    edges = np.zeros(len(panel.values) + 1, np.int64)
    np.add.at(edges, panel.starts, 1)
    np.add.at(edges, panel.stops, -1)
    return np.cumsum(edges)[:-1] > 0


def _covariates(panel: Panel, seen: np.ndarray) -> Covariates:
    def scale(columns: np.ndarray) -> np.ndarray:
        if not columns.size:
            return np.stack([np.zeros(columns.shape[1]), np.ones(columns.shape[1])])
        with np.errstate(invalid="ignore"):
            mean, width = np.nanmean(columns, axis=0), np.nanstd(columns, axis=0)
        return np.stack([np.nan_to_num(mean), np.where(width > 1e-12, width, 1.0)])

    return Covariates(scale(panel.past[seen]), scale(panel.known[seen]), scale(panel.static))


def calibrated(trained: Trained, panel: Panel, count: int, step: int) -> Trained:
    """With the residuals of windows that it was not trained on; see `rolling`."""
    _, _, found, actual = rolling(trained, panel, count, step)
    residuals = (actual - found.point) / found.width[:, None]
    exceedances = None
    if found.quantiles is not None and found.quantiles.shape[-1] > 1:
        half = found.quantiles.shape[-1] // 2
        ends = ((found.quantiles[..., k], found.quantiles[..., -1 - k]) for k in range(half))
        each = [conformal.quantile_scores(*end, actual, found.width) for end in ends]
        exceedances = np.stack(each, axis=-1)
    if len(residuals) > conformal.LIMIT:  # a random part keeps the guarantee
        kept = np.random.default_rng(0).choice(len(residuals), conformal.LIMIT, replace=False)
        residuals = residuals[kept]
        exceedances = None if exceedances is None else exceedances[kept]
    return trained._replace(residuals=residuals, exceedances=exceedances)
