"""The table of `experiments.memory`, and its pictures, which need matplotlib."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from experiments.memory_data import Task, task_of
from seqjax import study
from seqjax.report import Row

Outcomes = Mapping[str, Sequence[study.Outcome]]

# Bai, Kolter and Koltun, arXiv 1803.01271, table 1.
PUBLISHED: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "adding": ("T = 600", {"lstm": 0.164, "gru": 5.3e-5, "rnn": 0.177, "tcn": 5.8e-5}),
    "copy": ("T = 1000", {"lstm": 0.0204, "gru": 0.0197, "rnn": 0.0202, "tcn": 3.5e-5}),
    "digits": ("permuted MNIST", {"lstm": 0.857, "gru": 0.873, "rnn": 0.253, "tcn": 0.972}),
}
_SOLVED, _LARGEST = "steps until solved", "largest gradient norm"
_FAR_NEAR = {when: f"gradient far / near, {when}" for when in ("before", "after")}
_LEAST = 1e-12  # of what is drawn
_WORDS = {
    "adding": "Adding problem",
    "copy": "Copy memory",
    "digits": "Permuted digits",
    "cure": "Adding problem, a plain RNN and what cures it",
}
_SHORT = _WORDS | {"adding": "Adding", "copy": "Copying", "cure": "Cures"}


def task_of_row(outcomes: Sequence[study.Outcome]) -> Task:
    """The task of a row's outcomes."""
    settings = outcomes[0].settings
    return task_of(settings["task"], settings["lag"])


def steps_until_solved(task: Task, outcomes: Sequence[study.Outcome]) -> list[int]:
    """The first validation that solved the task, of every seed that did."""
    found = (
        next((line["step"] for line in one.history if task.solves(line)), None) for one in outcomes
    )
    return [step for step in found if step is not None]


def best_validation(task: Task, outcome: study.Outcome) -> float:
    """The figure of the epoch that was kept."""
    best = min if task.metric == "loss" else max
    return best(line[f"validation_{task.metric}"] for line in outcome.history)


def _largest_norm(outcome: study.Outcome) -> float:
    return max(line["gradient_norm"] for line in outcome.history)


def far_to_near(gradient: Sequence[float]) -> float:
    """The mean norm of the gradient over the oldest tenth of the inputs to that over the newest.

    Example:
        >>> far_to_near([4.0, *[1.0] * 18, 2.0, 0.0, 0.0, 0.0, 0.0])
        0.0
        >>> far_to_near([4.0, *[1.0] * 8, 2.0])
        0.5
    """
    tenth = max(1, len(gradient) // 10)
    return float(np.mean(gradient[-tenth:]) / np.mean(gradient[:tenth]))


def _ratio(name: str, outcome: study.Outcome) -> float:
    return far_to_near(outcome.figures[name])


def result_rows(outcomes: Outcomes) -> list[Row]:
    """Networks, those who remember nothing, and the published figures."""
    rows: list[Row] = []
    trivial: dict[str, Row] = {}
    for name, found in outcomes.items():
        task = task_of_row(found)
        tested = [one for one in found if task.metric in one.figures]
        measured: list[tuple[str, str, Any, Sequence[study.Outcome]]] = [
            (task.metric, "validation", partial(best_validation, task), found),
            (task.metric, "test", lambda one, of=task.metric: one.figures[of], tested),
            (_LARGEST, "train", _largest_norm, found),
        ]
        measured += [
            (metric, "validation", partial(_ratio, f"gradient_{when}"), found)
            for when, metric in _FAR_NEAR.items()
        ]
        rows += [
            study.row_of(name, among, figure, split=split, metric=metric)
            for metric, split, figure, among in measured
            if among
        ]
        if solved := steps_until_solved(task, found):
            rows.append(Row(name, "model", "validation", _SOLVED, tuple(map(float, solved))))
        words, value = task.trivial
        title = f"{name.partition('-')[0]}, {words}"
        title += "" if task.name == "digits" else f", T = {task.lag}"
        trivial[title] = Row(title, "baseline", "test", task.metric, (value,))
    rows += trivial.values()
    for name, (where, figures) in PUBLISHED.items():
        metric = task_of(name, 600).metric  # pyright: ignore[reportArgumentType]
        rows += [
            Row(f"{name}-{network}, {where}", "published", "test", metric, (figure,))
            for network, figure in figures.items()
        ]
    return rows


def table_of(rows: Sequence[Row], outcomes: Outcomes) -> Table:
    """A line for each network, and for each task and T one who remembers nothing.

    Args:
        rows: of `result_rows`.
        outcomes: by row.
    """
    by_key = {(row.model, row.split, row.metric): row for row in rows}
    tested = any(row.kind == "model" and row.split == "test" for row in rows)
    split = "test" if tested else "validation"  # of a look
    table = Table()
    table.add_column("loss, or\naccuracy", no_wrap=True)
    table.add_column(split, justify="right", no_wrap=True)
    names = "published", "solved\nafter", "far/near\nbefore", "far/near\nafter", "largest\nnorm"
    for name in (*names, "params", "s/seed"):
        table.add_column(name, justify="right")
    section, published = None, {}
    groups = list(_WORDS)

    def place(name: str) -> tuple[int, int]:
        return groups.index(name.partition("-")[0]), task_of_row(outcomes[name]).lag

    for name in sorted(outcomes, key=place):  # a lag that is swept has sections of its own
        found = outcomes[name]
        task, (group, _, network) = task_of_row(found), name.partition("-")
        if place(name) != section:
            section = place(name)
            table.add_section()
            where, published = PUBLISHED.get(group, ("", {}))
            baseline, figure = task.trivial
            title = _SHORT[group] + ("" if group == "digits" else f", T = {task.lag}")
            table.add_row(f"[bold]{title}", "", where)
            table.add_row(baseline, f"{figure:.4g}")
        solved = by_key.get((name, "validation", _SOLVED))
        ratios = [by_key[name, "validation", metric].mean for metric in _FAR_NEAR.values()]
        count = 0 if solved is None else len(solved.seeds)
        table.add_row(
            name,
            _figure(by_key[name, split, task.metric]),
            f"{published[network]:.3g}" if network in published else "",
            f"{'-' if solved is None else round(solved.mean)} ({count}/{len(found)})",
            *(f"{ratio:.2g}" for ratio in ratios),
            f"{by_key[name, 'train', _LARGEST].mean:.2g}",
            f"{found[0].parameters:,}",
            f"{np.mean([one.seconds for one in found]):.0f}",
        )
    return table


def _figure(row: Row) -> str:
    def written(figure: float) -> str:
        return f"{figure:.1e}" if row.mean < 1e-3 else f"{figure:.4f}"

    return written(row.mean) + ("" if row.sd is None else f" ± {written(row.sd)}")


def write(folder: Path, outcomes: Outcomes) -> list[Path]:
    """Draw a picture of every task, and the loss against T where T was swept.

    Args:
        folder: the run's.
        outcomes: by row.

    Returns:
        The files written; none without matplotlib.
    """
    files = []
    try:
        for group, words in _WORDS.items():
            own = {
                name.partition("-")[2]: found
                for name, found in outcomes.items()
                if name.startswith(f"{group}-") and " " not in name  # none swept
            }
            if own:
                files.append(folder / f"{group}.png")
                draw_task(files[-1], own, words)
        swept = {name: found for name, found in outcomes.items() if " lag=" in name}
        if swept:
            files.append(folder / "by_lag.png")
            draw_sweep(files[-1], swept)
    except ModuleNotFoundError as error:
        print(f"no pictures: {error}; pip install -e '.[plot]' and --resume", file=sys.stderr)
        return []
    return files


def draw_task(path: Path, outcomes: Outcomes, title: str) -> None:
    """Learning curves, the gradient by lag before and after, and what was remembered by lag.

    Args:
        path: of the PNG.
        outcomes: by network.
        title: of the picture.
    """
    from matplotlib.figure import Figure

    task = task_of_row(next(iter(outcomes.values())))
    by_lag = "loss_by_lag" in next(iter(outcomes.values()))[0].figures
    figure = Figure((11.0, 7.2 if by_lag else 4.0), layout="constrained")
    figure.suptitle(title if task.name == "digits" else f"{title}, T = {task.lag}")
    panels: Any = figure.subplots(2, 2).flat if by_lag else figure.subplots(1, 3)
    curves, before, after = panels[0], panels[1], panels[2]
    for number, (name, found) in enumerate(outcomes.items()):
        style = {"color": f"C{number}", "lw": 1.3}
        steps = [line["step"] for line in found[0].history]
        metric = f"validation_{task.metric}"
        values = np.mean([[line[metric] for line in one.history] for one in found], axis=0)
        curves.plot(steps, values, label=name, **style)
        for axes, when in ((before, "before"), (after, "after")):
            norms = np.mean([one.figures[f"gradient_{when}"] for one in found], axis=0)
            axes.plot(np.maximum(norms, _LEAST), **style)
        if by_lag:
            errors = np.array([one.figures["loss_by_lag"] for one in found], float)
            places = (np.arange(10) + 0.5) * task.length / 10
            panels[3].plot(places, np.mean(errors, axis=0), marker="o", ms=3, **style)
    curves.axhline(task.trivial[1], color="black", lw=0.8, ls="--", label=task.trivial[0])
    curves.axhline(task.solved, color="black", lw=0.8, ls=":", label="solved")
    curves.set_title(f"validation {task.metric}")
    curves.set_xlabel("updates")
    for axes, when in ((before, "before"), (after, "after")):
        axes.set_title(f"last output's gradient {when} training")
        axes.set_xlabel("lag of the input, steps")
    if by_lag:
        panels[3].set_title("test loss by the lag of the earlier mark")
        panels[3].set_xlabel("lag, steps")
    for axes in panels:
        axes.set_yscale("linear" if axes is curves and task.metric == "accuracy" else "log")
    if task.metric == "loss":
        curves.set_ylim(top=min(curves.get_ylim()[1], 10 * task.trivial[1]))  # some explode
    figure.legend(*curves.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=90)


def draw_sweep(path: Path, outcomes: Outcomes) -> None:
    """The best validation figure against T: a line for each network, dashed without memory.

    Args:
        path: of the PNG.
        outcomes: by row, "ROW lag=T".
    """
    from matplotlib.figure import Figure

    lines: dict[str, set[tuple[int, float]]] = {}
    trivial: dict[str, set[tuple[int, float]]] = {}
    for name, found in outcomes.items():
        task = task_of_row(found)
        score = np.mean([best_validation(task, one) for one in found])
        lines.setdefault(name.partition(" ")[0], set()).add((task.lag, float(score)))
        words, score = task.trivial
        trivial.setdefault(f"{task.name}, {words}", set()).add((task.lag, score))
    figure = Figure((7.0, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        lags, scores = zip(*sorted(points), strict=True)
        axes.plot(lags, scores, marker="o", ms=4, label=name)
    for name, points in trivial.items():
        lags, scores = zip(*sorted(points), strict=True)
        axes.plot(lags, scores, color="black", lw=0.8, ls="--", label=name)
    axes.set_xscale("log", base=2)
    every = sorted({lag for points in lines.values() for lag, _ in points})
    axes.set_xticks(every, [str(lag) for lag in every])
    axes.set_yscale("log")
    axes.set_xlabel("T, steps")
    axes.set_ylabel("best validation loss")
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=90)
