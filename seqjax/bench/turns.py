"""Contestants in processes of their own, which take turns."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqjax.bench.report import Figure


class BenchError(RuntimeError):
    """A benchmark that cannot go on; the message says what to do."""


class Contestant(NamedTuple):
    """Who takes part.

    Attributes:
        name: in the tables.
        entry: ``module:function`` that returns a `seqjax.bench.worker.Prepared`.
        arguments: of the function, beside those of the case; JSON.
        tolerance: by which its outputs may differ from the first contestant's, as a
            relative root mean square.
        checkout: the folder of another checkout of this repository, whose code it runs.
    """

    name: str
    entry: str
    arguments: dict[str, Any] = {}  # noqa: RUF012 - never changed
    tolerance: float = 1e-3
    checkout: Path | None = None


class Worker:
    """One contestant's process, started again after it has died."""

    def __init__(self, checkout: Path | None = None) -> None:
        self._checkout = None if checkout is None else checkout.resolve()
        self._start()

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "seqjax.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=self._checkout,  # where -m looks first
            # On a GPU the contestants share its memory.
            env={"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
            | ({} if self._checkout is None else {"PYTHONPATH": str(self._checkout)}),
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, wait for the answer; a process that dies of it answers "failed"."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().rpartition("\n")[2]
        self.end()
        self._start()
        return {"failed": f"its process ended with status {status}: {said or 'no message'}"}

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop the process."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):  # a request that it did not read
            self._process.communicate()
        self._errors.close()


class Rounds(NamedTuple):
    """What one contestant's programs took.

    Attributes:
        seconds: program to seconds a call, a median for each round.
        problem: why there are no figures, or None.
        facts: what the contestant said of itself.
    """

    seconds: dict[str, list[float]]
    problem: str | None = None
    facts: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def figures(self, contestant: str, **labels: Any) -> list[Figure]:
        """A figure for each program; of a contestant without figures, its problem."""
        if self.problem is not None:
            return [Figure(contestant, labels, [], self.problem)]
        return [
            Figure(contestant, labels | {"program": program}, found)
            for program, found in self.seconds.items()
        ]


@contextlib.contextmanager
def workers(contestants: Sequence[Contestant]) -> Iterator[dict[str, Worker]]:
    """A process for each contestant, ended with the context."""
    found = {one.name: Worker(one.checkout) for one in contestants}
    try:
        yield found
    finally:
        for worker in found.values():
            worker.end()


def beside(ours: Contestant, checkouts: Sequence[Path]) -> list[Contestant]:
    """`ours` as other checkouts of this repository have it.

    Raises:
        BenchError: for a folder that is none.
    """
    for folder in checkouts:
        if not (folder / "seqjax" / "bench" / "worker.py").is_file():
            raise BenchError(f"--beside: {folder} is no checkout of seqjax.")
    return [
        ours._replace(name=f"{ours.name} of {folder.name}", checkout=folder) for folder in checkouts
    ]


def take_turns(
    contestants: Sequence[Contestant],
    processes: dict[str, Worker],
    arguments: dict[str, Any],
    programs: Sequence[str],
    *,
    rounds: int,
    seconds: float,
) -> dict[str, Rounds]:
    """Prepare, compare the outputs, and time every program once a round.

    Args:
        contestants: the first sets the outputs that the others must agree with.
        processes: of `workers`.
        arguments: of the case, for every contestant's entry.
        programs: what to time; a contestant may lack some.
        rounds: how often each contestant has its turn.
        seconds: that a program runs in each turn, at least (one call at least).

    Returns:
        For each contestant its rounds.
    """
    ready: dict[str, Rounds] = {}
    reference: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outputs.npz"
        for one in contestants:
            path.unlink(missing_ok=True)
            answer = processes[one.name].ask(
                do="prepare",
                entry=one.entry,
                arguments=arguments | one.arguments,
                outputs=str(path),
            )
            problem = answer.get("missing") or answer.get("failed")
            if problem is None:
                with np.load(path) as file:
                    outputs = dict(file)
                if one is contestants[0]:
                    reference = outputs
                if not reference:
                    problem = f"nothing to compare with: {contestants[0].name} failed"
                else:
                    problem = disagreement(reference, outputs, one.tolerance)
            ready[one.name] = Rounds(
                {program: [] for program in programs if program in answer.get("programs", ())},
                problem,
                answer.get("facts", {}),
            )
    for number in range(rounds):
        running = [one for one in contestants if ready[one.name].problem is None]
        # Forth and back, so that nobody always follows the same neighbour.
        for one in running if number % 2 == 0 else reversed(running):
            for program, found in ready[one.name].seconds.items():
                answer = processes[one.name].ask(do="time", program=program, seconds=seconds)
                if "median" not in answer:
                    problem = f"{program}: {answer.get('failed')}"
                    ready[one.name] = ready[one.name]._replace(problem=problem)
                    break
                found.append(answer["median"])
    return ready


def disagreement(
    reference: dict[str, np.ndarray], outputs: dict[str, np.ndarray], tolerance: float
) -> str | None:
    """Where outputs differ from those of the first contestant, in words, or None."""
    for name, expected in reference.items():
        found = outputs.get(name)
        if found is None or found.shape != expected.shape:
            shape = None if found is None else found.shape
            return f"output {name} has shape {shape}, not {expected.shape}"
        # Root mean squares: where a relu's input is 0 but for rounding, its derivative may
        # be 0 on one side and 1 on the other, and a single value differ by much.
        scale = float(np.sqrt(np.mean(np.square(expected)))) or 1.0
        error = float(np.sqrt(np.mean(np.square(found - expected)))) / scale
        if not error <= tolerance:
            return f"output {name} differs by {error:.1g} (root mean square, relative)"
    return None
