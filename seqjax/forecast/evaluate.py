"""How good forecasts were: scores of a cross-validation beside those of baselines.

What is scored is a long frame with the columns unique_id, ds, cutoff (the time of the last value
that the forecast knew), y, a column for each model, and its intervals as ``NAME-lo-80`` and
``NAME-hi-80``; and the panel of all values, whose past of each cutoff gives baselines and scales.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from seqjax.data import DataError
from seqjax.forecast import metrics, naive
from seqjax.forecast.folds import Layout, Season, layout_of, with_baselines as with_baselines
from seqjax.forecast.frames import panel_from_frame
from seqjax.forecast.panel import Panel
from seqjax.report import Kind, Row

_END = re.compile(r".+-(?:median|(?:lo|hi)-[\d.]+)")
_LOW = re.compile(r".+-lo-([\d.]+)")
_KEYS = ("unique_id", "ds", "cutoff", "y")


class Scores(NamedTuple):
    """Measures of models and baselines, best first by MASE.

    Each table has the columns model, metric, value and skill, 1 - value / the reference's: above
    0 is better than it, 1 perfect, NaN where that is not defined. The metrics are MAE, RMSE, MASE,
    sMAPE (percent), and of intervals wQL, CRPS, coverage-80 (from 0 to 1) and MSIS-80; see
    `seqjax.forecast.metrics`. Baselines have intervals, too, calibrated before the first cutoff;
    wQL and CRPS are of forecasts that have those of every level.

    Attributes:
        pooled: over all series, windows and steps.
        by_series: with the column unique_id.
        by_horizon: with the column horizon, steps ahead from 1.
        reference: the baseline that skill is measured against.
        baselines: the names of all.
        notes: what was left out, a sentence each.
    """

    pooled: pd.DataFrame
    by_series: pd.DataFrame
    by_horizon: pd.DataFrame
    reference: str
    baselines: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def best_baseline(self) -> str:
        """The first of them in `pooled`."""
        return next(name for name in self.pooled["model"] if name in self.baselines)


def scores(
    frame: pd.DataFrame,
    panel: Panel | pd.DataFrame,
    season: Season = None,
    *,
    reference: str | None = None,
    id_column: str = "unique_id",
    time_column: str = "ds",
    target_column: str = "y",
    freq: Any = None,
) -> Scores:
    """Score every model of a cross-validation, and the baselines.

    Args:
        frame: columns unique_id, ds, cutoff, y (NaN where missing), models and intervals; as from
            `seqjax.forecast.Forecaster.cross_validation`.
        panel: all values: the frame that was cross-validated.
        season: periods, in steps. MASE and MSIS are scaled with the shortest, in the past of
            each cutoff, as utilsforecast does.
        reference: a baseline; by default the best seasonal naive by MASE, without a season the
            last value.
        id_column: of ids, in both frames.
        time_column: of times.
        target_column: of values.
        freq: of the times of all values, where they are a frame; by default inferred.

    Returns:
        The scores.

    Raises:
        DataError: for an id, time or cutoff that the panel does not have, a row that is twice, or
            a forecast that is missing where the value is known.
        ValueError: for a reference that is no baseline.

    Example:
        >>> y = [1.0, 2.0, 3.0, 2.0, 3.0, 3.0]
        >>> whole = pd.DataFrame({"unique_id": "a", "ds": range(6), "y": y})
        >>> found = scores(whole[4:].assign(cutoff=3, GRU=[3.0, 2.5]), whole, 2)
        >>> ours = found.pooled.set_index(["model", "metric"]).loc["GRU"]
        >>> found.reference, ours.loc["MAE", "skill"].item()
        ('seasonal naive, 2', 0.5)
    """
    if isinstance(panel, pd.DataFrame):
        named: Any = {"id_column": id_column, "time_column": time_column}
        panel, _ = panel_from_frame(panel, **named, target_column=target_column, freq=freq)
    frame = frame.rename(columns={id_column: "unique_id", time_column: "ds", target_column: "y"})
    if "y" not in frame:
        raise DataError(f"cross-validation: there is no column 'y' in {list(frame)}.")
    layout = layout_of(frame, panel)
    lows = (_LOW.fullmatch(str(name)) for name in frame)
    levels = sorted({float(low[1]) for low in lows if low})
    of_baselines = layout.baselines(season, levels)
    baselines = tuple(name for name in of_baselines if not _END.fullmatch(name))
    y = layout.dense(frame["y"])
    scale = np.full(y.shape[:2], np.nan)
    period = min(naive.periods(season), default=1)
    scale[layout.series, layout.window] = metrics.seasonal_scale(layout.past, period)[layout.pair]

    figures: tuple[dict[str, dict[str, np.ndarray]], ...] = ({}, {}, {})
    for name, model in _models(frame, layout, of_baselines):
        for part, axis in zip(figures, (None, (1, 2), (0, 1)), strict=True):
            part[name] = _figures(y, model, scale, levels, axis)
    pooled, by_series, by_horizon = figures
    # MASE, or MAE where no series has a scale.
    errors = {name: (one["MASE"].item(), one["MAE"].item()) for name, one in pooled.items()}
    best = sorted(pooled, key=lambda name: [error for error in errors[name] if error == error])
    if reference is None:
        naives = [name for name in best if name.startswith("seasonal naive, ")]
        reference = naives[0] if naives else "last value"
    if reference not in baselines:
        raise ValueError(f"reference: there is no baseline {reference!r} in {list(baselines)}.")
    steps = np.arange(1, y.shape[-1] + 1)
    tables = (
        _tidy(pooled, best, reference),
        _tidy(by_series, best, reference, unique_id=layout.ids),
        _tidy(by_horizon, best, reference, horizon=steps),
    )
    return Scores(*tables, reference, baselines, _notes(y, scale, layout))


def rows(found: Scores, split: str = "test") -> list[Row]:
    """The pooled figures as rows of result.json; `split` is the part of the data they are of."""
    kinds: dict[str, Kind] = dict.fromkeys(found.baselines, "baseline")
    return [
        Row(model, kinds.get(model, "model"), split, metric, (float(value),))
        for model, metric, value in found.pooled[["model", "metric", "value"]].itertuples(
            index=False
        )
    ]


def table(found: Scores) -> Table:
    """The pooled figures for the terminal: best first, models in bold."""
    wide = found.pooled.pivot(index="model", columns="metric", values="value")
    wide = wide.loc[found.pooled["model"].unique(), found.pooled["metric"].unique()]
    skill = found.pooled[found.pooled["metric"] == "MASE"].set_index("model")["skill"]
    shown = Table(
        caption=f"skill: 1 - MASE / that of {escape(found.reference)}", caption_justify="left"
    )
    shown.add_column("model")
    for name in (*wide, "skill"):
        shown.add_column(name, justify="right", no_wrap=True)
    for model, figures in wide.iterrows():
        cells = ["" if np.isnan(one) else f"{one:.4g}" for one in figures]
        ours = "" if np.isnan(skill[model]) else f"{skill[model]:.3f}"
        style = None if model in found.baselines else "bold"
        shown.add_row(escape(str(model)), *cells, ours, style=style)
    return shown


class _Model(NamedTuple):
    point: np.ndarray
    median: np.ndarray
    ends: dict[float, tuple[np.ndarray, np.ndarray]]  # by level


def _models(
    frame: pd.DataFrame, layout: Layout, baselines: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, _Model]]:
    """The frame's own, what is no key and ends not in -lo-80, -hi-80 or -median, and baselines."""
    columns: dict[Any, Any] = {**dict(frame.items()), **baselines}

    def column(name: str) -> np.ndarray:
        if name not in columns or not pd.api.types.is_numeric_dtype(columns[name]):
            fault = "is missing" if name not in columns else "is neither a key nor numbers"
            raise DataError(f"cross-validation: column {name!r} {fault}; it has {list(frame)}.")
        values = pd.Series(columns[name]).to_numpy(np.float64)
        lost = np.isnan(values) & frame["y"].notna().to_numpy()
        if lost.any() and name not in baselines:
            row = frame.iloc[int(np.argmax(lost))]
            raise DataError(
                f"cross-validation: column {name!r} has no forecast for id {row['unique_id']!r} at"
                f" {row['ds']}, cutoff {row['cutoff']}; leave the column out, or the rows."
            )
        return layout.dense(values)

    for name in columns:
        if name in _KEYS or _END.fullmatch(str(name)):
            continue
        ends = {
            float(level): (column(f"{name}-lo-{level}"), column(f"{name}-hi-{level}"))
            for other in columns
            if (level := str(other).removeprefix(f"{name}-lo-")) != str(other)
        }
        point = column(str(name))
        median = column(f"{name}-median") if f"{name}-median" in columns else point
        yield str(name), _Model(point, median, dict(sorted(ends.items())))


def _figures(
    y: np.ndarray, model: _Model, scale: np.ndarray, levels: Sequence[float], axis: metrics.Axis
) -> dict[str, np.ndarray]:
    found = {
        "MAE": metrics.mae(y, model.point, axis),
        "RMSE": metrics.rmse(y, model.point, axis),
        "MASE": metrics.mase(y, model.point, scale, axis),
        "sMAPE": metrics.smape(y, model.point, axis),
    }
    if levels and [*model.ends] == [*levels]:  # otherwise other quantiles than others'
        los, his = zip(*model.ends.values(), strict=True)
        quantiles = np.stack([*los[::-1], model.median, *his], axis=-1)
        upper = [(100 + level) / 200 for level in levels]
        at = [*(1 - one for one in upper[::-1]), 0.5, *upper]
        found["wQL"] = metrics.weighted_quantile_loss(y, quantiles, at, axis)
        found["CRPS"] = metrics.crps(y, quantiles, at, axis)
    for level, (lo, hi) in model.ends.items():
        found[f"coverage-{level:g}"] = metrics.coverage(y, lo, hi, axis)
        found[f"MSIS-{level:g}"] = metrics.msis(y, lo, hi, scale, level, axis)
    return {name: np.atleast_1d(one) for name, one in found.items()}


def _tidy(
    figures: Mapping[str, Mapping[str, np.ndarray]],
    order: Sequence[str],
    reference: str,
    **key: np.ndarray,
) -> pd.DataFrame:
    parts = []
    for name in order:
        for metric, value in figures[name].items():
            base = figures[reference].get(metric, np.full(value.shape, np.nan))
            skill = 1 - np.divide(value, base, out=np.full(value.shape, np.nan), where=base > 0)
            parts.append({"model": name, "metric": metric, **key, "value": value, "skill": skill})
    return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)


def _notes(y: np.ndarray, scale: np.ndarray, layout: Layout) -> tuple[str, ...]:
    notes = []
    has_row = ~np.isnan(layout.dense(np.ones(len(layout.pair))))
    if missing := int(np.sum(np.isnan(y) & has_row)):
        notes.append(f"{missing:,} of {has_row.sum():,} values are missing, and not counted.")
    without = np.isnan(scale) & has_row.any(axis=-1)
    if without.any():
        first = layout.ids[np.argmax(without.any(axis=1))]
        notes.append(
            f"{without.any(axis=1).sum():,} of {len(layout.ids):,} series are constant, periodic or"
            f" a single value before a cutoff (first: id {first!r}); MASE and MSIS, which divide by"
            " their change, leave these windows out."
        )
    return tuple(notes)
