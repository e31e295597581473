"""Sound: WAV files at any rate as samples at one rate, and samples as mu-law codes."""

import hashlib
import struct
import warnings
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.data.cells import DataError
from seqjax.data.riff import begin_of, layout_of

_HIGHEST_RATE = 1_000_000  # Hz; a header that says more is damaged
_LOUDEST = 1.5  # of floats: more is no overshoot, but another scale
_MOST = 0.1  # of what is read of many files, from one of them
_SCRAP = 1.0  # seconds; less of a file is not worth being one
_UNKNOWN = 2**32 - 1  # the length that programs write which cannot know it


def mu_law_encode(samples: Any, levels: int = 256) -> np.ndarray:
    """Samples as codes, fine steps where it is quiet.

    ``f(x) = sign(x) log(1 + mu |x|) / log(1 + mu)``, ``code = round((f(x) + 1) mu / 2)`` with
    ``mu = levels - 1``.

    Args:
        samples: of any shape, in [-1, 1]; what lies outside is clipped.
        levels: number of codes.

    Returns:
        0, ..., levels - 1, int32; silence is the code in the middle.

    Raises:
        ValueError: for fewer than 2 levels.

    Example:
        >>> mu_law_encode([-1.0, -0.01, 0.0, 0.01, 1.0]).tolist()
        [0, 98, 128, 157, 255]

    Source: ITU-T G.711 as van den Oord et al., arXiv 1609.03499, section 2.2, write it.
    """
    mu = _mu(levels)
    x = np.clip(np.asarray(samples, np.float64), -1, 1)
    companded = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
    return np.floor((companded + 1) * mu / 2 + 0.5).astype(np.int32)


def mu_law_decode(codes: Any, levels: int = 256) -> np.ndarray:
    """The samples that codes stand for, float64 in [-1, 1]; see `mu_law_encode`.

    Example:
        >>> mu_law_decode([0, 128, 255]).round(5).tolist()
        [-1.0, 9e-05, 1.0]
    """
    return _expanded(2 * np.asarray(codes, np.float64) / _mu(levels) - 1, levels)


def mu_law_edges(levels: int = 256) -> np.ndarray:
    """Between which samples each code lies, [levels + 1]: the first and last are infinite.

    Code k stands for samples from edge k to edge k + 1, so that a distribution of the samples
    gives one of the codes.

    Example:
        >>> edges = mu_law_edges()
        >>> mu_law_encode([edges[40] - 1e-9, edges[40] + 1e-9]).tolist()
        [39, 40]
    """
    between = (2 * np.arange(1, levels) - 1) / _mu(levels) - 1
    return np.concatenate([[-np.inf], _expanded(between, levels), [np.inf]])


def _expanded(companded: np.ndarray, levels: int) -> np.ndarray:
    mu = _mu(levels)
    return np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(mu)) / mu


def _mu(levels: int) -> int:
    if levels < 2:
        raise ValueError(f"mu-law: levels must be at least 2, not {levels}.")
    return levels - 1


def resampled(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """Samples at another rate, what lies above half of it filtered out.

    Args:
        samples: [time] or [time, channels], floats.
        rate: of `samples`, Hz.
        to: of the result, Hz.

    Returns:
        About ``time * to / rate`` samples.

    Raises:
        ValueError: for rates below 1.

    Example:
        >>> resampled(np.zeros(44_100), 44_100, 16_000).shape
        (16000,)
    """
    if rate < 1 or to < 1:
        raise ValueError(f"resampled: rates must be at least 1 Hz, not {rate} and {to}.")
    if rate == to:
        return samples
    common = gcd(rate, to)
    from scipy.signal import resample_poly  # slow to import

    return resample_poly(samples, to // common, rate // common, axis=0)


def read_wav(path: str | Path, rate: int, seconds: float | None = None) -> np.ndarray:
    """A WAV file as mono samples.

    Args:
        path: PCM of 8, 16, 24 or 32 bits, or floats; at any rate, channels are averaged.
        rate: to resample to, Hz.
        seconds: read no more than so many, from the begin; the rest takes no memory.

    Returns:
        [time], float32; full scale is 1.

    Raises:
        DataError: for a file that is missing, unreadable, damaged, cut short, compressed or without
            samples, and for floats that are not finite or beyond 1.5.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.wav"
        >>> write_wav(path, np.sin(np.arange(44_100) / 20), 44_100)
        >>> read_wav(path, 16_000).shape
        (16000,)
    """
    from scipy.io import wavfile  # slow to import

    path = Path(path)
    try:
        layout = layout_of(path)
        if layout is not None and layout.there < layout.said != _UNKNOWN:
            raise DataError(
                f"{path}: cut short: {layout.there:,} bytes of samples where its header says"
                f" {layout.said:,}; copy or record it again."
            )
        with warnings.catch_warnings():  # of chunks that hold no sound
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            source = path
            if layout is not None and seconds is not None and seconds < layout.seconds:
                source = begin_of(path, layout, seconds)
            found, raw = wavfile.read(source)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None
    except UnboundLocalError:  # SciPy's way to say it
        why = "by its header it ends before its samples begin"
        raise DataError(f"{path}: no WAV file of PCM or floats ({why}); save it as one.") from None
    except (ValueError, EOFError, struct.error, MemoryError, OverflowError, ZeroDivisionError) as e:
        why = str(e).rstrip(".") or type(e).__name__
        raise DataError(f"{path}: no WAV file of PCM or floats ({why}); save it as one.") from None
    if not 1 <= found <= _HIGHEST_RATE:
        raise DataError(f"{path}: its header says {found} samples a second; save it anew.")
    samples = _floats(raw)
    if samples.ndim == 2:  # [time, channels]
        samples = samples.mean(axis=1)
    if not samples.size:
        raise DataError(f"{path}: there are no samples in it.")
    if not np.isfinite(samples).all():
        at = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise DataError(f"{path}: sample {at} is not finite; save it as PCM of 16 bits.")
    if raw.dtype.kind == "f" and (peak := np.abs(raw).max()) > _LOUDEST:
        raise DataError(
            f"{path}: its floats reach {peak:.4g}, and full scale is 1; divide all"
            " recordings by the highest peak, or save them as PCM of 16 bits."
        )
    return resampled(samples, found, rate).astype(np.float32)


def wav_seconds(path: Path) -> float:
    """How long a WAV file is, by its header; 0 of what is none, or cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.wav"
        >>> write_wav(path, np.zeros(4_000), 8_000)
        >>> wav_seconds(path)
        0.5
    """
    try:
        layout = layout_of(path)
    except OSError:
        return 0.0
    return 0.0 if layout is None else layout.seconds


def _floats(raw: np.ndarray) -> np.ndarray:
    """Samples as float64; those of 24 bits come in the upper ones of 32."""
    if raw.dtype.kind == "f":
        return raw.astype(np.float64)
    half = 2.0 ** (8 * raw.dtype.itemsize - 1)
    zero = half if raw.dtype.kind == "u" else 0.0  # 8 bits have no sign
    return (raw.astype(np.float64) - zero) / half


def write_wav(path: Path, samples: Any, rate: int) -> None:
    """Write mono samples as a WAV file, PCM of 16 bits; what lies outside [-1, 1] is clipped.

    Args:
        path: of the file.
        samples: [time], full scale 1.
        rate: Hz.
    """
    from scipy.io import wavfile  # slow to import

    clipped = np.clip(np.asarray(samples, np.float64), -1, 1)
    wavfile.write(path, rate, np.round(clipped * (2**15 - 1)).astype(np.int16))


def read_wavs(folder: Path, rate: int, seconds: float | None = None) -> dict[str, np.ndarray]:
    """All WAV files of a folder and those below it, or a part of them.

    Args:
        folder: holds files ``*.wav``, of any case; names that begin with "." are skipped.
        rate: to resample to, Hz.
        seconds: read no more than so many, all files together, in an order drawn from their
            names: the begin of each, at most a tenth of `seconds`, or more where that would leave
            time unused. Files that come when it is used up, but for less than a second, are not
            read; ten at least are, where there are ten.

    Returns:
        By path within the folder, in order: see `read_wav`.

    Raises:
        DataError: for a folder that is missing or holds none, and see `read_wav`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_wav(folder / "a.wav", np.zeros(80), 8_000)
        >>> {name: samples.shape for name, samples in read_wavs(folder, 16_000).items()}
        {'a.wav': (160,)}
    """
    if seconds is None:
        return {name: read_wav(folder / name, rate) for name in _names(folder)}
    lengths = wav_lengths(folder)
    shares = _shares(lengths, seconds)
    return {name: read_wav(folder / name, rate, shares[name]) for name in lengths if name in shares}


def wav_lengths(folder: Path) -> dict[str, float]:
    """Seconds, by their headers, of the WAV files that `read_wavs` reads, as it names them.

    Raises:
        DataError: for a folder that is missing or holds none.
    """
    return {name: wav_seconds(folder / name) for name in _names(folder)}


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder.")
    # What begins with a dot is what a system keeps beside a file.
    paths = sorted(path for path in folder.rglob("[!.]*") if path.suffix.lower() == ".wav")
    if not paths:
        raise DataError(f"{folder}: there are no WAV files (*.wav) in it.")
    return [path.relative_to(folder).as_posix() for path in paths]


def _shares(lengths: dict[str, float], seconds: float) -> dict[str, float]:
    """How much of each file is read, of those that are."""
    left, most = seconds, 0.0
    for count, length in zip(range(len(lengths), 0, -1), sorted(lengths.values()), strict=True):
        most = left / count  # if all the others are as long
        if length >= most:
            break
        left -= length
    most = max(most, _MOST * seconds)
    found, left = {}, seconds
    for name in sorted(lengths, key=lambda name: hashlib.sha256(name.encode()).digest()):
        share = min(lengths[name], most)
        if left < min(_SCRAP, share / 2):  # rounding leaves some, too
            break
        found[name] = min(share, left)
        left -= found[name]
    return found
