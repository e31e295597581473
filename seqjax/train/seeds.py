"""One seed of a training: its files, its history, and how it ended."""

import dataclasses
from typing import Any

import jax
import optax

from seqjax.train.batches import Batches
from seqjax.train.checkpoints import Checkpoints, Restored
from seqjax.train.fingerprint import digest, settings_of
from seqjax.train.logs import MetricsLog
from seqjax.train.processes import is_primary, wait_for_all
from seqjax.train.steps import Params, TrainState
from seqjax.train.streams import Stream


@dataclasses.dataclass
class Seed:
    """One of the seeds that train in step.

    Attributes:
        number: the seed.
        params: before the first step.
        log: where its epochs are logged, or None.
        checkpoints: where its states are saved, or None.
        opt_state: given by the caller, or None.
        name: starts its messages.
        history: its lines so far.
        failure: why it ended without a result.
        ended: its last state, once it has ended.
    """

    number: int
    params: Params
    log: MetricsLog | None = None
    checkpoints: Checkpoints | None = None
    opt_state: Any = None
    name: str = "fit"
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    failure: str = ""
    ended: TrainState | None = None

    @property
    def active(self) -> bool:
        """Whether it still trains."""
        return not self.failure and self.ended is None

    def due(self, before: int, after: int, *, asked: bool) -> bool:
        """Whether it is saved after these steps."""
        if self.checkpoints is None or not self.active:
            return False
        return asked or self.checkpoints.due(before, after)

    def saved(self) -> str:
        """What is left of it if it ends here."""
        step = None if self.checkpoints is None else self.checkpoints.latest_step()
        if self.checkpoints is None or step is None:
            return "Nothing is saved."
        return f"The state of step {step} is saved in {self.checkpoints.folder}."

    def restored(
        self, like: TrainState, given: dict[str, Any], last: int, newest: int | None = None
    ) -> Restored | None:
        """The checkpoint that it goes on from, or None.

        Args:
            like: its state before the first step.
            given: what `fit` was given; see `given`.
            last: the last step.
            newest: not after this step; later ones are dropped.
        """
        if self.checkpoints is None:
            return None
        run = {"fit": {"seed": self.number} | given}
        restored = self.checkpoints.restore(like, newest=newest, **run)
        if restored is not None and restored.step > last:
            epochs = last // given["steps_per_epoch"]
            raise ValueError(
                f"{self.name}: {epochs} epochs are {last} steps, but {restored.step} are already"
                " done."
            )
        return restored

    def save(self, step: int, state: TrainState, given: dict[str, Any], position: Any) -> None:
        """Save its state and history."""
        assert self.checkpoints is not None
        more = {"history": list(self.history), "position": position}  # it grows on
        self.checkpoints.save(step, state, **more, fit={"seed": self.number} | given)

    def holds(self, step: int) -> bool:
        """Whether that step is saved; the one before the first always is."""
        return step == 0 or (self.checkpoints is not None and self.checkpoints.holds(step))

    def rewind(self, begun: Restored) -> None:
        """Bring its history to where it goes on; lines after that are dropped from the log."""
        kept, step = begun.history, begun.step
        self.history = [] if kept is None else kept
        if self.log is None:
            return
        if self.checkpoints is None and self.name == "fit" and self.log.holds_lines():
            raise ValueError(
                f"fit: {self.log.path} already holds this run's lines, and without checkpoints"
                " there is no run to go on with; log to another file."
            )
        if is_primary():
            self.log.rewind(step, kept)
        wait_for_all("metrics")
        if kept is None:
            self.history = self.log.lines(step)

    def write(self, line: dict[str, Any]) -> None:
        """Add a line to its history and its log."""
        self.history.append(line)
        if self.log is not None and is_primary():
            self.log.write(line)


def given(
    batches: Batches | Stream,
    validation: Batches | Stream | None,
    per_call: int,
    optimizer: optax.GradientTransformation,
) -> dict[str, Any]:
    """What a checkpoint must agree with, of all that training is given; JSON.

    The optimizer's settings by the version of Optax, which names them.
    """
    found: dict[str, Any] = {"steps_per_epoch": batches.steps, "steps_per_call": per_call}
    found["batches"] = "stream" if isinstance(batches, Stream) else "in memory"
    if isinstance(validation, Batches):
        found["validation_data"] = digest(jax.device_get(validation.data))
    if isinstance(batches, Batches):
        found["data"] = digest(jax.device_get(batches.data))
        found["order"] = settings_of((batches.plan, batches.batch))
    return found | {f"optimizer (optax {optax.__version__})": settings_of(optimizer)}
