"""Mixtures of logistic distributions over ordered levels: their logarithm, and draws."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Integer

from seqjax.models.sampling import Sample


def mixture_of(y: Array, levels: int) -> tuple[Array, Array, Array]:
    """What a model's outputs mean: logits of the components, means and logarithms of scales.

    Args:
        y: [..., 3 * components].
        levels: of what is drawn; scales are at least a seventh of half a level.

    Returns:
        Three arrays [..., components], at least float32; levels are -1, ..., 1.

    Raises:
        ValueError: for outputs that are no multiple of 3, or fewer than 2 levels.
    """
    if levels < 2 or y.shape[-1] % 3 or not y.shape[-1]:
        raise ValueError(
            "a mixture of logistics takes 3 outputs for each component and 2 levels or more, not"
            f" {y.shape[-1]} outputs and {levels} levels."
        )
    y = y.astype(jnp.promote_types(y.dtype, jnp.float32))
    logits, means, scales = jnp.split(y, 3, axis=-1)
    return logits, means, jnp.maximum(scales, -jnp.log(levels - 1.0) - 2)


def logistic_mixture_log_probability(
    y: Float[Array, "*tokens outputs"], codes: Integer[Array, "*tokens"], levels: int
) -> Float[Array, "*tokens"]:
    r"""The logarithm of the probability of each code.

    ``log sum_i pi_i [F((x + d - m_i) / s_i) - F((x - d - m_i) / s_i)]``, ``x`` the level of the
    code between -1 and 1, ``d`` half the distance of two levels, ``F`` the logistic function; the
    outermost levels take all that lies beyond. The probabilities of all levels sum to one.

    Args:
        y: see `mixture_of`.
        codes: 0, ..., levels - 1.
        levels: number of codes.

    Raises:
        ValueError: see `mixture_of`.

    Example:
        >>> y = jnp.zeros((256, 30))
        >>> each = logistic_mixture_log_probability(y, jnp.arange(256), 256)
        >>> round(float(jnp.exp(each).sum()), 5)
        1.0

    Source: Salimans et al., "PixelCNN++", arXiv 1701.05517; of sound after van den Oord et al.,
    arXiv 1711.10433.
    """
    logits, means, scales = mixture_of(y, levels)
    half = 1 / (levels - 1)
    x = (codes * (2 * half) - 1).astype(means.dtype)[..., None]
    inverse, codes = jnp.exp(-scales), codes[..., None]
    below = jax.nn.log_sigmoid((x + half - means) * inverse)
    above = jax.nn.log_sigmoid(-(x - half - means) * inverse)
    # F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)): nothing cancels, however far out the level is.
    within = jnp.log(-jnp.expm1(-2 * half * inverse))
    each = jnp.where(codes < levels - 1, below, 0) + jnp.where(codes > 0, above, 0)
    each += jnp.where((codes > 0) & (codes < levels - 1), within, 0)
    return jax.nn.logsumexp(jax.nn.log_softmax(logits, axis=-1) + each, axis=-1)


def logistic_sampler(levels: int, temperature: float = 1.0) -> Sample:
    """How to draw a code from a mixture's outputs, for `generate` and `stream`.

    Args:
        levels: number of codes.
        temperature: scales are multiplied with it, logits of components divided; 0 takes the
            mean of the likeliest component, and needs no key.

    Returns:
        ``(key, y [batch, 3 * components]) -> codes [batch]``, int32.

    Raises:
        ValueError: for a temperature below 0.

    Example:
        >>> y = jnp.array([[0.0, 0.5, -9.0]])  # one narrow component at 0.5
        >>> logistic_sampler(256)(jax.random.key(0), y).tolist()
        [191]
    """
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"logistic_sampler: temperature must be 0 or more, not {temperature}.")

    return _Sampler(levels, temperature)


@dataclasses.dataclass(frozen=True)  # equal ones are one to jax.jit
class _Sampler:
    levels: int
    temperature: float

    def __call__(
        self, key: Array | None, y: Float[Array, "batch outputs"]
    ) -> Integer[Array, " batch"]:
        logits, means, scales = mixture_of(y, self.levels)
        if self.temperature == 0:
            chosen, x = jnp.argmax(logits, axis=-1), means
        else:
            assert key is not None
            which, uniform = jax.random.split(key)
            chosen = jax.random.categorical(which, logits / self.temperature, axis=-1)
            x = means + self.temperature * jnp.exp(scales) * jax.random.logistic(
                uniform, means.shape, means.dtype
            )
        x = jnp.take_along_axis(x, chosen[:, None], axis=-1)[:, 0]
        codes = jnp.round((jnp.clip(x, -1, 1) + 1) * ((self.levels - 1) / 2))
        return codes.astype(jnp.int32)
