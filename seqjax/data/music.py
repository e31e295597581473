"""Polyphonic music as piano rolls: benchmark files in, sound out; `seqjax.data.midi` has MIDI.

A piano roll is a matrix [steps, 88] of zeros and ones: which keys of a piano, from A0 up, sound
at each step. It tells no difference between a note that is held and one that is struck again.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqjax.data.cells import DataError, short

KEYS = 88
LOWEST = 21
"""The MIDI number of the lowest key, A0; middle C is 60."""

_VARIABLES = {"train": "traindata", "validation": "validdata", "test": "testdata"}


class Music(NamedTuple):
    """Pieces in three parts.

    Attributes:
        train: piano rolls [steps, 88], uint8, of unequal lengths.
        validation: the same.
        test: the same.
        source: where they come from, for messages.
        notes: of MIDI files, those long enough to count at a step, and all.
    """

    train: tuple[np.ndarray, ...]
    validation: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]
    source: str
    notes: tuple[int, int] | None = None

    def parts(self) -> dict[str, tuple[np.ndarray, ...]]:
        """The three parts by name."""
        return {name: getattr(self, name) for name in _VARIABLES}


def read_mat(path: str | Path) -> Music:
    """A file of the polyphonic music benchmarks: MATLAB's, of before version 7.3.

    Args:
        path: cell arrays `traindata`, `validdata` and `testdata`, each cell a piano roll.

    Returns:
        The pieces.

    Raises:
        DataError: for a file that is missing or none of MATLAB's, a variable that is missing or
            no cell array, and a piece that is no piano roll of at least 2 steps. The message
            names file, variable and cell.

    Example:
        >>> import pathlib, scipy.io, tempfile
        >>> cells = np.empty(1, object)
        >>> cells[0] = np.eye(3, 88)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "music.mat"
        >>> scipy.io.savemat(path, dict.fromkeys(("traindata", "validdata", "testdata"), cells))
        >>> [part[0].shape for part in read_mat(path).parts().values()]
        [(3, 88), (3, 88), (3, 88)]

    Source: Boulanger-Lewandowski, Bengio and Vincent, "Modeling temporal dependencies in
    high-dimensional sequences", ICML 2012, arXiv 1206.6392; the MATLAB files are Bai et al.'s
    (arXiv 1803.01271).
    """
    from scipy.io import loadmat

    path = existing(path)
    try:
        found = loadmat(path, variable_names=tuple(_VARIABLES.values()))
    except NotImplementedError:
        raise DataError(
            f"{path}: a MATLAB file of version 7.3 (HDF5); save it with save(..., '-v7')."
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except Exception as error:  # SciPy raises whatever a broken byte leads it to
        raise DataError(f"{path}: not a MATLAB file, or a damaged one: {why(error)}.") from None
    return Music(
        *(tuple(_cells(path, name, found)) for name in _VARIABLES.values()), source=str(path)
    )


def _cells(path: Path, name: str, found: dict[str, Any]) -> Iterator[np.ndarray]:
    if name not in found:
        raise DataError(f"{path}: there is no variable {name}; it must hold all of {_names()}.")
    cells = found[name]
    if getattr(cells, "dtype", np.dtype(int)).kind != "O" or not cells.size:
        raise DataError(f"{path}: {name} must be a cell array of one piece or more.")
    for number, cell in enumerate(cells.reshape(-1, order="F"), 1):
        cell = cell.toarray() if hasattr(cell, "toarray") else np.asarray(cell)  # or a sparse one
        place = f"{path}: {name}{{{number}}}"
        if cell.ndim != 2 or cell.shape[1] != KEYS or len(cell) < 2:
            raise DataError(
                f"{place}: a piece must be [steps, {KEYS}] with 2 steps or more, but its shape is"
                f" {cell.shape}."
            )
        if cell.dtype.kind not in "buif" or not np.isin(cell, (0, 1)).all():
            raise DataError(f"{place}: a piece must hold zeros and ones, nothing else.")
        yield cell.astype(np.uint8)


def _names() -> str:
    return ", ".join(_VARIABLES.values())


def held_notes(roll: np.ndarray) -> list[tuple[int, int, int]]:
    """Key, first step and end of every held note of a piano roll [steps, 88].

    Example:
        >>> held_notes(np.eye(2, 88))
        [(0, 0, 1), (1, 1, 2)]
    """
    if roll.ndim != 2 or roll.shape[1] != KEYS:
        raise ValueError(f"a piano roll must be [steps, {KEYS}], but its shape is {roll.shape}.")
    padded = np.pad(roll.astype(np.int8), ((1, 1), (0, 0)))
    change = np.diff(padded, axis=0).T  # [keys, steps + 1]
    starts, ends = np.argwhere(change == 1), np.argwhere(change == -1)
    return [(int(k), int(on), int(off)) for (k, on), (_, off) in zip(starts, ends, strict=True)]


def sound_of(roll: np.ndarray, rate: int = 22_050, seconds_per_step: float = 0.75) -> np.ndarray:
    """A piano roll as sound: sums of sines, each note fading.

    Args:
        roll: [steps, 88], zeros and ones.
        rate: samples in a second, Hz.
        seconds_per_step: of the sound.

    Returns:
        Samples in [-0.9, 0.9]; half a second is added in which the last notes fade.

    Raises:
        ValueError: for a roll of another shape.

    Example:
        >>> sound = sound_of(np.eye(2, 88, 48), rate=8_000, seconds_per_step=0.5)
        >>> power = np.abs(np.fft.rfft(sound[:4_000]))  # of A4; B flat follows
        >>> int(np.argmax(power)) * 2  # Hz
        440
    """
    notes = held_notes(roll)
    tail = rate // 2  # of the last notes
    sound = np.zeros(round(len(roll) * seconds_per_step * rate) + tail)
    release = np.exp(-20 * np.arange(tail) / rate)
    for key, own in itertools.groupby(notes, key=lambda note: note[0]):
        spans = [[round(step * seconds_per_step * rate) for step in ends] for _, *ends in own]
        # All notes of a key begin alike: one wave, as long as the longest.
        longest = max(last - first for first, last in spans)
        seconds = np.arange(longest + tail) / rate
        pitch = 440.0 * 2 ** ((key + LOWEST - 69) / 12)
        wave = np.zeros(len(seconds))
        for harmonic in range(1, 1 + min(6, int(rate / 2 / pitch))):
            wave += np.sin(2 * np.pi * pitch * harmonic * seconds) / harmonic**1.6
        wave *= np.minimum(seconds / 0.02, 1) * np.exp(-0.7 * seconds)
        for first, last in spans:
            sound[first:last] += wave[: last - first]
            sound[last : last + tail] += wave[last - first : last - first + tail] * release
    peak = np.abs(sound).max()
    return sound * (0.9 / peak) if peak else sound


def existing(path: str | Path) -> Path:
    """The path; DataError where there is no file."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    return path


def why(error: Exception) -> str:
    """An error in a few words."""
    return short(str(error).strip() or type(error).__name__)
