"""The pictures of `experiments.synthetic_forecast`, and the numbers in them as CSV."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments.chapter15 import HORIZON, RECIPES, Recipe
from seqjax import sensitivity, study

STRATEGIES = ("iterative", "seq2vec", "seq2seq")
GRADIENTS = {  # row: its name in the picture
    "seq2seq": "SimpleRNN",
    "lstm": "LSTM",
    "gru": "GRU",
    "wavenet-wide": "WaveNet",
    "lru": "LRU",
}
EXAMPLES = 4  # series to show
SENSITIVITY_SERIES = 64  # series to average a gradient over

Outcomes = Mapping[str, list[study.Outcome]]


def draw(
    folder: Path,
    outcomes: Outcomes,
    *,
    load: Callable[[str], Any],
    forecast: Callable[..., Any],
    examples: Any,
) -> list[Path]:
    """Draw what the finished rows allow.

    Args:
        folder: the run's.
        outcomes: of every seed of every row.
        load: ``row -> trained parameters`` of the first seed.
        forecast: ``(recipe, model, params, x) -> [series, horizon]``.
        examples: inputs [series, time, 1] and targets [series, time, horizon].

    Returns:
        The files written.

    Raises:
        ModuleNotFoundError: without matplotlib.
    """
    from seqjax.forecast import plots

    files = []
    curves = learning_curves(outcomes)
    curves.to_csv(folder / "learning_curves.csv")
    for horizon, words in ((1, "one step"), (HORIZON, "ten steps")):
        names = [name for name in curves if _validated_ahead(RECIPES[name]) == horizon]
        if names:
            path = folder / f"learning_curves_{horizon}.png"
            title = f"Validation error, {words} ahead (mean over the seeds)"
            plots.plot_curves(
                path,
                curves.loc[:, names],
                title=title,
                x="epoch",
                y="mean squared error",
                log_y=True,
            )
            files.append(path)
    by_horizon = errors_by_horizon(outcomes)
    if not by_horizon.empty:
        by_horizon.to_csv(folder / "error_by_horizon.csv")
        plots.plot_curves(
            folder / "error_by_horizon.png",
            by_horizon,
            title="Validation error by horizon (mean over the seeds)",
            x="steps ahead",
            y="mean squared error",
            log_y=True,
        )
        files.append(folder / "error_by_horizon.png")
    shown = [name for name in STRATEGIES if name in outcomes]
    if shown:
        forecasts = {}
        x = jnp.asarray(examples.inputs[:EXAMPLES])
        for name in shown:
            recipe = RECIPES[name]
            forecasts[name] = np.asarray(forecast(recipe, recipe.model(), load(name), x))
        actual = examples.targets[:EXAMPLES, -1]
        example_table(actual, forecasts).to_csv(folder / "forecasts.csv")
        plots.plot_examples(
            folder / "forecasts.png",
            examples.inputs[:EXAMPLES, :, 0],
            actual,
            forecasts,
            title="Ten steps ahead: validation series, first seed",
        )
        files.append(folder / "forecasts.png")
    gradients = gradient_norms(outcomes, load, examples.inputs[:SENSITIVITY_SERIES])
    if not gradients.empty:
        gradients.to_csv(folder / "gradient_by_lag.csv")
        plots.plot_curves(
            folder / "gradient_by_lag.png",
            gradients,
            title="How far back a forecast looks: gradient of the last output, first seed",
            x="lag of the input, steps",
            y="norm of the gradient",
            log_y=True,
        )
        files.append(folder / "gradient_by_lag.png")
    return files


def _validated_ahead(recipe: Recipe) -> int:
    """Steps ahead of a recipe's validation loss; an iterative one is trained one step ahead."""
    return 1 if recipe.targets == "iterative" else recipe.horizon


def learning_curves(outcomes: Outcomes) -> pd.DataFrame:
    """Validation loss, mean over the seeds: a row for each epoch, a column for each model."""
    columns = {}
    for name, found in outcomes.items():
        losses = np.mean(
            [[line["validation_loss"] for line in one.history] for one in found], axis=0
        )
        columns[name] = pd.Series(losses, index=np.arange(1, len(losses) + 1))
    return pd.DataFrame(columns).rename_axis("epoch")


def errors_by_horizon(outcomes: Outcomes) -> pd.DataFrame:
    """MSE, mean over the seeds: a row for each step ahead, a column for each model."""
    columns = {
        name: np.mean([one.figures["by_horizon"] for one in found], axis=0)
        for name, found in outcomes.items()
        if RECIPES[name].horizon == HORIZON
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(1, HORIZON + 1, name="steps ahead"))


def example_table(actual: np.ndarray, forecasts: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The forecasts of the picture: a row for each series and step ahead."""
    index = pd.MultiIndex.from_product(
        [range(len(actual)), range(1, actual.shape[1] + 1)], names=["series", "steps ahead"]
    )
    columns = {"actual": actual.ravel()} | {key: a.ravel() for key, a in forecasts.items()}
    return pd.DataFrame(columns, index=index)


def gradient_norms(
    outcomes: Outcomes, load: Callable[[str], Any], inputs: np.ndarray
) -> pd.DataFrame:
    """`seqjax.sensitivity.gradient_by_lag`: a row for each lag, a column for each model."""
    columns = {}
    for name, title in GRADIENTS.items():
        if name in outcomes:
            model = RECIPES[name].model()
            norms = sensitivity.gradient_by_lag(model, load(name), jnp.asarray(inputs))
            columns[title] = np.asarray(norms)
    return pd.DataFrame(columns).rename_axis("lag")
