"""The recurrent kernel of a cell: a matrix for each gate, or only its diagonal.

With ``recurrent="diagonal"`` a unit sees no ``h`` but its own: ``u * h`` in place of ``h U``, a
vector for each gate in place of a matrix. A step takes H products, not H^2, and its Jacobian is
diagonal, so that Newton's method over time (``implementation="newton"``) needs no approximation.

A kernel's dimensions say which it is: [H, K*H], or [K*H], gate after gate.
"""

import dataclasses
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.ops.cell import Cell, Declare, Elementwise, Form, Initializer, in_float32
from seqjax.ops.layout import dot, outer

Recurrent = Literal["full", "diagonal"]


# -- products ------------------------------------------------------------------


def product(h: Array, kernel: Array, dtype: jnp.dtype) -> Array:
    """``h U`` [..., K*H] in the kernel's precision, accumulated and returned in `dtype`.

    Args:
        h: [..., H].
        kernel: [H, K*H] or [K*H].
        dtype: of the result.

    Example:
        >>> h, u = jnp.array([[1.0, 2.0]]), jnp.array([1.0, 2.0, 3.0, 4.0])
        >>> product(h, u, jnp.dtype("float32")).tolist()
        [[1.0, 4.0, 3.0, 8.0]]
    """
    if kernel.ndim == 2:
        return dot(h, kernel, dtype)
    h = h.astype(kernel.dtype).astype(dtype)
    # Gate by gate: who splits the result again gets these products, and no slices of one.
    return jnp.concatenate([h * u for u in _gates(kernel, h)], axis=-1)


def product_back(d: Array, kernel: Array, dtype: jnp.dtype, gates: int) -> Array:
    """``d U^T`` [..., H]: the gradient of ``h`` by that of ``h U``.

    Args:
        d: [..., K*H].
        kernel: transposed, [K*H, H], for a product with a transposed kernel is slow in a loop on
            a CPU; or [K*H].
        dtype: of the result.
        gates: K.
    """
    if kernel.ndim == 2:
        return dot(d, kernel, dtype)
    parts = jnp.split(d.astype(kernel.dtype).astype(dtype), gates, axis=-1)
    first, *others = [part * u for part, u in zip(parts, _gates(kernel, parts[0]), strict=True)]
    return sum(others, first)


def product_gradient(h: Array, d: Array, kernel: Array) -> Array:
    """The kernel's gradient, ``h^T d`` summed over all rows, in the dtype of `d`.

    Args:
        h: [..., H].
        d: [..., K*H].
        kernel: says of which form.
    """
    if kernel.ndim == 2:
        return outer(h, d)
    rows, h = tuple(range(h.ndim - 1)), h.astype(d.dtype)
    parts = jnp.split(d, d.shape[-1] // h.shape[-1], axis=-1)
    return jnp.concatenate([jnp.sum(h * part, axis=rows) for part in parts])


def _gates(kernel: Array, h: Array) -> list[Array]:
    """A diagonal kernel's vectors, each as it is multiplied with `h` [..., H]."""
    vectors = jnp.split(kernel.astype(h.dtype), kernel.shape[0] // h.shape[-1])
    return [u.reshape((1,) * (h.ndim - 1) + u.shape) for u in vectors]


# -- cells ---------------------------------------------------------------------


def recurrent_of(params: Any) -> Recurrent:
    """What the parameters of a cell say: a face such as `ops.lstm` is given nothing else."""
    return "diagonal" if params.recurrent_kernel.ndim == 1 else "full"


def _uniform(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    return jax.random.uniform(key, shape, dtype, -1, 1)


uniform: Initializer = in_float32(_uniform)


def vector_of(init: Initializer, name: str) -> Initializer:
    """An initialiser that draws a diagonal kernel; ValueError where it draws matrices alone.

    Args:
        init: such as `jax.nn.initializers.normal`; an orthogonal one is no use.
        name: what to call it in an error.
    """

    def drawn(key: Array, shape: tuple[int, ...], dtype: Any) -> Any:
        try:
            return init(key, shape, dtype)
        except ValueError as error:
            raise ValueError(
                f"{name} cannot draw the {list(shape)} of recurrent='diagonal' ({error}); take one"
                " that draws vectors, such as jax.nn.initializers.normal(0.1), or None (uniform"
                " from -1 to 1)."
            ) from None

    return drawn


@dataclasses.dataclass(frozen=True)
class KernelCell(Cell):
    """A cell that sees ``h`` through a recurrent kernel, which may be diagonal.

    Attributes:
        recurrent: "full", a matrix for each gate [features, gates * features]; or "diagonal", a
            vector for each [gates * features], drawn from -1 to 1, so that no unit begins with a
            memory that grows (of its own ``h`` a unit then sees ``u * h``, of others' nothing;
            what mixes units is the next layer).

    Source of the diagonal kernel: Li, Li, Cook, Zhu and Gao, "Independently recurrent neural
    network (IndRNN)", arXiv 1803.04831, 2018; of LSTM and GRU: Danieli et al., "ParaRNN", arXiv
    2510.21450, 2025.
    """

    _: dataclasses.KW_ONLY
    recurrent: Recurrent = "full"

    def __post_init__(self) -> None:
        known = get_args(Recurrent)
        if self.recurrent not in known:
            words = " or ".join(map(repr, known))
            raise ValueError(f"{self.name}: recurrent must be {words}, not {self.recurrent!r}.")

    @property
    def form(self) -> Form:
        """Its recurrence, which says of which kind its kernel is."""
        return self._with_kernel(self.recurrence)

    def _with_kernel(self, form: Form) -> Form:
        if isinstance(form, Elementwise) and self.recurrent == "diagonal":
            return form._replace(diagonal=True)
        return form

    def parameters(self, declare: Declare, inputs: int, features: int) -> Any:
        """Kernel, recurrent kernel and bias."""

        def with_vectors(name: str, shape: Any, init: Any, *, keep_dtype: bool = False) -> Any:
            if name == "recurrent_kernel":
                shape, init = shape[1:], uniform
            return declare(name, shape, init, keep_dtype=keep_dtype)

        given = declare if self.recurrent == "full" else with_vectors
        return super().parameters(given, inputs, features)

    def features(self, params: Any) -> int:
        """H, out of the parameters."""
        shape = params.recurrent_kernel.shape
        if self.recurrent == "full":
            return super().features(params)
        if len(shape) != 1 or shape[0] % self.gates:
            raise ValueError(
                f"{self.name}: a diagonal recurrent_kernel must be [{self.gates} * features], but"
                f" its shape is {shape}."
            )
        return shape[0] // self.gates
