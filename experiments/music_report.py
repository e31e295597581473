"""The table and the picture of `experiments.music`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from experiments.music_bound import bound
from experiments.music_models import recipe_of
from experiments.music_pieces import Tally, best_row, composed, counted, save, tally
from seqjax import report, study
from seqjax.data.music import LOWEST, Music
from seqjax.report import Row

SHOWN = 64  # steps of a piece
# Bai, Kolter and Koltun, arXiv 1803.01271, table 1, of the benchmark's chorales.
PUBLISHED = {"RNN": 8.91, "LSTM": 8.45, "GRU": 8.43, "TCN": 8.10}
_CHORALES = (13_807, 4_602, 4_725)  # steps of its three parts
_COUNTS = {
    "voices": "four voices, %",
    "parallels": "parallels, %",
    "leaps": "leaps, %",
    "in_key": "in key, %",
}


def rows_of(
    outcomes: Mapping[str, Sequence[study.Outcome]],
    music: Music,
    *,
    test: bool,
    generated: bool = False,
) -> list[Row]:
    """All figures: networks, baselines, bounds, and those published.

    Args:
        outcomes: by row.
        music: the data.
        test: whether to look at the test part.
        generated: whether the pieces are those of `chorales`, whose distribution is known.
    """
    splits = ("test", "validation") if test else ("validation",)
    rows = []
    for name, found in outcomes.items():
        kind = recipe_of(name).kind
        for split in splits:
            if done := [one for one in found if split in one.figures]:
                rows.append(
                    study.row_of(
                        name,
                        done,
                        lambda one, split=split: one.figures[split],
                        split=split,
                        metric="nll",
                        kind=kind,
                    )
                )
        tallies = [Tally(**one.figures["drawn"]) for one in found]
        if kind == "model":
            rows += _tallied(name, kind, "drawn", tallies)
    for split in splits:
        rolls = music.parts()[split]
        for name, value in counted(music.train, rolls).items():
            rows.append(Row(name, "baseline", split, "nll", (value,)))
        if generated:
            for name, value in bound(rolls)._asdict().items():
                title = f"generator (bound), {name} keys"
                rows.append(Row(title, "baseline", split, "nll", (value,)))
    own = tally(music.parts()[splits[0]])
    rows += _tallied("the pieces themselves", "baseline", splits[0], [own])
    if test and tuple(sum(map(len, part)) for part in music.parts().values()) == _CHORALES:
        rows += [
            Row(f"{name}, Bai et al. 2018", "published", "test", "nll", (value,))
            for name, value in PUBLISHED.items()
        ]
    return rows


def _tallied(name: str, kind: report.Kind, split: str, tallies: Sequence[Tally]) -> list[Row]:
    rows = []
    for metric in Tally._fields:
        values = [value for one in tallies if (value := getattr(one, metric)) is not None]
        if values:
            rows.append(Row(name, kind, split, metric, tuple(values)))
    return rows


def table_of(rows: Sequence[Row]) -> Table:
    """A line for each model, the best first; what was counted beside."""
    cells = [
        (row.model, f"{row.split}, nats" if row.metric == "nll" else _COUNTS[row.metric], row)
        for row in rows
    ]
    shown = {column for _, column, _ in cells}
    columns = [one for one in ("test, nats", "validation, nats", *_COUNTS.values()) if one in shown]
    return report.table_of(cells, columns, digits=2, best="lowest")


def write(
    folder: Path, outcomes: Mapping[str, Sequence[study.Outcome]], music: Music, split: str
) -> list[Path]:
    """A piece by the best network as sound and MIDI, and the picture of pieces.

    Args:
        folder: the run's.
        outcomes: by row.
        music: the data.
        split: the part whose first piece is shown.

    Returns:
        The files written.
    """
    networks = [name for name in outcomes if recipe_of(name).kind == "model"]
    if not networks:
        return []
    drawn = {name: composed(folder, name, SHOWN) for name in networks}
    best = best_row(folder)
    files = save(folder, best, drawn[best])
    pieces = {f"a piece of the {split} part": music.parts()[split][0][:SHOWN]}
    try:
        draw(folder / "rolls.png", pieces | {f"drawn by {name}": drawn[name] for name in networks})
    except ModuleNotFoundError as error:
        print(f"no picture: {error}; pip install -e '.[plot]' and --resume", file=sys.stderr)
        return files
    return [*files, folder / "rolls.png"]


def draw(path: Path, pieces: Mapping[str, np.ndarray]) -> None:
    """Piano rolls, one beside the other.

    Args:
        path: of the PNG.
        pieces: [steps, 88] by title.
    """
    from matplotlib.figure import Figure

    columns = min(3, len(pieces))
    lines = -(-len(pieces) // columns)
    figure = Figure((4.2 * columns, 2.7 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    used = np.flatnonzero(np.any([roll.any(axis=0) for roll in pieces.values()], axis=0))
    low, high = (used[0] - 1, used[-1] + 1) if len(used) else (0, 87)
    for axes in panels.flat[len(pieces) :]:
        axes.set_axis_off()
    for axes, (title, roll) in zip(panels.flat, pieces.items(), strict=False):
        axes.imshow(
            roll.T,
            origin="lower",
            aspect="auto",
            cmap="Greys",
            interpolation="nearest",
            extent=(0, len(roll), LOWEST - 0.5, LOWEST + 87.5),
        )
        axes.set_ylim(LOWEST + low, LOWEST + high)
        axes.set_title(title, fontsize="medium")
    for axes in panels[-1]:
        axes.set_xlabel("step")
    for axes in panels[:, 0]:
        axes.set_ylabel("MIDI number")
    figure.savefig(path, dpi=100)
