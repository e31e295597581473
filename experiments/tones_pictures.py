"""Table and picture of `experiments.tones`: bits and what was measured, waveforms, spectrograms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from experiments.tones_data import RATE
from seqjax import report, study
from seqjax.report import Row

# By the name of a figure: its column, and the part of the data it is of.
COLUMNS = {
    "test bits": ("test, bits", "test"),
    "validation bits": ("validation", "validation"),
    "pitch": ("pitch, % off", "validation"),
    "formant 1": ("F1, % off", "validation"),
    "formant 2": ("F2, % off", "validation"),
    "speed": ("1000 samples/s", "validation"),
}


def network_rows(outcomes: Mapping[str, Sequence[study.Outcome]]) -> list[Row]:
    """A row of each figure of each network."""
    return [
        study.row_of(name, done, lambda one, f=figure: one.figures[f], split=split, metric=figure)
        for name, found in outcomes.items()
        for figure, (_, split) in COLUMNS.items()
        if (done := [one for one in found if figure in one.figures])
    ]


def table_of(rows: Sequence[Row]) -> Table:
    """A line for each model, the fewest bits first."""
    there = {row.metric for row in rows}
    columns = [column for figure, (column, _) in COLUMNS.items() if figure in there]
    cells = [(row.model, COLUMNS[row.metric][0], row) for row in rows]
    return report.table_of(cells, columns, digits=2, best="lowest")


def draw(folder: Path, said: Mapping[str, np.ndarray]) -> Path:
    """The same sentence by all: 40 ms of its first vowel, and its spectrogram.

    Args:
        folder: where to.
        said: samples [time] by name.

    Returns:
        The picture.

    Raises:
        ModuleNotFoundError: without matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.6 * len(said) + 0.5), layout="constrained")
    axes: Any = figure.subplots(len(said), 2, sharex="col", squeeze=False, width_ratios=(1, 2))
    for (name, samples), (wave, bands) in zip(said.items(), axes, strict=True):
        first = int(0.14 * RATE)
        part = samples[first : first + RATE // 25]
        wave.plot(1000 * (first + np.arange(len(part))) / RATE, part, linewidth=0.8)
        wave.set_ylabel(name, fontsize=8)
        # White noise far below the quietest step: a logarithm of every power there is.
        floor = 1e-5 * np.random.default_rng(0).standard_normal(len(samples))
        bands.specgram(samples + floor, NFFT=256, noverlap=224, Fs=RATE, vmin=-120, cmap="magma")
        bands.set_ylabel("Hz", fontsize=8)
    axes[-1, 0].set_xlabel("ms")
    axes[-1, 1].set_xlabel("s")
    path = folder / "sounds.png"
    figure.savefig(path, dpi=110)
    return path
