"""What a network's outputs mean: losses and quantiles of a forecast.

An output has one row of numbers for each step ahead: first the point, then what the head needs
besides. Everything is on the scale of the window.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln

from seqjax.forecast.settings import Settings


class Head(NamedTuple):
    """A loss with the outputs that it needs.

    Attributes:
        outputs: numbers for each step ahead, the point first.
        losses: ``(outputs [..., N], targets [...], unit [...]) -> [...]``; `unit` is the scale of
            the window in the unit of the series.
        quantiles: ``(outputs [..., N], levels, unit [...]) -> [..., Q]`` in NumPy, or None.
        point: ``outputs [..., N] -> [...]``, the forecast: its median, of counts its mean.
    """

    outputs: int
    losses: Callable[[Array, Array, Array], Array]
    quantiles: Callable[[np.ndarray, tuple[float, ...], np.ndarray], np.ndarray] | None = None
    point: Callable[[Array], Array] = lambda outputs: outputs[..., 0]


EXACT = 1e-5  # of a window's scale


def head_of(settings: Settings) -> Head:
    """The head of a forecaster's loss.

    Example:
        >>> head = head_of(Settings("gru", horizon=1, loss="quantile", level=(80.0, 95.0)))
        >>> head.outputs, head.quantiles(np.zeros((1, 5)), (0.1, 0.5, 0.9), np.ones(1)).round(2)
        (5, array([[-0.69,  0.  ,  0.69]]))
    """
    if settings.loss == "quantile":
        return _quantile_head(settings.quantiles)
    return _HEADS[settings.loss]


def _absolute(outputs: Array, targets: Array, unit: Array) -> Array:
    """Nothing is learned from rounding errors, of which Adam takes as long steps as of others."""
    del unit
    error = jnp.abs(targets - outputs[..., 0])
    return jnp.where(error > EXACT, error, 0.0)


def _quantile_head(levels: tuple[float, ...]) -> Head:
    """Quantiles that cannot cross: each is its inner neighbour and a positive distance more."""
    half = len(levels) // 2

    def split(outputs: Array) -> Array:
        middle = outputs[..., :1]
        distances = jax.nn.softplus(outputs[..., 1:])
        up = jnp.cumsum(distances[..., :half], axis=-1)
        down = jnp.cumsum(distances[..., half:], axis=-1)
        return jnp.concatenate([(middle - down)[..., ::-1], middle, middle + up], axis=-1)

    def losses(outputs: Array, targets: Array, unit: Array) -> Array:
        del unit
        errors = targets[..., None] - split(outputs)
        tau = jnp.broadcast_to(jnp.asarray(levels), errors.shape)
        return 2 * jnp.mean(jnp.maximum(tau * errors, (tau - 1) * errors), axis=-1)

    def quantiles(outputs: np.ndarray, asked: tuple[float, ...], unit: np.ndarray) -> np.ndarray:
        del unit
        learned = np.asarray(split(jnp.asarray(outputs)), np.float64)
        return _between(np.asarray(levels), learned, np.asarray(asked))

    return Head(len(levels), losses, quantiles)


def _between(levels: np.ndarray, learned: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Quantiles of other levels: linear in the normal score, the outermost distance continued."""
    from scipy.special import ndtri  # slow to import

    x, at = ndtri(levels), ndtri(asked)
    if len(x) == 1:
        return np.repeat(learned, len(at), axis=-1)
    right = np.clip(np.searchsorted(x, at), 1, len(x) - 1)
    share = (at - x[right - 1]) / (x[right] - x[right - 1])
    return learned[..., right - 1] * (1 - share) + learned[..., right] * share


_SMALLEST = 1e-3  # of a scale parameter: a likelihood has no upper bound without


def _spread(output: Array) -> Array:
    return jax.nn.softplus(output) + _SMALLEST


def _normal_losses(outputs: Array, targets: Array, unit: Array) -> Array:
    del unit
    sigma = _spread(outputs[..., 1])
    return 0.5 * jnp.square((targets - outputs[..., 0]) / sigma) + jnp.log(sigma)


def _normal_quantiles(
    outputs: np.ndarray, asked: tuple[float, ...], unit: np.ndarray
) -> np.ndarray:
    del unit
    sigma = np.asarray(_spread(jnp.asarray(outputs[..., 1])), np.float64)
    from scipy.special import ndtri  # slow to import

    return outputs[..., :1] + sigma[..., None] * ndtri(np.asarray(asked))


def _freedom(output: Array) -> Array:
    return 2.0 + jax.nn.softplus(output)  # a variance exists


def _student_losses(outputs: Array, targets: Array, unit: Array) -> Array:
    del unit
    sigma, nu = _spread(outputs[..., 1]), _freedom(outputs[..., 2])
    z = (targets - outputs[..., 0]) / sigma
    normaliser = gammaln(nu / 2) - gammaln((nu + 1) / 2) + 0.5 * jnp.log(nu * jnp.pi)
    return normaliser + jnp.log(sigma) + (nu + 1) / 2 * jnp.log1p(jnp.square(z) / nu)


def _student_quantiles(
    outputs: np.ndarray, asked: tuple[float, ...], unit: np.ndarray
) -> np.ndarray:
    from scipy import stats  # slow to import

    del unit
    sigma = np.asarray(_spread(jnp.asarray(outputs[..., 1])), np.float64)[..., None]
    nu = np.asarray(_freedom(jnp.asarray(outputs[..., 2])), np.float64)[..., None]
    return outputs[..., :1] + sigma * stats.t.ppf(np.asarray(asked), nu)


def _mean_count(output: Array) -> Array:
    """A positive mean, near the output itself where that is clearly positive."""
    return 0.1 * jax.nn.softplus(10 * output) + 1e-4


def _count_losses(outputs: Array, targets: Array, unit: Array) -> Array:
    """Minus the log-probability of a count with mean m and variance ``m + alpha m^2``."""
    mean, alpha = _mean_count(outputs[..., 0]) * unit, _spread(outputs[..., 1])
    count, size = jnp.maximum(targets * unit, 0.0), 1 / alpha
    log_probability = (
        gammaln(count + size)
        - gammaln(size)
        - gammaln(count + 1)
        - size * jnp.log1p(alpha * mean)
        + count * (jnp.log(alpha * mean) - jnp.log1p(alpha * mean))
    )
    return -log_probability


def _count_quantiles(outputs: np.ndarray, asked: tuple[float, ...], unit: np.ndarray) -> np.ndarray:
    from scipy import stats  # slow to import

    mean = np.asarray(_mean_count(jnp.asarray(outputs[..., 0])), np.float64) * unit
    alpha = np.asarray(_spread(jnp.asarray(outputs[..., 1])), np.float64)
    size = (1 / alpha)[..., None]
    counts = stats.nbinom.ppf(np.asarray(asked), size, size / (size + mean[..., None]))
    return counts / np.asarray(unit)[..., None]


_HEADS = {
    "mae": Head(1, _absolute),
    "normal": Head(2, _normal_losses, _normal_quantiles),
    "student_t": Head(3, _student_losses, _student_quantiles),
    "negative_binomial": Head(
        2, _count_losses, _count_quantiles, lambda outputs: _mean_count(outputs[..., 0])
    ),
}
