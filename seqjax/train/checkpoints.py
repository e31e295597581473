"""Checkpoints on Orbax: everything that is needed to go on."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import options as ocp_options

State = Any  # a pytree of arrays


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names the folder."""


class Checkpoints:
    """A folder of checkpoints, one for each saved step, the newest few kept.

    Args:
        folder: made if it is missing.
        metadata: JSON that belongs to the run (configuration, seed, scaler); it
            is saved with every checkpoint, and a restore refuses a checkpoint
            whose metadata differs.
        every: steps between saves (a save waits for the end of a jitted call).
        keep: how many of the newest checkpoints stay.
    """

    def __init__(
        self, folder: Path, metadata: dict[str, Any], *, every: int, keep: int = 2
    ) -> None:
        if every < 1:
            raise ValueError(f"Checkpoints: every must be at least 1 step, not {every}.")
        self.folder = Path(folder).absolute()
        self.metadata = json.loads(json.dumps(metadata))  # as it will be read back
        self.every = every
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=True,
            # Without a commit file, an emptied step folder counts as the newest checkpoint.
            atomicity_options=ocp_options.AtomicityOptions(
                mode=ocp_options.AtomicityMode.COMMIT_FILE
            ),
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._manager.close()  # waits for a save that is under way
        except Exception as failure:
            if error is None:
                raise CheckpointError(
                    f"{self.folder}: the last save failed: {failure}. Is the disk full?"
                ) from failure

    def latest_step(self) -> int | None:
        """The newest saved step, or None."""
        return self._manager.latest_step()

    def due(self, before: int, after: int) -> bool:
        """True where a save falls between the two steps."""
        return before // self.every < after // self.every

    def save(self, step: int, state: State, **run: Any) -> None:
        """Save `state` as that of `step`, in the background.

        A step that is already saved stays as it is. `run` is further metadata.
        """
        if step == self.latest_step():
            return
        # The training loop donates its buffers while the save is still writing;
        # on a CPU, Orbax's view of them is no copy.
        copy = jax.tree.map(jnp.copy, state)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(copy), metadata=ocp.args.JsonSave(self.metadata | run)
            ),
        )

    def restore(self, like: State, **run: Any) -> tuple[int, State] | None:
        """The newest checkpoint's step and state, or None where there is none.

        Args:
            like: a state of the same structure, shapes, dtypes and shardings.
            **run: the further metadata that `save` was given.

        Raises:
            CheckpointError: where the newest checkpoint was saved with other metadata,
                holds another structure, or cannot be read.
        """
        step = self.latest_step()
        if step is None:
            return None
        target = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), like
        )
        only_metadata = ocp.args.Composite(metadata=ocp.args.JsonRestore())
        saved = self._read(step, only_metadata)["metadata"]
        differences = _differences(saved, self.metadata | run)
        if differences:
            raise CheckpointError(
                f"{self.folder}: step {step} belongs to another run: {'; '.join(differences)}."
                " Run with the same settings, or into another folder."
            )
        only_state = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        return step, self._read(step, only_state)["state"]

    def _read(self, step: int, args: ocp.args.Composite) -> Any:
        try:
            return self._manager.restore(step, args=args)
        except Exception as error:  # Orbax's own are of many kinds
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(
                f"{self.folder}: the checkpoint of step {step} cannot be restored: {reason}"
                f" Delete {self.folder / str(step)} to go on from the one before."
            ) from error


def _differences(saved: Any, current: Any, name: str = "") -> list[str]:
    """One sentence for each field in which two JSON values differ."""
    if isinstance(saved, dict) and isinstance(current, dict):
        return [
            sentence
            for key in sorted(saved.keys() | current.keys())
            for sentence in _differences(
                saved.get(key), current.get(key), f"{name}.{key}" if name else key
            )
        ]
    return [] if saved == current else [f"{name} was {saved!r} and is now {current!r}"]
