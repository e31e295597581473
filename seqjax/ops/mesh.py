"""A batch split over devices: loops that run on each device alone.

Under ``jax.set_mesh`` of a mesh with an automatic axis "data", XLA's partitioner splits
whatever is made of a split batch, but it also puts its collectives where it finds the
products: inside a loop, at every turn. `over_batch` runs a function of the batch on each
device by itself, and leaves one sum of the weights' gradients to its end.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import AxisType, PartitionSpec

DATA_AXIS = "data"

Result = TypeVar("Result")


def data_devices() -> int:
    """Devices along the automatic axis "data" of the current mesh; 1 without one.

    1, too, inside a `jax.shard_map` over other axes, which cannot hold another.
    """
    mesh = jax.sharding.get_abstract_mesh()
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    if AxisType.Manual in types.values():
        return 1
    return mesh.shape[DATA_AXIS] if types.get(DATA_AXIS) == AxisType.Auto else 1


def over_batch(
    function: Callable[..., Result], *arguments: Any, axes: tuple[Any, ...], out_axes: Any
) -> Result:
    """``function(*arguments)``, each device on its part of the batch.

    Args:
        function: of arrays; it may close over none. Sequences must not depend on
            each other.
        *arguments: pytrees of arrays.
        axes: for each argument the axis of its batch, or None where all devices share it;
            an argument with a batch of 1 beside longer ones is shared, too.
        out_axes: the same for the results, a pytree prefix.

    Returns:
        The whole result. Where there is one device, or the batch does not divide, the
        function simply runs.
    """
    devices = data_devices()
    sizes = [
        None if axis is None else {leaf.shape[axis] for leaf in jax.tree.leaves(argument)}
        for argument, axis in zip(arguments, axes, strict=True)
    ]
    batch = max(size for found in sizes for size in found or ())
    if devices == 1 or batch % devices:
        return function(*arguments)
    axes = tuple(None if found == {1} else axis for found, axis in zip(sizes, axes, strict=True))

    def spec(axis: int | None) -> PartitionSpec:
        return PartitionSpec() if axis is None else PartitionSpec(*(None,) * axis, DATA_AXIS)

    split = jax.shard_map(
        function,
        in_specs=tuple(map(spec, axes)),
        out_specs=jax.tree.map(spec, out_axes),
    )
    return split(*arguments)
