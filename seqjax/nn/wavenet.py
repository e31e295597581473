"""WaveNet: gated dilated causal convolutions with residual and skip connections."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import Array
from jax.nn import initializers

from seqjax import ops
from seqjax.nn.conv import CausalConv
from seqjax.nn.layer import Call, Context, Inputs, Layer, check_parts, checked_rate, without_padding
from seqjax.ops.bounds import Count, Rate, Repeats, Size

Carries = tuple[ops.ConvCarry, ...]

_MOST_BLOCKS = 1024  # each is traced


class WaveNet(Layer):
    """WaveNet over sequences of features.

    With ``x_0`` a causal convolution of the input, block ``k`` computes

    ``u_k = tanh(a) * sigmoid(b)``, ``a, b = split(conv_k(x_k) + V_k g + W_k l_t)``;
    ``x_{k+1} = x_k + P_k u_k``, ``s_k = S_k u_k``,

    and ``y = Q relu(R relu(sum_k s_k))``. ``g`` and ``l`` are the global and the local
    condition, ``context={"global_condition": [batch, features], "local_condition": [batch, time,
    features]}``, each needed where it has features; products stand for convolutions of one tap,
    with biases (``V`` and ``W`` without).

    Attributes:
        outputs: number of outputs.
        kernel_size: taps of the dilated convolutions and of the first one.
        dilations: of the blocks of one cycle.
        cycles: how often the cycle is repeated.
        residual_features: width of ``x_k`` and ``u_k``.
        skip_features: width of ``s_k`` and of the head; None for ``s_k = P_k u_k``, one
            product for both (as in *Hands-On Machine Learning*).
        gated: the unit above; otherwise ``u_k = relu(conv_k(x_k) + ...)``.
        global_features: number of features of the global condition; 0 for none.
        local_features: number of features of the local condition; 0 for none.
        dropout: rate of the dropout of ``u_k``; needs the rng "dropout" unless
            deterministic.
        weight_norm: learn each filter's length and direction apart (Salimans and
            Kingma, arXiv 1602.07868).
        dtype: of the computation; by default that of inputs and parameters.
        param_dtype: of the parameters.

    Example:
        >>> model, x = WaveNet(outputs=1, dilations=(1, 2, 4), cycles=2), jnp.ones((2, 20, 3))
        >>> params = model.init(jax.random.key(0), x)
        >>> model.apply(params, x).shape, model.receptive_field
        ((2, 20, 1), 16)
        >>> carry = model.initial_carry(batch=2, inputs=3)
        >>> carry, y = model.apply(params, carry, x[:, 0], method="step")
        >>> y.shape
        (2, 1)

    Source: van den Oord et al., "WaveNet", arXiv 1609.03499; one step at a time after
    Le Paine et al., arXiv 1611.09482.
    """

    outputs: Count
    kernel_size: Repeats = 2
    dilations: tuple[Count, ...] = (1, 2, 4, 8)
    cycles: Repeats = 1
    residual_features: Count = 32
    skip_features: Count | None = None
    gated: bool = True
    global_features: Size = 0
    local_features: Size = 0
    dropout: Rate = 0.0
    weight_norm: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @property
    def receptive_field(self) -> int:
        """Number of inputs, the newest included, that an output depends on."""
        return ops.receptive_field(self.kernel_size, (1, *self._all_dilations()))

    def _all_dilations(self) -> tuple[int, ...]:
        return self.dilations * self.cycles

    def setup(self) -> None:
        dilations = self._all_dilations()
        blocks = range(len(dilations))
        if not 0 < len(blocks) <= _MOST_BLOCKS:
            raise ValueError(
                "WaveNet: dilations and cycles must make at least one block, and at most"
                f" {_MOST_BLOCKS}, not {len(blocks)}."
            )
        width = self.residual_features
        unit_inputs = 2 * width if self.gated else width
        skip_width = width if self.skip_features is None else self.skip_features
        self.entry = self._conv(width, self.kernel_size)
        self.dilated = [self._conv(unit_inputs, self.kernel_size, d) for d in dilations]
        # Without a share in s_k, the last block's P would lead nowhere.
        unused = 0 if self.skip_features is None else 1
        self.residual = [self._conv(width, 1) for _ in blocks[unused:]]
        if self.skip_features is not None:
            self.skip = [self._conv(skip_width, 1) for _ in blocks]
        if self.global_features:
            self.from_global = [self._condition(unit_inputs) for _ in blocks]
        if self.local_features:
            self.from_local = [self._condition(unit_inputs) for _ in blocks]
        self.hidden = self._conv(skip_width, 1)
        self.out = self._conv(self.outputs, 1)
        self.drop = nn.Dropout(checked_rate(self, self.dropout))

    def _conv(self, features: int, kernel_size: int, dilation: int = 1) -> CausalConv:
        return CausalConv(
            features,
            kernel_size,
            dilation=dilation,
            weight_norm=self.weight_norm,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

    def _condition(self, features: int) -> nn.Dense:
        return nn.Dense(
            features,
            use_bias=False,
            kernel_init=initializers.glorot_uniform(),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

    def _unit(
        self, k: int, a: Array, global_condition: Array, local_condition: Array, deterministic: bool
    ) -> Array:
        """``u_k`` from the convolution's outputs, [batch, ..., unit inputs]."""
        if self.global_features:
            a = a + self.from_global[k](global_condition)
        if self.local_features:
            a = a + self.from_local[k](local_condition)
        if self.gated:
            filters, gates = jnp.split(a, 2, axis=-1)
            u = jnp.tanh(filters) * jax.nn.sigmoid(gates)
        else:
            u = jax.nn.relu(a)
        return self.drop(u, deterministic=deterministic)

    def context_names(self) -> frozenset[str]:
        """The conditions that it has features for."""
        found = {"global_condition": self.global_features, "local_condition": self.local_features}
        return frozenset(name for name, features in found.items() if features)

    def _conditions(self, x: Array, context: Context | None) -> tuple[Array, Array]:
        """Both conditions, as many steps as `x` has; zeros where there are no features."""
        given = context or {}
        checked, shape = [], x.shape[:-1]
        for name, features, expected in (
            ("global", self.global_features, (shape[0],)),
            ("local", self.local_features, shape),
        ):
            condition = given.get(f"{name}_condition") if features else None
            if condition is None and (not features or self.is_initializing()):
                condition = jnp.zeros((*expected, features), x.dtype)
            elif condition is None or condition.shape != (*expected, features):
                missing = condition is None
                found = "the context has none" if missing else f"its shape is {condition.shape}"
                raise ValueError(
                    f"WaveNet: {name}_condition must be {[*expected, features]} with"
                    f" {name}_features={features}, but {found}."
                )
            checked.append(condition)
        if len(shape) == 2:  # a whole sequence: the global condition holds at every step
            checked[0] = checked[0][:, None, :]
        return checked[0], checked[1]

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carries, y)``, y [batch, time, outputs]."""
        x = self.checked(x, 3)
        g, local = self._conditions(x, call.context)
        local, _ = without_padding(local, call.seq_lengths)
        carries = check_parts(self, carry, 1 + len(self.dilated))
        ends = []

        def causal(layer: CausalConv, x: Array, index: int) -> Array:
            end, y = layer.whole(x, carries[index], call)
            ends.append(end)
            return y

        x = causal(self.entry, x, 0)
        skips = []
        for k, layer in enumerate(self.dilated):
            u = self._unit(k, causal(layer, x, k + 1), g, local, call.deterministic)
            x, skip = self._outlets(k, x, u)
            skips.append(skip)
        return tuple(ends), self.out(self._head(skips), seq_lengths=call.seq_lengths)

    def _outlets(self, k: int, x: Array, u: Array) -> tuple[Array, Array]:
        """``x_{k+1}`` and ``s_k``, from sequences."""
        if self.skip_features is not None:
            skip = self.skip[k](u)
            return (x + self.residual[k](u) if k < len(self.residual) else x), skip
        product = self.residual[k](u)
        return x + product, product

    def _head(self, skips: list[Array]) -> Array:
        return jax.nn.relu(self.hidden(jax.nn.relu(sum(skips[1:], skips[0]))))

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step, at the cost of one step: ``(carries, y)``, without dropout."""
        x = self.checked(x, 2)
        carry = check_parts(self, carry, 1 + len(self.dilated))
        g, local = self._conditions(x, context)
        end, x = self.entry.step(carry[0], x)
        ends, skips = [end], []
        x = x[:, None]  # products of one tap work on sequences, here of one step
        for k, layer in enumerate(self.dilated):
            end, a = layer.step(carry[k + 1], x[:, 0])
            ends.append(end)
            x, skip = self._outlets(k, x, self._unit(k, a, g, local, True)[:, None])
            skips.append(skip)
        return tuple(ends), self.out(self._head(skips))[:, 0]

    def initial_carry(self, batch: Any, inputs: Inputs) -> Carries:
        """A past of zeros for every convolution."""
        dtype = self.param_dtype if self.dtype is None else self.dtype
        dtype = ops.carry_dtype(jnp.zeros((), dtype))
        layers = [
            (Layer.output_features(self, inputs), 1),
            *((self.residual_features, d) for d in self._all_dilations()),
        ]
        return tuple(
            ops.conv_carry(batch, width, self.kernel_size, dilation, dtype)
            for width, dilation in layers
        )

    def output_features(self, inputs: Inputs) -> int:
        """Number of outputs."""
        super().output_features(inputs)
        return self.outputs
