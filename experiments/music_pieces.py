"""The pieces of `experiments.music`: read, counted, and drawn from its networks."""

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import xlogy

from experiments.music_chorales import chorales
from experiments.music_models import drawn, make_model, recipe_of
from experiments.music_rules import faults
from seqjax import launch, runs
from seqjax.data import midi as midi_files
from seqjax.data.music import KEYS, LOWEST, Music, read_mat, sound_of
from seqjax.data.sound import write_wav

COUNTS = (229, 76, 77)  # of the default pieces: those of the benchmark's chorales
_SCALES = np.array(
    [
        [(pitch - tonic) % 12 in scale for pitch in range(LOWEST, LOWEST + KEYS)]
        for scale in ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 11))  # major, harmonic minor
        for tonic in range(12)
    ]
)
_RATE = 22_050  # Hz
_SUFFIXES = ".wav", ".mid"
_NO_MIDO = "MIDI files need mido: pip install -e '.[experiments]'"


def read(data: Path | None, folder: Path | None, steps_per_beat: int) -> Music:
    """The pieces asked for, or the generated chorales.

    Of MIDI files stderr is told how many notes are too short for the steps.

    Raises:
        DataError: see `seqjax.data.music.read_mat` and `seqjax.data.midi.read_midi_folder`.
        RunError: for MIDI without mido.
    """
    if data is not None:
        return read_mat(data)
    if folder is None:
        return chorales(COUNTS)
    try:
        music = midi_files.read_midi_folder(folder, steps_per_beat)
    except ModuleNotFoundError:
        raise launch.RunError(f"{_NO_MIDO}.") from None
    if music.notes is not None:
        kept, notes = music.notes
        share = f"{folder}: {kept:,} of {notes:,} notes ({kept / notes:.1%}) are long enough for"
        print(f"{share} --steps-per-beat {steps_per_beat}", file=sys.stderr)
    return music


def look_at(music: Music) -> Music:
    """A few of the pieces."""
    return music._replace(train=music.train[:240], validation=music.validation[:16])


def counted(train: Sequence[np.ndarray], rolls: Sequence[np.ndarray]) -> dict[str, float]:
    """Nats of a step (the first of a piece aside) by what can be counted.

    Args:
        train: pieces to count in, one added to every count.
        rolls: pieces to measure.

    Returns:
        Of each key's frequency; and of its frequency after it did, or did not, sound.
    """
    before, after = (
        np.concatenate([roll[cut] for roll in train]).astype(float)
        for cut in (slice(None, -1), slice(1, None))
    )
    often = (after.sum(axis=0) + 1) / (len(after) + 2)
    stays = ((before * after).sum(axis=0) + 1) / (before.sum(axis=0) + 2)
    begins = ((1 - before) * after).sum(axis=0) + 1
    begins = begins / ((1 - before).sum(axis=0) + 2)
    frequency, repeat = [], []
    for roll in rolls:
        old, new = roll[:-1].astype(float), roll[1:].astype(float)
        for found, share in ((frequency, often), (repeat, old * stays + (1 - old) * begins)):
            found.append(-(xlogy(new, share) + xlogy(1 - new, 1 - share)).sum(axis=1))
    return {
        "frequency of each key": float(np.concatenate(frequency).mean()),
        "the step before, smoothed": float(np.concatenate(repeat).mean()),
    }


class Tally(NamedTuple):
    """How far pieces keep to four parts and their rules, per cent.

    Attributes:
        voices: steps at which four keys sound.
        parallels: of the steps from four keys to four, those with parallel fifths or octaves.
        leaps: of the same, those with a leap too wide or voices that overlap.
        in_key: notes within a piece's own scale, major or harmonic minor, whichever fits best.
    """

    voices: float | None
    parallels: float | None
    leaps: float | None
    in_key: float | None


def tally(rolls: Sequence[np.ndarray]) -> Tally:
    """Count what the rules of voice leading say of pieces.

    Args:
        rolls: piano rolls [steps, 88].

    Returns:
        The counts; None where there is nothing to count.

    Example:
        >>> roll = np.zeros((3, 88), np.uint8)
        >>> for step, chord in enumerate(([48, 55, 64, 72], [50, 57, 65, 74], [50, 57, 65])):
        ...     roll[step, np.array(chord) - 21] = 1
        >>> [share and round(share, 1) for share in tally([roll])]
        [66.7, 100.0, 0.0, 100.0]
    """
    four = np.concatenate([roll.sum(axis=1) == 4 for roll in rolls])
    steps = [
        np.array([np.flatnonzero(old), np.flatnonzero(new)])
        for roll in rolls
        for old, new in itertools.pairwise(roll)
        if old.sum() == new.sum() == 4
    ]
    before, after = np.swapaxes(np.array(steps, int).reshape(-1, 2, 4), 0, 1)
    broken = faults(before, after)
    notes = np.array([roll.sum(axis=0) for roll in rolls])  # [pieces, keys]
    inside = (notes @ _SCALES.T).max(axis=1).sum()
    return Tally(
        _per_cent(four.sum(), len(four)),
        _per_cent(broken.parallel.sum(), len(before)),
        _per_cent((broken.leap | broken.overlap).sum(), len(before)),
        _per_cent(inside, notes.sum()),
    )


def _per_cent(part: float, of: float) -> float | None:
    return float(100 * part / of) if of else None


def best_row(folder: Path) -> str:
    """The network of a run whose mean validation figure is the least.

    Raises:
        RunError: where none is done.
    """
    found: dict[str, list[float]] = {}
    for path in sorted((folder / "rows").glob("*/seed-*.json")):
        name = path.parent.name
        if recipe_of(name).kind == "model":
            found.setdefault(name, []).append(json.loads(path.read_text())["figures"]["validation"])
    if not found:
        raise launch.RunError(f"{folder}: there is no finished network to compose with.")
    return min(found, key=lambda name: float(np.mean(found[name])))


def composed(folder: Path, row: str, steps: int, seed: int = 0) -> np.ndarray:
    """A piece [steps, 88] by a finished row's first seed.

    Raises:
        RunError: where there is no such row, or an earlier version trained it.
    """
    recipe, own = recipe_of(row), _extra(folder, row)
    if "keys" not in own:
        raise launch.RunError(
            f"{folder}: an earlier version trained {row!r}, which did not write down its keys;"
            " train it anew."
        )
    low, count = own["keys"]
    found = runs.load(folder, row, model=make_model(recipe, keys=(low, count)))
    return drawn(found.model, recipe.law((low, count)), found.params, 1, steps, seed)[0]


def _extra(folder: Path, row: str) -> dict[str, Any]:
    """What is written down of a row besides its model."""
    path = folder / "rows" / row / "model.json"
    if not path.exists():
        raise launch.RunError(f"{folder}: there is no trained network {row!r} (no {path}).")
    return json.loads(path.read_text())["extra"]


def compose(folder: Path, row: str | None, steps: int, seed: int = 0) -> list[Path]:
    """Write a piece by a network of a run as sound and, with mido, as MIDI.

    Args:
        folder: the run's.
        row: which of its rows; by default the best network's.
        steps: of the piece.
        seed: of the draws.

    Returns:
        The files, in the folder: the next names there that are free.

    Raises:
        RunError: where there is no such run or row.
    """
    row = best_row(folder) if row is None else row
    roll, stem = composed(folder, row, steps, seed), _stem(row, seed)
    names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
    free = (one for one in names if not any((folder / f"{one}{x}").exists() for x in _SUFFIXES))
    return save(folder, row, roll, next(free))


def _stem(row: str, seed: int) -> str:
    return f"{row.replace(' ', '-')}-{seed}"


def save(folder: Path, row: str, roll: np.ndarray, name: str | None = None) -> list[Path]:
    """Write a piece [steps, 88] by a row of a run, as `compose` does; over files of that name."""
    own = _extra(folder, row)
    name = _stem(row, 0) if name is None else name
    files = [folder / f"{name}.wav"]
    write_wav(files[0], sound_of(roll, _RATE, 0.75 / own["steps_per_beat"]), _RATE)
    try:
        midi_files.write_midi(folder / f"{name}.mid", roll, own["steps_per_beat"])
    except ModuleNotFoundError:
        return files  # the sound is there; --midi, which needs it, says so
    return [*files, folder / f"{name}.mid"]
