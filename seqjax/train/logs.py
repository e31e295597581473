"""What a run tells while it runs: metrics.jsonl, a progress bar, plain lines."""

import json
import logging
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress as RichProgress,
    TextColumn,
    TimeRemainingColumn,
)

from seqjax.storage.files import on_disk, write_atomically
from seqjax.train.checkpoints import CheckpointError

_log = logging.getLogger(__name__)


class MetricsLog:
    """`metrics.jsonl`: one line for each logged step, each flushed as it is written.

    Lines hold no clock times, so that a resumed run's file equals the
    uninterrupted one's, byte for byte. A file that holds anything else is a
    CheckpointError that names the line.
    """

    def __init__(self, path: str | Path, **common: Any) -> None:
        """Log to `path`; `common` fields (such as the seed) start every line."""
        self.path = on_disk(path)
        self.common = common

    def _mine(self, line: dict[str, Any]) -> bool:
        return all(line.get(key) == value for key, value in self.common.items())

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        *lines, _ = self.path.read_bytes().split(b"\n")  # the last: empty, or torn by a kill
        return [self._parsed(number, line) for number, line in enumerate(lines, 1)]

    def _parsed(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
            if isinstance(found, dict) and type(found.get("step")) is int:
                return found
            fault = "is no JSON object with a whole number as its step"
        except (ValueError, RecursionError) as error:
            fault = f"is not readable as JSON ({error})"
        raise CheckpointError(
            f"{self.path}: line {number} {fault}; take the line out, or choose another folder."
        )

    def holds_lines(self) -> bool:
        """True where the file holds lines of this log."""
        return any(map(self._mine, self._lines()))

    def lines(self, step: int) -> list[dict[str, Any]]:
        """This log's own lines up to `step`, without the common fields."""
        return [
            {key: value for key, value in line.items() if key not in self.common}
            for line in self._lines()
            if self._mine(line) and line["step"] <= step
        ]

    def rewind(
        self, step: int, history: list[dict[str, Any]] | None = None
    ) -> list[dict[str, Any]]:
        """Drop this log's own lines after `step`; return those that remain (see `lines`).

        Args:
            step: the last to keep.
            history: what the lines must be, as a checkpoint tells; where they are not (one
                is missing, doubled or edited), that is told, and they are written anew.
        """
        kept = [line for line in self._lines() if not self._mine(line) or line["step"] <= step]
        mine = [line for line in kept if self._mine(line)]
        wanted = mine if history is None else [self.common | line for line in history]
        if mine != wanted:
            if mine:
                _log.warning(
                    "%s: up to step %d its lines are not those of the checkpoint; they are written"
                    " anew.",
                    *(self.path, step),
                )
            kept = [line for line in kept if not self._mine(line)] + wanted
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        return self.lines(step)

    def write(self, line: dict[str, Any]) -> None:
        """Append one line."""
        with self.path.open("a") as file:
            file.write(json.dumps(self.common | line) + "\n")


class Progress:
    """A bar on a terminal; one plain line an epoch elsewhere. Writes to stderr."""

    def __init__(self, label: str, epochs: int, *, console: Console | None = None) -> None:
        self.label = label
        self.epochs = epochs
        self.console = Console(stderr=True) if console is None else console
        self.bar: RichProgress | None = None
        if self.console.is_terminal:
            self.bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.task = self.bar.add_task(label, total=epochs, status="compiling")

    def __enter__(self) -> "Progress":
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self, epochs: float) -> None:
        """Move the bar to so many epochs, parts of one included."""
        if self.bar is not None:
            self.bar.update(self.task, completed=epochs)

    def epoch(self, epoch: int, metrics: dict[str, float], steps_per_second: float | None) -> None:
        """Show the figures of an epoch that is over; no rate before there is one."""
        status = " ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        if steps_per_second is not None:
            status += f" {steps_per_second:{',.0f' if steps_per_second >= 10 else '.2g'}} steps/s"
        if self.bar is not None:
            self.bar.update(self.task, completed=epoch, status=status)
        else:
            self.console.print(
                f"{self.label} epoch {epoch}/{self.epochs} {status}",
                highlight=False,
                soft_wrap=True,
            )
