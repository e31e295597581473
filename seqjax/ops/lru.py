"""The linear recurrent unit: a diagonal complex recurrence between two projections."""

import dataclasses
import math
from typing import Annotated, Any, ClassVar, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.nn import initializers
from jaxtyping import Complex, Float

from seqjax.ops.bounds import Bounds, Count, Fraction
from seqjax.ops.cell import Cell, Declare, Linear
from seqjax.ops.layout import dot
from seqjax.ops.options import Options
from seqjax.ops.sequence import run, step

__all__ = ["LRUCell", "LRUParams", "lru", "lru_cell"]


class LRUParams(NamedTuple):
    """Parameters of a linear recurrent unit.

    Attributes:
        nu_log: [state]; the eigenvalues' moduli are ``exp(-exp(nu_log))``, below one
        theta_log: [state]; their phases are ``exp(theta_log)``
        gamma_log: [state]; inputs are scaled by ``exp(gamma_log)``
        input_real: [inputs, state], the real part of ``B``
        input_imag: [inputs, state]
        output_real: [state, features], the real part of ``C``
        output_imag: [state, features]
        skip: [features], ``D``, where there are as many inputs as features; or None
    """

    nu_log: Float[Array, " state"]
    theta_log: Float[Array, " state"]
    gamma_log: Float[Array, " state"]
    input_real: Float[Array, "inputs state"]
    input_imag: Float[Array, "inputs state"]
    output_real: Float[Array, "state features"]
    output_imag: Float[Array, "state features"]
    skip: Float[Array, " features"] | None = None


def _eigenvalues(params: LRUParams, dtype: jnp.dtype) -> Array:
    modulus = jnp.exp(-jnp.exp(params.nu_log.astype(dtype)))
    phase = jnp.exp(params.theta_log.astype(dtype))
    return lax.complex(modulus * jnp.cos(phase), modulus * jnp.sin(phase))


def _coefficients(params: LRUParams, x: Array, dtype: jnp.dtype) -> tuple[Array, Array]:
    """``gamma (x B)`` by two real products: a complex one with a real x would take four."""
    product = jnp.result_type(x, params.input_real)
    gamma = lax.expand_dims(jnp.exp(params.gamma_log.astype(dtype)), range(x.ndim - 1))
    real, imag = (
        gamma * dot(x, kernel.astype(product), dtype)
        for kernel in (params.input_real, params.input_imag)
    )
    return _eigenvalues(params, dtype), lax.complex(real, imag)


def _outputs(params: LRUParams, h: Array, x: Array, dtype: jnp.dtype) -> Array:
    """``Re(h C) + D x``"""
    product = jnp.result_type(x, params.output_real)
    y = dot(h.real, params.output_real.astype(product), dtype)
    y = y - dot(h.imag, params.output_imag.astype(product), dtype)
    if params.skip is None:
        return y
    return y + lax.expand_dims(params.skip.astype(dtype), range(x.ndim - 1)) * x.astype(dtype)


@dataclasses.dataclass(frozen=True)
class LRUCell(Cell):
    """A linear recurrent unit.

    ``h_t = lambda h_{t-1} + gamma (x_t B)``, ``y_t = Re(h_t C) + D x_t``, with ``D``
    where there are as many inputs as features

    The eigenvalues start uniform on a ring of the complex plane; the closer `r_min`
    is to one, the longer the memory. For very long sequences the paper takes a smaller
    `max_phase` (section 3.4).

    Attributes:
        state: number of complex eigenvalues; as many as features by default.
        r_min: least modulus of an eigenvalue at the start.
        r_max: greatest modulus at the start.
        max_phase: greatest phase at the start, in radians.

    Source: Orvieto et al., "Resurrecting recurrent neural networks for long
    sequences", arXiv 2303.06349; initialisation after its section 3 and appendix A.
    """

    state: Count | None = None
    _: dataclasses.KW_ONLY
    r_min: Fraction = 0.0
    r_max: Fraction = 1.0
    max_phase: Annotated[float, Bounds(0, 1000)] = 2 * math.pi

    name: ClassVar = "lru"
    Params: ClassVar = LRUParams
    gates: ClassVar = 1
    recurrence: ClassVar = Linear(_coefficients, _outputs)

    def parameters(self, declare: Declare, inputs: int, features: int) -> LRUParams:
        """Eigenvalues, ``B``, ``C`` and ``D``."""
        if not 0 <= self.r_min <= self.r_max <= 1:
            raise ValueError(
                f"lru: r_min and r_max must be 0 <= r_min <= r_max <= 1, not"
                f" {self.r_min} and {self.r_max}."
            )
        state = features if self.state is None else self.state
        # The eigenvalues' parameters keep their precision: near one it decides the memory.
        nu_log = declare("nu_log", (state,), self._nu_log, keep_dtype=True)
        theta_log = declare("theta_log", (state,), self._theta_log, keep_dtype=True)

        def gamma_log(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
            """Of ``sqrt(1 - |lambda|^2)``: noise through the layer then keeps its variance."""
            wide = nu_log.astype(jnp.float32)
            return (0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(wide)))).astype(dtype)

        normal_in = initializers.normal((2 * inputs) ** -0.5)
        normal_out = initializers.normal(state**-0.5)
        params = LRUParams(
            nu_log,
            theta_log,
            declare("gamma_log", (state,), gamma_log, keep_dtype=True),
            declare("input_real", (inputs, state), normal_in),
            declare("input_imag", (inputs, state), normal_in),
            declare("output_real", (state, features), normal_out),
            declare("output_imag", (state, features), normal_out),
        )
        if inputs != features:
            return params
        return params._replace(skip=declare("skip", (features,), initializers.normal(1.0)))

    def _nu_log(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        squared = jax.random.uniform(key, shape) * (self.r_max**2 - self.r_min**2)
        # A modulus of exactly zero or one has no finite logarithm.
        squared = jnp.clip(squared + self.r_min**2, 1e-6, 1 - 1e-6)
        return jnp.log(-0.5 * jnp.log(squared)).astype(dtype)

    def _theta_log(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        phase = self.max_phase * jax.random.uniform(key, shape, minval=1e-6)
        return jnp.log(phase).astype(dtype)

    def kernel(self, params: LRUParams) -> Array:
        """``B``."""
        return params.input_real

    def features(self, params: LRUParams) -> int:
        """Out of ``C``."""
        return params.output_real.shape[-1]

    def initial_carry(self, batch: Any, features: int, dtype: Any) -> Array:
        """Complex zeros, [batch, state]."""
        state = features if self.state is None else self.state
        return super().initial_carry(batch, state, jnp.promote_types(dtype, jnp.complex64))


def lru_cell(
    params: LRUParams,
    carry: Complex[Array, "batch state"],
    x: Float[Array, "batch inputs"],
) -> tuple[Complex[Array, "batch state"], Float[Array, "batch features"]]:
    """One step of a linear recurrent unit; see `lru` and `seqjax.ops.step`.

    Example:
        >>> one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))
        >>> params = LRUParams(zero[0], zero[0], zero[0], one, zero, one, zero, 2 * one[0])
        >>> carry, y = lru_cell(params, jnp.zeros((1, 1), complex), one)
        >>> y.tolist()
        [[3.0]]
    """
    return step(LRUCell(params.nu_log.shape[-1]), params, carry, x)


def lru(
    params: LRUParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: Complex[Array, "batch state"] | None = None,
    **options: Unpack[Options],
) -> Any:
    """A linear recurrent unit over whole sequences.

    ``h_t = exp(-exp(nu_log) + i exp(theta_log)) h_{t-1} + exp(gamma_log) (x_t B)``,
    ``y_t = Re(h_t C) + D x_t``

    `x` [batch, time, inputs] gives ``y`` [batch, time, features]; arguments, options, results and
    errors are those of `seqjax.ops.run`.

    Example:
        >>> one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))
        >>> half = jnp.log(-jnp.log(jnp.array([0.5])))  # a modulus of 0.5
        >>> params = LRUParams(half, jnp.array([-jnp.inf]), zero[0], one, zero, one, zero)
        >>> lru(params, jnp.ones((1, 3, 1)))[0, :, 0].round(4).tolist()
        [1.0, 1.5, 1.75]
    """
    return run(LRUCell(params.nu_log.shape[-1]), params, x, initial_carry, **options)
