"""What stands beside the networks of `experiments.tones`: linear prediction, and the law itself."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy.signal import lfilter

from experiments.tones_data import FRAME, GENERATOR, LEVELS, PHONES, PITCHES, Parts, Sounds, octaves
from seqjax.data.sound import mu_law_decode, mu_law_edges
from seqjax.report import Row

ORDER = 16
_FORGETS = (0.7, 0.8, 0.9)  # of a frame's weight, from one to the next
_MEMORIES = (16, 32, 64)  # samples over which residuals are averaged
_BLOCK = 2**18  # samples
_OF_PITCH, _OF_PHASE = 16, 128  # parts in which the pitches, and a period, are cut
_OF_PHONE = _OF_PITCH * _OF_PHASE
_SHRINK = 4  # samples of nothing, in every cell's mean
_UNIFORM = 1e-3  # part of the law that is no Laplace distribution: no code is impossible


def _histories(x: np.ndarray) -> np.ndarray:
    """Each sample and the `ORDER` before it, [time, 1 + ORDER], newest first."""
    padded = np.concatenate([np.zeros(ORDER), x])
    return np.lib.stride_tricks.sliding_window_view(padded, ORDER + 1)[:, ::-1]


def fixed_coefficients(part: Sounds) -> np.ndarray:
    """Least squares over a whole part, [ORDER]."""
    rows = _histories(mu_law_decode(part.codes, LEVELS))
    # Block by block: a product makes the windows whole, 136 bytes a sample.
    blocks = np.array_split(rows, -(-len(rows) // _BLOCK))
    return _solved(np.sum([one.T @ one for one in blocks], axis=0))


def adaptive_coefficients(part: Sounds, forget: float) -> np.ndarray:
    """Least squares over what was before each frame, [frames, ORDER].

    ``R_f = forget R_{f-1} + sum_t z_t z_t^T`` over the samples of a frame: recursive least squares,
    solved once in 5 ms.
    """
    rows = _histories(mu_law_decode(part.codes, LEVELS))
    frames = rows[: len(rows) // FRAME * FRAME].reshape(-1, FRAME, ORDER + 1)
    products = np.stack([each.T @ each for each in frames])
    before = np.zeros_like(products)
    before[1:] = lfilter([1], [1, -forget], products, axis=0)[:-1]
    return _solved(before)


def _solved(products: np.ndarray) -> np.ndarray:
    """Weights of all but the first column for it, of sums of products [..., columns, columns]."""
    power = products[..., :1, :1]
    left = products[..., 1:, 1:] + (1e-5 * power + 1e-6) * np.eye(products.shape[-1] - 1)
    return np.linalg.solve(left, products[..., 1:, :1])[..., 0]


class Told(NamedTuple):
    """Linear prediction that is told vowel, pitch and phase, as the networks are.

    Of a *cell*, a phone at about one pitch and one phase of the voice:
    ``prediction_t = mean[cell] + sum_k a[phone, k] x_{t-k}``.

    Attributes:
        means: what the pulses add, by cell, [cells].
        coefficients: [phones, ORDER].
        scales: mean absolute residuals by cell, [cells].
    """

    means: np.ndarray
    coefficients: np.ndarray
    scales: np.ndarray

    def predict(self, part: Sounds) -> tuple[np.ndarray, np.ndarray]:
        """The prediction of each sample and the size of its residual, [time] both."""
        cell, by_frame = _cells(part), self.coefficients[part.phones.argmax(axis=1)]
        return self.means[cell] + predictions(part, by_frame), self.scales[cell]


def _cells(part: Sounds) -> np.ndarray:
    """The cell of each sample, [time]."""
    low, high = octaves(np.array(PITCHES))
    at = (part.pitch[:, 0] - low) / (high - low) * _OF_PITCH
    pitch = np.clip(at.astype(int), 0, _OF_PITCH - 1)
    phase = np.minimum((part.phase[:, 0] * _OF_PHASE).astype(int), _OF_PHASE - 1)
    frame = part.phones.argmax(axis=1) * _OF_PITCH + pitch
    return np.repeat(frame, FRAME) * _OF_PHASE + phase


def told_prediction(part: Sounds) -> Told:
    """Least squares over a part, a mean of each cell and coefficients of each phone at once.

    The coefficients are those of deviations from the cells' means (Frisch and Waugh, 1933).
    """
    cell = _cells(part)
    count = np.bincount(cell, minlength=len(PHONES) * _OF_PHONE)

    def mean_of(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell, values, len(count)) / (count + _SHRINK)

    rows = _histories(mu_law_decode(part.codes, LEVELS))
    means = np.stack([mean_of(column) for column in rows.T], axis=1)
    coefficients = np.zeros((len(PHONES), ORDER))
    for phone in np.unique(cell // _OF_PHONE):
        own = np.flatnonzero(cell // _OF_PHONE == phone)
        blocks = np.array_split(own, -(-len(own) // _BLOCK))
        away = (rows[one] - means[cell[one]] for one in blocks)
        coefficients[phone] = _solved(np.sum([one.T @ one for one in away], axis=0))
    by_cell = np.repeat(coefficients, _OF_PHONE, axis=0)
    found = Told(means[:, 0] - np.sum(by_cell * means[:, 1:], axis=1), coefficients, count)
    residuals = np.abs(rows[:, 0] - found.predict(part)[0])
    total = np.bincount(cell, residuals, len(count)) + _SHRINK * residuals.mean()
    return found._replace(scales=total / (count + _SHRINK))


def predictions(part: Sounds, coefficients: np.ndarray) -> np.ndarray:
    """Each sample by those before it, [time], of coefficients [ORDER] or [frames, ORDER]."""
    rows = _histories(mu_law_decode(part.codes, LEVELS))[:, 1:]
    if coefficients.ndim == 1:
        return rows @ coefficients
    frames = rows[: len(coefficients) * FRAME].reshape(-1, FRAME, ORDER)
    predicted = np.einsum("ftk,fk->ft", frames, coefficients).reshape(-1)
    return np.pad(predicted, (0, len(rows) - len(predicted)))


def laplace_bits(
    part: Sounds, predicted: np.ndarray, memory: int, scales: np.ndarray | float = 1.0
) -> np.ndarray:
    """Bits of each code by a Laplace law about its linear prediction.

    The law's scale is the mean of the residuals before, weights falling exponentially.

    Args:
        part: the sounds.
        predicted: [time].
        memory: samples of that mean.
        scales: expected of the residuals; what is averaged is how many times as large they were.

    Returns:
        [time].
    """
    x, edges = mu_law_decode(part.codes, LEVELS), mu_law_edges(LEVELS)
    predicted = np.clip(predicted, -1, 1)
    keep, first = 1 - 1 / memory, 0.01 / np.mean(scales)
    residuals = np.abs(x - predicted) / scales
    mean = lfilter([1 - keep], [1, -keep], residuals, zi=[keep * first])[0]
    scale = np.maximum(np.concatenate([[first], mean[:-1]]) * scales, 1e-4)
    low, high = ((edges[part.codes + k] - predicted) / scale for k in (0, 1))
    # Both edges on one side of the middle: differences of what is small, not of what is near one.
    far = np.where(low > 0, low, np.where(high < 0, -high, 0.0))
    width = np.where(far > 0, high - low, 0.0)
    aside = -0.5 * np.exp(-far) * np.expm1(-width)
    about = 1 - 0.5 * np.exp(np.minimum(low, 0)) - 0.5 * np.exp(-np.maximum(high, 0))
    share = np.where(far > 0, aside, about)
    return -np.log2((1 - _UNIFORM) * share + _UNIFORM / LEVELS)


def rows_of(parts: Parts, *, test: bool) -> list[Row]:
    """Bits per sample of linear prediction, of a histogram, and of the law sounds are drawn from.

    What a prediction forgets, and over how much its residuals are averaged, is chosen on the
    validation part.

    Args:
        parts: the data.
        test: whether to look at the test part.
    """
    splits = ("test", "validation") if test else ("validation",)
    found: dict[str, list[float]] = {}

    def add(name: str, bits: Callable[..., np.ndarray], *choices: Iterable[Any]) -> None:
        ways = itertools.product(*choices)
        best = min(ways, key=lambda way: bits(parts.validation, *way).mean())
        found[name] = [float(bits(getattr(parts, split), *best).mean()) for split in splits]

    def fixed(part: Sounds, memory: int) -> np.ndarray:
        return laplace_bits(part, predictions(part, coefficients), memory)

    def adaptive(part: Sounds, forget: float, memory: int) -> np.ndarray:
        found = adaptive_coefficients(part, forget)
        return laplace_bits(part, predictions(part, found), memory)

    def with_told(part: Sounds, memory: int) -> np.ndarray:
        predicted, scales = told.predict(part)
        return laplace_bits(part, predicted, memory, scales)

    def frequent(part: Sounds) -> np.ndarray:
        return -np.log2(counts / counts.sum())[part.codes]

    if parts.test.bits is not None:
        add(GENERATOR, lambda part: np.asarray(part.bits))
        told = told_prediction(parts.train)
        add(f"LPC-{ORDER}, told vowel, pitch, phase", with_told, _MEMORIES)
    add(f"LPC-{ORDER}, adaptive", adaptive, _FORGETS, _MEMORIES)
    coefficients = fixed_coefficients(parts.train)
    add(f"LPC-{ORDER}, fixed", fixed, _MEMORIES)
    counts = np.bincount(parts.train.codes, minlength=LEVELS) + 1
    add("histogram", frequent)
    return [
        Row(name, "baseline", split, f"{split} bits", (one,))
        for name, each in found.items()
        for split, one in zip(splits, each, strict=True)
    ]
