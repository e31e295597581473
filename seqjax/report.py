"""The table that an experiment ends with: on the terminal, and as result.json."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
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


def table_of(
    cells: Iterable[tuple[str, str, Row]],
    columns: Sequence[str],
    *,
    corner: str | None = None,
    digits: int = 1,
    best: Literal["lowest", "highest"] | None = None,
) -> Table:
    """A line for each model, a column for each figure; parameters and seconds a seed at the end.

    Models stand in bold among the baselines, so that one that loses is seen to lose.

    Args:
        cells: ``(line, column, row)`` of every figure to show.
        columns: their order.
        corner: what stands above the lines; None for "model", and the kind of each beside it.
        digits: of the figures, after the point.
        best: which figures of the first column stand above the others; None leaves the lines in
            the order they come in.

    Returns:
        The table.

    Example:
        >>> rows = [Row("rules", "baseline", "test", "accuracy", (90.0,))]
        >>> rows += [Row("net", "model", "test", "accuracy", (97.0, 99.0), seconds=12.0)]
        >>> found = table_of(((row.model, "%", row) for row in rows), ["%"], best="highest")
        >>> [list(column.cells) for column in found.columns[:3]]
        [['net', 'rules'], ['model', 'baseline'], ['98.0 ± 1.4', '90.0']]
    """
    lines: dict[str, dict[str, Row]] = {}
    for line, column, row in cells:
        lines.setdefault(line, {})[column] = row
    found = Table()
    for column in ("model", "kind") if corner is None else (corner,):
        found.add_column(column)
    for column in (*columns, "parameters", "s/seed"):
        found.add_column(column, justify="right")

    def place(line: str) -> float:
        row = lines[line].get(columns[0])
        sign = -1 if best == "highest" else 1
        return float("inf") if row is None else sign * row.mean

    for line in lines if best is None else sorted(lines, key=place):
        own = lines[line]
        first = next(iter(own.values()))
        seconds = dict.fromkeys(row.seconds for row in own.values() if row.seconds is not None)
        found.add_row(
            *((escape(line), first.kind) if corner is None else (escape(line),)),
            *(_figure(own[column], digits) if column in own else "" for column in columns),
            "" if first.parameters is None else f"{first.parameters:,}",
            " / ".join(f"{each:.0f}" for each in seconds),
            style="bold" if first.kind == "model" else None,
        )
    return found


def print_table(rows: Sequence[Row], *, title: str, unit: str, console: Console) -> None:
    """Print the rows, lowest first by the first metric, a column for each metric."""
    cells = [(row.model, f"{row.metric.upper()}, {unit}", row) for row in rows]
    columns = list(dict.fromkeys(column for _, column, _ in cells))
    found = table_of(cells, columns, digits=2, best="lowest")
    found.title = title
    console.print(found)


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
