"""A batch split over devices: loops that run on each device alone.

Under ``jax.set_mesh`` of a mesh with an automatic axis "data", XLA's partitioner splits
whatever is made of a split batch, but it also puts its collectives where it finds the
products: inside a loop, at every turn. `over_batch` runs a function of the batch on each
device by itself, and leaves one sum of the weights' gradients to its end.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, PartitionSpec

DATA_AXIS = "data"

Result = TypeVar("Result")


def data_devices(mesh: Mesh | AbstractMesh | None = None) -> int:
    """Devices along the automatic axis "data" of a mesh; 1 where it has none.

    Args:
        mesh: by default the one of `jax.set_mesh`.

    Returns:
        1, too, inside a `jax.shard_map`, whose body is one device's own.
    """
    ambient = jax.sharding.get_abstract_mesh()
    mesh = ambient if mesh is None else mesh
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    if AxisType.Manual in ambient.axis_types:
        return 1
    return mesh.shape[DATA_AXIS] if types.get(DATA_AXIS) == AxisType.Auto else 1


def over_batch(
    function: Callable[..., Result],
    *arguments: Any,
    axes: tuple[Any, ...],
    out_axes: Any,
    mesh: Mesh | AbstractMesh | None = None,
) -> Result:
    """``function(*arguments)``, each device on its part of the batch.

    What else the mesh has, such as an axis that weights are split over, stays XLA's affair.

    Args:
        function: of arrays; it may close over none. Sequences must not depend on
            each other.
        *arguments: pytrees of arrays.
        axes: for each argument the axis of its batch, or None where all devices share it.
        out_axes: the same for the results, a pytree prefix.
        mesh: by default the one of `jax.set_mesh`.

    Returns:
        The whole result. Where there is one device, or the batch does not divide, the
        function simply runs.

    Raises:
        ValueError: for arguments split over an explicit axis: the loops' types say nothing
            of shardings.
    """
    for leaf in jax.tree.leaves(arguments):
        if any(part is not None for part in jax.typeof(leaf).sharding.spec):
            raise ValueError(
                "an argument is split over an explicit axis of the mesh, which recurrent layers do"
                " not take: jax.make_mesh(..., axis_types=(jax.sharding.AxisType.Auto,)) makes it"
                " automatic."
            )
    devices = data_devices(mesh)
    if devices == 1:
        return function(*arguments)
    batch = next(
        leaf.shape[axis]
        for argument, axis in zip(arguments, axes, strict=True)
        if axis is not None
        for leaf in jax.tree.leaves(argument)
    )
    if batch % devices:
        return function(*arguments)

    def spec(axis: int | None) -> PartitionSpec:
        return PartitionSpec() if axis is None else PartitionSpec(*(None,) * axis, DATA_AXIS)

    split = jax.shard_map(
        function,
        mesh=mesh,
        in_specs=tuple(map(spec, axes)),
        out_specs=jax.tree.map(spec, out_axes),
        axis_names={DATA_AXIS},
    )
    return split(*arguments)
