"""Scores as rows of result.json, and the table that the terminal shows."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.markup import escape
from rich.table import Table

from seqjax.forecast import evaluate
from seqjax.report import Row

LEVELS = (80, 95)


def rows_of(data: str, found: evaluate.Scores, others: Sequence[str] = ()) -> list[Row]:
    """Pooled figures, skill, and coverage of each step ahead.

    Of the baselines of `seqjax.forecast.naive` those that skill is measured against, and the best.

    Args:
        data: what was forecast; a model's name in the rows is ``DATA: MODEL``.
        found: of a cross-validation.
        others: columns of it that are baselines, too.
    """
    best = next(name for name in found.pooled["model"] if name in found.baselines)
    dropped = [name for name in found.baselines if name not in (found.reference, best)]

    def rows(table: pd.DataFrame, value: str = "value", **replaced: Any) -> list[Row]:
        made = []
        for one in table.loc[~table["model"].isin(dropped)].to_dict(orient="records"):
            kind = "baseline" if one["model"] in (*found.baselines, *others) else "model"
            row = Row(
                f"{data}: {one['model']}",
                kind,
                "test",
                one["metric"],
                (float(one[value]),),
                one.get("horizon"),
            )
            made.append(dataclasses.replace(row, **replaced))
        return [row for row in made if np.isfinite(row.mean)]

    mase = found.pooled.loc[found.pooled["metric"] == "MASE"]
    steps = found.by_horizon.loc[found.by_horizon["metric"].str.startswith("coverage-")]
    return [*rows(found.pooled), *rows(mase, "skill", metric="skill"), *rows(steps)]


def table_of(rows: Sequence[Row]) -> Table:
    """A section for each data and part, best first.

    Coverage is that of all steps ahead, and in brackets those of the lowest and the highest step.
    """
    shown = Table(
        caption="error: RMSE in pounds (milk), otherwise MASE; skill: 1 - error / naive's"
    )
    for name in ("data", "model", "kind"):
        shown.add_column(name)
    for name in ("error", "skill", *(f"{level} % holds" for level in LEVELS)):
        shown.add_column(name, justify="right", no_wrap=True)
    sections = dict.fromkeys((row.model.partition(": ")[0], row.split) for row in rows)
    for data, split in sections:
        here = [row for row in rows if (row.model.partition(": ")[0], row.split) == (data, split)]
        figures: dict[str, dict[str, list[Row]]] = {}
        for row in here:
            name = row.model.partition(": ")[2]
            figures.setdefault(name, {}).setdefault(row.metric, []).append(row)
        errors = {
            name: row
            for name, one in figures.items()
            for row in (one.get("rmse") or one.get("MASE", ()))
        }
        title = data if split == "test" else f"{data}, {split}"
        for name in sorted(errors, key=lambda name: errors[name].mean):
            row = errors[name]
            error = f"{row.mean:.2f}" if row.metric == "rmse" else f"{row.mean:.3f}"
            error += "" if row.sd is None else f" ± {row.sd:.2f}"
            skills = [f"{one.mean:.3f}" for one in figures[name].get("skill", ())]
            covers = [_coverage(figures[name].get(f"coverage-{level}", ())) for level in LEVELS]
            style = "bold" if row.kind == "model" else None
            cells = (title, escape(name), row.kind, error, "".join(skills), *covers)
            shown.add_row(*cells, style=style)
            title = ""
        shown.add_section()
    return shown


def _coverage(rows: Sequence[Row]) -> str:
    pooled = [100 * row.mean for row in rows if row.horizon is None]
    steps = [100 * row.mean for row in rows if row.horizon is not None]
    return f"{pooled[0]:.1f} ({min(steps):.1f}-{max(steps):.1f})" if pooled else ""


def with_skill(rows: Sequence[Row], reference: str) -> list[Row]:
    """The rows, and of each RMSE its skill against a baseline's of the same part."""
    base = {row.split: row.mean for row in rows if row.model == reference}
    skills = [
        dataclasses.replace(
            row, metric="skill", seeds=tuple(1 - one / base[row.split] for one in row.seeds)
        )
        for row in rows
        if row.split in base
    ]
    return [*rows, *skills]
