"""``seqjax.bench layers``: our layers beside those of other libraries, over a grid of shapes."""

import dataclasses
import math
import statistics
from collections.abc import Iterator, Sequence

from rich.progress import Progress
from rich.table import Table

from seqjax.bench.cases import SHAPES, Case, Kind
from seqjax.bench.machine import cores
from seqjax.bench.report import Figure, Options, Report, ratio, table
from seqjax.bench.turns import Contestant, Worker, take_turns, workers

PROGRAMS = ("forward", "forward + backward")
OURS = "seqjax"
PEERS = ("linen", "nnx", "keras", "torch", "haiku", "equinox")
_KINDS: tuple[Kind, ...] = ("rnn", "lstm", "gru", "conv", "linear")
_QUICK: tuple[Kind, ...] = ("lstm", "conv")


@dataclasses.dataclass(frozen=True)
class Layers(Options):
    """Forward, and forward + backward, of RNN, LSTM, GRU, convolution stacks, linear recurrences.

    Every contestant runs in a process of its own with the same weights, agrees with ours
    on outputs and input gradients before anything is timed, and has its turn in every
    round.
    """

    only: tuple[Kind, ...] = _KINDS
    """Layers to run."""
    shapes: tuple[int, ...] = tuple(range(len(SHAPES)))
    """Which shapes of the grid, by number."""
    peers: tuple[str, ...] = PEERS
    """Other libraries to run."""
    rounds: int = 5
    """Turns of each contestant."""
    seconds: float = 0.2
    """How long a program runs in each turn, at least."""


def contestants(kind: Kind, peers: Sequence[str], devices: int) -> list[Contestant]:
    """Ours first (the default), then our other implementations, then the peers."""
    entry = "seqjax.bench.peers.ours:layer"
    found = [Contestant(OURS, entry)]
    if devices > 1:
        found.append(Contestant(f"{OURS}, {devices} devices", entry, {"devices": devices}))
    others: dict[str, tuple[str, ...]] = {
        "conv": ("products", "lax"),
        "linear": ("associative", "autodiff"),
    }
    for name in others.get(kind, ("autodiff",)):
        found.append(Contestant(f"{OURS}, {name}", entry, {"implementation": name}))
    for name in peers:
        arguments = {"threads": devices} if name == "torch" else {}
        found.append(Contestant(name, f"seqjax.bench.peers.{name}:layer", arguments))
    return found


def run(config: Layers) -> Report:
    """Measure, in turns.

    Args:
        config: what to run.

    Returns:
        A figure for each contestant, case and program, and the tables.
    """
    kinds: tuple[Kind, ...] = config.only
    shapes = [SHAPES[number] for number in config.shapes]
    rounds, seconds = config.rounds, config.seconds
    if config.quick:
        kinds = _QUICK if kinds == _KINDS else kinds
        shapes, rounds, seconds = shapes[:3], 3, 0.05
    figures: list[Figure] = []
    tables: list[Table] = []
    with Progress(transient=True) as progress:
        task = progress.add_task("layers", total=len(kinds) * len(shapes))
        for kind in kinds:
            everyone = contestants(kind, config.peers, cores())
            of_kind: list[Figure] = []
            with workers(everyone) as processes:
                for shape in shapes:
                    case = Case(kind, *shape)
                    progress.update(task, description=f"{kind} ({case.shape})")
                    of_kind += measure(case, everyone, processes, rounds, seconds)
                    progress.advance(task)
            figures += of_kind
            tables.append(_table(kind, of_kind))
    settings = dataclasses.asdict(config) | {"rounds": rounds, "seconds": seconds}
    return Report("layers", settings, figures, [*tables, _summary(figures)])


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
        base = {f.labels.get("program"): f for f in group if f.contestant == OURS}
        for name in dict.fromkeys(f.contestant for f in group):
            mine = [f for f in group if f.contestant == name]
            if mine[0].problem:
                found.add_row(shape, name, mine[0].problem)
                continue
            cells = []
            for figure in mine:
                times = ratio(figure, base[figure.labels["program"]])
                cells += [f"{1e3 * figure.median:.3g}", f"{times:.2f}"]
            found.add_row(shape, name, *cells)
        found.add_section()
    return found


def best_of_ours(group: Sequence[Figure], program: str) -> Figure:
    """The faster of the default on one device and on all of them."""
    mine = [
        f
        for f in group
        if f.labels.get("program") == program
        and (f.contestant == OURS or f.contestant.endswith(" devices"))
    ]
    return min(mine, key=lambda f: f.median)


def advantage(figures: Sequence[Figure], program: str, against: str) -> list[float]:
    """For each case, how many times as long the peer (or the fastest) takes as we do."""
    found = []
    for _, group in _groups(figures):
        peers = [
            f
            for f in group
            if f.labels.get("program") == program
            and f.contestant in PEERS
            and against in (f.contestant, "fastest peer")
        ]
        if peers:
            ours = best_of_ours(group, program)
            found.append(min(ratio(f, ours) for f in peers))
    return found


def _summary(figures: Sequence[Figure]) -> Table:
    found = table(
        "how many times as long the peer takes (ours: the faster of one device and all)",
        ["layer", "program", "against"],
        ["geometric mean", "least", "most"],
    )
    for kind in dict.fromkeys(f.labels["kind"] for f in figures):
        of_kind = [f for f in figures if f.labels["kind"] == kind]
        for program in PROGRAMS:
            for against in ("linen", "torch", "fastest peer"):
                ratios = advantage(of_kind, program, against)
                if ratios:
                    mean = math.exp(statistics.fmean(map(math.log, ratios)))
                    cells = (f"{value:.2f}" for value in (mean, min(ratios), max(ratios)))
                    found.add_row(kind, program, against, *cells)
    return found
