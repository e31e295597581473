"""Every model of chapter 15 of *Hands-On Machine Learning*, on its own data, in one table.

    python -m experiments.synthetic_forecast                        # 5 seeds
    python -m experiments.synthetic_forecast --quick                # a look: 1 seed, 2 epochs
    python -m experiments.synthetic_forecast --only lstm,wavenet    # some rows (--list)
    python -m experiments.synthetic_forecast --resume               # go on where it stopped

Series of two sine waves and noise: from 50 steps, forecast the next one or the next ten.
The table gives the validation MSE (ten steps ahead: that of the forecast after the last
step) beside the book's; pictures show the forecasts, the learning curves, the error by
horizon and how gradients vanish with the lag. Two CPU cores: 23 minutes for all rows and
5 seeds, 2 for one seed of the book's rows. Scores to expect: see the README.
"""

import dataclasses
import functools
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax import Array
from rich.table import Table

from experiments import synthetic_pictures
from experiments.chapter15 import HORIZON, RECIPES, WINDOW, Recipe, Training, optimizer_of
from seqjax import data, launch, models, train
from seqjax.report import Kind, Row
from seqjax.storage.files import write_json

NAME = "experiments.synthetic_forecast"
SERIES = 10_000
TRAIN, VALIDATION, TEST = slice(0, 7_000), slice(7_000, 9_000), slice(9_000, SERIES)
LAST_VALUE = {1: 0.0202114, HORIZON: 0.256974}  # published


@dataclasses.dataclass(frozen=True)
class Config(launch.Config):
    """Options of the table."""

    only: Annotated[str | None, tyro.conf.arg(metavar="ROW,ROW,...")] = None
    """Train these rows only."""
    epochs: int | None = None
    """Epochs to train; by default each row's own."""
    quick: bool = False
    """One seed, 2 epochs: for a look."""
    list_rows: Annotated[bool, tyro.conf.arg(name="list")] = False
    """List the rows and end."""

    may_differ = ("only", "seeds", "list_rows")

    def preview(self) -> str | None:
        """The list of rows."""
        if not self.list_rows:
            return None
        return "\n".join(
            f"{name:<14} {recipe.horizon:>2} ahead  {recipe.title}"
            for name, recipe in RECIPES.items()
        )

    def resolved(self) -> dict[str, Any]:
        """Nothing to add (each row keeps its own settings); raises for bad options."""
        self.rows()
        if self.epochs is not None and self.epochs < 1:
            raise launch.RunError(f"--epochs must be at least 1, not {self.epochs}.")
        return {}

    def rows(self) -> dict[str, Recipe]:
        """The rows to train."""
        names = list(RECIPES) if self.only is None else self.only.replace(" ", "").split(",")
        unknown = [name for name in names if name not in RECIPES]
        if unknown:
            raise launch.RunError(
                f"--only: there is no row {', '.join(unknown)}; see --list for the rows."
            )
        return {name: RECIPES[name] for name in RECIPES if name in names}

    def training_of(self, recipe: Recipe) -> Training:
        """How a row is trained in this run."""
        training = recipe.training
        return training._replace(epochs=self.epochs or (2 if self.quick else training.epochs))

    def all_seeds(self) -> tuple[int, ...]:
        """The seeds to train."""
        return tuple(range(self.seed, self.seed + (1 if self.quick else self.seeds)))


class Task(NamedTuple):
    """Series and, after every step, the values that follow.

    Attributes:
        inputs: [series, time, 1].
        targets: [series, time, horizon].
    """

    inputs: np.ndarray
    targets: np.ndarray

    def part(self, piece: slice) -> "Task":
        """Some of the series."""
        return Task(self.inputs[piece], self.targets[piece])


@functools.cache
def task(horizon: int) -> Task:
    """The book's series for so many steps ahead, drawn anew for each horizon."""
    series = data.two_sines(SERIES, WINDOW + horizon)
    inputs, targets = data.next_values(series, horizon)
    return Task(inputs[..., None], targets)


def forecast(recipe: Recipe, model: models.Model, params: Any, x: Array) -> Array:
    """The forecast after the last step, [series, horizon]."""
    if recipe.targets == "iterative":
        return models.generate(model, params, x, recipe.horizon)[..., 0]
    y = model.apply(params, x)
    return y if y.ndim == 2 else y[:, -1]


def loss_of(recipe: Recipe, model: models.Model) -> train.Loss:
    """The training loss; in validation, the error of the forecast after the last step."""
    training = recipe.training

    def loss(params: Any, batch: dict[str, Array], key: Array | None) -> Array:
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
        squares = (model.apply(params, x, key=key) - y) ** 2
        if y.ndim == 3:
            squares = squares[:, training.skip :]
        return jnp.mean(squares, axis=tuple(range(1, y.ndim)))

    return loss


def batches_of(recipe: Recipe, part: slice, *, size: int, shuffle: bool) -> train.Batches:
    """The examples of a part of the data, as a recipe wants them."""
    piece = task(1 if recipe.targets == "iterative" else recipe.horizon).part(part)
    targets = {
        "last": piece.targets[:, -1],
        "iterative": piece.targets[:, -1],
        "every": piece.targets,
        "strided": piece.targets[:, 3::2],
    }[recipe.targets]
    return train.array_batches({"x": piece.inputs, "y": targets}, size, shuffle=shuffle)


class Outcome(NamedTuple):
    """What one seed of one row gave; kept in the run's folder as JSON.

    Attributes:
        by_horizon: validation MSE of each step ahead.
        test: MSE on the test part, for rows beyond the book's settings; else None.
        parameters: their number (a batch norm's running moments included).
        seconds: of training, compilation included; of seeds trained together, their share.
        training: the settings.
        history: a dict for each epoch.
    """

    by_horizon: list[float]
    test: float | None
    parameters: int
    seconds: float
    training: dict[str, Any]
    history: list[dict[str, Any]]

    @property
    def mse(self) -> float:
        """The validation MSE."""
        return float(np.mean(self.by_horizon))


def checkpoint_folder(folder: Path, name: str, seed: int) -> Path:
    """Where a trained seed's parameters are."""
    return folder / "checkpoints" / name / f"seed-{seed}"


def checkpoints(folder: Path, name: str, seed: int) -> train.Checkpoints:
    """A trained seed's parameters."""
    metadata = {"experiment": NAME, "row": name, "seed": seed}
    return train.Checkpoints(checkpoint_folder(folder, name, seed), metadata, every=1)


def outcome_path(folder: Path, name: str, seed: int) -> Path:
    """The file whose presence says that a seed of a row is done."""
    return folder / "rows" / name / f"seed-{seed}.json"


def read_outcome(path: Path, training: Training) -> Outcome:
    """A finished seed; raises where it was trained with other settings."""
    outcome = Outcome(**json.loads(path.read_text()))
    for key, value in training._asdict().items():
        if outcome.training[key] != value:
            raise launch.RunError(
                f"{path}: this seed was trained with {key} = {outcome.training[key]!r}, not"
                f" {value!r}; delete {path.parent} to train the row anew, or choose another --out."
            )
    return outcome


def finished(config: Config, folder: Path) -> dict[str, list[Outcome]]:
    """Every seed of every row that is done, those of earlier calls included."""
    found = {}
    for name, recipe in RECIPES.items():
        paths = sorted(
            (folder / "rows" / name).glob("seed-*.json"),
            key=lambda path: int(path.stem.removeprefix("seed-")),
        )
        if paths:
            training = config.training_of(recipe)
            found[name] = [read_outcome(path, training) for path in paths]
    return found


def train_row(config: Config, folder: Path, name: str, recipe: Recipe) -> None:
    """Train the seeds of a row that are not done yet."""
    missing = [s for s in config.all_seeds() if not outcome_path(folder, name, s).exists()]
    if not missing:
        return
    outcome_path(folder, name, 0).parent.mkdir(parents=True, exist_ok=True)
    model, training = recipe.model(), config.training_of(recipe)
    predict = jax.jit(functools.partial(forecast, recipe, model))
    batches = batches_of(recipe, TRAIN, size=training.batch_size, shuffle=True)
    for seed, done in train.fit_seeds(
        loss_of(recipe, model),
        model.init,
        optimizer_of(recipe, batches.steps, training.epochs),
        batches,
        epochs=training.epochs,
        seeds=missing,
        validation=batches_of(recipe, VALIDATION, size=500, shuffle=False),
        early_stopping=train.EarlyStopping() if recipe.best else None,
        metrics=lambda seed: train.MetricsLog(folder / "metrics.jsonl", row=name, seed=seed),
        progress=name,
        debug_nans=config.debug_nans,
    ):

        def squares(part: slice, params: Any = done.params) -> np.ndarray:
            piece = task(recipe.horizon).part(part)
            y = np.asarray(predict(params, piece.inputs), np.float64)
            return np.mean((y - piece.targets[:, -1]) ** 2, axis=0)

        outcome = Outcome(
            by_horizon=squares(VALIDATION).tolist(),
            # The test part is for finished rows, not for a look.
            test=float(np.mean(squares(TEST))) if recipe.best and not config.quick else None,
            parameters=sum(leaf.size for leaf in jax.tree.leaves(done.params)),
            seconds=done.seconds,
            training=training._asdict(),
            history=done.history,
        )
        # What an interrupted call may have left belongs to no finished seed.
        shutil.rmtree(checkpoint_folder(folder, name, seed), ignore_errors=True)
        with checkpoints(folder, name, seed) as saves:
            saves.save(int(done.state.step), done.params)
        write_json(outcome_path(folder, name, seed), outcome._asdict())


def trained_params(folder: Path, name: str, seed: int | None = None) -> Any:
    """The parameters of a finished seed of a row; of the first one by default."""
    if seed is None:
        paths = (folder / "rows" / name).glob("seed-*.json")
        seed = min(int(path.stem.removeprefix("seed-")) for path in paths)
    like = RECIPES[name].model().init(jax.random.key(0))
    with checkpoints(folder, name, seed) as saves:
        restored = saves.restore(like)
    if restored is None:
        raise launch.RunError(f"{folder}: no trained parameters of row {name}, seed {seed}.")
    return restored.state


def last_value(horizon: int) -> float:
    """Validation MSE of repeating the last value."""
    piece = task(horizon).part(VALIDATION)
    return float(np.mean((piece.targets[:, -1] - piece.inputs[:, -1]) ** 2))


def least_squares(horizon: int) -> float:
    """Validation MSE of the best linear function of the window, in closed form."""

    def design(part: slice) -> tuple[np.ndarray, np.ndarray]:
        piece = task(horizon).part(part)
        x = piece.inputs[..., 0].astype(np.float64)
        return np.column_stack([x, np.ones(len(x))]), piece.targets[:, -1]

    x, y = design(TRAIN)
    weights = np.linalg.lstsq(x, y)[0]
    x, y = design(VALIDATION)
    return float(np.mean((x @ weights - y) ** 2))


def result_rows(outcomes: dict[str, list[Outcome]]) -> list[Row]:
    """The table as rows: baselines, published figures, and ours."""
    rows = []
    for horizon in sorted({RECIPES[name].horizon for name in outcomes}):
        ours = {name: found for name, found in outcomes.items() if RECIPES[name].horizon == horizon}
        rows.append(_row(horizon, "last value", "baseline", [last_value(horizon)]))
        rows.append(_row(horizon, "last value", "published", [LAST_VALUE[horizon]]))
        rows.append(_row(horizon, "least squares", "baseline", [least_squares(horizon)]))
        for name, found in ours.items():
            size = found[0].parameters
            seconds = float(np.mean([one.seconds for one in found]))
            row = _row(horizon, name, "model", [one.mse for one in found])
            rows.append(dataclasses.replace(row, parameters=size, seconds=seconds))
            if (published := RECIPES[name].published) is not None:
                rows.append(_row(horizon, name, "published", [published]))
            if tests := [one.test for one in found if one.test is not None]:
                row = _row(horizon, name, "model", tests, "test")
                rows.append(dataclasses.replace(row, parameters=size))
    return rows


def _row(
    horizon: int, model: str, kind: Kind, figures: Sequence[float], split: str = "validation"
) -> Row:
    return Row(model, kind, split, "mse", tuple(figures), horizon)


def make_table(rows: Sequence[Row]) -> Table:
    """The rows for the terminal, one line for each model, the two horizons apart."""
    counts = {len(row.seeds) for row in rows if row.kind == "model"}
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    table = Table()
    table.add_column("validation MSE", no_wrap=True)
    for column in (
        "parameters",
        "published",
        f"ours, {seeds} seed(s)",
        "closed form",
        "test MSE",
        "s/seed",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    by_key = {(row.horizon, row.model, row.kind, row.split): row for row in rows}

    def figure(*key: Any) -> str:
        row = by_key.get(key)
        if row is None:
            return ""
        return f"{row.mean:.6f}" if row.sd is None else f"{row.mean:.5f} ± {row.sd:.5f}"

    for row in rows:
        horizon, model = row.horizon, row.model
        if row.kind == "published" or row.split == "test":
            continue  # columns, not lines
        if model == "last value":
            table.add_section()
            table.add_row("[bold]one step ahead" if horizon == 1 else "[bold]ten steps ahead")
        linear = model.startswith("linear")
        table.add_row(
            model,
            "" if row.parameters is None else f"{row.parameters:,}",
            figure(horizon, model, "published", "validation"),
            figure(horizon, model, row.kind, "validation"),
            figure(horizon, "least squares", "baseline", "validation") if linear else "",
            figure(horizon, model, "model", "test"),
            "" if row.seconds is None else f"{row.seconds:.1f}",
        )
    return table


def run(config: Config, folder: Path) -> launch.Result:
    """Train the rows that are not done, print the table, draw the pictures."""
    for name, recipe in config.rows().items():
        train_row(config, folder, name, recipe)
    outcomes = finished(config, folder)
    rows = result_rows(outcomes)
    try:
        files = synthetic_pictures.draw(
            folder,
            {name: [one._asdict() for one in found] for name, found in outcomes.items()},
            load=functools.partial(trained_params, folder),
            forecast=forecast,
            examples=task(HORIZON).part(VALIDATION),
        )
    except ModuleNotFoundError as error:
        print(f"no pictures: {error}; pip install -e '.[plot]' and --resume", file=sys.stderr)
        files = []
    return launch.Result(rows, "squared", files, make_table(rows))


if __name__ == "__main__":
    launch.main(NAME, Config, run, (__doc__ or "").partition("\n\nSeries of")[0])
