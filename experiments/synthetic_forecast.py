"""Every model of chapter 15 of *Hands-On Machine Learning*, on its own data, in one table.

    python -m experiments.synthetic_forecast                        # 5 seeds
    python -m experiments.synthetic_forecast --quick                # a look: 1 seed, 2 epochs
    python -m experiments.synthetic_forecast --only lstm,wavenet    # some rows (--list)
    python -m experiments.synthetic_forecast --resume               # go on where it stopped
    python -m experiments.synthetic_forecast --sweep implementation=scan,newton   # both ways

Series of two sine waves and noise: from 50 steps, forecast the next one or the next ten.
The table gives the validation MSE (ten steps ahead: that of the forecast after the last
step) beside the book's; pictures show the forecasts, the learning curves, the error by
horizon and how gradients vanish with the lag. Two CPU cores: 23 minutes for all rows and
5 seeds, 2 for one seed of the book's rows. Scores to expect: docs/chapter15.md.
"""

import dataclasses
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments import synthetic_data as series, synthetic_pictures
from experiments.chapter15 import HORIZON, RECIPES, Recipe, optimizer_of
from seqjax import launch, models, runs, study, train
from seqjax.nn.newton import COUNTS, iterates
from seqjax.report import Row, wide_table

NAME = "experiments.synthetic_forecast"
LAST_VALUE = {1: 0.0202114, HORIZON: 0.256974}  # published


@dataclasses.dataclass(frozen=True)
class Config(study.TableConfig):
    """Options of the table."""

    epochs: int | None = None
    """Epochs to train; by default each row's own."""
    learning_rate: float | None = None
    """Of Adam; by default each row's own."""

    titles: ClassVar = {
        name: f"{one.horizon:>2} ahead  {one.title}" for name, one in RECIPES.items()
    }

    def resolved(self) -> dict[str, Any]:
        """Nothing to add (each row keeps its own settings); raises for bad options."""
        self.epochs_of(1)
        return {}

    def recipe(self, name: str) -> Recipe:
        """A row as this run trains it."""
        training = RECIPES[name].training
        training = training._replace(epochs=self.epochs_of(training.epochs))
        if self.learning_rate is not None:
            training = training._replace(learning_rate=self.learning_rate)
        return RECIPES[name]._replace(training=training)


def forecast(recipe: Recipe, model: models.Model, params: Any, x: Array) -> Array:
    """The forecast after the last step, [series, horizon]."""
    if recipe.targets == "iterative":
        return models.generate(model, params, x, recipe.horizon)[..., 0]
    y = model.apply(params, x)
    return y if y.ndim == 2 else y[:, -1]


def loss_of(recipe: Recipe, model: models.Model) -> train.Loss:
    """The training loss; in validation, the error of the forecast after the last step."""
    training, counted = recipe.training, iterates(model.layer)

    def loss(
        params: Any, batch: dict[str, Array], key: Array | None, counter: Array | None = None
    ) -> Array | train.Losses:
        x, y = batch["x"], batch["y"]
        if key is None:
            prediction, target = model.apply(params, x), y
            if y.ndim == 3:
                prediction, target = prediction[:, -1], y[:, -1]
            return jnp.mean((prediction - target) ** 2, axis=-1)
        if training.flip:
            key, flip_key = jax.random.split(key)
            sign = jax.random.rademacher(flip_key, (x.shape[0],), x.dtype)
            x = x * sign[:, None, None]
            y = y * sign[:, *(None,) * (y.ndim - 1)]
        found = model.apply(params, x, key=key, counter=counter, return_solution=counted)
        prediction, solution = found if counted else (found, None)
        squares = (prediction - y) ** 2
        if y.ndim == 3:
            squares = squares[:, training.skip :]
        losses = jnp.mean(squares, axis=tuple(range(1, y.ndim)))
        return losses if solution is None else train.Losses(losses, metrics=solution.metrics)

    return loss


def trial_of(config: Config, name: str) -> study.Trial:
    """What is trained and measured of a row."""
    recipe = config.recipe(name)
    model, training = config.cast(recipe.model()), recipe.training
    predict = jax.jit(functools.partial(forecast, recipe, model))

    def fit(seeds: Sequence[int], **how: Any) -> Iterator[tuple[int, train.Fit]]:
        batches = series.batches_of(recipe, series.TRAIN, size=training.batch_size, shuffle=True)
        yield from train.fit_seeds(
            loss_of(recipe, model),
            model.init,
            optimizer_of(
                recipe, batches.steps, training.epochs, tunable=config.learning_rate is not None
            ),
            batches,
            seeds=seeds,
            epochs=training.epochs,
            validation=series.batches_of(recipe, series.VALIDATION, size=500, shuffle=False),
            early_stopping=train.EarlyStopping(patience=None) if recipe.best else None,
            track_metrics=COUNTS if iterates(model.layer) else (),
            **how,
        )

    def squares(part: slice, params: Any) -> np.ndarray:
        piece = series.task(recipe.horizon).part(part)
        y = np.asarray(predict(params, piece.inputs), np.float64)
        return np.mean((y - piece.targets[:, -1]) ** 2, axis=0)

    def measure(params: Any) -> dict[str, Any]:
        figures: dict[str, Any] = {"by_horizon": squares(series.VALIDATION, params).tolist()}
        if recipe.best and not config.quick:  # the test part is for finished rows, not for a look
            figures["test"] = float(np.mean(squares(series.TEST, params)))
        return figures

    every = 5 * -(-(series.TRAIN.stop - series.TRAIN.start) // training.batch_size)
    return study.Trial(recipe.title, training._asdict(), model, fit, measure, every)


def result_rows(outcomes: dict[str, list[study.Outcome]]) -> list[Row]:
    """The table as rows: baselines, published figures, and ours."""
    rows = []
    recipes = {name: RECIPES[name.split()[0]] for name in outcomes}  # a swept option may follow
    for horizon in sorted({recipe.horizon for recipe in recipes.values()}):
        known = functools.partial(Row, split="validation", metric="mse", horizon=horizon)
        rows.append(known("last value", "baseline", seeds=(series.last_value(horizon),)))
        rows.append(known("last value", "published", seeds=(LAST_VALUE[horizon],)))
        rows.append(known("least squares", "baseline", seeds=(series.least_squares(horizon),)))
        for name, found in outcomes.items():
            recipe, common = recipes[name], {"metric": "mse", "horizon": horizon}
            if recipe.horizon != horizon:
                continue
            mse = study.row_of(name, found, _mse, split="validation", **common)
            rows.append(mse)
            if recipe.published is not None:
                rows.append(known(name, "published", seeds=(recipe.published,)))
            if tested := [one for one in found if "test" in one.figures]:
                rows.append(study.row_of(name, tested, _test, split="test", **common))
    return rows


def _test(outcome: study.Outcome) -> float:
    return outcome.figures["test"]


def _mse(outcome: study.Outcome) -> float:
    return float(np.mean(outcome.figures["by_horizon"]))


def run(config: Config, folder: Path) -> launch.Result:
    """Train the rows that are not done, print the table, draw the pictures."""
    outcomes = study.run(NAME, config, folder, trial_of)
    rows = result_rows(outcomes)
    try:
        files = synthetic_pictures.draw(
            folder,
            {name: found for name, found in outcomes.items() if name in RECIPES},
            load=lambda name: runs.load(folder, name, model=RECIPES[name].model()).params,
            forecast=forecast,
            examples=series.task(HORIZON).part(series.VALIDATION),
        )
    except ModuleNotFoundError as error:
        print(f"no pictures: {error}; pip install -e '.[plot]' and --resume", file=sys.stderr)
        files = []
    names: dict[int | None, str] = {1: "one step ahead", HORIZON: "ten steps ahead"}
    return launch.Result(rows, "squared", files, wide_table(rows, "MSE", names))


if __name__ == "__main__":
    launch.main(NAME, Config, run, (__doc__ or "").partition("\n\nSeries of")[0])
