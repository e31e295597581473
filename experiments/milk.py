"""Forecast monthly milk production one month ahead, over the last fifth of the series.

    python -m experiments.milk                      # the season-aware recipe
    python -m experiments.milk --recipe textbook    # the notebook's two-layer LSTM
    python -m experiments.milk --csv sales.csv --time-column month --value-column units

Two CPU cores, 5 seeds: about 15 s for either recipe. Expected test RMSE in pounds
per cow: see the README. Beside the network stand its baselines: a network that
loses to them is seen to lose.

The seasonal recipe forecasts the change of production per day: the mean change
into this month over the last five years, corrected by an LSTM that reads those
five years. Its settings were chosen on the training part alone, by
`python -m experiments.milk_selection`.
"""

import dataclasses
import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import tyro
from jax import Array

from seqjax import data, forecast, launch, models, nn, train
from seqjax.report import Kind, Row
from seqjax.train.processes import is_primary


class Season(NamedTuple):
    """The season of a series.

    Attributes:
        period: steps of a cycle.
        cycle: its name.
        place: the name of a step in it.
        places: [time], the place of each step.
        exposure: [time], days of each month or quarter; 1 where values are no sums.
    """

    period: int
    cycle: str
    place: str
    places: np.ndarray
    exposure: np.ndarray


SEASONS = {
    "MS": (12, "years", "month"),
    "ME": (12, "years", "month"),
    "QS": (4, "years", "quarter"),
    "QE": (4, "years", "quarter"),
    "W": (52, "years", "week"),
    "D": (7, "weeks", "weekday"),
    "B": (5, "weeks", "weekday"),
    "h": (24, "days", "hour"),
}


@dataclasses.dataclass(frozen=True)
class Config(launch.Config):
    """Options of the milk experiment."""

    recipe: Literal["seasonal", "textbook"] = "seasonal"
    """seasonal: our own; textbook: window 12, min-max scale, LSTM 128-128, dropout 0.2."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A CSV with a header line; by default the milk series that comes with seqjax."""
    time_column: str = "Date"
    """Its column of dates (ISO 8601)."""
    value_column: str = "Production"
    """Its column of numbers."""
    frequency: str | None = None
    """Its frequency, such as MS (month starts) or D; inferred by default."""
    time_format: str = "ISO8601"
    """How its dates are written, such as %d.%m.%Y."""
    per_day: bool = True
    """Take monthly and quarterly values as sums over their days (seasonal recipe). Say
    --no-per-day for prices, temperatures and the like."""
    epochs: int | None = None
    """Epochs to train; by default the recipe's own."""
    save_every: int = 20
    """Epochs between checkpoints."""
    split_batches: bool = False
    """Split every batch over all devices (GPUs, or the cores of a CPU); several processes
    always do."""

    several_processes = True

    def resolved(self) -> dict[str, Any]:
        """The recipe's settings."""
        return {"settings": RECIPES[self.recipe]._asdict()}


class Recipe(NamedTuple):
    """The settings of a recipe that are not its network.

    Attributes:
        epochs: passes over the training part.
        batch_size: examples in a batch.
        learning_rate: of Adam.
        weight_decay: of AdamW with a cosine schedule; None is plain Adam.
        cycles: years to read (seasonal only).
        features: width of the LSTM layers.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float | None
    cycles: int
    features: int


RECIPES = {
    "textbook": Recipe(100, 32, 1e-3, None, 1, 128),
    "seasonal": Recipe(30, 32, 1e-3, 1e-2, 5, 8),
}
TEXTBOOK_WINDOW = 12

# On the series that comes with seqjax, RMSE in pounds over the same 32 months: fitted
# once on the months before them, then filtered.
PUBLISHED = {"SARIMA (1,0,0)(0,1,1)12": 5.53, "SARIMA (0,1,1)(0,1,1)12": 6.26}


class Task(NamedTuple):
    """A series as examples: scaled windows, and the way back to the series' unit.

    A forecast is ``(base + unscale(network output)) * exposure``.

    Attributes:
        inputs: [examples, window, 1], scaled.
        targets: [examples, 1], scaled.
        split: which examples are for training, validation and test.
        scaler: from the training part alone.
        base: [examples]
        exposure: [examples]
    """

    inputs: np.ndarray
    targets: np.ndarray
    split: data.Split
    scaler: data.Scaler
    base: np.ndarray
    exposure: np.ndarray


def season_of(series: pd.Series, *, per_day: bool) -> Season:
    """The season that a series' frequency implies."""
    index = series.index
    assert isinstance(index, pd.DatetimeIndex)
    name = str(index.freqstr).split("-")[0]
    if name not in SEASONS:
        raise data.DataError(
            f"The frequency {index.freqstr} has no season known here; known are"
            f" {', '.join(SEASONS)}."
        )
    period, cycle, place = SEASONS[name]
    exposure = np.ones(len(index))
    if per_day and place in ("month", "quarter"):
        spans = index.to_period("M" if place == "month" else "Q")
        lengths = np.asarray(spans.end_time) - np.asarray(spans.start_time)
        exposure = np.round(lengths / np.timedelta64(1, "D"))
    return Season(period, cycle, place, np.arange(len(index)) % period, exposure)


def make_task(series: pd.Series, season: Season, recipe: str, cycles: int, test: int) -> Task:
    """The examples of a recipe; the last `test` of them are the test part."""
    values = series.to_numpy(np.float64)
    if recipe == "textbook":
        signal, window = values, TEXTBOOK_WINDOW
        base, exposure = np.zeros_like(values), np.ones_like(values)
    else:
        exposure = season.exposure
        rate = values / exposure
        signal, window, base = np.diff(rate), season.period * cycles + 1, rate
    inputs, targets = data.windows(signal, window)
    split = data.chronological_split(len(inputs), test=test)
    scaler_of = data.min_max_scaler if recipe == "textbook" else data.standard_scaler
    scaler = scaler_of(signal[: window + split.train.stop])
    first = len(values) - len(inputs)
    return Task(
        inputs=data.scale(scaler, inputs)[..., None].astype(np.float32),
        targets=data.scale(scaler, targets).astype(np.float32),
        split=split,
        scaler=scaler,
        base=base[first - 1 : -1],
        exposure=exposure[first:],
    )


def make_model(recipe: str, settings: Recipe, period: int) -> models.Model:
    """The network of a recipe."""
    if recipe == "textbook":
        widths = (settings.features, settings.features)
        return models.make("lstm", inputs=1, features=widths, outputs=1, last=True, dropout=0.2)
    layer = nn.SeasonalResidual(nn.LSTM(settings.features), period, settings.cycles)
    return models.from_layer(layer, inputs=1, last=True)


class Trained(NamedTuple):
    """What training the seeds gave.

    Attributes:
        forecasts: [seeds, test examples], in the unit of the series.
        histories: of each seed.
        parameters: number of trained parameters.
    """

    forecasts: np.ndarray
    histories: list[list[dict[str, Any]]]
    parameters: int


def train_seeds(
    config: Config, settings: Recipe, task: Task, model: models.Model, folder: Path | None
) -> Trained:
    """Train every seed and forecast the test part; with a `folder`, log and save there."""

    def loss(params: Any, batch: Mapping[str, Array], key: Array | None) -> Array:
        return jnp.mean((model.apply(params, batch["x"], key=key) - batch["y"]) ** 2, axis=-1)

    def part(piece: slice, shuffle: bool) -> train.Batches:
        arrays = {"x": task.inputs[piece], "y": task.targets[piece]}
        return train.array_batches(arrays, settings.batch_size, shuffle=shuffle)

    batches = part(task.split.train, True)
    validation = part(task.split.validation, False)
    epochs = config.epochs or settings.epochs
    optimizer = optax.adam(settings.learning_rate)
    if settings.weight_decay is not None:
        schedule = optax.cosine_decay_schedule(settings.learning_rate, epochs * batches.steps)
        optimizer = optax.adamw(schedule, weight_decay=settings.weight_decay)
    predict = jax.jit(model.apply)
    split = config.split_batches or jax.process_count() > 1
    forecasts, histories, params = [], [], None
    for seed in range(config.seed, config.seed + config.seeds):
        fit = functools.partial(
            train.fit,
            loss,
            model.init(jax.random.key(seed)),
            optimizer,
            batches,
            epochs=epochs,
            seed=seed,
            validation=validation,
            mesh=train.data_mesh() if split else None,
            debug_nans=config.debug_nans,
        )
        if folder is None:
            done = fit()
        else:
            metadata = {
                "experiment": "milk",
                "recipe": config.recipe,
                "seed": seed,
                "epochs": epochs,
                "settings": settings._asdict(),
                "scaler": task.scaler._asdict(),
            }
            saves = folder / "checkpoints" / f"seed-{seed}"
            every = config.save_every * batches.steps
            with train.Checkpoints(saves, metadata, every=every) as checkpoints:
                log = train.MetricsLog(folder / "metrics.jsonl", seed=seed)
                done = fit(metrics=log, checkpoints=checkpoints, progress=f"seed {seed}")
        params = done.params
        histories.append(done.history)
        test = task.split.test
        output = np.asarray(predict(params, task.inputs[test]), np.float64)[:, 0]
        forecasts.append(
            (task.base[test] + data.unscale(task.scaler, output)) * task.exposure[test]
        )
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    return Trained(np.stack(forecasts), histories, parameters)


def baselines(
    series: pd.Series, season: Season, test: int, recipe: str, cycles: int
) -> dict[str, np.ndarray]:
    """Name to forecasts of the test part."""
    values, start = series.to_numpy(np.float64), len(series) - test
    period, exposure = season.period, season.exposure
    change = "mean change per day" if (exposure != 1).any() else "mean change"
    # The seasonal recipe's window is of changes: one value more.
    window = TEXTBOOK_WINDOW if recipe == "textbook" else period * cycles + 2
    lags = {
        f"least squares, {window} lags (the same window)": window,
        f"least squares, {period + 1} lags": period + 1,
    }
    found = {
        "last value": forecast.last_value(values, start),
        f"seasonal naive, y[t-{period}]": forecast.seasonal_naive(values, start, period),
        f"y[t-{period}] + y[t-1] - y[t-{period + 1}]": forecast.seasonal_difference(
            values, start, period
        ),
        f"least squares, {change} into each {season.place}": forecast.month_effects(
            values, start, season.places, exposure
        ),
    }
    found |= {name: forecast.least_squares(values, start, n) for name, n in lags.items()}
    if recipe == "seasonal":
        found[f"{change} of the last {cycles} {season.cycle}"] = forecast.mean_change(
            values, start, period, cycles, exposure
        )
    return found


def run(config: Config, folder: Path) -> launch.Result:
    """Train, compare with the baselines, write the tables and the pictures."""
    for name in ("epochs", "save_every"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise launch.RunError(f"--{name.replace('_', '-')} must be at least 1, not {value}.")
    path = config.csv or data.MILK_CSV
    series = data.read_series(
        path,
        config.time_column,
        config.value_column,
        time_format=config.time_format,
        frequency=config.frequency,
    )
    settings = RECIPES[config.recipe]
    test = int(np.ceil(0.2 * (len(series) - TEXTBOOK_WINDOW)))
    try:
        season = season_of(series, per_day=config.per_day)
        task = make_task(series, season, config.recipe, settings.cycles, test)
        others = baselines(series, season, test, config.recipe, settings.cycles)
    except data.DataError as error:
        hint = " (--recipe textbook reads 12 steps only.)" if config.recipe == "seasonal" else ""
        raise data.DataError(f"{path}: column {config.value_column!r}: {error}{hint}") from None
    model = make_model(config.recipe, settings, season.period)
    trained = train_seeds(config, settings, task, model, folder)

    actual = series.iloc[-test:]
    name = f"{config.recipe} LSTM"
    forecasts: dict[str, tuple[np.ndarray, Kind, int | None]] = {
        name: (trained.forecasts, "model", trained.parameters)
    }
    if config.seeds > 1:
        mean = trained.forecasts.mean(axis=0, keepdims=True)
        size = trained.parameters * config.seeds
        forecasts[f"ensemble of the {config.seeds}"] = (mean, "model", size)
    forecasts |= {key: (value[None], "baseline", None) for key, value in others.items()}
    rows = [
        Row(
            model=key,
            kind=kind,
            split="test",
            metric=metric.__name__,
            seeds=tuple(metric(one, actual.to_numpy()) for one in values),
            horizon=1,
            parameters=size,
        )
        for key, (values, kind, size) in forecasts.items()
        for metric in (forecast.rmse, forecast.mae)
    ]
    if config.csv is None:
        rows += [
            Row(key, "published", "test", "rmse", (figure,), 1) for key, figure in PUBLISHED.items()
        ]
    files: list[Path] = []
    if is_primary():
        files = _write_files(config, folder, name, actual, trained, others)
    unit = "pounds" if config.csv is None else config.value_column
    return launch.Result(rows, unit, files)


def _write_files(
    config: Config,
    folder: Path,
    name: str,
    actual: pd.Series,
    trained: Trained,
    others: Mapping[str, np.ndarray],
) -> list[Path]:
    table = pd.DataFrame({"actual": actual, "forecast": trained.forecasts.mean(axis=0)})
    for seed, one in enumerate(trained.forecasts, start=config.seed):
        table[f"seed {seed}"] = one
    for key, one in others.items():
        table[key] = one
    table.to_csv(folder / "forecast.csv", index_label="date")
    try:
        from seqjax.forecast import plots
    except ModuleNotFoundError as error:
        print(f"no pictures: {error}; pip install -e '.[plot]' and --resume", file=sys.stderr)
        return [folder / "forecast.csv"]
    best = min(others, key=lambda key: forecast.rmse(others[key], actual.to_numpy()))
    shown = {key: others[key] for key in others if key.startswith("seasonal naive") or key == best}
    plots.plot_forecast(
        folder / "forecast.png",
        actual,
        trained.forecasts,
        shown,
        name=name,
        title=f"One step ahead over the test part ({len(actual)} steps)",
        unit="pounds per cow and month" if config.csv is None else config.value_column,
    )
    plots.plot_losses(folder / "loss.png", trained.histories)
    return [folder / part for part in ("forecast.csv", "forecast.png", "loss.png")]


if __name__ == "__main__":
    description = (__doc__ or "").partition("\n\nTwo CPU")[0]
    launch.main("experiments.milk", Config, run, description)
