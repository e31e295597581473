"""Section "layers": ours beside cuDNN (PyTorch), Flax, and a compiled loop, in turns."""

import contextlib
import dataclasses
import os
import signal
import statistics
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqjax import ops
from seqjax.bench.cases import COMMON, CONV_LAYERS, CONV_TAPS, Case
from seqjax.bench.gpu.contestants import PROGRAMS
from seqjax.bench.gpu.rows import Emit, Row
from seqjax.bench.turns import Worker, disagreement
from seqjax.ops.backends import BACKENDS

TOLERANCES = {"float32": 2e-2, "bfloat16": 1e-1}  # root mean square; TF32, and 1,024 steps

# The targets first.
GROUPS = (
    ("lstm", "bfloat16"),
    ("lstm", "float32"),
    ("gru", "bfloat16"),
    ("rnn", "bfloat16"),
    ("conv", "bfloat16"),  # a WaveNet's: eight dilated convolutions
    ("gru", "float32"),
    ("rnn", "float32"),
    ("conv", "float32"),
    ("peephole_lstm", "bfloat16"),  # which no peer has: our kernel beside our loop
    ("ugrnn", "bfloat16"),
)
DRY = 5  # of them: each kind, both dtypes
WIDTHS = (64, 256, 768, 128, 384, 512)


class Contestant(NamedTuple):
    """A process and what it runs.

    Attributes:
        name: in the tables.
        entry: of `seqjax.bench.gpu.contestants.prepare`.
        how: its further arguments.
        dtype: where it is not the group's.
        threads: that compile.
    """

    name: str
    entry: str
    how: dict[str, Any]
    dtype: str | None = None
    threads: int = 4


def contestants(kind: str, dtype: str) -> list[Contestant]:
    """Ours by default, which the others must agree with, our others, the peers."""
    found = [Contestant("seqjax", "ours", {})]
    if kind == "conv":
        found += [_own("products")]
    else:
        elsewhere = ("scan", "autodiff", "associative", "newton")  # or in no section
        of_gpu = [name for name in BACKENDS if name not in elsewhere]
        wanted = [name for name in of_gpu if (name == "cudnn") == (dtype == "float32")]
        found += [_own(name) for name in wanted if name != "cudnn" or kind == "lstm"]
    if kind not in COMMON:
        return found
    found += [Contestant("torch", "torch", {}, threads=1), Contestant("linen", "linen", {})]
    if dtype == "bfloat16":  # in which PyTorch may not take cuDNN for recurrent layers
        found.append(Contestant("torch, float16", "torch", {}, "float16", 1))
    return found


def _own(implementation: str) -> Contestant:
    return Contestant(f"seqjax, {implementation}", "ours", {"implementation": implementation})


def cases(kind: str, dry: bool) -> list[Case]:
    """What a group runs: one batch and length at many widths, another batch and length."""
    if dry:
        return [Case(kind, 2, 16, 8, 8)]
    # Of convolutions XLA tries many algorithms before it has compiled.
    if kind == "conv" or kind not in COMMON:
        return [Case(kind, 16, 1024, width, width) for width in WIDTHS[:2]]
    return [
        *(Case(kind, 16, 1024, width, width) for width in WIDTHS),
        *(Case(kind, 256, 128, width, width) for width in (256, 768)),
    ]


def run(dry: bool, emit: Emit) -> None:
    """A row for each case and contestant: ms by program, compile time, memory, TFLOP/s."""
    with processes() as workers:
        for kind, dtype in GROUPS[:DRY] if dry else GROUPS:
            everyone = contestants(kind, dtype)
            measure(workers, cases(kind, dry), dtype, everyone, dry, emit)


def run_compiled(dry: bool, emit: Emit) -> None:
    """Section "torch.compile": a plain loop over an LSTM's steps, beside ours."""
    backend = "eager" if dry else "inductor"
    loop = Contestant("torch.compile, 16 steps", "torch", {"steps": 16, "backend": backend})
    ours = Contestant("seqjax", "ours", {})
    found = [Case("lstm", 2, 16, 8, 8)] if dry else [Case("lstm", 16, 1024, 256, 256)]
    with processes() as workers:
        measure(workers, found, "bfloat16", [ours, loop._replace(threads=1)], dry, emit)


def run_newton(dry: bool, emit: Emit) -> None:
    """Section "newton": few long sequences, by Newton's method over time beside the loop."""
    shapes = ((2, 16, 8),) if dry else ((1, 4096, 64), (1, 16384, 64), (16, 4096, 256))
    with processes() as workers:
        for kind in ("gru",) if dry else ("gru", "lstm"):
            found = [Case(kind, batch, time, width, width) for batch, time, width in shapes]
            measure(workers, found, "float32", [_own("scan"), _own("newton")], dry, emit)


@contextlib.contextmanager
def processes() -> Iterator[dict[str, Worker]]:
    """The contestants', by name: as a GPU's libraries take seconds to load, for all groups."""
    workers: dict[str, Worker] = {}
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.end()


def measure(
    workers: dict[str, Worker],
    found: Sequence[Case],
    dtype: str,
    everyone: Sequence[Contestant],
    dry: bool,
    emit: Emit,
) -> None:
    """Prepare all cases in every process, compare with the first, then time in turns."""
    rounds, at_least = (1, 0.0) if dry else (5, 0.03)
    fields = [dataclasses.asdict(case) for case in found]
    for one in everyone:
        if one.name not in workers:
            workers[one.name] = Worker()
    mine = [workers[one.name] for one in everyone]
    with tempfile.TemporaryDirectory() as folder:
        with ThreadPoolExecutor(len(everyone)) as pool:
            prepare = partial(_prepare, fields, dtype, Path(folder))
            answers = list(pool.map(prepare, mine, everyone))
        _compare(answers, Path(folder), everyone, TOLERANCES[dtype])
    for k, case in enumerate(found):
        good = [n for n in range(len(everyone)) if "facts" in answers[n][k]]
        medians = _turns(k, {n: mine[n] for n in good}, rounds, at_least)
        for n, one in enumerate(everyone):
            labels = {"layer": case.kind, "dtype": dtype, "contestant": one.name}
            labels |= {"B": case.batch, "T": case.time, "H": case.features}
            emit(_row(labels, case, answers[n][k], medians.get(n)))
    for one, of in zip(everyone, answers, strict=True):
        # An error of a kernel stays with its process: each further call would fail, too.
        if any(answer.get("status") == "FAILED" for answer in of):
            workers.pop(one.name).end()


def ask(worker: Worker, entry: str, arguments: dict[str, Any], limit: float) -> dict[str, Any]:
    """A call in a contestant's process, which is ended where it takes longer: it may hang."""
    pid = worker.ask(do="call", entry="os:getpid", arguments={})["value"]
    timer = threading.Timer(limit, os.kill, (pid, signal.SIGKILL))
    timer.start()
    try:
        return worker.ask(do="call", entry=entry, arguments=arguments)
    finally:
        timer.cancel()


def _prepare(
    fields: list[dict[str, Any]], dtype: str, folder: Path, worker: Worker, one: Contestant
) -> list[dict[str, Any]]:
    mine = folder / one.name
    mine.mkdir()
    arguments = {"entry": one.entry, "cases": fields, "dtype": one.dtype or dtype, **one.how}
    arguments |= {"folder": str(mine), "threads": one.threads}
    entry = "seqjax.bench.gpu.contestants:prepare"
    answer = ask(worker, entry, arguments, 90.0)
    if "value" in answer:
        return answer["value"]
    status, note = ("missing" if "missing" in answer else "FAILED"), next(iter(answer.values()))
    return [{"status": status, "note": note} for _ in fields]


def _compare(
    answers: list[list[dict[str, Any]]],
    folder: Path,
    everyone: Sequence[Contestant],
    tolerance: float,
) -> None:
    """Mark what differs from the first contestant's outputs."""
    for one, mine in zip(everyone[1:], answers[1:], strict=True):
        for k, answer in enumerate(mine):
            if "facts" not in answer or "facts" not in answers[0][k]:
                continue
            ours, theirs = (folder / name / f"{k}.npz" for name in (everyone[0].name, one.name))
            with np.load(ours) as expected, np.load(theirs) as found:
                problem = disagreement(dict(expected), dict(found), tolerance)
            if problem:
                answer["disagrees"] = problem


def _turns(
    k: int, workers: dict[int, Worker], rounds: int, at_least: float
) -> dict[int, dict[str, Any]]:
    """Median seconds by contestant and program, or what went wrong."""
    entry = "seqjax.bench.gpu.contestants:seconds"
    found: dict[int, dict[str, list[float]]] = {n: {p: [] for p in PROGRAMS} for n in workers}
    failed: dict[int, dict[str, Any]] = {}
    for number in range(rounds):
        for n in list(workers)[:: 1 if number % 2 == 0 else -1]:
            for program in PROGRAMS:
                if n in failed:
                    continue
                arguments = {"case": k, "program": program, "at_least": at_least}
                answer = ask(workers[n], entry, arguments, 20.0)
                if "value" in answer:
                    found[n][program].append(answer["value"])
                else:
                    failed[n] = {"failed": f"{program}: {answer.get('failed')}"}
    medians = {n: {p: statistics.median(s) for p, s in of.items() if s} for n, of in found.items()}
    return medians | failed


def _row(
    labels: dict[str, Any], case: Case, answer: dict[str, Any], medians: dict[str, Any] | None
) -> Row:
    if medians is None:
        return Row(labels, status=answer["status"], note=answer["note"])
    if "failed" in medians:
        return Row(labels, status="FAILED", note=medians["failed"])
    values: dict[str, Any] = {f"{name}, ms": 1e3 * value for name, value in medians.items()}
    for name, value in medians.items():
        values[f"{name}, TFLOP/s"] = 1e-12 * flops(case, name) / value
        values[f"{name}, GB/s"] = 1e-9 * moved(case, labels["dtype"], name) / value
    values |= answer["facts"]
    if "disagrees" in answer:
        return Row(labels, values, "FAILED", answer["disagrees"])
    return Row(labels, values)


def flops(case: Case, program: str) -> float:
    """Of the matrix products: 2 an element forwards, twice that again backwards.

    Example:
        >>> flops(Case("rnn", 1, 10, 3, 5), "forward")
        800.0
    """
    if case.kind == "conv":
        weights = CONV_TAPS * case.features * (case.inputs + (CONV_LAYERS - 1) * case.features)
    else:
        weights = ops.CELLS[case.kind].gates * case.features * (case.inputs + case.features)
    return 2.0 * case.batch * case.time * weights * (1 if program == "forward" else 3)


def moved(case: Case, dtype: str, program: str) -> float:
    """The fewest bytes through the device's memory: inputs and outputs once, weights aside.

    Example:
        >>> moved(Case("rnn", 1, 10, 3, 5), "float32", "forward")
        320.0
    """
    of_steps = case.batch * case.time * (case.inputs + case.features)
    # Backwards x and y are read again, dy is read and dx written.
    return float(of_steps * (2 if dtype == "bfloat16" else 4) * (1 if program == "forward" else 3))
