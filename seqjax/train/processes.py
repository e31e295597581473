"""Several processes as one run: what they must do together."""

import itertools
import os
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

# A process is taken for dead after so many seconds without a sign of life, and then all
# others end. JAX's own default is 100.
HEARTBEAT_SECONDS = 15
_BARRIER_SECONDS = 600  # compilation may differ by minutes between hosts
_COORDINATOR, _COUNT, _INDEX = "SEQJAX_COORDINATOR", "SEQJAX_PROCESSES", "SEQJAX_PROCESS_ID"
_barriers = itertools.count()


class ProcessError(RuntimeError):
    """Processes that cannot run together; the message says what to do."""


def environment(coordinator: str, count: int, index: int) -> dict[str, str]:
    """The variables that tell a process its place among `count` processes."""
    return {_COORDINATOR: coordinator, _COUNT: str(count), _INDEX: str(index)}


def join_processes(cluster: bool) -> bool:
    """Join the other processes of the run; alone, do nothing.

    Must come before JAX's first computation.

    Args:
        cluster: find them through Slurm, Open MPI or a TPU pod; otherwise only those that
            `environment` tells of (`scripts/launch_local`).

    Returns:
        Whether there are others.

    Raises:
        ProcessError: where there is no such cluster, or the others cannot be reached.
    """
    place: dict[str, Any] = {}
    if _COORDINATOR in os.environ:
        place = {
            "coordinator_address": os.environ[_COORDINATOR],
            "num_processes": int(os.environ[_COUNT]),
            "process_id": int(os.environ[_INDEX]),
        }
    elif not cluster:
        return False
    if jax.distributed.is_initialized():
        return True
    try:
        jax.distributed.initialize(
            **place,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=2 * HEARTBEAT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise ProcessError(
            f"several processes: {error} Start them with srun, mpirun, on every host of a TPU pod,"
            " or with scripts/launch_local."
        ) from None
    return True


def is_primary() -> bool:
    """True in the one process that writes files and talks."""
    # Alone, without a question to the backend, which may not have started, or cannot.
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Return once every process is here. Not a collective: nobody needs to be compiled."""
    if jax.process_count() > 1:
        key = f"seqjax {name} {next(_barriers)}"
        ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=_BARRIER_SECONDS * 1000)


def all_agree(mine: bool) -> bool:
    """True in every process where `mine` is true in every process."""
    if jax.process_count() == 1:
        return mine
    wait_for_all("agree")  # which waits longer than the collective would
    return bool(multihost_utils.process_allgather(np.array(mine)).all())


def local(tree: Any) -> Any:
    """Replicated arrays of all processes as arrays of this one's first device.

    Raises:
        ValueError: for an array that is split over processes: this one has a part of it only.
    """
    if jax.process_count() == 1:
        return tree

    def mine(path: Any, leaf: jax.Array) -> jax.Array:
        if not leaf.is_fully_replicated:
            raise ValueError(
                f"params{jax.tree_util.keystr(path)} is split over processes ({leaf.sharding});"
                " training keeps parameters whole on every device: replicate them first."
            )
        return leaf.addressable_data(0)

    return jax.tree_util.tree_map_with_path(mine, tree)
