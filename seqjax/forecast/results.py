"""What a forecasting run found, as its reader is told it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from seqjax.forecast.evaluate import Scores
from seqjax.forecast.outlook import Outlook

DRAWN = 12  # series in the page: the worst half and the best half
LONG, DRAWN_LONG = 500, 4  # of horizons longer than that fewer: a page is to be mailed


class Results(NamedTuple):
    """A run as its page tells it.

    Attributes:
        source: what was forecast, such as the file's name.
        step: a step in words, such as "day"; "step" where it has no name.
        name: of the model, as its columns have it.
        levels: of the intervals of the future, in percent, ascending.
        history: columns unique_id, ds, y.
        cross_validation: columns unique_id, ds, cutoff, y, `name`, ...
        future: columns unique_id, ds, `name`, ``NAME-lo-80``, ...
        scores: of the cross-validation.
        found: what the data are, by name.
        notes: on the data and the measuring, a sentence each.
        settings: of the forecaster, by name.
        versions: of the software.
        again: commands that use the model again.
    """

    source: str
    step: str
    name: str
    levels: tuple[float, ...]
    history: pd.DataFrame
    cross_validation: pd.DataFrame
    future: pd.DataFrame
    scores: Scores
    found: Mapping[str, Any]
    notes: Sequence[str]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    again: str

    @property
    def series(self) -> int:
        """The number of series."""
        return len(set(self.future["unique_id"]))

    @property
    def steps(self) -> str:
        """The horizon in words, such as "14 days"."""
        horizon = len(self.future) // self.series
        return f"{horizon} {self.step}{'s' if horizon > 1 else ''}"

    @property
    def pooled(self) -> pd.DataFrame:
        """[model, metric], best first; the first column, which a phone shows, is the skill."""
        table = self.scores.pooled
        wide = table.pivot(index="model", columns="metric", values="value")
        wide = wide.reindex(list(dict.fromkeys(table["model"])))
        wide = wide.reindex(columns=list(dict.fromkeys(table["metric"])))
        skill = table[table["metric"] == "MASE"].set_index("model")["skill"]
        wide.insert(0, "skill", skill.round(3))
        return wide.rename_axis(index="model")

    @property
    def by_horizon(self) -> pd.DataFrame:
        """[horizon, model], the mean absolute error."""
        table = self.scores.by_horizon
        wide = table[table["metric"] == "MAE"].pivot(
            index="horizon", columns="model", values="value"
        )
        return wide.reindex(columns=list(dict.fromkeys(self.scores.pooled["model"])))

    @property
    def by_series(self) -> pd.DataFrame:
        """[series, 3]: the model's mean absolute error, the reference's, and the skill."""
        table = self.scores.by_series
        table = table[table["metric"] == "MAE"].set_index("unique_id")
        ours = table[table["model"] == self.name]
        naive = table[table["model"] == self.scores.reference]["value"]
        found = {self.name: ours["value"], self.scores.reference: naive, "skill": ours["skill"]}
        return pd.DataFrame(found)

    @property
    def coverage(self) -> pd.DataFrame:
        """[horizon, level], percent of held-out values within the intervals."""
        table = self.scores.by_horizon
        ours = table[(table["model"] == self.name) & table["metric"].str.startswith("coverage-")]
        wide = 100 * ours.pivot(index="horizon", columns="metric", values="value")
        wide = wide.rename(columns=lambda metric: float(metric.partition("-")[2]))
        return wide.sort_index(axis=1)


def tables(
    results: Results, future: pd.DataFrame, baselines: Mapping[str, np.ndarray], id_column: str
) -> dict[str, pd.DataFrame]:
    """What stands in CSV files beside the page.

    Args:
        results: of the run.
        future: forecasts, under the user's names of columns.
        baselines: [series, horizon] each, with their intervals: the best one is put beside.
        id_column: the user's name.

    Returns:
        By the file's name.
    """
    scores = results.scores
    of_best = re.compile(re.escape(scores.best_baseline) + "(-(lo|hi)-.*)?")
    best = {name: one.reshape(-1) for name, one in baselines.items() if of_best.fullmatch(name)}
    columns = (f"{results.name} MAE", f"{scores.reference} MAE", "MAE skill")
    by_series = results.by_series.set_axis(columns, axis=1).rename_axis(id_column)
    return {
        "forecasts.csv": future.assign(**best),
        "scores_by_series.csv": by_series.reset_index(),
        "scores_by_horizon.csv": scores.by_horizon,
    }


def verdict(results: Results) -> list[str]:
    """How good the model is, in plain sentences, also where it is not.

    Args:
        results: of a run.

    Returns:
        A sentence on all series, one on their number, one for each level.
    """
    table, name = results.pooled, results.name
    metric = "MASE" if np.isfinite(table["MASE"].to_numpy()).any() else "MAE"
    errors: dict[str, float] = table[metric].dropna().to_dict()
    ours = errors.pop(name, float("nan"))
    if not errors or not np.isfinite(ours):
        return ["None of the held-out values is known: there is nothing to measure the model on."]
    best = min(errors, key=errors.__getitem__)
    other = errors[best]
    if ours < other:
        first = (
            f"{name} has {100 * (1 - ours / other):.0f} % less error than the best baseline"
            f" ({best}): {metric} {ours:.3g} against {other:.3g} on the held-out windows."
        )
    else:
        first = (
            f"A baseline is as good or better here: {best} has {metric} {other:.3g}, {name}"
            f" {ours:.3g} on the held-out windows. Take the baseline, which is in forecasts.csv,"
            " too, or give the model more data."
        )
    sentences = [first]
    skill = results.by_series["skill"].dropna().to_numpy()
    if len(skill) > 1:
        better = f"{np.sum(skill > 0):,} of {len(skill):,}"
        sentences.append(f"It has less error than {results.scores.reference} on {better} series.")
    for level, within in results.coverage.items():
        sentences.append(
            f"The {level:g} % intervals held {within.mean():.0f} % of the held-out values."
        )
    return sentences


def outlooks(results: Results) -> list[Outlook]:
    """The series to draw: of many the worst by skill, then the best.

    Args:
        results: of a run.

    Returns:
        At most `DRAWN`.
    """
    skill = results.by_series["skill"].to_numpy()
    order = list(results.by_series.index[np.argsort(skill, kind="stable")])  # NaN last
    horizon = len(results.by_horizon)
    known, most = int(np.isfinite(skill).sum()), DRAWN if horizon <= LONG else DRAWN_LONG
    if known > most:
        order = [*order[: most // 2], *order[known - most // 2 : known][::-1]]
    order = order[:most]
    parts: list[dict[Any, Any]] = [
        dict(iter(frame[frame["unique_id"].isin(order)].groupby("unique_id", sort=False)))
        for frame in (results.history, results.cross_validation, results.future)
    ]
    some = max(4 * horizon, 60)
    drawn = []
    for one in order:
        history, past, future = (part[one] for part in parts)
        held_out = np.sum(history["ds"].to_numpy() >= past["ds"].to_numpy().min())
        drawn.append(
            Outlook(
                title=str(one),
                history=history.tail(max(some, 2 * int(held_out))),
                past=past,
                future=future,
                name=results.name,
                levels=results.levels,
            )
        )
    return drawn
