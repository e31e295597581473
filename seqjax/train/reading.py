"""Reading what a run has saved, without disturbing it."""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from seqjax.train.checkpoints import COMMITTED, CheckpointError, Restored, first_line
from seqjax.train.records import check_record, check_values


def read_checkpoint(folder: str | Path) -> Restored:
    """The newest checkpoint of a folder, as nested dicts of arrays on one device; it only reads.

    Takes no lock, deletes and moves nothing: for whoever wants what a run has saved.

    Raises:
        CheckpointError: where there is none, or it is damaged or of another version.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> from seqjax.train import Checkpoints
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Checkpoints(folder, {}, every=1) as checkpoints:
        ...         checkpoints.save(3, {"w": jnp.ones(2)})
        ...     read_checkpoint(folder).state["w"].tolist()
        [1.0, 1.0]
    """
    folder = Path(folder)
    steps = [
        path
        for path in folder.glob("[0-9]*")
        if path.name.isdecimal() and (path / COMMITTED).exists()
    ]
    for path in sorted(steps, key=lambda path: int(path.name), reverse=True):
        path = path.absolute()
        try:
            record = check_record(json.loads((path / "metadata" / "metadata").read_bytes()))
            state = _read_here(path / "state")
            check_values(record, state)
        except Exception as error:  # Orbax's own are of many kinds
            if not path.exists():  # a run that goes on has replaced it meanwhile
                continue
            raise CheckpointError(f"{path}: it cannot be used: {first_line(error)}") from error
        return Restored(int(path.name), state, record.get("history"), record.get("position"))
    raise CheckpointError(f"{folder}: there is no complete checkpoint.")


def _read_here(path: Path) -> Any:
    """A state on this process's first device, whatever devices it was saved on."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    checkpointer = ocp.StandardCheckpointer()
    with _quiet():
        metadata: Any = checkpointer.metadata(path)
    saved = metadata.item_metadata.tree
    target = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here), saved)
    return checkpointer.restore(path, target)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Orbax's warning that a file which it does not need is not there."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
