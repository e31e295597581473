"""The linear recurrent unit: a diagonal complex recurrence between two projections."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Complex, Float, Int

from seqjax.ops.layout import carry_dtype, dot
from seqjax.ops.linear import LinearImplementation, linear_loop
from seqjax.ops.sequence import check_carry, over_sequence


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


def lru_cell(
    params: LRUParams,
    carry: Complex[Array, "batch state"],
    x: Float[Array, "batch inputs"],
) -> tuple[Complex[Array, "batch state"], Float[Array, "batch features"]]:
    """One step of a linear recurrent unit.

    ``h' = exp(-exp(nu_log) + i exp(theta_log)) h + exp(gamma_log) (x B)``,
    ``y = Re(h' C) + D x``

    Args:
        params: the layer's parameters.
        carry: ``h`` before the step.
        x: the input at this step.

    Returns:
        ``(carry, y)``, ``h'`` and the output; ``y`` in the dtype of input and ``B``.

    Raises:
        ValueError: where shapes do not fit each other.

    Example:
        >>> import jax.numpy as jnp
        >>> one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))
        >>> params = LRUParams(zero[0], zero[0], zero[0], one, zero, one, zero, 2 * one[0])
        >>> carry, y = lru_cell(params, jnp.zeros((1, 1), complex), one)
        >>> y.tolist()
        [[3.0]]

    Source: Orvieto et al., "Resurrecting recurrent neural networks for long
    sequences", arXiv 2303.06349, section 3.
    """
    _check("lru_cell", params, x, ndim=2)
    check_carry("lru_cell", carry, x.shape[0], params.nu_log.shape[0])
    dtype = _real_dtype(params, x)
    factors = _eigenvalues(params, dtype)
    carry = factors[None, :] * carry.astype(factors.dtype) + _inputs(params, x, dtype)
    return carry, _outputs(params, carry, x, dtype).astype(jnp.result_type(x, params.input_real))


def lru(
    params: LRUParams,
    x: Float[Array, "_batch _time inputs"],
    initial_carry: Complex[Array, "batch state"] | None = None,
    *,
    seq_lengths: Int[ArrayLike, " batch"] | None = None,
    return_carry: bool = False,
    reverse: bool = False,
    keep_order: bool = False,
    time_major: bool = False,
    implementation: LinearImplementation | None = None,
) -> Any:
    """A linear recurrent unit over whole sequences.

    ``h_t = exp(-exp(nu_log) + i exp(theta_log)) h_{t-1} + exp(gamma_log) (x_t B)``,
    ``y_t = Re(h_t C) + D x_t``

    Args:
        params: the layer's parameters.
        x: inputs [batch, time, inputs] ([time, batch, inputs] if `time_major`).
        initial_carry: ``h`` before the first step, complex; zeros by default.
        seq_lengths: number of valid steps of each right-padded sequence. Outputs
            after the end are zero; the carry is the one at the sequence's own end.
        return_carry: return ``(carry, y)`` in place of ``y``.
        reverse: run from each sequence's last step to its first.
        keep_order: with `reverse`, return outputs in the order of the inputs
            rather than in the order of computation.
        time_major: x and y are [time, batch, ...].
        implementation: None (best), "scan", "associative" or "autodiff"; see
            `linear_recurrence`.

    Returns:
        ``y`` [batch, time, features] in the dtype of input and ``B``, or
        ``(carry, y)`` with ``carry`` [batch, state], complex64 or wider.

    Raises:
        ValueError: where shapes do not fit each other, or for an unknown implementation.

    Example:
        >>> import jax.numpy as jnp
        >>> one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))
        >>> half = jnp.log(-jnp.log(jnp.array([0.5])))  # a modulus of 0.5
        >>> params = LRUParams(half, jnp.array([-jnp.inf]), zero[0], one, zero, one, zero)
        >>> lru(params, jnp.ones((1, 3, 1)))[0, :, 0].round(4).tolist()
        [1.0, 1.5, 1.75]

    Source: Orvieto et al., "Resurrecting recurrent neural networks for long
    sequences", arXiv 2303.06349, section 3.
    """
    _check("lru", params, x, ndim=3)
    dtype = _real_dtype(params, x)
    factors = _eigenvalues(params, dtype)
    batch, state = x.shape[1 if time_major else 0], params.nu_log.shape[0]
    carry = jnp.zeros((batch, state), factors.dtype) if initial_carry is None else initial_carry
    check_carry("lru", carry, batch, state)

    def loop(x: Array, mask: Array | None) -> tuple[Array, Array]:
        end, h = linear_loop(
            factors,
            _inputs(params, x, dtype),
            carry.astype(factors.dtype),
            mask,
            reverse=reverse,
            implementation=implementation,
        )
        return end, _outputs(params, h, x, dtype)

    return over_sequence(
        loop,
        x,
        seq_lengths=seq_lengths,
        return_carry=return_carry,
        reverse=reverse,
        keep_order=keep_order,
        time_major=time_major,
        dtype=jnp.result_type(x, params.input_real),
    )


def _real_dtype(params: LRUParams, x: Array) -> jnp.dtype:
    return carry_dtype(x, params.input_real)


def _eigenvalues(params: LRUParams, dtype: jnp.dtype) -> Array:
    modulus = jnp.exp(-jnp.exp(params.nu_log.astype(dtype)))
    phase = jnp.exp(params.theta_log.astype(dtype))
    return lax.complex(modulus * jnp.cos(phase), modulus * jnp.sin(phase))


def _inputs(params: LRUParams, x: Array, dtype: jnp.dtype) -> Array:
    """``gamma (x B)`` by two real products: a complex one with a real x would take four."""
    product = jnp.result_type(x, params.input_real)
    gamma = lax.expand_dims(jnp.exp(params.gamma_log.astype(dtype)), range(x.ndim - 1))
    real, imag = (
        gamma * dot(x, kernel.astype(product), dtype)
        for kernel in (params.input_real, params.input_imag)
    )
    return lax.complex(real, imag)


def _outputs(params: LRUParams, h: Array, x: Array, dtype: jnp.dtype) -> Array:
    """``Re(h C) + D x``"""
    product = jnp.result_type(x, params.output_real)
    y = dot(h.real, params.output_real.astype(product), dtype)
    y = y - dot(h.imag, params.output_imag.astype(product), dtype)
    if params.skip is None:
        return y
    return y + lax.expand_dims(params.skip.astype(dtype), range(x.ndim - 1)) * x.astype(dtype)


def _check(op: str, params: LRUParams, x: Array, ndim: int) -> None:
    if x.ndim != ndim:
        dims = {2: "[batch, inputs]", 3: "[batch, time, inputs]"}[ndim]
        raise ValueError(f"{op}: x must be {dims}, but its shape is {x.shape}.")
    inputs, state, features = x.shape[-1], params.nu_log.shape[0], params.output_real.shape[-1]
    vector, into, out = (state,), (inputs, state), (state, features)
    fitting = (vector, vector, vector, into, into, out, out, (features,))
    for name, leaf, shape in zip(LRUParams._fields, params, fitting, strict=True):
        if leaf is not None and leaf.shape != shape:
            raise ValueError(
                f"{op}: {name} must be {list(shape)} for x with {inputs} inputs, a state of"
                f" {state} and {features} features, but its shape is {leaf.shape}."
            )
    if params.skip is not None and inputs != features:
        raise ValueError(
            f"{op}: skip multiplies x feature by feature, but x has {inputs} inputs for"
            f" {features} features; leave it None."
        )
