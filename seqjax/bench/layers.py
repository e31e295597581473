"""``seqjax.bench layers``: our layers beside those of other libraries, over a grid of shapes."""

import dataclasses
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress
from rich.table import Table

from seqjax import ops
from seqjax.bench.cases import BY_STEPS, COMMON, SHAPES, Case, check_kinds
from seqjax.bench.report import Figure, Options, Report, ratio, table, write
from seqjax.bench.turns import BenchError, Contestant, Worker, beside, take_turns, workers
from seqjax.ops.backends import BACKENDS, Call, Implementation, choose
from seqjax.ops.linear_recurrence import FORM
from seqjax.train.mesh import cpu_cores

PROGRAMS = ("forward", "forward + backward")
OURS = "seqjax"
PEERS = ("linen", "nnx", "keras", "torch", "haiku", "equinox")
_QUICK = ("lstm", "conv")


@dataclasses.dataclass(frozen=True)
class Layers(Options):
    """Forward, and forward + backward, of RNN, LSTM, GRU, convolution stacks, linear recurrences.

    Every contestant runs in a process of its own with the same weights, agrees with ours
    on outputs, input gradients and the norm of the kernels' gradients before anything is
    timed, and has its turn in every round.
    """

    only: tuple[str, ...] = COMMON
    """Layers to run: any cell, conv, linear."""
    implementation: Implementation | None = None
    """Beside our default this one alone, no peers, over steps and batches: "newton"."""
    shapes: tuple[int, ...] = ()
    """Which shapes of the grid, by number; by default all."""
    peers: tuple[str, ...] = PEERS
    """Other libraries to run."""
    beside: tuple[Path, ...] = ()
    """Other checkouts of this repository to run too: a change and what it was before."""
    rounds: int = 5
    """Turns of each contestant."""
    seconds: float = 0.2
    """How long a program runs in each turn, at least."""


def contestants(
    kind: str, peers: Sequence[str], devices: int, checkouts: Sequence[Path] = ()
) -> list[Contestant]:
    """Ours first (the default), other checkouts', our other implementations, the peers."""
    entry = "seqjax.bench.peers.ours:layer"
    found = [Contestant(OURS, entry)]
    found += beside(found[0], checkouts)
    if devices > 1:
        found.append(Contestant(f"{OURS}, {devices} devices", entry, {"devices": devices}))
    for name in _others(kind):
        found.append(Contestant(f"{OURS}, {name}", entry, {"implementation": name}))
    for name in peers:
        arguments = {"threads": devices} if name == "torch" else {}
        found.append(Contestant(name, f"seqjax.bench.peers.{name}:layer", arguments))
    # Eight relus: what one side rounds to just above 0 and the other to just below passes
    # its gradient on one side only. Both are right; a wrong layer differs by far more.
    return [one._replace(tolerance=0.03) for one in found] if kind == "conv" else found


def _others(kind: str) -> list[str]:
    """Our implementations besides the default."""
    if kind == "conv":
        return ["products", "lax"]
    form = FORM if kind == "linear" else ops.CELLS[kind]().form
    call = Call(kind, form, (1, 1, 1), 1, "float32", options={})
    able = [name for name, backend in BACKENDS.items() if backend.reason(call) is None]
    return [name for name in able if name != choose(call)]


def run(config: Layers) -> Report:
    """Measure, in turns.

    Args:
        config: what to run.

    Returns:
        A figure for each contestant, case and program, and the tables.
    """
    kinds = check_kinds(config.only)
    grid = SHAPES if config.implementation is None else BY_STEPS
    if not set(config.shapes) <= set(range(len(grid))):
        raise BenchError(f"--shapes: numbers from 0 to {len(grid) - 1}, not {config.shapes}.")
    shapes = [grid[number] for number in config.shapes or range(len(grid))]
    rounds, seconds = config.rounds, config.seconds
    if config.quick:
        kinds = _QUICK if kinds == COMMON else kinds
        shapes, rounds, seconds = shapes[:3], 3, 0.05
    settings = dataclasses.asdict(config) | {"rounds": rounds, "seconds": seconds}
    figures: list[Figure] = []
    tables: list[Table] = []
    report = Report("layers", settings, figures, tables)
    with Progress(transient=True) as progress:
        task = progress.add_task("layers", total=len(kinds) * len(shapes))
        for kind in kinds:
            everyone = contestants(kind, config.peers, cpu_cores(), config.beside)
            if config.implementation is not None:
                wanted = (OURS, f"{OURS}, {config.implementation}")
                everyone = [one for one in everyone if one.name in wanted]
            of_kind: list[Figure] = []
            with workers(everyone) as processes:
                for shape in shapes:
                    case = Case(kind, *shape)
                    progress.update(task, description=f"{kind} ({case.shape})")
                    of_kind += measure(case, everyone, processes, rounds, seconds)
                    progress.advance(task)
            figures += of_kind
            tables.append(_table(kind, of_kind))
            summary = _summary(figures)
            every = [*tables, summary] if summary.row_count else tables  # there may be no peers
            report = Report("layers", settings, figures, every)
            write(report, config.out / "layers.json")  # a kill leaves what is done
    return report


def measure(
    case: Case,
    everyone: Sequence[Contestant],
    processes: dict[str, Worker],
    rounds: int,
    seconds: float,
) -> list[Figure]:
    """The figures of one case."""
    arguments = {"case": dataclasses.asdict(case)}
    found = take_turns(everyone, processes, arguments, PROGRAMS, rounds=rounds, seconds=seconds)
    return [
        figure
        for name, result in found.items()
        for figure in result.figures(name, kind=case.kind, shape=case.shape)
    ]


def _groups(figures: Sequence[Figure]) -> Iterator[tuple[tuple[str, str], list[Figure]]]:
    """Figures by (kind, shape)."""
    keys = dict.fromkeys((f.labels["kind"], f.labels["shape"]) for f in figures)
    for key in keys:
        yield key, [f for f in figures if (f.labels["kind"], f.labels["shape"]) == key]


def _table(kind: str, figures: Sequence[Figure]) -> Table:
    found = table(
        f"{kind} (B, T, I, H): milliseconds, and times {OURS}'s",
        ["shape", "contestant"],
        [column for program in PROGRAMS for column in (program, f"/ {OURS}")],
    )
    for (_, shape), group in _groups(figures):
        base = {f.labels.get("program"): f for f in group if f.contestant == OURS and not f.problem}
        for name in dict.fromkeys(f.contestant for f in group):
            mine = [f for f in group if f.contestant == name]
            if mine[0].problem:
                found.add_row(shape, name, mine[0].problem)
                continue
            cells = []
            for figure in mine:
                default = base.get(figure.labels["program"])
                times = "" if default is None else f"{ratio(figure, default):.2f}"
                cells += [f"{1e3 * figure.median:.3g}", times]
            found.add_row(shape, name, *cells)
        found.add_section()
    return found


def ours(group: Sequence[Figure], program: str, every_device: bool) -> Figure | None:
    """Our default on one device, or with the batch over all of them."""
    for figure in group:
        mine = figure.contestant.endswith(" devices") if every_device else figure.contestant == OURS
        if mine and figure.labels.get("program") == program and figure.problem is None:
            return figure
    return None


class Advantage(NamedTuple):
    """How many times as long a peer takes as we do.

    Attributes:
        ratios: of each case.
        missing: cases without a figure of the peer, or (of the fastest) without one of
            some peer that has the layer elsewhere.
    """

    ratios: list[float]
    missing: int


def advantage(
    figures: Sequence[Figure], program: str, against: str, every_device: bool
) -> Advantage:
    """Against one peer, or the fastest of each case.

    Args:
        figures: of one kind of layer.
        program: of `PROGRAMS`.
        against: a peer's name, or "fastest peer".
        every_device: ours with the batch over all devices, in place of the default.
    """
    here = [f for f in figures if f.labels.get("program") == program and f.problem is None]
    have = {f.contestant for f in here if f.contestant in PEERS}
    wanted = have if against == "fastest peer" else have & {against}
    ratios, missing = [], 0
    for _, group in _groups(figures):
        mine = ours(group, program, every_device)
        peers = [f for f in group if f in here and f.contestant in wanted]
        missing += len(peers) < len(wanted) or mine is None
        if mine is not None and peers:
            ratios.append(min(ratio(f, mine) for f in peers))
    return Advantage(ratios, missing)


def _summary(figures: Sequence[Figure]) -> Table:
    found = table(
        "how many times as long the peer takes",
        ["layer", "program", "ours", "against"],
        ["geometric mean", "least", "most", "cases", "with figures missing"],
    )
    for kind in dict.fromkeys(f.labels["kind"] for f in figures):
        of_kind = [f for f in figures if f.labels["kind"] == kind]
        for program in PROGRAMS:
            for every_device in (False, True):
                for against in ("linen", "torch", "fastest peer"):
                    ratios, missing = advantage(of_kind, program, against, every_device)
                    if ratios:
                        mean = math.exp(statistics.fmean(map(math.log, ratios)))
                        cells = (f"{value:.2f}" for value in (mean, min(ratios), max(ratios)))
                        way = "all devices" if every_device else "default"
                        counts = (str(len(ratios)), str(missing))
                        found.add_row(kind, program, way, against, *cells, *counts)
        found.add_section()
    return found
