"""What a recurrent layer is: all that is known about it, in one description.

A `Cell` tells its parameters, its carry, its recurrence, and how other libraries lay it out.
`seqjax.ops.run` runs any of them; layers, models, files and benchmarks ask `CELLS` (in
`seqjax.ops.registry`) and never know one from another.

Dimensions: B batch, I input features, H features (width), K gates, T time.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers

Carry = Any  # a pytree of arrays that begin with the batch; which one is the cell's affair
Params = Any  # a named tuple of arrays
Initializer = Callable[[Array, tuple[int, ...], Any], Any]  # (key, shape, dtype) -> array


class Loop(NamedTuple):
    """How a loop over time goes.

    Attributes:
        reverse: from the last step to the first; outputs stay where their inputs are.
        unroll: steps per iteration, as in `jax.lax.scan`.
    """

    reverse: bool = False
    unroll: int = 1


class Weights(NamedTuple):
    """What the engine multiplies with; `bias` may be None."""

    kernel: Array  # [I, K*H]
    recurrent_kernel: Array  # [H, K*H], or [K*H] where it is diagonal
    bias: Array | None  # [K*H]


# -- the forms of a recurrence ---------------------------------------------------


def _identity(carry: Carry) -> Array:
    return carry


class Derivative(NamedTuple):
    """A cell's own derivative, where `jax.vjp` of its step is measured to be slower.

    Attributes:
        forward: ``(own, carry, gates) -> (carry, saved)``; the carry is that of the
            cell's step, `saved` a tuple of [B, H] arrays.
        backward: ``(own, previous, saved, d_carry) -> (d_own, d_previous, d_gates)``,
            with the carry before the step. Where `d_carry` is zero, so must `d_own` be.
    """

    forward: Callable[[Any, Carry, tuple[Array, ...]], tuple[Carry, tuple[Array, ...]]]
    backward: Callable[[Any, Carry, tuple[Array, ...], Carry], tuple[Any, Carry, tuple[Array, ...]]]


class Elementwise(NamedTuple):
    """A recurrence that is an elementwise function of its gates: what the engine runs.

    ``z_t = x_t W + b``, ``carry_t = step(own, carry_{t-1}, gates of z_t and h_{t-1} U)``

    Attributes:
        step: ``(own, carry, gates) -> carry``. ``gates`` is a tuple of
            [B, H] arrays: first the `summed` gates, each ``z_k + (h U)_k``; then
            the input parts ``z_k`` of the `split` gates; then their recurrent
            parts ``(h U)_k``. ``own`` is a pytree of the cell's own small
            parameters (``()`` where there are none), [..., H] each; they get gradients
            too. Or its `Derivative`, whose `forward` is the step.
        summed: number of gates that see only the sum of both parts.
        split: number of gates that see the two parts apart (the GRU's candidate).
        hidden: picks ``h`` out of the carry; linear in it.
        across_features: the step looks across the features, as a layer norm does.
        diagonal: ``u * h`` stands for ``h U`` (`seqjax.ops.recurrent_kernel`).
    """

    step: Callable[[Any, Carry, tuple[Array, ...]], Carry] | Derivative
    summed: int
    split: int = 0
    hidden: Callable[[Carry], Array] = _identity
    across_features: bool = False
    diagonal: bool = False

    @property
    def gates(self) -> int:
        """K, the number of [I, H] blocks side by side in the kernels."""
        return self.summed + self.split

    def combine(self, z: Array, r: Array) -> tuple[Array, ...]:
        """The gates from their input parts `z` and recurrent parts `r`, [B, K*H] each."""
        if not self.split:
            return tuple(jnp.split(z + r, self.gates, axis=-1))
        z_gates, r_gates = (jnp.split(a, self.gates, axis=-1) for a in (z, r))
        s = self.summed
        sums = [a + b for a, b in zip(z_gates[:s], r_gates[:s], strict=True)]
        return (*sums, *z_gates[s:], *r_gates[s:])

    def advance(self, own: Any, carry: Carry, gates: tuple[Array, ...]) -> Carry:
        """The carry after a step."""
        step = self.step
        if isinstance(step, Derivative):
            return step.forward(own, carry, gates)[0]
        return step(own, carry, gates)

    def derivative(self) -> Derivative:
        """The cell's own, or that of JAX: of the step alone, its gates saved."""
        if isinstance(self.step, Derivative):
            return self.step

        def backward(
            own: Any, previous: Carry, gates: tuple[Array, ...], d_carry: Carry
        ) -> tuple[Any, Carry, tuple[Array, ...]]:
            return jax.vjp(self.advance, own, previous, gates)[1](d_carry)

        return Derivative(lambda *inputs: (self.advance(*inputs), inputs[-1]), backward)


class Linear(NamedTuple):
    """A recurrence that is linear in its state, whose steps can run in parallel.

    ``h_t = a_t h_{t-1} + b_t``, ``y_t = output(h_t, x_t)``

    Attributes:
        coefficients: ``(params, x, dtype) -> (a, b)`` for `x` [..., I]: `b` [..., F] and `a`
            of its shape, or [F] where it is the same at every step.
        output: ``(params, h, x, dtype) -> y`` [..., H].
    """

    coefficients: Callable[[Params, Array, Any], tuple[Array, Array]]
    output: Callable[[Params, Array, Array, Any], Array] = lambda params, h, x, dtype: h


class Steps(NamedTuple):
    """Any other recurrence: products within the step, differentiated by JAX.

    Attributes:
        project: ``(params, x, dtype) -> inputs``, a pytree of [T, B, ...] arrays: all
            that does not need the carry, at once.
        step: ``(params, carry, inputs_t, recurrent_mask) -> carry``, the mask [B, H] or None.
        hidden: picks ``h`` out of the carry.
    """

    project: Callable[[Params, Array, Any], Any]
    step: Callable[[Params, Carry, Any, Array | None], Carry]
    hidden: Callable[[Carry], Array] = _identity


Form = Elementwise | Linear | Steps


# -- the description -------------------------------------------------------------


@runtime_checkable
class Declare(Protocol):
    """Takes one parameter after the other from `Cell.parameters`."""

    def __call__(
        self, name: str, shape: tuple[int, ...], init: Initializer, *, keep_dtype: bool = False
    ) -> Any:
        """What stands for the parameter: an array, or its shape, or its name.

        Args:
            name: the parameter's name in a layer.
            shape: its shape.
            init: draws it.
            keep_dtype: it stays as it is where a layer computes in another dtype.
        """
        ...


class Peer(NamedTuple):
    """How another library lays the cell out; see `seqjax.io.from_keras`, `from_torch`.

    Attributes:
        layer: its name for it.
        gates: where each of our gates stands among theirs.
    """

    layer: str
    gates: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A recurrent layer's description. A subclass is a cell; its fields are its options.

    They can be hashed, and functions among them are pure: what is compiled depends on them.
    What stands here is that of most cells, K gates packed side by side; whoever differs
    says so. A cell's file is enough to have it everywhere: one more line in
    `seqjax.ops.registry` names it.

    Attributes:
        name: in `CELLS`, `seqjax.models.make` and files.
        Params: the named tuple of its parameters.
        gates: K.
        recurrence: its form; a cell whose options change it says so in `form`.
        keras: its layout in Keras, or None.
        torch: its layout in PyTorch, or None.
    """

    name: ClassVar[str]
    Params: ClassVar[Any]
    gates: ClassVar[int]
    recurrence: ClassVar[Form]
    keras: ClassVar[Peer | None] = None
    torch: ClassVar[Peer | None] = None

    @property
    def form(self) -> Form:
        """Its recurrence."""
        return self.recurrence

    def parameters(self, declare: Declare, inputs: int, features: int) -> Any:
        """Its parameters, each made by `declare`: their names, shapes and initialisers."""
        width = self.gates * features
        return self.Params(
            declare("kernel", (inputs, width), glorot_uniform),
            declare("recurrent_kernel", (features, width), orthogonal),
            declare("bias", (width,), self.bias_init(features)),
        )

    def bias_init(self, features: int) -> Initializer:
        """Draws the bias [K * features]: zeros."""
        del features
        return initializers.zeros

    def kernel(self, params: Any) -> Array:
        """The matrix that meets the input; its dtype, with the input's, is that of the outputs."""
        return params.kernel

    def features(self, params: Any) -> int:
        """H, out of the parameters; ValueError where they are not K blocks side by side."""
        shape = params.recurrent_kernel.shape
        if len(shape) != 2 or shape[1] != self.gates * shape[0]:
            raise ValueError(
                f"{self.name}: recurrent_kernel must be [features, {self.gates} * features], but"
                f" its shape is {shape}."
            )
        return shape[0]

    def weights(self, params: Any, dtype: Any) -> tuple[Weights, Any]:
        """The engine's weights and the cell's own parameters (in `dtype`), of an `Elementwise`."""
        del dtype
        return Weights(*params[:3]), ()

    def initial_carry(self, batch: Any, features: int, dtype: Any) -> Carry:
        """Zeros, [batch, features]; `dtype` is real, float32 or wider."""
        return jnp.zeros((batch, features), dtype)


def is_bias(name: str) -> bool:
    """Whether that is the name of a parameter that may be None."""
    return name.endswith("bias")


def in_float32(draw: Initializer) -> Initializer:
    """Drawn in float32 or wider: narrow types have no QR, and lose the tails."""

    def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Any:
        drawn = draw(key, shape, jnp.promote_types(dtype, jnp.float32))
        return jax.tree.map(lambda leaf: leaf.astype(dtype), drawn)  # Flax may have boxed it

    return init


glorot_uniform: Initializer = initializers.glorot_uniform()
orthogonal: Initializer = in_float32(initializers.orthogonal())


def init(
    cell: Cell,
    key: Array,
    inputs: int,
    features: int,
    dtype: Any = jnp.float32,
    *,
    use_bias: bool = True,
) -> Params:
    """Parameters of a cell, drawn as its layer would.

    Args:
        cell: the description.
        key: a random key.
        inputs: input features.
        features: width.
        dtype: of the parameters.
        use_bias: False leaves biases out (None).

    Returns:
        The cell's named tuple of parameters.

    Example:
        >>> from seqjax import ops
        >>> params = ops.init(ops.LSTMCell(), jax.random.key(0), inputs=3, features=4)
        >>> ops.lstm(params, jnp.ones((2, 5, 3))).shape
        (2, 5, 4)
    """
    count = 0

    def declare(
        name: str, shape: tuple[int, ...], init: Initializer, *, keep_dtype: bool = False
    ) -> Array | None:
        nonlocal count
        count += 1
        if not use_bias and is_bias(name):
            return None
        return init(jax.random.fold_in(key, count), shape, dtype)

    return cell.parameters(declare, inputs, features)
