"""Forecasts of trained forecasters with their intervals, and sample paths."""

from collections.abc import Sequence

import numpy as np

from seqjax.data import DataError
from seqjax.forecast import conformal
from seqjax.forecast.panel import Panel
from seqjax.forecast.settings import Settings
from seqjax.forecast.trained import Forecast, Trained, forecast_panel

PATHS = 500  # sample paths of a series behind the intervals of distant steps, at most
PATHS_OF_ALL = 20_000  # of all series, with at least 100 of each


def intervals(
    trained: Trained, found: Forecast, level: int | float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends, [series, steps], of the steps that calibration knows.

    The point and a half-width for each step ahead that is a quantile of calibration's residuals
    (split conformal prediction); of a head with quantiles its own interval, widened or narrowed
    alike (conformalised quantile regression).

    Args:
        trained: the forecaster.
        found: its forecasts.
        level: in percent.

    Raises:
        DataError: where calibration had too few windows for that level.
        ValueError: for a level that a head's quantiles were not trained for.
    """
    settings = trained.settings
    steps = min(found.point.shape[1], settings.horizon)
    low = high = found.point[:, :steps]
    scores = np.abs(trained.residuals)
    if found.quantiles is not None and trained.exceedances is not None:
        place = _place_of(settings, level)
        low, high = (found.quantiles[:, :steps, one] for one in (place, -1 - place))
        scores = trained.exceedances[..., place]
    half = conformal.half_widths(conformal.calibrate(scores), level)
    half = half[_ahead(trained, found, steps)]
    return conformal.intervals(low, high, half, found.width)


def check_level(settings: Settings, level: Sequence[int | float]) -> None:
    """ValueError for levels that a forecaster will not know."""
    for one in level:
        if not 0 < one < 100:
            raise ValueError(f"level must be percentages between 0 and 100, not {one}.")
        if settings.loss != "mae":
            _place_of(settings, one)


def _place_of(settings: Settings, level: int | float) -> int:
    known = sorted(settings.level, reverse=True)
    for place, one in enumerate(known):
        if abs(one - level) < 1e-6:
            return place
    learned = ", ".join(f"{one:g}" for one in known)
    raise ValueError(
        f"level {level:g}: the quantiles of this forecaster were trained for {learned}; train it"
        f" with level=({level:g},) for others."
    )


def sample_paths(
    trained: Trained,
    panel: Panel,
    horizon: int,
    count: int,
    *,
    seed: int = 0,
    future: np.ndarray | None = None,
) -> np.ndarray:
    """Paths of the future, [count, series, horizon], for sums, maxima and distant steps.

    Each block of steps is the forecast and the residuals of a window of the calibration, all
    steps of the same window, so that they keep their dependence; the next block is forecast
    from there. With "recursive" a block is one step, and each step's error is drawn alone.

    Args:
        trained: the forecaster.
        panel: the past.
        horizon: steps, more than the trained ones too.
        count: paths of each series.
        seed: of the draws.
        future: [series, horizon, K], known covariates.

    Raises:
        DataError: without calibration.
    """
    settings = trained.settings
    rng = np.random.default_rng(seed)
    residuals = trained.residuals.copy()
    if not np.isfinite(residuals).any(axis=0).all() or not len(residuals):
        raise DataError(
            "sample paths need an error of calibration at every step ahead, but there is not; give"
            " longer series or a shorter horizon."
        )
    for column in residuals.T:  # of a missing value another window's error at that step
        known = np.isfinite(column)
        column[~known] = rng.choice(column[known], int((~known).sum()))
    if settings.transform == "difference":  # what is added is added to the changes
        residuals = np.diff(residuals, axis=1, prepend=0.0)
    size = settings.answers
    blocks = -(-horizon // size)
    rows = rng.integers(len(residuals), size=(len(panel.ids) * count, blocks))
    added = residuals[rows, :size].reshape(len(rows), blocks * size)
    found = forecast_panel(trained, panel, horizon, future, added, copies=count)
    found = in_unit(trained, found.point, np.repeat(lowest(trained, panel), count))
    return np.moveaxis(found.reshape(len(panel.ids), count, horizon), 1, 0)


def predicted(
    trained: Trained,
    panel: Panel,
    horizon: int,
    level: Sequence[int | float] = (),
    *,
    seed: int = 0,
    future: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Forecasts of the steps behind every series, in its unit, by the name of their column.

    Args:
        trained: the forecaster.
        panel: the past.
        horizon: steps; the intervals of those that calibration does not know are quantiles of
            sample paths.
        level: of the intervals, in percent.
        seed: of the sample paths.
        future: [series, horizon, K], known covariates.

    Returns:
        [series, horizon] each: ``GRU``, and with levels ``GRU-median``, ``GRU-lo-80``,
        ``GRU-hi-80``. The median is the forecast, unless that is a mean, as of counts.

    Raises:
        DataError: see `intervals`.
    """
    found = forecast_panel(trained, panel, horizon, future)
    columns = named(trained, found, lowest(trained, panel), level)
    if not level or horizon <= trained.settings.horizon:
        return columns
    count = int(np.clip(PATHS_OF_ALL // len(panel.ids), 100, PATHS))
    paths = sample_paths(trained, panel, horizon, count, seed=seed, future=future)
    name, known = trained.settings.name, trained.settings.horizon
    median = (np.median(paths, axis=0) if _is_mean(trained) else columns[name])[:, known:]
    for one in sorted(set(level)):
        ends = np.quantile(paths, [(100 - one) / 200, (100 + one) / 200], axis=0)
        for side, end in zip(("lo", "hi"), ends, strict=True):
            key = f"{name}-{side}-{one:g}"
            columns[key] = np.concatenate([columns[key], end[:, known:]], axis=1)
    low, high = (columns[f"{name}-{side}-{min(level):g}"][:, known:] for side in ("lo", "hi"))
    key = f"{name}-median"
    columns[key] = np.concatenate([columns[key], np.clip(median, low, high)], axis=1)
    return columns


def named(
    trained: Trained, found: Forecast, least: np.ndarray, level: Sequence[int | float] = ()
) -> dict[str, np.ndarray]:
    """Forecasts in the unit of the series by the name of their column, and their intervals.

    The intervals end where calibration ends; see `intervals`. `least` is the lowest value of
    each row; see `lowest`.
    """
    name = trained.settings.name
    columns = {name: found.point}
    levels = sorted(set(level))
    if levels:
        ends = (intervals(trained, found, one) for one in levels)
        los, his = conformal.nested(*zip(*ends, strict=True))
        median = found.point[:, : trained.settings.horizon]
        if _is_mean(trained):
            median = _median_of(trained, found)
        columns[f"{name}-median"] = np.clip(median, los[0], his[0])
        for one, low, high in zip(levels, los, his, strict=True):
            columns |= {f"{name}-lo-{one:g}": low, f"{name}-hi-{one:g}": high}
    return {key: in_unit(trained, one, least) for key, one in columns.items()}


def _median_of(trained: Trained, found: Forecast) -> np.ndarray:
    """Of a mean, [series, steps]: the head's; of recursive steps by the errors of calibration."""
    steps = min(found.point.shape[1], trained.settings.horizon)
    if found.quantiles is not None and trained.exceedances is not None:
        return found.quantiles[:, :steps, found.quantiles.shape[-1] // 2]
    of_errors = np.nanmedian(trained.residuals, axis=0)[_ahead(trained, found, steps)]
    return found.point[:, :steps] + of_errors * found.width[:, None]


def _ahead(trained: Trained, found: Forecast, steps: int) -> np.ndarray:
    """[series, steps], the place of each in calibration.

    Behind values that are missing a forecast is one of more steps ahead.
    """
    return np.minimum(found.lead[:, None] + np.arange(steps), trained.settings.horizon - 1)


def _is_mean(trained: Trained) -> bool:
    """Whether forecasts are means; of other heads they are medians."""
    return trained.settings.loss == "negative_binomial"


def in_unit(trained: Trained, values: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Values [rows, steps] in the unit of the series, no logarithms; see `lowest`."""
    if trained.settings.transform == "log":
        return np.exp(values)
    return np.maximum(values, low[:, None])


def lowest(trained: Trained, panel: Panel) -> np.ndarray:
    """[series], below what no forecast lies: 0 of counts and the like, -inf of others.

    Counts and the like are series without a value below 0, where training saw none either.
    """
    if not trained.nonnegative:
        return np.full(len(panel.ids), -np.inf)
    negative = np.flatnonzero(panel.values < 0)
    counts = np.searchsorted(negative, panel.stops) - np.searchsorted(negative, panel.starts)
    return np.where(counts > 0, -np.inf, 0.0)
