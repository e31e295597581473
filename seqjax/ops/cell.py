"""What a recurrent cell is to the engine: an elementwise function of its gates.

Dimensions: B batch, I input features, H features (width), K gates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Carry = Any  # a pytree of [B, H] arrays; which one is the cell's affair


def _identity(carry: Array) -> Array:
    return carry


class Derivative(NamedTuple):
    """A cell's own derivative, where `jax.vjp` of its step is measured to be slower.

    Attributes:
        forward: ``(params, carry, gates) -> (carry, saved)``; the carry is that of the
            cell's step, `saved` a tuple of [B, H] arrays.
        backward: ``(params, previous, saved, d_carry) -> (d_params, d_previous, d_gates)``,
            with the carry before the step.
    """

    forward: Callable[[Any, Carry, tuple[Array, ...]], tuple[Carry, tuple[Array, ...]]]
    backward: Callable[[Any, Carry, tuple[Array, ...], Carry], tuple[Any, Carry, tuple[Array, ...]]]


class Cell(NamedTuple):
    """A recurrent cell as an elementwise function.

    Attributes:
        step: ``(params, carry, gates) -> carry``. ``gates`` is a tuple of
            [B, H] arrays: first the `summed` gates, each ``z_k + (h U)_k``; then
            the input parts ``z_k`` of the `split` gates; then their recurrent
            parts ``(h U)_k``. ``params`` is a pytree of the cell's own small
            parameters (``()`` where there are none); they get gradients too.
        summed: number of gates that see only the sum of both parts.
        split: number of gates that see the two parts apart (the GRU's candidate).
        hidden: picks ``h`` out of the carry; linear in it.
        derivative: the cell's own, or None for that of JAX.
    """

    step: Callable[[Any, Carry, tuple[Array, ...]], Carry]
    summed: int
    split: int = 0
    hidden: Callable[[Carry], Array] = _identity
    derivative: Derivative | None = None

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

    def backward_of_step(self) -> Derivative:
        """Its own derivative, or that of JAX: of the step alone, its gates saved."""
        if self.derivative is not None:
            return self.derivative

        def backward(
            params: Any, previous: Carry, gates: tuple[Array, ...], d_carry: Carry
        ) -> tuple[Any, Carry, tuple[Array, ...]]:
            return jax.vjp(self.step, params, previous, gates)[1](d_carry)

        return Derivative(lambda *inputs: (self.step(*inputs), inputs[-1]), backward)
