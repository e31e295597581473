"""The pictures of `experiments.digits`, and its table. Pictures need matplotlib."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.table import Table

from experiments import digits_data
from experiments.digits_data import ORDERS, Order, Part
from experiments.digits_models import answers
from seqjax import report, runs, study
from seqjax.report import Row

MISREAD = 12  # digits to show
_WORDS = {"pixel": "pixel by pixel", "row": "row by row", "permuted": "permuted pixels"}


def result_rows(outcomes: Mapping[str, Sequence[study.Outcome]]) -> list[Row]:
    """The table in per cent: networks, the one chosen on validation, baselines."""
    rows = [
        study.row_of(
            name,
            [one for one in found if split in one.figures],
            lambda one, split=split: 100 * one.figures[split],
            split=split,
            metric="accuracy",
        )
        for split in ("validation", "test")
        for name, found in outcomes.items()
        if any(split in one.figures for one in found)
    ]
    if name := chosen(rows):
        title = f"{name}, chosen on validation"
        rows += [dataclasses.replace(row, model=title) for row in rows if row.model == name]
    return rows + [
        Row(f"{name}, {setting}", "baseline", split, "accuracy", (100 * right[split],))
        for split in dict.fromkeys(row.split for row in rows)
        for name, setting, right in digits_data.baselines()
    ]


def chosen(rows: Sequence[Row]) -> str | None:
    """The network pixel by pixel of the greatest mean validation accuracy, if there is one."""
    among = [row for row in rows if row.split == "validation" and row.model.startswith("pixel-")]
    return max(among, key=lambda row: row.mean).model if among else None


def table_of(rows: Sequence[Row], split: str) -> Table:
    """A line for each network and baseline, a column for each order of the pixels.

    Args:
        rows: networks "ORDER-NETWORK", and baselines, which know no order.
        split: the part of the data to show.
    """
    cells = []
    for row in rows:
        order, _, network = row.model.partition("-")
        if row.split == split:
            name, orders = (network, (order,)) if order in ORDERS else (row.model, ORDERS)
            cells += [(name, _WORDS[order], row) for order in orders]
    return report.table_of(cells, list(_WORDS.values()), corner=f"{split} accuracy, %")


def write(
    folder: Path,
    outcomes: Mapping[str, Sequence[study.Outcome]],
    rows: Sequence[Row],
    split: str,
) -> list[Path]:
    """Draw the learning curves, and what the chosen network misread.

    Args:
        folder: the run's.
        outcomes: by row, "ORDER-NETWORK".
        rows: the table.
        split: the part of the data to show the answers of.

    Returns:
        The files written; none without matplotlib.
    """
    known = {name: found for name, found in outcomes.items() if " " not in name}  # none swept
    baselines = {
        row.model: row.mean for row in rows if (row.kind, row.split) == ("baseline", "validation")
    }
    files = [folder / "accuracy.png"]
    try:
        draw_curves(files[0], known, baselines)
        if (name := chosen(rows)) in known:
            order = cast(Order, name.partition("-")[0])
            part = digits_data.digits()._asdict()[split]
            found = runs.load(folder, name)
            read = answers(found.model, found.params, order, part.pictures)
            title = f"{name}, first seed: {(read == part.labels).mean():.1%} of the {split} part"
            files.append(folder / "misread.png")
            draw_misread(files[1], part, read, title)
    except ModuleNotFoundError as error:
        print(f"no pictures: {error}; pip install -e '.[plot]' and --resume", file=sys.stderr)
        return []
    return files


def draw_curves(
    path: Path, outcomes: Mapping[str, Sequence[study.Outcome]], baselines: Mapping[str, float]
) -> None:
    """Validation accuracy by epoch, mean over the seeds: a panel for each order.

    Args:
        path: of the PNG.
        outcomes: by row, "ORDER-NETWORK".
        baselines: per cent by name.
    """
    from matplotlib.figure import Figure

    figure = Figure((12.0, 4.4), layout="constrained")
    panels = figure.subplots(1, len(ORDERS), sharey=True)
    networks = list(dict.fromkeys(name.partition("-")[2] for name in outcomes))
    for axes, (order, words) in zip(panels, _WORDS.items(), strict=True):
        for number, network in enumerate(networks):
            if found := outcomes.get(f"{order}-{network}"):
                values = [[100 * line["validation_accuracy"] for line in o.history] for o in found]
                mean = np.mean(values, axis=0)
                axes.plot(np.arange(1, len(mean) + 1), mean, color=f"C{number}", lw=1.3)
        for value, style in zip(baselines.values(), ("--", ":", "-."), strict=False):
            axes.axhline(value, color="black", lw=0.8, ls=style)
        axes.set_title(words)
        axes.set_xlabel("epoch")
        axes.set_ylim(80, 100.3)
    panels[0].set_ylabel("validation accuracy, %")
    lines = [panels[0].plot([], [], color=f"C{k}")[0] for k in range(len(networks))]
    styles = zip(baselines, ("--", ":", "-."), strict=False)
    lines += [panels[0].plot([], [], color="black", lw=0.8, ls=style)[0] for _, style in styles]
    labels = (*networks, *baselines)
    figure.legend(lines, labels, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=90)


def draw_misread(path: Path, part: Part, answers: np.ndarray, title: str) -> None:
    """How often each digit was taken for each, and some that were taken for another.

    Args:
        path: of the PNG.
        part: the pictures.
        answers: [examples], the digits that they were taken for.
        title: of the picture.
    """
    from matplotlib.figure import Figure

    counts = np.zeros((10, 10), int)
    np.add.at(counts, (part.labels, answers), 1)
    figure = Figure((11.0, 4.6), layout="constrained")
    figure.suptitle(title)
    halves: Any = figure.subfigures(1, 2)
    left, right = halves
    axes = left.subplots()
    axes.imshow(np.sqrt(counts), cmap="Blues")  # a single one is seen, too
    for row, column in np.argwhere(counts):
        colour = "white" if row == column else "C3"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.set_xlabel("taken for")
    axes.set_ylabel("digit")
    wrong = np.flatnonzero(answers != part.labels)
    for axes, number in zip(right.subplots(3, MISREAD // 3).flat, range(MISREAD), strict=True):
        axes.set_axis_off()
        if number < len(wrong):
            index = wrong[number]
            axes.imshow(part.pictures[index], cmap="gray_r", vmin=0, vmax=1)
            axes.set_title(f"{part.labels[index]}, taken for {answers[index]}", fontsize="medium")
    figure.savefig(path, dpi=100)
