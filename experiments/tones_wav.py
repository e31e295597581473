"""Recordings for `experiments.tones`: WAV files in three parts."""

import hashlib
import sys
from pathlib import Path

import numpy as np

from experiments.tones_data import FRAME, LEVELS, RATE, Parts, Sounds
from seqjax.data import DataError
from seqjax.data.sound import mu_law_encode, read_wavs, wav_lengths
from seqjax.train.fingerprint import digest

_FEW = 10  # recordings, of which each is split
_LEAST = 30  # seconds


def recorded(folder: Path, minutes: float) -> Parts:
    """Recordings of a folder in three parts.

    Of more than so many minutes a part of each is read (see `seqjax.data.sound.read_wavs`), and
    stderr told of it: time and memory do not grow with what is left out.

    From ten files on whole files go into each part, as a hash of them decides; fewer are cut,
    a tenth at the end of each into the test part and as much before that into validation.

    Raises:
        DataError: see `seqjax.data.sound.read_wavs`; for less than half a minute, and
            for a recording that is read whole and is silent throughout.
    """
    read = read_wavs(folder, RATE, 60 * minutes)
    found = [mu_law_encode(each, LEVELS) for each in read.values()]
    lengths = wav_lengths(folder)
    seconds, whole = sum(map(len, found)) / RATE, sum(lengths.values())
    if (most := min(whole, 60 * minutes)) < _LEAST:
        raise DataError(f"{folder}: {most:.1f} s of sound are too few; record {_LEAST} s.")
    for name, codes in zip(read, found, strict=True):
        # A long one may begin with silence.
        if len(codes) >= int(lengths[name] * RATE) and (codes == codes[0]).all():
            raise DataError(f"{folder / name}: silence, one value from end to end; take it out.")
    if whole > seconds + 1:
        print(
            f"{folder}: {seconds / 60:.1f} of {whole / 60:,.1f} minutes are read, of {len(read)}"
            " files; --minutes for more.",
            file=sys.stderr,
        )
    if len(found) >= _FEW:
        found.sort(key=lambda codes: hashlib.sha256(codes.tobytes()).digest())
        tenth = len(found) // _FEW
        split = [found[2 * tenth :], found[:tenth], found[tenth : 2 * tenth]]
    else:
        cuts = [(codes, len(codes) // 10) for codes in found]
        split = [
            [codes[: len(codes) - 2 * n] for codes, n in cuts],
            [codes[len(codes) - 2 * n : len(codes) - n] for codes, n in cuts],
            [codes[len(codes) - n :] for codes, n in cuts],
        ]
    parts = []
    for each in split:
        codes = np.concatenate(each)
        codes = codes[: len(codes) // FRAME * FRAME]
        none = np.zeros((len(codes) // FRAME, 0))
        parts.append(Sounds(codes, none, none, np.zeros((len(codes), 0))))
    return Parts(*parts, digest=digest([part.codes for part in parts]))
