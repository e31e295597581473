"""The table that an experiment ends with: on the terminal, and as result.json."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Kind = Literal["model", "baseline", "published"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure of one model on one part of the data.

    Attributes:
        model: the name.
        kind: "model" (trained here), "baseline" or "published".
        split: "train", "validation" or "test".
        metric: what is measured, such as "rmse".
        seeds: the figure of each seed; one figure for what knows no chance.
        horizon: steps ahead; None where all steps together are meant.
        parameters: number of trained parameters, or None.
        seconds: of training one seed, compilation included, or None.
    """

    model: str
    kind: Kind
    split: str
    metric: str
    seeds: tuple[float, ...]
    horizon: int | None = None
    parameters: int | None = None
    seconds: float | None = None

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.seeds))

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds (n - 1); None for a single figure."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else None

    def as_json(self) -> dict[str, Any]:
        """The row as it stands in result.json."""
        return dataclasses.asdict(self) | {
            "mean": self.mean,
            "sd": self.sd,
            "seeds": list(self.seeds),
        }


def print_table(rows: Sequence[Row], *, title: str, unit: str, console: Console) -> None:
    """Print the rows, best first by the first metric, a column for each metric.

    Models stand in bold among the baselines, so that one that loses is seen to lose.
    """
    metrics = list(dict.fromkeys(row.metric for row in rows))
    by_model: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, {})[row.metric] = row

    table = Table(title=title)
    table.add_column("model")
    table.add_column("kind")
    for metric in metrics:
        table.add_column(f"{metric.upper()}, {unit}", justify="right")
    table.add_column("parameters", justify="right")
    worst = float("inf")
    for model, found in sorted(
        by_model.items(),
        key=lambda item: item[1][metrics[0]].mean if metrics[0] in item[1] else worst,
    ):
        first = next(iter(found.values()))
        cells = [_figure(found[metric]) if metric in found else "" for metric in metrics]
        parameters = "" if first.parameters is None else f"{first.parameters:,}"
        style = "bold" if first.kind == "model" else None
        table.add_row(escape(model), first.kind, *cells, parameters, style=style)
    console.print(table)


def wide_table(rows: Sequence[Row], metric: str, sections: Mapping[int | None, str]) -> Table:
    """A line for each model in the order of the rows, what is known of it in columns.

    Args:
        rows: of one metric; published figures and those of the test part become columns.
        metric: its name.
        sections: by horizon, what stands above its lines.

    Returns:
        The table.
    """
    counts = {len(row.seeds) for row in rows if row.kind == "model"}
    seeds = "-".join(str(count) for count in sorted({min(counts), max(counts)})) if counts else "0"
    table = Table()
    table.add_column(f"validation {metric}", no_wrap=True)
    columns = ("parameters", "published", f"ours, {seeds} seed(s)", f"test {metric}", "s/seed")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    by_key = {(row.horizon, row.model, row.kind, row.split): row for row in rows}

    def figure(*key: Any) -> str:
        row = by_key.get(key)
        return "" if row is None else _figure(row, 6 if row.sd is None else 5)

    section = None
    for row in rows:
        if row.kind == "published" or row.split == "test":
            continue  # columns, not lines
        if section != row.horizon:
            section = row.horizon
            table.add_section()
            table.add_row(f"[bold]{escape(sections[section])}")
        table.add_row(
            escape(row.model),
            "" if row.parameters is None else f"{row.parameters:,}",
            figure(row.horizon, row.model, "published", row.split),
            figure(row.horizon, row.model, row.kind, row.split),
            figure(row.horizon, row.model, "model", "test"),
            "" if row.seconds is None else f"{row.seconds:.1f}",
        )
    return table


def _figure(row: Row, digits: int = 2) -> str:
    mean = f"{row.mean:.{digits}f}"
    return mean if row.sd is None else f"{mean} ± {row.sd:.{digits}f}"
