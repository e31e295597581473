"""Recurrent layers: a layer for every cell of `seqjax.ops.CELLS`.

A layer's fields are the cell's options, `seqjax.ops.Settings`, and what stands in `Recurrent`;
its equation and source are the cell's.
"""

import dataclasses
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jax import Array

from seqjax import ops
from seqjax.nn.layer import Call, Context, Inputs, Layer, at_last, checked_rate, with_carry
from seqjax.nn.newton import COUNTER, iterates, leave_behind, options_of
from seqjax.ops.bounds import Count, Rate
from seqjax.ops.cell import in_float32, is_bias
from seqjax.ops.recurrent_kernel import vector_of
from seqjax.ops.wavefront import refuses

SETTINGS = get_type_hints(ops.Settings, include_extras=True)


def _module(name: str, base: type, hints: dict[str, Any], **namespace: Any) -> Any:
    """A Linen class whose fields come from elsewhere."""
    fields = {"__annotations__": dict(hints), "__module__": __name__, "__qualname__": name}
    options = {"kw_only": base is Layer}
    return types.new_class(name, (base,), options, lambda body: body.update(fields | namespace))


if TYPE_CHECKING:
    from seqjax.nn.declared import WithSettings as _WithSettings
else:
    # False where an option is a flag, else None: left to the op.
    _WithSettings = _module(
        "_WithSettings",
        Layer,
        SETTINGS,
        **{name: False if hint is bool else None for name, hint in SETTINGS.items()},
    )


class Recurrent(_WithSettings, kw_only=True):
    """A recurrent layer; a subclass says of which cell.

    Attributes:
        features: the width.
        dropout: rate of the dropout of the inputs, the same mask at every step.
        recurrent_dropout: rate of the dropout of ``h`` in its product with the
            recurrent kernel, the same mask at every step (Gal and Ghahramani, arXiv
            1512.05287). Both need the rng "dropout" unless deterministic.
        use_bias: False leaves biases out; the offset of an RNN's layer norm is none.
        dtype: of the computation; by default that of inputs and parameters.
            Carries are float32 or wider.
        param_dtype: of the parameters.
        kernel_init: of the input kernel, in place of the cell's own; drawn as one
            packed matrix (as in Keras).
        recurrent_init: of the recurrent kernel, likewise; where it is diagonal, of a vector
            [gates * features].
        bias_init: of the biases, likewise.
    """

    dropout: Rate = 0.0
    recurrent_dropout: Rate = 0.0
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer | None = None
    recurrent_init: Initializer | None = None
    bias_init: Initializer | None = None

    if TYPE_CHECKING:
        features: Count  # of a subclass, where it comes first
    cell_type: ClassVar[type[ops.Cell]]

    @property
    def cell(self) -> ops.Cell:
        """The cell's description, with this layer's options."""
        options = dataclasses.fields(self.cell_type)
        return self.cell_type(**{option.name: getattr(self, option.name) for option in options})

    @nn.compact
    def parameters(self, inputs: int) -> Any:
        """The op's parameters for so many input features, in the dtype of the computation."""
        given = {
            "kernel": self.kernel_init,
            "recurrent_kernel": self.recurrent_init,
            "bias": self.bias_init,
            "recurrent_bias": self.bias_init,
        }
        given = {name: in_float32(init) for name, init in given.items() if init is not None}
        used = set()

        def declare(name: str, shape: Any, init: Any, *, keep_dtype: bool = False) -> Any:
            if not self.use_bias and is_bias(name):
                return None
            used.add(name)
            init = given.get(name, init)
            if name == "recurrent_kernel" and len(shape) == 1:
                init = vector_of(init, f"{type(self).__name__}: recurrent_init")
            array = self.declare(name, shape, init, self.param_dtype, inputs)
            return array if self.dtype is None or keep_dtype else array.astype(self.dtype)

        params = self.cell.parameters(declare, inputs, self.features)
        if unused := given.keys() - used - {"recurrent_bias"}:
            raise ValueError(f"{type(self).__name__} has no {', '.join(sorted(unused))} to draw.")
        return params

    def cast(self, x: Array) -> Array:
        """`x` in the dtype of the computation."""
        return x if self.dtype is None else x.astype(self.dtype)

    def _mask(self, rate: float, shape: tuple[int, ...], dtype: Dtype) -> Array:
        """What dropout multiplies with: 0 at `rate`, else ``1 / (1 - rate)``."""
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - checked_rate(self, rate), shape)
        return kept.astype(dtype) / (1 - rate)

    def whole(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """``(carry, y)``; see `seqjax.ops.run`."""
        x = self.cast(self.checked(x, 3))
        params = self.parameters(x.shape[-1])
        recurrent_mask = None
        if not call.deterministic:
            batch = x.shape[0]
            if self.dropout:
                x = x * self._mask(self.dropout, (batch, 1, x.shape[2]), x.dtype)
            if self.recurrent_dropout:
                shape = (batch, self.features)
                recurrent_mask = self._mask(self.recurrent_dropout, shape, jnp.float32)
        cell = self.cell
        by_iteration = iterates(self)
        result: Any = ops.run(
            cell,
            params,
            x,
            carry,
            recurrent_mask=recurrent_mask,
            seq_lengths=call.seq_lengths,
            return_carry=True,
            **(options_of(self, call) if by_iteration else {}),
            **{name: getattr(self, name) for name in SETTINGS},
        )
        if not by_iteration:
            return result
        carry, y, solution = result
        leave_behind(self, solution)
        return carry, y

    def context_names(self) -> frozenset[str]:
        """What counts the backward pass of "newton"; a step does not read it."""
        linear = isinstance(self.cell.form, ops.Linear)
        return frozenset({COUNTER} if self.implementation == "newton" and not linear else ())

    def step(self, carry: Any, x: Array, *, context: Context | None = None) -> tuple[Any, Array]:
        """One step: ``(carry, y)``."""
        del context
        if self.reverse:
            raise ValueError(
                f"{type(self).__name__}: a reversed layer starts at the end of the"
                " sequence; it cannot run one step at a time."
            )
        x = self.cast(self.checked(x, 2))
        return ops.step(self.cell, self.parameters(x.shape[-1]), carry, x)

    def initial_carry(self, batch: Any, inputs: Inputs) -> Any:
        """Zeros, [batch, features] of float32 or wider."""
        del inputs
        dtype = self.param_dtype if self.dtype is None else self.dtype
        return self.cell.initial_carry(batch, self.features, ops.carry_dtype(jnp.zeros((), dtype)))

    def output_features(self, inputs: Inputs) -> int:
        """The width."""
        super().output_features(inputs)
        return self.features

    @property
    def backwards(self) -> bool:
        """Whether it starts at the end."""
        return self.reverse

    def end(self, x: Array, carry: Any, call: Call) -> tuple[Any, Array]:
        """`whole`, but for the last step of the loop: where it runs backwards, the first."""
        lengths = ops.as_lengths(call.seq_lengths, batch=x.shape[0], steps=x.shape[1])
        carry, y = with_carry(self, x, carry, call)
        return carry, y[:, 0] if self.reverse and self.keep_order else at_last(y, lengths)


def _layer(cell: type[ops.Cell]) -> Any:
    name = cell.__name__.removesuffix("Cell")
    hints = get_type_hints(cell, include_extras=True)
    options = dataclasses.fields(cell)
    doc = f"""{(cell.__doc__ or "").strip()}

    Attributes of every recurrent layer: `features`, and those of `Recurrent` and
    `seqjax.ops.Settings`.

    Example:
        >>> import jax
        >>> from seqjax import nn
        >>> layer, x = nn.{name}(features=4), jax.numpy.ones((2, 5, 3))
        >>> y, variables = layer.init_with_output(jax.random.key(0), x)
        >>> y.shape
        (2, 5, 4)
    """
    fields = {"features": Count} | {option.name: hints[option.name] for option in options}
    defaults = {
        option.name: dataclasses.field(
            default=option.default, default_factory=option.default_factory, kw_only=option.kw_only
        )
        for option in options
    }
    where = "seqjax.nn"  # where pickle finds it again
    return _module(
        name, Recurrent, fields, __doc__=doc, __module__=where, cell_type=cell, **defaults
    )


LAYERS: dict[str, Any] = {name: _layer(cell) for name, cell in ops.CELLS.items()}
"""The layer of every cell, by the cell's name."""


# -- several as one loop -----------------------------------------------------------


def wavefront_kind(layer: Any, x: Array, deterministic: bool) -> tuple[Any, ...] | None:
    """What layers must share to run as one loop (`run_wavefront`); None where one cannot.

    `x` is the input of the lowest: all must compute in one dtype.
    """
    # The very classes: a subclass may do something else with the same fields.
    if type(layer) not in LAYERS.values() or refuses(layer.cell) is not None:
        return None
    settings = {name: getattr(layer, name) for name in SETTINGS} | {
        "unroll": layer.unroll not in (None, 1)
    }
    if any(value not in (None, False) for value in settings.values()):
        return None
    if not deterministic and (layer.dropout or layer.recurrent_dropout):
        return None
    dtype = layer.param_dtype if layer.dtype is None else layer.dtype
    stored = {leaf.dtype for leaf in jax.tree.leaves(layer.variables.get("params", {}))}
    if layer.cast(x).dtype != dtype or (layer.dtype is None and stored - {jnp.dtype(dtype)}):
        return None
    return layer.cell, layer.features, layer.use_bias, jnp.dtype(dtype), layer.param_dtype


def run_wavefront(
    layers: Sequence[Any], x: Array, carries: Sequence[Any] | None, seq_lengths: Array | None
) -> tuple[tuple[Any, ...], Array]:
    """Bound layers of one `wavefront_kind` as one loop, ``(carries, y)``."""
    first = layers[0]
    x = first.cast(first.checked(x, 3))
    params = [
        layer.parameters(x.shape[-1] if layer is first else first.features) for layer in layers
    ]
    options = {"seq_lengths": seq_lengths, "return_carry": True}
    return ops.wavefront(first.cell, params, x, carries, **options)
