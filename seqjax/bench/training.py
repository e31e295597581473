"""``seqjax.bench train``: whole training, ours beside Keras and PyTorch."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress
from rich.table import Table

from seqjax.bench.report import Figure, Options, Report, ratio, table
from seqjax.bench.tasks import BATCH, TASKS, TITLES, Name, Task
from seqjax.bench.turns import Contestant, Worker, beside, take_turns, workers
from seqjax.train.mesh import cpu_cores

PROGRAMS = ("step", "epoch")
OURS = "seqjax"
PEERS = ("keras", "torch")
_QUICK: tuple[Name, ...] = ("lstm", "wavenet")


@dataclasses.dataclass(frozen=True)
class Train(Options):
    """Training of the models of chapter 15 and of the textbook milk model.

    Every contestant trains the same model on the same examples in batches of 32 with
    Adam, validation after every epoch included. Timed are an epoch, once compiled, and a
    step by itself; what the first epoch took, compilation included, is told beside them.
    """

    only: tuple[Name, ...] = tuple(TITLES)
    """Models to train."""
    peers: tuple[str, ...] = PEERS
    """Other libraries to run."""
    beside: tuple[Path, ...] = ()
    """Other checkouts of this repository to run too: a change and what it was before."""
    rounds: int = 5
    """Turns of each contestant."""
    seconds: float = 0.5
    """How long a program runs in each turn, at least; an epoch is never cut short."""


def contestants(
    peers: Sequence[str], devices: int, checkouts: Sequence[Path] = ()
) -> list[Contestant]:
    """One seed, then other checkouts', as many at once as there are cores, the peers."""
    entry = "seqjax.bench.trainers.ours:training"
    found = [Contestant(OURS, entry)]
    found += beside(found[0], checkouts)
    if devices > 1:
        found.append(Contestant(f"{OURS}, {devices} seeds", entry, {"seeds": devices}))
    for name in peers:
        arguments = {"threads": devices} if name == "torch" else {}
        found.append(Contestant(name, f"seqjax.bench.trainers.{name}:training", arguments))
    # What they agree on is a number of parameters.
    return [one._replace(tolerance=0.0) for one in found]


def run(config: Train) -> Report:
    """Measure, in turns.

    Args:
        config: what to run.

    Returns:
        A figure for each contestant, model and program, and the table.
    """
    if config.quick:
        names = tuple(name for name in _QUICK if name in config.only) or config.only[:1]
        config = dataclasses.replace(config, only=names, rounds=2, seconds=0.1)
    everyone = contestants(config.peers, cpu_cores(), config.beside)
    figures: list[Figure] = []
    with Progress(transient=True) as progress, workers(everyone) as processes:
        bar = progress.add_task("training", total=len(config.only))
        for name in config.only:
            progress.update(bar, description=TITLES[name])
            figures += measure(TASKS[name], everyone, processes, config.rounds, config.seconds)
            progress.advance(bar)
    return Report("train", dataclasses.asdict(config), figures, [make_table(figures)])


def measure(
    task: Task,
    everyone: Sequence[Contestant],
    processes: dict[str, Worker],
    rounds: int,
    seconds: float,
) -> list[Figure]:
    """The figures of one model, in seconds a step, and seconds an epoch and seed."""
    found = take_turns(
        everyone,
        processes,
        {"task": dataclasses.asdict(task)},
        PROGRAMS,
        rounds=rounds,
        seconds=seconds,
    )
    figures = []
    for one in everyone:
        result, seeds = found[one.name], one.arguments.get("seeds", 1)
        facts = dict(result.facts)
        if "first_epoch" in facts:
            facts["first_epoch"] /= seeds
        labels = {"model": task.name, "batch": BATCH, "steps": task.steps, "seeds": seeds, **facts}
        for figure in result.figures(one.name, **labels):
            share = seeds * task.epochs if figure.labels.get("program") == "epoch" else 1
            figures.append(figure._replace(rounds=[value / share for value in figure.rounds]))
    return figures


def make_table(figures: Sequence[Figure]) -> Table:
    """A line for each model and contestant."""
    found = table(
        f"training, batch {BATCH}: medians, and times {OURS}'s (an epoch: a seed's share)",
        ["model", "contestant"],
        [
            "step, ms",
            f"/ {OURS}",
            "epoch and validation, s",
            f"/ {OURS}",
            "first epoch, s",
            "its validation loss",
        ],
    )
    for model in dict.fromkeys(figure.labels["model"] for figure in figures):
        group = [figure for figure in figures if figure.labels["model"] == model]
        base = {f.labels.get("program"): f for f in group if f.contestant == OURS}
        for name in dict.fromkeys(figure.contestant for figure in group):
            mine = {f.labels.get("program"): f for f in group if f.contestant == name}
            labels, problem = next((f.labels, f.problem) for f in mine.values())
            if problem:
                found.add_row(TITLES[model], name, problem)
                continue
            cells = []
            for program, unit in zip(PROGRAMS, (1e-3, 1.0), strict=True):
                figure, ours = mine.get(program), base.get(program)
                cells += [
                    "" if figure is None else f"{figure.median / unit:.3g}",
                    "" if figure is None or ours is None else f"{ratio(figure, ours):.2f}",
                ]
            loss = f"{labels['validation_loss']:.4f}"
            found.add_row(TITLES[model], name, *cells, f"{labels['first_epoch']:.2f}", loss)
        found.add_section()
    return found
