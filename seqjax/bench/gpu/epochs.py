"""Section "epochs": training of the models of chapter 15, beside PyTorch."""

import dataclasses

from seqjax.bench import training
from seqjax.bench.gpu.rows import Emit, Row
from seqjax.bench.report import Figure
from seqjax.bench.tasks import TASKS, TITLES, Name
from seqjax.bench.turns import workers

NAMES: tuple[Name, ...] = ("lstm", "wavenet", "gru", "rnn")


def run(dry: bool, emit: Emit) -> None:
    """A row for each model and contestant: an epoch with validation, a step, the first epoch."""
    everyone = training.contestants(("torch",), 1)
    with workers(everyone) as processes:
        for name in NAMES[:1] if dry else NAMES:
            task = TASKS[name]
            if dry:
                task = dataclasses.replace(task, examples=64, validation=32)
            figures = training.measure(task, everyone, processes, 1 if dry else 2, 1e-4)
            for one in everyone:
                labels = {"model": TITLES[name], "contestant": one.name}
                emit(_row(labels, [f for f in figures if f.contestant == one.name]))


def _row(labels: dict[str, str], figures: list[Figure]) -> Row:
    if note := figures[0].problem:
        status = "missing" if "is not installed" in note else "FAILED"
        return Row(labels, status=status, note=note)
    values = {f"{figure.labels['program']}, s": figure.median for figure in figures}
    return Row(labels, values | {"first epoch, s": figures[0].labels["first_epoch"]})
