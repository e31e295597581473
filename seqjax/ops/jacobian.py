"""The derivative of an elementwise cell at every step of a sequence, for Newton's method.

``d s_t / d s_{t-1} = D + G U^T``: D and G are diagonals, of the step by the carry and by its
gates, which a cotangent of ones gives for all units and steps at once.

Dimensions: T time, B batch, H features (width), K gates, M all units of a carry. Time-major.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from seqjax.ops import affine, engine
from seqjax.ops.cell import Carry, Elementwise, Weights
from seqjax.ops.layout import choices
from seqjax.ops.recurrent_kernel import product


class Linearised(NamedTuple):
    """A cell at every step, linearised; rows are [T * B, ...].

    Attributes:
        after: the carries after the steps, leaves [T, B, H].
        before: those before them, rows.
        kept: what the cell's derivative saved, rows.
        valid: rows of the mask, or None.
        factors: ``d s_t / d s_{t-1}``, whole or without what couples the units.
    """

    after: tuple[Array, ...]
    before: Carry
    kept: Any
    valid: Array | None
    factors: affine.Factors

    def together(self, leaves: tuple[Array, ...]) -> affine.Vectors:
        """Leaves of a carry [T, B, H] as what the factors multiply."""
        if isinstance(self.factors, tuple):
            return leaves
        return jnp.concatenate(leaves, axis=-1)

    def apart(self, vectors: affine.Vectors) -> tuple[Array, ...]:
        """The other way round."""
        if isinstance(vectors, tuple):
            return vectors
        return tuple(jnp.split(vectors, len(self.after), axis=-1))


def linearise(
    cell: Elementwise,
    own: Any,
    weights: Weights,
    z: Array,
    previous: Carry,
    mask: Array | None,
    recurrent_mask: Array | None,
    *,
    whole: bool = True,
) -> Linearised:
    """A cell's step, and its derivative, at every step.

    Args:
        cell: the cell.
        own: its own parameters.
        weights: kernels and bias.
        z: ``x W + b`` [T, B, K*H].
        previous: the carry before each step, leaves [T, B, H].
        mask: [T, B, 1], False where the carry stands still; or None.
        recurrent_mask: [B, H] or None.
        whole: take whole Jacobians of a narrow carry; else blocks always.
    """
    steps, batch, _ = z.shape
    tree = jax.tree.structure(previous)
    mask_of_steps = None if recurrent_mask is None else recurrent_mask[None]

    def rows(a: Array) -> Array:
        return a.reshape(steps * batch, *a.shape[2:])

    def unrows(a: Array) -> Array:
        return a.reshape(steps, batch, *a.shape[1:])

    h = engine._masked(cell.hidden(previous), mask_of_steps)
    gates = tuple(map(rows, cell.combine(z, product(h, weights.recurrent_kernel, h.dtype))))
    before, valid = jax.tree.map(rows, previous), None if mask is None else rows(mask)
    derivative = cell.derivative()
    after, kept = derivative.forward(own, before, gates)
    after = [unrows(leaf) for leaf in jax.tree.leaves(engine._select(valid, after, before))]
    # Of a step that looks across the features the diagonal is an estimate (Hutchinson's), by
    # signs that add up to zero, as a layer norm takes the mean away.
    ones = jnp.ones_like(before_leaf := jax.tree.leaves(before)[0])
    if cell.across_features:
        ones = ones.at[:, 1::2].set(-1)
    by_carry, by_gates = [], []
    for i in range(len(after)):
        d_carry = tree.unflatten(
            [ones if i == j else jnp.zeros_like(before_leaf) for j in range(len(after))]
        )
        _, d_before, d_gates = derivative.backward(own, before, kept, d_carry)
        by_carry.append([unrows(ones * d) for d in jax.tree.leaves(d_before)])
        by_gates.append([unrows(ones * d) for d in recurrent_parts(cell, d_gates)])
    # Which leaf is h: the cotangent of hidden is zero elsewhere.
    to_carry = jax.vjp(cell.hidden, previous)[1]
    kernel = weights.recurrent_kernel.astype(h.dtype)
    if whole and _whole(cell, h.shape[-1] * len(after)):
        factors = _matrices(cell, kernel, by_carry, by_gates, to_carry, mask_of_steps)
        if mask is not None:
            factors = jnp.where(
                mask[..., None], factors, jnp.eye(factors.shape[-1], dtype=h.dtype)[None, None]
            )
        return Linearised(tuple(after), before, kept, valid, factors)
    diagonals = _diagonals(kernel, cell.gates, h.shape[-1])
    blocks = []
    for i, (of_carry, of_gates) in enumerate(zip(by_carry, by_gates, strict=True)):
        first, *others = [d * u[None, None] for d, u in zip(of_gates, diagonals, strict=True)]
        d_hidden = engine._masked(sum(others, first), mask_of_steps)
        row = list(map(jnp.add, of_carry, jax.tree.leaves(to_carry(d_hidden)[0])))
        if mask is not None:
            row = [
                jnp.where(mask, a, (jnp.ones_like if i == j else jnp.zeros_like)(a))
                for j, a in enumerate(row)
            ]
        blocks.append(tuple(row))
    return Linearised(tuple(after), before, kept, valid, tuple(blocks))


def recurrent_parts(cell: Elementwise, gates: tuple[Any, ...]) -> tuple[Any, ...]:
    """What belongs to ``h U``, [H] of each of the K gates."""
    return gates[: cell.summed] + gates[cell.gates :]


def _whole(cell: Elementwise, units: int) -> bool:
    return units <= choices().newton_units and not (cell.diagonal or cell.across_features)


def _diagonals(kernel: Array, gates: int, features: int) -> Array:
    """[K, H], of each gate's block of the recurrent kernel."""
    if kernel.ndim == 1:
        return kernel.reshape(gates, features)
    return jnp.diagonal(kernel.reshape(features, gates, features), axis1=0, axis2=2)


def _matrices(
    cell: Elementwise, kernel: Array, by_carry: Any, by_gates: Any, to_carry: Any, mask: Any
) -> Array:
    """[T, B, M, M]: a row of blocks for each leaf of the carry."""
    features = kernel.shape[0]
    u = jnp.transpose(kernel.reshape(features, cell.gates, features), (1, 2, 0))  # [K, out, in]
    eye = jnp.eye(features, dtype=kernel.dtype)[None, None]
    rows = []
    for of_carry, of_gates in zip(by_carry, by_gates, strict=True):
        through = sum(d[..., None] * u_k[None, None] for d, u_k in zip(of_gates, u, strict=True))
        if mask is not None:
            through = through * mask[:, :, None, :]
        # [T, B, out, in], and to_carry takes [T, B, in]: one row of it after the other.
        placed = jax.vmap(lambda d: to_carry(d)[0], in_axes=2, out_axes=2)(through)
        placed = jax.tree.leaves(placed)
        rows.append([d[..., None] * eye + p for d, p in zip(of_carry, placed, strict=True)])
    return jnp.concatenate([jnp.concatenate(row, axis=-1) for row in rows], axis=-2)
