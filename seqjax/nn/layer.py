"""What every layer of `seqjax.nn` offers, so that layers stack and models stream."""

from typing import Any, Protocol, runtime_checkable

from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int


@runtime_checkable
class Layer(Protocol):
    """A layer in two modes with the same parameters: a whole sequence, and one step.

    ``layer(x)`` and ``layer.step`` over the steps of ``x`` agree to float
    tolerance. A carry is a pytree of constant size: an RNN's state, a
    convolution's ring buffer, ``()`` for a layer without memory.
    """

    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        initial_carry: Any = None,
        *,
        seq_lengths: Int[ArrayLike, " batch"] | None = None,
        return_carry: bool = False,
        deterministic: bool = True,
    ) -> Any:
        """``y`` [batch, time, features], or ``(carry, y)`` with `return_carry`."""
        ...

    def step(
        self, carry: Any, x: Float[Array, "batch inputs"]
    ) -> tuple[Any, Float[Array, "batch features"]]:
        """One step: ``(carry, y)``. Always deterministic: no dropout."""
        ...

    def initial_carry(self, batch: int, inputs: int) -> Any:
        """The carry before the first step, for inputs of so many features."""
        ...

    def output_length(self, length: Any) -> Any:
        """Number of output steps for so many input steps, an integer or an array of them."""
        ...

    def output_features(self, inputs: int) -> int:
        """Number of features of ``y`` for inputs of so many features."""
        ...
