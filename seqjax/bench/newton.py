"""``seqjax.bench newton``: how many iterations Newton's method over time takes, and where it ends.

Against the number of steps, the width, the spectral radius of the recurrent kernel and the progress
of a training; and that training by the loop and by Newton's method, side by side.
"""

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from rich.progress import Progress
from rich.table import Table

from seqjax import data, ops, train
from seqjax.bench.agreement import Weights, compare
from seqjax.bench.report import Figure, Options, Report, table
from seqjax.bench.turns import BenchError

NAME = "newton"
Kind = Literal["rnn", "gru", "lstm", "rnn diagonal", "gru diagonal", "lstm diagonal"]
KINDS: tuple[Kind, ...] = ("rnn", "gru", "lstm", "gru diagonal")
AXES = {"steps": "steps T", "features": "width H", "radius": "spectral radius of U"}
Method = Literal["scan", "newton"]
METHODS: tuple[Method, ...] = ("scan", "newton")


@dataclasses.dataclass(frozen=True)
class Newton(Options):
    """Iterations of ``implementation="newton"``: by steps, width, weights, and over a training.

    Untrained weights (a full recurrent kernel is a scaled orthogonal matrix for each gate, a
    diagonal one uniform up to the scale), inputs of unit variance, float32.
    """

    only: tuple[Kind, ...] = KINDS
    """Cells."""
    steps: tuple[int, ...] = (16, 128, 1024, 8192)
    """T; the other axes are at 1,024."""
    features: tuple[int, ...] = (4, 16, 64, 256)
    """H; the other axes are at 16."""
    radius: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    """Spectral radius of the recurrent kernel, gate by gate; the other axes are at 1."""
    draws: int = 3
    """Weights and inputs drawn anew."""
    train: bool = True
    """Train a GRU both ways."""
    train_steps: int = 256
    """Steps of its series: two sines and noise (chapter 15), of which it forecasts the next."""
    epochs: int = 6
    """Of the training."""
    agree: tuple[int, ...] = (1, 16384)
    """T at which values and gradients of every cell are held against the loop's; none for none."""


class Situation(NamedTuple):
    """What is solved, and the axis of the picture that it stands on."""

    kind: str
    axis: str
    steps: int
    features: int
    radius: float

    @property
    def size(self) -> float:
        """Where on its axis."""
        return float(getattr(self, self.axis))

    @property
    def cell(self) -> ops.Cell:
        """Of its name: a registry's, with "diagonal" behind it, perhaps."""
        name, _, diagonal = self.kind.partition(" ")
        return ops.CELLS[name](**({"recurrent": "diagonal"} if diagonal else {}))


class Found(NamedTuple):
    """Of a draw: iterations, whether the loop had to run, and the error beside the loop's."""

    iterations: int
    fell_back: bool
    error: float


def situations(config: Newton) -> Iterator[Situation]:
    """All that a configuration asks for; where axes meet, once on each."""
    for kind in config.only:
        common = Situation(kind, "", steps=1024, features=16, radius=1.0)
        common = common._replace(steps=64) if config.quick else common
        for axis in AXES:
            for value in getattr(config, axis):
                yield common._replace(axis=axis, **{axis: value})


def solve(situation: Situation, draw: int) -> Found:
    """One draw, solved both ways.

    Example:
        >>> found = solve(Situation("gru diagonal", "steps", steps=20, features=4, radius=0.5), 0)
        >>> found.fell_back, found.iterations < 20, found.error < 1e-4
        (False, True, True)
    """
    cell, (weights, inputs) = situation.cell, jax.random.split(jax.random.key(draw))
    params = ops.init(cell, weights, 8, situation.features)
    params = params._replace(recurrent_kernel=situation.radius * params.recurrent_kernel)
    x = jax.random.normal(inputs, (1, situation.steps, 8))
    y, solution = _by_newton(cell, params, x)
    error = jnp.max(jnp.abs(y - _by_scan(cell, params, x)))
    return Found(int(solution.iterations[0]), bool(solution.fallbacks[0]), float(error))


@partial(jax.jit, static_argnums=0)
def _by_newton(cell: ops.Cell, params: Any, x: Array) -> Any:
    return ops.run(cell, params, x, implementation="newton", return_solution=True)


@partial(jax.jit, static_argnums=0)
def _by_scan(cell: ops.Cell, params: Any, x: Array) -> Array:
    return ops.run(cell, params, x, implementation="scan")


def run(config: Newton) -> Report:
    """Count, and train.

    Args:
        config: what.

    Returns:
        Figures of every situation and epoch, and the tables.

    Raises:
        BenchError: for a number below 1.
    """
    for name in ("draws", "epochs", "train_steps", "steps", "features", "agree"):
        if (np.atleast_1d(getattr(config, name)) < 1).any():
            raise BenchError(f"--{name.replace('_', '-')} must be at least 1.")
    if config.quick:
        few = {"steps": (16, 64), "features": (4, 16), "radius": (1.0, 3.0), "draws": 1}
        config = dataclasses.replace(config, **few, epochs=2, train_steps=32, agree=())
    wanted = list(situations(config))
    found: dict[Situation, list[Found]] = {}
    with Progress(transient=True) as progress:
        bar = progress.add_task(NAME, total=len(wanted))
        for one in wanted:
            progress.update(bar, description=f"{one.kind}, {one.axis} {one.size:g}")
            found[one] = [solve(one, draw) for draw in range(config.draws)]
            progress.advance(bar)
    fits = {way: trained(config, way) for way in METHODS} if config.train else {}
    histories = {way: fit.history for way, fit in fits.items()}
    tables = [*_tables(found), *([_training(config, histories)] if histories else [])]
    figures = [*_figures(found), *_figures_of_training(histories)]
    if config.agree:
        after = [_after_training(fits["scan"].params["gru"])] if fits else []
        compared, more = compare(after, config.agree)
        tables, figures = [*tables, compared], [*figures, *more]
    return Report(NAME, dataclasses.asdict(config), figures, tables)


# -- the same training by either way ----------------------------------------------------

_SERIES, _WIDTH, _BATCH = 768, 16, 32


def trained(config: Newton, implementation: Method) -> train.Fit:
    """A GRU that forecasts the next value at every step."""
    series = data.two_sines(_SERIES, config.train_steps + 1)
    windows = data.next_values(series, 1)
    x, y = np.array(windows.inputs)[..., None], np.array(windows.targets)

    def part(rows: slice, shuffle: bool) -> train.Batches:
        return train.array_batches({"x": x[rows], "y": y[rows]}, _BATCH, shuffle=shuffle)

    keys = jax.random.split(jax.random.key(0))
    head = jax.nn.initializers.glorot_uniform()(keys[1], (_WIDTH, 1))
    params = {"gru": ops.init(ops.GRUCell(), keys[0], 1, _WIDTH), "head": head}
    held_out = 2 * _BATCH
    return train.fit(
        partial(_loss, implementation),
        params,
        optax.adam(3e-3),
        part(slice(held_out, None), shuffle=True),
        epochs=config.epochs,
        validation=part(slice(held_out), shuffle=False),
        track_metrics=("fallbacks", "backward_fallbacks") if implementation == NAME else (),
    )


def _after_training(params: ops.GRUParams) -> Weights:
    def inputs(steps: int) -> Array:
        return jnp.array(data.two_sines(1, steps + 1)[:, :-1, None], float)

    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: a.astype(float), params)
    return Weights("gru, trained", ops.GRUCell(), wide, inputs)


def _loss(
    implementation: Method, params: Any, batch: Any, key: Any, counter: Array | None = None
) -> train.Losses:
    by_newton = implementation == NAME
    more: Any = {"return_solution": True, "counter": counter} if by_newton else {}
    found: Any = ops.gru(params["gru"], batch["x"], implementation=implementation, **more)
    y, solution = found if by_newton else (found, None)
    values = jnp.mean((y @ params["head"] - batch["y"]) ** 2, axis=(1, 2))
    return train.Losses(values, metrics={} if solution is None else solution.metrics)


# -- tables and figures ------------------------------------------------------------------


def _tables(found: dict[Situation, list[Found]]) -> Iterator[Table]:
    for axis, title in AXES.items():
        here = {one: draws for one, draws in found.items() if one.axis == axis}
        sizes = sorted({one.size for one in here})
        others = next(iter(here))
        rest = {"steps": "T", "features": "H", "radius": "radius"}
        at = ", ".join(f"{rest[k]} {getattr(others, k):g}" for k in rest if k != axis)
        made = table(
            f"iterations by {title} ({at}; * the loop had to run)",
            ["cell"],
            [*(f"{size:g}" for size in sizes), "largest error"],
        )
        for kind in dict.fromkeys(one.kind for one in here):
            cells = {one.size: draws for one, draws in here.items() if one.kind == kind}
            errors = [draw.error for draws in cells.values() for draw in draws]
            made.add_row(kind, *(_cell(cells[size]) for size in sizes), f"{max(errors):.1e}")
        yield made


def _cell(draws: Sequence[Found]) -> str:
    middle = statistics.median(draw.iterations for draw in draws)
    return f"{middle:g}{'*' * any(draw.fell_back for draw in draws)}"


def _training(config: Newton, histories: dict[str, list[dict[str, Any]]]) -> Table:
    made = table(
        f"the same training both ways: GRU {_WIDTH}, T {config.train_steps}, batch {_BATCH}",
        ["epoch"],
        ["scan, validation MSE", "newton", "difference", "iterations", "fell back", "backwards"],
    )
    for a, b in zip(*(histories[way] for way in METHODS), strict=True):
        loop, ours = a["validation_loss"], b["validation_loss"]
        cells = [f"{loop:.6f}", f"{ours:.6f}", f"{abs(ours - loop) / loop:.1e}"]
        shares = (f"{b[name]:.0%}" for name in ("fallbacks", "backward_fallbacks"))
        made.add_row(str(a["epoch"]), *cells, f"{b['validation_iterations']:.1f}", *shares)
    return made


def _figures(found: dict[Situation, list[Found]]) -> list[Figure]:
    made = []
    for one, draws in found.items():
        labels = {"quantity": "iterations", "size": one.size, **one._asdict()}
        labels["fell back"] = any(draw.fell_back for draw in draws)
        labels["error"] = max(draw.error for draw in draws)
        rounds = [float(draw.iterations) for draw in draws]
        made.append(Figure(one.kind, labels, rounds, unit="iterations"))
    return made


def _figures_of_training(histories: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    made = []
    for way, history in histories.items():
        for line in history:
            wanted = {"loss": "mse"} | ({"iterations": "iterations"} if way == NAME else {})
            for quantity, unit in wanted.items():
                labels = {"quantity": quantity, "axis": "epoch", "size": line["epoch"]}
                labels["fell back"] = line.get("validation_fallbacks", 0.0) > 0
                value = line[f"validation_{quantity}"]
                made.append(Figure(way, labels, [value], unit=unit))
    return made
