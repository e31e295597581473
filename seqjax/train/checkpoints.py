"""Checkpoints on Orbax: everything that is needed to go on, and proof that it is that."""

import contextlib
import json
import logging
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import options as ocp_options

from seqjax.storage.files import lock_folder, on_disk
from seqjax.train.processes import all_agree, is_primary, wait_for_all
from seqjax.train.records import (
    DamagedError,
    Record,
    changes,
    check_leaves,
    check_record,
    comparable,
    make_record,
    mismatches,
)

State = Any  # a pytree of arrays

_log = logging.getLogger(__name__)


def _not_told_yet(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR or "orbax" not in Path(record.pathname).parts


def _without_tracebacks(owner: object) -> Callable[[], Any]:
    """Leave out what Orbax logs of a save that fails; call the result to end that.

    It is hundreds of lines of tracebacks, thread by thread; what they say is the one line of the
    CheckpointError that follows. It ends with `owner`, too.
    """
    logger, one = logging.getLogger("absl"), partial(_not_told_yet)  # each owner's own
    logger.addFilter(one)
    return weakref.finalize(owner, logger.removeFilter, one)


COMMITTED = "commit_success.txt"  # Orbax writes it last


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used or saved; the message names the folder."""


class Restored(NamedTuple):
    """What `Checkpoints.restore` finds.

    Attributes:
        step: its number.
        state: as it was saved.
        history: as it was saved; None in a checkpoint of version 0.1.
        position: as it was saved.
    """

    step: int
    state: State
    history: list[dict[str, Any]] | None = None
    position: Any = None


class Checkpoints:
    """A folder of checkpoints, one for each saved step, the newest few kept.

    A checkpoint counts once all of it is written, and carries a checksum of every leaf. One
    that cannot be read, or is not what was saved, is told, moved aside (to ``NAME.damaged``)
    and the one before is used. Disks are not flushed: what a loss of power leaves of the
    newest checkpoint is what its checksums say.

    Args:
        folder: made if it is missing; of this machine, so that a bucket is mounted first.
        metadata: JSON that belongs to the run (configuration, seed, scaler); it
            is saved with every checkpoint, and a restore refuses a checkpoint
            whose metadata differs.
        every: steps between saves (a save waits for the end of a jitted call).
        keep: how many of the newest checkpoints stay.
        in_background: write while training goes on.

    Raises:
        ValueError: for an address such as ``gs://bucket/run``, and numbers below 1.
        CheckpointError: where the folder cannot be made or written, or another run
            writes in it.
    """

    def __init__(
        self,
        folder: str | Path,
        metadata: dict[str, Any],
        *,
        every: int,
        keep: int = 2,
        in_background: bool = True,
    ) -> None:
        if every < 1:
            raise ValueError(f"Checkpoints: every must be at least 1 step, not {every}.")
        if keep < 1:
            raise ValueError(f"Checkpoints: keep must be at least 1, not {keep}.")
        self.folder = on_disk(folder).absolute()
        self.metadata = json.loads(json.dumps(metadata))  # as it will be read back
        self.every = every
        self._saving: tuple[int, int] | None = None  # step and bytes
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=in_background,
            # Without a commit file, an emptied step folder counts as the newest checkpoint.
            atomicity_options=ocp_options.AtomicityOptions(
                mode=ocp_options.AtomicityMode.COMMIT_FILE
            ),
        )
        try:
            self._unlock: Callable[[], Any] = lambda: None
            if is_primary():
                self.folder.mkdir(parents=True, exist_ok=True)
                if (lock := lock_folder(self.folder)) is not None:
                    self._unlock = weakref.finalize(self, os.close, lock)
                self._clear_uncommitted()
            wait_for_all("checkpoints")
            self._manager = _Manager(self.folder, options=options)
        except BlockingIOError:
            raise CheckpointError(
                f"{self.folder}: another run is writing here; wait for its end, or choose another"
                " folder."
            ) from None
        except OSError as error:
            raise CheckpointError(
                f"{self.folder}: no checkpoints can be written here: {error.strerror}."
            ) from error
        self._end_silence = _without_tracebacks(self)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        except CheckpointError as failure:
            if error is None:
                raise
            _log.warning("%s", failure)
        finally:
            with contextlib.suppress(Exception):  # a failed save has been told
                self._manager.close()
            self._unlock()
            self._end_silence()

    def latest_step(self) -> int | None:
        """The newest saved step, or None."""
        return self._manager.latest_step()

    def holds(self, step: int) -> bool:
        """True where that step is saved."""
        return step in self._steps()

    def due(self, before: int, after: int) -> bool:
        """True where a save falls between the two steps."""
        return before // self.every < after // self.every

    def save(
        self, step: int, state: State, *, history: Any = None, position: Any = None, **run: Any
    ) -> None:
        """Save `state` as that of `step`; a step that is already saved stays as it is.

        Args:
            step: its number.
            state: a pytree of arrays.
            history: JSON, given back by `restore`.
            position: JSON, given back by `restore`.
            **run: further metadata.

        Raises:
            CheckpointError: where this save, or the one before in the background, failed;
                checkpoints before that one are intact.
        """
        if step == self.latest_step():
            return
        # The training loop donates its buffers while the save is still writing;
        # on a CPU, Orbax's view of them is no copy.
        copy = jax.tree.map(jnp.copy, state)
        record = make_record(copy, self.metadata | run, history=history, position=position)
        self.wait()
        self._saving = step, sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(copy))
        with self._telling_of_failure():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_fields(copy)), metadata=ocp.args.JsonSave(record)
                ),
            )

    def wait(self) -> None:
        """Return once the last save is written.

        Raises:
            CheckpointError: where it failed.
        """
        with self._telling_of_failure():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        self._saving = None

    @contextlib.contextmanager
    def _telling_of_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax's own are of many kinds
            step, size = self._saving or (None, 0)
            self._saving = None
            with contextlib.suppress(Exception):
                self._manager.reload()  # Orbax counts a failed save among the checkpoints
            raise CheckpointError(
                f"{self.folder}: step {step} could not be saved: {first_line(error)}. It needs"
                f" {size:,} bytes and some more for its own files; {_room(self.folder)}, and go on"
                f" with --resume. Earlier checkpoints are intact (steps {self._steps() or 'none'})."
            ) from error

    def restore(self, like: State, *, newest: int | None = None, **run: Any) -> Restored | None:
        """The newest good checkpoint, or None where there is none.

        Args:
            like: a state of the same structure, shapes, dtypes and shardings.
            newest: go back to this step or one before; what is newer is then deleted.
            **run: the further metadata that `save` was given.

        Raises:
            CheckpointError: where the newest good checkpoint belongs to another run, holds
                another structure, or was written by another version; and where there are
                checkpoints, but no good one.
        """
        damaged: dict[int, str] = {}
        for step in sorted(self._steps(), reverse=True):
            if newest is not None and step > newest:
                continue
            record, fault = _attempt(partial(self._read_record, step))
            if record is not None:
                self._check_run(step, record, like, run)
                state, fault = _attempt(partial(self._read_state, step, record, like))
                if state is not None:
                    self._set_aside(damaged, step)
                    for later in [] if newest is None else self._steps():
                        if later > step:
                            self._manager.delete(later)
                    more = record.get("history"), record.get("position")
                    return Restored(step, state, *more)
            damaged[step] = fault
        if not damaged:
            return None
        faults = "; ".join(f"step {step}: {fault}" for step, fault in damaged.items())
        raise CheckpointError(
            f"{self.folder}: no checkpoint can be used: {faults}. To begin anew, choose another"
            " folder, or move this one away."
        )

    def _steps(self) -> list[int]:
        """Those that are saved, damaged or not."""
        return list(self._manager.all_steps())

    def _read_record(self, step: int) -> Record:
        args = ocp.args.Composite(metadata=ocp.args.JsonRestore())
        try:
            return check_record(self._read(step, args)["metadata"])
        except ValueError as error:
            raise CheckpointError(f"{self.folder / str(step)}: {error}") from None

    def _check_run(self, step: int, record: Record, like: State, run: dict[str, Any]) -> None:
        saved, current = comparable(record["run"], self.metadata | run)
        if other := changes(saved, current):
            raise CheckpointError(
                f"{self.folder}: step {step} belongs to another run: {'; '.join(other)}."
                " Run with the same settings, or into another folder."
            )
        if found := mismatches(record, like):
            raise CheckpointError(
                f"{self.folder}: step {step} holds another model: {found}"
                " Run with the same settings, or into another folder."
            )

    def _read_state(self, step: int, record: Record, like: State) -> State:
        # With the shardings of this run, whatever devices it was saved on.
        target = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), like
        )
        args = ocp.args.Composite(state=ocp.args.StandardRestore(_fields(target)))
        state = self._read(step, args)["state"]
        if hasattr(like, "_field_defaults"):
            state = like._replace(**state)
        check_leaves(record, state)
        return state

    def _read(self, step: int, args: ocp.args.Composite) -> Any:
        try:
            return self._manager.restore(step, args=args)
        except Exception as error:  # Orbax's own are of many kinds
            raise DamagedError(f"it cannot be read: {first_line(error)}") from error

    def _set_aside(self, damaged: dict[int, str], used: int) -> None:
        """Make way for new saves of the damaged steps."""
        if not damaged:
            return
        aside = self.folder.with_name(self.folder.name + ".damaged")
        for step, fault in damaged.items() if is_primary() else ():
            _log.warning(
                "%s: the checkpoint of step %d is damaged: %s. It is moved to %s; going on from"
                " step %d.",
                *(self.folder, step, fault, aside, used),
            )
            aside.mkdir(exist_ok=True)
            shutil.rmtree(aside / str(step), ignore_errors=True)
            (self.folder / str(step)).rename(aside / str(step))
        wait_for_all("set aside")
        self._manager.reload()

    def _clear_uncommitted(self) -> None:
        steps = [path for path in self.folder.iterdir() if path.name.isdecimal()]
        incomplete = [path for path in steps if not (path / COMMITTED).exists()]
        if len(incomplete) > 1 and len(incomplete) == len(steps):  # no kill leaves two
            names = ", ".join(sorted((path.name for path in incomplete), key=int))
            raise CheckpointError(
                f"{self.folder}: none of the steps {names} is complete: each lacks"
                f" {COMMITTED}, which is written last. Were they copied in part? To begin anew,"
                " delete the folder."
            )
        for path in incomplete:
            _log.warning("%s: an incomplete save, deleted", path)
            shutil.rmtree(path)


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """No: `stop_requested` asks, with numbers of its own that must not be mixed with steps."""
        return False


def _fields(state: State) -> State:
    """A named tuple without the fields that a later version added, where they are None."""
    if not hasattr(state, "_field_defaults"):
        return state
    added, pairs = state._field_defaults, state._asdict().items()
    return {name: value for name, value in pairs if value is not None or name not in added}


def _attempt(read: Callable[[], Any]) -> tuple[Any, str]:
    """``(value, "")``, or ``(None, fault)`` in every process where one of them fails."""
    value, fault = None, "it is damaged where another process reads it"
    try:
        value = read()
    except DamagedError as error:
        fault = str(error)
    return (value, "") if all_agree(value is not None) else (None, fault)


def first_line(error: Exception) -> str:
    """The first line of an error of Orbax, without TensorStore's JSON."""
    text = str(error).partition(" [tensorstore_spec")[0].strip()  # a kilobyte of JSON follows
    return text.splitlines()[0] if text else type(error).__name__


def _room(folder: Path) -> str:
    """What stands in the way of a save, and what to do."""
    if not os.access(folder, os.W_OK):
        return "the folder cannot be written: make it writable"
    with contextlib.suppress(OSError):
        return f"{shutil.disk_usage(folder).free:,} bytes are free: make room"
    return "the folder cannot be read: mend that"
