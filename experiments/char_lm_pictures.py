"""The picture of `experiments.char_lm`: bits while characters are read, n-grams beside."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from seqjax.report import Row
from seqjax.study import Outcome


def draw(
    folder: Path, outcomes: Mapping[str, Sequence[Outcome]], rows: Sequence[Row], unit: str
) -> list[Path]:
    """Validation bits against characters read, the mean over seeds.

    Args:
        folder: where to.
        outcomes: by row, with "characters" of an update among their settings.
        rows: of the table, for the n-gram models.
        unit: what a token is.

    Returns:
        The picture.

    Raises:
        ModuleNotFoundError: without matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, found in outcomes.items():
        count = min(len(one.history) for one in found)
        bits = [[line["validation_bits"] for line in one.history[:count]] for one in found]
        size = found[0].settings["batch_size"] * found[0].settings["steps"]
        read = [line["step"] * size / 1e6 for line in found[0].history[:count]]
        axes.plot(read, np.mean(bits, axis=0), marker=".", label=name)
    grams = [row for row in rows if row.kind == "baseline" and row.split == "validation"]
    for row in grams[2:]:
        axes.axhline(row.mean, color="grey", linewidth=0.7, linestyle="--")
        axes.annotate(row.model, (1, row.mean), xycoords=("axes fraction", "data"), fontsize=7)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel=f"{unit}s read in training, millions", ylabel=f"validation, bits per {unit}")
    axes.legend(fontsize=8)
    path = folder / "bits.png"
    figure.savefig(path, dpi=110)
    return [path]
