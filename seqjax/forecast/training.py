"""Training and calibration of a forecaster on a panel."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seqjax.forecast import conformal
from seqjax.forecast.fitting import fit_networks
from seqjax.forecast.lines import interpolated
from seqjax.forecast.panel import Panel, held_out, hold_back, only, tail_of, typical_length, within
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
    lines: bool = False,
) -> Trained:
    """Train and calibrate.

    Calibration takes forecasts of the last values by networks that have not seen them. Where
    those are a small part, the same networks forecast the future; otherwise networks trained
    again on everything do, with the widths of the first (which are then cautious, since theirs
    have seen less). Series that are too short to give up so much are trained on as a whole, and
    have the widths of the others.

    Args:
        settings: a window or steps of 0 are found.
        panel: the series.
        seed: the first.
        progress: a label for progress bars.
        folder: for checkpoints, to resume from.
        calibrate: otherwise it trains on everything, and knows no intervals.
        lines: draw lines between known values, those before a window's end alone for calibration.
    """
    settings = resolved(settings, panel)
    seen = within(panel)
    covariates = _covariates(panel, seen)
    plan = calibration_windows(settings, panel)
    held = plan.held(settings.horizon) if calibrate else 0
    of_series = np.where(plan.series, held, 0)
    # A second training keeps the sizes of the first, so it compiles nothing.
    before = hold_back(panel, of_series)
    drawn = interpolated if lines else lambda one: one
    twice = held > HELD_BACK * typical_length(panel)
    label = f"{progress}, for the intervals" if progress and twice else progress
    trained = _fit(settings, covariates, drawn(before), seed, label, folder, "held")
    if held:
        of_plan = only(panel, plan.series)
        trained = calibrated(trained, of_plan, plan.windows, plan.step, lines=lines)
    if twice:
        label = progress and f"{progress}, for the forecasts"
        again = _fit(settings, covariates, drawn(panel), seed, label, folder, "all")
        trained = trained._replace(params=again.params, history=again.history)
    known = bool(np.any(np.isfinite(panel.values) & seen))
    return trained._replace(nonnegative=known and not np.any((panel.values < 0) & seen))


class Plan(NamedTuple):
    """The windows that intervals are calibrated on.

    Attributes:
        windows: of each series.
        step: between them.
        series: [series], which have them: those that are long enough to keep half.
    """

    windows: int
    step: int
    series: np.ndarray

    def held(self, horizon: int) -> int:
        """Steps of a series that training leaves out."""
        return held_out(horizon, self.windows, self.step) if self.windows else 0


def calibration_windows(settings: Settings, panel: Panel) -> Plan:
    """How many windows of which series to calibrate on, and the steps between them.

    As many as it takes for `CALIBRATED` forecasts, from at most a third of a typical series; from
    half of it where an interval of 95 % needs that.
    """
    length = typical_length(panel)
    spare = max(length // 3, min(length // 2, settings.horizon + FEWEST - 1)) - settings.horizon
    if spare < 0:
        return Plan(0, 1, np.zeros(len(panel.ids), bool))
    fewest = min(max(2, -(-CALIBRATED // len(panel.ids))), 1 + spare)
    plan = _plan(settings, panel, fewest, spare)
    while plan.windows <= spare and plan.windows * plan.series.sum() < CALIBRATED:
        plan = _plan(settings, panel, plan.windows + 1, spare)  # as short series have none
    return plan


def _plan(settings: Settings, panel: Panel, count: int, spare: int) -> Plan:
    """So many windows within so many steps before the last."""
    step = max(1, min(settings.horizon, spare // max(count - 1, 1)))
    # Not always the same days of the week, of which some may have no values.
    while any(math.gcd(step, season) > 1 for season in settings.seasons):
        step -= 1
    plan = Plan(count, step, panel.lengths > 0)
    return plan._replace(series=panel.lengths >= 2 * plan.held(settings.horizon))


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


def _covariates(panel: Panel, seen: np.ndarray) -> Covariates:
    def scale(columns: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
        if not columns.size:
            return np.stack([np.zeros(columns.shape[1]), np.ones(columns.shape[1])])
        columns = columns[rows]
        with np.errstate(invalid="ignore"):
            mean, width = np.nanmean(columns, axis=0), np.nanstd(columns, axis=0)
        return np.stack([np.nan_to_num(mean), np.where(width > 1e-12, width, 1.0)])

    everything = slice(None)
    return Covariates(
        scale(panel.past, seen), scale(panel.known, seen), scale(panel.static, everything)
    )


def calibrated(
    trained: Trained, panel: Panel, count: int, step: int, *, lines: bool = False
) -> Trained:
    """With the residuals of windows that it was not trained on; see `rolling`.

    Of more windows than `conformal.LIMIT` those of random series, which keeps the guarantee.
    """
    enough = -(-conformal.LIMIT // count)
    if len(panel.ids) > enough:
        some = np.random.default_rng(0).choice(len(panel.ids), enough, replace=False)
        panel = tail_of(only(panel, np.sort(some)), int(panel.lengths.max()))
    _, _, found, actual = rolling(trained, panel, count, step, lines=lines)
    residuals = (actual - found.point) / found.width[:, None]
    exceedances = None
    if found.quantiles is not None and found.quantiles.shape[-1] > 1:
        half = found.quantiles.shape[-1] // 2
        ends = ((found.quantiles[..., k], found.quantiles[..., -1 - k]) for k in range(half))
        each = [conformal.quantile_scores(*end, actual, found.width) for end in ends]
        exceedances = np.stack(each, axis=-1)
    return trained._replace(residuals=residuals, exceedances=exceedances)
