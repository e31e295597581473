"""Sounds of `experiments.tones`: generated speech with its entropy, and crops of it."""

import functools
from math import log, pi
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import lfilter
from scipy.special import ndtr

from seqjax.data import DataError
from seqjax.data.sound import mu_law_decode, mu_law_edges
from seqjax.train.fingerprint import digest

RATE = 16_000  # Hz
FRAME = 80  # samples in which vowel and pitch stay as they are: 5 ms
LEVELS = 256
SILENCE = LEVELS // 2
_LONG = 200  # frames of an utterance: a second
_MOVE = 10  # frames in which one sound becomes the next
SIZES = (240, 16, 32)  # utterances of the parts
_DRAWS = (0, 1, 3)  # seeds of the parts; 2 was the test part of earlier drafts, looked at twice

PHONES = ("i", "e", "a", "o", "u", "s", "_")  # s is a burst of noise, _ is silence
VOWELS = PHONES[:5]
GENERATOR = "generator (bound)"  # a line of the table
# Hz: means of men's vowels (Peterson and Barney, 1952), and a neutral tract where nothing sounds.
_NEUTRAL = (500, 1500, 2500)
_OF_VOWELS = ((270, 2290, 3010), (530, 1840, 2480), (730, 1090, 2440), (570, 840, 2410))
FORMANTS = np.array([(*each, 3500) for each in (*_OF_VOWELS, (300, 870, 2240), *[_NEUTRAL] * 2)])
_WIDTHS = np.array([60.0, 90.0, 150.0, 200.0])  # Hz
_VOICE = np.array([0.12] * 5 + [1e-4] * 2)  # root mean square
_NOISE = np.array([0.003] * 5 + [0.06, 8e-4])  # likewise
_COLOUR = np.array([(3000.0, 5000.0)] * 5 + [(5000.0, 1500.0), (1000.0, 5000.0)])  # Hz, width
PITCHES = (80.0, 240.0)  # Hz
_OPENS, _CLOSES = 0.44, 0.16  # parts of a period of the glottis


class Sounds(NamedTuple):
    """A part of the data, sounds one after the other.

    Attributes:
        codes: mu-law of `LEVELS`, [time].
        phones: how much of each of `PHONES` sounds, [frames, 7]; of recordings [frames, 0].
        pitch: of the voice, octaves above 120 Hz, [frames, 1]; of recordings [frames, 0].
        phase: part of the voice's period that is gone, [time, 1]; of recordings [time, 0].
        bits: of each code by the law that it was drawn from, [time]; of recordings None.
    """

    codes: np.ndarray
    phones: np.ndarray
    pitch: np.ndarray
    phase: np.ndarray
    bits: np.ndarray | None = None


class Parts(NamedTuple):
    """What to learn from, to choose by, and to look at once; and a hash of all."""

    train: Sounds
    validation: Sounds
    test: Sounds
    digest: str


# -- generated -------------------------------------------------------------------------


def poles(frequencies: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Resonators one after the other, as ``a`` of ``y_t = x_t - sum_k a_k y_{t-k}``.

    Args:
        frequencies: Hz, [..., resonators].
        widths: bandwidths at -3 dB, Hz, of the same shape.

    Returns:
        a_1, a_2, ..., [..., 2 * resonators].

    Example:
        >>> a = poles(np.array([4000.0]), np.array([100.0]))
        >>> np.angle(np.roots([1, *a])).round(3).tolist()  # a quarter of the rate
        [1.571, -1.571]
    """
    radius: np.ndarray = np.exp(-pi * widths / RATE)
    angle = 2 * pi * frequencies / RATE
    a = np.ones((*frequencies.shape[:-1], 1))
    for one, two in zip(
        np.moveaxis(-2 * radius * np.cos(angle), -1, 0),
        np.moveaxis(radius * radius, -1, 0),
        strict=True,
    ):
        before = np.pad(a, [(0, 0)] * (a.ndim - 1) + [(2, 2)])  # times 1 + one / z + two / z^2
        a = before[..., 2:] + one[..., None] * before[..., 1:-1] + two[..., None] * before[..., :-2]
    return a[..., 1:]


def glottis(phase: np.ndarray) -> np.ndarray:
    """The derivative of the air's flow through the glottis, by the part of a period that is gone.

    Source: pulse B of Rosenberg, Journal of the Acoustical Society of America 49, 1971.
    """
    opening, closing = phase / _OPENS, (phase - _OPENS) / _CLOSES
    up = 3 * _CLOSES / _OPENS * opening * (1 - opening)
    return np.where(phase < _OPENS, up, np.where(closing < 1, -closing, 0.0))


@functools.cache
def _gains() -> tuple[np.ndarray, np.ndarray]:
    """Heights of the pulses (at 120 Hz) and deviations of the noise's innovations, by phone."""
    pulses = glottis(np.arange(RATE) * 120 / RATE % 1)
    impulse = np.eye(1, 2000)[0]
    voice = [np.std(lfilter([1], [1, *a], pulses)[2000:]) for a in poles(FORMANTS, _widths(7))]
    coloured = [lfilter([1], [1, *a], impulse) for a in poles(_COLOUR[:, :1], _COLOUR[:, 1:])]
    return _VOICE / voice, _NOISE / np.sqrt(np.sum(np.square(coloured), axis=1))


def _widths(*shape: int) -> np.ndarray:
    return np.broadcast_to(_WIDTHS, (*shape, 4))


def phases(pitch: np.ndarray, frames: int, first: np.ndarray | float = 0.0) -> np.ndarray:
    """Parts of the period that are gone, of a pitch in Hz: [utterances, time] of [utterances]."""
    return (np.expand_dims(first, -1) + np.arange(frames * FRAME) * pitch[:, None] / RATE) % 1


def draw(
    phones: np.ndarray, phase: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sounds, and what their codes cost by the law that they are drawn from.

    A voice ``v_t = g_t - sum_k a_k v_{t-k}`` of pulses g through formants, and over it noise of
    normal innovations through two poles b, with the code in the loop:
    ``code_t = mu_law(v_t - sum_k b_k (x_{t-k} - v_{t-k}) + s e_t)``, x the codes' samples. Given
    vowels and the phase the voice is known, and so is the law of each code after those before.

    Args:
        phones: how much of each of `PHONES` sounds, [utterances, frames, 7].
        phase: of the voice, [utterances, time]; see `phases`.
        rng: of the noise.

    Returns:
        Codes [utterances, time], and the bits of each.
    """
    of_voice, of_noise = _gains()
    count, frames, _ = phones.shape
    by_frame = phones.transpose(1, 0, 2)  # time first: each step reads neighbours
    time = frames * FRAME
    height = np.exp(by_frame @ np.log(of_voice))
    pulses = glottis(phase.T) * np.repeat(height, FRAME, axis=0)
    deviation = np.repeat(np.exp(by_frame @ np.log(of_noise)), FRAME, axis=0)
    tract = poles(by_frame @ FORMANTS, _widths(frames, count)).transpose(0, 2, 1)[:, ::-1]
    colour = by_frame @ _COLOUR
    shape = poles(colour[..., :1], colour[..., 1:]).transpose(0, 2, 1)[:, ::-1]
    voice, noise = np.zeros((time + 8, count)), np.zeros((time + 2, count))
    means, codes = np.empty(pulses.shape), np.empty(pulses.shape, np.int32)
    errors = deviation * rng.standard_normal(pulses.shape)
    edges, samples = mu_law_edges(LEVELS), mu_law_decode(np.arange(LEVELS), LEVELS)
    for t in range(time):
        frame = t // FRAME
        voice[t + 8] = pulses[t] - np.sum(tract[frame] * voice[t : t + 8], axis=0)
        means[t] = voice[t + 8] - np.sum(shape[frame] * noise[t : t + 2], axis=0)
        codes[t] = np.searchsorted(edges[1:-1], means[t] + errors[t], side="right")
        noise[t + 2] = samples[codes[t]] - voice[t + 8]
    low, high = ((edges[codes + k] - means) / deviation for k in (0, 1))
    upper = low > 0  # differences of small numbers, not of those near one
    share = np.where(upper, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
    return codes.T, -np.log2(share).T


def octaves(pitch: np.ndarray) -> np.ndarray:
    """How networks are told a pitch in Hz: octaves above 120 Hz."""
    return np.log2(pitch / 120)


def smooth(steady: np.ndarray) -> np.ndarray:
    """Phones that become each other, of such that change at once, [utterances, frames, 7]."""
    return uniform_filter1d(steady, _MOVE, axis=1, mode="nearest")


def spoken(text: str, frames: int = 40) -> np.ndarray:
    """Phones of a text in `PHONES`, so many frames each, silence around it, [1, frames, 7].

    Example:
        >>> spoken("ai", frames=20).shape
        (1, 64, 7)
    """
    steady = "_" * 12 + "".join(each * frames for each in text) + "_" * 12
    return smooth(np.eye(len(PHONES))[[PHONES.index(each) for each in steady]][None])


def _utterances(count: int, rng: np.random.Generator) -> np.ndarray:
    """Phones of utterances of one second."""
    found = np.full((count, _LONG), PHONES.index("_"))
    for row in found:
        at, last = 12, -1  # silence at both ends
        while at < _LONG - 36:
            voiced = last not in range(5) or rng.random() < 0.7
            after = rng.choice([p for p in (range(5) if voiced else (5, 6)) if p != last])
            long = rng.integers(24, 50) if voiced else rng.integers(12, 24)
            row[at : min(at + long, _LONG - 12)] = after
            at, last = at + long, after
    return smooth(np.eye(len(PHONES))[found])


@functools.cache
def generated(sizes: tuple[int, int, int] = SIZES) -> Parts:
    """Parts of so many utterances, always the same ones."""
    parts = []
    for number, count in zip(_DRAWS, sizes, strict=True):
        rng = np.random.default_rng([16, number])
        phones = _utterances(count, rng)
        pitch = np.exp(rng.uniform(log(PITCHES[0]), log(PITCHES[1]), count))
        phase = phases(pitch, _LONG, rng.random(count))
        codes, bits = draw(phones, phase, rng)
        by_frame = np.repeat(octaves(pitch), _LONG)[:, None]
        flat = phones.reshape(-1, len(PHONES))
        one = codes.reshape(-1), flat, by_frame, phase.reshape(-1, 1), bits.reshape(-1)
        parts.append(Sounds(*one))
    return Parts(*parts, digest=digest([part.codes for part in parts]))


# -- crops -----------------------------------------------------------------------------


def crops(part: Sounds, steps: int, before: int) -> dict[str, np.ndarray]:
    """A part in pieces whose last `steps` codes count, each code once.

    Args:
        part: the sounds.
        steps: that count, a multiple of `FRAME`; what is left at the end is left out.
        before: that are read first, likewise.

    Returns:
        Codes [crops, 1 + before + steps] of 8 bits, phones [crops, frames, 7] of all codes but the
        first, their phases [crops, before + steps, 1], pitch [crops, 1] of the last one. Before
        the part's begin it is silent.
    """
    count = len(part.codes) // steps
    if not count:
        raise DataError(
            f"a part of {len(part.codes) / RATE:.2f} s is too short for crops of"
            f" {steps / RATE:.2f} s; record more."
        )
    codes = np.concatenate([np.full(before + 1, SILENCE), part.codes]).astype(np.uint8)
    first = part.phones[:1].repeat(before // FRAME, axis=0)
    phones = np.concatenate([first, part.phones]).astype(np.float32)

    phase = np.pad(part.phase, ((before, 0), (0, 0))).astype(np.float32)

    def windows(array: np.ndarray, size: int, hop: int) -> np.ndarray:
        return np.stack([array[k * hop : k * hop + size] for k in range(count)])

    frames, hop = (before + steps) // FRAME, steps // FRAME
    pitch = part.pitch[hop - 1 :: hop][:count].astype(np.float32)
    return {
        "codes": windows(codes, 1 + before + steps, steps),
        "phones": windows(phones, frames, hop),
        "phase": windows(phase, before + steps, steps),
        "pitch": pitch,
    }
