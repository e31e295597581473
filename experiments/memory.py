"""How far back does a network remember? Gradients that vanish and explode, and what cures them.

    python -m experiments.memory                               # 10 networks x 3 tasks, 6 cures
    python -m experiments.memory --quick                       # a look: 3 rows, a lag of 20
    python -m experiments.memory --only adding-lstm,copy-lru   # some rows (--list)
    python -m experiments.memory --only adding-rnn --sweep lag=25,50,100,200   # by lag
    python -m experiments.memory --paper --platform gpu        # T = 600 and 1000, 70,000 parameters
    python -m experiments.memory --resume                      # go on where it stopped

The adding problem, copy memory and permuted digits (`experiments/memory_data.py`), for networks
of equally many parameters: the loss, the updates until a task is solved, and the gradient of the
last output by lag, before and after training, beside Bai, Kolter and Koltun's figures (arXiv
1803.01271). Rows "cure-..." start from a plain RNN at an eighth of the lag, and change one
thing each. Two CPU cores: some 15 minutes. Scores to expect: docs/memory.md.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from experiments import memory_data as data, memory_pictures as pictures
from experiments.memory_models import ARCHITECTURES, CURES, Settings, make_model, settings_of
from seqjax import launch, sensitivity, study, train

NAME = "experiments.memory"
LAG, QUICK_LAG, QUICK_STEPS = 200, 20, 600
PAPER_LAGS = {"adding": 600, "copy": 1000}
MEASURED = 16  # sequences to average a gradient over


@dataclasses.dataclass(frozen=True)
class Config(study.TableConfig):
    """Options of the memory tasks."""

    seeds: int = 2
    """How many seeds to train: --seed, --seed + 1, ..."""
    lag: int | None = None
    """T, the steps to be bridged; by default 200. The digits have their own 64."""
    steps: int | None = None
    """Updates, a multiple of 100 (of the digits, whole passes); by default each task's own."""
    learning_rate: float | None = None
    """Of Adam at its height; by default each network's own."""
    paper: bool = False
    """The published sizes: T = 600 and 1000, 70,000 parameters (copy 16,000). A GPU's work."""

    titles: ClassVar[Mapping[str, str]] = {
        f"{task}-{name}": f"{words}: {title}"
        for task, words, names in (
            ("adding", "adding problem", ARCHITECTURES),
            ("copy", "copy memory", ARCHITECTURES),
            ("digits", "permuted digits", ARCHITECTURES),
            ("cure", "adding, an eighth of the lag", CURES),
        )
        for name, title in names.items()
    }
    look: ClassVar[tuple[str, ...]] = ("adding-rnn", "adding-gru", "copy-lru")

    def resolved(self) -> dict[str, Any]:
        """Every row's lag and settings."""
        return {"rows": {row: self.settings(row)._asdict() for row in self.titles}}

    def lag_of(self, row: str) -> int:
        """T of a row.

        Raises:
            RunError: for a lag that is too short.
        """
        task, _, _ = row.partition("-")
        usual = PAPER_LAGS.get(task, LAG) if self.paper else QUICK_LAG if self.quick else LAG
        lag = usual if self.lag is None else self.lag
        if lag < 8:
            raise launch.RunError(f"--lag must be at least 8 steps, not {lag}.")
        return lag // 8 if task == "cure" else lag  # where a plain RNN still learns

    def settings(self, row: str) -> Settings:
        """How the network of a row is trained."""
        settings = settings_of(row, self.lag_of(row), paper=self.paper)
        if self.quick:
            settings = settings._replace(steps=QUICK_STEPS)
        if self.steps is not None and (self.steps < 1 or self.steps % data.EPOCH):
            raise launch.RunError(
                f"--steps must be a multiple of {data.EPOCH} above 0, the updates between two"
                f" validations, not {self.steps}."
            )
        self.check_numbers(above_zero=("learning_rate",))
        asked = {"steps": self.steps, "learning_rate": self.learning_rate}
        return settings._replace(**{name: one for name, one in asked.items() if one is not None})


def trial_of(config: Config, row: str) -> study.Trial:
    """What is trained and measured of a row."""
    settings = config.settings(row)
    task = data.task_of(settings.task, settings.lag)
    model = config.cast(make_model(settings))
    loss, batches = data.loss_of(task, model), data.batches_of(task, settings.batch_size)
    validation, test = (data.part_of(task, part) for part in ("validation", "test"))
    epochs = max(1, round(settings.steps / batches.steps))
    x = validation["x"][:MEASURED]
    lags = jax.jit(lambda params: sensitivity.gradient_by_lag(model, params, x))
    tested = jax.jit(lambda params, examples: loss(params, examples, None))

    def fit(seeds: Sequence[int], **how: Any) -> Iterator[tuple[int, train.Fit]]:
        steps = epochs * batches.steps
        rate, clip = settings.learning_rate, settings.clip
        yield from train.fit_seeds(
            loss,
            model.init,
            train.cosine_adamw(rate, steps, warm_up=steps // 20, weight_decay=0.0, clip=clip),
            batches,
            seeds=seeds,
            epochs=epochs,
            validation=train.array_batches(validation, len(validation["y"]), shuffle=False),
            early_stopping=task.keep,
            track=("gradient_norm",),
            max_skips=steps,  # of gradients that are not finite: then the best stays
            **how,
        )

    def measure(params: Any) -> dict[str, Any]:
        before = model.init(jax.random.key(config.seed))
        found: dict[str, Any] = {
            "gradient_before": np.asarray(lags(before)).tolist(),
            "gradient_after": np.asarray(lags(params)).tolist(),
        }
        if config.quick:  # the test part is for finished rows, not for a look
            return found
        answered = tested(params, test)
        if "lag" in test:  # of the earlier mark
            found["loss_by_lag"] = data.by_lag(task, answered.values, test["lag"])
        figures = {"loss": answered.values} | answered.metrics
        return found | {name: float(np.mean(values)) for name, values in figures.items()}

    title, every = config.titles[row], 10 * batches.steps
    return study.Trial(title, settings._asdict(), model, fit, measure, every)


def run(config: Config, folder: Path) -> launch.Result:
    """Train the rows that are not done, write the table and the pictures."""
    outcomes = study.run(NAME, config, folder, trial_of)
    rows = pictures.result_rows(outcomes)
    files = pictures.write(folder, outcomes)
    return launch.Result(rows, "", files, pictures.table_of(rows, outcomes))


if __name__ == "__main__":
    launch.main(NAME, Config, run, (__doc__ or "").partition("\n\nThe adding problem")[0])
