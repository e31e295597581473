"""The table of `experiments.caption_digits`, and its picture, which needs matplotlib."""

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from experiments import caption_digits_data as captions
from experiments.caption_digits_models import BEAMS, write as write_captions
from experiments.digits_data import SIDE
from seqjax import report, runs, study
from seqjax.report import Row

SHOWN, WRONG, COLUMNS = 16, 8, 8  # pictures: the first, and the first that are misdescribed
_METRICS = {"exact": "exact match", "words": "word accuracy"}


def result_rows(outcomes: Mapping[str, Sequence[study.Outcome]]) -> list[Row]:
    """The table as rows, in per cent: captioners and baselines."""
    splits = next(iter(outcomes.values()))[0].figures
    rows = []
    for split in splits:
        for metric in ("exact", "words"):
            rows += [
                study.row_of(
                    f"{name}, {how}",
                    found,
                    lambda one, at=(split, how, metric): 100 * one.figures[at[0]][at[1]][at[2]],
                    split=split,
                    metric=metric,
                )
                for name, found in outcomes.items()
                for how in BEAMS
            ]
            rows += [
                Row(name, "baseline", split, metric, (100 * found[split][metric],))
                for name, found in captions.baselines().items()
            ]
    return rows


def table_of(rows: Sequence[Row], split: str) -> Table:
    """A line for each captioner, way of decoding and baseline; per cent."""
    cells = [(row.model, _METRICS[row.metric], row) for row in rows if row.split == split]
    return report.table_of(cells, list(_METRICS.values()), corner=f"{split}, %")


def write(folder: Path, rows: Sequence[Row], part: captions.Captions) -> list[Path]:
    """Draw pictures with the captions of the network that is best on the validation part.

    Args:
        folder: the run's.
        rows: the table.
        part: the pictures.

    Returns:
        The files written; none without matplotlib.
    """
    among = [
        row
        for row in rows
        if (row.kind, row.split, row.metric) == ("model", "validation", "exact")
        and " " not in row.model.partition(", ")[0]  # nothing swept
    ]
    if not among:
        return []
    best = max(among, key=lambda row: row.mean).model
    name, _, how = best.partition(", ")
    found = runs.load(folder, name)
    words, lengths = write_captions(found.model, found.params, part, BEAMS[how])
    vocabulary = captions.task().vocabulary
    said, true = (
        [vocabulary.decode(row[:length]) for row, length in zip(tokens, ends, strict=True)]
        for tokens, ends in ((words, lengths), (part.tokens[:, 1:], part.lengths - 1))
    )
    try:
        draw(folder / "captions.png", part.pictures, said, true, f"{best}, first seed")
    except ModuleNotFoundError as error:
        print(f"no picture: {error}; pip install -e '.[plot]' and --resume", file=sys.stderr)
        return []
    return [folder / "captions.png"]


def draw(
    path: Path, pictures: np.ndarray, said: Sequence[str], true: Sequence[str], title: str
) -> None:
    """Pictures above their captions, wrong words in red.

    Args:
        path: of the PNG.
        pictures: [examples, 8, 8].
        said: the captions.
        true: what they should be.
        title: of the picture.
    """
    from matplotlib.figure import Figure

    wrong = [k for k in range(len(said)) if said[k] != true[k]]
    below = [k for k in wrong if k >= SHOWN][:WRONG]
    numbers = [*range(SHOWN), *below]
    height = -(-len(numbers) // COLUMNS)
    figure = Figure((1.75 * COLUMNS, 2.3 * height + 0.4), layout="constrained")
    words = f"the first {SHOWN}"
    if below:
        words += f", then {len(below)} others that are wrong"
    figure.suptitle(f"{title}: {words}")
    grid: Any = figure.subplots(height, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, k in zip(grid.flat, numbers, strict=False):
        axes.imshow(pictures[k], cmap="gray_r", vmin=0, vmax=1)
        axes.set_ylim(SIDE + 3, -0.5)  # room for three lines
        _add_words(axes, said[k], true[k])
    figure.savefig(path, dpi=90)


def _add_words(axes: Any, said: str, true: str) -> None:
    """The caption below a picture, a line for each phrase; what it left out in brackets."""
    words, right = said.split(), true.split()
    line, place = 0, 0
    changes = difflib.SequenceMatcher(a=words, b=right, autojunk=False).get_opcodes()
    for change, start, end, missed, until in changes:
        shown = words[start:end] or [f"({word})" for word in right[missed:until]]
        for word in shown:
            if word == ",":
                line, place = line + 1, 0
                continue
            at = (0.31 * place - 0.5, SIDE + 0.2 + line)  # in pixels of the picture
            colour = "black" if change == "equal" else "red"
            axes.text(*at, word, family="monospace", fontsize=7, va="baseline", color=colour)
            place += len(word) + 1
