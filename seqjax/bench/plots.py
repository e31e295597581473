"""Pictures of a benchmark's figures. Needs matplotlib: ``pip install 'seqjax[bench]'``."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from seqjax.bench.layers import PEERS, ours
from seqjax.bench.newton import AXES
from seqjax.bench.report import Figure, Report, ratio

_TRAINED = ("step", "epoch")


def draw(report: Report, folder: Path) -> list[Path]:
    """The pictures of a report, as PNG files in `folder`; their paths."""
    by_benchmark: dict[str, Callable[[Sequence[Figure], Path], list[Path]]] = {
        "layers": _layers,
        "compile": _compile,
        "train": _train,
        "generate": _generate,
        "newton": _newton,
    }
    figures = [figure for figure in report.figures if figure.problem is None]
    pictures = by_benchmark.get(report.benchmark)  # "forecast" has its table alone
    return pictures(figures, folder) if figures and pictures else []


def _layers(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """How many times as long each peer takes, by shape: a panel for each layer and program."""
    kinds = [
        kind
        for kind in dict.fromkeys(f.labels["kind"] for f in figures)
        if any(f.contestant in PEERS for f in figures if f.labels["kind"] == kind)
    ]
    programs = list(dict.fromkeys(f.labels["program"] for f in figures))
    if not kinds:
        return []
    picture, axes = _panels(len(kinds), len(programs))
    for row, kind in zip(axes, kinds, strict=True):
        for panel, program in zip(row, programs, strict=True):
            here = [
                f for f in figures if (f.labels["kind"], f.labels["program"]) == (kind, program)
            ]
            shapes = list(dict.fromkeys(f.labels["shape"] for f in here))
            others = [name for name in dict.fromkeys(f.contestant for f in here) if _shown(name)]
            for name in others:
                points = []
                for at, shape in enumerate(shapes):
                    group = [f for f in here if f.labels["shape"] == shape]
                    found = [f for f in group if f.contestant == name]
                    default = ours(group, program, every_device=False)
                    if found and default is not None:
                        points.append((at, ratio(found[0], default)))
                style = "-" if name in PEERS else "--"
                if points:
                    x, y = zip(*points, strict=True)
                    panel.plot(x, y, style, marker="o", ms=4, lw=1, label=name)
            panel.axhline(1, color="black", lw=1)
            panel.set_yscale("log", base=2)
            panel.set_xticks(range(len(shapes)), shapes, rotation=30, ha="right", fontsize=7)
            panel.set_title(f"{kind}, {program}: time / seqjax on one device", fontsize=9)
            panel.legend(fontsize=7, frameon=False)
    return [_save(picture, folder / "layers.png")]


def _shown(name: str) -> bool:
    return name in PEERS or name.endswith(" devices")


def _compile(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Compile time against steps, width and depth, and memory against steps."""
    paths = []
    for name, axes_of, quantity, label in (
        ("compile.png", ("steps", "width", "depth"), "all three", "trace + lower + compile, s"),
        ("memory.png", ("memory",), "temporary bytes", "temporary memory, bytes"),
    ):
        here = [
            f for f in figures if f.labels["axis"] in axes_of and f.labels["quantity"] == quantity
        ]
        kinds = list(dict.fromkeys(f.labels["kind"] for f in here))
        if not here:
            continue
        picture, panels = _panels(len(kinds), len(axes_of))
        for row, kind in zip(panels, kinds, strict=True):
            for panel, axis in zip(row, axes_of, strict=True):
                of_panel = [f for f in here if (f.labels["kind"], f.labels["axis"]) == (kind, axis)]
                _lines(panel, of_panel, lambda f: f.labels["size"], lambda f: f.median)
                panel.set_xlabel("steps" if axis == "memory" else axis)
                panel.set_ylabel(label)
                panel.set_title(kind, fontsize=9)
        paths.append(_save(picture, folder / name))
    return paths


def _train(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Bars: seconds of a step and an epoch, a panel for each model."""
    models = list(dict.fromkeys(f.labels["model"] for f in figures))
    picture, panels = _panels(len(models), len(_TRAINED))
    for row, model in zip(panels, models, strict=True):
        for panel, program in zip(row, _TRAINED, strict=True):
            here = [
                f
                for f in figures
                if (f.labels["model"], f.labels.get("program")) == (model, program)
            ]
            panel.barh([f.contestant for f in here], [f.median for f in here], color="C0")
            panel.invert_yaxis()
            panel.set_title(f"{model}: seconds, {program}", fontsize=9)
    return [_save(picture, folder / "train.png")]


def _generate(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Seconds of a sample against the receptive field, or the number of samples."""
    figures = [f for f in figures if f.labels.get("program") == "sample"]
    kinds = list(dict.fromkeys(f.labels["kind"] for f in figures))
    picture, panels = _panels(1, len(kinds))
    for panel, kind in zip(panels[0], kinds, strict=True):
        here = [f for f in figures if f.labels["kind"] == kind]
        key = "samples"
        if any(f.labels["receptive_field"] for f in here):
            key = "receptive_field"
            most = max(f.labels["samples"] for f in here)
            here = [f for f in here if f.labels["samples"] == most]
        _lines(panel, here, lambda f, key=key: f.labels[key], lambda f: f.median)
        panel.set_xlabel(key.replace("_", " "))
        panel.set_ylabel("seconds a sample")
        panel.set_title(kind, fontsize=9)
    return [_save(picture, folder / "generate.png")]


def _newton(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Iterations against each axis, hollow where the loop had to run; losses by epoch."""
    figures = [f for f in figures if f.labels["quantity"] != "difference"]
    axes = list(dict.fromkeys(f.labels["axis"] for f in figures))
    picture, grid = _panels(1 + ("epoch" in axes), len(AXES))
    titles = AXES | {"epoch": "epoch of a training"}
    panels = list(grid.flat)
    for panel, axis in zip(panels, axes, strict=False):
        here = [f for f in figures if f.labels["axis"] == axis]
        here = [f for f in here if f.labels["quantity"] == "iterations"]
        _lines(panel, here, lambda f: f.labels["size"], lambda f: f.median)
        failed = [(f.labels["size"], f.median) for f in here if f.labels["fell back"]]
        if failed:
            panel.plot(*zip(*failed, strict=True), "wo", ms=2, zorder=3)
        if axis == "epoch":
            panel.set_yscale("linear")
        else:
            panel.set_yscale("log", base=2)
        panel.set(xlabel=titles[axis], ylabel="iterations")
    if "epoch" in axes:
        losses = [f for f in figures if f.labels["quantity"] == "loss"]
        panel = panels[len(axes)]
        _lines(panel, losses, lambda f: f.labels["size"], lambda f: f.median)
        panel.lines[-1].set_linestyle("--")  # upon the other
        panel.set(xlabel=titles["epoch"], ylabel="validation MSE")
        panel.legend(fontsize=7, frameon=False)
    for panel in panels[: len(axes)]:
        panel.yaxis.set_major_formatter("{x:g}")
    for panel in panels[len(AXES) : len(axes) + 1]:
        panel.set_xscale("linear")
    for panel in panels[: len(AXES)]:
        panel.xaxis.set_major_formatter("{x:g}")
    for panel in panels[len(axes) + ("epoch" in axes) :]:
        panel.remove()
    return [_save(picture, folder / "newton.png")]


def _lines(
    panel: Axes,
    figures: Sequence[Figure],
    x: Callable[[Figure], Any],
    y: Callable[[Figure], float],
) -> None:
    """A line for each contestant, both axes logarithmic."""
    for name in dict.fromkeys(f.contestant for f in figures):
        points = sorted((x(f), y(f)) for f in figures if f.contestant == name)
        panel.plot(*zip(*points, strict=True), marker="o", ms=4, lw=1, label=name)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    if figures:
        panel.legend(fontsize=7, frameon=False)


def _panels(rows: int, columns: int) -> tuple[Picture, Any]:
    picture = Picture((4.5 * columns, 3.0 * rows), layout="constrained")
    FigureCanvasAgg(picture)
    return picture, picture.subplots(rows, columns, squeeze=False)


def _save(picture: Picture, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=110)
    return path
