"""The table and the picture of `experiments.sentences`."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.table import Table

from seqjax import report, study
from seqjax.data.labelled import Labelled
from seqjax.report import Kind, Row

PartsByFold = Mapping[int | None, Mapping[str, Labelled]]


class Scored(NamedTuple):
    """What one training of one model gave.

    Attributes:
        model: the name.
        kind: of the row.
        fold: the fold it was tested on; None without folds.
        probabilities: of each part's examples by its name, [examples, classes].
        parameters: number of trained ones, or None.
        seconds: of training, or None.
    """

    model: str
    kind: Kind
    fold: int | None
    probabilities: Mapping[str, np.ndarray]
    parameters: int | None = None
    seconds: float | None = None


def scored_of(outcomes: Mapping[str, Sequence[study.Outcome]]) -> list[Scored]:
    """Every finished seed of every row; of a study of folds "ROW fold=NUMBER"."""
    found = []
    for title, seeds in outcomes.items():
        row, _, fold = title.partition(" fold=")
        for one in seeds:
            shares = {split: np.array(figures) for split, figures in one.figures.items()}
            size = one.parameters, one.seconds
            found.append(Scored(row, "model", int(fold) if fold else None, shares, *size))
    return found


def ensemble(scored: Sequence[Scored]) -> list[Scored]:
    """The mean of the probabilities of all models and seeds, for each fold."""
    found = []
    for fold in dict.fromkeys(one.fold for one in scored):
        own = [one for one in scored if one.fold == fold]
        mean = {
            split: np.mean([one.probabilities[split] for one in own], axis=0)
            for split in own[0].probabilities
        }
        size = sum(one.parameters or 0 for one in own)
        name = f"ensemble of the {len(own)}"
        found.append(Scored(name, "model", fold, mean, size, sum(one.seconds or 0 for one in own)))
    return found


def macro_f1(predicted: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """The mean over the classes of the harmonic mean of precision and recall; 0 for none found.

    Example:
        >>> round(macro_f1(np.array([0, 0, 1]), np.array([0, 1, 1]), 2), 4)
        0.6667
    """
    both = np.bincount(labels[predicted == labels], minlength=classes)
    either = np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)
    return float(np.mean(2 * both / np.maximum(either, 1)))


def rows_of(scored: Iterable[Scored], parts: PartsByFold) -> list[Row]:
    """Accuracy (%) and macro F1 (%) of each model on each part: for each seed, or each fold."""
    models: dict[str, list[Scored]] = {}
    for one in scored:
        models.setdefault(one.model, []).append(one)
    rows = []
    for name, own in models.items():
        seconds = [one.seconds for one in own if one.seconds is not None]
        more = (None, own[0].parameters, float(np.mean(seconds)) if seconds else None)
        for split in own[0].probabilities:
            figures: dict[str, dict[int | None, list[float]]] = {"accuracy": {}, "macro_f1": {}}
            for one in own:
                part = parts[one.fold][split]
                predicted = one.probabilities[split].argmax(axis=1)
                right = float(np.mean(predicted == part.labels))
                f1 = macro_f1(predicted, part.labels, len(part.names))
                for metric, figure in (("accuracy", right), ("macro_f1", f1)):
                    figures[metric].setdefault(one.fold, []).append(100 * figure)
            for metric, of_folds in figures.items():
                seeds = of_folds.get(None) or [float(np.mean(of)) for of in of_folds.values()]
                rows.append(Row(name, own[0].kind, split, metric, tuple(seeds), *more))
    return rows


def table_of(rows: Sequence[Row]) -> Table:
    """A line for each model, the best on the validation part first."""
    shown = [row for row in rows if (row.split, row.metric) != ("validation", "macro_f1")]
    cells = [
        (row.model, f"{row.split} {row.metric.replace('_f1', ' F1')}, %", row) for row in shown
    ]
    columns = dict.fromkeys(column for _, column, _ in cells)
    return report.table_of(cells, list(columns), best="highest")


def confusion(scored: Sequence[Scored], parts: PartsByFold, split: str) -> np.ndarray:
    """How often a text of each class (row) was taken for each other (column), folds together."""
    classes = scored[0].probabilities[split].shape[1]
    counts = np.zeros((classes, classes), int)
    for one in scored:
        np.add.at(counts, (parts[one.fold][split].labels, one.probabilities[split].argmax(1)), 1)
    return counts


def draw_confusion(
    path: Path, scored: Sequence[Scored], parts: PartsByFold, split: str
) -> list[Path]:
    """Draw `confusion` in percent; without matplotlib this is told, and nothing drawn."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        print(f"no picture: {error}; pip install -e '.[plot]' and --resume", file=sys.stderr)
        return []
    names, counts = parts[scored[0].fold][split].names, confusion(scored, parts, split)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(2.5 + 0.5 * len(names), 5, 14))
    figure = Figure((side + 0.5, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    if len(names) <= 24:
        for (row, column), share in np.ndenumerate(shares):
            color = "white" if share > 55 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=color, size=8)
    short = [name if len(name) <= 20 else f"{name[:18]}..." for name in names]
    axes.set_xticks(range(len(names)), short, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), short)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    axes.set_title(f"{scored[0].model}, {split} part: % of each class")
    figure.savefig(path, dpi=110)
    return [path]
