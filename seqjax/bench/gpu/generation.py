"""Section "generation": samples one by one, from a carry and from everything once more."""

import dataclasses
import time

from seqjax.bench.generators import Case, cached, recomputed
from seqjax.bench.gpu.measure import Calls, in_turns
from seqjax.bench.gpu.rows import Emit, Row, problem
from seqjax.bench.worker import Prepared


def run(dry: bool, emit: Emit) -> None:
    """A row for each model: microseconds of a sample after the first."""
    samples = 8 if dry else 256
    cases = [Case("lstm", samples), Case("wavenet", samples, 8 if dry else 256)]
    if not dry:
        cases += [Case("rnn", samples), Case("lstm", samples, features=256, batch=64)]
    for case in cases:
        labels = {"model": case.kind, "features": case.features, "batch": case.batch}
        try:
            ways = {"cached": cached, "recomputed": recomputed}
            values = {
                name: _sample(way(dataclasses.asdict(case)), case, dry)
                for name, way in ways.items()
            }
            row = {f"{name}, us a sample": 1e6 * value for name, value in values.items()}
            emit(Row(labels, row | {"samples": samples, "context": case.context}))
        except Exception as error:
            emit(problem(labels, error))


def _sample(prepared: Prepared, case: Case, dry: bool) -> float:
    programs = {name: _calls(prepared, name) for name in prepared.programs}
    for run in programs.values():
        run(1)  # compiles
    found = in_turns(programs, 1 if dry else 5, 0.0 if dry else 0.05)
    return (found["all samples"] - found["first sample"]) / (case.samples - 1)


def _calls(prepared: Prepared, name: str) -> Calls:
    def run(calls: int) -> float:
        begun = time.perf_counter()
        for _ in range(calls):
            prepared.programs[name]()
        return time.perf_counter() - begun

    return run
