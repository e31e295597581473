"""Metrics for TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class TensorBoard:
    """A callback of training that writes every epoch's figures for TensorBoard.

    Args:
        folder: a folder for each seed is made in it.

    Raises:
        ModuleNotFoundError: without the extra "tensorboard".
    """

    def __init__(self, folder: Path) -> None:
        import tensorboardX

        self._writer_of = tensorboardX.SummaryWriter
        self._folder = folder
        self._writers: dict[int, Any] = {}

    def epoch(self, seed: int, line: Mapping[str, Any]) -> None:
        """Write the figures of an epoch."""
        if seed not in self._writers:  # what a killed run wrote after its last save is dropped
            where = str(self._folder / f"seed-{seed}")
            self._writers[seed] = self._writer_of(where, purge_step=line["step"])
        for name, value in line.items():
            if isinstance(value, float):
                self._writers[seed].add_scalar(name, value, line["step"])
        self._writers[seed].flush()
