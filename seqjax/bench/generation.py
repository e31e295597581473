"""``seqjax.bench generate``: samples one by one, with a carry or from scratch."""

import dataclasses
import itertools
from collections.abc import Sequence

from rich.progress import Progress
from rich.table import Table

from seqjax.bench.generators import Case, Kind
from seqjax.bench.report import Figure, Options, Report, ratio, table
from seqjax.bench.turns import Contestant, Worker, take_turns, workers

PROGRAMS = ("first sample", "all samples")
CACHED = Contestant("cached", "seqjax.bench.generators:cached")
# Their rounding grows with the samples: each is the next one's input.
RECOMPUTED = Contestant("recomputed", "seqjax.bench.generators:recomputed", tolerance=1e-3)
EVERYONE = (CACHED, RECOMPUTED)
_DOUBLED = tuple(2**k for k in range(3, 11))


@dataclasses.dataclass(frozen=True)
class Generate(Options):
    """Autoregressive generation, one sequence: `seqjax.models.generate` against recomputing.

    Cached, a sample costs one step of the model from a carry of constant size;
    recomputed, it costs the model over the receptive field (WaveNet) or over the sequence
    so far (RNN, LSTM), all samples in one compiled loop on either side. Both must make the
    same samples. A figure is the time of a sample after the first, which reads the context.
    """

    only: tuple[Kind, ...] = ("rnn", "lstm", "wavenet")
    """Models to run."""
    receptive_fields: tuple[int, ...] = _DOUBLED
    """Of the WaveNet: powers of 2."""
    samples: tuple[int, ...] = (64, 256, 1024)
    """Made with each WaveNet."""
    lengths: tuple[int, ...] = _DOUBLED[3:]
    """Samples made with RNN and LSTM."""
    features: int = 32
    """Width of the layers."""
    rounds: int = 5
    """Turns of each contestant."""
    seconds: float = 0.1
    """How long a program runs in each turn, at least."""


def cases(config: Generate) -> list[Case]:
    """What to run, model by model."""
    found = []
    for kind in config.only:
        if kind == "wavenet":
            sizes = itertools.product(config.receptive_fields, config.samples)
            found += [Case(kind, n, size, config.features) for size, n in sizes]
        else:
            found += [Case(kind, n, features=config.features) for n in config.lengths]
    return found


def run(config: Generate) -> Report:
    """Measure, in turns.

    Args:
        config: what to run.

    Returns:
        A figure for each contestant, case and program, and the tables.
    """
    if config.quick:
        config = dataclasses.replace(
            config,
            only=tuple(k for k in ("rnn", "wavenet") if k in config.only) or config.only[:1],
            receptive_fields=config.receptive_fields[::4],
            lengths=config.lengths[::2],
            rounds=2,
            seconds=0.02,
        )
    figures: list[Figure] = []
    found = cases(config)
    with Progress(transient=True) as progress, workers(EVERYONE) as processes:
        bar = progress.add_task("generation", total=len(found))
        for case in found:
            sizes = f"{case.receptive_field or 'everything'} seen, {case.samples} samples"
            progress.update(bar, description=f"{case.kind}, {sizes}")
            figures += measure(case, processes, config.rounds, config.seconds)
            progress.advance(bar)
    tables = [make_table(figures), make_constancy_table(figures)]
    return Report("generate", dataclasses.asdict(config), figures, tables)


def measure(case: Case, processes: dict[str, Worker], rounds: int, seconds: float) -> list[Figure]:
    """The figures of one case: seconds of the first sample, and of each after it."""
    arguments = {"case": dataclasses.asdict(case)}
    found = take_turns(EVERYONE, processes, arguments, PROGRAMS, rounds=rounds, seconds=seconds)
    labels = dataclasses.asdict(case) | {"layers": case.layers, "context": case.context}
    figures = []
    for name, result in found.items():
        if result.problem is not None:
            figures += result.figures(name, **labels)
            continue
        first, together = (result.seconds[program] for program in PROGRAMS)
        later = [(b - a) / (case.samples - 1) for a, b in zip(first, together, strict=True)]
        figures += [
            Figure(name, labels | {"program": "first sample"}, first),
            Figure(name, labels | {"program": "sample"}, later),
        ]
    return figures


def _samples(figures: Sequence[Figure], name: str) -> dict[tuple[str, int, int, int], Figure]:
    """(kind, receptive field or 0, layers, samples) to a contestant's figure of a later sample."""
    return {
        (
            figure.labels["kind"],
            figure.labels["receptive_field"] or 0,
            figure.labels["layers"],
            figure.labels["samples"],
        ): figure
        for figure in figures
        if figure.contestant == name and figure.labels.get("program", "sample") == "sample"
    }


def make_table(figures: Sequence[Figure]) -> Table:
    """A line for each case."""
    found = table(
        "generation: microseconds a sample, batch 1",
        ["model"],
        ["receptive field", "layers", "samples", "cached", "recomputed", "recomputed / cached"],
    )
    others = _samples(figures, RECOMPUTED.name)
    previous = None
    for key, mine in _samples(figures, CACHED.name).items():
        kind, field, layers, samples = key
        other = others[key]
        if kind != previous:
            found.add_section()
        previous = kind
        cells = [one.problem or f"{1e6 * one.median:.3g}" for one in (mine, other)]
        if mine.problem is None and other.problem is None:
            cells.append(f"{ratio(other, mine):.2f}")
        found.add_row(kind, str(field or "all so far"), str(layers), str(samples), *cells)
    return found


def make_constancy_table(figures: Sequence[Figure]) -> Table:
    """The cached cost of a sample: by samples made it is constant, by layers it grows."""
    found = table(
        "generation, cached: microseconds a sample, over all numbers of samples made",
        ["model"],
        ["receptive field", "layers", "samples", "least", "most", "most / least", "µs a layer"],
    )
    by_model: dict[tuple[str, int, int], dict[int, float]] = {}
    for (kind, field, layers, samples), figure in _samples(figures, CACHED.name).items():
        if figure.problem is None:
            by_model.setdefault((kind, field, layers), {})[samples] = 1e6 * figure.median
    for (kind, field, layers), costs in by_model.items():
        least, most = min(costs.values()), max(costs.values())
        found.add_row(
            kind,
            str(field or "all so far"),
            str(layers),
            f"{min(costs)} to {max(costs)}",
            *(f"{value:.3g}" for value in (least, most)),
            f"{most / least:.2f}",
            f"{least / layers:.2f}",
        )
    return found
