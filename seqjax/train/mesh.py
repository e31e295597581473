"""The devices of a run as one mesh, and batches split over it."""

import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

_AXIS = "data"


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh that batches are split over: the cores of a CPU, GPUs, or the chips of a pod.

    Args:
        devices: all by default.

    Returns:
        A mesh with one axis "data", partitioned by XLA.

    Example:
        >>> mesh = data_mesh(jax.devices()[:1])
        >>> mesh.axis_names, mesh.size
        (('data',), 1)
    """
    devices = jax.devices() if devices is None else devices
    return Mesh(np.array(devices), (_AXIS,), axis_types=(AxisType.Auto,))


def cpu_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_mesh(mesh: Mesh) -> None:
    """Raise ValueError for a mesh that nothing would be split over."""
    if not _splits(mesh):
        raise ValueError(
            f'fit: the mesh must have an automatic axis "{_AXIS}", as `data_mesh` makes it, not'
            f" {mesh}."
        )


def _splits(mesh: Mesh | AbstractMesh) -> bool:
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    return types.get(_AXIS) == AxisType.Auto


def replicate(mesh: Mesh, tree: Any) -> Any:
    """`tree` on every device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def split_batch(tree: Any) -> Any:
    """Under ``jax.set_mesh(data_mesh())``: the batch, first axis of every leaf, over the devices.

    A leaf that the devices do not divide stays whole.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not _splits(mesh):
        return tree
    devices = mesh.shape[_AXIS]

    def split(leaf: jax.Array) -> jax.Array:
        if leaf.ndim == 0 or leaf.shape[0] % devices:
            return leaf
        return lax.with_sharding_constraint(leaf, PartitionSpec(_AXIS))

    return jax.tree.map(split, tree)
