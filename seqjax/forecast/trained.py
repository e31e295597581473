"""Trained forecasters as values, and their forecasts."""

from typing import Any, NamedTuple

import numpy as np

from seqjax.forecast import calendar
from seqjax.forecast.arrays import Arrays, place
from seqjax.forecast.fitting import forecasts
from seqjax.forecast.heads import head_of
from seqjax.forecast.lines import drawn_before
from seqjax.forecast.network import Sizes
from seqjax.forecast.panel import Panel, last_known, unknown_at_end
from seqjax.forecast.settings import Settings
from seqjax.forecast.transforms import restored, transformed


class Covariates(NamedTuple):
    """Mean and standard deviation of each covariate, of the training data."""

    past: np.ndarray  # [2, P]
    known: np.ndarray  # [2, K]
    static: np.ndarray  # [2, S]


class Trained(NamedTuple):
    """A trained forecaster.

    Attributes:
        settings: resolved.
        params: of each seed.
        covariates: their scales.
        nonnegative: no value it was trained on is below 0.
        residuals: [windows, horizon], (actual - point) / width of forecasts of windows that it
            was not trained on; NaN where the actual value is missing.
        exceedances: [windows, horizon, levels / 2], of a head with quantiles: how far the actual
            value lies outside of each of its intervals, by width; negative inside.
        history: of the training, lines of each seed.
    """

    settings: Settings
    params: tuple[Any, ...]
    covariates: Covariates
    nonnegative: bool
    residuals: np.ndarray
    exceedances: np.ndarray | None
    history: tuple[list[dict[str, Any]], ...]


class Forecast(NamedTuple):
    """Forecasts in the unit of the series, or of its logarithm (`Settings.transform`).

    Attributes:
        point: [series, horizon], float64.
        width: [series], the scale of each window.
        lead: [series], values that are missing before the first step: so many more steps ahead
            is every forecast.
        quantiles: [series, horizon, Q], of the head's first block, or None.
    """

    point: np.ndarray
    width: np.ndarray
    lead: np.ndarray
    quantiles: np.ndarray | None


def sizes_of(panel: Panel) -> Sizes:
    """What a network's shapes follow from."""
    features = calendar.features(panel.grid[:2])[1].shape[1]
    return Sizes(features + panel.known.shape[1], panel.past.shape[1], panel.static.shape[1])


def placed(
    settings: Settings,
    covariates: Covariates,
    panel: Panel,
    ahead: int,
    room: tuple[int, int] | None = None,
    future: np.ndarray | None = None,
) -> Arrays:
    """A panel on the device, its covariates on their scales; see `seqjax.forecast.arrays.place`.

    Args:
        settings: of the forecaster.
        covariates: the scales.
        panel: the series, transformed.
        ahead: steps behind the grid whose times are asked for.
        room: see there.
        future: see there.
    """

    def scaled(columns: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return ((columns - scale[0]) / scale[1]).astype(np.float32)

    panel = panel._replace(
        past=scaled(panel.past, covariates.past),
        known=scaled(panel.known, covariates.known),
        static=scaled(panel.static, covariates.static),
    )
    grid = calendar.extend(panel.grid, ahead) if ahead else panel.grid
    return place(
        panel,
        calendar.features(grid)[1],
        centred=settings.loss != "negative_binomial",
        room=room,
        future=None if future is None else scaled(future, covariates.known),
    )


def forecast_places(
    trained: Trained,
    panel: Panel,
    series: np.ndarray,
    last: np.ndarray,
    horizon: int,
    arrays: Arrays,
    *,
    added: np.ndarray | None = None,
) -> Forecast:
    """Forecasts behind given places, the level restored where values were differenced.

    Where values are missing there, from the last one that is known: more steps, of which the
    first are those of the missing values.

    Args:
        trained: the forecaster.
        panel: the series, in their own unit.
        series: [places], which series.
        last: [places], in ``panel.values``.
        horizon: steps.
        arrays: the panel, transformed and placed; each series with the same end.
        added: [places, steps], see `seqjax.forecast.fitting.forecasts`.
    """
    settings = trained.settings
    sizes = sizes_of(panel)
    nearest = last_known(panel.values, panel.starts[series], last)
    lead = np.where(nearest >= panel.starts[series], last - nearest, 0)
    total = horizon + int(lead.max(initial=0))
    if added is not None and total > horizon:
        blocks = -(-total // settings.answers) * settings.answers
        added = np.pad(added, ((0, 0), (0, blocks - added.shape[1])), mode="wrap")
    places = last - lead + (np.asarray(arrays.stops) - panel.stops)[series]
    each = [
        forecasts(settings, sizes, params, arrays, series, places, total, added)
        for params in trained.params
    ]
    columns = lead[:, None] + np.arange(horizon)
    point = np.median([one.point for one in each], axis=0)  # of the seeds
    differenced = settings.transform == "difference"
    if differenced:
        point = restored(panel, series, last, point)
    point = np.take_along_axis(point, columns, axis=1)
    head, quantiles = head_of(settings), None
    whole = settings.answers >= min(horizon, settings.horizon)
    if head.quantiles is not None and whole and not differenced:
        first = slice(0, settings.answers)
        found = []
        for one in each:
            unit = one.width[:, None]
            scaled = head.quantiles(one.raw[:, first], settings.quantiles, unit)
            found.append(scaled * unit[..., None] + one.shift[:, None, None])
        of_first = np.minimum(columns, min(settings.answers, total) - 1)[..., None]
        quantiles = np.take_along_axis(np.median(found, axis=0), of_first, axis=1)
    return Forecast(point, each[0].width, lead, quantiles)


def forecast_panel(
    trained: Trained,
    panel: Panel,
    horizon: int,
    future: np.ndarray | None = None,
    added: np.ndarray | None = None,
    copies: int = 1,
) -> Forecast:
    """Forecasts of the steps behind every series.

    Args:
        trained: the forecaster.
        panel: the series, in their own unit.
        horizon: steps.
        future: [series, horizon, K], known covariates.
        added: [series * copies, steps], see `seqjax.forecast.fitting.forecasts`.
        copies: so many forecasts of each series, one behind the other.

    Returns:
        The forecasts, the level restored where values were differenced.
    """
    settings = trained.settings
    steps = -(-horizon // settings.answers) * settings.answers
    if future is not None:  # the last known ones stand for those that no block's step needs
        future = np.pad(future, ((0, 0), (0, steps - horizon), (0, 0)), mode="edge")
    inner = transformed(panel, settings.transform)
    room = (settings.history + unknown_at_end(panel), steps)
    arrays = placed(settings, trained.covariates, inner, steps, room, future)
    series = np.repeat(np.arange(len(panel.ids)), copies)
    last = panel.stops[series] - 1
    return forecast_places(trained, panel, series, last, horizon, arrays, added=added)


def places_before(
    settings: Settings, panel: Panel, count: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Series and last values [B] of so many windows of each; see `rolling`."""
    back = settings.horizon + step * np.arange(count - 1, -1, -1)
    series = np.repeat(np.arange(len(panel.ids)), count)
    last = (panel.stops[:, None] - 1 - back).reshape(-1)
    known = last - panel.starts[series] + 1
    enough = known >= max(1, min(settings.window // 2, 8, int(known.max(initial=1))))
    return series[enough], last[enough]


def rolling(
    trained: Trained, panel: Panel, count: int, step: int, *, lines: bool = False
) -> tuple[np.ndarray, np.ndarray, Forecast, np.ndarray]:
    """Forecasts from so many places of every series, the last of them `horizon` before its end.

    Args:
        trained: the forecaster.
        panel: the series, in their own unit.
        count: places of each series.
        step: steps between them.
        lines: draw lines between the values known before each place.

    Returns:
        Series [B], places of the last known values in ``panel.values`` [B], the forecasts, and
        the actual values [B, horizon], on the forecasts' scale; places with too little before
        them are left out.
    """
    settings = trained.settings
    horizon = settings.horizon
    series, last = places_before(settings, panel, count, step)
    own, places = series, last
    if lines:
        panel = drawn_before(panel, series, last, settings.history + 1, horizon)
        own, places = np.arange(len(series)), panel.stops - 1 - horizon
    inner = transformed(panel, settings.transform)
    arrays = placed(settings, trained.covariates, inner, horizon)
    found = forecast_places(trained, panel, own, places, horizon, arrays)
    unit = panel if settings.transform == "difference" else inner
    actual = unit.values[places[:, None] + np.arange(1, horizon + 1)]
    return series, last, found, actual
