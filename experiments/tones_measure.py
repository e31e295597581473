"""What is measured of sounds: the pitch by autocorrelation, formants by linear prediction."""

import numpy as np
from scipy.linalg import solve_toeplitz

from experiments.tones_data import RATE

_LOWEST, _HIGHEST = 60.0, 400.0  # Hz, of a pitch
_ORDER = 18  # of the prediction: a pole for each kHz, and two for the source
_WIDEST = 500.0  # Hz, of a formant


def pitch_of(samples: np.ndarray) -> float:
    """Where the autocorrelation is highest, Hz; a parabola through its neighbours.

    Args:
        samples: [time], at least a twentieth of a second.

    Returns:
        The pitch, 60 to 400 Hz; NaN of a constant.

    Example:
        >>> round(pitch_of(np.sin(np.arange(4000) * 2 * np.pi * 130 / RATE) ** 5), 1)
        130.0
    """
    if not np.ptp(samples):
        return float("nan")
    x = samples - samples.mean()
    size = 2 ** (2 * len(x) - 1).bit_length()
    power = np.abs(np.fft.rfft(x, size)) ** 2
    correlation = np.fft.irfft(power)[: len(x)] / np.arange(len(x), 0, -1)  # unbiased
    first, last = int(RATE / _HIGHEST), int(RATE / _LOWEST)
    inside = correlation[first : last + 1]
    # The first peak that is nearly the highest: multiples of the period are peaks, too.
    peaks = np.flatnonzero((inside[1:-1] >= inside[:-2]) & (inside[1:-1] >= inside[2:])) + 1
    if not len(peaks):
        return float(RATE / (first + int(np.argmax(inside))))
    lag = first + int(peaks[inside[peaks] >= 0.9 * inside[peaks].max()][0])
    left, middle, right = correlation[lag - 1 : lag + 2]
    return float(RATE / (lag + (left - right) / (2 * (left - 2 * middle + right))))


def formants_of(samples: np.ndarray, count: int = 2) -> np.ndarray:
    """Resonances of the vocal tract, lowest first.

    The mean autocorrelation of windows of 40 ms, after pre-emphasis; the angles of the poles of
    its linear prediction whose bandwidths are those of formants (Markel and Gray, 1976).

    Args:
        samples: [time], of a steady vowel, at least 40 ms.
        count: how many formants.

    Returns:
        Hz, [count]; NaN for those that were not found.

    Example:
        >>> from scipy.signal import lfilter
        >>> from experiments.tones_data import poles
        >>> a = poles(np.array([500.0, 1500.0, 2500.0]), np.full(3, 80.0))
        >>> noise = np.random.default_rng(0).normal(size=RATE)
        >>> (formants_of(lfilter([1], [1, *a], noise), count=3) / 100).round().tolist()
        [5.0, 15.0, 25.0]
    """
    if not np.ptp(samples):
        return np.full(count, np.nan)
    size = RATE // 25
    emphasised = samples[1:] - 0.97 * samples[:-1]
    windows = np.lib.stride_tricks.sliding_window_view(emphasised, size)[:: size // 2]
    windows = windows * np.hamming(size)
    power = np.mean(np.abs(np.fft.rfft(windows, 2 * size)) ** 2, axis=0)
    lags = np.fft.irfft(power)[: _ORDER + 1]
    a = np.asarray(solve_toeplitz(lags[:-1], lags[1:]))
    roots = np.roots(np.concatenate([[1], -a]))
    roots = roots[roots.imag > 0]
    at, width = np.angle(roots) * RATE / (2 * np.pi), -np.log(np.abs(roots)) * RATE / np.pi
    found = np.sort(at[(at > 150) & (at < 3900) & (width < _WIDEST)])[:count]
    return np.pad(found, (0, count - len(found)), constant_values=np.nan)
