"""``seqjax.bench compile``: what compilation costs as steps, width and depth double."""

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.progress import Progress
from rich.table import Table

from seqjax import ops
from seqjax.bench.cases import COMMON, Case, check_kinds
from seqjax.bench.report import Figure, Options, Report, table
from seqjax.bench.turns import BenchError, Worker

BASE = Case("lstm", batch=16, time=64, inputs=32, features=32)
_STEPS = (16, 32, 64, 128, 256, 512, 1024)
_WIDTHS = (16, 32, 64, 128, 256)
_DEPTHS = (1, 2, 4, 8, 16)
_LONG = (1024, 4096, 16384, 65536)
_UNROLLED = 32  # steps; 128 take two minutes and a half


@dataclasses.dataclass(frozen=True)
class Compile(Options):
    """Trace, lower, compile and first-run seconds, program size and peak temporary memory.

    Of forward + backward, for each layer and implementation, as steps, width and depth
    double; cold and from the persistent compilation cache; beside flax.linen.RNN,
    flax.nnx.RNN and an unrolled loop. Every contestant compiles in a fresh process.
    """

    only: tuple[str, ...] = COMMON
    """Layers to run: any cell, conv, linear."""
    rounds: int = 3
    """Fresh processes of each contestant."""


class Size(NamedTuple):
    """One program: which axis doubles, and where it stands."""

    axis: str
    size: int
    case: Case
    depth: int = 1


def sizes(kind: str, maker: str, quick: bool) -> list[Size]:
    """What a contestant compiles."""
    base = dataclasses.replace(BASE, kind=kind)
    every = 3 if quick else 1
    found = [
        Size("steps", steps, dataclasses.replace(base, time=steps))
        for steps in (_STEPS[::2] if quick else _STEPS)
        if maker != "unrolled" or steps <= _UNROLLED
    ]
    if maker == "unrolled":
        return found
    if not quick and maker not in ("stack", "repeat"):
        found += [
            Size("width", width, dataclasses.replace(base, inputs=width, features=width))
            for width in _WIDTHS
        ]
    if kind in ops.CELLS and maker not in ("autodiff", "chunks"):
        found += [Size("depth", depth, base, depth) for depth in _DEPTHS[::every]]
    if kind == "lstm" and maker in ("scan", "chunks", "autodiff", "linen", "nnx"):
        long = Case("lstm", batch=4, time=1, inputs=32, features=64)
        found += [
            Size("memory", steps, dataclasses.replace(long, time=steps)) for steps in _LONG[::every]
        ]
    return found


def makers(kind: str) -> dict[str, str]:
    """Contestants by name: who makes the layer (see `seqjax.bench.compilers.measure`)."""
    if kind == "linear":
        return {f"seqjax, {name}": name for name in ("scan", "associative", "autodiff")}
    if kind == "conv":
        ours = {f"seqjax, {name}": name for name in ("products", "lax")}
        return ours | {"linen": "linen", "nnx": "nnx"}
    found = {
        "seqjax": "scan",
        "seqjax, nn.Stack": "stack",
        "seqjax, autodiff": "autodiff",
        "seqjax, Repeat": "repeat",
        "linen": "linen",
        "nnx": "nnx",
        "unrolled loop": "unrolled",
    }
    return found | ({"seqjax, chunks": "chunks"} if kind == "lstm" else {})


def run(config: Compile) -> Report:
    """Compile, in fresh processes.

    Args:
        config: what to run.

    Returns:
        A figure for each contestant, size and quantity, and the tables.
    """
    kinds = check_kinds(config.only)
    if config.quick and kinds == COMMON:
        kinds = ("lstm",)
    rounds = 1 if config.quick else config.rounds
    found: dict[_Label, list[float]] = {}
    problems: dict[tuple[str, str], str] = {}
    with Progress(transient=True) as progress:
        total = rounds * sum(len(makers(kind)) for kind in kinds)
        task = progress.add_task("compile", total=total)
        for number in range(rounds):
            for kind in kinds:
                for name, maker in makers(kind).items():
                    progress.update(task, description=f"{kind}, {name}, round {number + 1}")
                    try:
                        for label, value in _one_round(kind, name, maker, config.quick):
                            found.setdefault(label, []).append(value)
                    except BenchError as error:
                        problems[kind, name] = str(error)
                    progress.advance(task)
    figures = [
        Figure(label.contestant, label.labels(), rounds, unit=_unit(label.quantity))
        for label, rounds in found.items()
    ]
    figures += [
        Figure(name, {"kind": kind}, [], problem) for (kind, name), problem in problems.items()
    ]
    settings = dataclasses.asdict(config) | {"rounds": rounds, "base": dataclasses.asdict(BASE)}
    return Report("compile", settings, figures, tables(figures))


class _Label(NamedTuple):
    contestant: str
    kind: str
    axis: str
    size: int
    quantity: str

    def labels(self) -> dict[str, Any]:
        return {key: value for key, value in self._asdict().items() if key != "contestant"}


def _unit(quantity: str) -> str:
    return {"instructions": "instructions", "temporary bytes": "bytes"}.get(quantity, "s")


def _one_round(kind: str, name: str, maker: str, quick: bool) -> Iterator[tuple[_Label, float]]:
    """Every size in one process; then the base again in another, from the cache."""
    entry = "seqjax.bench.compilers:measure"
    with tempfile.TemporaryDirectory() as cache:
        with Worker() as worker:
            for size in sizes(kind, maker, quick):
                arguments = {
                    "maker": maker,
                    "case": dataclasses.asdict(size.case),
                    "depth": size.depth,
                    "run": size.axis != "memory",
                }
                value = _value(worker.ask(do="call", entry=entry, arguments=arguments))
                for quantity, figure in value.items():
                    yield _Label(name, kind, size.axis, size.size, quantity), figure
            base = {
                "maker": maker,
                "case": dataclasses.asdict(dataclasses.replace(BASE, kind=kind)),
                "cache": cache,
            }
            if maker == "unrolled":
                return
            _value(worker.ask(do="call", entry=entry, arguments=base))
        with Worker() as worker:
            value = _value(worker.ask(do="call", entry=entry, arguments=base))
            yield _Label(name, kind, "steps", BASE.time, "cached"), value["all three"]


def _value(answer: dict[str, Any]) -> dict[str, float]:
    if "value" not in answer:
        raise BenchError(answer.get("missing") or answer.get("failed"))
    return answer["value"]


_STAGES = ("trace", "lower", "compile", "all three", "cached", "first run")


def tables(figures: Sequence[Figure]) -> list[Table]:
    """A table of the stages at the base size, and one for each axis."""
    medians = {
        (
            f.labels["kind"],
            f.contestant,
            f.labels["axis"],
            f.labels["size"],
            f.labels["quantity"],
        ): f.median
        for f in figures
        if f.problem is None
    }
    rows = list(dict.fromkeys((f.labels["kind"], f.contestant) for f in figures))
    problems = {(f.labels["kind"], f.contestant): f.problem for f in figures if f.problem}
    shape = f"B {BASE.batch}, T {BASE.time}, I = H = {BASE.features}"
    stages = table(
        f"forward + backward, {shape}: seconds, instructions, temporary kB",
        ["layer", "contestant"],
        [*_STAGES, "instructions", "temporary kB"],
    )
    for kind, name in rows:
        if (kind, name) in problems:
            stages.add_row(kind, name, problems[kind, name])
            continue
        at = {
            key[4]: value
            for key, value in medians.items()
            if key[:4] == (kind, name, "steps", BASE.time)
        }
        if at:
            cells = [f"{at[stage]:.3f}" if stage in at else "" for stage in _STAGES]
            kilobytes = f"{at['temporary bytes'] / 1e3:.0f}" if "temporary bytes" in at else ""
            instructions = f"{at['instructions']:.0f}" if "instructions" in at else ""
            stages.add_row(kind, name, *cells, instructions, kilobytes)
    found = [stages]
    for axis, quantity, scale, unit in (
        ("steps", "all three", 1.0, "seconds to trace, lower and compile, as steps double"),
        ("width", "all three", 1.0, "seconds to trace, lower and compile, as the width doubles"),
        ("depth", "all three", 1.0, "seconds to trace, lower and compile, as layers double"),
        ("memory", "temporary bytes", 1e6, "temporary MB by steps, LSTM, B 4, I 32, H 64"),
    ):
        points = sorted({key[3] for key in medians if key[2] == axis})
        one = table(unit, ["layer", "contestant"], [str(point) for point in points])
        for kind, name in rows:
            values = [medians.get((kind, name, axis, point, quantity)) for point in points]
            if any(value is not None for value in values):
                cells = ["" if v is None else f"{v / scale:.3g}" for v in values]
                one.add_row(kind, name, *cells)
        if one.row_count:
            found.append(one)
    return found
