"""The devices of a run as one mesh, and batches split over it."""

import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
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
    """`tree`, equal in all processes, on every device of the mesh."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, everywhere)

    def put(leaf: Any) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = put(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        # Not device_put, which would compare the values of all processes first.
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, everywhere, lambda index: whole[index])

    return jax.tree.map(put, tree)


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
