"""How good forecasts were: scores of a cross-validation beside those of baselines.

What is scored is a long frame with the columns unique_id, ds, cutoff (the time of the last value
that the forecast knew), y, a column for each model, and its intervals as ``NAME-lo-80`` and
``NAME-hi-80``; and the panel of all values, whose past of each cutoff gives baselines and scales.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from seqjax.data import DataError
from seqjax.forecast import metrics, naive
from seqjax.forecast.folds import Layout, Season, layout_of, with_baselines as with_baselines
from seqjax.forecast.panel import Panel
from seqjax.report import Kind, Row

_END = re.compile(r".+-(?:median|(?:lo|hi)-[\d.]+)")
_KEYS = ("unique_id", "ds", "cutoff", "y")


class Scores(NamedTuple):
    """Measures of models and baselines, best first by MASE.

    Each table has the columns model, metric, value and skill, 1 - value / the reference's: above
    0 is better than it, 1 perfect, NaN where that is not defined. The metrics are MAE, RMSE, MASE,
    sMAPE (percent), and of intervals wQL, CRPS, coverage-80 (from 0 to 1) and MSIS-80; see
    `seqjax.forecast.metrics`. wQL and CRPS of a point forecast take it for every quantile.

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


def scores(
    frame: pd.DataFrame, panel: Panel, season: Season = None, *, reference: str | None = None
) -> Scores:
    """Score every model of a cross-validation, and the baselines.

    Args:
        frame: columns unique_id, ds, cutoff, y (NaN where missing), models and intervals.
        panel: all values.
        season: periods, in steps. MASE and MSIS are scaled with the shortest, in the past of
            each cutoff, as utilsforecast does.
        reference: a baseline; by default the best seasonal naive by MASE, without a season the
            last value.

    Returns:
        The scores.

    Raises:
        DataError: for an id, time or cutoff that the panel does not have, a row that is twice, or
            a forecast that is missing where the value is known.
        ValueError: for a reference that is no baseline.

    Example:
        >>> from seqjax.forecast.panel import panel_of
        >>> panel = panel_of({"a": [1.0, 2.0, 3.0, 2.0, 3.0, 3.0]})
        >>> frame = pd.DataFrame({"unique_id": "a", "ds": [4, 5], "cutoff": 3, "y": [3.0, 3.0]})
        >>> found = scores(frame.assign(GRU=[3.0, 2.5]), panel, 2)
        >>> ours = found.pooled.set_index(["model", "metric"]).loc["GRU"]
        >>> found.reference, ours.loc["MAE", "skill"].item()
        ('seasonal naive, 2', 0.5)
    """
    if "y" not in frame:
        raise DataError(f"cross-validation: there is no column 'y' in {list(frame)}.")
    layout = layout_of(frame, panel)
    baselines = layout.baselines(season)
    models = _models(frame, layout, baselines)
    y = layout.dense(frame["y"])
    scale = np.full(y.shape[:2], np.nan)
    period = min(naive.periods(season), default=1)
    scale[layout.series, layout.window] = metrics.seasonal_scale(layout.past, period)[layout.pair]
    levels = sorted({level for model in models.values() for level in model.ends})

    def figures(axis: metrics.Axis) -> dict[str, dict[str, np.ndarray]]:
        return {name: _figures(y, model, scale, levels, axis) for name, model in models.items()}

    pooled = figures(None)
    # MASE, or MAE where no series has a scale.
    errors = {name: (one["MASE"].item(), one["MAE"].item()) for name, one in pooled.items()}
    best = sorted(models, key=lambda name: [error for error in errors[name] if error == error])
    if reference is None:
        naives = [name for name in best if name.startswith("seasonal naive, ")]
        reference = naives[0] if naives else "last value"
    if reference not in baselines:
        raise ValueError(f"reference: there is no baseline {reference!r} in {list(baselines)}.")
    steps = np.arange(1, y.shape[-1] + 1)
    tables = (
        _tidy(pooled, best, reference),
        _tidy(figures((1, 2)), best, reference, unique_id=layout.ids),
        _tidy(figures((0, 1)), best, reference, horizon=steps),
    )
    return Scores(*tables, reference, tuple(baselines), _notes(y, scale, layout))


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
    shown = Table(caption=f"skill: 1 - MASE / that of {escape(found.reference)}")
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
) -> dict[str, _Model]:
    """Baselines, and the frame's own: what is no key and ends not in -lo-80, -hi-80 or -median."""
    found = {}
    for name, one in baselines.items():
        point = layout.dense(one)
        found[name] = _Model(point, point, {})

    def column(name: str) -> np.ndarray:
        if name not in frame or not pd.api.types.is_numeric_dtype(frame[name]):
            fault = "is missing" if name not in frame else "is neither a key nor numbers"
            raise DataError(f"cross-validation: column {name!r} {fault}; it has {list(frame)}.")
        values = frame[name].to_numpy(np.float64)
        if (lost := np.isnan(values) & frame["y"].notna().to_numpy()).any():
            row = frame.iloc[int(np.argmax(lost))]
            raise DataError(
                f"cross-validation: column {name!r} has no forecast for id {row['unique_id']!r} at"
                f" {row['ds']}, cutoff {row['cutoff']}; leave the column out, or the rows."
            )
        return layout.dense(values)

    for name in frame:
        if name in (*_KEYS, *baselines) or _END.fullmatch(str(name)):
            continue
        ends = {
            float(level): (column(f"{name}-lo-{level}"), column(f"{name}-hi-{level}"))
            for other in frame
            if (level := str(other).removeprefix(f"{name}-lo-")) != str(other)
        }
        point = column(str(name))
        median = column(f"{name}-median") if f"{name}-median" in frame else point
        found[str(name)] = _Model(point, median, dict(sorted(ends.items())))
    return found


def _figures(
    y: np.ndarray, model: _Model, scale: np.ndarray, levels: Sequence[float], axis: metrics.Axis
) -> dict[str, np.ndarray]:
    found = {
        "MAE": metrics.mae(y, model.point, axis),
        "RMSE": metrics.rmse(y, model.point, axis),
        "MASE": metrics.mase(y, model.point, scale, axis),
        "sMAPE": metrics.smape(y, model.point, axis),
    }
    # A point forecast is all of its quantiles; intervals of other levels than others' are not.
    if levels and (not model.ends or [*model.ends] == [*levels]):
        ends = model.ends or dict.fromkeys(levels, (model.point, model.point))
        los, his = zip(*ends.values(), strict=True)
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
