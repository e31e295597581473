"""Layers whose recurrence is linear in their state, so that time can run in parallel."""

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jax import Array
from jax.nn import initializers
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from seqjax.ops.layout import carry_dtype
from seqjax.ops.linear import LinearImplementation
from seqjax.ops.lru import LRUParams, lru, lru_cell
from seqjax.ops.minimal import (
    MinGRUParams,
    MinLSTMParams,
    min_gru,
    min_gru_cell,
    min_lstm,
    min_lstm_cell,
)


class _Linear(nn.Module, kw_only=True):
    """Options and both modes of every layer here; a subclass names its ops.

    Attributes:
        reverse: run from each sequence's last step to its first.
        keep_order: with `reverse`, outputs in the order of the inputs.
        implementation: None (best), "scan", "associative" or "autodiff"; see
            `seqjax.ops.linear_recurrence`.
        dtype: of the computation; by default that of inputs and parameters.
            Carries are float32 (complex64) or wider.
        param_dtype: of the parameters.
    """

    reverse: bool = False
    keep_order: bool = False
    implementation: LinearImplementation | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    if TYPE_CHECKING:  # a subclass's affair
        features: int

        def _parameters(self, inputs: int) -> Any: ...

        def _sequence(self, params: Any, x: Array, initial_carry: Any, **options: Any) -> Any: ...

        def _cell(self, params: Any, carry: Any, x: Array) -> tuple[Any, Array]: ...

    def _cast(self, array: Array) -> Array:
        return array if self.dtype is None else array.astype(self.dtype)

    def _carry_dtype(self) -> jnp.dtype:
        dtype = self.param_dtype if self.dtype is None else self.dtype
        return carry_dtype(jnp.zeros((), dtype))

    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        initial_carry: Any = None,
        *,
        seq_lengths: Int[ArrayLike, " batch"] | None = None,
        return_carry: bool = False,
        deterministic: bool = True,
    ) -> Any:
        """``y`` [batch, time, features], or ``(carry, y)``; see the op of the same name."""
        del deterministic  # nothing random here
        return self._sequence(
            self._parameters(x.shape[-1]),
            self._cast(x),
            initial_carry,
            seq_lengths=seq_lengths,
            return_carry=return_carry,
            reverse=self.reverse,
            keep_order=self.keep_order,
            implementation=self.implementation,
        )

    def step(
        self, carry: Any, x: Float[Array, "batch inputs"]
    ) -> tuple[Any, Float[Array, "batch features"]]:
        """One step: ``(carry, y)``."""
        if self.reverse:
            raise ValueError(
                f"{type(self).__name__}: a reversed layer starts at the end of the"
                " sequence; it cannot run one step at a time."
            )
        return self._cell(self._parameters(x.shape[-1]), carry, self._cast(x))

    def initial_carry(self, batch: int, inputs: int) -> Array:
        """Zeros, [batch, features]."""
        del inputs
        return jnp.zeros((batch, self.features), self._carry_dtype())

    def output_length(self, length: Any) -> Any:
        """As many as inputs."""
        return length

    def output_features(self, inputs: int) -> int:
        """The width."""
        del inputs
        return self.features


class MinGRU(_Linear):
    """A GRU whose gate sees the input alone; see `seqjax.ops.min_gru`.

    ``z_t, n_t = split(x_t W + b)``, ``h_t = (1 - sigmoid(z_t)) h_{t-1} + sigmoid(z_t) n_t``

    Attributes (besides the options of every linear layer):
        features: the width.
        kernel_init: of the kernel, drawn as one packed matrix.
        bias_init: of the bias.

    Example:
        >>> import jax
        >>> layer, x = MinGRU(features=4), jax.numpy.ones((2, 5, 3))
        >>> params = layer.init(jax.random.key(0), x)
        >>> layer.apply(params, x).shape
        (2, 5, 4)

    Source: Feng et al., "Were RNNs all we needed?", arXiv 2410.01201.
    """

    features: int
    kernel_init: Initializer = initializers.glorot_uniform()
    bias_init: Initializer = initializers.zeros

    @nn.compact
    def _parameters(self, inputs: int) -> MinGRUParams:
        width = 2 * self.features
        kernel = self.param("kernel", self.kernel_init, (inputs, width), self.param_dtype)
        bias = self.param("bias", self.bias_init, (width,), self.param_dtype)
        return MinGRUParams(self._cast(kernel), self._cast(bias))

    def _sequence(self, params: Any, x: Array, initial_carry: Any, **options: Any) -> Any:
        return min_gru(params, x, initial_carry, **options)

    def _cell(self, params: Any, carry: Any, x: Array) -> tuple[Any, Array]:
        return min_gru_cell(params, carry, x)


class MinLSTM(_Linear):
    """An LSTM whose gates see the input alone; see `seqjax.ops.min_lstm`.

    ``f_t, i_t, n_t = split(x_t W + b)``, ``s_t = sigmoid(f_t) + sigmoid(i_t)``,
    ``h_t = sigmoid(f_t) / s_t h_{t-1} + sigmoid(i_t) / s_t n_t``

    Attributes (besides the options of every linear layer):
        features: the width.
        kernel_init: of the kernel, drawn as one packed matrix.
        bias_init: of the bias.

    Example:
        >>> import jax
        >>> layer, x = MinLSTM(features=4), jax.numpy.ones((2, 5, 3))
        >>> params = layer.init(jax.random.key(0), x)
        >>> carry = layer.initial_carry(batch=2, inputs=3)
        >>> carry, y = layer.apply(params, carry, x[:, 0], method="step")
        >>> y.shape
        (2, 4)

    Source: Feng et al., "Were RNNs all we needed?", arXiv 2410.01201.
    """

    features: int
    kernel_init: Initializer = initializers.glorot_uniform()
    bias_init: Initializer = initializers.zeros

    @nn.compact
    def _parameters(self, inputs: int) -> MinLSTMParams:
        width = 3 * self.features
        kernel = self.param("kernel", self.kernel_init, (inputs, width), self.param_dtype)
        bias = self.param("bias", self.bias_init, (width,), self.param_dtype)
        return MinLSTMParams(self._cast(kernel), self._cast(bias))

    def _sequence(self, params: Any, x: Array, initial_carry: Any, **options: Any) -> Any:
        return min_lstm(params, x, initial_carry, **options)

    def _cell(self, params: Any, carry: Any, x: Array) -> tuple[Any, Array]:
        return min_lstm_cell(params, carry, x)


class LRU(_Linear):
    """A linear recurrent unit; see `seqjax.ops.lru`.

    ``h_t = lambda h_{t-1} + gamma (x_t B)``, ``y_t = Re(h_t C) + D x_t``, with ``D``
    where there are as many inputs as features

    The eigenvalues start uniform on a ring of the complex plane; the closer `r_min`
    is to one, the longer the memory. For very long sequences the paper takes a smaller
    `max_phase` (section 3.4).

    Attributes (besides the options of every linear layer):
        features: number of outputs.
        state: number of complex eigenvalues.
        r_min: least modulus of an eigenvalue at the start.
        r_max: greatest modulus at the start.
        max_phase: greatest phase at the start, in radians.

    Example:
        >>> import jax
        >>> layer, x = LRU(features=4, state=8, r_min=0.9), jax.numpy.ones((2, 5, 3))
        >>> params = layer.init(jax.random.key(0), x)
        >>> carry, y = layer.apply(params, x, return_carry=True)
        >>> y.shape, carry.shape, carry.dtype
        ((2, 5, 4), (2, 8), dtype('complex64'))

    Source: Orvieto et al., "Resurrecting recurrent neural networks for long
    sequences", arXiv 2303.06349; initialisation after its section 3 and appendix A.
    """

    features: int
    state: int
    r_min: float = 0.0
    r_max: float = 1.0
    max_phase: float = 2 * math.pi

    @nn.compact
    def _parameters(self, inputs: int) -> LRUParams:
        if not 0 <= self.r_min <= self.r_max <= 1:
            raise ValueError(
                f"LRU: r_min and r_max must be 0 <= r_min <= r_max <= 1, not"
                f" {self.r_min} and {self.r_max}."
            )
        nu_log = self.param("nu_log", self._nu_log)
        theta_log = self.param("theta_log", self._theta_log)
        gamma_log = self.param("gamma_log", self._gamma_log, nu_log)
        into, out = (inputs, self.state), (self.state, self.features)
        normal_in = initializers.normal((2 * inputs) ** -0.5)
        normal_out = initializers.normal(self.state**-0.5)
        arrays = [
            self.param(name, init, shape, self.param_dtype)
            for name, init, shape in (
                ("input_real", normal_in, into),
                ("input_imag", normal_in, into),
                ("output_real", normal_out, out),
                ("output_imag", normal_out, out),
            )
        ]
        if inputs == self.features:
            arrays.append(
                self.param("skip", initializers.normal(1.0), (self.features,), self.param_dtype)
            )
        # The eigenvalues' parameters keep their precision: near one it decides the memory.
        return LRUParams(nu_log, theta_log, gamma_log, *map(self._cast, arrays))

    def _nu_log(self, key: Array) -> Array:
        squared = jax.random.uniform(key, (self.state,)) * (self.r_max**2 - self.r_min**2)
        # A modulus of exactly zero or one has no finite logarithm.
        squared = jnp.clip(squared + self.r_min**2, 1e-6, 1 - 1e-6)
        return jnp.log(-0.5 * jnp.log(squared)).astype(self.param_dtype)

    def _theta_log(self, key: Array) -> Array:
        phase = self.max_phase * jax.random.uniform(key, (self.state,), minval=1e-6)
        return jnp.log(phase).astype(self.param_dtype)

    def _gamma_log(self, key: Array, nu_log: Array) -> Array:
        """Of ``sqrt(1 - |lambda|^2)``: noise through the layer then keeps its variance."""
        del key
        wide = nu_log.astype(jnp.float32)
        return (0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(wide)))).astype(self.param_dtype)

    def _sequence(self, params: Any, x: Array, initial_carry: Any, **options: Any) -> Any:
        return lru(params, x, initial_carry, **options)

    def _cell(self, params: Any, carry: Any, x: Array) -> tuple[Any, Array]:
        return lru_cell(params, carry, x)

    def initial_carry(self, batch: int, inputs: int) -> Array:
        """Complex zeros, [batch, state]."""
        del inputs
        dtype = jnp.promote_types(self._carry_dtype(), jnp.complex64)
        return jnp.zeros((batch, self.state), dtype)
