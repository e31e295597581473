"""What stands beside the networks of `experiments.tones`: linear prediction, and the law itself."""

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.signal import lfilter

from experiments.tones_data import FRAME, GENERATOR, LEVELS, Parts, Sounds
from seqjax.data.sound import mu_law_decode, mu_law_edges
from seqjax.report import Row

ORDER = 16
_FORGETS = (0.7, 0.8, 0.9)  # of a frame's weight, from one to the next
_MEMORIES = (16, 32, 64)  # samples over which residuals are averaged
_UNIFORM = 1e-3  # part of the law that is no Laplace distribution: no code is impossible


def _histories(x: np.ndarray) -> np.ndarray:
    """Each sample and the `ORDER` before it, [time, 1 + ORDER], newest first."""
    padded = np.concatenate([np.zeros(ORDER), x])
    return np.lib.stride_tricks.sliding_window_view(padded, ORDER + 1)[:, ::-1]


def fixed_coefficients(part: Sounds) -> np.ndarray:
    """Least squares over a whole part, [ORDER]."""
    rows = _histories(mu_law_decode(part.codes, LEVELS))
    products = rows.T @ rows
    return np.linalg.solve(products[1:, 1:] + _ridge(products[:1, :1]), products[1:, 0])


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
    left = before[:, 1:, 1:] + _ridge(before[:, :1, :1])
    return np.linalg.solve(left, before[:, 1:, :1])[..., 0]


def _ridge(power: np.ndarray) -> np.ndarray:
    return (1e-5 * power + 1e-6) * np.eye(ORDER)


def laplace_bits(part: Sounds, coefficients: np.ndarray, memory: int) -> np.ndarray:
    """Bits of each code by a Laplace law about its linear prediction.

    The law's scale is the mean of the residuals before, weights falling exponentially.

    Args:
        part: the sounds.
        coefficients: [ORDER], or of each frame [frames, ORDER].
        memory: samples of that mean.

    Returns:
        [time].
    """
    x, edges = mu_law_decode(part.codes, LEVELS), mu_law_edges(LEVELS)
    rows = _histories(x)[:, 1:]
    if coefficients.ndim == 2:
        coefficients = np.repeat(coefficients, FRAME, axis=0)
        predicted = np.einsum("tk,tk->t", rows[: len(coefficients)], coefficients)
        predicted = np.pad(predicted, (0, len(x) - len(predicted)))
    else:
        predicted = rows @ coefficients
    predicted = np.clip(predicted, -1, 1)
    keep = 1 - 1 / memory
    mean = lfilter([1 - keep], [1, -keep], np.abs(x - predicted), zi=[keep * 0.01])[0]
    scale = np.maximum(np.concatenate([[0.01], mean[:-1]]), 1e-4)
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

    What the adaptive prediction forgets is chosen on the validation part.

    Args:
        parts: the data.
        test: whether to look at the test part.
    """
    splits = ("test", "validation") if test else ("validation",)
    found: dict[str, list[float]] = {}

    def add(name: str, bits: Callable[[Sounds], np.ndarray]) -> None:
        found[name] = [float(bits(getattr(parts, split)).mean()) for split in splits]

    def adaptive(part: Sounds, forget: float, memory: int) -> np.ndarray:
        return laplace_bits(part, adaptive_coefficients(part, forget), memory)

    def chosen(bits: Callable[..., np.ndarray], ways: Iterable[tuple[Any, ...]]) -> Any:
        return min(ways, key=lambda way: bits(parts.validation, *way).mean())

    if parts.test.bits is not None:
        add(GENERATOR, lambda part: np.asarray(part.bits))
    way = chosen(adaptive, itertools.product(_FORGETS, _MEMORIES))
    add(f"LPC-{ORDER}, adaptive", lambda part: adaptive(part, *way))
    fixed = functools.partial(laplace_bits, coefficients=fixed_coefficients(parts.train))
    (memory,) = chosen(lambda part, m: fixed(part, memory=m), ((memory,) for memory in _MEMORIES))
    add(f"LPC-{ORDER}, fixed", lambda part: fixed(part, memory=memory))
    counts = np.bincount(parts.train.codes, minlength=LEVELS) + 1
    add("histogram", lambda part: -np.log2(counts / counts.sum())[part.codes])
    return [
        Row(name, "baseline", split, f"{split} bits", (one,))
        for name, each in found.items()
        for split, one in zip(splits, each, strict=True)
    ]
