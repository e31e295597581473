"""Rules of voice leading in four parts: which chords there are, and which may follow which."""

import functools
import itertools
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

Mode = Literal["major", "minor"]

RANGES = ((40, 60), (48, 67), (55, 74), (60, 79))  # bass, tenor, alto, soprano: MIDI numbers
LEAPS = np.array([12, 7, 7, 7])  # semitones
_PAIRS = tuple(itertools.combinations(range(4), 2))

# Pitch classes above the tonic, root first.
CHORDS: Mapping[Mode, Mapping[str, tuple[int, ...]]] = {
    "major": {
        "I": (0, 4, 7),
        "ii": (2, 5, 9),
        "IV": (5, 9, 0),
        "V": (7, 11, 2),
        "V7": (7, 11, 2, 5),
        "vi": (9, 0, 4),
    },
    "minor": {
        "I": (0, 3, 7),
        "ii": (2, 5, 8),
        "IV": (5, 8, 0),
        "V": (7, 11, 2),
        "V7": (7, 11, 2, 5),
        "vi": (8, 0, 3),
    },
}
NAMES = tuple(CHORDS["major"])
DOMINANTS = (NAMES.index("V"), NAMES.index("V7"))


class Key(NamedTuple):
    """A key.

    Attributes:
        tonic: its pitch class; C is 0.
        mode: major or minor.
    """

    tonic: int
    mode: Mode


ALL_KEYS = tuple(Key(tonic, mode) for mode in CHORDS for tonic in range(12))


class Faults(NamedTuple):
    """Rules of voice leading that a step from one chord to the next breaks; each [...], bool.

    Attributes:
        parallel: two voices move from a fifth to a fifth, or from an octave to an octave.
        overlap: a voice goes beyond where its neighbour was.
        leap: a voice leaps further than `LEAPS`.
    """

    parallel: np.ndarray
    overlap: np.ndarray
    leap: np.ndarray


def faults(before: np.ndarray, after: np.ndarray) -> Faults:
    """Which rules the steps break.

    Args:
        before: [..., 4], MIDI numbers from the bass up.
        after: [..., 4], the same.

    Returns:
        The broken rules of each.

    Example:
        >>> c, d = np.array([48, 55, 64, 72]), np.array([50, 57, 65, 74])
        >>> [bool(fault) for fault in faults(c, d)]  # fifths, octaves
        [True, False, False]
    """
    move = after - before
    parallel = np.zeros(move.shape[:-1], bool)
    for low, high in _PAIRS:
        old, new = (chord[..., high] - chord[..., low] for chord in (before, after))
        perfect = (old % 12 == new % 12) & ((new % 12 == 7) | (new % 12 == 0))
        parallel |= perfect & (move[..., low] != 0) & (move[..., high] != 0)
    beyond = (after[..., :-1] > before[..., 1:]) | (after[..., 1:] < before[..., :-1])
    leap = np.abs(move) > LEAPS
    return Faults(parallel, *(np.asarray(one.any(axis=-1)) for one in (beyond, leap)))


class Candidates(NamedTuple):
    """All voicings of a key's chords.

    Attributes:
        pitches: [candidates, 4], MIDI numbers from the bass up, rising.
        chords: [candidates], places in the order of the chords.
        root: [candidates], whether the root is in the bass; elsewhere it is the third.
    """

    pitches: np.ndarray
    chords: np.ndarray
    root: np.ndarray


@functools.cache
def candidates(key: Key) -> Candidates:
    """All voicings of a key's chords: neither third nor seventh doubled, close above the bass.

    The fifth may be left out.
    """
    found = []
    for number, classes in enumerate(CHORDS[key.mode].values()):
        chord = [(key.tonic + one) % 12 for one in classes]
        choices = [[p for p in range(low, high + 1) if p % 12 in chord] for low, high in RANGES]
        for voicing in itertools.product(*choices):
            tones = [p % 12 for p in voicing]
            if (
                set(chord) - set(tones) <= {chord[2]}
                and all(tones.count(tone) == 1 for tone in (chord[1], *chord[3:]))
                and tones[0] in chord[:2]
                and _resolves(voicing, key)
                and voicing[0] < voicing[1] < voicing[2] < voicing[3]
                and voicing[3] - voicing[2] <= 12
                and voicing[2] - voicing[1] <= 12
            ):
                found.append((voicing, number, tones[0] == chord[0]))
    pitches, chords, root = zip(*found, strict=True)
    return Candidates(np.array(pitches), np.array(chords), np.array(root))


def _resolves(voicing: tuple[int, ...], key: Key) -> bool:
    """Whether leading note and seventh have room within the ranges to go where they must."""
    degrees = [(pitch - key.tonic) % 12 for pitch in voicing]
    falls = 11 in degrees and 5 in degrees
    return not (degrees[3] == 11 and voicing[3] == RANGES[3][1]) and not any(
        falls and degree == 5 and pitch - 2 < low
        for degree, pitch, (low, _) in zip(degrees, voicing, RANGES, strict=True)
    )


def reachable(key: Key, at: int | np.intp) -> np.ndarray:
    """Which candidates may follow a candidate by the rules."""
    pitches, chords, _ = candidates(key)
    before = pitches[at]
    found = ~np.any(faults(before, pitches), axis=0)
    if chords[at] in DOMINANTS:  # the leading note in the soprano and the seventh resolve
        degrees, move = (before - key.tonic) % 12, pitches - before
        other = ~np.isin(chords, (NAMES.index("I"), NAMES.index("vi")))
        if degrees[3] == 11:
            found &= other | (move[:, 3] == 1)
        for voice in np.flatnonzero(degrees == 5):
            found &= other | np.isin(move[:, voice], (-1, -2))
    return found


@functools.cache
def closes(key: Key) -> np.ndarray:
    """Which candidates are dominants from which the tonic, its root in the bass, is reached."""
    _, chords, root = candidates(key)
    tonic, found = root & (chords == NAMES.index("I")), np.zeros(len(chords), bool)
    for at in np.flatnonzero(root & np.isin(chords, DOMINANTS)):
        found[at] = (reachable(key, at) & tonic).any()
    return found
