"""Piano rolls out of MIDI files, and into them; with mido."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.data.cells import DataError
from seqjax.data.music import KEYS, LOWEST, Music, existing, held_notes, why

LONGEST = 100_000  # steps of a piece: more is no music, but a broken file
_PERCUSSION = 9  # the channel whose numbers are drums
_TICKS = 480  # of a beat, in files that are written


def read_midi(path: str | Path, steps_per_beat: int = 1) -> np.ndarray:
    """The piano roll of a MIDI file (type 0 or 1): all tracks and channels but percussion.

    A note counts at a step if it sounds a quarter of the step after its beginning, so that
    uneven playing changes little; shorter ones fall out. Keys beyond a piano's are left out, as is
    silence before the first note and after the last.

    Args:
        path: of the file.
        steps_per_beat: steps in a quarter note.

    Returns:
        The piano roll [steps, 88], uint8.

    Raises:
        DataError: for a file that is missing, damaged, of type 2 or timed by the clock, or holds
            no notes that count, fewer than 2 steps of them or more than 100,000.
        ModuleNotFoundError: without mido.

    Example: see `write_midi`.
    """
    return _read(path, steps_per_beat)[0]


def _read(path: str | Path, steps_per_beat: int) -> tuple[np.ndarray, int, int]:
    """The piano roll, how many notes count in it, and how many there are."""
    import mido

    path = existing(path)
    _check_steps(steps_per_beat)
    try:
        file = mido.MidiFile(path)
    except Exception as error:  # mido raises whatever a broken byte leads it to
        raise DataError(f"{path}: not a MIDI file, or a damaged one: {why(error)}.") from None
    if file.type == 2:
        raise DataError(f"{path}: a MIDI file of type 2, whose tracks are no one piece.")
    beat = file.ticks_per_beat
    if beat < 1:
        raise DataError(f"{path}: timed in seconds (SMPTE), not in beats; save it with beats.")
    notes = _notes(file.tracks)
    if not notes:
        raise DataError(
            f"{path}: no notes on a piano's {KEYS} keys outside percussion; take it out."
        )
    steps = max(_step(off, beat, steps_per_beat) for _, _, off in notes)
    if steps > LONGEST:
        raise DataError(f"{path}: {steps:,} steps, more than {LONGEST:,}; is its timing broken?")
    roll, kept = np.zeros((steps, KEYS), np.uint8), 0
    for key, on, off in notes:
        first, last = (_step(tick, beat, steps_per_beat) for tick in (on, off))
        roll[first:last, key] = 1
        kept += first < last
    heard = np.flatnonzero(roll.any(axis=1))
    roll = roll[heard[0] : heard[-1] + 1] if len(heard) else roll[:0]
    if len(roll) < 2:
        raise DataError(
            f"{path}: notes at {len(roll)} step(s) of 1/{steps_per_beat} beat; a piece has 2 or"
            " more. Take the file out, or choose shorter steps."
        )
    return roll, kept, len(notes)


def _step(tick: int, beat: int, steps_per_beat: int) -> int:
    """The first step whose first quarter ends at or after a tick."""
    return max(0, -((beat - 4 * tick * steps_per_beat) // (4 * beat)))


def _notes(tracks: Sequence[Any]) -> list[tuple[int, int, int]]:
    """Key, first tick and end of every note; what is never let go ends with the file.

    A track's notes end by its own messages: another one on the same channel may hold the same key.
    """
    end = max((sum(message.time for message in track) for track in tracks), default=0)
    found = []
    for track in tracks:
        now = 0
        sounding: dict[tuple[int, int], int] = {}
        for message in track:
            now += message.time
            if message.type not in ("note_on", "note_off") or message.channel == _PERCUSSION:
                continue
            name = (message.channel, message.note - LOWEST)
            if name in sounding:
                found.append((name[1], sounding.pop(name), now))
            if message.type == "note_on" and message.velocity:
                sounding[name] = now
        found += [(key, on, end) for (_, key), on in sounding.items()]
    return [note for note in found if 0 <= note[0] < KEYS]


def read_midi_folder(
    folder: str | Path, steps_per_beat: int = 1, shares: tuple[float, float] = (0.2, 0.2)
) -> Music:
    """All MIDI files of a folder and those within it, in three parts.

    Args:
        folder: with files .mid or .midi; names that begin with "." are skipped.
        steps_per_beat: see `read_midi`.
        shares: of the pieces for validation and test, drawn with a fixed seed; of pieces that
            are copies one is kept.

    Returns:
        The pieces, and how many of their notes are long enough for the steps.

    Raises:
        DataError: where there are fewer than 3 pieces; see `read_midi` for what is wrong with one.
        ModuleNotFoundError: without mido.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder.")
    files = sorted(
        path
        for path in folder.rglob("[!.]*")  # others are what a system keeps beside a file
        if path.suffix.lower() in (".mid", ".midi")
    )
    read = (_read(path, steps_per_beat) for path in files)
    found = list({one[0].tobytes(): one for one in read}.values())
    pieces = [roll for roll, _, _ in found]
    counts = [max(1, round(share * len(pieces))) for share in shares]
    if len(pieces) <= sum(counts):
        raise DataError(
            f"{folder}: {len(pieces)} different piece(s) in {len(files)} MIDI file(s); there must"
            " be 3 at least, and hundreds to learn from."
        )
    order = np.random.default_rng(0).permutation(len(pieces))
    ends = np.cumsum(counts)
    validation, test, train = (
        tuple(pieces[k] for k in sorted(part)) for part in np.split(order, ends)
    )
    notes = sum(kept for _, kept, _ in found), sum(count for _, _, count in found)
    return Music(train, validation, test, str(folder), notes)


def write_midi(
    path: str | Path, roll: np.ndarray, steps_per_beat: int = 1, beats_per_minute: float = 80
) -> None:
    """Write a piano roll as a MIDI file; what sounds at neighbouring steps is one held note.

    Args:
        path: of the file.
        roll: [steps, 88], zeros and ones.
        steps_per_beat: steps in a quarter note.
        beats_per_minute: quarter notes in a minute.

    Raises:
        ValueError: for a roll of another shape.
        ModuleNotFoundError: without mido.

    Example:
        >>> import pathlib, tempfile
        >>> roll = np.zeros((4, 88), np.uint8)
        >>> roll[:3, 39], roll[2:, 43] = 1, 1  # middle C, then the E above
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "third.mid"
        >>> write_midi(path, roll)
        >>> bool((read_midi(path) == roll).all())
        True
    """
    import mido

    _check_steps(steps_per_beat)
    events = []
    for key, on, off in held_notes(roll):
        events += [(off, "note_off", key + LOWEST), (on, "note_on", key + LOWEST)]
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(beats_per_minute))])
    now = 0
    for step, event, note in sorted(events):  # at one step, what ends before what begins
        tick = round(step * _TICKS / steps_per_beat)
        track.append(mido.Message(event, note=note, velocity=64, time=tick - now))
        now = tick
    mido.MidiFile(type=0, ticks_per_beat=_TICKS, tracks=[track]).save(path)


def _check_steps(steps_per_beat: int) -> None:
    if steps_per_beat < 1:
        raise ValueError(f"steps_per_beat must be at least 1, not {steps_per_beat}.")
