"""Forecast monthly milk production one month ahead, over the last fifth of the series.

    python -m experiments.milk                      # the season-aware recipe
    python -m experiments.milk --recipe textbook    # the notebook's two-layer LSTM
    python -m experiments.milk --csv sales.csv --time-column month --value-column units

Two CPU cores, 5 seeds: about 15 s for either recipe. Expected test RMSE in pounds
per cow: see docs/milk.md. Beside the network stand its baselines: a network that
loses to them is seen to lose.

The seasonal recipe forecasts the change of production per day: the mean change
into this month over the last five years, corrected by an LSTM that reads those
five years. Its settings were chosen on the training part alone, by
`python -m experiments.milk_selection`.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from seqjax import data, forecast, launch, models, nn, study, train
from seqjax.forecast import pictures
from seqjax.report import Kind, Row

NAME = "experiments.milk"


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


@dataclasses.dataclass(frozen=True)
class Config(study.Config, data.SeriesOptions):
    """Options of the milk experiment."""

    recipe: Literal["seasonal", "textbook"] = "seasonal"
    """seasonal: our own; textbook: window 12, min-max scale, LSTM 128-128, dropout 0.2."""
    per_day: bool = True
    """Take monthly and quarterly values as sums over their days (seasonal recipe). Say
    --no-per-day for prices, temperatures and the like."""
    epochs: int | None = None
    """Epochs to train; by default the recipe's own."""
    learning_rate: float | None = None
    """Of Adam; by default the recipe's own."""
    features: int | None = None
    """Width of the LSTM; by default the recipe's own."""
    save_every: int = 20
    """Epochs between checkpoints."""

    several_processes = True
    not_swept = ("recipe", "per_day", "save_every", *data.SERIES_OPTIONS)

    def settings(self) -> Recipe:
        """The recipe's settings, with those asked for."""
        found = RECIPES[self.recipe]
        names = ("learning_rate", "features")
        asked = {name: value for name in names if (value := getattr(self, name)) is not None}
        return found._replace(epochs=self.epochs_of(found.epochs), **asked)

    def resolved(self) -> dict[str, Any]:
        """The recipe's settings."""
        if self.save_every < 1:
            raise launch.RunError(f"--save-every must be at least 1, not {self.save_every}.")
        return {"settings": self.settings()._asdict()}


def make_model(recipe: str, settings: Recipe, period: int) -> models.Model:
    """The network of a recipe."""
    if recipe == "textbook":
        widths = (settings.features, settings.features)
        return models.make("lstm", inputs=1, features=widths, outputs=1, last=True, dropout=0.2)
    layer = nn.SeasonalResidual(nn.LSTM(settings.features), period, settings.cycles)
    return models.from_layer(layer, inputs=1, last=True)


def fit_seeds(
    seeds: Sequence[int], settings: Recipe, task: forecast.Task, model: models.Model, **how: Any
) -> Iterator[tuple[int, train.Fit]]:
    """Train a network of a recipe, one seed after another."""

    def loss(params: Any, batch: Mapping[str, Array], key: Array | None) -> Array:
        return jnp.mean((model.apply(params, batch["x"], key=key) - batch["y"]) ** 2, axis=-1)

    batches, validation = (
        train.array_batches(task.examples(part), settings.batch_size, shuffle=shuffle)
        for part, shuffle in ((task.split.train, True), (task.split.validation, False))
    )
    optimizer = optax.adam(settings.learning_rate)
    if (decay := settings.weight_decay) is not None:
        steps = settings.epochs * batches.steps
        optimizer = train.cosine_adamw(settings.learning_rate, steps, weight_decay=decay, clip=None)
    first = jax.devices()[0]
    if first.platform == "cpu" and "mesh" not in how:
        # So small a network leaves other cores nothing to do, and its figures are the same on all
        # machines; elsewhere seeds are spread over the devices.
        how |= {"devices": [first], "per_device": 1}
    how |= {"epochs": settings.epochs, "validation": validation}
    yield from train.fit_seeds(loss, model.init, optimizer, batches, seeds=seeds, **how)


def run(config: Config, folder: Path) -> launch.Result:
    """Train, compare with the baselines, write the tables and the pictures."""
    path, series = config.read()
    test = int(np.ceil(0.2 * (len(series) - TEXTBOOK_WINDOW)))
    textbook, cycles = config.recipe == "textbook", RECIPES[config.recipe].cycles
    hint = ""
    try:
        season = forecast.season_of(series, per_day=config.per_day)
        hint = " (--recipe textbook reads 12 steps only.)" if config.recipe == "seasonal" else ""
        task = forecast.changes_task(series, season, cycles, test)
        if textbook:
            task = forecast.values_task(series, TEXTBOOK_WINDOW, test)
        # The seasonal recipe's window is of changes: one value more.
        window = TEXTBOOK_WINDOW if textbook else season.period * cycles + 2
        of_season = {"window": window, "cycles": None if textbook else cycles}
        others = forecast.one_step_baselines(series, season, test, **of_season)
    except data.DataError as error:
        raise data.DataError(f"{path}: column {config.value_column!r}: {error}{hint}") from None

    def trial_of(config: Config, row: str) -> study.Trial:
        settings = config.settings()
        model = config.cast(make_model(config.recipe, settings, season.period))
        predict = jax.jit(model.apply)

        def measure(params: Any) -> dict[str, Any]:
            outputs = np.asarray(predict(params, task.inputs[task.split.test]))[:, 0]
            return {"forecast": task.forecasts(outputs, task.split.test).tolist()}

        return study.Trial(
            row,
            settings._asdict(),
            model,
            functools.partial(fit_seeds, settings=settings, task=task, model=model),
            measure,
            every=config.save_every * -(-task.split.train.stop // settings.batch_size),
            extra={"recipe": config.recipe, "scaler": task.scaler._asdict()},
        )

    outcomes = study.run(NAME, config, folder, trial_of)
    actual = series.iloc[-test:]
    forecasts: dict[str, tuple[np.ndarray, Kind, int | None]] = {}
    for row, found in outcomes.items():
        name = " ".join(filter(None, (f"{config.recipe} LSTM", row)))
        ours = np.stack([one.figures["forecast"] for one in found])
        size = found[0].parameters
        forecasts[name] = (ours, "model", size)
        if len(found) > 1:
            mean = ours.mean(axis=0, keepdims=True)
            ensemble = f"ensemble of the {len(found)}{row and ', '}{row}"
            forecasts[ensemble] = (mean, "model", size * len(found))
    forecasts |= {key: (value[None], "baseline", None) for key, value in others.items()}
    rows = forecast.error_rows(forecasts, actual.to_numpy(), horizon=1)
    known = PUBLISHED if config.csv is None else {}
    rows += [Row(key, "published", "test", "rmse", (figure,), 1) for key, figure in known.items()]
    name, (first, *_) = next(iter(forecasts.items()))
    histories = [one.history for one in next(iter(outcomes.values()))]
    units = ("pounds", "pounds per cow and month") if known else (config.value_column,) * 2
    of_seeds = {f"seed {s}": one for s, one in enumerate(first, start=config.seed)}
    files = pictures.write(folder, name, actual, of_seeds, others, histories, units[1])
    return launch.Result(rows, units[0], files)


if __name__ == "__main__":
    launch.main(NAME, Config, run, (__doc__ or "").partition("\n\nTwo CPU")[0])
