"""``seqjax.bench forecast``: a panel fitted and forecast, ours beside neuralforecast."""

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from rich.progress import Progress
from rich.table import Table

from seqjax.bench.report import Figure, Options, Report, ratio, table
from seqjax.bench.turns import BenchError
from seqjax.forecast import generated, metrics, naive
from seqjax.forecast.frames import panel_from_frame
from seqjax.forecast.panel import Panel
from seqjax.train.mesh import cpu_cores

OURS, THEIRS = "seqjax", "neuralforecast"
CHILDREN = {
    name: Path(__file__).parent / "forecasters" / file
    for name, file in ((OURS, "ours.py"), (THEIRS, "neural.py"))
}
PYTHON = Path(".venv-forecast/bin/python")
LIMIT = 3600  # seconds of one contestant

Name = Literal["hourly", "daily", "weekly", "monthly", "intermittent"]
Model = Literal["gru", "lstm"]


class Source(NamedTuple):
    """Where a panel comes from.

    Attributes:
        recipe: of `seqjax.forecast.generated`.
        freq: of its times.
        season: of MASE, and of the seasonal naive that stands beside.
    """

    recipe: str
    freq: str
    season: int


PANELS: Mapping[Name, Source] = {
    "hourly": Source("hourly", "h", 24),
    "daily": Source("counts", "D", 7),
    "weekly": Source("weekly", "W", 52),
    "monthly": Source("monthly", "MS", 12),
    "intermittent": Source("intermittent", "D", 7),
}


@dataclasses.dataclass(frozen=True)
class Forecast(Options):
    """Fitting a panel of series and forecasting them, beside neuralforecast.

    Every contestant has its own defaults and is told the horizon and the frequency, no more: here
    the seasons are found in the data, and the forecast is the median of two networks. Each
    fits and forecasts in a process of its own, which starts anew for each round; what is timed
    begins with the frame in memory and ends with the forecasts, compilation included. Seconds of
    processors stand beside those that passed: other programs on the machine change them less.
    """

    only: tuple[Name, ...] = tuple(PANELS)
    """Generated panels: hours (seasons 24 and 168), counts of days (7), weeks (52), months (12),
    days of which three in four are 0 (7)."""
    models: tuple[Model, ...] = ("gru", "lstm")
    """Networks, each beside the peer's of that name."""
    ours: bool = True
    """Run ours."""
    peer: bool = True
    """Run neuralforecast, too."""
    python: Path = PYTHON
    """A Python that has it; ./scripts/bench forecast makes one."""
    series: int = 1000
    """In each panel."""
    length: int = 500
    """Steps of each series that are known."""
    horizon: int = 24
    """Steps to forecast."""
    rounds: int = 1
    """Turns of each contestant, each with a seed of its own."""
    steps: int = 0
    """Of ours, of each network; 0: its default."""
    seeds: int = 0
    """Networks of ours; 0: its default."""
    memory: bool = False
    """Measure instead how much memory ours needs, of a frame that is made in place; for example
    with --series 100000 --length 1000."""


class Data(NamedTuple):
    """A panel, and what is measured on it.

    Attributes:
        train: columns unique_id, ds, y.
        past: the same as a panel.
        actual: [series, horizon], what follows.
        scale: [series], of MASE.
    """

    train: pd.DataFrame
    past: Panel
    actual: np.ndarray
    scale: np.ndarray

    def errors(self, point: np.ndarray) -> dict[str, float]:
        """Of a forecast, [series, horizon]."""
        return {
            "mase": metrics.mase(self.actual, point, self.scale),
            "mae": metrics.mae(self.actual, point),
            "smape": metrics.smape(self.actual, point),
        }


def data_of(source: Source, series: int, length: int, horizon: int) -> Data:
    """A generated panel, its last steps held back."""
    whole = generated.panel(source.recipe, series, length + horizon)
    behind = whole.groupby("unique_id").cumcount(ascending=False).to_numpy()
    train = whole.loc[behind >= horizon].reset_index(drop=True)
    actual = whole["y"].to_numpy()[behind < horizon].reshape(series, horizon)
    past, _ = panel_from_frame(train)
    return Data(train, past, actual, metrics.seasonal_scale(past, source.season))


def run(config: Forecast) -> Report:
    """Measure, in turns.

    Args:
        config: what to run.

    Returns:
        A figure for each contestant and panel, and the table.

    Raises:
        BenchError: where the peer is to run and its Python is not there.
    """
    if config.memory:
        return _memory(config)
    own = {name: getattr(config, name) for name in ("steps", "seeds") if getattr(config, name)}
    settings: dict[str, dict[str, Any]] = {OURS: own, THEIRS: {}}
    if config.quick:
        config = dataclasses.replace(config, only=config.only[:1], models=config.models[:1])
        config = dataclasses.replace(config, series=min(config.series, 100))
        settings = {OURS: {"steps": 100, "seeds": 1}, THEIRS: {"max_steps": 20}}
    if config.peer and not config.python.is_file():
        raise BenchError(
            f"--python {config.python}: there is no such file; ./scripts/bench forecast makes an"
            " environment with neuralforecast, or leave it out: --no-peer."
        )
    ours = {OURS: Path(sys.executable)} if config.ours else {}
    contestants = ours | ({THEIRS: config.python} if config.peer else {})
    figures = []
    with Progress(transient=True) as progress:
        total = len(config.only) * config.rounds * len(config.models) * len(contestants)
        bar = progress.add_task("forecast", total=total)
        for name in config.only:
            source = PANELS[name]
            found = data_of(source, config.series, config.length, config.horizon)
            shape = {"panel": name, "series": config.series, "length": config.length}
            shape["horizon"] = config.horizon
            figures += _baselines(found, source, shape)
            seconds: dict[tuple[Model, str], list[dict[str, Any]]] = {}
            for number in range(config.rounds):
                for model in config.models:
                    # Forth and back, so that nobody always follows the same neighbour.
                    for who in list(contestants)[:: 1 if number % 2 == 0 else -1]:
                        progress.update(bar, description=f"{name}: {who}, {model.upper()}")
                        request = {"model": model.upper(), "horizon": config.horizon}
                        request |= {"freq": source.freq, "seed": number, "settings": settings[who]}
                        one = _ask(contestants[who], CHILDREN[who], request, found)
                        seconds.setdefault((model, who), []).append(one)
                        progress.advance(bar)
            for (model, who), rounds in seconds.items():
                figures.append(_figure(who, shape | {"model": model.upper()}, rounds))
    settings_of = dataclasses.asdict(config)
    return Report("forecast", settings_of, figures, [make_table(figures)])


def _memory(config: Forecast) -> Report:
    """Resident bytes of a process that fits and forecasts a panel with the first of the models."""
    request = {name: getattr(config, name) for name in ("series", "length", "horizon")}
    request |= {"model": config.models[0], "settings": {"steps": 100} if config.quick else {}}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "request.json"
        path.write_text(json.dumps(request))
        command = [sys.executable, "-W", "ignore", str(CHILDREN[OURS].with_name("memory.py"))]
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise BenchError(done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}")
    found = json.loads(done.stdout)
    shown = table(
        f"{config.series:,} series of {config.length:,} steps, {config.horizon} ahead: memory",
        ["model"],
        ["peak, GB", "of which the frame", "Python and libraries", "seconds", "steps"],
    )
    sizes = [f"{found[name] / 1e9:.2f}" for name in ("peak", "frame", "libraries")]
    model = config.models[0].upper()
    shown.add_row(model, *sizes, f"{found['seconds']:.0f}", f"{found['steps']:,}")
    figure = Figure(OURS, request | found, [found["peak"]], unit="bytes")
    return Report("forecast-memory", dataclasses.asdict(config), [figure], [shown])


def _ask(python: Path, child: Path, request: dict[str, Any], found: Data) -> dict[str, Any]:
    """What one contestant answers: seconds, errors, facts; or a problem."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {key: str(folder / f"{key}.csv") for key in ("train", "forecasts")}
        files["answer"] = str(folder / "answer.json")
        found.train.to_csv(files["train"], index=False)
        path = folder / "request.json"
        path.write_text(json.dumps(request | files | {"threads": cpu_cores()}))
        # A symbolic link is not followed: it is what makes it the Python of its environment.
        command = [str(python.absolute()), "-W", "ignore", str(child), str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=name)
        except subprocess.TimeoutExpired:
            return {"problem": f"not done within {LIMIT} s"}
        if done.returncode:
            said = done.stderr.strip().rpartition("\n")[2]
            return {"problem": f"status {done.returncode}: {said or 'no message'}"}
        answer = json.loads(Path(files["answer"]).read_text())
        table = pd.read_csv(files["forecasts"], parse_dates=["ds"])
        point = table.sort_values(["unique_id", "ds"])["forecast"].to_numpy(np.float64)
        return answer | found.errors(point.reshape(found.actual.shape))


def _figure(who: str, labels: dict[str, Any], rounds: Sequence[dict[str, Any]]) -> Figure:
    """Seconds of fitting and forecasting; errors and facts are labels, the errors means."""
    for one in rounds:
        if "problem" in one:
            return Figure(who, labels, [], one["problem"])
    errors = {name: float(np.mean([one[name] for one in rounds])) for name in _ERRORS}
    facts = {name: rounds[0][name] for name in ("parameters", "settings", "versions")}
    facts |= {name: [one[name] for one in rounds] for name in ("fit", "predict", "processors")}
    return Figure(who, labels | errors | facts, [one["fit"] + one["predict"] for one in rounds])


_ERRORS = ("mase", "mae", "smape")


def _baselines(found: Data, source: Source, shape: dict[str, Any]) -> list[Figure]:
    """The seasonal naive, and the best of the others."""
    horizon = found.actual.shape[1]
    points = naive.forecasts(found.past, horizon, source.season)
    errors = {name: found.errors(point) for name, point in points.items()}
    reference = f"seasonal naive, {source.season}"
    best = min(errors, key=lambda name: errors[name]["mase"])
    return [
        Figure("baseline", shape | {"model": name} | errors[name], [])
        for name in dict.fromkeys((reference, best))
    ]


def make_table(figures: Sequence[Figure]) -> Table:
    """A line for each panel, network and contestant; times by ours' of the same network."""
    shape = figures[0].labels
    found = table(
        f"{shape['series']} series of {shape['length']} steps, {shape['horizon']} ahead: fitted"
        " and forecast",
        ["panel", "contestant", "model"],
        ["seconds", f"/ {OURS}", "of processors", "MASE", "MAE", "sMAPE, %", "parameters"],
    )
    ours = {
        (figure.labels["panel"], figure.labels["model"]): figure
        for figure in figures
        if figure.contestant == OURS and figure.problem is None
    }
    for panel in dict.fromkeys(figure.labels["panel"] for figure in figures):
        for figure in figures:
            labels = figure.labels
            if labels["panel"] != panel:
                continue
            start = (panel, figure.contestant, labels["model"])
            if figure.problem is not None:
                found.add_row(*start, figure.problem)
                continue
            base = ours.get((panel, labels["model"]))
            times = ["", "", ""]
            if figure.rounds:
                times[0] = f"{figure.median:.1f}"
                times[1] = "" if base is None else f"{ratio(figure, base):.2f}"
                times[2] = f"{np.median(labels['processors']):.1f}"
            errors = (f"{labels['mase']:.4f}", f"{labels['mae']:.4g}", f"{labels['smape']:.2f}")
            size = f"{labels['parameters']:,}" if "parameters" in labels else ""
            found.add_row(*start, *times, *errors, size)
        found.add_section()
    return found
